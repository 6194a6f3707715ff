"""Stem, bottleneck block and head of a derived network."""

import keras
import numpy as np
import tensorflow as tf

from autox3d_tf.base import checks
from autox3d_tf.layers import ops
from autox3d_tf.layers import weights as weights_lib
from autox3d_tf.space import arch as arch_lib
from autox3d_tf.space import weight_names

_DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0))  # down, right

MOMENTUM = 0.9  # of the moving statistics


def bottleneck(clip, get, norm, depthwise, *, attention, activation, strides):
    """The residual bottleneck of X3D, shared by child and supernet.

    pointwise -> norm -> relu -> depthwise -> norm -> attention -> activation
    -> pointwise -> norm, plus the shortcut, -> relu.

    Args:
        clip: `(B, T, H, W, C)`; or images, if the functions take them.
        get: Weight name -> tensor, None for a weight the block lacks.
        norm: `(name, clip) -> clip`, batch normalisation.
        depthwise: `clip -> clip`, the depthwise kernels.
        attention: `clip -> clip`, the identity where there is none.
        activation: `clip -> clip`.
        strides: Of the block.
    """
    x = ops.pointwise(clip, get("expand_kernel"))
    x = tf.nn.relu(norm("expand_norm", x))
    x = norm("depthwise_norm", depthwise(x))
    x = activation(attention(x))
    x = norm("project_norm", ops.pointwise(x, get("project_kernel")))
    shortcut_kernel = get("shortcut_kernel")
    if shortcut_kernel is not None:
        clip = ops.pointwise(ops.subsample(clip, strides), shortcut_kernel)
        clip = norm("shortcut_norm", clip)
    # Unlike that of `+`, its gradient has nothing to broadcast.
    return tf.nn.relu(tf.add_n([x, clip]))


class NormedLayer(weights_lib.WeightedLayer):
    """A layer with batch normalisations.

    Args:
        frozen_statistics: Whether they use and keep their moving statistics in
            training, too, while scales and offsets learn: for fine-tuning.
        **kwargs: Base layer arguments, such as `name` and `dtype`.
    """

    def __init__(self, frozen_statistics=False, **kwargs):
        super().__init__(**kwargs)
        self.frozen_statistics = frozen_statistics

    def get(self, name):
        """Returns a weight as a tensor in the compute dtype, or None."""
        variable = getattr(self, name, None)
        return None if variable is None else tf.convert_to_tensor(variable)

    def norm(self, name, clip, training):
        """Batch normalisation; frozen with `trainable=False`."""

        def filled(suffix):
            return ops.fill_up(self.get(f"{name}_{suffix}"), -1, clip.shape[-1])

        gamma, beta = filled("gamma"), filled("beta")
        if not self.moving_statistics:
            return ops.batch_norm_training(clip, gamma, beta)[0]
        moving = filled("mean"), filled("variance")
        learns = training and self.trainable and not self.frozen_statistics
        if not learns:
            return ops.batch_norm_inference(clip, gamma, beta, *moving)
        out, *moved = ops.batch_norm_training(
            clip, gamma, beta, moving, MOMENTUM
        )
        for suffix, new in zip(("mean", "variance"), moved, strict=True):
            variable = getattr(self, f"{name}_{suffix}")
            if new.shape != variable.shape:  # channels that fill up
                new = new[: variable.shape[0]]
            variable.assign(new)
        return out

    def get_config(self):
        return {
            **super().get_config(),
            "frozen_statistics": self.frozen_statistics,
        }


