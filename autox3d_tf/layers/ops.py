"""Operations on clips `(batch, time, height, width, channels)`, from 2-D ones.

Convolutions over a clip are built from 2-D convolutions and matrix products:
on CPUs these are many times faster in training than grouped 3-D convolutions,
and the same forms run on the device. All shapes may be dynamic in batch, time
and channels, so that the supernet can use slices of shared weights. Sizes that
are known do not become nodes of the graph: a small step takes as long as its
nodes take to start, most of all on a GPU.
"""

import functools
import operator
from collections.abc import Sequence

import tensorflow as tf

from autox3d_tf.space import weight_names

# Where norms are by batch, inner channels are filled up with zeros to a
# multiple of this: with 54 or 108, as X3D has, batch norm on a CPU takes 2 to
# 4 times as long.
LANES = 8
_SMALL = 5  # fewer rows or columns are padded before they are convolved


def hard_swish(x: tf.Tensor) -> tf.Tensor:
    """x * relu6(x + 3) / 6 (Howard et al., ICCV 2019)."""
    return x * tf.nn.relu6(x + 3.0) * (1.0 / 6.0)


ACTIVATIONS = {
    "swish": tf.nn.silu,
    "hard_swish": hard_swish,
    "relu": tf.nn.relu,
}


def sizes(x: tf.Tensor) -> list[int | tf.Tensor]:
    """The size of each axis: a number where it is known, else a scalar."""
    known = tf.TensorShape(x.shape).as_list()
    if None not in known:
        return known
    found = tf.unstack(tf.shape(x), len(known))
    return [
        scalar if number is None else number
        for number, scalar in zip(known, found, strict=True)
    ]


def reshape(x: tf.Tensor, new_sizes: Sequence[int | tf.Tensor]) -> tf.Tensor:
    """As `tf.reshape`, which finds the only size that is not known itself."""
    unknown = [isinstance(size, tf.Tensor) for size in new_sizes]
    if sum(unknown) == 1:
        new_sizes = [
            -1 if scalar else size
            for size, scalar in zip(new_sizes, unknown, strict=True)
        ]
    return tf.reshape(x, new_sizes)


