"""The clips of a run: listed once, checked, and then always the same."""

import dataclasses
import pathlib

import tensorflow as tf
from absl import logging

from autox3d_tf.data import manifest as manifest_lib
from autox3d_tf.data import pipeline, records, scan, transforms

MANIFEST = "manifest.csv"
FEW_CLIPS = 5


def freeze(
    options: pipeline.DataOptions, folder: pathlib.Path
) -> pipeline.DataOptions:
    """Returns options whose source is a list that has been looked through.

    A folder of videos, or a list of videos nobody has looked at, is scanned;
    the result is kept as `folder/manifest.csv`, and read from there when the
    run goes on. Records and scanned lists stay as they are.
    """
    if tf.io.gfile.exists(f"{options.source}/{records.INDEX_NAME}"):
        return options
    source, kept = pathlib.Path(options.source), folder / MANIFEST
    if source.is_file() and _is_scanned(source):
        return options
    if not kept.exists():
        manifest = scan.scan(options.source, min_frames=options.min_frames)
        logging.info("%s", scan.summarize(manifest))
        manifest.save(kept)
    return dataclasses.replace(options, source=str(kept))


def _is_scanned(path: pathlib.Path) -> bool:
    rows = manifest_lib.read_manifest(path).select().rows
    return bool(rows) and all(row.frames for row in rows)


def check_classes(source) -> None:
    """Refuses what cannot be learned; warns of what can hardly be."""
    counts = source.manifest.count()
    usable = [name for name, count in counts.items() if count]
    if len(usable) < 2:
        raise ValueError(
            "Training needs clips of at least two classes. Received: usable "
            f"clips of {usable or 'none'}, out of {len(counts)} classes."
        )
    for name, count in counts.items():
        if count < FEW_CLIPS:
            logging.warning(
                "Class %r has only %d clips to train on.", name, count
            )


def has_part(options: pipeline.DataOptions, part: str) -> bool:
    """Whether the options say, or leave open, what belongs to a part."""
    if not options.names_parts:
        return part != "test"
    return bool(
        getattr(options, f"{part}_splits") or getattr(options, f"{part}_folds")
    )


def preprocessing(options: pipeline.DataOptions) -> dict:
    """Says how a video becomes the clip that the network expects."""
    short_side, crop_size = options.eval_size
    return {
        "clip_frames": options.clip_frames,
        "sampling": options.sampling,
        "stride": options.stride,
        "short_side": short_side,
        "squash": options.squash,
        "standardize": options.standardize,
        "crop_size": crop_size,
        "mean": transforms.MEAN,
        "deviation": transforms.DEVIATION,
    }
