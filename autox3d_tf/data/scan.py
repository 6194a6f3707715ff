"""Looks at every video of a data set and writes down what is usable."""

import collections
import concurrent.futures
import dataclasses
import os
import pathlib

from absl import logging

from autox3d_tf.base import checks, progress
from autox3d_tf.base import files as files_lib
from autox3d_tf.base import text as text_lib
from autox3d_tf.data import annotations as annotations_lib
from autox3d_tf.data import decoding, locating, scan_log
from autox3d_tf.data import manifest as manifest_lib

FORMATS = ("auto", "folders", "csv", *annotations_lib.READERS)
_LAYOUT = (
    "Videos are expected in one folder per class, `root/label/video.mp4`, or "
    "one level deeper, `root/split/label/video.mp4`."
)


def scan(
    source,
    *,
    root=None,
    format: str = "auto",
    annotations=(),
    reading: annotations_lib.ReadOptions | None = None,
    min_frames: int = 2,
    workers: int | None = None,
    log_path=None,
) -> manifest_lib.Manifest:
    """Decodes every video of `source` and returns a manifest of the results.

    A bad video never stops the scan: its row says what is wrong with it.

    Args:
        source, root, format, annotations, reading: As in `list_clips`.
        min_frames: Videos with fewer frames are `too_short`.
        workers: Videos decoded at a time; by default one per core.
        log_path: File that keeps what was examined: a scan that was stopped
            goes on from there. To be removed once the result is saved. None
            for none.

    Raises:
        ValueError: if `source` holds no video or is laid out otherwise.
    """
    if min_frames < 1:
        raise ValueError(
            "`min_frames` must be at least 1. "
            f"Received: min_frames={min_frames}."
        )
    listed = list_clips(source, root, format, annotations, reading)
    log = scan_log.ScanLog(log_path, min_frames)

    def examine(row):
        video = listed.absolute_path(row)
        found = log.find(row, video)
        if found is None:
            found = _examine(row, video, min_frames)
            log.add(row, video, found)
        return found

    with concurrent.futures.ThreadPoolExecutor(
        workers or os.cpu_count() or 1
    ) as pool:
        examined = list(
            progress.bar(
                pool.map(examine, listed.rows),
                title="scan",
                unit="clip",
                total=len(listed),
            )
        )
    rows = _mark_duplicates(examined)
    return manifest_lib.Manifest(listed.root, rows, listed.classes)


def list_clips(
    source,
    root=None,
    format: str = "auto",
    annotations=(),
    reading: annotations_lib.ReadOptions | None = None,
) -> manifest_lib.Manifest:
    """Returns the clips of a data set, without opening them.

    Args:
        source: A folder of videos, or one list of clips.
        root: Where the paths of a list start, or its videos lie; by default
            the folder of the list.
        format: One of `FORMATS`. `folders` are class folders (`root/label/*`,
            or `root/split/label/*`), `csv` is a CSV with the columns path and
            label, or lines of a path and the number of a class; the others are
            lists as published. `auto` looks at the names and first lines.
        annotations: Lists of the clips of the folder `source`: files, or the
            folder they were published in.
        reading: What the lists do not say themselves.
    """
    checks.check_choice("format", format, FORMATS)
    source = pathlib.Path(source)
    if not source.exists():
        raise ValueError(
            "`source` must be a folder of videos or a list of clips. "
            f"Received: source={str(source)!r}, which does not exist."
        )
    if source.is_file():
        if annotations:
            raise ValueError(
                "`source` must be the folder of the videos where `annotations` "
                f"are given. Received: source={str(source)!r}."
            )
        annotations, source = (source,), pathlib.Path(root or source.parent)
    elif not annotations:
        if format not in ("auto", "folders"):
            raise ValueError(
                f"`annotations` must be given for the format {format}. "
                f"Received: only the folder {str(source)!r}."
            )
        return _finished(_list_folders(source, root, reading), reading)
    elif root is not None:
        raise ValueError(
            "`root` must not be given beside the folder of the videos. "
            f"Received: root={str(root)!r}, source={str(source)!r}."
        )
    listed = _list_annotated(source, format, annotations, reading)
    return _finished(listed, reading)


