"""Manifests: one row per clip, saying what it is and whether it is usable."""

import collections
import csv
import dataclasses
import functools
import hashlib
import math
import os
import pathlib
import unicodedata
from collections.abc import Mapping
from typing import Any

from absl import logging

from autox3d_tf.base import checks
from autox3d_tf.base import files as files_lib
from autox3d_tf.data import csv_rows

STATUSES = (
    "ok",
    "missing",
    "empty",
    "undecodable",
    "truncated",
    "too_short",
    "duplicate",
)
COLUMNS = (
    "path",
    "label",
    "group",
    "split",
    "fold",
    "frames",
    "width",
    "height",
    "fps",
    "duration",
    "status",
    "detail",
    "sha256",
)
_ADDED = ("sha256",)  # later; files written before lack it
SPLIT_NAMES = {  # how folders and lists call a split
    "train": {"train", "training"},
    "val": {"val", "valid", "validate", "validation"},
    "test": {"test", "testing"},
}
SPLITS = tuple(SPLIT_NAMES)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipRow:
    """One clip of a manifest.

    Attributes:
        path: Path of the video, relative to the manifest's root.
        label: Class name.
        group: Clips of one group (scene, person, source video) belong on the
            same side of every split.
        split: Name of the split; empty where there is none. Usual names become
            `train`, `val` and `test`: see `usual_split`.
        fold: Number of the fold, or None. A negative fold marks clips that
            belong to no fold, such as negatives.
        frames, fps, width, height, duration: What decoding found; zero where
            it is not known. `duration` is in seconds.
        status: One of `STATUSES`; only `ok` clips are used.
        detail: Why the status is not `ok`, in words.
        sha256: Of the file, so that a list of other videos of the same names
            is another list; empty where it is not known.
    """

    path: str
    label: str
    group: str = ""
    split: str = ""
    fold: int | None = None
    frames: int = 0
    fps: float = 0.0
    width: int = 0
    height: int = 0
    duration: float = 0.0
    status: str = "ok"
    detail: str = ""
    sha256: str = ""

    def __post_init__(self):
        object.__setattr__(self, "split", usual_split(self.split))
        checks.check_choice("status", self.status, STATUSES)
        if not self.path or not self.label:
            raise ValueError(
                "`path` and `label` must not be empty. Received: "
                f"path={self.path!r}, label={self.label!r}."
            )

    @property
    def identity(self) -> str:
        """Tells the clip from others, wherever its list or its video lies."""
        return self.sha256 or self.path

    @property
    def unit(self) -> str:
        """What must stay on one side of every split."""
        return self.group or self.identity

    def cells(self) -> tuple[str, ...]:
        """Returns the row as the strings of a CSV line, in COLUMNS order."""
        others = (_to_cell(getattr(self, name)) for name in COLUMNS[1:])
        return (self.path, *others)  # a file may have line breaks in its name

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> "ClipRow":
        """From an object with its fields, and maybe more; `asdict` back.

        Raises:
            KeyError: One of those is missing that rows always had.
        """
        names = (field.name for field in dataclasses.fields(cls))
        return cls(
            **{
                name: entry[name]
                for name in names
                if name in entry or name not in _ADDED
            }
        )


