"""Trained network -> audited .tflite that knows its labels and its clip."""

import dataclasses
import hashlib
import os
import pathlib
import platform
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from autox3d_edge import (
    audit,
    flatbuffer,
    mixed,
    parity,
    quantize,
    recipes,
    streaming,
)
from autox3d_edge import manifest as manifest_lib
from autox3d_tf.base import files as files_lib
from autox3d_tf.space import arch as arch_lib
from autox3d_tf.training import card as card_lib

_CLASSES_OF = "head/logits_bias"  # has a weight for each


@dataclasses.dataclass(frozen=True, kw_only=True)
class About:
    """What a file says of itself, and the runtime it is for.

    Attributes:
        labels: Class names; "class_0", ... by default.
        preprocessing: How a video becomes a clip; by default made from the
            clip size and frame stride of the architecture.
        provenance: Where the weights come from; JSON types.
        accuracy: Numbers with their protocol; JSON types.
        test: Takes a function from clip to scores, and the flatbuffer that
            it runs; what it finds, JSON types, goes into the report and into
            the accuracy.
        card: The model card that goes into the file; by default one that
            knows the architecture and the labels only.
        runtime: The oldest runtime that must load the file.
    """

    labels: Sequence[str] | None = None
    preprocessing: manifest_lib.Preprocessing | None = None
    provenance: Mapping[str, Any] | None = None
    accuracy: Mapping[str, Any] | None = None
    test: Callable[[parity.Scorer, bytes], Mapping[str, Any]] | None = None
    card: str | None = None
    runtime: str = audit.DEFAULT_RUNTIME


def export_model(
    model,
    arch: arch_lib.ArchSpec,
    path: str | os.PathLike,
    *,
    precision: str = "int8",
    calibration: Sequence[np.ndarray] | None = None,
    recipe: recipes.Recipe | None = None,
    kept: Mapping[str, str] | None = None,
    parity_clips: Sequence[np.ndarray] | None = None,
    converter: recipes.NetworkConverter | None = None,
    references: Mapping[str, parity.Scorer] | None = None,
    about: About | None = None,
    **changes,
) -> dict[str, Any]:
    """Writes `path` and `path`.report.json, if the audit passes.

    Args:
        model: A trained Keras model, or its weights by name.
        arch: Its architecture.
        path: The .tflite to write.
        precision: One of `quantize.PRECISIONS`, or "mixed".
        calibration: uint8 clips `(T, H, W, 3)`, for the integer precisions.
        recipe: Remedies of "int8" and "mixed"; by default those that come
            close to float, `recipes.NetworkConverter.choose_recipe`.
        kept: For "mixed", the parts that stay wider, if no recipe says so.
        parity_clips: uint8 clips to compare on; the calibration clips by
            default.
        converter, references: Of this network and these clips, if there are
            several files of it to export: `make_converter`, `references_of`.
        about: What the file says of itself, and the runtime it is for.
        **changes: Fields of `About` to take in place of its own.

    Returns:
        The report: precision, bytes, sha256, audit, parity.

    Raises:
        TypeError: `About` has no such field.
        ValueError: Bad arguments or weights, or the audit failed; see
            `write_model`.
    """
    about = dataclasses.replace(about or About(), **changes)
    check_unconverted(model, arch, about, parity_clips)
    if converter is None:
        converter = make_converter(model, arch, calibration)
    if precision in ("int8", "mixed"):
        wanted = recipe or recipes.Recipe(kept=kept or {})
        if wanted.precision != precision:
            raise ValueError(
                f"`recipe` must keep parts wider for 'mixed', and none for "
                f"'int8'. Received: precision={precision!r}, {wanted}."
            )
        mixed.check_kept(wanted.kept, mixed.part_names(arch))
        recipe = recipe or converter.choose_recipe(kept)
        content = converter.convert(recipe)
    elif recipe is not None or kept:
        raise ValueError(
            "`recipe` and `kept` must be left out but for 'int8' and 'mixed'. "
            f"Received: precision={precision!r}, recipe={recipe}, kept={kept}."
        )
    else:
        content = converter.convert_whole(precision)
    return write_model(
        content,
        path,
        arch=arch,
        precision=precision,
        references=references or references_of(model, converter.lowered()),
        parity_clips=calibration if parity_clips is None else parity_clips,
        recipe=recipe,
        about=about,
    )


def make_converter(
    model, arch: arch_lib.ArchSpec, calibration: Sequence[np.ndarray] | None
) -> recipes.NetworkConverter:
    """Returns the converter of a network; arguments as of `export_model`."""
    weights = model if isinstance(model, Mapping) else weights_of(model)
    return recipes.NetworkConverter(arch, weights, calibration)


