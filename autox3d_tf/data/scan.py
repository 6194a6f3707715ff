"""Looks at every video of a data set and writes down what is usable."""

import collections
import concurrent.futures
import dataclasses
import hashlib
import os
import pathlib

import tqdm

from autox3d_tf.data import decoding
from autox3d_tf.data import manifest as manifest_lib

VIDEO_SUFFIXES = (
    ".mp4",
    ".avi",
    ".mov",
    ".mkv",
    ".webm",
    ".m4v",
    ".mpg",
    ".mpeg",
    ".wmv",
    ".3gp",
    ".flv",
)
_LAYOUT = (
    "Videos are expected in one folder per class, `root/label/video.mp4`, or "
    "one level deeper, `root/split/label/video.mp4`."
)


def scan(
    source, *, root=None, min_frames: int = 2, workers: int | None = None
) -> manifest_lib.Manifest:
    """Decodes every video of `source` and returns a manifest of the results.

    A bad video never stops the scan: its row says what is wrong with it.

    Args:
        source: A folder of class folders (`root/label/*`, or
            `root/split/label/*`), or a CSV with the columns path and label.
        root: For a CSV, the folder its paths start from; by default its own.
        min_frames: Videos with fewer frames are `too_short`.
        workers: Videos decoded at a time; by default one per core.

    Raises:
        ValueError: if `source` holds no video or is laid out otherwise.
    """
    if min_frames < 1:
        raise ValueError(
            "`min_frames` must be at least 1. "
            f"Received: min_frames={min_frames}."
        )
    listed = list_clips(source, root)

    def examine(row):
        return _examine(row, listed.absolute_path(row), min_frames)

    with concurrent.futures.ThreadPoolExecutor(
        workers or os.cpu_count() or 1
    ) as pool:
        results = list(
            tqdm.tqdm(
                pool.map(examine, listed.rows),
                total=len(listed),
                desc="scan",
                unit="clip",
                disable=None,
            )
        )
    rows = _mark_duplicates(results)
    return manifest_lib.Manifest(listed.root, rows, listed.classes)


def list_clips(source, root=None) -> manifest_lib.Manifest:
    """Returns the clips of a class folder or CSV, without opening them."""
    source = pathlib.Path(source)
    if source.is_file():
        manifest = manifest_lib.read_manifest(source, root)
        if not manifest.rows:
            raise ValueError(
                f"`source` must list clips. Received: source={str(source)!r}, "
                "which has no rows."
            )
        return manifest
    if not source.is_dir():
        raise ValueError(
            "`source` must be a folder of videos or a CSV file. "
            f"Received: source={str(source)!r}, which does not exist."
        )
    videos = sorted(
        path.relative_to(source)
        for path in source.rglob("*")
        if path.suffix.lower() in VIDEO_SUFFIXES and not path.is_dir()
    )
    if not videos:
        raise ValueError(
            f"`source` must hold videos. Received: source={str(source)!r}, "
            f"which has no file ending in {', '.join(VIDEO_SUFFIXES)}. "
            f"{_LAYOUT}"
        )
    rows = tuple(_row_from_path(video, source) for video in videos)
    classes = tuple(sorted({row.label for row in rows}))
    return manifest_lib.Manifest(str(source), rows, classes)


def summarize(manifest: manifest_lib.Manifest) -> str:
    """Returns lines that count the clips and name each one left out."""
    usable = manifest.select()
    lines = [
        f"{len(usable)} of {len(manifest)} clips in {len(manifest.classes)} "
        f"classes are usable; manifest {manifest.fingerprint[:12]}."
    ]
    counts = usable.count()
    if len(manifest.classes) == 1:
        lines.append(
            f"Only one class, {manifest.classes[0]!r}: there is nothing to "
            "tell apart."
        )
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


def _row_from_path(video: pathlib.Path, source) -> manifest_lib.ClipRow:
    folders = video.parts[:-1]
    if len(folders) not in (1, 2):
        raise ValueError(
            f"`source` must be laid out by class. Received: {str(video)!r} "
            f"in {str(source)!r}. {_LAYOUT}"
        )
    split = folders[0] if len(folders) == 2 else ""
    return manifest_lib.ClipRow(
        path=video.as_posix(), label=folders[-1], split=split
    )


def _examine(row, path, min_frames):
    """Returns the row with what decoding found, and the hash of the file."""
    if not os.path.isfile(path):
        return _fail(row, "missing", "there is no such file"), ""
    try:
        if os.path.getsize(path) == 0:
            return _fail(row, "empty", "the file has zero bytes"), ""
        digest = _hash_file(path)
        info = decoding.probe(path)
    except decoding.VideoError as error:
        reason = str(error).removeprefix(f"{path}: ").rstrip(".")
        return _fail(row, "undecodable", reason), ""
    except OSError as error:
        return _fail(row, "undecodable", f"cannot be read ({error})"), ""
    row = dataclasses.replace(
        row,
        frames=info.frames,
        fps=round(info.fps, 3),
        width=info.width,
        height=info.height,
        duration=round(info.duration, 3),
    )
    if is_truncated(info):
        promised = info.declared_frames or "more"
        reason = f" ({info.error})" if info.error else ""
        detail = f"only {info.frames} of {promised} frames decode{reason}"
        return _fail(row, "truncated", detail), digest
    if info.frames < min_frames:
        detail = f"{info.frames} frames, fewer than {min_frames}"
        return _fail(row, "too_short", detail), digest
    return dataclasses.replace(row, status="ok", detail=""), digest


def is_truncated(info: decoding.VideoInfo) -> bool:
    """Whether a video ends before its container says.

    Many sound files promise a frame or two that do not exist.
    """
    lacking = info.declared_frames - info.frames
    return bool(info.error) or lacking > max(2, 0.02 * info.declared_frames)


def _mark_duplicates(results) -> tuple[manifest_lib.ClipRow, ...]:
    """Marks all but the first of the usable clips with equal content."""
    groups = collections.defaultdict(list)
    for row, digest in results:
        if row.status == "ok":
            groups[digest].append(row)
    rows = []
    for row, digest in results:
        first = groups[digest][0] if row.status == "ok" else row
        if first is not row:
            detail = f"the same content as {first.path}"
            if first.label != row.label:
                detail += ", which has another label"
            row = _fail(row, "duplicate", detail)
        rows.append(row)
    return tuple(rows)


def _fail(row, status, detail):
    return dataclasses.replace(row, status=status, detail=detail)


def _hash_file(path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
