"""Video files to frames, with PyAV; imports no TensorFlow."""

import contextlib
import dataclasses
import os

import av
import numpy as np

from autox3d_tf.data import sampling

# Formats that guess a video out of any text; a broken file must not pass.
_TEXT_FORMATS = ("tty", "ansi")


class VideoError(Exception):
    """A video could not be read; the message names the file and the reason."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """What decoding a whole video found.

    Args:
        frames: Frames decoded.
        fps: Average frames per second, 0.0 if the file does not say.
        width, height: Size as displayed, after rotation.
        duration: Seconds.
        declared_frames: Frames the container promises, 0 if it does not say.
        error: What stopped decoding before the end, empty if nothing did.
    """

    frames: int
    fps: float
    width: int
    height: int
    duration: float
    declared_frames: int = 0
    error: str = ""


def probe(path) -> VideoInfo:
    """Decodes the whole video and returns what is in it.

    Raises:
        VideoError: if not a single frame can be decoded.
    """
    frames, shape, error = 0, (0, 0), ""
    with _open_video(path) as (container, stream):
        try:
            for frame in container.decode(stream):
                if not frames:
                    shape = _displayed_shape(frame)
                frames += 1
        except (av.FFmpegError, OSError, ValueError) as failure:
            error = _reason(failure)
        if not frames:
            raise VideoError(
                f"{path}: no frame can be decoded"
                + (f" ({error})." if error else ".")
            )
        fps = float(stream.average_rate or stream.guessed_rate or 0)
        return VideoInfo(
            frames=frames,
            fps=fps,
            height=shape[0],
            width=shape[1],
            duration=frames / fps if fps else 0.0,
            declared_frames=stream.frames,
            error=error,
        )


def decode_frames(path, indices=None, short_side=None) -> np.ndarray:
    """Returns frames of a video as uint8 RGB `(n, height, width, 3)`.

    Args:
        path: The video file.
        indices: Frame numbers in any order, repeats allowed; None for all.
            Decoding stops after the largest, and only these are converted.
        short_side: Scale frames so that the shorter side has this length.

    Raises:
        VideoError: if the file cannot be decoded as far as asked.
    """
    wanted = None if indices is None else [int(i) for i in indices]
    if wanted is not None and (not wanted or min(wanted) < 0):
        raise ValueError(
            "`indices` must be frame numbers from 0 on. "
            f"Received: indices={wanted}."
        )
    with _open_video(path) as (container, stream):
        pictures = _collect(container, stream, wanted, path)
    numbers = sorted(pictures) if wanted is None else wanted
    frames = np.stack([pictures[i] for i in numbers])
    if short_side is not None:
        frames = sampling.resize_frames(frames, short_side)
    return frames


def _collect(container, stream, wanted, path) -> dict[int, np.ndarray]:
    """Decodes up to the last wanted frame; returns pictures by number."""
    keep = None if wanted is None else set(wanted)
    last = None if wanted is None else max(wanted)
    pictures, found, shape = {}, 0, None
    reason = ""
    try:
        for frame in container.decode(stream):
            if keep is None or found in keep:
                # A change of size within a video is scaled to the first size.
                shape = shape or (frame.width, frame.height)
                pictures[found] = _to_rgb(frame, shape)
            found += 1
            if last is not None and found > last:
                return pictures
    except (av.FFmpegError, OSError, ValueError) as failure:
        reason = f" ({_reason(failure)})"
    if found and keep is None and not reason:
        return pictures
    asked = "every frame" if last is None else f"frame {last}"
    raise VideoError(
        f"{path}: {asked} was asked for, but only {found} frames can be "
        f"decoded{reason}."
    )


def _to_rgb(frame, shape) -> np.ndarray:
    picture = frame.to_ndarray(format="rgb24", width=shape[0], height=shape[1])
    turns = _quarter_turns(frame)
    return np.rot90(picture, turns) if turns else picture


def _quarter_turns(frame) -> int:
    """Counter-clockwise quarter turns that show the frame upright."""
    return round((getattr(frame, "rotation", 0) or 0) / 90) % 4


def _displayed_shape(frame) -> tuple[int, int]:
    turned = _quarter_turns(frame) % 2
    shape = (frame.height, frame.width)
    return shape[::-1] if turned else shape


@contextlib.contextmanager
def _open_video(path):
    """Yields `(container, stream)` of the first video stream."""
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise VideoError(f"{path}: there is no such file.")
    if os.path.getsize(path) == 0:
        raise VideoError(f"{path}: the file is empty.")
    try:
        # Some containers carry titles that are not UTF-8.
        container = av.open(path, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as failure:
        raise VideoError(f"{path}: not a video ({_reason(failure)}).") from None
    with container:
        if not container.streams.video or container.format.name in (
            _TEXT_FORMATS
        ):
            raise VideoError(f"{path}: the file has no video stream.")
        stream = container.streams.video[0]
        # Clips are decoded in parallel, so threads within one only add cost.
        stream.codec_context.thread_count = 1
        yield container, stream


def _reason(failure) -> str:
    text = getattr(failure, "strerror", None) or str(failure)
    return text.splitlines()[0] if text else type(failure).__name__
