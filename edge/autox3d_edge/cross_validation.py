"""What int8 costs in accuracy, over folds: each clip in float and in int8."""

import dataclasses
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from absl import logging

from autox3d_edge import doctor_run, interpreters, recipes, sources
from autox3d_tf.base import files as files_lib
from autox3d_tf.base import repeats
from autox3d_tf.data import options as data_options
from autox3d_tf.training import files, inputs

WAYS = ("int8", "doctor", "qat")  # beside fp32
_FORMAT = "autox3d_edge.int8_fold"


def assess(
    trained: str,
    out: pathlib.Path,
    work_dir: pathlib.Path,
    options: doctor_run.DoctorRunOptions,
    seed: int = 0,
) -> dict[str, Any]:
    """Exports one network of one fold and tests it on the fold left out.

    Plain int8, what the doctor chooses and fine-tuned int8 are compared with
    fp32, clip by clip. The doctor chooses on the clips of
    `doctor_run.set_apart`.

    Args:
        trained: The run directory of a training on all folds but one, which
            it names as its test fold, or, as those of comparisons do, as its
            validation fold.
        out: Folder of the result, a small JSON file. One that is there and
            was made of the same things is kept.
        work_dir: Where the fine-tuning keeps its checkpoints.
        options: Of the doctor; its fine-tuning must be there.
        seed: Of what is drawn.

    Returns:
        What the file says: `right[way]` has a 0 or 1 per test clip.
    """
    record = files.read_record(trained)
    data = left_out(inputs.trained_on(record, trained))
    made_of = files_lib.to_json(
        {"files": record["files"], "options": options, "seed": seed}
    )
    folds = "_".join(map(str, data.test_folds))
    path = out / f"{record['arch']}_fold{folds}.json"
    if path.exists():
        known = files_lib.read_json(path, "a result")
        if isinstance(known, dict) and known.get("made_of") == made_of:
            return known
        raise ValueError(
            "`out` must not hold the result of another training or of other "
            f"options. Received: {path}. Give another folder."
        )
    loaded = sources.load(
        trained,
        data,
        work_dir,
        calibration_clips=options.calibration_clips,
        test_part="test",
        seed=seed,
    )
    if not loaded.clips or options.fine_tuning is None:
        raise ValueError(
            "`trained` must leave clips to test on, and `options` a fine-"
            f"tuning. Received: trained={trained}, {len(loaded.clips)} clips, "
            f"fine_tuning={options.fine_tuning}."
        )
    loaded, judged = doctor_run.set_apart(loaded, options)
    found, fine_tuned = doctor_run.examine(loaded, judged, options, work_dir)
    models = {row.name: row.model for row in found.treatments}
    chosen = found.chosen or found.treatments[0]
    ways = {
        "fp32": models["fp32"],
        "int8": models[recipes.Recipe().name],
        "doctor": chosen.model,
        "qat": fine_tuned,
    }
    result = {
        "format": _FORMAT,
        "arch": record["arch"],
        "folds": list(data.test_folds),
        "made_of": made_of,
        "chosen": chosen.name,
        "right": {way: _right(loaded, way, ways[way]) for way in ways},
        "bytes": {way: len(ways[way]) for way in ways},
    }
    files_lib.write_json(path, result)
    loaded.label_cache.forget()
    logging.info("Wrote %s.", path)
    return result


def left_out(data: data_options.DataOptions) -> data_options.DataOptions:
    """Returns options that test on the fold that a training has left out.

    A training that names no test fold has only been watched on its validation
    fold, which chooses nothing in it. Nor may it choose for the doctor.
    """
    if data.test_folds:
        return data
    return dataclasses.replace(data, val_folds=(), test_folds=data.val_folds)


def read(folder: pathlib.Path) -> list[dict[str, Any]]:
    """Returns all results in a folder, by name."""
    found = [
        files_lib.read_json(path, "a result")
        for path in sorted(folder.glob("*.json"))
    ]
    return [
        record
        for record in found
        if isinstance(record, dict) and record.get("format") == _FORMAT
    ]


def format_table(records: Iterable[Mapping[str, Any]]) -> str:
    """Returns one line per network and way, over all its folds.

    The drop is that of fp32's share of right clips, in points, with half a 95
    % interval from the differences clip by clip.
    """
    by_arch: dict[str, list] = {}
    for record in records:
        by_arch.setdefault(record["arch"], []).append(record)
    wide = max(map(len, ["network", *by_arch])) + 2
    lines = [
        f"{'network':<{wide}}{'':<8}{'right':>10}{'drop, points':>16}"
        f"{'size / fp32':>13}  chosen"
    ]
    for arch, folds in by_arch.items():
        float_right = _joined(folds, "fp32")
        for way in ("fp32", *WAYS):
            right = _joined(folds, way)
            drop = 100 * (float_right - right)
            half = repeats.spread(drop.tolist())[1]
            size = np.mean(
                [f["bytes"][way] / f["bytes"]["fp32"] for f in folds]
            )
            chosen = {f["chosen"] for f in folds} if way == "doctor" else ()
            lines.append(
                f"{arch:<{wide}}{way:<8}{f'{right.sum()}/{len(right)}':>10}"
                f"{f'{drop.mean():.2f} +- {half:.2f}':>16}{size:>13.3f}"
                f"  {'; '.join(sorted(chosen))}"
            )
    return "\n".join(line.rstrip() for line in lines)


def _joined(folds, way) -> np.ndarray:
    return np.concatenate([fold["right"][way] for fold in folds])


def _right(loaded, way, model) -> list[int]:
    run = interpreters.ClipRunner(model)
    found = loaded.labels_of_file(run, model, way)
    return (found == loaded.targets).astype(int).tolist()
