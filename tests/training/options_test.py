import math

import pytest

from autox3d_tf.training import options


def test_rate_is_per_sample_or_absolute():
    per_sample = options.OptimizerOptions(learning_rate_per_sample=0.1 / 128)
    # X3D: 0.1 for each machine's batch of 128, so 1.6 on 16 machines.
    assert per_sample.rate(128) == pytest.approx(0.1)
    assert per_sample.rate(16 * 128) == pytest.approx(1.6)
    assert options.OptimizerOptions(learning_rate=0.3).rate(999) == 0.3


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({}, "Exactly one of `learning_rate` and"),
        (
            {"learning_rate": 0.1, "learning_rate_per_sample": 0.1},
            "Received: learning_rate=0.1, learning_rate_per_sample=0.1.",
        ),
        ({"learning_rate": 0}, "`learning_rate` must be positive"),
        (
            {"learning_rate": 0.1, "momentum": 1.0},
            r"momentum` must be in \[0, 1\)",
        ),
        (
            {"learning_rate": 0.1, "nesterov": True},
            "`nesterov` must be False or None for 'adamw'",
        ),
        (
            {"learning_rate": 0.1, "name": "lion"},
            "`name` must be one of sgd, adam, adamw. Received: name='lion'",
        ),
        ({"learning_rate": 0.1, "weight_decay": -1}, "`weight_decay` must"),
        ({"learning_rate": 0.1, "clip_norm": 0}, "`clip_norm` must be pos"),
        ({"learning_rate": math.inf}, "must be finite. Received: learning_ra"),
        ({"learning_rate": 0.1, "warmup_epochs": math.inf}, "must be finite"),
    ],
)
def test_optimizer_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        options.OptimizerOptions(**arguments)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"epochs": 0}, "`epochs` must be positive. Received: epochs=0"),
        ({"epochs": None}, "`epochs` must be positive. Received: epochs=None"),
        ({"epochs": math.inf}, "must be finite. Received: epochs=inf"),
        ({"mixup": math.nan}, "`mixup` must be finite. Received: mixup=nan"),
        ({"batch_size": 0}, "`batch_size` must be at least 1"),
        ({"batch_size": 16.0}, "`batch_size` must be a whole number"),
        ({"save_steps": 2.5}, "`save_steps` must be a whole number"),
        ({"save_steps": 0}, "`save_steps` must be at least 1, or None"),
        ({"save_secs": -1.0}, "`save_secs` must be positive"),
        ({"save_secs": math.nan}, "`save_secs` must be finite"),
        ({"balance": 1.5}, r"`balance` must be in \[0, 1\]"),
        ({"ema_decay": 1.0}, r"`ema_decay` must be in \[0, 1\)"),
        ({"precision": "float16"}, "`precision` must be one of"),
        (
            {"freeze_batch_norm": True, "precise_batch_norm": 3},
            "`precise_batch_norm` must be 0 where",
        ),
    ],
)
def test_training_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        options.TrainingOptions(**{"epochs": 1, "batch_size": 8, **arguments})


def test_steps_cover_every_epoch():
    training = options.TrainingOptions(epochs=3, batch_size=16)
    assert training.steps(3, num_clips=100) == 19  # 300 / 16 = 18.75
    assert training.steps(0.001, num_clips=10) == 1


def test_short_cycle_of_multigrid():
    cycle = options.TrainingOptions(epochs=1, batch_size=8, short_cycle=True)
    assert cycle.clip_sizes(224) == (224, 158, 112)
    plain = options.TrainingOptions(epochs=1, batch_size=8)
    assert plain.clip_sizes(224) == ()
