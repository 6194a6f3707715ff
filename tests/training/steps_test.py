import numpy as np
import pytest
import tensorflow as tf

from autox3d_tf import models
from autox3d_tf.runs import loop
from autox3d_tf.runs import optimizers as optimizers_lib
from autox3d_tf.training import average as average_lib
from autox3d_tf.training import optimizers, steps
from tests.training import tiny


def batch(seed=0):
    clips = np.random.default_rng(seed).normal(size=(4, 4, 16, 16, 3))
    return tf.constant(clips, tf.float32), tf.constant([0, 1, 2, 0])


def made_step(optimizer=None, class_weights=None, seed=0, **changes):
    training = tiny.training(**changes)
    optimizer = optimizer or tiny.optimizer()
    model = models.build_model(tiny.arch(), 3, seed=1, dtype=training.precision)
    learner = optimizers.make_optimizer(
        optimizer, training, model.trainable_variables, 40
    )
    average = None
    if training.ema_decay:
        average = average_lib.WeightAverage(model, training.ema_decay)
    step = steps.make_train_step(
        model,
        learner,
        training,
        weight_decay=optimizers_lib.coupled_decay(
            optimizer.name, optimizer.weight_decay
        ),
        average=average,
        class_weights=class_weights,
        seed=seed,
        jit_compile=bool(training.jit_compile),
    )
    return model, step, average


def test_cross_entropy_by_hand():
    # softmax = (3/4, 1/4); targets smoothed by 0.2: (0.9, 0.1).
    logits = tf.math.log([[3.0, 1.0]])
    targets = tf.constant([[1.0, 0.0]])
    expected = -0.9 * np.log(0.75) - 0.1 * np.log(0.25)
    found = steps.cross_entropy(logits, targets, 0.2)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_classes_count_by_their_clips():
    labels = np.array([0] * 6 + [1] * 3)
    weights = steps.class_weights_of(labels, 3, balance=1.0)
    # 9 clips of two classes: each class 4.5 in all, one without clips none
    np.testing.assert_allclose(weights[:2], [4.5 / 6, 4.5 / 3], rtol=1e-6)
    np.testing.assert_array_equal(steps.class_weights_of(labels, 2, 0.0), 1)
    logits = tf.math.log([[3.0, 1.0, 1.0], [3.0, 1.0, 1.0]])
    targets = tf.constant([[1.0, 0, 0], [0, 0.5, 0.5]])  # the second is mixed
    expected = [-np.log(0.6) * weights[0], -np.log(0.2) * weights[1:].mean()]
    found = steps.cross_entropy(logits, targets, 0.0, weights)
    np.testing.assert_allclose(found, np.mean(expected), rtol=1e-6)


def test_a_smoothed_clip_counts_as_its_own_class():
    logits, targets = tf.constant([[1.0, 2.0, 3.0]]), tf.constant([[1.0, 0, 0]])
    plain = steps.cross_entropy(logits, targets, 0.3)
    weighted = steps.cross_entropy(logits, targets, 0.3, np.float32([2, 1, 1]))
    assert float(weighted) == pytest.approx(2 * float(plain), rel=1e-5)


def test_step_counts_classes_as_it_is_told():
    losses = []
    for class_weights in (None, np.float32([2, 2, 2]), np.float32([1, 0, 0])):
        _, step, _ = made_step(class_weights=class_weights)
        losses.append(float(step(tf.constant(0), *batch())["loss"]))
    assert losses[1] == pytest.approx(2 * losses[0], rel=1e-5)
    assert 0 < losses[2] < losses[0]


def test_a_step_says_loss_and_accuracy_of_its_clips_alone():
    """Of the weights before it, and without what decays."""
    clips, _ = batch()
    twin = models.build_model(tiny.arch(), 3, seed=1)
    logits = twin(clips, training=True)
    labels = tf.argmax(logits, -1, tf.int32)
    labels = (labels + [1, 0, 0, 0]) % 3  # one is wrong
    decaying = tiny.optimizer(name="sgd", weight_decay=0.5)
    _, step, _ = made_step(decaying, label_smoothing=0.1)
    found = step(tf.constant(0), clips, labels)
    assert float(found["accuracy"]) == 0.75
    expected = steps.cross_entropy(logits, tf.one_hot(labels, 3), 0.1)
    assert float(found["loss"]) == pytest.approx(float(expected), rel=1e-5)


