"""Evaluates a trained network: the function behind autox3d-evaluate."""

import csv
import dataclasses
import hashlib
import json
import pathlib
from typing import Any

import keras
import numpy as np
from absl import logging

from autox3d_tf.base import checks, progress
from autox3d_tf.base import files as files_lib
from autox3d_tf.data import options as options_lib
from autox3d_tf.data import pipeline
from autox3d_tf.evaluation import (
    cache,
    metrics,
    report,
    views,
)
from autox3d_tf.evaluation import left_out as left_out_lib
from autox3d_tf.runs import memory
from autox3d_tf.runs import run_dir as run_dir_lib
from autox3d_tf.training import card as card_lib
from autox3d_tf.training import files, inputs, predict
from autox3d_tf.training import protocol as protocol_lib

_RECORD = "evaluation.json"
_PART_CLIPS = 1000  # what a stopped evaluation does again, at most


def run_evaluation(
    *,
    trained: str,
    source: str | None = None,
    data: pipeline.DataOptions | None = None,
    part: str = "test",
    temporal_views: int = 1,
    spatial_crops: int = 1,
    batch_size: int = 16,
    run_dir: str | None = None,
) -> dict[str, Any]:
    """Evaluates what a training has left; prints and writes the result.

    Writes evaluation.json, evaluation.txt, model_card.md, predictions.csv,
    what was said of each clip, and views.npz, the logits of each view. If
    views.npz of the same weights, clips and views is there, nothing is
    computed again; stopped, it goes on. The training's model card gets the
    accuracy too.

    Args:
        trained: The run directory of a training.
        source: Clips to evaluate on instead of those of the training; a
            folder, a list or records. They are cut, and parted, in the same
            way.
        data: Or all about them anew, such as other test crops.
        part: `test`, `val`, `train` or `all`.
        temporal_views, spatial_crops: Views of each clip; their softmax is
            averaged.
        batch_size: Views in a batch.
        run_dir: Where to write; None for a folder in that of the training.

    Raises:
        ValueError: Files are missing or damaged, there are no such clips, or
            several crops would be one; `part` or a number is none.
    """
    checks.check_choice("part", part, options_lib.PARTS)
    for name, count in (
        ("temporal_views", temporal_views),
        ("spatial_crops", spatial_crops),
        ("batch_size", batch_size),
    ):
        checks.check_positive_int(name, count)
    model = files.load_trained(trained)
    record = files.read_record(trained)
    elsewhere = data is not None or source is not None
    data = inputs.resolve(record, trained, data, source)
    data = dataclasses.replace(data, memory_mib=0)  # clips are read once
    short_side, crop_size = data.eval_size
    if data.squash and short_side == crop_size and spatial_crops > 1:
        raise ValueError(
            "`spatial_crops` must be 1 where pictures are squashed to the size "
            f"of the crop: all are alike. Received: {spatial_crops}."
        )
    name = f"evaluation_{part}_{temporal_views}x{spatial_crops}"
    folder = pathlib.Path(run_dir or pathlib.Path(trained, name))
    folder.mkdir(parents=True, exist_ok=True)
    begun = run_dir_lib.is_run(folder)
    data = pipeline.pin_manifest(data, folder, begun=begun)
    clips = pipeline.open_source(data, part)
    by_chance = inputs.is_by_chance(clips, data, part)
    if elsewhere and by_chance and part == "val":
        inputs.warn_of_chance(clips, data)
    if part != "train":
        inputs.warn_of_trained(trained, clips)
    protocol = protocol_lib.protocol_of(
        model.arch,
        clips,
        data,
        len(record["labels"]),
        temporal_views,
        spatial_crops,
    )
    _warn_of_another(folder / _RECORD, record["files"], part, protocol)
    with memory.freed_at_end():
        result = evaluate(
            model,
            clips,
            data,
            labels=record["labels"],
            protocol=protocol,
            batch_size=batch_size,
            identity=record["files"][files.WEIGHTS],
            cache_path=folder / "views.npz",
        )
    _write_predictions(folder / "predictions.csv", result.pop("predictions"))
    result["part"] = part
    result["left_out"] = left_out_lib.left_out(data, part)
    annotated = result["clips"] + len(result["left_out"])
    # By chance unusable clips belong to no part.
    result["annotated_clips"] = None if by_chance else annotated
    result["trained"] = {
        "run_dir": str(trained),
        "files": record["files"],
        "provenance": record["provenance"],
    }
    result["provenance"] = run_dir_lib.provenance(data=data)
    text = text_of(result, record["labels"])
    files_lib.write_json(folder / _RECORD, result)
    files_lib.write_text(folder / "evaluation.txt", text + "\n")
    lines = report.accuracy_lines(result)
    card = files.add_accuracy(trained, card_lib.accuracy(result, lines))
    files_lib.write_text(folder / card_lib.NAME, card)
    print(text)
    logging.info("Wrote %s.", folder / _RECORD)
    return result


