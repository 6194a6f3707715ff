import colorsys

import numpy as np
import pytest
import tensorflow as tf

from autox3d_tf.data import options as options_lib
from autox3d_tf.data import sampling, transforms

SEED = (3, 4)


def noise(frames=4, height=40, width=56, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


def still(frames=4, **shape):
    """The same random picture in every frame."""
    return np.repeat(noise(1, **shape), frames, axis=0)


def test_normalize():
    # (255 / 255 - 0.45) / 0.225 and (0 - 0.45) / 0.225
    values = transforms.normalize(np.array([255, 0], np.uint8))
    np.testing.assert_allclose(values, [2.444444, -2.0], rtol=1e-5)


@pytest.mark.parametrize("number", range(5))
def test_all_frames_get_the_same_transform(number):
    options = options_lib.DataOptions(
        source="x",
        crop_size=32,
        short_side_range=(32, 44),
        shift=0.2,
        brightness=0.4,
        contrast=0.4,
        saturation=0.4,
        hue=0.1,
    )
    clip = transforms.train_clip(still(), (number, 1), options, True)
    assert clip.shape == (4, 32, 32, 3)
    for frame in clip[1:]:
        # Kernels round the last bit by where in memory a value is.
        np.testing.assert_allclose(frame, clip[0], atol=1e-6)


def test_the_seed_decides():
    options = options_lib.DataOptions(
        source="x", crop_size=32, short_side_range=(32, 44), hue=0.1
    )
    first = transforms.train_clip(noise(), SEED, options, True)
    again = transforms.train_clip(noise(), SEED, options, True)
    other = transforms.train_clip(noise(), (3, 5), options, True)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1


def test_all_options_come_to_where_they_matter(monkeypatch):
    seen = []

    def watched(clip, seed, *arguments, **named):
        seen.append((*arguments, named))
        return tf.cast(clip, tf.float32)

    monkeypatch.setattr(transforms, "random_crop", watched)
    monkeypatch.setattr(transforms, "color_jitter", watched)
    options = options_lib.DataOptions(
        source="x", crop_size=8, short_side_range=(9, 12), shift=0.5,
        squash=True, brightness=0.1, contrast=0.2, saturation=0.3, hue=0.4,
    )  # fmt: skip
    transforms.train_clip(noise(), SEED, options, False)
    colours = {"brightness": 0.1, "contrast": 0.2, "saturation": 0.3}
    assert seen == [(9, 12, 8, 0.5, True, {}), ({**colours, "hue": 0.4},)]


def test_a_crop_without_scaling_is_a_window_of_the_picture():
    frames = noise()
    places = set()
    for number in range(60):
        clip = transforms.random_crop(
            frames, (number, 0), 40, 40, 32, shift=0.0
        ).numpy()
        found = [
            (top, left)
            for top in range(40 - 32 + 1)
            for left in range(56 - 32 + 1)
            if np.array_equal(frames[:, top : top + 32, left : left + 32], clip)
        ]
        assert len(found) == 1
        places.add(found[0])
    tops, lefts = zip(*places, strict=True)
    assert (min(tops), max(tops)) == (0, 8)
    assert min(lefts) <= 2 and max(lefts) >= 22  # of 0 to 24


def test_a_scaled_crop_is_a_window_of_the_scaled_picture():
    frames = noise()
    scaled = sampling.resize_frames(frames, 34)
    for number in range(5):
        clip = transforms.random_crop(frames, (number, 0), 34, 34, 32, 0.0)
        distances = [
            np.abs(
                scaled[:, top : top + 32, left : left + 32].astype(float) - clip
            ).max()
            for top in range(3)
            for left in range(scaled.shape[2] - 32 + 1)
        ]
        assert min(distances) <= 1.0  # rounding of `scaled` to uint8


def test_both_ends_of_the_range_of_the_short_side_are_drawn():
    """A square of 40 pixels, scaled to 20 or 21, all of which is cut out."""
    frames = noise(1, height=40, width=40)
    scaled = [sampling.resize_frames(frames, side) for side in (20, 21)]
    seen = set()
    for number in range(20):
        clip = transforms.random_crop(frames, (number, 0), 20, 21, 20, 0.0)
        differences = [
            min(
                np.abs(whole[:, y : y + 20, x : x + 20] - clip).max()
                for y in range(whole.shape[1] - 19)
                for x in range(whole.shape[2] - 19)
            )
            for whole in scaled
        ]
        assert min(differences) <= 1.0  # rounding of `scaled` to uint8
        seen.add(int(np.argmin(differences)))
    assert seen == {0, 1}


def test_a_shifted_crop_repeats_the_edge():
    frames = noise(height=32, width=32)
    padded = np.pad(frames, ((0, 0), (8, 8), (8, 8), (0, 0)), mode="edge")
    places = set()
    for number in range(20):
        clip = transforms.random_crop(
            frames, (number, 0), 32, 32, 32, shift=0.25
        ).numpy()
        found = [
            (top, left)
            for top in range(17)
            for left in range(17)
            if np.array_equal(padded[:, top : top + 32, left : left + 32], clip)
        ]
        assert len(found) == 1
        places.add(found[0])
    assert len(places) > 10


def test_mirror():
    clip = noise().astype(np.float32)
    np.testing.assert_array_equal(
        transforms.mirror(clip, True), clip[:, :, ::-1]
    )
    np.testing.assert_array_equal(transforms.mirror(clip, False), clip)


def test_half_of_the_clips_are_mirrored():
    draws = [bool(transforms.draw_mirror((n, 7))) for n in range(200)]
    assert 70 <= sum(draws) <= 130  # 100 expected, standard deviation 7


def test_colours_do_not_tell_who_is_mirrored():
    options = options_lib.DataOptions(
        source="x", crop_size=4, short_side_range=(4, 4), brightness=0.5
    )
    seen = set()
    for number in range(20):
        seed = (number, 7)
        clip = transforms.train_clip(grey(100), seed, options, False)
        brighter = float(sampling.denormalize(clip.numpy()).mean()) > 100
        seen.add((bool(transforms.draw_mirror(seed)), brighter))
    assert len(seen) == 4


def grey(level):
    return np.full((2, 4, 4, 3), level, np.float32)


def factors(change, **strength):
    return [
        change(transforms.color_jitter, (number, 0), strength)
        for number in range(40)
    ]


def test_brightness_scales():
    values = factors(
        lambda jitter, seed, s: jitter(grey(100), seed, **s).numpy().mean(),
        brightness=0.2,
    )
    assert 80 <= min(values) < 85 and 115 < max(values) <= 120


def test_contrast_keeps_the_mean():
    clip = np.concatenate([grey(80), grey(120)])
    for number in range(20):
        out = transforms.color_jitter(clip, (number, 0), contrast=0.5).numpy()
        assert out.mean() == pytest.approx(100, abs=0.01)
        assert 20 <= out.max() - out.min() <= 60  # 40 times 0.5 to 1.5


def test_contrast_is_about_the_mean_of_the_brightened_clip():
    """Of a clip of one grey contrast changes nothing, however bright it is."""
    for number in range(10):
        bright, both = (
            transforms.color_jitter(
                grey(100), (number, 0), brightness=0.3, contrast=contrast
            )
            for contrast in (0.0, 0.5)
        )
        np.testing.assert_allclose(both, bright, atol=0.01)


def test_saturation_and_hue_leave_grey_alone():
    for number in range(5):
        out = transforms.color_jitter(
            grey(100), (number, 0), saturation=0.9, hue=0.5
        )
        np.testing.assert_allclose(out, 100, atol=0.1)


def test_hue_turns_colours():
    clip = np.broadcast_to(np.array([140, 100, 100], np.float32), (1, 2, 2, 3))
    hues = []
    for number in range(40):
        out = transforms.color_jitter(clip, (number, 0), hue=0.1)[0, 0, 0]
        hue, _, _ = colorsys.rgb_to_hsv(*(out.numpy() / 255))
        hues.append((hue + 0.5) % 1 - 0.5)
    # YIQ's angle is not quite HSV's hue, hence the room beyond 0.1.
    assert -0.14 < min(hues) < -0.08 and 0.08 < max(hues) < 0.14


def test_no_strength_changes_nothing():
    clip = noise().astype(np.float32)
    np.testing.assert_array_equal(transforms.color_jitter(clip, SEED), clip)


@pytest.mark.parametrize("shape", [(40, 56), (56, 40), (48, 48), (31, 77)])
@pytest.mark.parametrize("short_side, crop", [(24, 24), (30, 24)])
@pytest.mark.parametrize("crops", [1, 3])
def test_evaluation_cuts_what_the_device_cuts(shape, short_side, crop, crops):
    frames = noise(height=shape[0], width=shape[1])
    clips = transforms.eval_clips(frames, short_side, crop, crops)
    assert clips.dtype == tf.uint8
    scaled = sampling.resize_frames(frames, short_side)
    windows = sampling.crop_windows(*scaled.shape[1:3], crop, crops)
    assert clips.shape == (crops, 4, crop, crop, 3)
    for clip, (top, left) in zip(clips, windows, strict=True):
        expected = scaled[:, top : top + crop, left : left + crop]
        difference = clip.numpy().astype(int) - expected
        assert np.abs(difference).max() <= 1
        # Found: 0.1 %, and 0.4 % where steps of 4 / 3 make many halves.
        assert np.mean(difference != 0) < 0.01


@pytest.mark.parametrize("side", [36, 112, 171, 312])
def test_shapes_agree_with_the_ones_in_numpy(side):
    sizes = [*range(28, 480, 7), *range(96, 640, 16), 1080, 1920]
    height, width = map(np.ravel, np.meshgrid(sizes, sizes))
    expected = [
        sampling.resize_shape(*shape, side)
        for shape in zip(height.tolist(), width.tolist(), strict=True)
    ]
    resize_shape = transforms._resize_shape
    for function in (resize_shape, tf.function(resize_shape)):
        shapes = function(tf.constant(height), tf.constant(width), side)
        np.testing.assert_array_equal(np.transpose(shapes), expected)


def test_squashed_clips_equal_those_of_the_device():
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (3, 45, 60, 3), dtype=np.uint8)
    found = transforms.eval_clips(frames, 32, 32, 1, squash=True)[0].numpy()
    expected = sampling.resize_frames(frames, 32, squash=True)
    difference = np.abs(found.astype(int) - expected.astype(int))
    assert difference.max() <= 1  # rounding


