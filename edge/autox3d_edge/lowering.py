"""ArchSpec and weights -> a tf_keras graph of 4-D tensors, ready for TFLite.

The network is rebuilt from its specification, not matched in a graph. Frames
are the batch: (T, H, W, C). A depthwise convolution over time only runs on
(1, T, H*W, C); a full 3-D one is a sum of 2-D ones, one per temporal tap,
over shifted frames. Batch norms become part of the convolution before them.
The input is raw RGB in [0, 255]; the mean pixel is subtracted, the rest of its
normalisation is part of the first convolution.
"""

import numpy as np
import tf_keras

from autox3d_edge import lowered_layers
from autox3d_edge import weights as weights_lib
from autox3d_tf.data import sampling
from autox3d_tf.space import arch as arch_lib

# What the projection makes good. TFLite has an operation for hard_swish, but
# none in int16, and none in int8 that XNNPACK takes over.
_GAINS = {"hard_swish": 1 / 6}

# The raw value that the normalisation maps to 0: what "same" padding means.
RAW_ZERO = 255 * sampling.MEAN


def lower(
    arch: arch_lib.ArchSpec,
    weights: weights_lib.Weights,
    *,
    softmax: bool = True,
) -> tf_keras.Model:
    """Returns the network in 4-D tensors.

    Args:
        arch: What to build; its `clip_size` becomes the input's shape.
        weights: As returned by `models.weight_values`.
        softmax: End in probabilities, not logits.

    Input shape: `(T, H, W, 3)`, raw RGB in [0, 255], float32.
    Output shape: `(1, classes)`.

    Raises:
        ValueError: A weight is missing, of another shape or not finite.
    """
    checked = weights_lib.check_weights(arch, weights)
    return Lowering(arch, checked, softmax).build()


class Lowering:
    """Builds the graph layer by layer and remembers each layer's weights.

    Others override what reaches over time: `_temporal`, `_taps`, `_mean`.
    """

    def __init__(self, arch, weights, softmax=True):
        self._arch = arch
        self._weights = weights
        self._softmax = softmax
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
        # The mean pixel first: what pads is then 0, with which XNNPACK pads
        # while it convolves. TFLite's padding with others is slow.
        centre = lowered_layers.Shift(-RAW_ZERO, name="stem_centre")
        kernel = self._weights["stem/spatial_kernel"].astype(np.float64)
        frames = self._conv(
            pad_spatially(centre(clip), (3, 3), "stem_pad"),
            kernel / (255.0 * sampling.DEVIATION),
            "stem_spatial",
            bias=np.zeros(kernel.shape[-1]),
            strides=self._arch.stem.strides[1:],
        )
        temporal = self._weights["stem/temporal_kernel"]
        folded = self._folded([temporal], "stem_temporal", "stem/norm")
        frames = self._convolve(frames, folded)
        return tf_keras.layers.ReLU(name="stem_temporal_relu")(frames)

    def _block(self, frames, block):
        name, spec = block.name, block.spec
        shortcut = frames
        frames = self._inner(frames, block)
        if spec.attention == "se":
            frames = self._squeeze_excite(frames, name)
        activation = self._arch.activation
        frames = _activate(frames, activation, f"{name}_activation")
        frames = self._pointwise(
            frames,
            f"{name}/project",
            f"{name}_project",
            gain=_GAINS.get(activation, 1.0),
        )
        if block.projects:
            shortcut = self._pointwise(
                shortcut,
                f"{name}/shortcut",
                f"{name}_shortcut",
                strides=spec.strides[1:],
            )
        frames = tf_keras.layers.Add(name=f"{name}_add")([frames, shortcut])
        return tf_keras.layers.ReLU(name=f"{name}_relu")(frames)

    def _inner(self, frames, block):
        """The expansion of a block and its depthwise kernels."""
        name, strides = block.name, block.spec.strides[1:]
        frames = self._expand(frames, name)
        return self._convolve(frames, self._inner_kernels(block), strides)

    def _expand(self, frames, name, suffix=""):
        expanded = f"{name}_expand{suffix}"
        return self._pointwise(frames, f"{name}/expand", expanded, relu=True)

    def _inner_kernels(self, block):
        """The depthwise kernels of a block, as of `_folded`."""
        name = block.name
        kernels = [
            self._weights[f"{name}/depthwise{index}_kernel"]
            for index in range(1, len(block.spec.kernels) + 1)
        ]
        return self._folded(
            kernels, f"{name}_depthwise", f"{name}/depthwise_norm"
        )

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
        if self._softmax:
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

    def _pointwise(
        self, frames, prefix, name, strides=(1, 1), relu=False, gain=1.0
    ):
        """1x1 convolution `prefix`_kernel with batch norm `prefix`_norm."""
        kernel = self._weights[f"{prefix}_kernel"][None, None]
        scale, shift = self._norm(f"{prefix}_norm")
        kernel = kernel * scale * gain
        frames = self._conv(frames, kernel, name, shift, strides)
        if relu:
            frames = tf_keras.layers.ReLU(name=f"{name}_relu")(frames)
        return frames

    def _folded(self, kernels, name, norm):
        """Depthwise kernels with the batch norm that follows them.

        Args:
            kernels: Applied one after the other, `(time, height, width, C)`.
            name: Of the layers.
            norm: Prefix of the batch norm's weights.

        Returns:
            For each its name, the kernel, and its bias or None.
        """
        scale, shift = self._norm(norm)
        folded = []
        for number, kernel in enumerate(kernels, 1):
            kernel, bias = kernel.astype(np.float64), None
            if number == len(kernels):
                kernel, bias = kernel * scale, shift
            part = f"{name}{number}" if len(kernels) > 1 else name
            folded.append((part, kernel, bias))
        return folded

    def _convolve(self, frames, folded, strides=(1, 1)):
        """Applies what `_folded` returns; the first kernel is strided."""
        for name, kernel, bias in folded:
            lowered = self._temporal if _is_temporal(kernel) else self._taps
            frames = lowered(frames, kernel, name, bias, strides)
            strides = (1, 1)
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
        """A (t, h, w) kernel as a sum of t (h, w) kernels on shifted frames.

        Frames are cut away where they are smaller: before a kernel without
        stride, which then has less to do, and behind one with a stride.
        """
        time, strided = frames.shape[0], strides != (1, 1)
        past, _ = self._reach(kernel.shape[0])
        total = None
        for index in in_order(kernel.shape[0], past):
            offset = index - past
            if abs(offset) >= time:
                continue  # It would only see padding.
            tap_name = f"{name}_tap{index}" if kernel.shape[0] > 1 else name
            cut = lowered_layers.SliceFrames(
                max(offset, 0), time - abs(offset), name=f"{tap_name}_slice"
            )
            tap = cut(frames) if offset and not strided else frames
            tap = self._tap(
                tap,
                kernel,
                index,
                tap_name,
                bias if not offset else None,
                strides,
            )
            if offset:
                shift = (max(-offset, 0), max(offset, 0))
                tap = lowered_layers.PadFrames(
                    (shift, (0, 0), (0, 0)), name=f"{tap_name}_shift"
                )(cut(tap) if strided else tap)
            total = self._sum(total, tap, tap_name)
        return total

    def _tap(self, frames, kernel, index, name, bias, strides):
        """Tap `index` over time of a kernel, on the frames that it sees."""
        padding = "same"
        if strides != (1, 1):
            pads = spatial_pads(
                frames.shape[1:3], kernel.shape[1:3], strides, index
            )
            frames = lowered_layers.PadFrames(
                ((0, 0), *pads), name=f"{name}_pad"
            )(frames)
            padding = "valid"
        return self._depthwise_conv(
            frames, kernel[index], name, bias, strides, padding
        )

    def _sum(self, total, part, name):
        if total is None:
            return part
        return tf_keras.layers.Add(name=f"{name}_add")([total, part])

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
        self,
        frames,
        kernel,
        name,
        bias=None,
        strides=(1, 1),
        padding="same",
        dilation=(1, 1),
    ):
        layer = tf_keras.layers.DepthwiseConv2D(
            kernel.shape[:2],
            strides,
            padding,
            dilation_rate=dilation,
            use_bias=bias is not None,
            name=name,
        )
        kernel = kernel[..., None]
        self._values[name] = [kernel] if bias is None else [kernel, bias]
        return layer(frames)

    def _norm(self, prefix):
        return weights_lib.norm_scale_and_shift(self._weights, prefix)


