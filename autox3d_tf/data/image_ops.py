"""Changes of pictures, each the same for all frames of a clip.

All take and return a float32 clip `(T, H, W, 3)` in [0, 255]. Numbers that
depend on the picture, such as the mean or the histogram, are those of the whole
clip, so that one frame is not changed differently from the next. On a clip of
one frame they do what the operations of the same name in Pillow do.
"""

import math

import tensorflow as tf

from autox3d_tf.data import sampling

# What comes in from outside the picture: the mean, as networks expect it.
FILL = sampling.MEAN * 255.0
_LUMA = (0.299, 0.587, 0.114)


def brightness(clip, factor) -> tf.Tensor:
    """Scales all levels; 0 is black, 1 no change."""
    return _clip(clip * factor)


def color(clip, factor) -> tf.Tensor:
    """Scales colours about grey; 0 is grey, 1 no change."""
    return _blend(_gray(clip), clip, factor)


def contrast(clip, factor) -> tf.Tensor:
    """Scales levels about the clip's mean; 0 is that mean, 1 no change."""
    return _blend(tf.reduce_mean(_gray(clip)), clip, factor)


def sharpness(clip, factor) -> tf.Tensor:
    """Scales details; 0 is smoothed by a 3x3 kernel, 1 no change."""
    kernel = tf.constant([1, 1, 1, 1, 5, 1, 1, 1, 1], tf.float32) / 13.0
    kernel = tf.tile(tf.reshape(kernel, (3, 3, 1, 1)), (1, 1, 3, 1))
    smooth = tf.nn.depthwise_conv2d(clip, kernel, (1, 1, 1, 1), "VALID")
    inner = tf.pad(tf.ones_like(smooth), _BORDER)  # 0 at the border
    smooth = tf.where(inner > 0, tf.pad(smooth, _BORDER), clip)
    return _blend(smooth, clip, factor)


_BORDER = ((0, 0), (1, 1), (1, 1), (0, 0))


def posterize(clip, bits) -> tf.Tensor:
    """Keeps the `bits` highest bits, 1 to 8, of each level."""
    step = tf.pow(2.0, 8.0 - tf.cast(bits, tf.float32))
    return tf.floor(clip / step) * step


def solarize(clip, threshold) -> tf.Tensor:
    """Inverts the levels from `threshold` on."""
    return tf.where(clip < threshold, clip, 255.0 - clip)


def invert(clip) -> tf.Tensor:
    """Makes a negative."""
    return 255.0 - clip


def autocontrast(clip) -> tf.Tensor:
    """Stretches the levels of each channel of the clip to [0, 255]."""
    low = tf.reduce_min(clip, (0, 1, 2))
    spread = tf.reduce_max(clip, (0, 1, 2)) - low
    stretched = (clip - low) * (255.0 / tf.maximum(spread, 1e-6))
    return tf.where(spread > 0, stretched, clip)


def equalize(clip) -> tf.Tensor:
    """Spreads the levels of each channel so that all are equally frequent."""
    levels = tf.cast(tf.round(clip), tf.int32)
    channels = [_equalize_channel(levels[..., c]) for c in range(3)]
    return tf.stack(channels, axis=-1)


def _equalize_channel(levels) -> tf.Tensor:
    counts = tf.math.bincount(
        tf.reshape(levels, (-1,)), minlength=256, maxlength=256
    )
    last = tf.reduce_max(tf.where(counts > 0, tf.range(256), 0))
    step = (tf.reduce_sum(counts) - counts[last]) // 255
    below = tf.cumsum(counts, exclusive=True)
    table = tf.minimum((below + step // 2) // tf.maximum(step, 1), 255)
    table = tf.where(step > 0, table, tf.range(256))
    return tf.cast(tf.gather(table, levels), tf.float32)


def rotate(clip, degrees) -> tf.Tensor:
    """Turns the picture counterclockwise about its centre."""
    angle = tf.cast(degrees, tf.float32) * (math.pi / 180.0)
    cosine, sine = tf.cos(angle), tf.sin(angle)
    x, y = _centre(clip)
    return _affine(
        clip,
        (cosine, -sine, x - cosine * x + sine * y),
        (sine, cosine, y - sine * x - cosine * y),
    )


def shear_x(clip, slope) -> tf.Tensor:
    """Moves rows sideways, by `slope` times their distance from the centre."""
    _, y = _centre(clip)
    return _affine(clip, (1.0, slope, -slope * y), (0.0, 1.0, 0.0))


def shear_y(clip, slope) -> tf.Tensor:
    """Moves columns up and down, by `slope` times the same."""
    x, _ = _centre(clip)
    return _affine(clip, (1.0, 0.0, 0.0), (slope, 1.0, -slope * x))


def translate_x(clip, share) -> tf.Tensor:
    """Moves the picture to the right by a share of its width."""
    width = tf.cast(tf.shape(clip)[2], tf.float32)
    return _affine(clip, (1.0, 0.0, -share * width), (0.0, 1.0, 0.0))


def translate_y(clip, share) -> tf.Tensor:
    """Moves the picture down by a share of its height."""
    height = tf.cast(tf.shape(clip)[1], tf.float32)
    return _affine(clip, (1.0, 0.0, 0.0), (0.0, 1.0, -share * height))


def _centre(clip):
    shape = tf.cast(tf.shape(clip), tf.float32)
    return (shape[2] - 1.0) / 2.0, (shape[1] - 1.0) / 2.0


def _affine(clip, x_row, y_row) -> tf.Tensor:
    """Takes the pixel at (x, y) from the places that the two rows give."""
    rows = [tf.cast(value, tf.float32) for value in (*x_row, *y_row, 0.0, 0.0)]
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=clip,
        transforms=tf.stack(rows)[None],  # one for all frames
        output_shape=tf.shape(clip)[1:3],
        fill_value=FILL,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )


def _gray(clip) -> tf.Tensor:
    return tf.reduce_sum(clip * tf.constant(_LUMA), axis=-1, keepdims=True)


def _blend(other, clip, factor) -> tf.Tensor:
    return _clip(other + (clip - other) * factor)


def _clip(clip) -> tf.Tensor:
    return tf.clip_by_value(clip, 0.0, 255.0)
