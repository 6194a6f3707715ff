"""How numbers are written for people."""

from collections.abc import Iterable


def times(sizes: Iterable[int]) -> str:
    """Returns sizes with "x" between them.

    >>> times((13, 160, 160))
    '13x160x160'
    """
    return "x".join(map(str, sizes))
