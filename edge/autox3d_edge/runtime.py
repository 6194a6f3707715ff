"""Runs an exported model: a video in, labels out. No TensorFlow needed."""

import os

import numpy as np

from autox3d_edge import interpreters
from autox3d_edge import manifest as manifest_lib


class Recognizer:
    """Names what happens in a video, with one exported .tflite file.

    Args:
        path: A file written by `export_model`. It is checked as a whole
            before an interpreter sees it.
        num_threads: Threads of the interpreter.
        runtime: "ai-edge-litert", "tflite-runtime" or "tf.lite"; the first
            that is installed by default.

    Raises:
        ValueError: The file is missing, cut short, changed, or not ours.

    Example:
        Recognizer("model.tflite").classify("video.mp4")
        # [("wave", 0.91), ("point", 0.05), ...]
    """

    def __init__(
        self,
        path: str | os.PathLike,
        num_threads: int = 1,
        runtime: str | None = None,
    ):
        model, self.manifest = manifest_lib.read_model(path)
        self._run = interpreters.ClipRunner(model, num_threads, runtime)
        self.labels = manifest_lib.check_labels(
            self.manifest.labels, self._run.num_classes
        )

    @property
    def clip_shape(self) -> tuple[int, int, int, int]:
        """`(frames, height, width, 3)` of the clip the network takes."""
        return self._run.clip_shape

    def classify(self, source, top: int | None = None):
        """Returns `(label, probability)` pairs, most probable first.

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
        scores = self.scores(clip)
        order = np.argsort(-scores, kind="stable")[:top]
        return [(self.labels[i], float(scores[i])) for i in order]

    def scores(self, clip: np.ndarray) -> np.ndarray:
        """Returns the float32 `(classes,)` scores of one prepared clip."""
        return self._run(clip)

    def read_clip(self, path: str | os.PathLike) -> np.ndarray:
        """Decodes the frames of a video that the network looks at."""
        from autox3d_tf.data import decoding

        indices = self._frame_numbers(decoding.probe(path).frames)
        return self._cut(decoding.decode_frames(path, indices))

    def make_clip(self, frames: np.ndarray) -> np.ndarray:
        """Samples, scales and crops the frames of a whole video.

        Frames that already are a clip are left as they are.
        """
        frames = np.asarray(frames)
        if (
            frames.dtype != np.uint8
            or frames.ndim != 4
            or frames.shape[-1] != 3
            or not frames.size
        ):
            raise ValueError(
                "`source` must be a path or uint8 RGB frames (n, height, "
                f"width, 3). Received: {frames.dtype} {frames.shape}."
            )
        if frames.shape == self.clip_shape:
            return frames
        return self._cut(frames[self._frame_numbers(len(frames))])

    def _cut(self, frames: np.ndarray) -> np.ndarray:
        """Scales sampled frames and cuts out the centre."""
        from autox3d_tf.data import sampling

        wanted = self.manifest.preprocessing
        frames = sampling.resize_frames(
            frames, wanted.short_side, wanted.squash
        )
        clip = sampling.center_crop(frames, wanted.crop_size)
        return sampling.standardize(clip, wanted.standardize)

    def _frame_numbers(self, num_frames: int) -> np.ndarray:
        from autox3d_tf.data import sampling

        wanted = self.manifest.preprocessing
        return sampling.sample_indices(
            wanted.sampling,
            num_frames,
            wanted.clip_frames,
            stride=wanted.stride,
        )