def _finished(listed, reading) -> manifest_lib.Manifest:
    """Returns the clips with the split that is asked for; checks their names.

    Raises:
        ValueError: A path is no text, so that no list could hold it.
    """
    for row in listed.rows:
        try:
            row.path.encode()
        except UnicodeEncodeError:
            raise ValueError(
                "Names of files must be UTF-8. Received: "
                f"{os.fsencode(row.path)!r} in {listed.root!r}. Rename it, as "
                "convmv does."
            ) from None
    if reading is None or not reading.split:
        return listed
    rows = (
        dataclasses.replace(row, split=reading.split) for row in listed.rows
    )
    return dataclasses.replace(listed, rows=tuple(rows))


def _list_folders(source, root, reading) -> manifest_lib.Manifest:
    _check_no_labels(reading, source)
    if root is not None:
        raise ValueError(
            "`root` is for lists of clips. Received: "
            f"root={str(root)!r}, and the folder {str(source)!r}."
        )
    videos = locating.find_videos(source)
    if not videos:
        raise ValueError(
            f"`source` must hold videos. Received: source={str(source)!r}, "
            f"which has no file ending in "
            f"{', '.join(locating.VIDEO_SUFFIXES)}. {_LAYOUT}"
        )
    rows = tuple(_row_from_path(video, source) for video in videos)
    filled = {video.parts[0] for video in videos}
    for folder in sorted(source.iterdir()):
        hidden = locating.is_hidden(folder.name)
        if folder.is_dir() and folder.name not in filled and not hidden:
            logging.warning("%s holds no video, and is no class.", folder)
    classes = tuple(sorted({row.label for row in rows}))
    return manifest_lib.Manifest(str(source), rows, classes)


def _list_annotated(root, format, annotations, reading):
    formats = [_format_of(path, format) for path in annotations]
    if len(set(formats)) != 1:
        raise ValueError(
            "`annotations` must be of one format. Received: "
            + ", ".join(map("{} ({})".format, annotations, formats))
            + ". Name it with `format`."
        )
    if formats[0] != "csv":
        found = annotations_lib.read_annotations(
            formats[0], annotations, reading
        )
        return locating.locate(found, root)
    if len(annotations) > 1:
        raise ValueError(
            "`annotations` must be one file if it has the columns path and "
            f"label. Received: {len(annotations)} files. Put them into one "
            "with a column split."
        )
    _check_no_labels(reading, annotations[0])
    manifest = manifest_lib.read_manifest(annotations[0], root)
    if not manifest.rows:
        raise ValueError(
            f"`source` must list clips. Received: source="
            f"{str(annotations[0])!r}, which has no rows."
        )
    return manifest


def _check_no_labels(reading, source) -> None:
    if reading is not None and reading.labels:
        raise ValueError(
            "`labels` must be None where the names of classes are known. "
            f"Received: labels={str(reading.labels)!r}, and {source}."
        )


def _format_of(path, format: str) -> str:
    """Returns a name of `annotations.READERS`, or csv for a manifest."""
    path = pathlib.Path(path)
    if format not in ("auto", "csv", "folders"):
        return format
    if path.is_dir() or format == "folders":
        raise ValueError(
            f"`format` must be named to read the lists in {str(path)!r}: "
            f"{', '.join(annotations_lib.READERS)}. Received: "
            f"format={format!r}."
        )
    if not path.exists():
        raise ValueError(f"There is no list of clips {path}.")
    found = annotations_lib.detect(path)
    if format == "csv" and found != "numbered":
        return "csv"
    return found or "csv"


def summarize(manifest: manifest_lib.Manifest) -> str:
    """Returns lines that count the clips and name each one left out."""
    usable = manifest.select()
    lines = [
        f"{len(usable)} of {len(manifest)} clips in {len(manifest.classes)} "
        f"classes are usable; manifest {manifest.fingerprint[:12]}.",
        f"Classes: {text_lib.some(manifest.classes)}.",
    ]
    splits = sorted(manifest.splits - {""})
    if splits:
        lines.append(f"Splits: {text_lib.some(splits)}.")
    if unusual := [name for name in splits if name not in manifest_lib.SPLITS]:
        lines.append(
            f"Splits are called train, val and test. Of others, such as "
            f"{unusual[0]}, say which trains (train_splits); if they are "
            "classes, lay the videos out as label/x.mp4."
        )
    counts = usable.count()
    if len(manifest.classes) == 1:
        lines.append(
            f"Only one class, {manifest.classes[0]!r}: there is nothing to "
            "tell apart."
        )
    lines += _lines_on_case(manifest.classes)
    lines += _lines_on_untrained(usable)
    for name, count in counts.items():
        if count == 0:
            lines.append(f"Class {name!r} has no usable clip.")
        elif count == 1:
            lines.append(
                f"Class {name!r} has a single usable clip, so it cannot be "
                "both trained on and tested."
            )
    bad = [row for row in manifest.rows if row.status != "ok"]
    for status in manifest_lib.STATUSES[1:]:
        rows = [row for row in bad if row.status == status]
        if rows:
            lines.append(f"{status} ({len(rows)}):")
            lines.extend(f"  {row.path}: {row.detail}" for row in rows)
    return "\n".join(lines)


