"""Finds the videos of annotated clips in a folder, however it is laid out."""

import collections
import os
import pathlib
import re
from collections.abc import Iterable, Iterator

from absl import logging

from autox3d_tf.data import annotations as annotations_lib
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
    ".ts",
    ".mts",
    ".m2ts",
    ".3g2",
    ".ogv",
    ".asf",
    ".vob",
    ".m2v",
    ".mpe",
    ".f4v",
    ".gif",
)
_LIST_SUFFIXES = {".csv", ".json", ".txt"}
_NO_CLIPS = {"__MACOSX", "@eaDir"}  # what Macs and Synology put beside files


def find_videos(root) -> list[pathlib.PurePath]:
    """Returns the video files below a folder, sorted, relative to it.

    Hidden files and folders are passed over. Files of other kinds are counted
    in a warning, but for lists.
    """
    found = []
    others: collections.Counter[str] = collections.Counter()
    for path in _files(root):
        if path.name.lower().endswith(VIDEO_SUFFIXES):
            found.append(path.relative_to(root))
        elif path.suffix.lower() not in _LIST_SUFFIXES:
            others[path.suffix.lower() or "without a suffix"] += 1
    if found and others:
        logging.warning(
            "%s: not looked at: %s.",
            root,
            ", ".join(f"{n} x {kind}" for kind, n in others.most_common(10)),
        )
    return sorted(found)


def _files(root) -> Iterator[pathlib.Path]:
    """Yields the files below a folder that are not hidden.

    Links to folders are followed, as in a subset made of links, but no folder
    is looked into twice.
    """
    seen = set()
    folders = [os.fspath(root)] if os.path.isdir(root) else []
    links: list[str] = []
    while folders or links:  # links last: a folder keeps its own name
        folder = folders.pop() if folders else links.pop(0)
        if (real := os.path.realpath(folder)) in seen:
            continue
        seen.add(real)
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if is_hidden(entry.name):
                    continue
                if entry.is_dir():
                    (links if entry.is_symlink() else folders).append(
                        entry.path
                    )
                else:
                    yield pathlib.Path(entry.path)


def is_hidden(name: str) -> bool:
    """Whether a file or folder is the system's, not the user's.

    >>> is_hidden(".Trash"), is_hidden("._1.mp4"), is_hidden("wave")
    (True, True, False)
    """
    return name.startswith(".") or name in _NO_CLIPS


def locate(
    annotations: Iterable[annotations_lib.Annotation], root
) -> manifest_lib.Manifest:
    """Returns one row per annotated clip, with the path of its video.

    Videos are found by name anywhere below `root`: in folders by split and
    label, with spaces or underscores, or in one heap. Of several with one
    name, that in the folder of the clip's label and split is taken. A clip
    without video gets the path it should have; scanning calls it missing.

    Args:
        annotations: The clips.
        root: Folder of the videos.

    Raises:
        ValueError: if not one of the videos is there.
    """
    annotations = list(annotations)
    root = pathlib.Path(root)
    places = collections.defaultdict(list)
    for video in find_videos(root):
        places[video.stem].append(video)
    layouts = collections.Counter()
    found: list[str] = []
    for clip in annotations:
        path = _given_path(clip, root) or _best(places[clip.name], clip)
        found.append(path)
        if path and not clip.path:
            layouts[_layout(path, clip)] += 1
    if not any(found):
        raise ValueError(
            "`root` must hold the annotated videos. Received: "
            f"root={str(root)!r}, which has none of {len(annotations)}, such "
            f"as {annotations[0].name}{annotations[0].suffix}."
        )
    layout = layouts.most_common(1)[0][0] if layouts else "{split}/{label}"
    rows = _rows(annotations, found, layout)
    extra = sum(map(len, places.values())) - len({p for p in found if p})
    if extra > 0:
        logging.warning("%s: %d videos are in no list.", root, extra)
    classes = tuple(sorted({row.label for row in rows}))
    return manifest_lib.Manifest(str(root), rows, classes)


def _rows(annotations, found, layout) -> tuple[manifest_lib.ClipRow, ...]:
    """Makes rows with a path each; what is listed twice is one row."""
    rows: dict[str, manifest_lib.ClipRow] = {}
    for clip, path in zip(annotations, found, strict=True):
        path = path or clip.path or _fill(layout, clip)
        if path in rows:
            if (rows[path].label, rows[path].split) == (clip.label, clip.split):
                logging.warning("%s is listed twice.", path)
                continue
            logging.warning(
                "%s is listed as %r in %r and as %r in %r; the first holds.",
                path,
                rows[path].label,
                rows[path].split,
                clip.label,
                clip.split,
            )
            path = _fill("{split}/{label}", clip)
        row = manifest_lib.ClipRow(
            path=path,
            label=manifest_lib.class_name(clip.label),
            split=clip.split,
            group=clip.group,
        )
        rows.setdefault(path, row)
    return tuple(rows.values())


def _given_path(clip, root) -> str:
    path = manifest_lib.with_slashes(clip.path, root)
    return path if path and (root / path).is_file() else ""


def _best(videos, clip) -> str:
    """Returns the path that fits label and split best, empty if none is."""
    if not videos or clip.path:
        return ""
    return max(videos, key=lambda video: _fit(video, clip)).as_posix()


def _fit(video: pathlib.PurePath, clip) -> int:
    folders = {_plain(folder) for folder in video.parts[:-1]}
    return 2 * (_plain(clip.label) in folders) + any(
        _is_split(folder, clip) for folder in folders
    )


def _is_split(folder: str, clip) -> bool:
    named = map(manifest_lib.usual_split, (_plain(folder), clip.split))
    return len(set(named)) == 1


def _layout(path: str, clip) -> str:
    """Returns the folders of a video with its split and label left open."""
    parts = []
    for folder in pathlib.PurePosixPath(path).parts[:-1]:
        if folder == clip.label:
            folder = "{label}"
        elif _plain(folder) == _plain(clip.label):
            folder = "{label_with_underscores}"
        elif _is_split(folder, clip):
            folder = "{split}"
        else:
            folder = folder.replace("{", "{{").replace("}", "}}")
        parts.append(folder)
    return "/".join(parts)


def _fill(layout: str, clip) -> str:
    label = clip.label.replace("/", "_")
    folder = layout.format(
        split=clip.split or "all",
        label=label,
        label_with_underscores=re.sub(r"\s+", "_", label),
    )
    return os.path.join(folder, clip.name + clip.suffix)


def _plain(text: str) -> str:
    """Returns words in lower case, single spaces between.

    >>> _plain("Playing_tennis (doubles)")
    'playing tennis doubles'
    """
    text = manifest_lib.class_name(text.casefold())
    return re.sub(r"[\W_]+", " ", text).strip()
