"""Time over restarts."""

import os
import pathlib
import time

from autox3d_tf.base import files as files_lib


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