def _write_predictions(path, columns) -> None:
    """Writes a CSV with a row for each clip."""
    with (
        files_lib.whole(path) as partial,
        open(partial, "w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(
            file, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n"
        )
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def _warn_of_another(path, weights, part, protocol) -> None:
    """Says so where another evaluation is to be replaced.

    Raises:
        ValueError: If something else is there.
    """
    if not path.is_file():
        return
    found = files_lib.read_json(path, "an evaluation")
    try:
        there = {
            "weights": found["trained"]["files"],
            "part": found["part"],
            **found["protocol"],
        }
    except (KeyError, TypeError):
        raise ValueError(
            f"{path} was not written by an evaluation. Remove it, or give "
            "another --run_dir."
        ) from None
    here = {"weights": weights, "part": part, **files_lib.to_json(protocol)}
    changes = run_dir_lib.differences(there, here)
    if changes:
        logging.warning(
            "%s holds another evaluation, which this one replaces (%s).",
            path.parent,
            "; ".join(changes),
        )


def evaluate(
    model: keras.Model,
    source,
    data: pipeline.DataOptions,
    *,
    labels: list[str],
    protocol: dict[str, Any],
    batch_size: int,
    identity: str,
    cache_path: pathlib.Path,
) -> dict[str, Any]:
    """Returns accuracies of a model on the clips of a source.

    Args:
        model: Clips -> logits.
        source: From `data.pipeline.open_source`.
        data: How clips are sampled and cropped.
        labels: Classes of the model, in the order of its outputs.
        protocol: Of `protocol_of`; its views are those that are taken.
        batch_size: Views in a batch.
        identity: Says which weights these are, for the cache.
        cache_path: Where the logits are kept.

    Returns:
        What `score` does, `protocol`, and `predictions`: columns with a value
        for each clip.
    """
    targets = inputs.outputs_of(source, labels)[source.labels]
    temporal_views = protocol["temporal_views"]
    spatial_crops = protocol["spatial_crops"]
    key = _identity(identity, protocol, source)
    logits = cache.read(cache_path, key)
    if logits is None:
        views = temporal_views * spatial_crops
        with progress.bar(
            title="evaluate", unit="view", total=len(source) * views
        ) as shown:
            predictor = predict.Predictor(model, batch_size)
            logits = _in_parts(
                lambda part: predictor.predict(
                    part, data, temporal_views, spatial_crops, shown.update
                ),
                source,
                key,
                cache_path,
                on_known=lambda clips: shown.update(clips * views),
            )
        cache.write(
            cache_path, key, logits, labels=targets, paths=_paths(source)
        )
        for path in cache.parts(cache_path):
            path.unlink(missing_ok=True)  # others may have done it
    result = score(logits, targets, protocol)
    names, predicted = np.array(labels), result.pop("predicted")
    result["predictions"] = {
        "path": _paths(source),
        "label": names[targets],
        "predicted": names[predicted],
        "probability": result.pop("probabilities").round(6),
    }
    return {**result, "protocol": protocol}


def _in_parts(predict_fn, source, key, cache_path, on_known) -> np.ndarray:
    """Returns the logits of all clips; each part is kept once it is there.

    Args:
        predict_fn: A source -> its logits.
        source, key, cache_path: As in `evaluate`.
        on_known: Called with the number of clips of a part that was kept.
    """
    if len(source) <= _PART_CLIPS:
        return predict_fn(source)
    manifest, logits = source.manifest, None
    for first in range(0, len(source), _PART_CLIPS):
        rows = manifest.rows[first : first + _PART_CLIPS]
        part = source.subset(dataclasses.replace(manifest, rows=rows))
        path = cache.part_path(cache_path, first)
        found = cache.read(path, key)
        if found is None:
            found = predict_fn(part)
            cache.write(path, key, found)
        else:
            on_known(len(part))
        if logits is None:  # all of them once, whatever a part's size
            logits = np.empty((len(source), *found.shape[1:]), found.dtype)
        logits[first : first + len(part)] = found
    return logits


def _paths(source) -> list[str]:
    return [row.path for row in source.manifest.rows]


def score(
    logits: np.ndarray, targets: np.ndarray, protocol: dict
) -> dict[str, Any]:
    """Returns the accuracies of logits `(clips, views, classes)`."""
    scores = metrics.fuse(logits)
    clips, num_classes = scores.shape
    right = metrics.top_k(scores, targets)
    predicted = metrics.predictions(scores, targets)
    confusion = metrics.confusion_matrix(predicted, targets, num_classes)
    return {
        "predicted": predicted,
        "probabilities": scores[np.arange(clips), predicted],
        "clips": clips,
        "top1": right / clips,
        "top1_correct": right,
        "top1_interval": metrics.wilson_interval(right, clips),
        "top5": metrics.top_k(scores, targets, 5) / clips,
        "mean_class_accuracy": metrics.mean_class_accuracy(confusion),
        "confusion": confusion,
        "curve": views.accuracy_curve(
            logits,
            targets,
            protocol["temporal_views"],
            protocol["spatial_crops"],
        ),
    }


def text_of(result: dict[str, Any], labels: list[str]) -> str:
    """Returns the whole result for people."""
    parts = [
        report.summary(result),
        report.classes_table(result["confusion"], labels),
    ]
    if len(result["curve"]) > 1:
        parts.insert(1, report.curve_table(result))
    return "\n\n".join(parts)


def _identity(weights: str, protocol: dict, source) -> str:
    """Returns a hash of all that the logits, and their order, depend on."""
    values = [weights, files_lib.to_json(protocol), source.identity]
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
