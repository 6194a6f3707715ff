"""Diagnoses a trained network and exports what the doctor chose."""

import dataclasses
import pathlib
from typing import Any

import numpy as np
from absl import logging

from autox3d_edge import (
    audit,
    diagnosis,
    export,
    export_run,
    lowering,
    sources,
)
from autox3d_edge import doctor as doctor_lib
from autox3d_edge import fine_tuning as fine_tuning_lib
from autox3d_tf.base import checks
from autox3d_tf.base import files as files_lib
from autox3d_tf.data import pipeline, sampling
from autox3d_tf.runs import claim
from autox3d_tf.runs import run_dir as run_dir_lib
from autox3d_tf.training import inputs

_RECORD, _TABLE = "doctor.json", "doctor.txt"
_NO_STREAMS = (
    "The doctor treats clips, not streams: autox3d-export clips the ranges of "
    "int8_stream and equalizes its channels."
)
_JUDGE_SEED = 0x1D6E  # augmented clips to judge on, apart from training's


@dataclasses.dataclass(frozen=True, kw_only=True)
class DoctorRunOptions:
    """What the doctor works with.

    Attributes:
        doctor: The bound and what is tried.
        fine_tuning: Quantization-aware training; None to leave it out.
        calibration_clips: Clips drawn from the training part, classes in
            turn; all if there are fewer, half of them if others are to judge.
        judged_clips: So many clips the choice is made on: of the validation
            part, all if there are fewer. Without one, or if it is the test
            part: of training videos that are not calibrated on, one of each,
            augmented as in training but drawn anew.
        test_part: Part that the table shows; None for none. Nothing is
            chosen by it.
        runtime: The oldest runtime that must load the file.
    """

    doctor: doctor_lib.DoctorOptions = dataclasses.field(
        default_factory=doctor_lib.DoctorOptions
    )
    fine_tuning: fine_tuning_lib.FineTuningOptions | None = dataclasses.field(
        default_factory=fine_tuning_lib.FineTuningOptions
    )
    calibration_clips: int = 100
    judged_clips: int = 300
    test_part: str | None = "test"
    runtime: str = audit.DEFAULT_RUNTIME

    def __post_init__(self):
        for name in ("calibration_clips", "judged_clips"):
            checks.check_field(self, name, lambda v: v >= 1, "at least 1")
        audit.check_runtime(self.runtime)


