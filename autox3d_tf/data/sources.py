"""Where clips come from: parts of a data set, and one clip at a time.

A source has a manifest of usable clips and `fetch`, which reads the frames
asked for of one of them. Nothing is held in memory but the manifest.
"""

import hashlib
import os
import pathlib
import re

import numpy as np
from absl import logging

from autox3d_tf.data import decoding, scan
from autox3d_tf.data import manifest as manifest_lib
from autox3d_tf.data import options as options_lib

_DIRECTION_WORDS = frozenset(
    "left right leftward rightward leftwards rightwards clockwise "
    "counterclockwise anticlockwise cw ccw east west".split()
)


class VideoSource:
    """Clips decoded from their video files.

    Args:
        manifest: The clips; every row must be `ok` and know its frames.
    """

    encoded = False  # `fetch` returns pixels

    def __init__(self, manifest: manifest_lib.Manifest):
        check_usable(manifest)
        self.manifest = manifest

    def __len__(self) -> int:
        return len(self.manifest)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their numbers."""
        return self.manifest.classes

    @property
    def labels(self) -> np.ndarray:
        """Class number of each clip, int32."""
        return np.asarray(self.manifest.labels, np.int32)

    def subset(self, manifest: manifest_lib.Manifest) -> "VideoSource":
        """Returns a source of the rows of `manifest`, a selection of ours."""
        return VideoSource(manifest)

    def fetch(self, position: int, indices) -> np.ndarray:
        """Returns frames of one clip, uint8 `(n, height, width, 3)`.

        Raises:
            decoding.VideoError: if the file does not decode any more.
        """
        row = self.manifest.rows[position]
        return decoding.decode_frames(self.manifest.absolute_path(row), indices)


def open_source(options: options_lib.DataOptions, part: str = "train"):
    """Opens the clips of one part of a data set.

    Args:
        options: Says where the data is and what belongs to which part.
        part: `train`, `val`, `test` or `all`. Where neither splits nor folds
            are named in the options, the manifest's own splits train, val and
            test are used; failing that, a share of each class is held out, by
            a rule that depends on the paths only.
    """
    if part not in options_lib.PARTS:
        raise ValueError(
            f"`part` must be one of {options_lib.PARTS}. Received: part={part!r}."
        )
    source = _open_all(options)
    manifest = source.manifest.select(exclude_labels=options.exclude_labels)
    manifest = select_part(manifest, options, part)
    if not manifest.rows:
        raise ValueError(
            f"`part` must have clips. Received: part={part!r} of "
            f"{options.source!r}, which has none that is usable."
        )
    _log_part(manifest, options, part)
    return source.subset(manifest)


def select_part(manifest, options, part: str) -> manifest_lib.Manifest:
    """Returns the rows of one part; see `open_source`."""
    if part == "all":
        return manifest
    if options.names_parts:
        splits = getattr(options, f"{part}_splits") or None
        folds = getattr(options, f"{part}_folds") or None
        if splits is None and folds is None:
            raise ValueError(
                f"`part` must be named in the options. Received: part={part!r} "
                f"without {part}_splits or {part}_folds, while other parts "
                "have them."
            )
        return manifest.select(splits=splits, folds=folds)
    own_splits = {row.split for row in manifest.rows}
    if part in own_splits and "train" in own_splits:
        return manifest.select(splits=(part,))
    if part == "test":
        raise ValueError(
            "`part` must be train, val or all where the data has no test "
            "split. Received: part='test'. Name test_splits or test_folds."
        )
    held_out = held_out_paths(manifest, options.val_fraction)
    rows = tuple(
        row
        for row in manifest.rows
        if (row.path in held_out) == (part == "val")
    )
    return manifest_lib.Manifest(manifest.root, rows, manifest.classes)


def held_out_paths(manifest, fraction: float) -> set[str]:
    """Returns the paths of a share of each class, chosen by hash.

    Clips of one group stay together; a class keeps at least one clip (or
    group) for training, and gives at least one if it has two.
    """
    units: dict[str, dict[str, list[str]]] = {}
    has_groups = any(row.group for row in manifest.rows)
    for row in manifest.rows:
        # With groups, a group is in or out for all of its classes together.
        label = "" if has_groups else row.label
        unit = row.group or row.path
        units.setdefault(label, {}).setdefault(unit, []).append(row.path)
    chosen: set[str] = set()
    for members in units.values():
        names = sorted(
            members, key=lambda name: hashlib.sha256(name.encode()).digest()
        )
        count = min(len(names) - 1, max(1, round(fraction * len(names))))
        for name in names[:count]:
            chosen.update(members[name])
    return chosen


def halve(source, seed: int):
    """Returns two sources that share no clip and balance every class.

    A search learns weights on the first and architectures on the second. The
    odd clips of the classes go to the two halves in turn, a class's only clip
    to the first.
    """
    rng = np.random.default_rng([seed, 0x4A1F])
    labels = source.labels
    first = np.zeros(len(labels), bool)
    extra = 1  # whether the next odd clip goes to the first half
    for number, name in enumerate(source.classes):
        positions = rng.permutation(np.flatnonzero(labels == number))
        odd = len(positions) % 2
        up = max(extra, int(len(positions) == 1))
        first[positions[: (len(positions) + odd * up) // 2]] = True
        extra = extra ^ odd
        if len(positions) == 1:
            logging.warning(
                "Class %r has a single clip: only the first half has it.", name
            )
    if first.all():
        raise ValueError(
            "`source` must have a class with two clips to be halved. "
            f"Received: {len(labels)} clips in {len(source.classes)} classes."
        )
    manifest = source.manifest
    halves = []
    for mask in (first, ~first):
        rows = tuple(manifest.rows[i] for i in np.flatnonzero(mask))
        half = manifest_lib.Manifest(manifest.root, rows, manifest.classes)
        halves.append(source.subset(half))
    return tuple(halves)


def directional_labels(classes) -> list[str]:
    """Returns the labels that a mirror image would make wrong.

    >>> directional_labels(["Pushing from left to right", "leftover", "walk"])
    ['Pushing from left to right']
    """
    return [
        name
        for name in classes
        if _DIRECTION_WORDS & set(re.findall(r"[a-z]+", name.lower()))
    ]


def resolve_flip(options, classes) -> bool:
    """Returns whether training mirrors clips, and says in the log why not."""
    found = directional_labels(classes)
    if options.flip == "auto":
        if found:
            logging.info(
                "No horizontal flip: labels name a direction (%s).",
                ", ".join(found[:5]),
            )
        return not found
    if options.flip and found:
        logging.warning(
            "flip=True although labels name a direction (%s).",
            ", ".join(found[:5]),
        )
    return bool(options.flip)


def check_usable(manifest) -> None:
    """Refuses a manifest with rows that cannot be read."""
    for row in manifest.rows:
        if row.status != "ok" or row.frames < 1:
            raise ValueError(
                "`manifest` must hold usable clips with their number of "
                f"frames. Received: {row.path!r} with status={row.status!r}, "
                f"frames={row.frames}. Scan the clips and select status='ok'."
            )


def _open_all(options):
    path = pathlib.Path(options.source)
    if not path.is_dir():
        if path.is_file():
            manifest = manifest_lib.read_manifest(path)
            if all(row.frames for row in manifest.select().rows):
                return VideoSource(_usable(manifest))
        return VideoSource(_usable(_scan_cached(options)))
    return VideoSource(_usable(_scan_cached(options)))


def _usable(manifest):
    if any(row.status != "ok" for row in manifest.rows):
        logging.warning("%s", scan.summarize(manifest))
    return manifest.select()


def _scan_cached(options) -> manifest_lib.Manifest:
    """Scans the source, or reads what an earlier scan of it found."""
    if options.cache_dir is None:
        return scan.scan(options.source, min_frames=options.min_frames)
    listed = scan.list_clips(options.source)
    key = hashlib.sha256(f"{options.min_frames}\n".encode())
    for row in listed.rows:
        path = os.path.abspath(listed.absolute_path(row))
        facts = os.stat(path) if os.path.exists(path) else None
        stamp = (facts.st_size, facts.st_mtime_ns) if facts else ()
        key.update(f"{path} {row.cells()} {stamp}\n".encode())
    cached = pathlib.Path(
        options.cache_dir, f"manifest-{key.hexdigest()[:16]}.csv"
    )
    if not cached.exists():
        scan.scan(options.source, min_frames=options.min_frames).save(cached)
    return manifest_lib.read_manifest(cached)


def _log_part(manifest, options, part) -> None:
    counts = manifest.count()
    logging.info(
        "%s: %d clips in %d classes from %s, manifest %s.",
        part,
        len(manifest),
        len(manifest.classes),
        options.source,
        manifest.fingerprint[:12],
    )
    empty = [name for name, count in counts.items() if not count]
    if empty:
        logging.warning("%s: no clip of %s.", part, ", ".join(empty))
    short = [row for row in manifest.rows if row.frames < options.clip_frames]
    if short:
        logging.warning(
            "%s: %d clips have fewer than %d frames and repeat some: %s",
            part,
            len(short),
            options.clip_frames,
            ", ".join(f"{row.path} ({row.frames})" for row in short),
        )
