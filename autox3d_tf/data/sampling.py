"""Which frames and which pixels of a video make a clip; numpy only.

The device runtime computes with it. Training and evaluation take frame numbers
from here and have the geometry of pixels in TensorFlow, `transforms`; tests
hold the two together.
"""

import functools

import numpy as np

from autox3d_tf.base import checks

MEAN = 0.45  # of each channel, and
DEVIATION = 0.225  # of pixels in [0, 1], as networks expect them
STANDARDIZE = (False, True, "frame")  # see `standardize`
ONE = 1 << 16  # what the weights of a resized pixel sum to


def normalize(pixels):
    """Scales pixels from [0, 255] to `(x / 255 - 0.45) / 0.225`.

    Args:
        pixels: A float array, or a float tensor of TensorFlow.
    """
    return pixels * (1.0 / (255.0 * DEVIATION)) - MEAN / DEVIATION


def denormalize(values):
    """Scales back what `normalize` returned, neither rounded nor clipped."""
    return 255.0 * (values * DEVIATION + MEAN)


def segment_indices(
    num_frames: int,
    clip_frames: int,
    rng: np.random.Generator | None = None,
    view: int = 0,
    num_views: int = 1,
    jitter: float = 0.0,
) -> np.ndarray:
    """Returns one frame number out of each of `clip_frames` equal segments.

    A video with fewer frames than segments repeats frames, in order.

    Args:
        num_frames: Frames of the video.
        clip_frames: Frames of the clip.
        rng: Source of a random place in each segment (training); without it,
            view v of V takes the place (v + 0.5) / V of each segment, so views
            differ wherever a segment is at least V frames long.
        view, num_views: Number of this temporal view, and how many there are.
        jitter: With `rng`, the clip spans a random part of the video: this
            share of it, at most, is left out at the start and end together.

    >>> segment_indices(16, 4).tolist()
    [2, 6, 10, 14]
    >>> segment_indices(16, 4, view=0, num_views=2).tolist()
    [1, 5, 9, 13]
    """
    _check_counts(num_frames, clip_frames, view, num_views)
    if not 0.0 <= jitter < 1.0:
        raise ValueError(
            f"`jitter` must be in [0, 1). Received: jitter={jitter}."
        )
    start, length = 0.0, float(num_frames)
    if rng is None:
        place = np.full(clip_frames, (view + 0.5) / num_views)
    else:
        if jitter:
            length = num_frames * (1.0 - jitter * rng.random())
            start = (num_frames - length) * rng.random()
        place = rng.random(clip_frames)
    frames = start + (np.arange(clip_frames) + place) * length / clip_frames
    return np.minimum(frames.astype(np.int64), num_frames - 1)


def dense_indices(
    num_frames: int,
    clip_frames: int,
    stride: float,
    rng: np.random.Generator | None = None,
    view: int = 0,
    num_views: int = 1,
) -> np.ndarray:
    """Returns `clip_frames` frame numbers, `stride` apart.

    Args:
        num_frames: Frames of the video; past its end, the last frame repeats.
        clip_frames: Frames of the clip.
        stride: Frames from one to the next; positions between two frames
            round down.
        rng: Source of a random start (training); without it, the starts of the
            views are spread evenly from the first to the last possible one,
            and a single view is the middle one.
        view, num_views: Number of this temporal view, and how many there are.

    >>> dense_indices(20, 4, 2).tolist()
    [6, 8, 10, 12]
    >>> dense_indices(5, 4, 2).tolist(), dense_indices(9, 4, 2.5).tolist()
    ([0, 2, 4, 4], [0, 2, 5, 7])
    """
    _check_counts(num_frames, clip_frames, view, num_views)
    if stride <= 0:
        raise ValueError(
            f"`stride` must be positive. Received: stride={stride}."
        )
    offsets = (np.arange(clip_frames) * stride).astype(np.int64)
    last_start = max(0, num_frames - int(offsets[-1]) - 1)
    if rng is not None:
        start = int(rng.integers(last_start + 1))
    elif num_views == 1:
        start = last_start // 2
    else:
        start = last_start * view // (num_views - 1)
    return np.minimum(start + offsets, num_frames - 1)


