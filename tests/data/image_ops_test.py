"""Each operation against Pillow's on a picture, and alike on all frames."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from autox3d_tf.data import image_ops


def picture(seed=0, height=20, width=26):
    """A smooth random picture, uint8, with few of its 256 levels in use."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(30, 200, (height // 2, width // 2, 3))
    return coarse.repeat(2, 0).repeat(2, 1).astype(np.uint8)


PILLOW = {
    "brightness": lambda p, e: e[1].Brightness(p).enhance(1.6),
    "color": lambda p, e: e[1].Color(p).enhance(0.3),
    "contrast": lambda p, e: e[1].Contrast(p).enhance(1.7),
    "sharpness": lambda p, e: e[1].Sharpness(p).enhance(1.8),
    "posterize": lambda p, e: e[0].posterize(p, 3),
    "solarize": lambda p, e: e[0].solarize(p, 100),
    "invert": lambda p, e: e[0].invert(p),
    "autocontrast": lambda p, e: e[0].autocontrast(p),
    "equalize": lambda p, e: e[0].equalize(p),
}
OPERATIONS = {
    "brightness": functools.partial(image_ops.brightness, factor=1.6),
    "color": functools.partial(image_ops.color, factor=0.3),
    "contrast": functools.partial(image_ops.contrast, factor=1.7),
    "sharpness": functools.partial(image_ops.sharpness, factor=1.8),
    "posterize": functools.partial(image_ops.posterize, bits=3),
    "solarize": functools.partial(image_ops.solarize, threshold=100),
    "invert": image_ops.invert,
    "autocontrast": image_ops.autocontrast,
    "equalize": image_ops.equalize,
    "rotate": functools.partial(image_ops.rotate, degrees=17),
    "shear_x": functools.partial(image_ops.shear_x, slope=0.2),
    "shear_y": functools.partial(image_ops.shear_y, slope=-0.2),
    "translate_x": functools.partial(image_ops.translate_x, share=0.1),
    "translate_y": functools.partial(image_ops.translate_y, share=-0.1),
}


@pytest.mark.parametrize("name", PILLOW)
def test_one_frame_as_in_pillow(name):
    image = pytest.importorskip("PIL.Image")
    from PIL import ImageEnhance, ImageOps

    pixels = picture()
    expected = PILLOW[name](image.fromarray(pixels), (ImageOps, ImageEnhance))
    found = OPERATIONS[name](pixels[None].astype(np.float32))[0]
    difference = np.abs(found - np.asarray(expected, np.float32))
    # Pillow rounds, to integers, what is blended and the mean it blends with.
    assert difference.max() <= 2.0


def test_levels_of_many_pixels_are_equalized_as_in_pillow():
    image = pytest.importorskip("PIL.Image")
    from PIL import ImageOps

    pixels = picture(height=60, width=78)  # a step is 18 pixels
    expected = np.asarray(ImageOps.equalize(image.fromarray(pixels)))
    found = image_ops.equalize(pixels[None].astype(np.float32))[0]
    np.testing.assert_array_equal(found, expected.astype(np.float32))


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_same_eagerly_and_in_a_dataset(name):
    clip = np.stack([picture(0), picture(1) // 2]).astype(np.float32)
    eager = OPERATIONS[name](clip)
    dataset = tf.data.Dataset.from_tensors(clip).map(OPERATIONS[name])
    (mapped,) = dataset.as_numpy_iterator()
    assert mapped.shape == clip.shape and mapped.dtype == np.float32
    np.testing.assert_allclose(mapped, eager, atol=1e-3)
    assert np.abs(mapped - clip).max() > 1  # it does something


@pytest.mark.parametrize("name", OPERATIONS)
def test_still_clips_stay_still(name):
    clip = np.repeat(picture()[None], 3, 0).astype(np.float32)
    found = np.asarray(OPERATIONS[name](clip))
    np.testing.assert_array_equal(found, found[:1].repeat(3, 0))


@pytest.mark.parametrize(
    "name",
    [
        "brightness",
        "contrast",
        "posterize",
        "solarize",
        "invert",
        "autocontrast",
        "equalize",
    ],
)
def test_a_level_becomes_the_same_in_dark_and_bright_frames(name):
    clip = np.stack([picture(0), picture(1) // 2, picture(2) // 3 + 90])
    found = np.asarray(OPERATIONS[name](clip.astype(np.float32)))
    for channel in range(3):
        becomes = {}
        for frame, changed in zip(clip, found, strict=True):
            pairs = zip(
                frame[..., channel].ravel(),
                changed[..., channel].ravel(),
                strict=True,
            )
            for before, after in pairs:
                assert becomes.setdefault(before, after) == after


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_quarter_turns(turns):
    clip = np.random.default_rng(0).uniform(0, 255, (2, 9, 9, 3))
    found = image_ops.rotate(clip.astype(np.float32), 90 * turns)
    expected = np.rot90(clip, turns, axes=(1, 2))
    # Rounding can put a place at the border just outside, so the inside.
    np.testing.assert_allclose(
        found[:, 1:-1, 1:-1], expected[:, 1:-1, 1:-1], atol=0.05
    )


def test_translations_by_whole_pixels():
    clip = np.random.default_rng(0).uniform(0, 255, (2, 10, 20, 3))
    clip = clip.astype(np.float32)
    right = image_ops.translate_x(clip, 0.25).numpy()  # 5 of 20 pixels
    np.testing.assert_allclose(right[:, :, 5:], clip[:, :, :15], atol=1e-3)
    np.testing.assert_allclose(right[:, :, :5], 114.75)  # 0.45 x 255
    up = image_ops.translate_y(clip, -0.2).numpy()  # 2 of 10 pixels
    np.testing.assert_allclose(up[:, :8], clip[:, 2:], atol=1e-3)


def test_shear_moves_rows_by_their_distance_from_the_middle():
    clip = np.random.default_rng(0).uniform(0, 255, (1, 5, 12, 3))
    clip = clip.astype(np.float32)
    found = image_ops.shear_x(clip, 1.0).numpy()
    # The middle row stays; the last takes its pixels from 2 further right.
    np.testing.assert_allclose(found[:, 2], clip[:, 2], atol=1e-3)
    np.testing.assert_allclose(found[:, 4, :10], clip[:, 4, 2:], atol=1e-3)
    turned = image_ops.shear_y(clip.transpose(0, 2, 1, 3), 1.0).numpy()
    np.testing.assert_allclose(turned.transpose(0, 2, 1, 3), found, atol=1e-3)


def test_one_colour_is_left_alone():
    clip = np.full((2, 4, 4, 3), 77.0, np.float32)
    for name in ("autocontrast", "equalize", "contrast", "sharpness"):
        np.testing.assert_allclose(OPERATIONS[name](clip), clip, atol=1e-3)