@dataclasses.dataclass(frozen=True)
class Manifest:
    """Rows, the folder their paths start from, and the list of classes.

    The class number of a clip is the position of its label in `classes`.
    """

    root: str
    rows: tuple[ClipRow, ...]
    classes: tuple[str, ...]

    def __post_init__(self):
        unknown = {row.label for row in self.rows} - set(self.classes)
        if unknown:
            raise ValueError(
                "`classes` must hold the label of every row. Received: rows "
                f"labelled {sorted(unknown)[:5]} beside {len(self.classes)} "
                "classes."
            )

    def __len__(self) -> int:
        return len(self.rows)

    @functools.cached_property
    def splits(self) -> set[str]:
        """Names of the splits; empty for rows that are in none."""
        return {row.split for row in self.rows}

    @property
    def is_scanned(self) -> bool:
        """Whether somebody has looked at all clips that pass for usable."""
        return all(row.frames for row in self.rows if row.status == "ok")

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the sorted rows, wherever the list lies.

        Where contents are known, names of files do not matter.
        """
        lines = sorted(
            "\x1f".join(dataclasses.replace(row, path=row.identity).cells())
            for row in self.rows
        )
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    @functools.cached_property
    def order_fingerprint(self) -> str:
        """SHA-256 of the clips in their order, which decides what is drawn."""
        lines = [row.identity for row in self.rows]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    @functools.cached_property
    def labels(self) -> tuple[int, ...]:
        """The class number of each row."""
        number = {name: i for i, name in enumerate(self.classes)}
        return tuple(number[row.label] for row in self.rows)

    def absolute_path(self, row: ClipRow) -> str:
        """Returns where the video of `row` lies."""
        return os.path.join(self.root, row.path)

    def count(self) -> dict[str, int]:
        """Returns the number of rows of each class, zeros included."""
        counter = collections.Counter(row.label for row in self.rows)
        return {name: counter[name] for name in self.classes}

    def select(
        self,
        splits=None,
        folds=None,
        exclude_labels=(),
    ) -> "Manifest":
        """Returns the usable rows that satisfy every condition given.

        The class list stays, so class numbers agree between selections; only
        `exclude_labels` shortens it.

        Args:
            splits, folds: What to keep; None keeps all.
            exclude_labels: Classes to leave out.
        """
        for name in exclude_labels:
            _check_known("exclude_labels", name, self.classes)
        for name in splits or ():
            _check_known("split", name, self.splits)
        for name in folds or ():
            _check_known("fold", name, {row.fold for row in self.rows})
        classes = tuple(
            name for name in self.classes if name not in exclude_labels
        )
        kept = frozenset(classes)  # a list may have hundreds
        rows = tuple(
            row
            for row in self.rows
            if row.status == "ok"
            and row.label in kept
            and (splits is None or row.split in splits)
            and (folds is None or row.fold in folds)
        )
        return Manifest(self.root, rows, classes)

    def save(self, path) -> None:
        """Writes the rows as CSV; the file replaces an older one at once.

        Paths in the file are relative to the folder of the file.
        """
        path = pathlib.Path(path)
        way_to = functools.cache(lambda root: _way(root, path.parent))
        with (
            files_lib.whole(path) as partial,
            partial.open("w", newline="", encoding="utf-8") as stream,
        ):
            writer = csv.writer(stream, lineterminator="\n")
            quoting = csv.writer(  # the other leaves "\r" as it is
                stream, lineterminator="\n", quoting=csv.QUOTE_ALL
            )
            writer.writerow(COLUMNS)
            for row in self.rows:
                row = _seen_from(way_to, row, self.root)
                wanted = quoting if "\r" in row.path else writer
                wanted.writerow(row.cells())


def _spelt(way_to, row: ClipRow, root: str) -> ClipRow:
    """Returns a row whose path is spelt as `save` does."""
    path = with_slashes(row.path, root)
    if path != row.path:
        row = dataclasses.replace(row, path=path)
    if path == os.path.normpath(path):
        return row
    return _seen_from(way_to, row, root)


def with_slashes(path: str, root) -> str:
    r"""Returns a path of Windows, a\x.mp4, as a/x.mp4 if that is what is there.

    Args:
        path: Of a file, seen from `root`.
        root: A folder.
    """
    turned = path.replace("\\", "/")
    if turned == path or os.path.exists(os.path.join(root, path)):
        return path
    return turned if os.path.exists(os.path.join(root, turned)) else path


def _seen_from(way_to, row: ClipRow, root: str) -> ClipRow:
    """Returns a row whose path starts where `way_to` does, not from `root`."""
    if os.path.isabs(row.path):
        return row
    head, name = os.path.split(row.path)
    way = way_to(os.path.join(root, head))
    return dataclasses.replace(row, path=os.path.join(way, name))


def _way(to: str, folder: str | os.PathLike) -> str:
    """Returns how to come to a folder from another; empty if they are one.

    Links are kept as they are called, unless `..` does not lead back out of
    one.
    """
    way, real = os.path.relpath(to, folder), os.path.realpath(folder)
    if os.path.realpath(os.path.join(real, way)) != os.path.realpath(to):
        way = os.path.relpath(os.path.realpath(to), real)
    return "" if way == os.curdir else way


@functools.cache
def usual_split(name: str) -> str:
    """Returns what a split is called here that has one of the usual names.

    >>> usual_split("Validation"), usual_split("night")
    ('val', 'night')
    """
    plain = name.casefold()
    return next(
        (split for split, names in SPLIT_NAMES.items() if plain in names), name
    )


def class_name(text: str) -> str:
    """Returns a label in the one spelling that Unicode has for what is seen.

    Some systems write an umlaut as a letter and a mark, others as one letter;
    and a space at either end nobody sees.

    >>> len("u\u0308"), len(class_name("u\u0308"))
    (2, 1)
    """
    return unicodedata.normalize("NFC", text).strip()


def read_manifest(path, root=None) -> Manifest:
    """Reads a manifest written by `save`, or any CSV with path and label.

    Paths are spelled as `save` does, `a/x.mp4` for `./a/x.mp4`, and slashes as
    the videos have them. Commas, semicolons or tabs separate. A clip that is
    listed again, all cells alike, is one row. The list that was read last is
    kept: a run opens its parts one after the other.

    Args:
        path: The CSV file. Columns `path` and `label` are required; the others
            of `COLUMNS` are read where present.
        root: Folder the paths start from; by default that of the file.
    """
    path = pathlib.Path(path)
    facts = path.stat()
    return _read(path, root, (facts.st_ino, facts.st_mtime_ns, facts.st_size))


@functools.lru_cache(maxsize=1)
def _read(path: pathlib.Path, root, stamp: tuple[int, ...]) -> Manifest:
    del stamp  # of the file: changed, it is read again
    check = functools.partial(_check_columns, path)
    rows = [
        _parse_row(cells, f"{path}:{line}")
        for line, cells in csv_rows.read(path, check)
    ]
    root = str(root or path.parent)
    way_to = functools.cache(lambda folder: _way(folder, root))
    rows = _once_each([_spelt(way_to, row, root) for row in rows], path)
    classes = tuple(sorted({row.label for row in rows}))
    return Manifest(root, rows, classes)


def _check_columns(path, names) -> None:
    if not {"path", "label"} <= set(names):
        raise ValueError(
            f"`path` must be a CSV file with the columns path and label. "
            f"Received: {str(path)!r} with the columns "
            f"{str(list(names))[:80]}. Other lists, such as those of Kinetics, "
            "become one through autox3d-scan; give records by their folder."
        )


def _parse_row(record: dict, place: str) -> ClipRow:
    values = {}
    for name in COLUMNS:
        cell = record.get(name) or ""
        if name != "path":  # a folder's name may begin with a space
            cell = _one_line(name, cell.strip(), place)
        if not cell:
            continue
        try:
            values[name] = _PARSERS.get(name, str)(cell)
        except ValueError:
            raise ValueError(
                f"`{name}` must be a number. Received: "
                f"{name}={cell!r} at {place}."
            ) from None
    try:
        return ClipRow(**{"path": "", "label": "", **values})
    except ValueError as error:
        raise ValueError(f"{error} See {place}.") from None


def _one_line(name: str, cell: str, place: str) -> str:
    if len(cell.splitlines()) > 1:
        raise ValueError(
            f"`{name}` must be one line. Received: {name}={cell[:80]!r}, which "
            f"ends at {place}. A quote may be left open."
        )
    return cell


def _whole(cell: str) -> int:
    """Reads 3 and, as tables with gaps write it, 3.0."""
    number = float(cell)
    if not number.is_integer():
        raise ValueError(cell)
    return int(number)


def _amount(cell: str) -> float:
    """Reads a number of 0 or more; "nan" and "inf" are none."""
    number = float(cell)
    if not 0 <= number < math.inf:
        raise ValueError(cell)
    return number


_PARSERS = {
    "label": class_name,
    "fold": _whole,
    "frames": _whole,
    "width": _whole,
    "height": _whole,
    "fps": _amount,
    "duration": _amount,
}


def _to_cell(value) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    return " ".join(str(value).splitlines())


def _check_known(what: str, name, known) -> None:
    if name not in known:
        listed = sorted((k for k in known if k not in (None, "")), key=str)
        raise ValueError(
            f"`{what}` must be one of the manifest's: "
            f"{listed or 'it has none'}. Received: {what}={name!r}."
        )


def _once_each(rows, path) -> tuple[ClipRow, ...]:
    """Returns the rows without repetitions; refuses those that contradict."""
    distinct = tuple(dict.fromkeys(rows))
    if len(distinct) < len(rows):
        logging.warning(
            "%s: %d rows repeat others and are left out.",
            path,
            len(rows) - len(distinct),
        )
    counter = collections.Counter(row.path for row in distinct)
    twice = [name for name, count in counter.items() if count > 1]
    if twice:
        raise ValueError(
            f"`path` must name each clip once. Received: {twice[0]!r} "
            f"{counter[twice[0]]} times in {str(path)!r}, with other cells."
        )
    return distinct
