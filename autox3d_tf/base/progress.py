"""How far long work is: a bar on a terminal, lines with a time in a log."""

import sys
from collections.abc import Iterable

import tqdm
from absl import logging

_LOG_SECONDS = 10.0
# Without the bar itself, which a log would show many times.
_LOG_FORMAT = (
    "{desc}: {n_fmt} of {total_fmt} {unit}s, {rate_fmt}, {remaining} left"
)


def bar(
    items: Iterable | None = None,
    *,
    title: str,
    unit: str,
    total: int | None = None,
    known: int = 0,
) -> tqdm.tqdm:
    """Returns the items, which show how many are done and the time left.

    In a log, work of less than ten seconds shows nothing.

    Args:
        items: To loop over; None to call `update`, in a `with`.
        title: What is done.
        unit: What is counted, in the singular.
        total: How many there are in all, where `items` cannot tell.
        known: How many of them were done before.
    """
    arguments = {}
    if not sys.stderr.isatty():
        arguments = {
            "file": _Log(),
            "bar_format": _LOG_FORMAT,
            "mininterval": _LOG_SECONDS,
            "delay": _LOG_SECONDS,
        }
    return tqdm.tqdm(
        items, desc=title, unit=unit, total=total, initial=known, **arguments
    )


class _Log:
    """Takes what is written to it for lines of the log."""

    def write(self, text: str) -> None:
        if line := text.strip():
            logging.info("%s", line)

    def flush(self) -> None:
        """Nothing is held back."""
