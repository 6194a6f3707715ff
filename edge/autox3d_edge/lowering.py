"""ArchSpec and weights -> a tf_keras graph of 4-D tensors, ready for TFLite.

The network is rebuilt from its specification, not matched in a graph. Frames
are the batch: (T, H, W, C). A depthwise convolution over time only runs on
(1, T, H*W, C); a full 3-D one is a sum of 2-D ones, one per temporal tap,
over shifted frames. Batch norms become part of the convolution before them.
The input is raw RGB in [0, 255]; its normalisation is part of the first
convolution.
"""

import dataclasses

import numpy as np
import tf_keras

from autox3d_edge import lowered_layers
from autox3d_edge import weights as weights_lib
from autox3d_tf.data import sampling
from autox3d_tf.space import arch as arch_lib

# The raw value that the normalisation maps to 0: what "same" padding means.
RAW_ZERO = 255 * sampling.MEAN


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoweringOptions:
    """How to lower.

    Attributes:
        softmax: End in probabilities, not logits.
        centre_input: Subtract the mean pixel first and pad with 0, one more
            operation. int16x8 needs it: the converter leaves the value of a
            padding other than 0 in float.
    """

    softmax: bool = True
    centre_input: bool = False


def lower(
    arch: arch_lib.ArchSpec,
    weights: weights_lib.Weights,
    options: LoweringOptions | None = None,
) -> tf_keras.Model:
    """Returns the network in 4-D tensors.

    Args:
        arch: What to build; its `clip_size` becomes the input's shape.
        weights: As returned by `models.weight_values`.
        options: How to lower.

    Input shape: `(T, H, W, 3)`, raw RGB in [0, 255], float32.
    Output shape: `(1, classes)`.

    Raises:
        ValueError: A weight is missing, of another shape or not finite.
    """
    options = options or LoweringOptions()
    checked = weights_lib.check_weights(arch, weights)
    return Lowering(arch, checked, options).build()


