"""What a training leaves behind, and how it is read back.

    arch.json      the network
    weights.npz    its weights and batch-norm statistics, by name
    training.json  labels, preprocessing, options, curve and provenance; the
                   hashes of the two others
    accuracy.json  what evaluations have found since
    model_card.md  all of this for people

No code in these files is ever executed.
"""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import keras
from absl import logging

from autox3d_tf import models
from autox3d_tf.base import files as files_lib
from autox3d_tf.base import locks
from autox3d_tf.runs import run_dir as run_dir_lib
from autox3d_tf.space import arch as arch_lib
from autox3d_tf.training import card as card_lib

ARCH, WEIGHTS, RECORD = "arch.json", "weights.npz", "training.json"
ACCURACY = "accuracy.json"
FORMAT, SCHEMA_VERSION = "autox3d_tf.training", 1


def read_record(run_dir: str | os.PathLike) -> dict[str, Any]:
    """Reads training.json. Raises ValueError if there is no whole one."""
    path = pathlib.Path(run_dir, RECORD)
    if not path.is_file():
        raise ValueError(
            f"{run_dir} holds no finished training (there is no {RECORD}). "
            "Train with autox3d-train --run_dir=..., or let it finish."
        )
    return files_lib.read_record(
        path, "the record of a training", "a training", FORMAT, SCHEMA_VERSION
    )


def is_finished(run_dir: str | os.PathLike, licence: str) -> bool:
    """Whether a training has ended and left weights under that licence."""
    run_dir = pathlib.Path(run_dir)
    ends = (run_dir / WEIGHTS).is_file() and (run_dir / RECORD).is_file()
    return ends and read_record(run_dir).get("licence") == licence


def load_trained(run_dir: str | os.PathLike) -> keras.Model:
    """Returns the network that a training has left in its directory.

    Raises:
        ValueError: If a file is missing, damaged, or from another run.
    """
    run_dir = pathlib.Path(run_dir)
    record = read_record(run_dir)
    arch = arch_lib.load_arch(run_dir / ARCH)
    found = {ARCH: arch.fingerprint}
    if (run_dir / WEIGHTS).is_file():
        found[WEIGHTS] = files_lib.file_sha256(run_dir / WEIGHTS)
    for name, expected in record["files"].items():
        here = found.get(name, "nothing")
        if here != expected:
            raise ValueError(
                f"{run_dir / name} is damaged or from another run. Expected: "
                f"{expected[:12]}. Received: {here[:12]}."
            )
    model = models.build_model(arch, len(record["labels"]))
    models.assign_weights(model, models.load_weights(run_dir / WEIGHTS))
    return model


def save_trained(
    run: run_dir_lib.RunDir, model: keras.Model, record: Mapping[str, Any]
) -> None:
    """Writes the first three files, training.json last, and the card."""
    model.arch.save(run.file(ARCH))
    weights = models.save_weights(
        run.file(WEIGHTS), models.weight_values(model)
    )
    run.write_json(
        RECORD,
        {
            "format": FORMAT,
            "schema_version": SCHEMA_VERSION,
            "files": {
                ARCH: model.arch.fingerprint,
                WEIGHTS: files_lib.file_sha256(weights),
            },
            "config_hash": run.fingerprint,
            **record,
        },
    )
    files_lib.write_text(run.file(card_lib.NAME), read_card(run.path))


def read_card(run_dir: str | os.PathLike, files: str = "") -> str:
    """Returns the model card of what a training has left, made anew.

    Args:
        run_dir: Of the training.
        files: See `card.model_card`.
    """
    record = read_record(run_dir)
    return _card(run_dir, record, _read_accuracies(run_dir, record), files)


def add_accuracy(run_dir: str | os.PathLike, entry: Mapping[str, Any]) -> str:
    """Keeps an accuracy beside the weights; returns the card with it.

    Args:
        run_dir: Of the training. Where it cannot be written to, only the card
            returned has the accuracy.
        entry: Of `card.accuracy`.
    """
    try:
        with locks.turn(pathlib.Path(run_dir, f".{ACCURACY}.lock")):
            entries, text = _with_accuracy(run_dir, entry)
            files_lib.write_json(pathlib.Path(run_dir, ACCURACY), entries)
            files_lib.write_text(pathlib.Path(run_dir, card_lib.NAME), text)
    except OSError as error:
        logging.warning("%s does not get the accuracy: %s.", run_dir, error)
        _, text = _with_accuracy(run_dir, entry)
    return text


def _with_accuracy(run_dir, entry):
    record = read_record(run_dir)
    entries = card_lib.with_accuracy(
        _read_accuracies(run_dir, record), files_lib.to_json(entry)
    )
    return entries, _card(run_dir, record, entries)


def _card(run_dir, record, accuracies, files="") -> str:
    arch = arch_lib.load_arch(pathlib.Path(run_dir, ARCH))
    return card_lib.model_card(arch, record, accuracies, files)


def _read_accuracies(run_dir, record) -> list[dict[str, Any]]:
    """Returns the accuracies of these weights, none of earlier ones."""
    path = pathlib.Path(run_dir, ACCURACY)
    if not path.is_file():
        return []
    try:
        entries = files_lib.read_json(path, "accuracies")
        return [e for e in entries if e["weights"] == record["files"][WEIGHTS]]
    except (ValueError, TypeError, KeyError):
        raise ValueError(
            f"{path} is damaged. Remove it and evaluate again."
        ) from None
