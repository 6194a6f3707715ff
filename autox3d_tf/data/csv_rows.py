"""CSV files that people and other programs write, read strictly."""

import csv
import os
from collections.abc import Callable, Iterator, Sequence


def read(
    path: str | os.PathLike,
    check_columns: Callable[[Sequence[str]], None],
    **dialect,
) -> Iterator[tuple[int, dict[str, str | None]]]:
    """Yields the line at which each row ends, and its cells by column.

    Args:
        path: The file: a line of names, then the rows.
        check_columns: Raises ValueError if these names will not do.
        **dialect: More of `csv.reader`.

    Raises:
        ValueError: It is no CSV file in UTF-8, or a quote is left open.
    """
    line = 0  # not of those that an open quote takes as one cell
    try:
        with open(path, newline="", encoding="utf-8-sig") as stream:
            rows = csv.DictReader(stream, strict=True, **dialect)
            check_columns(rows.fieldnames or ())
            line = rows.line_num
            for row in rows:
                line = rows.line_num
                yield line, row
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
