"""Readers of the lists that data sets are published with.

Each takes files of one format and `ReadOptions`, and returns `Annotation`s.
"""

import dataclasses
import functools
import pathlib
import re

from autox3d_tf.base import files as files_lib
from autox3d_tf.data import csv_rows
from autox3d_tf.data import manifest as manifest_lib

UNUSED = "unused"  # the split of clips that a split file leaves out
# Words of file names that say a split, beside those of columns and folders,
# which may tell an `eval` from `val`, or a `holdout` from `test`.
_MORE_NAMES = {
    "train": {"trainval"},
    "val": {"eval", "evaluation"},
    "test": {"holdout"},
}
_SPLITS = {  # the first that is there counts
    split: names | _MORE_NAMES[split]
    for split, names in manifest_lib.SPLIT_NAMES.items()
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Annotation:
    """One annotated clip.

    Attributes:
        name: File name of the video without its suffix.
        label: Class name.
        split: `train`, `val`, `test`, `unused`, or empty.
        group: Clips of one group (source video, scene) belong together.
        suffix: Of the video's file, as published.
        path: Where the list says that the video lies; empty where it only
            names it.
    """

    name: str
    label: str
    split: str = ""
    group: str = ""
    suffix: str = ".mp4"
    path: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """What a list does not say itself.

    Attributes:
        split: Name of the split of every clip; empty to go by the list, or by
            the name of its file.
        split_number: Which of the official splits of UCF101 and HMDB51.
        labels: File of class names: labels.json of Something-Something V2, or
            the names of numbered classes, one a line from 0, or as JSON,
            {"name": number}.
    """

    split: str = ""
    split_number: int = 1
    labels: str | None = None


def read_kinetics(files, options: ReadOptions) -> list[Annotation]:
    """Reads label,youtube_id,time_start,time_end,split of Kinetics.

    A video is named by its id, start and end: `-3B32lodo2M_000059_000069`.
    The same lists as JSON, {"id": {"annotations": {"label", "segment"},
    "subset"}}, are read too.
    """
    found = []
    for path in files:
        read = _kinetics_json if path.suffix == ".json" else _kinetics_csv
        found += read(path, options)
    return found


def _kinetics_csv(path, options) -> list[Annotation]:
    check = functools.partial(_check_kinetics_columns, path)
    return [
        _kinetics_clip(cells, path, f"{path}, line {line}", options)
        for line, cells in csv_rows.read(path, check, skipinitialspace=True)
    ]


def _check_kinetics_columns(path, names) -> None:
    wanted = {"label", "youtube_id", "time_start", "time_end"}
    lacking = wanted - set(names)
    if lacking:
        raise ValueError(
            f"{path} must have the columns {', '.join(sorted(wanted))}. It "
            f"lacks {', '.join(sorted(lacking))}; lists without labels cannot "
            "be used, name the others."
        )


def _kinetics_json(path, options) -> list[Annotation]:
    entries = files_lib.read_json(path, "a list of clips")
    if not is_kinetics_json(entries):
        raise ValueError(
            f'{path} must be {{"youtube_id": {{"annotations": {{"label": ..., '
            '"segment": [start, end]}, "subset": ...}}, ...}, as the lists of '
            "Kinetics with labels."
        )
    found = []
    for video, entry in entries.items():
        annotation = entry["annotations"]
        segment = annotation.get("segment")
        fits = isinstance(segment, list) and len(segment) == 2
        start, end = segment if fits else (segment, None)
        record = {
            "label": annotation.get("label"),
            "youtube_id": video,
            "time_start": start,
            "time_end": end,
            "split": entry.get("subset"),
        }
        found.append(_kinetics_clip(record, path, f"{path}, {video}", options))
    return found


def is_kinetics_json(entries) -> bool:
    """Returns whether a JSON value is a list of Kinetics."""
    return isinstance(entries, dict) and all(
        isinstance(entry, dict) and isinstance(entry.get("annotations"), dict)
        for entry in entries.values()
    )


def _kinetics_clip(record, path, place, options) -> Annotation:
    try:
        start, end = (
            int(float(record[name])) for name in ("time_start", "time_end")
        )
    except (TypeError, ValueError, OverflowError):
        raise ValueError(
            "`time_start` and `time_end` must be seconds. Received: "
            f"{record['time_start']!r}, {record['time_end']!r} in {place}."
        ) from None
    video = _filled(place, "youtube_id", record["youtube_id"])
    return Annotation(
        name=f"{video}_{start:06d}_{end:06d}",
        label=_filled(place, "label", record["label"]),
        split=options.split or split_of(str(record.get("split") or path.stem)),
        group=video,
    )


def read_ssv2(files, options: ReadOptions) -> list[Annotation]:
    """Reads Something-Something V2: [{"id", "label", "template"}, ...].

    The class is the template without brackets: "Holding [something]" becomes
    "Holding something". Lists of `id;label`, as of version 1 and of the
    answers of the test, are read too.
    """
    known = _ssv2_labels(files, options)
    found = []
    for path in files:
        entries = (
            _ssv2_json(path)
            if path.suffix == ".json"
            else [line.split(";", 1) for line in _lines(path)]
        )
        split = options.split or split_of(path.stem)
        for number, entry in enumerate(entries, 1):
            name, label = (*entry, "")[:2]
            place = f"{path}, entry {number}"
            name = _filled(place, "id", name)
            label = _filled(f"{place} ({name})", "template", label)
            label = re.sub(r"[\[\]]", "", label).strip()
            if known and label not in known:
                raise ValueError(
                    f"{path}: the label {label!r} of clip {name} is not in "
                    "the list of labels."
                )
            found.append(
                Annotation(name=name, label=label, split=split, suffix=".webm")
            )
    return found


def _ssv2_json(path) -> list[tuple[str, str]]:
    entries = files_lib.read_json(path, "a list of clips")
    if not isinstance(entries, list) or not all(
        isinstance(entry, dict) and isinstance(entry.get("id"), str | int)
        for entry in entries
    ):
        raise ValueError(
            f'{path} must be a list of {{"id": ..., "template": ...}}, as the '
            "train and validation lists of Something-Something V2."
        )
    if entries and not any("template" in entry for entry in entries):
        raise ValueError(
            f"{path} has no templates: the test list has no labels. Give the "
            "train and validation lists, or test-answers.csv."
        )
    return [(str(entry["id"]), entry.get("template")) for entry in entries]


def _ssv2_labels(files, options) -> set[str]:
    path = options.labels
    if path is None:
        beside = sorted(files[0].parent.glob("*labels.json"))
        path = beside[0] if beside else None
    if path is None:
        return set()
    labels = files_lib.read_json(path, "a list of labels")
    if not isinstance(labels, dict):
        raise ValueError(f'{path} must be {{"class": "number", ...}}.')
    return set(labels)


def read_ucf101(files, options: ReadOptions) -> list[Annotation]:
    """Reads trainlist01.txt and testlist01.txt: `Class/v_Class_g01_c01.avi`.

    Train lines end in the number of the class, which the folder says already;
    classInd.txt beside the lists must have the class.
    """
    known = set()
    index = files[0].parent / "classInd.txt"
    if index.exists():
        known = {line.split()[-1] for line in _lines(index)}
    found = []
    for path in files:
        split = options.split or split_of(path.stem)
        for number, line in _numbered_lines(path):
            place = pathlib.PurePosixPath(re.sub(r"\s+\d+$", "", line))
            label = _filled(
                f"{path}, line {number}", "folder", place.parent.name
            )
            if known and label not in known:
                raise ValueError(
                    f"{path}, line {number}: {label!r} is no class of {index}."
                )
            found.append(
                Annotation(
                    name=place.stem,
                    label=label,
                    split=split,
                    group=re.sub(r"_c\d+$", "", place.stem),
                    suffix=place.suffix,
                )
            )
    return found


def read_hmdb51(files, options: ReadOptions) -> list[Annotation]:
    """Reads <class>_test_split1.txt: a video and 1 train, 2 test, 0 unused."""
    del options  # The number in each line is the split.
    splits = {"0": UNUSED, "1": "train", "2": "test"}
    found = []
    for path in files:
        label = re.sub(r"_test_split\d$", "", path.stem)
        for number, line in _numbered_lines(path):
            match = re.fullmatch(r"(.+?)\s+([012])", line)
            if not match:
                raise ValueError(
                    f"{path}, line {number}: must be a video and 0, 1 or 2. "
                    f"Received: {line!r}."
                )
            place = pathlib.PurePosixPath(match[1])
            found.append(
                Annotation(
                    name=place.stem,
                    label=label,
                    split=splits[match[2]],
                    group=place.stem.rpartition(f"_{label}_")[0],
                    suffix=place.suffix,
                )
            )
    return found


def read_numbered(files, options: ReadOptions) -> list[Annotation]:
    """Reads lines of a path and the number of a class, from 0.

    Without a file of names, the classes are named by their numbers, with
    zeros in front so that their order is that of the numbers.
    """
    names = _class_names(options.labels)
    lines = []
    for path in files:
        split = options.split or split_of(path.stem)
        for number, line in _numbered_lines(path):
            match = re.fullmatch(r"(.+?)[\s,;]+(\d+)", line)
            if not match:
                raise ValueError(
                    f"{path}, line {number}: must be a path and the number of "
                    f"a class. Received: {line!r}."
                )
            lines.append((match[1], int(match[2]), split))
    if lines and all(re.search(r"[\s,;]\d+$", place) for place, _, _ in lines):
        raise ValueError(
            f"{files[0]} must list paths and numbers of classes. Received: "
            f"three columns, the first line {lines[0][0]!r} and "
            f"{lines[0][1]}. Leave out the second, as the number of frames."
        )
    used = {number for _, number, _ in lines}
    if names is None:
        digits = len(str(max(used, default=0)))
        names = {number: f"{number:0{digits}d}" for number in used}
    if lacking := sorted(used - set(names)):
        raise ValueError(
            f"{options.labels} must name every class of the list. Received: "
            f"{len(names)} names, from number {min(names, default=0)} to "
            f"{max(names, default=0)}, and clips of class "
            f"{', '.join(map(str, lacking[:5]))}."
        )
    return [
        Annotation(
            name=pathlib.PurePosixPath(place).stem,
            label=names[number],
            split=split,
            path=place,
        )
        for place, number, split in lines
    ]


def _class_names(path) -> dict[int, str] | None:
    """Returns the name of each number, lines counted from 0."""
    if path is None:
        return None
    path = pathlib.Path(path)
    if path.suffix != ".json":
        return dict(enumerate(_lines(path)))
    numbers = files_lib.read_json(path, "a list of classes")
    fits = isinstance(numbers, dict) and all(
        str(number).isdecimal() for number in numbers.values()
    )
    if not fits or len(set(map(int, numbers.values()))) < len(numbers):
        raise ValueError(
            f'{path} must be {{"name of a class": its number, ...}}, each '
            "number once."
        )
    return {int(number): name for name, number in numbers.items()}


def split_of(text: str) -> str:
    """Returns the split that a word or file name means, empty if none.

    >>> split_of("trainlist01"), split_of("kinetics_val"), split_of("latest")
    ('train', 'val', '')
    """
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).lower()
    words = {
        re.sub(r"(?<=.)(?:list|set|split|data)$", "", word)
        for word in re.findall(r"[^\W\d_]+", text)
    }
    return next((split for split, of in _SPLITS.items() if words & of), "")


def _lines(path) -> list[str]:
    return [line for _, line in _numbered_lines(path)]


def _numbered_lines(path) -> list[tuple[int, str]]:
    """Returns the lines that are not blank, with their numbers in the file."""
    lines = path.read_text(encoding="utf-8-sig").split("\n")
    numbered = enumerate(map(str.strip, lines), 1)
    return [(number, line) for number, line in numbered if line]


def _filled(place: str, name: str, value) -> str:
    """Returns one line of text, without spaces around; refuses all else."""
    text = value.strip() if isinstance(value, str) else value
    if text is None or text == "":
        raise ValueError(f"{place}: `{name}` is empty.")
    if not isinstance(text, str) or len(text.splitlines()) > 1:
        raise ValueError(
            f"{place}: `{name}` must be a line of text. "
            f"Received: {name}={repr(text)[:80]}."
        )
    return text
