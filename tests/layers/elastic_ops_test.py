"""Parts of a child that may be left out, against what they stand for."""

import numpy as np
import pytest
import tensorflow as tf

from autox3d_tf.layers import elastic_ops, elastic_windows, ops
from autox3d_tf.space import arch as arch_lib

TYPES = ("3x3x3", "1x3x3", "5x3x3", "3x5x5", "separable")
TIME = 4


def _random(*shape, seed=0):
    values = np.random.default_rng(seed).normal(size=shape)
    return tf.constant(values, tf.float32)


@tf.function(reduce_retracing=True)
def _elastic(images, block_type, kernel, temporal, causal):
    kernel.set_shape([5, None, None, 3])
    with tf.GradientTape() as tape:
        tape.watch([images, kernel, temporal])
        out = elastic_ops.elastic_depthwise(
            images, TIME, block_type, kernel, temporal,
            block_types=TYPES, strides=(1, 2, 2), causal=causal,
        )  # fmt: skip
        loss = tf.reduce_sum(out**2)
    return out, *tape.gradient(loss, [images, kernel, temporal])


@pytest.mark.parametrize("causal", [False, True])
def test_every_kind_is_its_own_kernels_gradients_too(causal):
    images = _random(2 * TIME, 6, 7, 3)
    shared, temporal = _random(5, 5, 5, 3, seed=1), _random(3, 1, 1, 3, seed=2)
    clip = ops.unfold_time(images, TIME)
    for block_type, name in enumerate(TYPES):
        sizes = arch_lib.BLOCK_TYPES[name]
        with tf.GradientTape() as tape:
            tape.watch([clip, shared, temporal])
            kernel = elastic_windows.centre(shared, sizes[0], causal)
            out = ops.depthwise_conv3d(clip, kernel, (1, 2, 2), causal)
            if len(sizes) == 2:
                out = ops.depthwise_conv3d(out, temporal, causal=causal)
            loss = tf.reduce_sum(out**2)
        d_clip, d_shared, d_temporal = tape.gradient(
            loss, [clip, shared, temporal], unconnected_gradients="zero"
        )
        _, rows, columns = sizes[0]
        row, column = (5 - rows) // 2, (5 - columns) // 2
        space = np.s_[:, row : row + rows, column : column + columns]
        found = _elastic(
            images, tf.constant(block_type), shared[space], temporal, causal
        )
        expected = (
            ops.fold_time(out),
            ops.fold_time(d_clip),
            d_shared.numpy()[space],
            d_temporal,
        )
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("active", [0, 1])
def test_what_is_not_active_leaves_clip_and_gradient_alone(active):
    clip, weight = _random(2, 3), _random(3, seed=1)
    probe = _random(2, 3, seed=2)
    with tf.GradientTape() as tape:
        tape.watch([clip, weight])
        out = elastic_ops.run_if(
            tf.constant(active), lambda x, w: x * w, clip, weight
        )
        loss = tf.reduce_sum(out * probe)
    d_clip, d_weight = tape.gradient(loss, [clip, weight])
    if active:
        expected = clip * weight, probe * weight, tf.reduce_sum(clip * probe, 0)
    else:
        expected = clip, probe, tf.zeros(3)
    for one, other in zip((out, d_clip, d_weight), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_gradients_of_a_convolution_that_does_not_run_are_zero():
    # Memory just freed holds what was in it; TensorFlow gives it out as the
    # gradient of a depthwise kernel that saw no images.
    images, kernel = _random(2, 6, 6, 4), _random(3, 3, 4, 1, seed=1)
    for _ in range(20):
        junk = [tf.fill([size], np.nan) for size in range(16, 1024, 16)]
        del junk
        with tf.GradientTape() as tape:
            tape.watch(kernel)
            out = elastic_ops.run_if(
                tf.constant(0),
                lambda x, k: tf.nn.depthwise_conv2d(x, k, (1,) * 4, "SAME"),
                images,
                kernel,
            )
        gradient = tape.gradient(out, kernel)
        np.testing.assert_array_equal(gradient, tf.zeros_like(kernel))


@pytest.mark.parametrize("active", [0, 1])
def test_kernels_larger_than_the_images_may_not_run(active):
    images, kernel = _random(2 * TIME, 2, 2, 3), _random(3, 5, 5, 3, seed=1)

    def convolve(images, kernel):
        return elastic_ops.elastic_depthwise(
            images, TIME, tf.constant(0), kernel, None,
            block_types=("3x5x5",), strides=(1, 1, 1), causal=False,
        )  # fmt: skip

    def alone(images, kernel):
        clip = ops.unfold_time(images, TIME)
        return ops.fold_time(ops.depthwise_conv3d(clip, kernel))

    def with_gradients(function):
        with tf.GradientTape() as tape:
            tape.watch([images, kernel])
            out = function(images, kernel)
            loss = tf.reduce_sum(out)
        return out, *tape.gradient(loss, [images, kernel])

    found = with_gradients(
        lambda *given: elastic_ops.run_if(tf.constant(active), convolve, *given)
    )
    expected = images, tf.ones_like(images), tf.zeros_like(kernel)
    if active:
        expected = with_gradients(alone)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("fills_up", [False, True])
def test_windows_of_weights_and_where_their_gradients_go(fills_up):
    shapes = {
        "expand_kernel": (4, 6),
        "expand_norm_gamma": (6,),
        elastic_windows.SHARED_KERNEL: (3, 5, 5, 6),
    }
    # in, inner, out, se, rows, columns: start and width
    windows = tf.constant([[1, 2], [2, 3], [0, 1], [0, 1], [1, 3], [0, 5]])
    spans = elastic_windows.place_spans(shapes, windows, fills_up)
    behind = ops.LANES - 3 if fills_up else 0  # zeros after 3 inner channels
    cuts = {
        "expand_kernel": np.s_[1:3, 2:5],
        "expand_norm_gamma": np.s_[2:5],
        elastic_windows.SHARED_KERNEL: np.s_[:, 1:4, :, 2:5],
    }
    for name, shape in shapes.items():
        weight = _random(*shape)
        with tf.GradientTape() as tape:
            tape.watch(weight)
            window = elastic_windows.take(name, weight, spans[name])
            loss = tf.reduce_sum(window)
        cut = weight.numpy()[cuts[name]]
        filling = [(0, 0)] * (len(shape) - 1) + [(0, behind)]
        np.testing.assert_array_equal(window, np.pad(cut, filling))
        expected = np.zeros(shape)
        expected[cuts[name]] = 1.0
        np.testing.assert_array_equal(tape.gradient(loss, weight), expected)
