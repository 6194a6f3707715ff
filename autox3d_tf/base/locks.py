"""Locks between the processes of one machine."""

import fcntl
from typing import Any


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
