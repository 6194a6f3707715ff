"""Augmentation by chance: RandAugment, AutoAugment, erasing, mixing clips.

A `seed`, int32 `(2,)`, decides everything random. What happens to one frame of
a clip happens to all of them.
"""

import math

import numpy as np
import tensorflow as tf

from autox3d_tf.data import image_ops

# Name -> function of a clip, a level in [0, 1] and a sign, -1 or 1.
OPERATIONS = {
    "identity": lambda clip, level, sign: clip,
    "autocontrast": lambda clip, level, sign: image_ops.autocontrast(clip),
    "equalize": lambda clip, level, sign: image_ops.equalize(clip),
    "rotate": lambda clip, level, sign: image_ops.rotate(
        clip, 30.0 * level * sign
    ),
    "solarize": lambda clip, level, sign: image_ops.solarize(
        clip, 256.0 * (1.0 - level)
    ),
    "color": lambda clip, level, sign: image_ops.color(
        clip, 1.0 + 0.9 * level * sign
    ),
    "posterize": lambda clip, level, sign: image_ops.posterize(
        clip, tf.round(8.0 - 4.0 * level)
    ),
    "contrast": lambda clip, level, sign: image_ops.contrast(
        clip, 1.0 + 0.9 * level * sign
    ),
    "brightness": lambda clip, level, sign: image_ops.brightness(
        clip, 1.0 + 0.9 * level * sign
    ),
    "sharpness": lambda clip, level, sign: image_ops.sharpness(
        clip, 1.0 + 0.9 * level * sign
    ),
    "shear_x": lambda clip, level, sign: image_ops.shear_x(
        clip, 0.3 * level * sign
    ),
    "shear_y": lambda clip, level, sign: image_ops.shear_y(
        clip, 0.3 * level * sign
    ),
    "translate_x": lambda clip, level, sign: image_ops.translate_x(
        clip, 0.45 * level * sign
    ),
    "translate_y": lambda clip, level, sign: image_ops.translate_y(
        clip, 0.45 * level * sign
    ),
    "invert": lambda clip, level, sign: image_ops.invert(clip),
}
RAND_OPERATIONS = tuple(name for name in OPERATIONS if name != "invert")

# AutoAugment's policy for ImageNet: of each pair, name, probability, level.
AUTO_POLICY = (
    (("posterize", 0.4, 8), ("rotate", 0.6, 9)),
    (("solarize", 0.6, 5), ("autocontrast", 0.6, 0)),
    (("equalize", 0.8, 0), ("equalize", 0.6, 0)),
    (("posterize", 0.6, 7), ("posterize", 0.6, 6)),
    (("equalize", 0.4, 0), ("solarize", 0.2, 4)),
    (("equalize", 0.4, 0), ("rotate", 0.8, 8)),
    (("solarize", 0.6, 3), ("equalize", 0.6, 0)),
    (("posterize", 0.8, 5), ("equalize", 1.0, 0)),
    (("rotate", 0.2, 3), ("solarize", 0.6, 8)),
    (("equalize", 0.6, 0), ("posterize", 0.4, 6)),
    (("rotate", 0.8, 8), ("color", 0.4, 0)),
    (("rotate", 0.4, 9), ("equalize", 0.6, 0)),
    (("equalize", 0.0, 0), ("equalize", 0.8, 0)),
    (("invert", 0.6, 0), ("equalize", 1.0, 0)),
    (("color", 0.6, 4), ("contrast", 1.0, 8)),
    (("rotate", 0.8, 8), ("color", 1.0, 2)),
    (("color", 0.8, 8), ("solarize", 0.8, 7)),
    (("sharpness", 0.4, 7), ("invert", 0.6, 0)),
    (("shear_x", 0.6, 5), ("equalize", 1.0, 0)),
    (("color", 0.4, 0), ("equalize", 0.6, 0)),
    (("equalize", 0.4, 0), ("solarize", 0.2, 4)),
    (("solarize", 0.6, 5), ("autocontrast", 0.6, 0)),
    (("invert", 0.6, 0), ("equalize", 1.0, 0)),
    (("color", 0.6, 4), ("contrast", 1.0, 8)),
    (("equalize", 0.8, 0), ("equalize", 0.6, 0)),
)


