"""Locks between the processes of one machine."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from typing import Any

from absl import logging


def lock(file: Any) -> bool:
    """Locks an open file or folder; returns False if another one has it.

    The lock is the system's: it goes when the file is closed, or with the
    process, however that ends, so there are no stale ones.

    Args:
        file: What `open` or `os.open` returns, on a local disk.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def turn(path: str | os.PathLike) -> Iterator[None]:
    """Waits until no other process or thread is in such a block.

    Args:
        path: The lock file, on a local disk. It stays.

    Raises:
        OSError: The file cannot be made.
    """
    with open(path, "a", encoding="utf-8") as file:
        if not lock(file):
            logging.info("Waiting for another process, which has %s.", path)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
