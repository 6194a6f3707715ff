"""Keeps the memory of one step for the next.

TensorFlow asks the C library for each tensor anew. That of Linux gets large
blocks from the kernel and gives them back at once, so every step pays for
pages that are filled with zeros first: a fifth of the time of a training step
of X3D-S on two cores.
"""

import ctypes
import os

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3

_KEPT = 2**30  # larger blocks still go back
_KEPT_BEFORE_2_35 = 2**25  # glibc takes no more there
_VARIABLES = (
    "GLIBC_TUNABLES", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"
)  # fmt: skip


def keep_freed_memory() -> bool:
    """Has the C library keep what is freed, for the whole process.

    A process then holds as much as it has needed at most, which is what
    training needs at each step. Whoever sets this by the environment is left
    alone.

    Returns:
        Whether it does; False where there is no glibc.
    """
    if any(os.environ.get(name) for name in _VARIABLES):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return False
    kept = mallopt(_M_MMAP_THRESHOLD, _KEPT) or mallopt(
        _M_MMAP_THRESHOLD, _KEPT_BEFORE_2_35
    )
    return bool(kept and mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))
