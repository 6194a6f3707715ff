"""Exports a trained network in several precisions and compares them."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from autox3d_edge import audit, benchmark, export, interpreters, parity
from autox3d_edge import manifest as manifest_lib
from autox3d_tf.data import pipeline
from autox3d_tf.runs import run_dir as run_dir_lib
from autox3d_tf.training import card as card_lib
from autox3d_tf.training import files, inputs

_RECORD = "export.json"
_TABLE = "export.txt"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What is exported and how it is measured.

    Attributes:
        precisions: "fp32", "fp16", "dynamic", "int8", ...
        calibration_clips: Clips drawn from the training part, classes in
            turn, for the integer precisions; all if there are fewer.
        test_part: Part the files are tested on; None for no test.
        threads: Numbers of threads to time.
        repeats: Timed runs of each.
        runtime: The oldest runtime that must load the files.
    """

    precisions: tuple[str, ...] = ("fp32", "int8")
    calibration_clips: int = 100
    test_part: str | None = "test"
    threads: tuple[int, ...] = (1, 2)
    repeats: int = 30
    runtime: str = audit.DEFAULT_RUNTIME

    def __post_init__(self):
        for name in ("precisions", "threads"):
            if not getattr(self, name):
                raise ValueError(
                    f"`{name}` must name at least one. Received: {name}=()."
                )
        for name in ("calibration_clips", "repeats"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"`{name}` must be at least 1. "
                    f"Received: {name}={getattr(self, name)}."
                )


def run_export(
    *,
    trained: str,
    data: pipeline.DataOptions,
    options: ExportOptions,
    run_dir: str,
    seed: int = 0,
) -> dict[str, Any]:
    """Writes model_<precision>.tflite for each precision, and a table.

    Each file is audited and compared with the trained model before it is put
    in place, and tested on real clips through the interpreter that a device
    would use.

    Args:
        trained: The run directory of a training.
        data: Clips to calibrate and to test with.
        options: Precisions and measurements.
        run_dir: Where the files go; may be that of the training.
        seed: Of the choice of calibration clips.

    Returns:
        What export.json says.
    """
    model = files.load_trained(trained)
    record = files.read_record(trained)
    folder = pathlib.Path(run_dir)
    folder.mkdir(parents=True, exist_ok=True)
    data = inputs.freeze(data, folder)
    train = pipeline.open_source(data, "train")
    calibration = pipeline.calibration_clips(
        train, data, min(options.calibration_clips, len(train)), seed
    )
    clips, targets = _test_clips(data, options.test_part, record["labels"])
    reference = _keras_scores(model, clips) if clips else None
    provenance = {
        "files": record["files"],
        "seed": seed,
        "calibration": {
            "clips": len(calibration),
            "manifest": train.manifest.fingerprint,
        },
    }
    reports, paths = {}, {}
    for precision in options.precisions:
        path = folder / f"model_{precision}.tflite"
        reports[precision] = export.export_model(
            model,
            model.arch,
            path,
            precision=precision,
            calibration=calibration,
            labels=record["labels"],
            preprocessing=preprocessing(data),
            provenance=provenance,
            accuracy={"validation": record.get("validation")},
            card=files.read_card(trained),
            runtime=options.runtime,
        )
        paths[precision] = path
        if clips:
            reports[precision]["test"] = _test(path, clips, targets, reference)
    timings = benchmark.benchmark_files(paths, options.threads, options.repeats)
    result = {
        "trained": str(trained),
        "arch": model.arch.name,
        "fingerprint": model.arch.fingerprint,
        "keras": None if reference is None else _score(reference, targets),
        "test_part": options.test_part,
        "files": reports,
        "timings": [dataclasses.asdict(t) for t in timings],
        "device": benchmark.device_description(),
        "provenance": run_dir_lib.provenance(data=data, seed=seed),
    }
    text = format_export(result, options.threads)
    run_dir_lib.write_json(folder / _RECORD, result)
    run_dir_lib.write_text(folder / _TABLE, text + "\n")
    card = files.read_card(trained, files=f"```\n{text}\n```")
    run_dir_lib.write_text(folder / card_lib.NAME, card)
    print(text)
    logging.info("Wrote %s.", folder / _RECORD)
    return result


def preprocessing(data: pipeline.DataOptions) -> manifest_lib.Preprocessing:
    """What a device does with a video: the evaluation's middle view."""
    short_side, crop_size = data.eval_size
    return manifest_lib.Preprocessing(
        clip_frames=data.clip_frames,
        sampling=data.sampling,
        stride=data.stride if data.sampling == "dense" else 1,
        short_side=short_side,
        crop_size=crop_size,
        squash=data.squash,
        standardize=data.standardize,
    )


def format_export(result: Mapping[str, Any], threads: Sequence[int]) -> str:
    """Returns the comparison as a table for people."""
    timings = {t["name"]: t for t in result["timings"]}
    heads = [f"ms, {n} thread{'s' * (n > 1)}" for n in threads]
    lines = [
        f"{'':<10}{'top-1':>16}{'as Keras':>12}{'size':>12}"
        + "".join(f"{head:>16}" for head in heads)
    ]
    if result["keras"]:
        lines.append(f"{'Keras':<10}{_share(result['keras']):>16}")
    for precision, report in result["files"].items():
        test = report.get("test")
        row = f"{precision:<10}"
        row += f"{_share(test) if test else '-':>16}"
        row += f"{_agreement(test) if test else '-':>12}"
        row += f"{report['bytes'] / 1024:>8.0f} KiB"
        for count in threads:
            plural = "thread" if count == 1 else "threads"
            row += (
                f"{timings[f'{precision}, {count} {plural}']['median']:>16.2f}"
            )
        lines.append(row)
    device = result["device"]
    lines.append(
        f"top-1 on part {result['test_part']!r}, one view; ms per clip: median "
        f"of runs in turns, {device['processor']}, {device['runtime']}"
    )
    return "\n".join(lines)


def _share(test) -> str:
    return f"{test['right']}/{test['clips']} = {test['top1']:.1%}"


def _agreement(test) -> str:
    return f"{test['agrees']}/{test['clips']}"


def _test_clips(data, part, labels):
    if part is None or not inputs.has_part(data, part):
        return [], None
    source = pipeline.open_source(data, part)
    unknown = sorted(set(source.classes) - set(labels))
    if unknown:
        raise ValueError(
            f"`data` must have the model's classes. Received: {unknown}, "
            "which it was not trained on."
        )
    places = np.array([labels.index(name) for name in source.classes])
    clips = [
        pipeline.device_clip(source, data, position)
        for position in range(len(source))
    ]
    return clips, places[np.asarray(source.labels)]


def _keras_scores(model, clips):
    scorer = parity.keras_scorer(model)
    return np.stack([scorer(clip) for clip in clips])


def _score(scores, targets):
    right = int((scores.argmax(-1) == targets).sum())
    return {
        "right": right,
        "clips": len(targets),
        "top1": right / len(targets),
    }


def _test(path, clips, targets, reference):
    content, _ = manifest_lib.read_model(path)
    run = interpreters.ClipRunner(content)
    scores = np.stack([run(clip) for clip in clips])
    agrees = scores.argmax(-1) == reference.argmax(-1)
    return {**_score(scores, targets), "agrees": int(agrees.sum())}
