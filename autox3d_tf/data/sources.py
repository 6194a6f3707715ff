"""Where clips come from: one clip at a time, by its place in a manifest."""

import abc
import hashlib
import math
import threading

import numpy as np

from autox3d_tf.data import decoding, sampling
from autox3d_tf.data import manifest as manifest_lib


class ClipSource(abc.ABC):
    """Usable clips and a way to read frames of one of them.

    Of them only `MemorySource` holds more in memory than the manifest.

    Args:
        manifest: The clips; every row must be `ok` and know its frames.
    """

    encoded = False  # whether `fetch` returns JPEG pictures, not pixels

    def __init__(self, manifest: manifest_lib.Manifest):
        check_usable(manifest)
        self.manifest = manifest

    def __len__(self) -> int:
        return len(self.manifest)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their numbers."""
        return self.manifest.classes

    @property
    def labels(self) -> np.ndarray:
        """Class number of each clip, int32."""
        return np.asarray(self.manifest.labels, np.int32)

    @property
    def identity(self) -> str:
        """SHA-256 of the clips in their order and of how they are stored."""
        listed = [row.cells() for row in self.manifest.rows]
        text = repr((self.stored_as(), self.classes, listed))
        return hashlib.sha256(text.encode()).hexdigest()

    def stored_as(self) -> tuple:
        """What frames depend on beside the clips, such as their size."""
        return (type(self).__name__,)

    @abc.abstractmethod
    def subset(self, manifest: manifest_lib.Manifest) -> "ClipSource":
        """Returns a source of the rows of `manifest`, a selection of ours."""

    def size_of(self, position: int) -> int:
        """Returns the bytes that all frames of a clip take in memory."""
        frames = self.manifest.rows[position].frames
        return frames * self.fetch(position, [0]).nbytes

    @abc.abstractmethod
    def fetch(self, position: int, indices) -> np.ndarray:
        """Returns the frames numbered `indices` of the clip at `position`.

        Raises:
            decoding.VideoError: naming the clip, if it cannot be read.
        """


class VideoSource(ClipSource):
    """Clips decoded from their video files; `fetch` returns uint8 frames.

    Args:
        manifest: The clips.
        max_short_side: Larger videos are scaled down to this shorter side as
            they are decoded; None for no limit.
    """

    def __init__(self, manifest, max_short_side: int | None = None):
        super().__init__(manifest)
        self.max_short_side = max_short_side

    def stored_as(self) -> tuple:
        return "videos", self.max_short_side

    def subset(self, manifest) -> "VideoSource":
        return VideoSource(manifest, self.max_short_side)

    def size_of(self, position: int) -> int:
        row = self.manifest.rows[position]
        if not _has_size(row):
            return super().size_of(position)
        shape, limit = (row.height, row.width), self._limit(row)
        if limit:
            shape = sampling.resize_shape(*shape, limit)
        return row.frames * math.prod(shape) * 3

    def fetch(self, position: int, indices) -> np.ndarray:
        row = self.manifest.rows[position]
        path = self.manifest.absolute_path(row)
        return decoding.decode_frames(path, indices, self._limit(row))

    def _limit(self, row) -> int | None:
        """Returns the shorter side to scale to, None for as it is."""
        limit = self.max_short_side
        if limit and _has_size(row) and min(row.width, row.height) <= limit:
            return None
        return limit


class MemorySource(ClipSource):
    """Clips of another source, kept in memory once they have been read.

    A clip that does not fit in what is left is read again each time.

    Args:
        source: Where clips are read.
        limit: Bytes to keep at most, in all subsets together.
    """

    def __init__(self, source: ClipSource, limit: int, kept=None):
        super().__init__(source.manifest)
        self.encoded = source.encoded
        self._source = source
        self._kept = _Kept(limit) if kept is None else kept

    def stored_as(self) -> tuple:
        return self._source.stored_as()

    def subset(self, manifest) -> "MemorySource":
        return MemorySource(self._source.subset(manifest), 0, self._kept)

    def fetch(self, position: int, indices) -> np.ndarray:
        row = self.manifest.rows[position]
        frames = self._kept.get(row.path)
        if frames is None and self._source.size_of(position) > self._kept.left:
            return self._source.fetch(position, indices)
        if frames is None:
            with self._kept.reading(row.path):  # others wait for this one
                frames = self._kept.get(row.path)
                if frames is None:
                    frames = self._source.fetch(position, range(row.frames))
                    self._kept.add(row.path, frames)
        return frames[np.asarray(indices)]


class _Kept:
    """Frames by path, up to a number of bytes; threads may share it."""

    def __init__(self, limit: int):
        self._frames, self.left = {}, limit
        self._lock, self._reading = threading.Lock(), {}
        self.get = self._frames.get

    def reading(self, path: str) -> threading.Lock:
        """Held by the one thread that reads a clip."""
        with self._lock:
            return self._reading.setdefault(path, threading.Lock())

    def add(self, path: str, frames: np.ndarray) -> None:
        size = frames.nbytes
        if frames.dtype == object:  # encoded pictures
            size = sum(map(len, frames))
        with self._lock:
            if path not in self._frames and size <= self.left:
                self._frames[path] = frames
                self.left -= size


def _has_size(row) -> bool:
    return row.width > 0 and row.height > 0


def check_usable(manifest) -> None:
    """Refuses a manifest with rows that cannot be read."""
    for row in manifest.rows:
        if row.status != "ok" or row.frames < 1:
            raise ValueError(
                "`manifest` must hold usable clips with their number of "
                f"frames. Received: {row.path!r} with status={row.status!r}, "
                f"frames={row.frames}. Scan the clips and `select` usable ones."
            )