def test_standardized_clips_equal_those_of_the_device():
    rng = np.random.default_rng(1)
    frames = rng.integers(20, 90, (3, 32, 32, 3), dtype=np.uint8)
    found = transforms.eval_clips(frames, 32, 32, 1, standardized=True)[0]
    expected = sampling.standardize(frames)
    difference = np.abs(found.numpy().astype(int) - expected.astype(int))
    assert difference.max() <= 1  # rounding
    normal = transforms.normalize(found).numpy()
    np.testing.assert_allclose(normal.mean((0, 1, 2)), 0, atol=0.01)
    np.testing.assert_allclose(normal.std(), 1, atol=0.02)


@pytest.mark.parametrize("how", [True, "frame"])
def test_training_clips_are_standardized_as_those_of_the_device(how):
    options = options_lib.DataOptions(
        source="x", crop_size=32, short_side_range=(32, 32), standardize=how
    )
    frames = noise(3, height=32, width=32) // 4 + 30
    clip = transforms.train_clip(frames, SEED, options, False)
    expected = sampling.normalize(sampling.standardize(frames, how))
    # One uint8 step is 1 / 255 / 0.225 = 0.0174: only training's is not whole.
    np.testing.assert_allclose(clip, expected, atol=0.01)


def test_frames_are_standardized_each_by_itself():
    rng = np.random.default_rng(3)
    frames = rng.integers(20, 90, (3, 32, 32, 3), dtype=np.uint8)
    frames[1] //= 2
    found = transforms.eval_clips(frames, 32, 32, 1, standardized="frame")[0]
    expected = sampling.standardize(frames, "frame")
    difference = np.abs(found.numpy().astype(int) - expected.astype(int))
    assert difference.max() <= 1  # rounding
    for frame, alone in zip(frames, expected, strict=True):
        np.testing.assert_array_equal(
            sampling.standardize(frame[None])[0], alone
        )
    np.testing.assert_array_equal(sampling.standardize(frames, False), frames)
    with pytest.raises(ValueError, match="one of .*True, frame. .*'frames'"):
        options_lib.DataOptions(source="x", standardize="frames")


def test_standardized_clips_do_not_depend_on_the_light():
    rng = np.random.default_rng(2)
    clip = rng.uniform(60, 120, (2, 8, 8, 3)).astype("float32")
    np.testing.assert_allclose(
        transforms.standardize(0.5 * clip + 40.0),
        transforms.standardize(clip),
        atol=0.01,
    )
    flat = transforms.standardize(np.full((2, 8, 8, 3), 7.0, "float32"))
    np.testing.assert_allclose(flat, 255 * 0.45)