@keras.saving.register_keras_serializable("autox3d_tf")
class Stem3D(NormedLayer):
    """1x3x3 strided convolution, depthwise one over time, norm, relu.

    Args:
        filters: Output channels.
        temporal_kernel: Frames of the depthwise kernel, odd.
        strides: `(1, height, width)`.
        causal: Whether a frame sees the past only.
        **kwargs: Base layer arguments, such as `name`, `dtype` and
            `frozen_statistics`.

    Input shape: `(batch, time, height, width, 3)`.
    Output shape: `(batch, time, ceil(height / stride), ..., filters)`.
    """

    def __init__(
        self,
        filters,
        temporal_kernel=5,
        strides=(1, 2, 2),
        causal=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.filters = filters
        self.temporal_kernel_size = temporal_kernel
        self.strides = tuple(strides)
        self.causal = causal

    def build(self, input_shape):
        self.add_weights(
            weight_names.stem_shapes(self.filters, self.temporal_kernel_size)
        )

    def call(self, clip, training=False):
        x = ops.spatial_conv(clip, self.get("spatial_kernel"), self.strides)
        x = ops.depthwise_conv3d(
            x, self.get("temporal_kernel"), causal=self.causal
        )
        return tf.nn.relu(self.norm("norm", x, training))

    def start_with_motion(self, share):
        """Makes the first channels start as differences over time.

        Their temporal kernels lose their mean and keep their size. Where
        classes differ in motion only, the plateau at the start of training is
        shorter: with random kernels the picture, which does not move, drowns
        what does.

        Args:
            share: Of the channels, in [0, 1].
        """
        kernel = self.weight_values()["temporal_kernel"]  # (k, 1, 1, filters)
        if len(kernel) == 1:  # sees no time
            return
        first = kernel[..., : round(share * kernel.shape[-1])]
        moved = first - first.mean(axis=0)
        size = np.linalg.norm(moved, axis=0) + 1e-12
        moved *= np.linalg.norm(first, axis=0) / size
        kernel[..., : first.shape[-1]] = moved
        self.temporal_kernel.assign(kernel)

    def compute_output_shape(self, input_shape):
        return strided_shape(input_shape, self.strides, self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "temporal_kernel": self.temporal_kernel_size,
            "strides": self.strides,
            "causal": self.causal,
        }


@keras.saving.register_keras_serializable("autox3d_tf")
class BottleneckBlock3D(NormedLayer):
    """One residual block of a derived network.

    Args:
        block_type: Key of `space.BLOCK_TYPES`.
        filters, inner_filters: Channels out and between.
        strides: `(1, height, width)`.
        attention: "none" or "se".
        activation: After the depthwise kernels.
        causal: Whether a frame sees the past only.
        zero_init: Starts as the identity: the last norm's gamma is zero.
        **kwargs: Base layer arguments, such as `name`, `dtype` and
            `frozen_statistics`.

    Input shape: `(batch, time, height, width, channels)`.
    Output shape: `(batch, time, ceil(height / stride), ..., filters)`.
    """

    def __init__(
        self,
        block_type,
        filters,
        inner_filters,
        strides=(1, 1, 1),
        attention="none",
        activation="swish",
        causal=False,
        zero_init=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.spec = arch_lib.BlockSpec(
            block_type=block_type,
            filters=filters,
            inner_filters=inner_filters,
            strides=tuple(strides),
            attention=attention,
        )
        checks.check_choice("activation", activation, ops.ACTIVATIONS)
        self.activation = activation
        self.causal = causal
        self.zero_init = zero_init

    def build(self, input_shape):
        in_filters, spec = input_shape[-1], self.spec
        placed = arch_lib.PlacedBlock(
            name=self.name, stage=1, index=1, in_filters=in_filters, spec=spec
        )
        self.kernel_names = weight_names.kernel_names(spec)
        self.add_weights(weight_names.placed_shapes(placed))
        if self.zero_init:
            self.project_norm_gamma.assign(
                keras.ops.zeros_like(self.project_norm_gamma)
            )

    def call(self, clip, training=False):
        inner = self.spec.inner_filters
        if training and self.trainable:  # norms by batch are what it speeds up
            inner += -inner % ops.LANES

        def get(name):
            axis = weight_names.inner_axis(name)
            weight = self.get(name)
            return weight if axis is None else ops.fill_up(weight, axis, inner)

        return bottleneck(
            clip,
            get,
            lambda name, x: self.norm(name, x, training),
            lambda x: self._depthwise(x, get),
            attention=lambda x: self._attention(x, get),
            activation=ops.ACTIVATIONS[self.activation],
            strides=self.spec.strides,
        )

    def _depthwise(self, x, get):
        strides = self.spec.strides
        for name in self.kernel_names:
            x = ops.depthwise_conv3d(x, get(name), strides, self.causal)
            strides = (1, 1, 1)
        return x

    def follow_motion(self, share):
        """Makes kernels start by following what moves, where they can.

        To the first channels of each random kernel over time and space one is
        added that answers most to what moves by a pixel per frame, to the
        right, left, down and up in turn: a path of ones through its middle
        three frames, less their mean. It is twice as large as the random
        kernel, whose size the sum gets: with equal parts a network of few
        channels may still stay where no kernel tells a direction from its
        opposite.

        Args:
            share: Of the channels, in [0, 1].
        """
        for name in self.kernel_names:
            kernel = self.weight_values()[name]  # (t, h, w, inner_filters)
            if 1 in kernel.shape[:2]:  # over time only, or over space only
                continue
            for channel in range(round(share * kernel.shape[-1])):
                size = np.linalg.norm(kernel[..., channel])
                mixed = kernel[..., channel] / size
                mixed += 2 * _path(mixed.shape, *_DIRECTIONS[channel % 4])
                kernel[..., channel] = mixed * size / np.linalg.norm(mixed)
            getattr(self, name).assign(kernel)

    def _attention(self, x, get):
        if not self.spec.se_filters:
            return x
        return ops.squeeze_excite(
            x,
            get("se_reduce_kernel"),
            get("se_reduce_bias"),
            get("se_expand_kernel"),
            get("se_expand_bias"),
            self.causal,
        )

    def compute_output_shape(self, input_shape):
        return strided_shape(input_shape, self.spec.strides, self.spec.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "block_type": self.spec.block_type,
            "filters": self.spec.filters,
            "inner_filters": self.spec.inner_filters,
            "strides": self.spec.strides,
            "attention": self.spec.attention,
            "activation": self.activation,
            "causal": self.causal,
            "zero_init": self.zero_init,
        }


def _path(size, down, right) -> np.ndarray:
    """A kernel of norm 1, mean 0, that follows a step `(down, right)`."""
    kernel = np.zeros(size)
    centre = np.array(size) // 2
    for frame in (-1, 0, 1):
        kernel[tuple(centre + frame * np.array([1, down, right]))] = 1.0
    kernel -= kernel.mean()
    return kernel / np.linalg.norm(kernel)


@keras.saving.register_keras_serializable("autox3d_tf")
class Head3D(NormedLayer):
    """Pointwise convolution, mean over the clip, hidden layer, logits.

    Args:
        filters: Channels of the convolution.
        features: Width of the hidden layer.
        num_classes: Outputs.
        dropout: Rate before the last layer, in training.
        seed: Of initialisation and dropout.
        **kwargs: Base layer arguments, such as `name`, `dtype` and
            `frozen_statistics`.

    Input shape: `(batch, time, height, width, channels)`.
    Output shape: `(batch, num_classes)`, float32.
    """

    def __init__(
        self, filters, features, num_classes, dropout=0.0, seed=0, **kwargs
    ):
        super().__init__(seed=seed, **kwargs)
        self.filters = filters
        self.features = features
        self.num_classes = num_classes
        self.dropout_rate = dropout
        self.dropout = keras.layers.Dropout(
            dropout, seed=seed, dtype=self.dtype_policy
        )

    def build(self, input_shape):
        self.add_weights(
            weight_names.head_shapes(
                input_shape[-1], self.filters, self.features, self.num_classes
            )
        )

    def call(self, clip, training=False):
        return self.run(clip, self.get("conv_kernel"), training)

    def run(self, clip, conv_kernel, training):
        """The head with a given first kernel, `(channels, filters)`."""
        x = ops.pointwise(clip, conv_kernel)
        x = tf.nn.relu(self.norm("conv_norm", x, training))
        x = tf.squeeze(ops.mean_over_clip(x), (1, 2, 3))  # (B, filters)
        x = tf.nn.relu(tf.matmul(x, self.get("hidden_kernel")))
        x = self.dropout(x, training=training)
        logits = tf.matmul(x, self.get("logits_kernel"))
        return tf.cast(logits + self.get("logits_bias"), tf.float32)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.num_classes)

    def compute_output_spec(self, clip, training=False):
        return keras.KerasTensor(
            self.compute_output_shape(clip.shape), dtype="float32"
        )

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "features": self.features,
            "num_classes": self.num_classes,
            "dropout": self.dropout_rate,
        }


def strided_shape(shape, strides, filters):
    """Output shape of a strided convolution; None stays None."""
    sizes = [
        None if size is None else -(-size // stride)
        for size, stride in zip(shape[1:4], strides, strict=True)
    ]
    return (shape[0], *sizes, filters)
