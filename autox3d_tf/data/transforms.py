"""From sampled frames to the clip a network sees, in TensorFlow.

Everything random takes a `seed`, an int32 tensor of shape (2,), and nothing
else: the same seed gives the same clip. All frames of a clip get the same
transform.
"""

import math

import numpy as np
import tensorflow as tf

from autox3d_tf.data import augment, sampling

_AUGMENT_SEED = 0xA06  # apart from those of `_split`

# Colours as brightness and two colour differences (YIQ).
_TO_YIQ = np.array(
    [
        [0.299, 0.587, 0.114],
        [0.5959, -0.2746, -0.3213],
        [0.2115, -0.5227, 0.3112],
    ],
    np.float32,
)
_FROM_YIQ = np.linalg.inv(_TO_YIQ).astype(np.float32)


def normalize(clip) -> tf.Tensor:
    """Scales pixels from [0, 255] to `(x / 255 - 0.45) / 0.225`, float32."""
    return sampling.normalize(tf.cast(clip, tf.float32))


def standardize(clip, how=True) -> tf.Tensor:
    """`sampling.standardize` without rounding: float32 in [0, 255]."""
    clip = tf.cast(clip, tf.float32)
    if not how:
        return clip
    axes = (1, 2) if how == "frame" else (0, 1, 2)
    centred = clip - tf.reduce_mean(clip, axes, keepdims=True)
    variance = tf.reduce_mean(centred**2, (*axes, 3), keepdims=True)
    deviation = tf.maximum(tf.sqrt(variance), 1.0)
    scale = 255 * sampling.DEVIATION / deviation
    levels = 255 * sampling.MEAN + centred * scale
    return tf.clip_by_value(levels, 0.0, 255.0)


def draw_mirror(seed) -> tf.Tensor:
    """Returns whether a clip is mirrored where it may be: bool, half of them.

    Args:
        seed: int32 `(2,)`, that of `train_clip`.
    """
    return tf.random.stateless_uniform((), _split(seed)[1]) < 0.5


def _split(seed):
    """Seeds of the crop, the mirror and the colours of a training clip."""
    return tf.random.split(seed, 3)


def train_clip(frames, seed, options, mirrored) -> tf.Tensor:
    """Returns a randomly cut, shifted, recoloured and augmented clip.

    Args:
        frames: uint8 `(T, height, width, 3)`.
        seed: int32 `(2,)`.
        options: A `DataOptions`.
        mirrored: Whether to mirror it left to right, a bool.

    Returns:
        float32 `(T, crop_size, crop_size, 3)`, normalised.
    """
    seeds = _split(seed)
    low, high = options.short_side_range
    clip = random_crop(
        frames,
        seeds[0],
        low,
        high,
        options.crop_size,
        options.shift,
        options.squash,
    )
    clip = mirror(clip, mirrored)
    policy_seed, erase_seed = tf.unstack(
        tf.random.split(tf.random.fold_in(seed, _AUGMENT_SEED), 2)
    )
    if options.rand_augment:
        clip = augment.rand_augment(
            clip, policy_seed, options.rand_augment, options.rand_magnitude
        )
    if options.auto_augment:
        clip = augment.auto_augment(clip, policy_seed)
    clip = color_jitter(
        clip,
        seeds[2],
        brightness=options.brightness,
        contrast=options.contrast,
        saturation=options.saturation,
        hue=options.hue,
    )
    clip = normalize(standardize(clip, options.standardize))
    if options.erase:
        clip = augment.erase(clip, erase_seed, options.erase)
    return clip


