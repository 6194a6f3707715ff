"""Lists of clips in the formats that data sets are published in.

They say what is annotated, not where the videos lie: see `locating`.
"""

import pathlib
import re
from collections.abc import Callable, Sequence

from autox3d_tf.base import checks
from autox3d_tf.base import files as files_lib
from autox3d_tf.base import text as text_lib
from autox3d_tf.data import csv_rows, list_formats

Annotation = list_formats.Annotation
ReadOptions = list_formats.ReadOptions

READERS: dict[str, Callable] = {
    "kinetics": list_formats.read_kinetics,
    "ssv2": list_formats.read_ssv2,
    "ucf101": list_formats.read_ucf101,
    "hmdb51": list_formats.read_hmdb51,
    "numbered": list_formats.read_numbered,
}
_FILE_NAMES = {
    "ucf101": r"(?:train|test)list0?{number}\.txt",
    "hmdb51": r".+_test_split{number}\.txt",
}
_IN_FOLDERS = {
    **_FILE_NAMES,
    "kinetics": r".*\.(?:csv|json)",
    "ssv2": r".*(?:train|val)[a-z]*\.json",
    "numbered": r".*\.(?:csv|txt)",
}


def read_annotations(
    format: str, paths: Sequence, options: ReadOptions | None = None
) -> list[Annotation]:
    """Returns the clips of lists in one format, in their order.

    Args:
        format: One of `READERS`.
        paths: Files, or folders of the files as published.
        options: What the lists do not say.
    """
    checks.check_choice("format", format, READERS)
    options = options or ReadOptions()
    files = _expand(format, paths, options)
    found = READERS[format](files, options)
    if not found:
        names = text_lib.some(list(map(str, files)), 3)
        raise ValueError(
            f"`paths` must list clips. Received: {names}, which "
            f"{'has' if len(files) == 1 else 'have'} none."
        )
    return found


def detect(path) -> str | None:
    """Returns the format of a list by its name and content; None if none."""
    path = pathlib.Path(path)
    for format, pattern in _FILE_NAMES.items():
        if re.fullmatch(pattern.format(number=r"\d"), path.name):
            return format
    if path.suffix == ".json":
        entries = files_lib.read_json(path, "a list of clips")
        return "kinetics" if list_formats.is_kinetics_json(entries) else "ssv2"
    with path.open(encoding="utf-8-sig", errors="replace") as stream:
        first = stream.readline().strip()
    columns = set(map(csv_rows.plain, first.split(csv_rows.separator(first))))
    if {"youtube_id", "time_start"} <= columns:
        return "kinetics"
    if re.fullmatch(r"\d+;.*", first):
        return "ssv2"
    if re.fullmatch(r".+[\s,;]\d+", first):
        return "numbered"
    return None


def _expand(format, paths, options) -> list[pathlib.Path]:
    """Returns the files, those of folders in the order of their names."""
    pattern = _IN_FOLDERS[format].format(number=options.split_number)
    files = []
    for path in map(pathlib.Path, paths):
        if not path.exists():
            raise ValueError(f"There is no list of clips {path}.")
        if not path.is_dir():
            files.append(path)
            continue
        inside = [
            entry
            for entry in sorted(path.iterdir())
            if re.fullmatch(pattern, entry.name)
        ]
        if not inside:
            raise ValueError(
                f"{path} must hold lists of the format {format}, files named "
                f"like {pattern}."
            )
        files.extend(inside)
    return files
