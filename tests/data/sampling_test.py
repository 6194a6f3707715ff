import itertools
import tracemalloc

import numpy as np
import pytest

from autox3d_tf.data import options as options_lib
from autox3d_tf.data import sampling


def test_normalized_pixels_come_back():
    pixels = np.arange(256, dtype=np.float32)
    values = sampling.normalize(pixels)
    # (0 / 255 - 0.45) / 0.225 and (255 / 255 - 0.45) / 0.225
    np.testing.assert_allclose(values[[0, 255]], [-2.0, 2.444444], rtol=1e-5)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(np.rint(sampling.denormalize(values)), pixels)


def test_segments_hold_one_frame_each():
    rng = np.random.default_rng(0)
    draws = np.array([sampling.segment_indices(40, 8, rng) for _ in range(300)])
    # Segment i of 8 over 40 frames is [5 i, 5 i + 5), and all of it is used.
    for segment in range(8):
        assert set(draws[:, segment]) == set(
            range(5 * segment, 5 * segment + 5)
        )


def test_each_segment_has_a_place_of_its_own():
    rng = np.random.default_rng(0)
    draws = np.array([sampling.segment_indices(40, 8, rng) for _ in range(300)])
    places = draws % 5
    for one, other in itertools.combinations(range(8), 2):
        # A fifth of 300 expected, standard deviation 7.
        assert (places[:, one] == places[:, other]).sum() < 100


def test_segment_views_differ_and_cover_the_segment():
    views = [
        sampling.segment_indices(32, 8, view=view, num_views=4)
        for view in range(4)
    ]
    # Segments of 4 frames: view v takes the v-th frame of each, by hand
    # floor(4 i + 4 (v + 0.5) / 4) = 4 i + v.
    for view, frames in enumerate(views):
        np.testing.assert_array_equal(frames, np.arange(8) * 4 + view)


def test_segment_views_lie_in_the_middle_of_their_share():
    """Of 4 segments of 4 frames: a half; a quarter and three quarters."""
    assert sampling.segment_indices(16, 4).tolist() == [2, 6, 10, 14]
    one, two = (
        sampling.segment_indices(16, 4, view=v, num_views=2).tolist()
        for v in range(2)
    )
    assert (one, two) == ([1, 5, 9, 13], [3, 7, 11, 15])


def test_two_segment_views_differ_where_frames_suffice():
    for num_frames in range(16, 200):
        one, two = (
            sampling.segment_indices(num_frames, 8, view=v, num_views=2)
            for v in range(2)
        )
        assert (one != two).any(), num_frames


def test_short_video_repeats_frames_in_order():
    np.testing.assert_array_equal(
        sampling.segment_indices(3, 6), [0, 0, 1, 1, 2, 2]
    )
    np.testing.assert_array_equal(sampling.segment_indices(1, 4), [0] * 4)


def test_segment_jitter_leaves_out_at_most_its_share():
    rng = np.random.default_rng(1)
    draws = np.array(
        [sampling.segment_indices(100, 10, rng, jitter=0.4) for _ in range(500)]
    )
    assert (np.diff(draws, axis=1) >= 0).all()
    assert draws.min() >= 0 and draws.max() <= 99
    # At least 60 of the 100 frames are spanned, less the two outer segments'
    # own randomness of up to 6 frames each.
    span = draws[:, -1] - draws[:, 0]
    assert span.min() >= 60 - 12 - 1
    assert span.min() < 60 < 80 < span.max()
    # What is left out lies before or after, in any shares: were it a half each,
    # clips would begin in the segment of 6 frames from 20 on, or before, and
    # end in that up to 80, or behind.
    assert draws[:, 0].max() > 28 and draws[:, -1].min() < 71


def test_a_stride_may_be_counted_in_a_frame_rate():
    options = options_lib.DataOptions(
        source="x", sampling="dense", stride=6, stride_fps=30.0
    )
    assert [options.stride_of(fps) for fps in (60.0, 25.0, 0.0)] == [12, 5, 6]
    assert options.stride_of(24.0) == pytest.approx(4.8)  # not rounded
    # A clip of four frames lasts as long in both.
    slow = sampling.dense_indices(50, 4, options.stride_of(25.0), view=0)
    fast = sampling.dense_indices(120, 4, options.stride_of(60.0), view=0)
    assert np.diff(slow).tolist() == [5, 5, 5]
    assert np.diff(fast).tolist() == [12, 12, 12]
    # Halves fall on the frame before; the last one is still in the video.
    odd = sampling.dense_indices(9, 4, 2.5, view=1, num_views=2)
    assert odd.tolist() == [1, 3, 6, 8]


def test_dense_frames_are_a_stride_apart():
    rng = np.random.default_rng(0)
    starts = set()
    for _ in range(200):
        frames = sampling.dense_indices(20, 4, 5, rng)
        np.testing.assert_array_equal(np.diff(frames), 5)
        starts.add(int(frames[0]))
    # 4 frames 5 apart span 16, so starts 0 to 4 fit into 20 frames.
    assert starts == {0, 1, 2, 3, 4}


def test_dense_views_go_from_the_start_to_the_end():
    views = [
        sampling.dense_indices(300, 13, 6, view=v, num_views=10)
        for v in range(10)
    ]
    assert views[0][0] == 0
    assert views[-1][-1] == 299
    assert len({int(view[0]) for view in views}) == 10


def test_dense_clamps_at_the_last_frame():
    np.testing.assert_array_equal(
        sampling.dense_indices(5, 4, 3, view=1, num_views=3), [0, 3, 4, 4]
    )