def _segment(num_frames, clip_frames, *, stride, jitter, **which):
    del stride  # A segment's length says how far frames are apart.
    return segment_indices(num_frames, clip_frames, jitter=jitter, **which)


def _dense(num_frames, clip_frames, *, stride, jitter, **which):
    del jitter  # The start is random already.
    return dense_indices(num_frames, clip_frames, stride, **which)


SAMPLINGS = {"segment": _segment, "dense": _dense}


def sample_indices(
    mode: str,
    num_frames: int,
    clip_frames: int,
    *,
    stride: float = 1,
    jitter: float = 0.0,
    rng: np.random.Generator | None = None,
    view: int = 0,
    num_views: int = 1,
) -> np.ndarray:
    """Returns the frame numbers of a clip under the sampling named `mode`."""
    checks.check_choice("mode", mode, SAMPLINGS)
    return SAMPLINGS[mode](
        num_frames,
        clip_frames,
        stride=stride,
        jitter=jitter,
        rng=rng,
        view=view,
        num_views=num_views,
    )


def resize_shape(
    height: int, width: int, short_side: int, squash: bool = False
) -> tuple[int, int]:
    """Returns `(height, width)` scaled to a shorter side of `short_side`.

    With `squash` both sides get that length, whatever the picture's shape.

    >>> resize_shape(120, 160, 60)
    (60, 80)
    """
    if min(height, width, short_side) < 1:
        raise ValueError(
            "`height`, `width` and `short_side` must be positive. Received: "
            f"height={height}, width={width}, short_side={short_side}."
        )
    if squash:
        return short_side, short_side
    if height <= width:
        return short_side, max(short_side, round(width * short_side / height))
    return max(short_side, round(height * short_side / width)), short_side


def crop_windows(
    height: int, width: int, crop_size: int, num_crops: int = 1
) -> list[tuple[int, int]]:
    """Returns `(top, left)` of square crops spread along the longer side.

    One crop is the centre; three are start, centre and end.

    >>> crop_windows(64, 86, 64, 3)
    [(0, 0), (0, 11), (0, 22)]
    """
    if crop_size > min(height, width):
        raise ValueError(
            "`crop_size` must not exceed the shorter side. Received: "
            f"crop_size={crop_size}, height={height}, width={width}."
        )
    if num_crops < 1:
        raise ValueError(
            f"`num_crops` must be at least 1. Received: num_crops={num_crops}."
        )
    spare = np.array([height - crop_size, width - crop_size])
    centre = spare // 2
    if num_crops == 1:
        return [tuple(centre.tolist())]
    axis = 0 if height > width else 1
    windows = []
    for number in range(num_crops):
        corner = centre.copy()
        corner[axis] = spare[axis] * number // (num_crops - 1)
        windows.append(tuple(corner.tolist()))
    return windows


