"""The annotated clips that cannot be evaluated, by name."""

import os

from autox3d_tf.data import manifest as manifest_lib
from autox3d_tf.data import parts, pipeline, records


def left_out(options: pipeline.DataOptions, part: str) -> list[dict]:
    """Returns path, label, status and detail of the clips that are not ok.

    Where chance decides which clips belong to a part (no splits or folds are
    named anywhere), unusable clips belong to none and all are listed.

    Args:
        options: Their source is records, or a list that has been looked
            through.
        part: The part of the data.
    """
    if os.path.isfile(options.source):
        rows = manifest_lib.read_manifest(options.source).rows
    else:
        rows = records.RecordSource(options.source).all_rows
    rows = [row for row in rows if row.label not in options.exclude_labels]
    splits = {row.split for row in rows if row.status == "ok"}
    return [
        {
            name: getattr(row, name)
            for name in ("path", "label", "status", "detail")
        }
        for row in rows
        if row.status != "ok" and _belongs(row, splits, options, part)
    ]


def _belongs(row, known_splits, options, part) -> bool:
    if part == "all":
        return True
    if options.named_parts:
        splits = getattr(options, f"{part}_splits")
        folds = getattr(options, f"{part}_folds")
        return (not splits or row.split in splits) and (
            not folds or row.fold in folds
        )
    if parts.is_own_split(part, known_splits):
        return row.split == part
    return True