def last_layer(part: str) -> str:
    """Returns the lowered layer whose output is that of a part, by name."""
    ends = {"stem": "stem_temporal_relu", "head": "head_logits"}
    return ends.get(part, f"{part}_relu")


def _is_temporal(kernel) -> bool:
    return kernel.shape[1:3] == (1, 1)


def in_order(size: int, centre: int) -> list[int]:
    """Taps of a kernel, first the one that needs no shift: it has the bias.

    >>> in_order(5, 2)
    [2, 1, 3, 0, 4]
    """
    return sorted(range(size), key=lambda index: abs(index - centre))


def pad_spatially(frames, size, name):
    """Pads rows and columns by k//2 on both sides, as the models do."""
    rows, columns = size[0] // 2, size[1] // 2
    pads = ((0, 0), (rows, rows), (columns, columns))
    return lowered_layers.PadFrames(pads, name=name)(frames)


def spatial_pads(image, size, strides, number):
    """Paddings of rows and columns by k//2, and what differs with `number`.

    XNNPACK pads as it convolves, without a copy, where no other convolution
    takes the same padded images. A padding of several taps would be one for
    all; so each leaves out, or adds, rows and columns at the end that the
    stride steps over.

    Args:
        image: `(height, width)`.
        size: Of the kernel, `(h, w)`.
        strides: `(height, width)`.
        number: Of the tap; the first four differ.

    Returns:
        `((top, bottom), (left, right))`.

    >>> spatial_pads((8, 9), (3, 3), (2, 2), 0)
    ((1, 0), (1, 1))
    >>> spatial_pads((8, 9), (3, 3), (2, 2), 3)
    ((1, 1), (1, 2))
    """
    pads = []
    for axis in (0, 1):
        before = size[axis] // 2
        beyond = (image[axis] + 2 * before - size[axis]) % strides[axis]
        more = (number >> axis) & (strides[axis] > 1)
        pads.append((before, max(before - beyond, 0) + more))
    return tuple(pads)


def _activate(frames, activation, name):
    """Of hard_swish six times as much: see `_GAINS`."""
    if activation == "relu":
        return tf_keras.layers.ReLU(name=name)(frames)
    if activation == "hard_swish":
        shift = lowered_layers.Shift(3.0, name=f"{name}_shift")
        gate = tf_keras.layers.ReLU(6.0, name=f"{name}_gate")(shift(frames))
    else:
        assert activation == "swish", activation
        gate = tf_keras.layers.Activation("sigmoid", name=f"{name}_gate")
        gate = gate(frames)
    return tf_keras.layers.Multiply(name=name)([frames, gate])
