"""An ArchSpec and weights -> a graph that is fast where it stays in float.

It computes what `lowering` computes, with fewer copies: there frames are cut
and padded for every tap over time. XNNPACK pads rows and columns while it
convolves, at no cost, so here

- a block without a stride has its frames one below the other in one image. A
  (t, h, w) kernel is a sum of h kernels (t, w) whose rows are a frame apart,
  each shifted by a row more or less in its padding; a mask takes out what a
  shift brings in from the next frame;
- a block with a stride and large inner frames takes one frame after the other,
  which stays in the processor's cache. Taps are added where they belong.

Not for integers: a product with a mask takes them longer than the copies, and
each frame would be rounded by itself.
"""

import math
from collections.abc import Callable

import tf_keras

from autox3d_edge import lowered_layers, lowering
from autox3d_edge import weights as weights_lib
from autox3d_tf.space import arch as arch_lib

PRECISIONS = ("fp32", "fp16", "dynamic")  # whose activations are float
_CACHE_BYTES = 1 << 22  # a clip's inner frames of a block that stay in it
_TAPS = 9  # of XNNPACK's depthwise kernels; more cost as much as 25
_JOINED = 5  # as many as XNNPACK puts together in one operation


def choose(precision: str) -> Callable[..., tf_keras.Model]:
    """Returns what lowers a network for one of `quantize.PRECISIONS`."""
    return lower_float if precision in PRECISIONS else lowering.lower


def lower_float(
    arch: arch_lib.ArchSpec,
    weights: weights_lib.Weights,
    *,
    softmax: bool = True,
) -> tf_keras.Model:
    """The same as `lowering.lower`, for float."""
    checked = weights_lib.check_weights(arch, weights)
    return _FloatLowering(arch, checked, softmax).build()


class _FloatLowering(lowering.Lowering):
    """Frames are a batch, (T, H, W, C), or one image, (1, T*H, W, C)."""

    def _is_image(self, frames):
        return frames.shape[0] != self._arch.clip_size[0]

    def _height(self, image):
        """Rows of one frame."""
        return image.shape[1] // self._arch.clip_size[0]

    def _block(self, frames, block):
        time, height, width, channels = frames.shape
        if not self._fits_an_image(block.spec):
            return super()._block(frames, block)
        reshape = lowered_layers.FixedReshape(
            (1, time * height, width, channels), name=f"{block.name}_image"
        )
        image = super()._block(reshape(frames), block)
        shape = (time, height, width, image.shape[-1])
        back = lowered_layers.FixedReshape(shape, name=f"{block.name}_frames")
        return back(image)

    def _fits_an_image(self, spec):
        """Whether all kernels look less far over rows than over time.

        An image takes one convolution per row of a kernel, a batch of frames
        one per frame. Of a causal kernel the last row would be cut off.
        """
        over_time = all(
            kernel[1:] == (1, 1)
            or 1 < kernel[1] <= kernel[0] <= _TAPS // kernel[2]
            for kernel in spec.kernels
        )
        several = self._arch.clip_size[0] > 1 and not self._arch.causal
        return over_time and several and spec.strides[1:] == (1, 1)

    def _inner(self, frames, block):
        """One frame after the other if it is strided and large."""
        spec = block.spec
        size = 4 * spec.inner_filters * math.prod(frames.shape[:3])  # bytes
        if spec.strides[1:] == (1, 1) or size <= _CACHE_BYTES:
            return super()._inner(frames, block)
        first, *others = self._inner_kernels(block)
        frames = self._frame_by_frame(frames, block, first)
        return self._convolve(frames, others)

    def _frame_by_frame(self, frames, block, folded):
        name, kernel, bias = folded
        time = frames.shape[0]
        expanded = [
            self._expand(
                lowered_layers.SliceFrames(
                    t, 1, name=f"{block.name}_frame{t:03}"
                )(frames),
                block.name,
                f"_frame{t:03}",
            )
            for t in range(time)
        ]
        past, _ = self._reach(kernel.shape[0])
        results = []
        for t in range(time):
            total = None
            for index in lowering.in_order(kernel.shape[0], past):
                source = t + index - past
                if 0 <= source < time:
                    tap_name = f"{name}_frame{t:03}_tap{index}"
                    tap = self._tap(
                        expanded[source],
                        kernel,
                        index,
                        tap_name,
                        bias if source == t else None,
                        block.spec.strides[1:],
                    )
                    total = self._sum(total, tap, tap_name)
            results.append(total)
        return _join(results, f"{name}_join")

    def _taps(self, frames, kernel, name, bias, strides):
        """Of an image, as a sum of (t, w) kernels on shifted rows."""
        if not self._is_image(frames):
            return super()._taps(frames, kernel, name, bias, strides)
        height = self._height(frames)
        over_time, rows, columns = (size // 2 for size in kernel.shape[:3])
        total = None
        for index in lowering.in_order(kernel.shape[1], rows):
            offset = index - rows
            if abs(offset) >= height:
                continue  # It would only see padding.
            row_name = f"{name}_row{index}"
            above, below = (over_time * height + o for o in (-offset, offset))
            pads = ((0, 0), (above, below), (columns, columns))
            pad = lowered_layers.PadFrames(pads, name=f"{row_name}_pad")
            part = self._depthwise_conv(
                pad(frames),
                kernel[:, index],
                row_name,
                bias if not offset else None,
                padding="valid",
                dilation=(height, 1),
            )
            if offset:
                mask = lowered_layers.MaskRows(
                    height, offset, name=f"{row_name}_mask"
                )
                part = mask(part)
            total = self._sum(total, part, row_name)
        return total

    def _temporal(self, frames, kernel, name, bias, strides):
        """Of an image, as rows that are a frame apart."""
        if not self._is_image(frames):
            return super()._temporal(frames, kernel, name, bias, strides)
        return self._depthwise_conv(
            frames,
            kernel[:, :, 0],
            name,
            bias,
            dilation=(self._height(frames), 1),
        )

    def _mean(self, frames, name, cumulative=False):
        if not self._is_image(frames):
            return super()._mean(frames, name, cumulative)
        return lowered_layers.ImageMean(name=name)(frames)


def _join(frames, name):
    """Puts frames together, a few at a time."""
    level = 0
    while len(frames) > 1:
        groups = [
            frames[start : start + _JOINED]
            for start in range(0, len(frames), _JOINED)
        ]
        frames = [  # The converter leaves out what joins one only.
            lowered_layers.JoinFrames(name=f"{name}{level}_{number}")(group)
            for number, group in enumerate(groups)
        ]
        level += 1
    return frames[0]
