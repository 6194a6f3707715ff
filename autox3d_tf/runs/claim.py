"""Work shared by processes of one machine."""

import contextlib
import os
import pathlib
from collections.abc import Iterator

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