@pytest.mark.parametrize("mode", sampling.SAMPLINGS)
def test_same_generator_state_gives_the_same_frames(mode):
    first, second = (
        sampling.sample_indices(
            mode, 90, 16, stride=2, rng=np.random.default_rng([3, 4])
        )
        for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: sampling.sample_indices("dens", 9, 4), "mode='dens'"),
        (lambda: sampling.segment_indices(0, 4), "num_frames=0"),
        (lambda: sampling.segment_indices(9, 4, view=2), "view=2, num_views=1"),
        (lambda: sampling.segment_indices(9, 4, jitter=1.0), "jitter=1.0"),
        (lambda: sampling.dense_indices(9, 4, 0), "stride=0"),
        (lambda: sampling.resize_shape(0, 5, 3), "height=0"),
        (lambda: sampling.crop_windows(60, 80, 64), "crop_size=64, height=60"),
        (lambda: sampling.crop_windows(60, 80, 4, 0), "num_crops=0"),
    ],
)
def test_messages_name_the_value(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_crop_windows_follow_the_longer_side():
    assert sampling.crop_windows(64, 100, 64, 3) == [(0, 0), (0, 18), (0, 36)]
    assert sampling.crop_windows(100, 64, 64, 3) == [(0, 0), (18, 0), (36, 0)]
    # Larger than the crop on both sides: centred across the shorter one.
    assert sampling.crop_windows(70, 100, 64, 3)[2] == (3, 36)


def resize_matrix(size, new_size):
    """All weights of `resize_taps`, int64 `(new_size, size)`."""
    first, weights = sampling.resize_taps(size, new_size, 0, new_size)
    places = first[:, None] + np.arange(weights.shape[1])
    matrix = np.zeros((new_size, size), np.int64)
    np.put_along_axis(matrix, places, weights, axis=1)
    return matrix


@pytest.mark.parametrize("size, new_size", [(120, 64), (107, 64), (40, 90)])
def test_resize_keeps_a_ramp(size, new_size):
    # Bilinear weights sum to one and are symmetric, so a ramp stays one,
    # except near the edges where the triangle is cut, and for what sampling
    # the triangle at whole pixels loses.
    matrix = resize_matrix(size, new_size)
    assert (matrix.sum(axis=1) == sampling.ONE).all()
    step = size / new_size
    inner = slice(2, -2)
    np.testing.assert_allclose(
        (matrix @ np.arange(size) / sampling.ONE)[inner],
        ((np.arange(new_size) + 0.5) * step - 0.5)[inner],
        atol=0.1,
    )


@pytest.mark.parametrize("shape", [(120, 160), (50, 70), (200, 37), (90, 90)])
@pytest.mark.parametrize("short_side", [24, 64, 100])
def test_resize_matches_tensorflow(shape, short_side):
    import tensorflow as tf

    rng = np.random.default_rng(2)
    frames = rng.integers(0, 256, (2, *shape, 3), dtype=np.uint8)
    resized = sampling.resize_frames(frames, short_side)
    new_shape = sampling.resize_shape(*shape, short_side)
    expected = tf.image.resize(frames, new_shape, antialias=True)
    assert resized.shape == (2, *new_shape, 3)
    difference = resized.astype(float) - np.clip(expected, 0, 255)
    assert np.abs(difference).max() <= 1.0  # rounding to uint8 alone: 0.5


@pytest.mark.parametrize("shape", [(31, 77), (77, 31), (40, 40), (20, 23)])
@pytest.mark.parametrize("squash", [False, True])
def test_scaled_pixels_are_exact(shape, squash):
    rng = np.random.default_rng(3)
    frames = rng.choice([0, 7, 254, 255], (2, *shape, 3)).astype(np.uint8)
    new_shape = sampling.resize_shape(*shape, 24, squash)
    by_row, by_column = map(resize_matrix, shape, new_shape)
    sums = np.einsum("yh,nhwc,xw->nyxc", by_row, frames.astype(int), by_column)
    expected = np.rint(sums / sampling.ONE**2)
    resized = sampling.resize_frames(frames, 24, squash)
    np.testing.assert_array_equal(resized, expected)
    # Mirrored in memory, as of cameras that give BGR.
    back = sampling.resize_frames(frames[..., ::-1], 24, squash)
    np.testing.assert_array_equal(back, resized[..., ::-1])
    for crop_size in (1, 21, 24):
        np.testing.assert_array_equal(
            sampling.resize_frames(frames, 24, squash, crop_size),
            sampling.center_crop(resized, crop_size),
        )


@pytest.mark.parametrize("shape", [(1, 20_000), (20_000, 1)])
@pytest.mark.parametrize("squash", [False, True])
def test_thin_frames_take_little_memory(shape, squash):
    frames = np.full((1, *shape, 3), 255, np.uint8)
    tracemalloc.start()
    cut = sampling.resize_frames(frames, 36, squash, crop_size=32)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (cut == np.full((1, 32, 32, 3), 255)).all()
    assert most < 64 << 20  # a matrix of all weights has 100 GB


def test_center_crop():
    frames = np.arange(6 * 8, dtype=np.uint8).reshape(1, 6, 8, 1)
    # Rows 1 to 4 and columns 2 to 5 of 6 x 8.
    expected = frames[:, 1:5, 2:6]
    np.testing.assert_array_equal(sampling.center_crop(frames, 4), expected)


def test_squash_scales_both_sides_and_cuts_nothing_off():
    assert sampling.resize_shape(120, 160, 60, squash=True) == (60, 60)
    frames = np.zeros((1, 120, 160, 3), np.uint8)
    frames[:, :, :16] = 200  # a bar at the left edge, a tenth of the width
    squashed = sampling.resize_frames(frames, 60, squash=True)
    assert squashed.shape == (1, 60, 60, 3)
    assert (squashed[0, :, :5] == 200).all()
    assert (squashed[0, :, 7:] == 0).all()
