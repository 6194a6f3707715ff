"""Video files to frames, with PyAV; imports no TensorFlow."""

import contextlib
import dataclasses
import math
import os
import stat

import av
import numpy as np
from av.video import reformatter

from autox3d_tf.data import sampling

_CAMERA_FORMAT = "v4l2"  # cameras of Linux, the Raspberry Pi's too
# Formats that guess a video out of any text; a broken file must not pass.
_TEXT_FORMATS = ("tty", "ansi")


class VideoError(Exception):
    """A video could not be read; the message names the file and the reason."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """What decoding a whole video found.

    Attributes:
        frames: Frames decoded.
        fps: Average frames per second, 0.0 if not known.
        width, height: Size as displayed, with square pixels, after turning.
        duration: Seconds.
        declared_frames: Frames the container promises, 0 if it does not say.
        skipped_frames: Those among them that are not to be shown: where a
            video was cut without encoding it again, others depend on them.
            In an AVI also those without content, which prolong the one before.
        declared_seconds: The same in seconds, of its longest stream.
        read_seconds: From its start to where the last of its streams ends.
        error: What stopped decoding before the end, empty if nothing did.
    """

    frames: int
    fps: float
    width: int
    height: int
    duration: float
    declared_frames: int = 0
    skipped_frames: int = 0
    declared_seconds: float = 0.0
    read_seconds: float = 0.0
    error: str = ""

    @property
    def lacking(self) -> str:
        """What is missing at the end of a video cut short; empty if nothing.

        Many sound files promise a frame or two that do not exist. Where a
        container tells seconds only, as Matroska, they are those of its sound
        too: a file that was cut lacks the end of both.
        """
        if self.error:
            of = f" of {self.declared_frames}" if self.declared_frames else ""
            return f"only {self.frames}{of} frames decode ({self.error})"
        if self.declared_frames:
            fewer = self.declared_frames - self.skipped_frames - self.frames
            if fewer > max(2, 0.02 * self.declared_frames):
                return (
                    f"only {self.frames} of {self.declared_frames} frames "
                    "decode"
                )
        elif self.read_seconds < 0.8 * self.declared_seconds:
            return (
                f"only {self.frames} frames decode, "
                f"{self.read_seconds:.1f} of {self.declared_seconds:.1f} "
                "seconds"
            )
        return ""


def probe(path) -> VideoInfo:
    """Decodes the whole video and returns what is in it.

    Raises:
        VideoError: if not a single frame can be decoded.
    """
    return _read(path)[0]


def decode_sampled(path, sample) -> np.ndarray:
    """Returns frames that depend on how long a video is.

    As uint8 RGB `(n, height, width, 3)`. Where a container promises as many
    frames as it has, as most do, the video is decoded once.

    Args:
        path: The video file.
        sample: Gets the number of frames and their rate, 0.0 if not known;
            returns frame numbers, as of `decode_frames`.

    Raises:
        VideoError: It cannot be read, or only a part of it: the frames of
            that would not be those of the whole.
    """
    info, kept = _read(path, sample)
    if info.lacking:
        raise VideoError(f"{path}: is cut short: {info.lacking}.")
    numbers = [int(number) for number in sample(info.frames, info.fps)]
    if not kept.keys() >= set(numbers):
        return decode_frames(path, numbers)
    return np.stack([kept[number] for number in numbers])


def _read(path, sample=None) -> tuple[VideoInfo, dict[int, np.ndarray]]:
    """Decodes a whole video, and keeps frames by what its container promises.

    Args: as `decode_sampled`; none are kept without `sample`.

    Returns:
        What is in the video, and frames by their numbers.
    """
    frames, skipped, width, height, error = 0, 0, 0, 0, ""
    first = last = end = 0.0
    wanted, kept = set(), {}
    with _open_video(path) as (container, stream):
        if sample is not None and stream.frames > 0:
            wanted.update(sample(stream.frames, _frame_rate(stream)))
        in_avi, places = container.format.name == "avi", 0
        try:
            for packet in container.demux():
                end = max(end, _end_of(packet))
                if packet.stream is not stream:
                    continue
                skipped += packet.is_discard
                if in_avi and packet.dts is not None:
                    # Packets are numbered; those without content are left out.
                    skipped += max(0, packet.dts - places)
                    places = max(places, packet.dts + 1)
                for frame in packet.decode():
                    last = frame.time or last
                    if not frames:
                        pictures = _Pictures(frame, stream)
                        width, height = pictures.shape
                        if _orientation(frame)[1] % 2:
                            width, height = height, width
                        first = last
                    if frames in wanted:
                        kept[frames] = pictures.rgb(frame)
                    frames += 1
        except (av.FFmpegError, OSError, ValueError) as failure:
            error = _reason(failure)
        if not frames:
            raise VideoError(
                f"{path}: no frame can be decoded"
                + (f" ({error})." if error else ".")
            )
        fps = _frame_rate(stream)
        if frames > 1 and last > first:
            measured = (frames - 1) / (last - first)
            if abs(measured - fps) > 0.1 * fps:
                fps = measured  # of a varying rate some files say the highest
        start = (container.start_time or 0) / av.time_base
        declared = (container.duration or 0) / av.time_base
        if "matroska" in container.format.name:
            declared -= start  # it tells when it ends, others how long it is
        info = VideoInfo(
            frames=frames,
            fps=fps,
            height=height,
            width=width,
            duration=frames / fps if fps else 0.0,
            declared_frames=stream.frames,
            declared_seconds=declared,
            skipped_frames=skipped,
            read_seconds=max(end, last + (1 / fps if fps else 0.0)) - start,
            error=error,
        )
    return info, kept


def _end_of(packet) -> float:
    """The time in seconds at which a packet ends, 0.0 if not known."""
    if packet.pts is None:
        return 0.0
    return float((packet.pts + (packet.duration or 0)) * packet.time_base)


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
    if indices is None:
        return np.stack(list(iter_frames(path, short_side)))
    wanted = [int(i) for i in indices]
    if not wanted or min(wanted) < 0:
        raise ValueError(
            "`indices` must be frame numbers from 0 on. "
            f"Received: indices={wanted}."
        )
    numbers = sorted(set(wanted))
    pictures = dict(
        zip(numbers, iter_frames(path, short_side, numbers), strict=True)
    )
    return np.stack([pictures[i] for i in wanted])


def iter_frames(path, short_side=None, numbers=None):
    """Yields frames one by one, uint8 RGB `(height, width, 3)`.

    Args:
        path: The video file.
        short_side: As in `decode_frames`.
        numbers: Frame numbers, rising; None for all.

    Raises:
        VideoError: if the file cannot be decoded as far as asked.
    """
    keep = None if numbers is None else set(numbers)
    last = None if numbers is None else max(numbers)
    for number, (frame, pictures) in enumerate(_decoded(path, last)):
        if keep is None or number in keep:
            yield pictures.rgb(frame, short_side)


def watch(path):
    """Yields `(frame, seconds)` of a camera, frames as from `iter_frames`.

    Seconds are of the camera's own clock, None if it tells none.

    Raises:
        VideoError: if it cannot be opened or shows nothing.
    """
    for frame, pictures in _decoded(path):
        yield pictures.rgb(frame), frame.time


def _decoded(path, last=None):
    """Yields frames as they are decoded, up to `last`, with `_Pictures`."""
    found, pictures, reason = 0, None, ""
    with _open_video(path) as (container, stream):
        frames = container.decode(stream)
        while last is None or found <= last:
            try:
                frame = next(frames, None)
            except (av.FFmpegError, OSError, ValueError) as failure:
                frame, reason = None, f" ({_reason(failure)})"
            if frame is None:
                break
            pictures = pictures or _Pictures(frame, stream)
            yield frame, pictures
            found += 1
    if reason or not found or (last is not None and found <= last):
        asked = "every frame" if last is None else f"frame {last}"
        raise VideoError(
            f"{path}: {asked} was asked for, but only {found} frames can be "
            f"decoded{reason}."
        )


class _Pictures:
    """Turns frames of one video into RGB, all as large as its first one.

    Args:
        frame: The first one.
        stream: Its video.

    Attributes:
        shape: `(width, height)`, not turned, with square pixels.
    """

    def __init__(self, frame, stream):
        ratio = stream.sample_aspect_ratio or 1
        if not 0.1 < ratio < 10:
            ratio = 1  # no camera's: a broken header
        self.shape = max(1, round(frame.width * ratio)), frame.height
        # A frame by itself would make one anew, with threads of its own.
        self._reformatter = reformatter.VideoReformatter()

    def rgb(self, frame, short_side: int | None = None) -> np.ndarray:
        """Returns uint8 `(height, width, 3)`, turned as it is to be seen."""
        width, height = self.shape
        picture = self._reformatter.reformat(
            frame, width, height, "rgb24", threads=1
        ).to_ndarray()
        if frame.interlaced_frame:
            # Every second line is of another moment: what moves has teeth.
            picture = np.repeat(picture[::2], 2, axis=0)[: len(picture)]
        if short_side is not None:
            picture = sampling.resize_frames(picture[None], short_side)[0]
        # Scaled first: what is turned lies across memory, and takes long to
        # scale.
        mirrored, turns = _orientation(frame)
        if mirrored:
            picture = picture[:, ::-1]
        return np.rot90(picture, turns) if turns else picture


def _orientation(frame) -> tuple[bool, int]:
    """What shows a frame as it is meant to be seen.

    Returns:
        Whether to mirror it left to right, as cameras that face their user ask
        for, and how many quarter turns counter-clockwise to make after that.
    """
    # Most frames have nothing beside them, and to ask for it by name is slow.
    matrix = len(frame.side_data) and frame.side_data.get("DISPLAYMATRIX")
    if not matrix:
        return False, 0
    # A pixel at (x, y), from the top left, is shown at (ax + cy, bx + dy).
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    mirrored = a * d < b * c
    if mirrored:
        a, b = -a, -b
    return mirrored, round(-math.atan2(b, a) / (math.pi / 2)) % 4


def frame_rate(path) -> float:
    """Returns the frames per second of a video or camera, 0.0 if not known.

    Raises:
        VideoError: if it cannot be opened.
    """
    with _open_video(path) as (_, stream):
        return _frame_rate(stream)


def _frame_rate(stream) -> float:
    return float(stream.average_rate or stream.guessed_rate or 0)


def is_camera(path) -> bool:
    """Whether a path is a device, such as /dev/video0, not a file."""
    try:
        return stat.S_ISCHR(os.stat(path).st_mode)
    except OSError:
        return False


@contextlib.contextmanager
def _open_video(path):
    """Yields `(container, stream)` of the first video stream."""
    path = os.fspath(path)
    camera = is_camera(path)
    if os.path.isdir(path):
        raise VideoError(f"{path}: a folder without videos.")
    if not camera and not os.path.isfile(path):
        raise VideoError(f"{path}: there is no such file.")
    if not camera and os.path.getsize(path) == 0:
        raise VideoError(f"{path}: the file is empty.")
    try:
        # Without `file:`, what stands before a colon in a name is a protocol.
        # Some containers carry titles that are not UTF-8.
        container = av.open(
            path if camera else f"file:{path}",
            format=_CAMERA_FORMAT if camera else None,
            metadata_errors="replace",
        )
    except (av.FFmpegError, OSError, ValueError) as failure:
        raise VideoError(f"{path}: not a video ({_reason(failure)}).") from None
    with container:
        if not container.streams.video or container.format.name in (
            _TEXT_FORMATS
        ):
            raise VideoError(f"{path}: the file has no video stream.")
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise VideoError(f"{path}: its video cannot be decoded.")
        # Clips are decoded in parallel, so threads within one only add cost.
        stream.codec_context.thread_count = 1
        yield container, stream


def _reason(failure) -> str:
    text = getattr(failure, "strerror", None) or str(failure)
    return text.splitlines()[0] if text else type(failure).__name__
