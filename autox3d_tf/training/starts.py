"""Several starts of one training, of which the best goes on.

Some trainings of small networks stay behind others of the same network, and
their loss tells after a quarter of the steps: `docs/results/notebook.md`.
"""

import dataclasses
from collections.abc import Callable

from absl import logging

from autox3d_tf.base import files as files_lib
from autox3d_tf.runs import checkpoints, memory
from autox3d_tf.runs import run_dir as run_dir_lib
from autox3d_tf.training import curve as curve_lib
from autox3d_tf.training import options as options_lib

FILE = "starts.json"
_POINTS = 32  # of the learning curve of a start, or more
_SHARE = 4  # one step in so many is taken by all starts
_SEED_STEP = 100_000  # between their seeds


def choose(
    run: run_dir_lib.RunDir,
    options: options_lib.TrainingOptions,
    num_clips: int,
    seed: int,
    attempt: Callable[[int, int, int], curve_lib.Curve],
) -> int:
    """Returns the seed of the start with the least loss.

    Starts that were finished before an interruption are not repeated.

    Args:
        run: Gets `starts.json`, the loss of each seed.
        options: How many starts, and how long the training is.
        num_clips: Clips of an epoch.
        seed: Of the first start.
        attempt: Seed, steps, and steps from one point to the next -> the
            learning curve of a start.

    Raises:
        NonFiniteError: All of them came to NaN or infinite numbers.
    """
    steps = steps_of(options, num_clips)
    # Often enough for the last quarter to have several points.
    log_steps = min(options.log_steps, max(1, steps // _POINTS))
    found = _read(run)
    for number in range(options.starts):
        one = seed + _SEED_STEP * number
        if one in found:
            continue
        place = f"Start {number + 1} of {options.starts}, seed {one}"
        logging.info("%s: %d steps.", place, steps)
        try:
            with memory.freed_at_end():
                found[one] = loss_of(attempt(one, steps, log_steps), steps)
            logging.info("%s: loss %.4f.", place, found[one])
        except checkpoints.NonFiniteError as error:
            last = number + 1 == options.starts
            if last and all(loss is None for loss in found.values()):
                raise
            logging.warning("%s is given up: %s", place, error)
            found[one] = None
        if run.writes:
            run.write_json(FILE, found)
    best = min((s for s in found if found[s] is not None), key=found.get)
    logging.info("Seed %d goes on.", best)
    return best


def steps_of(options: options_lib.TrainingOptions, num_clips: int) -> int:
    """Returns the steps that each start takes."""
    return options.steps(options.epochs / _SHARE, num_clips)


def options_of(
    options: options_lib.TrainingOptions,
    steps: int,
    log_steps: int,
    num_workers: int = 1,
) -> options_lib.TrainingOptions:
    """Returns the options of a start: when it logs, and when it saves.

    Args:
        options: Of the training.
        steps, log_steps: Of the start.
        num_workers: Where there are several they save after the same steps:
            saving looks for NaN, and all must give up together.
    """
    save_steps = options.save_steps
    if num_workers > 1:
        save_steps = save_steps or -(-steps // 8)
    return dataclasses.replace(
        options, log_steps=log_steps, save_steps=save_steps
    )


def loss_of(curve: curve_lib.Curve, steps: int) -> float:
    """Mean loss of the last quarter of the steps, the last one at least."""
    first = steps - max(1, steps // 4)
    late = [
        point["loss"]
        for point in curve.points
        if "loss" in point and point["step"] > first
    ]
    return sum(late) / len(late)


def _read(run) -> dict[int, float | None]:
    path = run.file(FILE)
    if not path.is_file():
        return {}
    found = files_lib.read_json(path, "the losses of starts")
    return {int(seed): loss for seed, loss in found.items()}
