"""Of several starts, the one that learns best goes on."""

import json
import types

import numpy as np
import pytest

from autox3d_tf import models
from autox3d_tf.runs import checkpoints, run_dir
from autox3d_tf.training import run, starts
from tests.training import tiny

LOSSES = {5: 1.5, 100_005: 1.25, 200_005: 1.75}


def curve_of(losses):
    points = [{"step": i, "loss": v} for i, v in enumerate(losses, 1)]
    points.append({"step": len(points), "validation_accuracy": 0.5})
    return types.SimpleNamespace(points=points)


def test_the_loss_is_that_of_the_last_quarter():
    assert starts.loss_of(curve_of([9.0] * 6 + [2.0, 1.0]), 8) == 1.5
    assert starts.loss_of(curve_of([9.0, 3.0]), 2) == 3.0


def test_the_least_loss_goes_on_and_nothing_is_repeated(tmp_path):
    made = run_dir.RunDir(tmp_path / "run")
    options = tiny.training(epochs=2, starts=3, log_steps=10)
    seen = []

    def attempt(seed, steps, log_steps):
        seen.append((seed, steps, log_steps))
        if len(seen) == 3:
            raise KeyboardInterrupt
        return curve_of([LOSSES[seed]] * steps)

    with pytest.raises(KeyboardInterrupt):
        starts.choose(made, options, 40, 5, attempt)
    assert starts.choose(made, options, 40, 5, attempt) == 100_005
    # Of 20 steps each took a quarter, all of which are points of its curve; the
    # last one began twice.
    seeds = [seed for seed, *others in seen if others == [5, 1]]
    assert seeds == [5, 100_005, 200_005, 200_005]


def test_a_start_that_diverges_is_given_up(tmp_path):
    options = tiny.training(epochs=2, starts=2)

    def attempt(seed, steps, log_steps):
        if seed in diverges:
            raise checkpoints.NonFiniteError("loss is not finite")
        return curve_of([2.0] * steps)

    for diverges in ({5}, {100_005}):
        made = run_dir.RunDir(tmp_path / f"without{diverges}")
        (left,) = {5, 100_005} - diverges
        assert starts.choose(made, options, 40, 5, attempt) == left
        assert starts.choose(made, options, 40, 5, None) == left
    diverges = {5, 100_005}
    made = run_dir.RunDir(tmp_path / "none")
    with pytest.raises(checkpoints.NonFiniteError):
        starts.choose(made, options, 40, 5, attempt)


@pytest.mark.large
def test_it_ends_as_a_training_of_that_seed_alone(clips, tmp_path):
    def train(path, **changes):
        return run.run_training(
            arch=tiny.short_arch(),
            data=tiny.data(clips),
            optimizer=tiny.optimizer(),
            run_dir=str(tmp_path / path),
            **changes,
        )

    record = train("two", training=tiny.training(starts=2), seed=5)
    losses = json.loads((tmp_path / "two/starts.json").read_text())
    seed = record["start_seed"]
    # Each is a run of its own in TensorBoard.
    events = (tmp_path / "two").glob("summaries*/events*")
    assert len({event.parent for event in events}) == 2
    assert losses[str(seed)] == min(losses.values()) and len(losses) == 2
    # Nine clips by four: 5 steps, and 2 of the start that was given up.
    assert record["clips_trained"] == 4 * (5 + 2)
    train("alone", training=tiny.training(), seed=seed)
    two, alone = (
        models.load_weights(tmp_path / path / "weights.npz")
        for path in ("two", "alone")
    )
    for name, value in alone.items():
        np.testing.assert_array_equal(two[name], value)
