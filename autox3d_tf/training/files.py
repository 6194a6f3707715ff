"""What a training leaves behind, and how it is read back.

    arch.json      the network
    weights.npz    its weights and batch-norm statistics, by name
    training.json  labels, preprocessing, options, curve and provenance; the
                   hashes of the two others

No code in these files is ever executed.
"""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import keras

from autox3d_tf import models
from autox3d_tf.runs import run_dir as run_dir_lib
from autox3d_tf.space import arch as arch_lib

ARCH, WEIGHTS, RECORD = "arch.json", "weights.npz", "training.json"
FORMAT, SCHEMA_VERSION = "autox3d_tf.training", 1


def read_record(run_dir: str | os.PathLike) -> dict[str, Any]:
    """Reads training.json. Raises ValueError if there is no whole one."""
    path = pathlib.Path(run_dir, RECORD)
    if not path.is_file():
        raise ValueError(
            f"{run_dir} holds no finished training (there is no {RECORD}). "
            "Train with autox3d-train --run_dir=..., or let it finish."
        )
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}.") from None
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise ValueError(f"{path} was not written by a training.")
    if record.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(
            f"{path} must have schema_version={SCHEMA_VERSION}. Received: "
            f"schema_version={record.get('schema_version')!r}. See 'Schema "
            "changes' in CHANGELOG.md."
        )
    return record


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
        found[WEIGHTS] = run_dir_lib.file_sha256(run_dir / WEIGHTS)
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
    """Writes the three files; training.json, which vouches for all, last."""
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
                WEIGHTS: run_dir_lib.file_sha256(weights),
            },
            **record,
        },
    )
