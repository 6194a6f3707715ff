"""Trained network -> audited .tflite that knows its labels and its clip."""

import dataclasses
import os
import pathlib
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from autox3d_edge import (
    audit,
    interpreters,
    lowering,
    parity,
    quantize,
    remedies,
)
from autox3d_edge import manifest as manifest_lib
from autox3d_tf.space import arch as arch_lib
from autox3d_tf.training import card as card_lib


def export_model(
    model,
    arch: arch_lib.ArchSpec,
    path: str | os.PathLike,
    *,
    precision: str = "int8",
    calibration: Sequence[np.ndarray] | None = None,
    labels: Sequence[str] | None = None,
    preprocessing: manifest_lib.Preprocessing | None = None,
    provenance: Mapping[str, Any] | None = None,
    accuracy: Mapping[str, Any] | None = None,
    card: str | None = None,
    parity_clips: Sequence[np.ndarray] | None = None,
    equalize: bool = False,
    runtime: str = audit.DEFAULT_RUNTIME,
) -> dict[str, Any]:
    """Writes `path` and `path`.report.json, if the audit passes.

    Args:
        model: A trained Keras model, or its weights by name.
        arch: Its architecture.
        path: The .tflite to write.
        precision: One of `quantize.PRECISIONS`.
        calibration: uint8 clips `(T, H, W, 3)`, for the integer precisions.
        labels: Class names; "class_0", ... by default.
        preprocessing: How a video becomes a clip; by default made from the
            clip size and frame stride of `arch`.
        provenance: Where the weights come from; JSON types.
        accuracy: Numbers with their protocol; JSON types.
        card: The model card that goes into the file; by default one that
            knows the architecture and the labels only.
        parity_clips: uint8 clips to compare on; the calibration clips by
            default.
        equalize: Whether to even out channel ranges first, which changes
            nothing in float; see `remedies.equalize`. Needs `calibration`.
        runtime: The oldest runtime that must load the file.

    Returns:
        The report: precision, bytes, audit, parity.

    Raises:
        ValueError: Bad arguments or weights, or the audit failed; then no
            file is written.
    """
    weights = model if isinstance(model, Mapping) else _weights_of(model)
    options = lowering.LoweringOptions(centre_input=precision == "int16x8")
    if equalize:
        clips = quantize.check_calibration(calibration, (*arch.clip_size, 3))
        weights = remedies.equalize(arch, weights, clips)
    lowered = lowering.lower(arch, weights, options)
    labels = manifest_lib.check_labels(
        labels or [f"class_{i}" for i in range(lowered.output_shape[-1])],
        lowered.output_shape[-1],
    )
    manifest = manifest_lib.ModelManifest(
        labels=labels,
        preprocessing=_check_preprocessing(arch, preprocessing),
        precision=precision,
        arch={**arch.to_dict(), "fingerprint": arch.fingerprint},
        provenance={**_versions(), **(provenance or {})},
        accuracy=accuracy or {},
    )
    content = quantize.convert(lowered, precision, calibration)
    if card is None:
        card = card_lib.model_card(arch, {"labels": labels})
    packed = manifest_lib.pack(content, manifest, card)
    path = pathlib.Path(path)
    report = {
        "path": str(path),
        "precision": precision,
        "equalized": equalize,
        "bytes": len(packed),
        "manifest_bytes": len(packed) - len(content),
        "calibration_clips": 0 if calibration is None else len(calibration),
        "arch": arch.name,
        "fingerprint": arch.fingerprint,
    }
    checked = audit.audit_model(content, precision, runtime)
    report["audit"] = checked.to_dict()
    clips = calibration if parity_clips is None else parity_clips
    if checked.passed and clips is not None and len(clips):
        report["parity"] = _parity(model, lowered, content, clips)
    path.parent.mkdir(parents=True, exist_ok=True)
    arch_lib.write_json(f"{path}.report.json", report)
    checked.check()
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(packed)
    os.replace(temporary, path)
    logging.info("Wrote %s (%s, %d bytes).", path, precision, len(packed))
    return report


def default_preprocessing(
    arch: arch_lib.ArchSpec,
) -> manifest_lib.Preprocessing:
    """Dense sampling if the frames of a clip are apart, segments if not."""
    frames, height, width = arch.clip_size
    return manifest_lib.Preprocessing(
        clip_frames=frames,
        sampling="dense" if arch.frame_stride > 1 else "segment",
        stride=arch.frame_stride,
        short_side=height,
        crop_size=min(height, width),
    )


def _check_preprocessing(arch, preprocessing):
    preprocessing = preprocessing or default_preprocessing(arch)
    made = (
        preprocessing.clip_frames,
        preprocessing.crop_size,
        preprocessing.crop_size,
    )
    if made != tuple(arch.clip_size):
        raise ValueError(
            "`preprocessing` must make the clips of `arch`, "
            f"{tuple(arch.clip_size)}. Received: "
            f"{dataclasses.asdict(preprocessing)}, which makes {made}."
        )
    return preprocessing


def _weights_of(model) -> dict[str, np.ndarray]:
    from autox3d_tf import models

    return models.weight_values(model)


def _parity(model, lowered, content, clips):
    scorers = {}
    if not isinstance(model, Mapping):
        scorers["keras"] = parity.keras_scorer(model)
    scorers["lowered"] = parity.lowered_scorer(lowered)
    scorers["tflite"] = interpreters.ClipRunner(content)
    return parity.compare(scorers, clips)


def _versions():
    return {
        "tensorflow": tf.__version__,
        "python": platform.python_version(),
    }
