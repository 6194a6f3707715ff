"""How numbers and names are written for people."""

import re
import shlex
from collections.abc import Iterable, Sequence

_FOLDERS = re.compile(r"(?<![\w.])/(?:[^/'\"=,]+/)+(?=[^/'\"=,])")


def times(sizes: Iterable[int]) -> str:
    """Returns sizes with "x" between them.

    >>> times((13, 160, 160))
    '13x160x160'
    """
    return "x".join(map(str, sizes))


def some(names: Sequence[str], most: int = 10) -> str:
    """Names the first of them.

    >>> some(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def without_folders(word: str) -> str:
    """Leaves out where files lie: that is nobody's business who gets a file.

    >>> without_folders("--gin=DATA='/home/me/my clips/list.csv'")
    "--gin=DATA='.../list.csv'"
    """
    return _FOLDERS.sub(".../", word)


def quoted(word: str) -> str:
    """Quotes a word for the shell, in double quotes where these do.

    >>> print(quoted("--gin=DATA='clips'"), quoted("--gin=SEED=1"))
    "--gin=DATA='clips'" --gin=SEED=1
    """
    single = shlex.quote(word)
    if single == word or set(word) & set('"$`\\!'):
        return single
    return f'"{word}"'
