"""Lines of JSON that a run appends to, kept through interruptions."""

import json
import os
import pathlib
from typing import Any

from autox3d_tf.base import files as files_lib


def read(path: str | os.PathLike) -> list[dict[str, Any]]:
    """Returns the lines; what a killed process left unfinished is dropped."""
    path = pathlib.Path(path)
    if not path.is_file():
        return []
    entries = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entries.append(json.loads(line))
        except ValueError:
            break
    return entries


def resume(
    path: str | os.PathLike,
    first_step: int,
    writes: bool = True,
    every: int = 1,
) -> list[dict[str, Any]]:
    """Drops the lines of steps that a run takes again; returns the others.

    Args:
        path: The file, which may not be there yet.
        first_step: Steps that are done.
        writes: Whether the file loses them too.
        every: Lines of steps that are no multiple of this go as well.
    """
    kept = [
        entry
        for entry in read(path)
        if entry["step"] <= first_step and entry["step"] % every == 0
    ]
    if writes:
        files_lib.write_text(path, "".join(map(_line, kept)))
    return kept


def append(path: str | os.PathLike, entry: dict[str, Any]) -> None:
    """Adds a line, which says its `step`."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(_line(entry))


def _line(entry) -> str:
    return json.dumps(entry) + "\n"
