"""Work shared by processes of one machine: claims, and time over restarts."""

import contextlib
import os
import pathlib
import time
from collections.abc import Iterator

from autox3d_tf.base import files as files_lib
from autox3d_tf.base import locks


@contextlib.contextmanager
def claim(path: str | os.PathLike) -> Iterator[bool]:
    """Claims a piece of work for this process, if nobody else has.

    See `locks.lock`; the file says whose it is.

    Args:
        path: The lock file, on a local disk. It stays.

    Yields:
        Whether the work is ours until the end of the block.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+", encoding="utf-8") as file:
        if not locks.lock(file):
            yield False
            return
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield True


@contextlib.contextmanager
def alone(folder: str | os.PathLike) -> Iterator[None]:
    """Keeps other processes out of a run's directory until the block ends.

    Raises:
        ValueError: If one is at work there.
    """
    with claim(pathlib.Path(folder, "run.lock")) as ours:
        if not ours:
            raise ValueError(
                f"Another process is at work in {folder}. Wait for its end, "
                "or give another --run_dir."
            )
        yield


class Stopwatch:
    """Adds up the seconds of a piece of work that may stop and resume.

        with Stopwatch(folder / "seconds.json") as watch:
            work()
        watch.cpu, watch.wall

    What a process spent before it was killed outright is not counted.

    Args:
        path: Where the sum is kept.

    Attributes:
        cpu: Processor seconds of the process, all of its threads.
        wall: Seconds on the clock.
    """

    def __init__(self, path: str | os.PathLike):
        self._path = pathlib.Path(path)
        self.cpu = self.wall = 0.0
        if self._path.is_file():
            kept = files_lib.read_json(self._path, "a sum of seconds")
            self.cpu, self.wall = kept["cpu"], kept["wall"]

    def __enter__(self) -> "Stopwatch":
        self._began = time.process_time(), time.monotonic()
        return self

    def __exit__(self, *error) -> None:
        self.cpu += time.process_time() - self._began[0]
        self.wall += time.monotonic() - self._began[1]
        files_lib.write_json(self._path, {"cpu": self.cpu, "wall": self.wall})
