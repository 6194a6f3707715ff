"""A GPU computes what the CPU does, in a step of a training and of a search."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from autox3d_tf import models, space
from autox3d_tf.layers import ops

pytestmark = pytest.mark.skipif(
    not tf.config.list_physical_devices("GPU"), reason="needs a GPU"
)
CLIP = (6, 16, 16)


@pytest.fixture(autouse=True)
def exact_products():
    """TensorFloat-32 keeps ten bits of what is multiplied."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    yield
    tf.config.experimental.enable_tensor_float_32_execution(before)


def _normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def _step(model, variables, *arguments):
    """Logits and gradients on each device: `{device: [arrays]}`."""

    def step():
        with tf.GradientTape() as tape:
            logits = model(*arguments, training=True)
            loss = tf.reduce_mean(logits**2)
        gradients = tape.gradient(
            loss,
            [variable.value for variable in variables],
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        return [logits, *map(tf.convert_to_tensor, gradients)]

    results = {}
    for device in ("CPU:0", "GPU:0"):
        with tf.device(device):
            outputs = tf.function(step)()
        assert all(device in output.device for output in outputs)
        results[device] = [output.numpy() for output in outputs]
    return results


def _assert_same(results):
    """Each gradient to 1e-3 of the largest, as sums differ in their order."""
    (logits, *expected), (found, *gradients) = results.values()
    assert np.abs(logits).max() > 1e-3
    np.testing.assert_allclose(found, logits, rtol=1e-3, atol=1e-4)
    scale = max(np.abs(one).max() for one in expected)
    for one, other in zip(expected, gradients, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-2, atol=1e-3 * scale)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("strides", [(1, 1, 1), (1, 2, 2)])
def test_depthwise_convolution(strides, causal):
    clip = tf.constant(_normal(2, *CLIP, 5))
    kernel = tf.constant(_normal(3, 3, 3, 5, seed=1))
    results = []
    for device in ("CPU:0", "GPU:0"):
        with tf.device(device), tf.GradientTape() as tape:
            tape.watch([clip, kernel])
            out = ops.depthwise_conv3d(clip, kernel, strides, causal)
            loss = tf.reduce_sum(out**2)
        results.append([out, *tape.gradient(loss, [clip, kernel])])
    for one, other in zip(*results, strict=True):
        scale = float(tf.reduce_max(tf.abs(one)))
        np.testing.assert_allclose(other, one, atol=1e-4 * scale)


@pytest.mark.parametrize("activation", ["swish", "hard_swish"])
def test_training_step_of_a_network(activation):
    keras.utils.set_random_seed(0)
    arch = space.x3d(
        name="small",
        clip_size=CLIP,
        frame_stride=1,
        stage_filters=(6, 9),
        depths=(2, 2),
        head_features=16,
    )
    arch = dataclasses.replace(arch, activation=activation)
    model = models.build_model(arch, num_classes=5)
    _assert_same(_step(model, model.trainable_variables, _normal(3, *CLIP, 3)))


@pytest.fixture(scope="module")
def supernet():
    """A stage with all types of block, the first and one that may go."""
    keras.utils.set_random_seed(0)
    large = space.get_space("egogestar")
    named = space.SearchSpace(
        name="kinds", version=1, clip_size=CLIP, frame_stride=1,
        stem=large.stem, stages=large.stages[1:2], head=large.head,
        activation="swish",
    )  # fmt: skip
    return models.Supernet(named, num_classes=5)


def _children(named):
    """Each type of each block, at widths that change with it."""
    sizes = [len(choice) for choice in named.choices]
    return [
        [(kind + position) % size for position, size in enumerate(sizes)]
        for kind in range(8)
    ]


@pytest.mark.parametrize("number", range(8))
def test_search_step_of_a_supernet(supernet, number):
    indices = tf.constant(_children(supernet.space)[number])
    results = _step(
        supernet, supernet.shared_weights, _normal(3, *CLIP, 3), indices
    )
    _assert_same(results)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_reduced_precision_stays_near_float32(policy):
    arch = space.x3d(
        name="small", clip_size=CLIP, frame_stride=1, stage_filters=(8, 16),
        depths=(1, 1), head_features=16,
    )  # fmt: skip
    clip = _normal(4, *CLIP, 3)
    logits = []
    for precision in ("float32", policy):
        keras.utils.set_random_seed(0)
        model = models.build_model(arch, num_classes=5, dtype=precision)
        out = model(clip, training=True)
        assert "GPU" in out.device
        logits.append(np.asarray(tf.cast(out, tf.float32)))
    error = np.abs(logits[1] - logits[0]).max() / np.abs(logits[0]).max()
    assert error < 0.1
