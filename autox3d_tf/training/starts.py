"""Several starts of one training, of which the best goes on.

Some trainings of small networks stay behind others of the same network, and
their loss tells after a quarter of the steps: `docs/results/notebook.md`.
"""

import json
from collections.abc import Callable

from absl import logging

from autox3d_tf.runs import memory
from autox3d_tf.runs import run_dir as run_dir_lib
from autox3d_tf.training import curve as curve_lib
from autox3d_tf.training import options as options_lib

FILE = "starts.json"
_SHARE = 4  # one step in so many is taken by all starts
_SEED_STEP = 100_000  # between their seeds


def choose(
    run: run_dir_lib.RunDir,
    options: options_lib.TrainingOptions,
    num_clips: int,
    seed: int,
    attempt: Callable[[int, int], curve_lib.Curve],
) -> int:
    """Returns the seed of the start with the least loss.

    Starts that were finished before an interruption are not repeated.

    Args:
        run: Gets `starts.json`, the loss of each seed.
        options: How many starts, and how long the training is.
        num_clips: Clips of an epoch.
        seed: Of the first start.
        attempt: Seed and steps -> the learning curve of a start.
    """
    steps = steps_of(options, num_clips)
    found = _read(run)
    for number in range(options.starts):
        one = seed + _SEED_STEP * number
        if one in found:
            continue
        logging.info(
            "Start %d of %d, seed %d.", number + 1, options.starts, one
        )
        with memory.freed_at_end():
            found[one] = loss_of(attempt(one, steps), steps)
        run.write_json(FILE, found)
        logging.info(
            "Seed %d: loss %.4f after %d steps.", one, found[one], steps
        )
    best = min(found, key=found.get)
    logging.info("Seed %d goes on.", best)
    return best


def steps_of(options: options_lib.TrainingOptions, num_clips: int) -> int:
    """Returns the steps that each start takes."""
    return options.steps(options.epochs / _SHARE, num_clips)


def loss_of(curve: curve_lib.Curve, steps: int) -> float:
    """Mean loss of the last quarter of the steps, or of the last point."""
    points = [point for point in curve.points if "loss" in point]
    late = [p["loss"] for p in points if p["step"] > steps - steps // 4]
    late = late or [points[-1]["loss"]]
    return sum(late) / len(late)


def _read(run) -> dict[int, float]:
    path = run.file(FILE)
    if not path.is_file():
        return {}
    found = json.loads(path.read_text(encoding="utf-8"))
    return {int(seed): loss for seed, loss in found.items()}
