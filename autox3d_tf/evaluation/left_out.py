"""The annotated clips that cannot be evaluated, by name."""

import pathlib

from autox3d_tf.data import manifest as manifest_lib
from autox3d_tf.data import parts, pipeline


def left_out(source, options: pipeline.DataOptions, part: str) -> list[dict]:
    """Returns path, label, status and detail of the clips that are not ok.

    Where chance decides which clips belong to a part (no splits or folds are
    named anywhere), unusable clips belong to none and all are listed.

    Args:
        source: Opened from `options`.
        options: Their source is a list that has been looked through.
        part: The part of the data.
    """
    if hasattr(source, "index"):
        rows = list(map(manifest_lib.ClipRow.of, source.index["left_out"]))
    elif pathlib.Path(options.source).is_file():
        rows = manifest_lib.read_manifest(options.source).rows
    else:
        rows = ()
    return [
        {
            name: getattr(row, name)
            for name in ("path", "label", "status", "detail")
        }
        for row in rows
        if row.status != "ok" and _belongs(row, rows, options, part)
    ]


def _belongs(row, rows, options, part) -> bool:
    if row.label in options.exclude_labels:
        return False
    if part == "all":
        return True
    if options.names_parts:
        splits = getattr(options, f"{part}_splits")
        folds = getattr(options, f"{part}_folds")
        return (not splits or row.split in splits) and (
            not folds or row.fold in folds
        )
    splits = {other.split for other in rows}
    if parts.is_own_split(part, splits):
        return row.split == part
    return True
