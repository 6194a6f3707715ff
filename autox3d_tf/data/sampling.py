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
        stride: Frames from one to the next; what is between two, is the
            earlier one.
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
def resize_matrix(size: int, new_size: int) -> np.ndarray:
    """Returns the float32 `(new_size, size)` matrix that resizes one axis.

    Bilinear; when shrinking, the triangle widens with the step (antialias),
    as in `tf.image.resize(..., antialias=True)`.
    """
    step = size / new_size
    reach = max(step, 1.0)
    centre = (np.arange(new_size) + 0.5) * step - 0.5
    distance = np.abs(np.arange(size)[None, :] - centre[:, None])
    weights = np.maximum(0.0, 1.0 - distance / reach)
    weights /= weights.sum(axis=1, keepdims=True)
    weights = weights.astype(np.float32)
    weights.setflags(write=False)
    return weights


@functools.lru_cache(maxsize=256)
def _resize_taps(size: int, new_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the few non-zero entries of `resize_matrix`, row by row.

    Returns:
        Positions and weights, both `(taps, new_size)`.
    """
    matrix = resize_matrix(size, new_size)
    taps = int((matrix > 0).sum(axis=1).max())
    first = np.minimum((matrix > 0).argmax(axis=1), size - taps)
    places = first[None, :] + np.arange(taps)[:, None]
    return places, matrix[np.arange(new_size)[None, :], places]


def resize_frames(
    frames: np.ndarray, short_side: int, squash: bool = False
) -> np.ndarray:
    """Scales uint8 frames `(n, height, width, 3)`; see `resize_shape`."""
    count, height, width, channels = frames.shape
    new_height, new_width = resize_shape(height, width, short_side, squash)
    if (new_height, new_width) == (height, width):
        return frames
    resized = np.empty((count, new_height, new_width, channels), np.uint8)
    for number, frame in enumerate(frames):  # one by one: little memory
        rows = _resize_rows(frame.reshape(height, -1), new_height)
        rows = rows.reshape(new_height, width, channels).swapaxes(0, 1)
        rows = np.ascontiguousarray(rows).reshape(width, -1)
        columns = _resize_rows(rows, new_width)
        np.rint(columns, out=columns)
        columns = columns.clip(0, 255).reshape(new_width, new_height, channels)
        resized[number] = columns.swapaxes(0, 1)
    return resized


def _resize_rows(picture: np.ndarray, new_size: int) -> np.ndarray:
    """Resizes the first axis of a matrix; float32.

    Sums of shifted rows, not a matrix product: small products are slow where
    several threads compete for the cores of the linear algebra library.
    """
    places, weights = _resize_taps(len(picture), new_size)
    total = picture[places[0]] * weights[0][:, None]
    for place, weight in zip(places[1:], weights[1:], strict=True):
        total += picture[place] * weight[:, None]
    return total


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
