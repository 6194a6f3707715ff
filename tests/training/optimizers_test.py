import keras
import numpy as np
import pytest
import tensorflow as tf

from autox3d_tf import models
from autox3d_tf.runs import optimizers as optimizers_lib
from autox3d_tf.space import weight_names
from autox3d_tf.training import optimizers
from tests.training import tiny


def make(**changes):
    training = tiny.training(epochs=10, batch_size=4)
    weight = keras.Variable([1.0], name="expand_kernel")
    made = optimizers.make_optimizer(
        tiny.optimizer(**changes), training, [weight], num_clips=40
    )
    return made, weight


def test_schedule_warms_up_and_falls_as_half_a_cosine():
    made, _ = make(learning_rate=0.8, warmup_epochs=2.0, final=0.25)
    rate = made._learning_rate  # 100 steps, of which 20 warm up
    steps = [0, 10, 20, 60, 100]
    # From 0.8 / 20, so that the first step learns; half way up lies half way
    # between that and 0.8, half way down half way between 0.8 and 0.2.
    expected = [0.04, 0.42, 0.8, 0.5, 0.2]
    np.testing.assert_allclose([rate(s) for s in steps], expected, atol=1e-6)


def test_the_warm_up_may_begin_with_a_share_of_the_rate():
    made, _ = make(learning_rate=0.8, warmup_epochs=2.0, warmup_start=0.25)
    found = [made._learning_rate(step) for step in (0, 10, 20)]
    np.testing.assert_allclose(found, [0.2, 0.5, 0.8], atol=1e-6)


def test_warmup_longer_than_the_run_is_refused():
    with pytest.raises(ValueError, match=r"warmup_epochs=10 \(.* steps\)"):
        make(warmup_epochs=10)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_every_optimizer_goes_against_the_gradient(name):
    made, weight = make(name=name)
    made.apply_gradients([(tf.constant([2.0]), weight)])
    assert weight.numpy() < 1.0


@pytest.mark.parametrize(
    "nesterov, expected",
    [
        # velocity -0.5, then 0.5 * -0.5 - 0.5 (the cosine has hardly begun).
        (None, [0.5, -0.25]),
        # The same velocities; each step is half of it and the gradient's own:
        # -0.25 - 0.5, then -0.375 - 0.5.
        (True, [0.25, -0.625]),
    ],
)
def test_sgd_has_momentum(nesterov, expected):
    made, weight = make(
        name="sgd", learning_rate=0.5, momentum=0.5, nesterov=nesterov
    )
    values = []
    for _ in range(2):
        made.apply_gradients([(tf.constant([1.0]), weight)])
        values.append(weight.numpy().item())
    np.testing.assert_allclose(values, expected, atol=1e-3)


def test_gradients_are_clipped_together():
    made, weight = make(name="sgd", learning_rate=1.0, clip_norm=0.1)
    made.apply_gradients([(tf.constant([50.0]), weight)])
    np.testing.assert_allclose(weight.numpy(), 0.9, atol=1e-6)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_adam_clips_too(name):
    """It remembers gradients of 0.1 alike, however large they were."""
    steps = []
    for second in (0.1, 50.0):
        made, weight = make(name=name, clip_norm=0.1)
        for gradient in (0.1, second):
            made.apply_gradients([(tf.constant([gradient]), weight)])
        steps.append(weight.numpy().item())
    assert steps[0] == pytest.approx(steps[1], abs=1e-6)


@pytest.mark.parametrize(
    "name, expected", [("sgd", 0.25), ("adam", 0.25), ("adamw", 0.0)]
)
def test_weights_decay_once(name, expected):
    """AdamW does so itself, apart from the gradient."""
    assert optimizers_lib.coupled_decay(name, 0.25) == expected


def test_only_kernels_decay():
    model = models.build_model(tiny.arch(), 3)
    decaying = {
        v.name for v in model.trainable_variables if weight_names.decays(v.name)
    }
    assert decaying == {
        "spatial_kernel", "temporal_kernel", "expand_kernel",
        "depthwise1_kernel", "se_reduce_kernel", "se_expand_kernel",
        "project_kernel", "shortcut_kernel", "conv_kernel", "hidden_kernel",
        "logits_kernel",
    }  # fmt: skip


def test_adamw_leaves_batch_norm_alone():
    kernel = keras.Variable([1.0], name="expand_kernel")
    gamma = keras.Variable([1.0], name="expand_norm_gamma")
    made = optimizers.make_optimizer(
        tiny.optimizer(learning_rate=0.1, weight_decay=0.5),
        tiny.training(),
        [kernel, gamma],
        num_clips=40,
    )
    zero = tf.constant([0.0])
    made.apply_gradients([(zero, kernel), (zero, gamma)])
    # Decoupled: w - rate * decay * w.
    np.testing.assert_allclose(kernel.numpy(), 0.95, atol=1e-6)
    np.testing.assert_allclose(gamma.numpy(), 1.0)


def test_an_optimizer_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="sgd, adam, adamw. .* name='rmsprop'"):
        optimizers_lib.make_optimizer(
            "rmsprop",
            0.1,
            [],
            lambda name: True,
            weight_decay=0.0,
            momentum=0.0,
        )