def write_model(
    content: bytes,
    path: str | os.PathLike,
    *,
    arch: arch_lib.ArchSpec,
    precision: str,
    references: Mapping[str, parity.Scorer],
    parity_clips: Sequence[np.ndarray] | None = None,
    recipe: recipes.Recipe | None = None,
    about: About | None = None,
    stream: manifest_lib.Stream | None = None,
) -> dict[str, Any]:
    """Audits, compares and packs a flatbuffer; writes it with its report.

    What contradicts the references fails, too: see `parity.contradictions`.

    Args:
        content: The flatbuffer.
        path: The .tflite to write; the report goes to `path`.report.json.
        arch: The architecture.
        precision: What the flatbuffer is.
        references: What it is compared with, by name.
        parity_clips: uint8 clips to compare on.
        recipe: How it was made.
        about: What the file says of itself, and the runtime it is for.
        stream: How to feed it frame by frame, if it is a stream.

    Returns:
        The report.

    Raises:
        ValueError: The audit or the comparison failed; then the report goes
            to `path`.refused.json, and an earlier model of that name stays.
    """
    _check_parity_clips(arch, parity_clips)
    recipe, about = recipe or recipes.Recipe(), about or About()
    preprocessing = _check_preprocessing(arch, about.preprocessing)
    classes = flatbuffer.output_shape(content)[-1]
    labels = manifest_lib.check_labels(
        about.labels or [f"class_{i}" for i in range(classes)], classes
    )
    checked = audit.audit_model(
        content, precision, about.runtime, recipe.kept, stream
    )
    measured = {}
    if checked.passed:  # else it may take the interpreter down
        measured = _measure(
            content, stream, references, parity_clips, about.test
        )
        checked = checked.with_findings(
            audit.Finding(rule="parity", where=who, message=message)
            for who, message in parity.contradictions(
                measured.get("parity", {}), precision
            )
        )
    accuracy = dict(about.accuracy or {})
    if "test" in measured:
        accuracy["test"] = measured["test"]
    made = {"recipe": recipe.name} if precision in audit.INT8_PRECISIONS else {}
    if recipe.kept:
        made["kept"] = dict(recipe.kept)
    manifest = manifest_lib.ModelManifest(
        labels=labels,
        preprocessing=preprocessing,
        precision=precision,
        arch={**arch.to_dict(), "fingerprint": arch.fingerprint},
        provenance={**_versions(), **made, **(about.provenance or {})},
        accuracy=accuracy,
        stream=stream,
    )
    card = about.card
    if card is None:
        card = card_lib.model_card(arch, {"labels": labels})
    packed = manifest_lib.pack(content, manifest, card)
    report = {
        "path": str(path),
        "precision": precision,
        **made,
        "bytes": len(packed),
        "sha256": hashlib.sha256(packed).hexdigest(),
        "manifest_bytes": len(packed) - len(content),
        "activation_bytes": flatbuffer.activation_bytes(content),
        "arch": arch.name,
        "fingerprint": arch.fingerprint,
        "audit": checked.to_dict(),
        **measured,
    }
    _write(path, packed, report, checked)
    return report


def _measure(content, stream, references, parity_clips, test) -> dict[str, Any]:
    """Returns what a report says of a flatbuffer in use."""
    run, measured = streaming.make_runner(content, stream), {}
    if parity_clips is not None and len(parity_clips):
        scorers = {**references, "tflite": run}
        measured["parity"] = parity.compare(scorers, parity_clips)
    if test is not None:
        measured["test"] = test(run, content)
    return measured


def _write(path, packed, report, checked) -> None:
    """Writes the file and its report if nothing was found against it.

    A report of another file than lies beside it has another sha256.
    """
    refused = pathlib.Path(f"{path}.refused.json")
    if not checked.passed:
        files_lib.write_json(refused, report)
    checked.check()
    with files_lib.whole(path) as partial:
        partial.write_bytes(packed)
    files_lib.write_json(f"{path}.report.json", report)
    refused.unlink(missing_ok=True)
    logging.info(
        "Wrote %s (%s, %d bytes).",
        path,
        report.get("recipe", report["precision"]),
        len(packed),
    )


def references_of(model, lowered) -> dict[str, parity.Scorer]:
    """Returns what exported files are compared with; it looks at a clip once.

    Args:
        model: The trained Keras model, or only its weights by name.
        lowered: The float network in 4-D tensors.
    """
    scorers = {"lowered": parity.remember(parity.lowered_scorer(lowered))}
    if isinstance(model, Mapping):
        return scorers
    keras = parity.remember(parity.keras_scorer(model))
    return {"keras": keras, **scorers}


def weights_of(model) -> dict[str, np.ndarray]:
    """Returns the weights of a Keras model by name.

    Raises:
        ValueError: A layer is not of `autox3d_tf.models`.
    """
    import keras

    from autox3d_tf import models

    known = {id(layer) for layer in models.parts(model)}
    for layer in model.layers:
        if id(layer) not in known and not isinstance(
            layer, keras.layers.InputLayer
        ):
            raise ValueError(
                "`model` must be made of layers that the lowering knows, as "
                "autox3d_tf.models.build_model makes it. Received: layer "
                f"{layer.name!r} of {type(layer).__name__}."
            )
    return models.weight_values(model)


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


def check_unconverted(
    model,
    arch: arch_lib.ArchSpec,
    about: About,
    parity_clips: Sequence[np.ndarray] | None,
) -> None:
    """Refuses before a conversion what `write_model` would after it.

    Args:
        model: The trained Keras model, or only its weights by name.
        arch, about, parity_clips: As of `export_model`.
    """
    _check_parity_clips(arch, parity_clips)
    _check_preprocessing(arch, about.preprocessing)
    if not about.labels:
        return
    if not isinstance(model, Mapping):
        manifest_lib.check_labels(about.labels, model.output_shape[-1])
    elif _CLASSES_OF in model:  # or the lowering says that it lacks them
        manifest_lib.check_labels(about.labels, len(model[_CLASSES_OF]))


def _check_parity_clips(arch, clips) -> None:
    shape = (*arch.clip_size, 3)
    quantize.check_clips("parity_clips", () if clips is None else clips, shape)


def _check_preprocessing(arch, preprocessing):
    _, height, width = arch.clip_size
    if height != width:
        raise ValueError(
            "`arch` must have clips as wide as they are high: devices cut "
            f"squares out of videos. Received: {arch.name!r} with clip_size="
            f"{tuple(arch.clip_size)}. Train it on square ones."
        )
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


def _versions():
    return {
        "tensorflow": tf.__version__,
        "python": platform.python_version(),
    }
