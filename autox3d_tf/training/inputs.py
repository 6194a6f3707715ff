"""The clips of a run: listed once, checked, and then always the same."""

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from absl import logging

from autox3d_tf.base import files as files_lib
from autox3d_tf.base import text as text_lib
from autox3d_tf.data import decoding, parts, pipeline, sampling

FEW_CLIPS = 5
_UNBALANCED = 5  # times as many clips in a class as in another
_CLIPS = "trained_clips.txt"
_FOLDER = "$RUN_DIR"  # the folder of a run, in what it says of itself
# What evaluation must do as training did, the size of pictures apart.
_CUT = (
    "clip_frames", "crop_size", "sampling", "stride", "stride_fps", "squash",
    "standardize",
)  # fmt: skip


def portable(
    options: pipeline.DataOptions, folder: str | os.PathLike
) -> pipeline.DataOptions:
    """Returns options that call a list in `folder` by its place there.

    So a run can be moved, and resumed from any directory; the videos of
    the list must stay where they are as seen from it.
    """
    path = pathlib.Path(options.source).resolve()
    if path.parent != pathlib.Path(folder).resolve():
        return options
    return dataclasses.replace(options, source=f"{_FOLDER}/{path.name}")


def check_classes(source) -> None:
    """Refuses what cannot be learned; warns of what can hardly be."""
    parts.check_classes(source)
    counts = source.manifest.count()
    few = [f"{name!r} ({n})" for name, n in counts.items() if n < FEW_CLIPS]
    if few:
        logging.warning(
            "Classes with fewer than %d clips to train on: %s.",
            FEW_CLIPS,
            text_lib.some(few),
        )
    fewest, most = min(counts.values()), max(counts.values())
    if most > _UNBALANCED * fewest:
        logging.info(
            "Classes have %d to %d clips; with `TrainingOptions.balance` of "
            "0.5 or 1 those of rare classes count more.",
            fewest,
            most,
        )


def outputs_of(source, labels: Sequence[str]) -> np.ndarray:
    """Returns which output of a network each class of a source is, int32.

    A class that no clip is of may be unknown to the network: -1.

    Args:
        source: Of clips.
        labels: Of the network, in the order of its outputs.

    Raises:
        ValueError: A clip is of a class that the network does not know.
    """
    number = {name: place for place, name in enumerate(labels)}
    rows = source.manifest.rows
    unknown = sorted({row.label for row in rows} - set(number))
    if unknown:
        raise ValueError(
            f"The network knows no class {', '.join(map(repr, unknown[:5]))}. "
            f"Its classes are: {', '.join(labels)}. Give a list without the "
            "others, or leave them out by exclude_labels of DataOptions, where "
            "the gin file has them."
        )
    return np.array([number.get(name, -1) for name in source.classes], np.int32)


def has_part(options: pipeline.DataOptions, part: str) -> bool:
    """Whether the options say, or leave open, what belongs to a part."""
    if not options.named_parts:
        return part != "test"
    return part in options.named_parts


def clips_by_part(options, train, validation) -> dict[str, int]:
    """Returns the usable clips of each part that the options name.

    Args:
        options: Of the data.
        train, validation: Sources of these parts; the latter may be None.
    """
    found = {"train": len(train)}
    if validation is not None:
        found["val"] = len(validation)
    if has_part(options, "test"):
        try:
            found["test"] = len(pipeline.open_source(options, "test"))
        except (ValueError, decoding.VideoError) as error:
            logging.warning("No clips to test: %s", error)
    return found


def trained_on(
    record: dict, folder: str | os.PathLike, source: str | None = None
) -> pipeline.DataOptions:
    """Returns the options of the data that a network was trained on.

    Args:
        record: Its training.json.
        folder: Where that lies.
        source: Other clips to cut in the same way; None for the same ones.

    Raises:
        ValueError: If the weights were not trained here and `source` is None.
    """
    known = record.get("config", {}).get("data")
    if known is None:
        known = {
            name: value
            for name, value in record["preprocessing"].items()
            if name in _CUT
        }
        crop = record["preprocessing"]["crop_size"]
        known["short_side_range"] = (crop, crop)
        known["eval_short_side"] = record["preprocessing"]["short_side"]
        if source is None:
            raise ValueError(
                "`source` must be given for weights that were not trained "
                "here. Received: source=None."
            )
    if source is None:
        source = known["source"].replace(_FOLDER, str(folder))
    return files_lib.read_fields(
        pipeline.DataOptions, {**known, "source": source}
    )