@functools.lru_cache(maxsize=256)
def resize_taps(
    size: int, new_size: int, start: int, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns what pixels `start` to `start + count` of a resized axis are.

    Bilinear; when shrinking, the triangle widens with the step (antialias),
    as in `tf.image.resize(..., antialias=True)`. All in whole numbers, of
    1 / (2 * new_size) of an old pixel, so that every language has the same.

    Returns:
        The first old pixel of each, int64 `(count,)`, never falling, and the
        weights from there on, int64 `(count, taps)`, each row sums to
        `ONE`.

    >>> resize_taps(4, 2, 0, 2)[1].tolist()
    [[28086, 28087, 9363], [9362, 28087, 28087]]
    """
    reach = 2 * max(size, new_size)
    centre = (2 * np.arange(start, start + count) + 1) * size - new_size
    first = np.maximum(0, (centre - reach) // (2 * new_size) + 1)
    last = np.minimum(size - 1, (centre + reach - 1) // (2 * new_size))
    taps = int((last - first).max()) + 1
    first = np.minimum(first, size - taps)
    places = 2 * new_size * (first[:, None] + np.arange(taps))
    triangle = np.maximum(0, reach - np.abs(places - centre[:, None]))
    sums = np.cumsum(triangle, axis=1)
    weights = np.diff(sums * ONE // sums[:, -1:], axis=1, prepend=0)
    first.setflags(write=False)
    weights.setflags(write=False)
    return first, weights


def resize_frames(
    frames: np.ndarray,
    short_side: int,
    squash: bool = False,
    crop_size: int | None = None,
) -> np.ndarray:
    """Scales uint8 frames `(n, height, width, 3)`; see `resize_shape`.

    Every sum is exact in the type that it is made in, up to 255 * `ONE` in
    float32 and up to 255 * `ONE` ** 2 in float64, so that neither its order
    nor the language changes a pixel.

    Args:
        crop_size: Makes only the centre square, as of `center_crop`.
    """
    count, height, width, channels = frames.shape
    new_height, new_width = resize_shape(height, width, short_side, squash)
    if (new_height, new_width) == (height, width):
        return frames if crop_size is None else center_crop(frames, crop_size)
    (top, left), rows, columns = (0, 0), new_height, new_width
    if crop_size is not None:
        ((top, left),) = crop_windows(new_height, new_width, crop_size)
        rows = columns = crop_size
    by_row = resize_taps(height, new_height, top, rows)
    first, weights = resize_taps(width, new_width, left, columns)
    used = slice(first[0], first[-1] + weights.shape[1])
    by_column = first - first[0], weights / ONE**2
    resized = np.empty((count, rows, columns * channels), np.uint8)
    for number, frame in enumerate(frames):  # one by one: little memory
        lines = _resize_rows(frame[:, used], *by_row, np.float32)
        lines = np.ascontiguousarray(lines.T, np.float64)
        lines = lines.reshape(-1, channels, rows)  # a row for each old column
        pixels = _resize_rows(lines, *by_column, np.float64)
        np.rint(pixels, out=pixels)
        resized[number] = pixels.reshape(columns * channels, rows).T
    return resized.reshape(count, rows, columns, channels)


def _resize_rows(picture, first, weights, dtype) -> np.ndarray:
    """Sums up rows of a picture `(rows, ...)`; see `resize_taps`.

    One by one, not as one matrix product: of that, most would be zeros, and
    its threads compete for the cores with those of others.

    Returns:
        `(len(first), values of a row)`.
    """
    taps = weights.shape[1]
    resized = np.empty((len(first), picture[0].size), dtype)
    weights = weights.astype(dtype)
    for row, start in enumerate(first.tolist()):
        used = picture[start : start + taps]
        used = used.astype(dtype, order="C", copy=False).reshape(taps, -1)
        np.dot(weights[row], used, out=resized[row])
    return resized


def standardize(frames: np.ndarray, how: bool | str = True) -> np.ndarray:
    """Shifts and scales the colours of a clip, uint8 `(T, H, W, 3)`.

    Each channel gets the mean `255 * MEAN`, and all together the deviation
    `255 * DEVIATION`, that networks expect; what leaves [0, 255] is clipped. A
    clip of one colour becomes the mean.

    Args:
        frames: uint8 `(T, H, W, 3)`.
        how: One of `STANDARDIZE`: False leaves the clip as it is, True takes
            mean and deviation of the clip, "frame" of each frame by itself,
            which a stream can do too.
    """
    if not how:
        return frames
    axes = (1, 2) if how == "frame" else (0, 1, 2)
    centred = frames - frames.mean(axes, dtype=np.float64, keepdims=True)
    variance = np.mean(centred**2, (*axes, 3), keepdims=True)
    deviation = np.maximum(np.sqrt(variance), 1.0)
    levels = 255 * MEAN + centred * (255 * DEVIATION / deviation)
    return np.rint(levels).clip(0, 255).astype(np.uint8)


def center_crop(frames: np.ndarray, crop_size: int) -> np.ndarray:
    """Cuts the centre square out of frames `(n, height, width, 3)`."""
    ((top, left),) = crop_windows(*frames.shape[1:3], crop_size)
    return frames[:, top : top + crop_size, left : left + crop_size]


def _check_counts(num_frames, clip_frames, view, num_views) -> None:
    if num_frames < 1 or clip_frames < 1:
        raise ValueError(
            "`num_frames` and `clip_frames` must be at least 1. Received: "
            f"num_frames={num_frames}, clip_frames={clip_frames}."
        )
    if not 0 <= view < num_views:
        raise ValueError(
            "`view` must be in [0, num_views). Received: "
            f"view={view}, num_views={num_views}."
        )