def rand_augment(clip, seed, num_ops: int, magnitude: float) -> tf.Tensor:
    """Applies `num_ops` operations, each drawn anew out of all.

    Args:
        clip: float32 `(T, H, W, 3)` in [0, 255].
        seed: int32 `(2,)`.
        num_ops: How many.
        magnitude: How strong, in [0, 10].

    Reference: [Cubuk et al., 2020](https://arxiv.org/abs/1909.13719)
    """
    clip = tf.convert_to_tensor(clip, tf.float32)
    draws = tf.random.stateless_uniform((num_ops, 2), seed)
    choices = len(RAND_OPERATIONS)
    for draw in tf.unstack(draws):
        number = tf.minimum(tf.cast(draw[0] * choices, tf.int32), choices - 1)
        clip = _apply(clip, number, magnitude / 10.0, draw[1])
    return clip


def auto_augment(clip, seed) -> tf.Tensor:
    """Applies one pair of operations of AutoAugment's policy for ImageNet.

    Levels of operations are this module's, which for colours, contrast and
    sharpness go both ways from no change.

    Args:
        clip: float32 `(T, H, W, 3)` in [0, 255].
        seed: int32 `(2,)`.

    Reference: [Cubuk et al., 2019](https://arxiv.org/abs/1805.09501)
    """
    clip = tf.convert_to_tensor(clip, tf.float32)
    names, chances, levels = np.moveaxis(np.array(AUTO_POLICY, object), -1, 0)
    numbers = np.vectorize(list(OPERATIONS).index)(names)
    numbers = tf.constant(numbers, tf.int32)  # (pairs, 2), as the others
    chances = tf.constant(chances.astype(np.float32))
    levels = tf.constant(levels.astype(np.float32) / 10.0)
    draws = tf.random.stateless_uniform((5,), seed)
    pair = tf.minimum(
        tf.cast(draws[0] * len(AUTO_POLICY), tf.int32), len(AUTO_POLICY) - 1
    )
    for place in range(2):
        applied = draws[1 + place] < chances[pair, place]
        number = tf.where(applied, numbers[pair, place], 0)  # 0: identity
        clip = _apply(clip, number, levels[pair, place], draws[3 + place])
    return clip


def _apply(clip, number, level, draw) -> tf.Tensor:
    """Applies operation `number`; the sign is that of `draw - 0.5`."""
    sign = tf.where(draw < 0.5, -1.0, 1.0)
    level = tf.cast(level, tf.float32)

    def branch(operation):
        return lambda: tf.ensure_shape(operation(clip, level, sign), clip.shape)

    return tf.switch_case(number, list(map(branch, OPERATIONS.values())))


def erase(clip, seed, probability: float) -> tf.Tensor:
    """Fills a random rectangle with noise, the same in all frames.

    Its area is 2 to 33 % of the picture, its sides are 0.3 to 3.3 to each
    other.

    Args:
        clip: float32 `(T, H, W, 3)`, normalised.
        seed: int32 `(2,)`.
        probability: Share of clips that this happens to.

    Reference: [Zhong et al., 2020](https://arxiv.org/abs/1708.04896)
    """
    clip = tf.convert_to_tensor(clip, tf.float32)
    seeds = tf.random.split(seed, 2)
    draws = tf.random.stateless_uniform((5,), seeds[0])
    area = 0.02 + draws[1] * (0.33 - 0.02)
    aspect = tf.exp((2.0 * draws[2] - 1.0) * math.log(1 / 0.3))
    shape = tf.shape(clip)
    inside = _rectangle(
        shape[1],
        shape[2],
        tf.sqrt(area * aspect),
        tf.sqrt(area / aspect),
        draws[3:],
    )
    noise = tf.random.stateless_normal(shape[1:], seeds[1])
    hidden = tf.where((draws[0] < probability) & inside, noise, clip)
    return tf.ensure_shape(hidden, clip.shape)