def _lines_on_case(classes) -> list[str]:
    """Says which classes are perhaps one, spelt in two ways."""
    alike = collections.defaultdict(list)
    for name in classes:
        alike[name.casefold()].append(name)
    return [
        f"Classes {' and '.join(map(repr, names))} differ in case only."
        for names in alike.values()
        if len(names) > 1
    ]


def _lines_on_untrained(usable) -> list[str]:
    """Says which classes are tested and cannot be learnt."""
    if "train" not in usable.splits:
        return []
    trained = {row.label for row in usable.rows if row.split == "train"}
    tested = {row.label for row in usable.rows if row.split in ("val", "test")}
    return [
        f"Class {name!r} has clips to test on and none to train on."
        for name in sorted(tested - trained)
    ]


def _row_from_path(video: pathlib.Path, source) -> manifest_lib.ClipRow:
    folders = video.parts[:-1]
    if len(folders) not in (1, 2):
        raise ValueError(
            f"`source` must be laid out by class. Received: {str(video)!r} "
            f"in {str(source)!r}. {_LAYOUT} Move it to where it belongs."
        )
    split = folders[0] if len(folders) == 2 else ""
    return manifest_lib.ClipRow(
        path=video.as_posix(),
        label=manifest_lib.class_name(folders[-1]),
        split=split,
    )


def _examine(row, path, min_frames):
    """Returns the row with what decoding found."""
    if not os.path.isfile(path):
        return _fail(row, "missing", "there is no such file")
    try:
        if os.path.getsize(path) == 0:
            return _fail(row, "empty", "the file has zero bytes")
        row = dataclasses.replace(row, sha256=files_lib.file_sha256(path))
        info = decoding.probe(path)
    except decoding.VideoError as error:
        reason = str(error).removeprefix(f"{path}: ").rstrip(".")
        return _fail(row, "undecodable", reason)
    except OSError as error:
        return _fail(row, "undecodable", f"{scan_log.UNREADABLE} ({error})")
    row = dataclasses.replace(
        row,
        frames=info.frames,
        fps=round(info.fps, 3),
        width=info.width,
        height=info.height,
        duration=round(info.duration, 3),
    )
    if info.lacking:
        return _fail(row, "truncated", info.lacking)
    if info.frames < min_frames:
        detail = f"{info.frames} frames, fewer than {min_frames}"
        return _fail(row, "too_short", detail)
    return dataclasses.replace(row, status="ok", detail="")


def _mark_duplicates(examined) -> tuple[manifest_lib.ClipRow, ...]:
    """Marks all but the first of the usable clips with equal content.

    Where their labels differ, nobody knows which is right: all are marked.
    """
    firsts: dict[str, dict[str, manifest_lib.ClipRow]] = {}
    for row in examined:
        if row.status == "ok":
            of_label = firsts.setdefault(row.sha256, {})
            of_label.setdefault(row.label, row)
    rows = []
    for row in examined:
        of_label = firsts[row.sha256] if row.status == "ok" else {}
        others = [of_label[name] for name in of_label if name != row.label]
        if others:
            detail = (
                f"the same content as {others[0].path}, which has another label"
            )
            row = _fail(row, "duplicate", detail)
        elif of_label.get(row.label, row) is not row:
            detail = f"the same content as {of_label[row.label].path}"
            row = _fail(row, "duplicate", detail)
        rows.append(row)
    return tuple(rows)


def _fail(row, status, detail):
    return dataclasses.replace(row, status=status, detail=detail)