def run_doctor(
    *,
    trained: str,
    options: DoctorRunOptions,
    run_dir: str,
    data: pipeline.DataOptions | None = None,
    source: str | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Writes doctor.json, doctor.txt and the file that was chosen.

    Of a causal network, too, that is a file for clips: streams are not
    treated, which the report says.

    Args:
        trained: The run directory of a training.
        options: What is tried and on how many clips.
        run_dir: Where the files go.
        data: Clips to calibrate, judge and test with; None for those of the
            training, cut as there.
        source: Or others, cut in the same way.
        seed: Of the choice of calibration and judged clips.

    Returns:
        What doctor.json says. `chosen` is None, and no model is written, if
        nothing stays within the bound.
    """
    folder = pathlib.Path(run_dir)
    with claim.alone(folder):
        loaded = sources.load(
            trained,
            data,
            folder,
            source=source,
            calibration_clips=options.calibration_clips,
            test_part=options.test_part,
            seed=seed,
        )
        notes = [_NO_STREAMS] if loaded.model.arch.causal else []
        for note in notes:
            logging.warning(note)  # before all the work, too
        loaded, judged = set_apart(loaded, options)
        found, _ = examine(loaded, judged, options, folder)
        text = "\n".join([found.format(), *notes])
        result = {
            "trained": str(trained),
            "arch": loaded.model.arch.name,
            "fingerprint": loaded.model.arch.fingerprint,
            "calibration": loaded.drawn,
            "test_part": options.test_part,
            **found.to_dict(),
            "provenance": run_dir_lib.provenance(data=loaded.data, seed=seed),
        }
        files_lib.write_json(folder / _RECORD, result)
        files_lib.write_text(folder / _TABLE, text + "\n")
        print(text)
        others = {path.name for path in folder.glob("model_*.tflite")}
        if found.chosen is not None:  # what was found stays if this fails
            result["file"] = _export(loaded, found, options, folder)
            files_lib.write_json(folder / _RECORD, result)
            others.discard(f"model_{found.chosen.precision}.tflite")
        if others:
            logging.warning(
                "%s in %s stays as it was before, and was not chosen.",
                ", ".join(sorted(others)),
                folder,
            )
        loaded.label_cache.forget()
        logging.info("Wrote %s.", folder / _RECORD)
    return result


def examine(
    loaded: sources.Sources,
    judged: doctor_lib.Judged,
    options: DoctorRunOptions,
    folder: pathlib.Path,
) -> tuple[diagnosis.Diagnosis, bytes | None]:
    """Fine-tunes if wanted, diagnoses; returns both results.

    Args:
        loaded, judged: From `set_apart`.
        options: Of the doctor.
        folder: Where the fine-tuning keeps its checkpoints.
    """
    arch, weights = loaded.model.arch, export.weights_of(loaded.model)
    fine_tuned = None
    if options.fine_tuning is not None:
        lowered = lowering.lower(arch, weights)
        fine_tuned = export_run.fine_tune(
            loaded, lowered, options.fine_tuning, folder / "qat"
        )
    test = None
    if loaded.clips:
        test = doctor_lib.Judged(clips=loaded.clips, labels=loaded.targets)
    found = doctor_lib.diagnose(
        arch,
        weights,
        loaded.calibration,
        judged,
        options.doctor,
        test=test,
        fine_tuned=fine_tuned,
        model=loaded.model,
    )
    return found, fine_tuned


def set_apart(
    loaded: sources.Sources, options: DoctorRunOptions
) -> tuple[sources.Sources, doctor_lib.Judged]:
    """Returns what to work with, and clips to choose on.

    These are of a part that is not tested on. Of training videos, at most half
    then stay to calibrate on.
    """
    found = None
    if options.test_part != "val":
        found = validation_clips(loaded, options.judged_clips)
    if found is not None:
        return loaded, found
    half = max(1, len(loaded.train) // 2)
    if len(loaded.calibration) > half:
        logging.warning(
            "Calibrated on %d of %d training videos, as others are to judge on "
            "where there is no validation part.",
            half,
            len(loaded.train),
        )
        loaded = loaded.with_calibration(half)
    return loaded, training_clips(loaded, options.judged_clips)


def validation_clips(
    loaded: sources.Sources, count: int
) -> doctor_lib.Judged | None:
    """Returns validation clips, classes in turn; None if there are none."""
    if not inputs.has_part(loaded.data, "val"):
        return None
    try:
        source = pipeline.open_source(loaded.data, "val", whole=True)
    except ValueError as error:
        logging.warning("Judged on training clips: %s", error)
        return None
    count, seed = min(count, len(source)), loaded.seed
    outputs = inputs.outputs_of(source, loaded.record["labels"])
    positions = pipeline.balanced_positions(source.labels, count, seed)
    return doctor_lib.Judged(
        clips=pipeline.calibration_clips(source, loaded.data, count, seed),
        labels=outputs[source.labels[positions]].tolist(),
        part="val",
    )


def training_clips(loaded: sources.Sources, count: int) -> doctor_lib.Judged:
    """Returns training clips augmented anew, uint8, with their outputs.

    One of each video that is not calibrated on, `count` at most. If all are,
    of those; the result says so.
    """
    rows, calibrated = loaded.train.manifest.rows, loaded.calibrated_rows
    others = tuple(row for n, row in enumerate(rows) if n not in calibrated)
    judged = dataclasses.replace(
        loaded.train.manifest, rows=others or tuple(rows)
    )
    count = min(count, len(judged))
    batches = pipeline.make_train_dataset(
        loaded.train.subset(judged),
        loaded.augmented,
        batch_size=1,
        seed=loaded.seed ^ _JUDGE_SEED,
        total_steps=count,
    )
    outputs = inputs.outputs_of(loaded.train, loaded.record["labels"])
    clips, labels = [], []
    with pipeline.video_errors():
        for clip, label in batches:
            raw = sampling.denormalize(clip[0].numpy())
            clips.append(np.rint(raw).clip(0, 255).astype(np.uint8))
            labels.append(int(outputs[int(label[0])]))
    return doctor_lib.Judged(
        clips=clips,
        labels=labels,
        part="train",
        calibrated_on=0 if others else count,
    )


def _export(loaded, found, options, folder):
    chosen = found.chosen
    lowered = lowering.lower(loaded.model.arch, export.weights_of(loaded.model))
    path = folder / f"model_{chosen.precision}.tflite"
    about = dataclasses.replace(loaded.about, runtime=options.runtime)
    if chosen.name == diagnosis.FINE_TUNED:
        about = export_run.about_fine_tuning(about, options.fine_tuning)
    return export.write_model(
        chosen.model,
        path,
        arch=loaded.model.arch,
        precision=chosen.precision,
        references=export.references_of(loaded.model, lowered),
        parity_clips=loaded.calibration,
        recipe=chosen.recipe,
        about=about,
    )