def test_step_learns_a_batch():
    _, step, _ = made_step()
    losses = [float(step(tf.constant(i), *batch())["loss"]) for i in range(20)]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize(
    "mixing", [{"mixup": 1.0}, {"cutmix": 1.0}, {"mixup": 1.0, "cutmix": 1.0}]
)
def test_what_is_mixed_depends_on_the_step_and_the_seed_only(mixing):
    """A step returns the loss before its update, of the same weights here."""
    _, plain, _ = made_step()
    expected = float(plain(tf.constant(0), *batch())["loss"])
    losses = []
    for number, seed in ((0, 0), (0, 0), (1, 0), (0, 1)):
        _, step, _ = made_step(**mixing, seed=seed)
        losses.append(float(step(tf.constant(number), *batch())["loss"]))
    assert losses[0] == losses[1] and len(set(losses)) == 3
    assert expected not in losses


def test_coupled_weight_decay_is_in_the_gradient():
    # Without momentum, two runs differ by rate * decay * w after one step.
    rate, decay = 0.01, 0.5
    sgd = {"name": "sgd", "learning_rate": rate, "momentum": 0.0}
    plain, step, _ = made_step(tiny.optimizer(**sgd))
    step(tf.constant(0), *batch())
    decayed, step, _ = made_step(tiny.optimizer(weight_decay=decay, **sgd))
    before = models.weight_values(decayed)
    step(tf.constant(0), *batch())
    without, with_decay = map(models.weight_values, (plain, decayed))
    for name, value in before.items():
        expected = rate * decay * value if name.endswith("kernel") else 0.0
        np.testing.assert_allclose(
            without[name] - with_decay[name], expected, atol=2e-6
        )


def test_layer_decay_scales_the_updates(caplog):
    plain, step, _ = made_step()
    before = models.weight_values(plain)
    step(tf.constant(0), *batch())
    with caplog.at_level("INFO", logger="absl"):
        slowed, step, _ = made_step(layer_decay=0.5)
    assert "layer_decay=0.5: the stem learns at 0.12 of" in caplog.text
    step(tf.constant(0), *batch())
    after, slow = models.weight_values(plain), models.weight_values(slowed)
    # From the head down: 1, 1/2, 1/4 and 1/8 of the update.
    shares = {
        "head": 1.0, "stage2_block1": 0.5, "stage1_block1": 0.25, "stem": 0.125
    }  # fmt: skip
    for name, value in before.items():
        if name.endswith(("_mean", "_variance")):
            continue
        expected = shares[name.split("/")[0]] * (after[name] - value)
        np.testing.assert_allclose(slow[name] - value, expected, atol=1e-6)


def test_average_of_weights_and_statistics():
    model, step, average = made_step(ema_decay=0.5)
    expected = [v.numpy() for v in average_lib.state_of(model)]
    for number in range(3):
        step(tf.constant(number), *batch(number))
        # (1 + n) / (10 + n) is below 0.5 for n < 8.
        decay = (1 + number) / (10 + number)
        expected = [
            decay * old + (1 - decay) * v.numpy()
            for old, v in zip(
                expected, average_lib.state_of(model), strict=True
            )
        ]
    own = models.weight_values(model)
    with average.in_model():
        inside = average_lib.state_of(model)
        for value, variable in zip(expected, inside, strict=True):
            np.testing.assert_allclose(variable.numpy(), value, atol=1e-6)
        names = {v.name for v in inside}
        assert {"norm_mean", "norm_variance", "norm_gamma"} <= names
    after = models.weight_values(model)
    for name, value in own.items():
        np.testing.assert_array_equal(after[name], value)


def test_later_on_the_average_moves_by_its_own_decay():
    model = models.build_model(tiny.arch(), 3, seed=1)
    average = average_lib.WeightAverage(model, 0.75)
    before = [value.numpy() for value in average.values]
    for variable in average_lib.state_of(model):
        variable.assign(variable.value + 1.0)
    average.update(tf.constant(1000))  # (1 + 1000) / (10 + 1000) is above it
    for value, old in zip(average.values, before, strict=True):
        np.testing.assert_allclose(value, old + 0.25, atol=1e-6)


@pytest.mark.large
def test_compiled_by_xla_a_step_is_the_same():
    results = []
    for jit_compile in (False, True):
        model, step, average = made_step(
            jit_compile=jit_compile, mixup=0.8, ema_decay=0.5
        )
        compiled = loop.compile_step(step)
        for number in range(2):
            metrics = compiled(tf.constant(number), *batch(number))
        found = [v.numpy() for v in average_lib.state_of(model)]
        with average.in_model():
            found += [v.numpy() for v in average_lib.state_of(model)]
        results.append([*found, *(metrics[name] for name in sorted(metrics))])
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_learns(precision):
    model, step, _ = made_step(precision=precision)
    metrics = [step(tf.constant(i), *batch()) for i in range(12)]
    losses = [float(m["loss"]) for m in metrics]
    assert losses[-1] < 0.8 * losses[0]
    assert model.layers[2].expand_kernel.dtype == "float32"
