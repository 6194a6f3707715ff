"""CSV files that people and other programs write, read strictly."""

import csv
import itertools
import os
from collections.abc import Callable, Iterator, Sequence


def separator(header: str) -> str:
    """Returns what is between names: spreadsheets write what is usual there.

    >>> separator("path;label"), separator("path")
    (';', ',')
    """
    return max(",;\t", key=header.count)


def plain(name: str) -> str:
    """Returns the name of a column however people write it.

    >>> plain(' "Label"')
    'label'
    """
    return name.strip(' "').lower()


def read(
    path: str | os.PathLike,
    check_columns: Callable[[Sequence[str]], None],
    **dialect,
) -> Iterator[tuple[int, dict[str, str | None]]]:
    """Yields the line at which each row ends, and its cells by column.

    Rows without content are left out. Cells that a row lacks are None. Names
    of columns are as `plain` makes them.

    Args:
        path: The file: a line of names, then the rows.
        check_columns: Raises ValueError if these names will not do.
        **dialect: More of `csv.reader`.

    Raises:
        ValueError: It is no CSV file in UTF-8, a quote is left open, a row has
            more cells than there are columns, or two of these have one name.
    """
    line = 0  # not of those that an open quote takes as one cell
    try:
        with open(path, newline="", encoding="utf-8-sig") as stream:
            first = stream.readline()
            delimiter = separator(first)
            dialect.setdefault("skipinitialspace", f"{delimiter} " in first)
            rows = csv.reader(
                itertools.chain([first], stream),
                strict=True,
                delimiter=delimiter,
                **dialect,
            )
            names = list(map(plain, next(rows, [])))
            check_columns(names)
            _check_each_once(path, names)
            line = rows.line_num
            for cells in rows:
                line = rows.line_num
                while cells and not cells[-1].strip():
                    cells.pop()
                if len(cells) > len(names):
                    raise ValueError(
                        f"{path}, line {line}: must have {len(names)} cells. "
                        f"Received: {len(cells)}, the last {cells[-1]!r}. "
                        f"Quote cells that hold a {delimiter!r}."
                    )
                if cells:
                    yield line, dict(itertools.zip_longest(names, cells))
    except csv.Error as error:
        raise ValueError(
            f"{path} must be a CSV file. Received: a row after line {line} "
            f"that cannot be read ({error}). A quote may be left open."
        ) from None
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is no CSV file in UTF-8 ({error.reason} at byte "
            f"{error.start}). Save it as UTF-8, as spreadsheets can."
        ) from None


def _check_each_once(path, names: Sequence[str]) -> None:
    twice = [name for name in names if name and names.count(name) > 1]
    if twice:
        raise ValueError(
            f"{path} must name each column once. Received: {twice[0]!r} "
            f"{names.count(twice[0])} times (capitals do not count)."
        )