class Lowering:
    """Builds the graph layer by layer and remembers each layer's weights.

    A stream overrides what reaches over time: `_temporal`, `_taps`, `_mean`.
    """

    def __init__(self, arch, weights, options):
        self._arch = arch
        self._weights = weights
        self._options = options
        self._values = {}  # layer name -> list of arrays

    def build(self) -> tf_keras.Model:
        time, height, width = self._arch.clip_size
        clip = tf_keras.Input(batch_shape=(time, height, width, 3), name="clip")
        name = f"lowered_{arch_lib.scope_name(self._arch.name)}"
        return self._finish(clip, self._scores(clip), name)

    def _finish(self, inputs, outputs, name):
        model = tf_keras.Model(inputs, outputs, name=name)
        for name, values in self._values.items():
            model.get_layer(name).set_weights(values)
        return model

    # Parts of the network.

    def _scores(self, frames):
        frames = self._stem(frames)
        for block in self._arch.blocks():
            frames = self._block(frames, block)
        return self._head(frames)

    def _stem(self, clip):
        stem = self._arch.stem
        kernel = self._weights["stem/spatial_kernel"].astype(np.float64)
        scale = 1.0 / (255.0 * sampling.DEVIATION)
        bias = -sampling.MEAN / sampling.DEVIATION * kernel.sum((0, 1, 2))
        if self._options.centre_input:
            centre = lowered_layers.Subtract(RAW_ZERO, name="stem_centre")
            clip, bias = centre(clip), np.zeros_like(bias)
        zero = 0.0 if self._options.centre_input else RAW_ZERO
        frames = self._conv(
            pad_spatially(clip, (3, 3), "stem_pad", zero),
            kernel * scale,
            "stem_spatial",
            bias=bias,
            strides=stem.strides[1:],
        )
        temporal = self._weights["stem/temporal_kernel"]
        return self._depthwise(
            frames, [temporal], "stem_temporal", "stem/norm", relu=True
        )

    def _block(self, frames, block):
        name, spec = block.name, block.spec
        shortcut = frames
        frames = self._pointwise(
            frames, f"{name}/expand", f"{name}_expand", relu=True
        )
        kernels = [
            self._weights[f"{name}/depthwise{index}_kernel"]
            for index in range(1, len(spec.kernels) + 1)
        ]
        frames = self._depthwise(
            frames,
            kernels,
            f"{name}_depthwise",
            f"{name}/depthwise_norm",
            strides=spec.strides[1:],
        )
        if spec.attention == "se":
            frames = self._squeeze_excite(frames, name)
        frames = _activate(frames, self._arch.activation, f"{name}_activation")
        frames = self._pointwise(frames, f"{name}/project", f"{name}_project")
        if block.projects:
            shortcut = self._pointwise(
                shortcut,
                f"{name}/shortcut",
                f"{name}_shortcut",
                strides=spec.strides[1:],
            )
        frames = tf_keras.layers.Add(name=f"{name}_add")([frames, shortcut])
        return tf_keras.layers.ReLU(name=f"{name}_relu")(frames)

    def _squeeze_excite(self, frames, name):
        gate = self._mean(frames, f"{name}_se_mean", self._arch.causal)
        for part, activation in (("reduce", "relu"), ("expand", "sigmoid")):
            gate = self._conv(
                gate,
                self._weights[f"{name}/se_{part}_kernel"][None, None],
                f"{name}_se_{part}",
                bias=self._weights[f"{name}/se_{part}_bias"],
            )
            gate = tf_keras.layers.Activation(
                activation, name=f"{name}_se_{part}_{activation}"
            )(gate)
        scale = lowered_layers.ScaleChannels(name=f"{name}_se_scale")
        return scale([frames, gate])

    def _head(self, frames):
        head = self._arch.head
        frames = self._pointwise(frames, "head/conv", "head_conv", relu=True)
        mean = self._mean(frames, "head_mean")
        flat = lowered_layers.FixedReshape((1, head.filters), name="head_flat")
        hidden = tf_keras.layers.Dense(
            head.features, use_bias=False, name="head_hidden"
        )(flat(mean))
        self._values["head_hidden"] = [self._weights["head/hidden_kernel"]]
        hidden = tf_keras.layers.ReLU(name="head_hidden_relu")(hidden)
        bias = self._weights["head/logits_bias"]
        scores = tf_keras.layers.Dense(len(bias), name="head_logits")(hidden)
        self._values["head_logits"] = [
            self._weights["head/logits_kernel"],
            bias,
        ]
        if self._options.softmax:
            scores = tf_keras.layers.Softmax(name="probabilities")(scores)
        return scores

    def _mean(self, frames, name, cumulative=False):
        """Mean over space and all frames, or at each frame those so far."""
        mean = (
            lowered_layers.CumulativeMean
            if cumulative
            else lowered_layers.ClipMean
        )
        return mean(name=name)(frames)

    # Convolutions.

    def _pointwise(self, frames, prefix, name, strides=(1, 1), relu=False):
        """1x1 convolution `prefix`_kernel with batch norm `prefix`_norm."""
        kernel = self._weights[f"{prefix}_kernel"][None, None]
        scale, shift = self._norm(f"{prefix}_norm")
        frames = self._conv(frames, kernel * scale, name, shift, strides)
        if relu:
            frames = tf_keras.layers.ReLU(name=f"{name}_relu")(frames)
        return frames

    def _depthwise(
        self, frames, kernels, name, norm, strides=(1, 1), relu=False
    ):
        """Depthwise kernels one after the other, then the batch norm.

        Args:
            frames: `(T, H, W, C)`.
            kernels: Each `(time, height, width, C)`; the first is strided.
            name: Of the layers.
            norm: Prefix of the batch norm's weights.
            strides: `(height, width)` of the first kernel.
            relu: Whether a relu follows.
        """
        for index, kernel in enumerate(kernels, 1):
            kernel, bias = kernel.astype(np.float64), None
            if index == len(kernels):
                scale, bias = self._norm(norm)
                kernel = kernel * scale
            part = f"{name}{index}" if len(kernels) > 1 else name
            lowered = self._temporal if _is_temporal(kernel) else self._taps
            frames = lowered(frames, kernel, part, bias, strides)
            strides = (1, 1)
        if relu:
            frames = tf_keras.layers.ReLU(name=f"{name}_relu")(frames)
        return frames

    def _temporal(self, frames, kernel, name, bias, strides):
        """A (k, 1, 1) kernel as a (k, 1) one on (1, T, H*W, C)."""
        assert strides == (1, 1), "a temporal kernel has no spatial stride"
        time, height, width, channels = frames.shape
        size = kernel.shape[0]
        past, future = self._reach(size)
        if past != future:
            pads = ((past, future), (0, 0), (0, 0))
            pad = lowered_layers.PadFrames(pads, name=f"{name}_pad")
            frames = pad(frames)
        flat = (1, frames.shape[0], height * width, channels)
        frames = lowered_layers.FixedReshape(flat, name=f"{name}_rows")(frames)
        frames = self._depthwise_conv(
            frames,
            kernel.reshape(size, 1, channels),
            name,
            bias=bias,
            padding="valid" if past != future else "same",
        )
        back = (time, height, width, channels)
        return lowered_layers.FixedReshape(back, name=f"{name}_frames")(frames)

    def _taps(self, frames, kernel, name, bias, strides):
        """A (t, h, w) kernel as a sum of t (h, w) kernels on shifted frames."""
        time = frames.shape[0]
        past, _ = self._reach(kernel.shape[0])
        padding = "same"
        if strides != (1, 1):
            size = kernel.shape[1:3]
            frames = pad_spatially(frames, size, f"{name}_pad")
            padding = "valid"
        total = None
        # The tap that needs no shift first: it carries the bias.
        order = sorted(range(kernel.shape[0]), key=lambda i: abs(i - past))
        for index in order:
            offset = index - past
            tap_name = f"{name}_tap{index}" if len(order) > 1 else name
            source = frames
            if abs(offset) >= time:
                continue  # It would only see padding.
            if offset:
                source = lowered_layers.SliceFrames(
                    max(offset, 0), time - abs(offset), name=f"{tap_name}_slice"
                )(frames)
            tap = self._depthwise_conv(
                source,
                kernel[index],
                tap_name,
                bias=bias if not offset else None,
                strides=strides,
                padding=padding,
            )
            if offset:
                shift = (max(-offset, 0), max(offset, 0))
                tap = lowered_layers.PadFrames(
                    (shift, (0, 0), (0, 0)), name=f"{tap_name}_shift"
                )(tap)
                total = tf_keras.layers.Add(name=f"{tap_name}_add")(
                    [total, tap]
                )
            else:
                total = tap
        return total

    def _reach(self, size):
        """Frames of the past and of the future that a kernel sees."""
        if self._arch.causal:
            return size - 1, 0
        return size // 2, size // 2

    # Layers with their weights.

    def _conv(self, frames, kernel, name, bias, strides=(1, 1)):
        layer = tf_keras.layers.Conv2D(
            kernel.shape[-1],
            kernel.shape[:2],
            strides,
            "valid",
            name=name,
        )
        self._values[name] = [kernel, bias]
        return layer(frames)

    def _depthwise_conv(
        self, frames, kernel, name, bias=None, strides=(1, 1), padding="same"
    ):
        layer = tf_keras.layers.DepthwiseConv2D(
            kernel.shape[:2],
            strides,
            padding,
            use_bias=bias is not None,
            name=name,
        )
        kernel = kernel[..., None]
        self._values[name] = [kernel] if bias is None else [kernel, bias]
        return layer(frames)

    def _norm(self, prefix):
        return weights_lib.norm_scale_and_shift(self._weights, prefix)


def _is_temporal(kernel) -> bool:
    return kernel.shape[1:3] == (1, 1)


def pad_spatially(frames, size, name, value=0.0):
    """Pads rows and columns by k//2 on both sides, as the models do."""
    rows, columns = size[0] // 2, size[1] // 2
    pads = ((0, 0), (rows, rows), (columns, columns))
    return lowered_layers.PadFrames(pads, value, name=name)(frames)


def _activate(frames, activation, name):
    if activation == "relu":
        return tf_keras.layers.ReLU(name=name)(frames)
    if activation == "hard_swish":
        return lowered_layers.HardSwish(name=name)(frames)
    assert activation == "swish", activation
    gate = tf_keras.layers.Activation("sigmoid", name=f"{name}_gate")(frames)
    return tf_keras.layers.Multiply(name=name)([frames, gate])