def eval_clips(
    frames,
    short_side,
    crop_size,
    spatial_crops,
    squash=False,
    standardized=False,
) -> tf.Tensor:
    """Returns uint8 `(spatial_crops, T, crop_size, crop_size, 3)`.

    The scaling rounds to uint8, as the device runtime does: see
    `sampling.resize_frames`.
    """
    shape = tf.shape(frames)
    height, width = _resize_shape(shape[1], shape[2], short_side, squash)
    spare = tf.stack([height - crop_size, width - crop_size])
    along = tf.where(height > width, [1, 0], [0, 1])
    corners = [spare // 2] * spatial_crops
    if spatial_crops > 1:
        corners = [
            tf.where(along == 1, spare * number // (spatial_crops - 1), centre)
            for number, centre in enumerate(corners)
        ]
    first, last = corners[0], corners[-1]
    resized = _scaled(
        frames,
        height,
        width,
        tf.range(first[0], last[0] + crop_size),
        tf.range(first[1], last[1] + crop_size),
    )
    resized = tf.cast(tf.clip_by_value(tf.round(resized), 0, 255), tf.uint8)
    clips = [
        resized[:, y : y + crop_size, x : x + crop_size]
        for y, x in (tf.unstack(corner - first) for corner in corners)
    ]
    if standardized:
        clips = [
            tf.cast(tf.round(standardize(clip, standardized)), tf.uint8)
            for clip in clips
        ]
    clips = tf.stack(clips)
    clips.set_shape((spatial_crops, None, crop_size, crop_size, 3))
    return clips


def random_crop(
    frames,
    seed,
    min_side: int,
    max_side: int,
    crop_size: int,
    shift: float,
    squash: bool = False,
) -> tf.Tensor:
    """Scales to a random shorter side and cuts a square at a random place.

    Args:
        frames: `(T, height, width, 3)`.
        seed: int32 `(2,)`.
        min_side, max_side: Range of the shorter side, both included.
        crop_size: Side of the square.
        shift: The square may leave the picture by this share of its side;
            what lies outside repeats the edge.
        squash: Scale both sides to the same length.

    Returns:
        float32 `(T, crop_size, crop_size, 3)` in [0, 255].
    """
    shape = tf.shape(frames)
    draws = tf.random.stateless_uniform((3,), seed)
    sides = tf.cast(max_side - min_side + 1, tf.float32)
    short_side = min_side + tf.cast(tf.floor(draws[0] * sides), tf.int32)
    height, width = _resize_shape(shape[1], shape[2], short_side, squash)
    margin = round(shift * crop_size)

    def along(draw, size):
        spare = tf.cast(size - crop_size + 2 * margin + 1, tf.float32)
        start = tf.cast(tf.floor(draw * spare), tf.int32) - margin
        return tf.clip_by_value(tf.range(crop_size) + start, 0, size - 1)

    clip = _scaled(
        frames, height, width, along(draws[1], height), along(draws[2], width)
    )
    clip.set_shape((frames.shape[0], crop_size, crop_size, 3))
    return clip


def mirror(clip, mirrored) -> tf.Tensor:
    """Turns the whole clip left to right where `mirrored`, a bool, says so."""
    clip = tf.convert_to_tensor(clip)
    return tf.cond(
        tf.cast(mirrored, tf.bool),
        lambda: tf.reverse(clip, [2]),
        lambda: clip,
    )


def color_jitter(
    clip, seed, *, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0
) -> tf.Tensor:
    """Changes colours, all frames alike; strength 0 leaves them as they are.

    Brightness, contrast and saturation are scaled by a factor in
    [1 - strength, 1 + strength]; contrast is about the mean of the clip. Hue
    is turned by up to `hue` of a full turn, in YIQ space.

    Args:
        clip: float32 `(T, H, W, 3)` in [0, 255].
        seed: int32 `(2,)`.
        brightness, contrast, saturation, hue: Strengths.

    Returns:
        float32 `(T, H, W, 3)` in [0, 255].
    """
    if not (brightness or contrast or saturation or hue):
        return clip
    draws = tf.random.stateless_uniform((4,), seed, -1.0, 1.0)
    gain = 1.0 + brightness * draws[0]
    gain_contrast = 1.0 + contrast * draws[1]
    colour = 1.0 + saturation * draws[2]
    angle = 2.0 * math.pi * hue * draws[3]
    cosine, sine = colour * tf.cos(angle), colour * tf.sin(angle)
    turn = tf.stack(
        [
            tf.constant([1.0, 0.0, 0.0]),
            tf.stack([0.0, cosine, -sine]),
            tf.stack([0.0, sine, cosine]),
        ]
    )
    matrix = gain * gain_contrast * (_FROM_YIQ @ turn @ _TO_YIQ)
    mean = tf.reduce_mean(clip) * gain
    flat = tf.reshape(clip, (-1, 3))
    mixed = tf.matmul(flat, matrix, transpose_b=True)
    mixed = mixed + mean * (1.0 - gain_contrast)
    return tf.reshape(tf.clip_by_value(mixed, 0.0, 255.0), tf.shape(clip))


def _resize_shape(height, width, short_side, squash=False):
    """`sampling.resize_shape` for tensors."""
    if squash:
        return short_side, short_side
    height, width = tf.cast(height, tf.float64), tf.cast(width, tf.float64)
    shorter, side = tf.minimum(height, width), tf.cast(short_side, tf.float64)

    def scaled(size):
        # As there: first the product, then round half to even.
        size = tf.cast(tf.round(size * side / shorter), tf.int32)
        return tf.maximum(size, short_side)

    return scaled(height), scaled(width)


def _scaled(frames, height, width, rows, columns) -> tf.Tensor:
    """Returns some rows and columns of frames scaled to `(height, width)`.

    Args:
        frames: `(T, H, W, 3)`.
        height, width: What all of a frame would be scaled to.
        rows, columns: Which pixels of that, int32, none before the one it
            follows.

    Returns:
        float32 `(T, len(rows), len(columns), 3)`.
    """
    frames = tf.convert_to_tensor(frames)
    numbers = (tf.convert_to_tensor(n, tf.int32) for n in (height, width))
    clip = _traced_scaled(frames, *numbers, rows, columns)
    clip.set_shape((frames.shape[0], None, None, 3))
    return clip


@tf.function(autograph=False, reduce_retracing=True)
def _traced_scaled(frames, height, width, rows, columns):
    """`_scaled`: most of what a dataset's graph holds, so traced only once."""
    shape = tf.shape(frames)

    def cut():
        pixels = tf.gather(tf.gather(frames, rows, axis=1), columns, axis=2)
        return tf.cast(pixels, tf.float32)

    def resize():
        top, by_row = _axis_weights(shape[1], height, rows)
        left, by_column = _axis_weights(shape[2], width, columns)
        used = frames[
            :,
            top : top + tf.shape(by_row)[1],
            left : left + tf.shape(by_column)[1],
        ]
        return _resample(tf.cast(used, tf.float32), by_row, by_column)

    as_it_is = (shape[1] == height) & (shape[2] == width)
    return tf.cond(as_it_is, cut, resize)


def _axis_weights(size, new_size, numbers) -> tuple[tf.Tensor, tf.Tensor]:
    """The weights of `sampling.resize_taps` for pixels `numbers`, as a matrix.

    Returns:
        The first column that is used, and the weights from there on, float32
        `(len(numbers), used)`.
    """
    step = tf.cast(size, tf.float32) / tf.cast(new_size, tf.float32)
    reach = tf.maximum(step, 1.0)
    centre = (tf.cast(numbers, tf.float32) + 0.5) * step - 0.5
    first = tf.maximum(tf.cast(tf.floor(centre[0] - reach), tf.int32), 0)
    last = tf.minimum(
        tf.cast(tf.math.ceil(centre[-1] + reach), tf.int32), size - 1
    )
    used = tf.cast(tf.range(first, last + 1), tf.float32)
    distance = tf.abs(used[None, :] - centre[:, None])
    weights = tf.maximum(0.0, 1.0 - distance / reach)
    return first, weights / tf.reduce_sum(weights, axis=1, keepdims=True)


def _resample(clip, rows, columns) -> tf.Tensor:
    """Applies a matrix to the height and one to the width of a clip.

    Args:
        clip: float32 `(T, height, width, 3)`.
        rows: `(new_height, height)`.
        columns: `(new_width, width)`.
    """
    shape = tf.shape(clip)
    frames, width = shape[0], shape[2]
    new_height, new_width = tf.shape(rows)[0], tf.shape(columns)[0]
    # Rows first: then no picture is turned before it has become smaller.
    lines = tf.matmul(rows, tf.reshape(clip, (frames, -1, width * 3)))
    lines = tf.transpose(tf.reshape(lines, (-1, width, 3)), (0, 2, 1))
    lines = tf.matmul(tf.reshape(lines, (-1, width)), columns, transpose_b=True)
    lines = tf.transpose(tf.reshape(lines, (-1, 3, new_width)), (0, 2, 1))
    return tf.reshape(lines, (frames, new_height, new_width, 3))