def _rectangle(height, width, tall, wide, places) -> tf.Tensor:
    """Returns the mask of a rectangle, bool `(height, width, 1)`.

    Args:
        height, width: Of the picture.
        tall, wide: Of the rectangle, as shares of those; more is all.
        places: Two numbers in [0, 1): where in the room left it begins.
    """

    def span(size, share, place):
        length = tf.cast(
            tf.round(tf.minimum(share, 1.0) * tf.cast(size, tf.float32)),
            tf.int32,
        )
        room = tf.cast(size - length + 1, tf.float32)
        start = tf.cast(tf.floor(place * room), tf.int32)
        return (tf.range(size) >= start) & (tf.range(size) < start + length)

    rows = span(height, tall, places[0])
    columns = span(width, wide, places[1])
    return (rows[:, None] & columns[None, :])[..., None]


def mix(
    clips, targets, seed, *, mixup: float = 0.0, cutmix: float = 0.0
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mixes each clip of a batch, and its target, with that of another.

    A clip's partner is the next in the batch (a single clip has none), and one
    share, from Beta(alpha, alpha), holds for the batch. Mixup adds the clips
    up; cutmix puts a rectangle of the partner's, in all frames, into the clip,
    and counts its pixels for the share. With both, each gets half of the
    batches.

    Args:
        clips: float32 `(B, T, H, W, 3)`.
        targets: float32 `(B, classes)`, each row with sum 1.
        seed: int32 `(2,)`.
        mixup, cutmix: Their alphas; 0 for none.

    Returns:
        Clips and targets of the same shapes.

    Reference: [Zhang et al., 2018](https://arxiv.org/abs/1710.09412), [Yun et
    al., 2019](https://arxiv.org/abs/1905.04899)
    """
    for name, alpha in (("mixup", mixup), ("cutmix", cutmix)):
        if alpha < 0:
            raise ValueError(
                f"`{name}` must be at least 0. Received: {name}={alpha}."
            )
    clips = tf.convert_to_tensor(clips)
    targets = tf.convert_to_tensor(targets)
    seeds = tf.random.split(seed, 3)
    if mixup and cutmix:
        return tf.cond(
            tf.random.stateless_uniform((), seeds[2]) < 0.5,
            lambda: _mixup(clips, targets, seeds, mixup),
            lambda: _cutmix(clips, targets, seeds, cutmix),
        )
    if mixup:
        return _mixup(clips, targets, seeds, mixup)
    if cutmix:
        return _cutmix(clips, targets, seeds, cutmix)
    return clips, targets


def _mixup(clips, targets, seeds, alpha):
    share = _beta(seeds[0], alpha)
    return tuple(
        tf.cast(share, x.dtype) * x
        + tf.cast(1.0 - share, x.dtype) * _partners(x)
        for x in (clips, targets)
    )


def _cutmix(clips, targets, seeds, alpha):
    side = tf.sqrt(1.0 - _beta(seeds[0], alpha))
    places = tf.random.stateless_uniform((2,), seeds[1])
    shape = tf.shape(clips)
    inside = _rectangle(shape[2], shape[3], side, side, places)
    share = 1.0 - tf.reduce_mean(tf.cast(inside, targets.dtype))
    clips = tf.where(inside, _partners(clips), clips)
    return clips, share * targets + (1.0 - share) * _partners(targets)


def _partners(batch) -> tf.Tensor:
    # Not the mirror image: the middle of an odd batch would be its own.
    return tf.roll(batch, -1, 0)


def _beta(seed, alpha: float) -> tf.Tensor:
    """Returns one number from Beta(alpha, alpha)."""
    gammas = tf.random.stateless_gamma((2,), seed, alpha)
    # Both can be zero where alpha is small; then either clip will do.
    gammas += np.finfo(np.float32).tiny
    return gammas[0] / tf.reduce_sum(gammas)