def pick(table: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """`table[index]`, in the host's memory where the step runs on a GPU, too.

    There `gather`, `where` and `cast` are the GPU's work, of small int32
    tensors too, and the host waits for sizes that depend on them.
    """
    place = tf.reshape(index, [1])
    return tf.raw_ops.StridedSlice(  # takes no notice of the end
        input=table, begin=place, end=place, strides=[1], shrink_axis_mask=1
    )


def fold_time(clip: tf.Tensor) -> tf.Tensor:
    """`(B, T, H, W, C)` -> `(B * T, H, W, C)`; images stay as they are."""
    if len(clip.shape) == 4:
        return clip
    return tf.reshape(clip, [-1, *sizes(clip)[2:]])


def unfold_time(images: tf.Tensor, time: int | tf.Tensor) -> tf.Tensor:
    """`(B * T, H, W, C)` -> `(B, T, H, W, C)`."""
    return tf.reshape(images, [-1, time, *sizes(images)[1:]])


def fill_up(weight: tf.Tensor, axis: int, size: int | None) -> tf.Tensor:
    """Appends zeros along an axis up to `size`; None changes nothing."""
    if size is None or weight.shape[axis] in (None, size):
        return weight
    paddings = [[0, 0] for _ in weight.shape]
    paddings[axis][1] = size - weight.shape[axis]
    return tf.pad(weight, paddings)


def pointwise(clip: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """1x1x1 convolution; `kernel` is `(in, out)`."""
    *outer, inputs = sizes(clip)
    out = tf.matmul(tf.reshape(clip, [-1, inputs]), kernel)
    result = reshape(out, [*outer, sizes(kernel)[1]])
    result.set_shape([*clip.shape[:-1], kernel.shape[-1]])
    return result


def subsample(clip: tf.Tensor, strides: tuple[int, int, int]) -> tf.Tensor:
    """Every `strides`-th position: a strided 1x1x1 convolution's input."""
    if strides == (1, 1, 1):
        return clip
    # Pooling of windows of one pixel, for its fast gradient.
    images = tf.nn.avg_pool2d(fold_time(clip), 1, strides[1:], "VALID")
    if len(clip.shape) == 4:
        return images
    return unfold_time(images, sizes(clip)[1])


def spatial_conv(
    clip: tf.Tensor, kernel: tf.Tensor, strides: tuple[int, int, int]
) -> tf.Tensor:
    """Dense 1xkxk convolution padded by k // 2; `kernel` `(h, w, in, out)`."""
    images, padding = pad_images(
        fold_time(clip), kernel[None, :, :, 0], strides
    )
    images = tf.nn.conv2d(images, kernel, strides[1:], padding)
    return unfold_time(images, sizes(clip)[1])


def depthwise_conv3d(
    clip: tf.Tensor,
    kernel: tf.Tensor,
    strides: tuple[int, int, int] = (1, 1, 1),
    causal: bool = False,
) -> tf.Tensor:
    """Depthwise 3-D convolution, exact, as a sum of shifted 2-D ones.

    y[t] = sum_i depthwise_conv2d(x, kernel[i])[t + i - p], where p is k // 2,
    or k - 1 if `causal`. Space is padded by k // 2 on both sides.

    Args:
        clip: `(B, T, H, W, C)`.
        kernel: `(t, h, w, C)`, odd sizes, statically known but for C.
        strides: `(1, height, width)`.
        causal: Whether a frame sees itself and the past only.

    Returns:
        `(B, T, ceil(H / height), ceil(W / width), C)`.
    """
    taps, rows, columns = kernel.shape[:3]
    if taps > 1 and rows == columns == 1 and strides == (1, 1, 1):
        return _temporal_depthwise(clip, kernel[:, :, 0, :], causal)
    time = sizes(clip)[1]
    images, padding = pad_images(fold_time(clip), kernel, strides)
    past = taps - 1 if causal else taps // 2
    shifted = []
    for tap, flat in enumerate(tf.unstack(kernel[..., tf.newaxis])):
        out = tf.nn.depthwise_conv2d(
            images, flat, (1, *strides[1:], 1), padding
        )
        shifted.append(shift_time(unfold_time(out, time), tap - past))
    return tf.add_n(shifted)


def _temporal_depthwise(clip, kernel, causal):
    """`kernel` `(t, 1, C)`: one 2-D convolution over (time, positions)."""
    taps = kernel.shape[0]
    shape = batch, time, rows, columns, channels = sizes(clip)
    flat = reshape(clip, [batch, time, rows * columns, channels])
    if causal:
        padding = [[0, 0], [taps - 1, 0], [0, 0], [0, 0]]
    else:
        flat, padding = pad_images(flat, kernel[tf.newaxis], (1, 1, 1))
    out = tf.nn.depthwise_conv2d(
        flat, kernel[..., tf.newaxis], (1, 1, 1, 1), padding
    )
    return reshape(out, shape)


def pad_images(images, kernel, strides):
    """Pads k // 2 on both sides where SAME would be wrong, or slow.

    Strided, SAME pads the far side only. And of a kernel that is larger than
    the images oneDNN takes 2 to 10 times as long for the gradient.

    Args:
        images: `(N, H, W, C)`.
        kernel: `(t, h, w, C)`; h and w may be dynamic.
        strides: `(1, height, width)`.

    Returns:
        The images, and the padding to convolve them with.
    """
    small = any(
        size is not None and size < min(_SMALL, kernel.shape[axis] or _SMALL)
        for axis, size in zip((1, 2), images.shape[1:3], strict=True)
    )
    if strides[1:] == (1, 1) and not small:
        return images, "SAME"
    rows, columns = (
        tf.shape(kernel)[axis] // 2
        if kernel.shape[axis] is None
        else kernel.shape[axis] // 2
        for axis in (1, 2)
    )
    padded = tf.pad(images, [[0, 0], [rows, rows], [columns, columns], [0, 0]])
    return padded, "VALID"


def shift_time(clip: tf.Tensor, offset: int) -> tf.Tensor:
    """result[t] = clip[t + offset], zero outside the clip.

    Made of `pad` and `slice`, whose gradients are each other; that of the
    bracket notation took half of a training step.
    """
    if offset == 0:
        return clip
    batch, time, *rest = sizes(clip)
    rows = reshape(clip, [batch, time, functools.reduce(operator.mul, rest)])
    past, future = max(-offset, 0), max(offset, 0)
    padded = tf.pad(rows, [[0, 0], [past, future], [0, 0]])
    rows = tf.slice(padded, [0, future, 0], [-1, time, -1])
    result = reshape(rows, [batch, time, *rest])
    result.set_shape(clip.shape)
    return result


def batch_norm_training(
    clip: tf.Tensor,
    gamma: tf.Tensor,
    beta: tf.Tensor,
    moving: Sequence[tf.Tensor] = (None, None),
    momentum: float = 0.0,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Normalises clips or images.

    Args:
        clip: `(B, T, H, W, C)` or `(N, H, W, C)`, of any float type.
        gamma, beta: float32, `(C,)`.
        moving: Moving mean and variance, the same; not given, those of the
            batch are returned.
        momentum: What they keep.

    Returns:
        The result, of the type of `clip`, and float32 the mean and the
        variance with this batch in them. That variance is the unbiased one,
        over n - 1; clips are normalised by the other.
    """
    out, mean, variance = tf.compat.v1.nn.fused_batch_norm(
        fold_time(clip),
        gamma,
        beta,
        *moving,
        epsilon=weight_names.NORM_EPSILON,
        is_training=True,
        exponential_avg_factor=1.0 - momentum,
    )
    if len(clip.shape) != 4:
        out = reshape(out, sizes(clip))
    return out, mean, variance


def batch_norm_inference(
    clip: tf.Tensor,
    gamma: tf.Tensor,
    beta: tf.Tensor,
    mean: tf.Tensor,
    variance: tf.Tensor,
) -> tf.Tensor:
    """Normalises by given statistics (all float32, `(C,)`).

    In float32, as `batch_norm_training` does: what `mean` is many deviations
    from 0 loses its last bits otherwise, each channel by its own error.
    """
    scale = gamma * tf.math.rsqrt(variance + weight_names.NORM_EPSILON)
    offset = beta - mean * scale
    return tf.cast(tf.cast(clip, tf.float32) * scale + offset, clip.dtype)


def mean_over_clip(clip: tf.Tensor, causal: bool = False) -> tf.Tensor:
    """Mean over time, height and width, kept as `(B, 1, 1, 1, C)`.

    Causal: the mean over the frames so far, `(B, T, 1, 1, C)`. Added up in
    float32: a sum in float16 overflows, and loses what is small beside it.
    """
    values = tf.cast(clip, tf.float32)
    if not causal:
        # A gradient of `reduce_mean` gathers sizes: see `pick`.
        total = tf.reduce_sum(values, (1, 2, 3), keepdims=True)
        count = functools.reduce(operator.mul, sizes(clip)[1:4])
        mean = total / tf.cast(count, tf.float32)
    else:
        frames = tf.reduce_mean(values, (2, 3), keepdims=True)
        count = tf.range(1, sizes(clip)[1] + 1)[:, None, None, None]
        mean = tf.cumsum(frames, axis=1) / tf.cast(count, tf.float32)
    return tf.cast(mean, clip.dtype)


def squeeze_excite(
    clip: tf.Tensor,
    reduce_kernel: tf.Tensor,
    reduce_bias: tf.Tensor,
    expand_kernel: tf.Tensor,
    expand_bias: tf.Tensor,
    causal: bool = False,
) -> tf.Tensor:
    """Reweights channels by what the clip looks like (Hu et al., 2018)."""
    context = mean_over_clip(clip, causal)
    hidden = tf.nn.relu(pointwise(context, reduce_kernel) + reduce_bias)
    return clip * tf.sigmoid(pointwise(hidden, expand_kernel) + expand_bias)
