"""Runs an exported model: a video in, labels out. No TensorFlow needed."""

import collections
import math
import numbers
import os
import threading

import numpy as np

from autox3d_edge import manifest as manifest_lib
from autox3d_edge import streaming
from autox3d_tf.base import checks

MOST_FPS = 1000  # more are thousandths, or no rate of a video


class Recognizer:
    """Names what happens in a video, with one exported .tflite file.

    Args:
        path: A file written by `export_model`, or its content in bytes. It is
            checked as a whole before an interpreter sees it.
        num_threads: Threads of the interpreter.
        runtime: "ai-edge-litert", "tflite-runtime" or "tf.lite"; the first
            that is installed by default.
        hop: `push` runs the network at every `hop`-th frame. By default at
            those that a stream was trained on; a network of whole clips at
            every quarter of its window.
        window: Frames that a network of whole clips looks back on in `push`;
            by default those that a clip of its training spans at `fps`, and
            at least as many as a clip has.
        fps: Frames per second of what `push` gets, for these defaults to last
            as long as in training, and of frames that are not in a file; at
            most 1000, None if as many as in the training videos.

    Threads may share one: a call waits for the one before it.

    Attributes:
        manifest: What the file says about itself.
        labels: Names of the classes, in the order of the scores.
        hop, window: As given, or their defaults.
        fps: As given, or that of the training videos; 0.0 if not known.

    Raises:
        ValueError: The file is missing, cut short, changed, or not ours.

    Example:
        Recognizer("model.tflite").classify("video.mp4")
        # [("wave", 0.91), ("point", 0.05), ...]

        recognizer = Recognizer("model_int8.tflite", fps=30)
        for frame in camera:  # uint8 RGB (height, width, 3); OpenCV's are BGR
            scores = recognizer.push(frame)
            if scores is not None:  # the first frames make no clip yet
                print(recognizer.named(scores, top=1))
    """

    def __init__(
        self,
        path: str | os.PathLike | bytes,
        num_threads: int = 1,
        runtime: str | None = None,
        hop: int | None = None,
        window: int | None = None,
        fps: float | None = None,
    ):
        fps = _check_fps(fps)
        num_threads, hop, window = map(_to_int, (num_threads, hop, window))
        for name, value in (("hop", hop), ("window", window)):
            if value is not None:
                checks.check_positive_int(name, value)
                _check_frames_apart(name, value)
        self._lock = threading.RLock()
        model, self.manifest = manifest_lib.read_model(path)
        stream, wanted = self.manifest.stream, self.manifest.preprocessing
        self._runner = streaming.make_runner(
            model, stream, num_threads, runtime
        )
        frames = 1 if stream else wanted.clip_frames
        fits = (frames, wanted.crop_size, wanted.crop_size, 3)
        if self._runner.clip_shape != fits:
            raise ValueError(
                f"The manifest must fit its network, which takes frames of "
                f"shape {self._runner.clip_shape}. Received: {fits}. Export "
                "the model again."
            )
        if window is None:
            stride = _stride_at(wanted, fps)
            window = round(wanted.clip_frames * max(1.0, stride))
        if hop is None:
            hop = window // 4
            if stream:
                looks = stream.stride * stream.fps
                hop = round(_at_rate(stream.stride, looks, fps))
            hop = max(1, hop)
        self.window, self.hop = window, hop
        self.fps = fps or wanted.fps or wanted.stride_fps
        self.labels = manifest_lib.check_labels(
            self.manifest.labels, self._run.num_classes
        )
        self.reset()

    @property
    def _run(self):
        if self._runner is None:
            raise ValueError("This recognizer is closed. Open the model again.")
        return self._runner

    def close(self) -> None:
        """Frees the memory of the model, as `with Recognizer(...)` does."""
        with self._lock:
            self._frames.clear()
            self._runner = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def clip_shape(self) -> tuple[int, int, int, int]:
        """`(frames, height, width, 3)` of the clip the network takes."""
        frames = self.manifest.preprocessing.clip_frames
        return (frames, *self._run.clip_shape[1:])

    def push(
        self, frame: np.ndarray, seconds: float | None = None
    ) -> np.ndarray | None:
        """Takes one more frame of a video; returns the latest scores.

        A stream has scores from the first frame on. A network of whole clips
        has none until `window` frames are there; then it looks at a clip of
        the last `window` frames at every `hop`-th frame. In between, the
        scores stay what they were.

        Args:
            frame: uint8 RGB `(height, width, 3)` of any size.
            seconds: When it was seen, by any clock, such as
                `time.monotonic()`. `window` and `hop` then count frames at
                `fps`, however many come: those beyond are left out, for those
                that are missing a network of whole clips holds the one before.
                A stream leaves the looks out that it missed: where each takes
                too long, more of them would fall behind for good.

        Returns:
            float32 `(classes,)`, the same read-only array until the network
            looks again, or None.

        Raises:
            ValueError: `seconds` that fall, or no `fps` is known for them.
        """
        frame = _check_frames(frame, "frame")
        with self._lock:
            count = 1 if seconds is None else self._count_until(seconds)
            if count:
                self._push(frame, count)
            return self._latest

    def _push(self, frame, count):
        """Takes the last of `count` frames; the others were not seen."""
        network = self._run  # or it is closed
        pushed = self._pushed + count
        looks = pushed >= self._due
        # A frame counts once nothing can fail that is its own.
        if self.manifest.stream is None:
            # A copy: cameras reuse the memory of their frames.
            frame = self._scale(frame)[0].copy()
            held = self._frames[-1] if self._frames else frame
            missing = min(count, self.window) - 1
            self._frames.extend([held] * missing + [frame])
        elif looks:
            frame = self._cut(frame)
        self._pushed = pushed
        if not looks:
            return
        self._due += self.hop * ((pushed - self._due) // self.hop + 1)
        if self.manifest.stream is None:
            apart = self.window / self.clip_shape[0]
            numbers = self._sample(self.window, apart)
            frames = np.stack([self._frames[number] for number in numbers])
            self._saw(self.scores(self._standardize(frames)))
        else:
            self._saw(network.push(frame))

    def _count_until(self, seconds):
        """Frames at `fps` from the last one that was pushed to `seconds`."""
        if not self.fps:
            raise ValueError(
                "`seconds` need a frame rate, and the model knows none. "
                "Say `fps`."
            )
        number = _is_real(seconds) and math.isfinite(seconds)
        if not number or seconds < self._seconds:
            raise ValueError(
                "`seconds` must be a number and not fall until `reset`. "
                f"Received: seconds={seconds!r}, after {self._seconds}."
            )
        if self._seconds == -math.inf:
            self._began = seconds - self._pushed / self.fps
        self._seconds = seconds
        place = round((seconds - self._began) * self.fps)
        return max(0, place + 1 - self._pushed)

    def _saw(self, scores):
        scores.setflags(write=False)
        self._latest = scores

    def reset(self) -> None:
        """Forgets the frames that were pushed."""
        with self._lock:
            self._pushed, self._latest = 0, None
            self._due = 1 if self.manifest.stream else self.window  # the look
            self._seconds = -math.inf
            self._frames = collections.deque(maxlen=self.window)
            if self.manifest.stream is not None:
                self._run.reset()

    def named(self, scores: np.ndarray, top: int | None = None):
        """Returns `(label, probability)` pairs, most probable first.

        Args:
            scores: `(classes,)`, as of `push` or `scores`.
            top: How many pairs; all by default.
        """
        values, received = _as_array(scores)
        numbers_only = values.dtype.kind in "biuf"
        if values.shape != (len(self.labels),) or not numbers_only:
            if scores is None:
                received = "None, as of `push` before it has looked"
            raise ValueError(
                f"`scores` must be {len(self.labels)} numbers, one per class. "
                f"Received: {received}."
            )
        if top is not None:
            top = _to_int(top)
            checks.check_positive_int("top", top)
        order = np.argsort(-values, kind="stable")[:top]
        return [(self.labels[i], float(values[i])) for i in order]

    def classify(self, source, top: int | None = None):
        """Returns `(label, probability)` pairs, most probable first.

        A stream gives those after the last frame of the clip; what was pushed
        before is forgotten.

        Args:
            source: Path of a video, or its frames: uint8 RGB `(n, h, w, 3)`
                of any length and size.
            top: How many pairs; all by default.

        Raises:
            ValueError: Frames of another shape or dtype.
            autox3d_tf.data.decoding.VideoError: The video cannot be read.
        """
        if isinstance(source, (str, os.PathLike)):
            clip = self.read_clip(source)
        else:
            clip = self.make_clip(source)
        return self.named(self.scores(clip), top)

    def scores(self, clip: np.ndarray) -> np.ndarray:
        """Returns the float32 `(classes,)` scores of one prepared clip.

        Args:
            clip: uint8 RGB of `clip_shape`, as of `read_clip` or `make_clip`.
        """
        clip, received = _as_array(clip)
        if clip.dtype != np.uint8 or clip.shape != self.clip_shape:
            raise ValueError(
                f"`clip` must be uint8 {self.clip_shape}. Received: {received}."
            )
        with self._lock:
            if self.manifest.stream is None:
                return self._run(clip)
            self.reset()
            try:
                return self._run(clip)
            finally:  # leave nothing behind, whatever the interpreter does
                self.reset()

    def read_clip(self, path: str | os.PathLike) -> np.ndarray:
        """Decodes the frames of a video that the network looks at.

        Raises:
            autox3d_tf.data.decoding.VideoError: It cannot be read, or only a
                part of it: the frames of that would not be those of the whole.
        """
        from autox3d_tf.data import decoding

        def sample(count, fps):
            stride = _stride_at(self.manifest.preprocessing, fps)
            return self._sample(count, stride)

        return self._cut(decoding.decode_sampled(path, sample))

    def make_clip(self, frames: np.ndarray) -> np.ndarray:
        """Samples, scales and crops the frames of a whole video.

        Frames of the shape of a clip are not sampled, scaled or cropped.
        """
        frames = _check_frames(frames, "source")
        if frames.shape == self.clip_shape:
            return self._standardize(frames)
        return self._cut(frames[self.frame_numbers(len(frames))])

    def frame_numbers(self, count: int, fps: float | None = None) -> np.ndarray:
        """Numbers of the frames that a clip is made of, for `clip_of`.

        So that no others of a video need to be decoded.

        Args:
            count: Frames of the video.
            fps: Frames per second of it; by default, or if 0, those of the
                recognizer.

        Returns:
            int64 `(frames,)`, as many as in a clip; of short videos some come
            more than once.
        """
        count = _to_int(count)
        checks.check_positive_int("count", count)
        rate = _check_fps(None if fps == 0 else fps) or self.fps
        return self._sample(
            count, _stride_at(self.manifest.preprocessing, rate)
        )

    def clip_of(self, sampled: np.ndarray) -> np.ndarray:
        """Scales and crops sampled frames, those of `frame_numbers`."""
        sampled = _check_frames(sampled, "sampled")
        frames = self.clip_shape[0]
        if len(sampled) != frames:
            raise ValueError(
                f"`sampled` must be the {frames} frames of a clip. "
                f"Received: {len(sampled)}."
            )
        return self._cut(sampled)

    def _cut(self, frames: np.ndarray) -> np.ndarray:
        """Makes a clip of sampled frames."""
        return self._standardize(self._scale(frames))

    def _standardize(self, frames: np.ndarray) -> np.ndarray:
        from autox3d_tf.data import sampling

        return sampling.standardize(
            frames, self.manifest.preprocessing.standardize
        )

    def _scale(self, frames: np.ndarray) -> np.ndarray:
        """Scales frames and cuts out the centre."""
        from autox3d_tf.data import sampling

        wanted = self.manifest.preprocessing
        return sampling.resize_frames(
            frames, wanted.short_side, wanted.squash, wanted.crop_size
        )

    def _sample(self, num_frames: int, stride: float) -> np.ndarray:
        from autox3d_tf.data import sampling

        wanted = self.manifest.preprocessing
        return sampling.sample_indices(
            wanted.sampling,
            num_frames,
            wanted.clip_frames,
            stride=stride,
        )


def _check_fps(fps) -> float | None:
    """Returns frames per second, or None; raises unless they make sense."""
    if fps is None:
        return None
    if not _is_real(fps) or not 0 < fps <= MOST_FPS:
        raise ValueError(
            f"`fps` must be a positive number, at most {MOST_FPS}. "
            f"Received: fps={fps!r}."
        )
    return float(fps)


def _is_real(value) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _to_int(value):
    """An int, of numpy's too; what is none as it came, to be refused."""
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    return int(value) if whole else value


def _stride_at(wanted, fps: float | None) -> float:
    """Frames of a video per frame of a clip, as long as in training.

    Args:
        wanted: The preprocessing.
        fps: Frames per second of the video; that of training if not known.
    """
    usual = _in_thousandths(wanted.fps)
    rate = _in_thousandths(fps) if fps else usual
    return _at_rate(wanted.stride, wanted.stride_fps or usual, rate)


def _in_thousandths(fps: float) -> float:
    """Three digits, as lists have them; halves up, as every port does."""
    return math.floor(fps * 1000 + 0.5) / 1000


def _at_rate(count: float, known: float, fps: float | None) -> float:
    """Frames at `fps` that last as long as `count` at the `known` rate."""
    # Of equal rates exactly so many: what is a bit less, is a frame earlier.
    changes = fps and known and fps != known
    found = count * fps / known if changes else count
    _check_frames_apart("stride", found)
    return found


def _check_frames_apart(name: str, value: float) -> None:
    if value > manifest_lib.MOST_FRAMES:
        raise ValueError(
            f"`{name}` must be at most {manifest_lib.MOST_FRAMES} frames. "
            f"Received: {name}={value!r}."
        )


def _check_frames(given, name: str) -> np.ndarray:
    """Returns uint8 RGB frames `(n, height, width, 3)`, or raises."""
    array, received = _as_array(given)
    frames = array[None] if name == "frame" else array
    if (
        frames.dtype != np.uint8
        or frames.ndim != 4
        or frames.shape[-1] != 3
        or not frames.size
    ):
        wanted = {
            "frame": "a uint8 RGB frame (",
            "sampled": "uint8 RGB frames (n, ",
            "source": "a path or uint8 RGB frames (n, ",
        }[name]
        raise ValueError(
            f"`{name}` must be {wanted}height, width, 3). Received: {received}."
        )
    return frames


def _as_array(given) -> tuple[np.ndarray, str]:
    """Returns an array, and what to call it in errors."""
    kind = type(given).__name__
    try:
        array = np.asarray(given)
    except ValueError:  # numpy stacks what is of one shape
        return np.empty(0, object), f"{kind} of several shapes"
    if array.dtype == object:  # what numpy knows nothing of
        return array, kind
    return array, f"{array.dtype} {array.shape}"