def resolve(
    record: dict,
    folder: str | os.PathLike,
    options: pipeline.DataOptions | None,
    source: str | None,
) -> pipeline.DataOptions:
    """Returns how clips are cut for a trained network.

    Args:
        record: Its training.json.
        folder: Where that lies.
        options: All about the clips; None to cut them as the training did.
        source: Then, other clips than the training's; None for the same ones.
    """
    if options is None:
        options = trained_on(record, folder, source)
        if not tf.io.gfile.exists(options.source):
            raise ValueError(
                f"There are no clips {options.source}, as seen from "
                f"{os.getcwd()}. Say where they are: --gin=DATA=..."
            )
        return options
    if source is not None:
        raise ValueError(
            "`source` must be None where `data` says it. Received: "
            f"source={source!r}."
        )
    warn_of_other_cut(record, options)
    return options


def warn_of_other_cut(record: dict, options: pipeline.DataOptions) -> None:
    """Warns where clips are not cut as in the training."""
    known = record.get("preprocessing", {})
    for name in _CUT:
        if name not in {*known, "stride_fps"}:
            continue
        there, here = known.get(name), getattr(options, name)
        if name == "crop_size":
            here = options.eval_size[1]
        if name.startswith("stride") and options.sampling != "dense":
            continue
        if name == "crop_size" and here >= there:
            continue  # a larger one is usual
        if here != there:
            logging.warning(
                "The network was trained with %s=%r, not %r "
                "(--gin=DataOptions.%s=%r).",
                name,
                there,
                here,
                name,
                there,
            )


def is_by_chance(source, options: pipeline.DataOptions, part: str) -> bool:
    """Whether neither splits nor folds say which clips a part has."""
    named = options.named_parts or part in source.manifest.splits
    return part in ("train", "val") and not named


def warn_of_chance(source, options: pipeline.DataOptions) -> None:
    """Warns that clips of another source were held out by chance."""
    logging.warning(
        "%d clips of %s, a share of %g held out by chance, are tested on. "
        "--gin=PART='all' takes all of them.",
        len(source),
        options.source,
        options.val_fraction,
    )


def save_clips(folder: str | os.PathLike, source) -> None:
    """Keeps which clips are trained on, a hash a line, for `warn_of_trained`.

    Of their contents, or of their paths where contents are not known.
    """
    lines = sorted(_hashes(source))
    files_lib.write_text(pathlib.Path(folder, _CLIPS), "\n".join(lines) + "\n")


def warn_of_trained(folder: str | os.PathLike, source) -> None:
    """Warns if clips to test on were trained on.

    Args:
        folder: Of the training. One of before does not know its clips.
        source: The clips.
    """
    path = pathlib.Path(folder, _CLIPS)
    if not path.is_file():
        return
    both = _hashes(source) & set(path.read_text().split())
    if both:
        logging.warning(
            "%d of %d clips to test on are among those the network was trained "
            "on: the accuracy says less of others.",
            len(both),
            len(source),
        )


def _hashes(source) -> set[str]:
    return {
        hashlib.sha256(row.identity.encode()).hexdigest()[:16]
        for row in source.manifest.rows
    }


def preprocessing(options: pipeline.DataOptions) -> dict:
    """Says how a video becomes the clip that the network expects."""
    short_side, crop_size = options.eval_size
    return {
        "clip_frames": options.clip_frames,
        "sampling": options.sampling,
        "stride": options.stride,
        "stride_fps": options.stride_fps,
        "short_side": short_side,
        "squash": options.squash,
        "standardize": options.standardize,
        "crop_size": crop_size,
        "mean": sampling.MEAN,
        "deviation": sampling.DEVIATION,
    }
