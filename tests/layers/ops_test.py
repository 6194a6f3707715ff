"""The operations against Keras' own 3-D convolutions and NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from autox3d_tf.layers import ops


def _clip(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def _pad(clip, kernel, strides, causal):
    """PyTorch's padding, k // 2 on both sides; the past only if causal."""
    t, h, w = (k // 2 for k in kernel)
    time = (2 * t, 0) if causal else (t, t)
    return tf.pad(clip, [(0, 0), time, (h, h), (w, w), (0, 0)])


# The second kind of clips is smaller than the kernels.
@pytest.mark.parametrize("size", [(6, 8, 7), (3, 2, 4)])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    "kernel",
    [(1, 3, 3), (3, 3, 3), (5, 3, 3), (3, 5, 5), (3, 1, 1), (5, 1, 1)],
)
def test_depthwise_equals_grouped_conv3d(kernel, stride, causal, size):
    time, height, width = size
    clip = _clip(2, *size, 4)
    strides = (1, stride, stride)
    conv = keras.layers.Conv3D(
        4, kernel, strides, "valid", groups=4, use_bias=False
    )
    conv.build((None, None, None, None, 4))
    weights = tf.convert_to_tensor(conv.kernel)[:, :, :, 0, :]  # (t, h, w, C)
    probe = _clip(2, time, -(-height // stride), -(-width // stride), 4, seed=1)
    probe /= np.sqrt(probe.size / 4)  # so that all gradients are about 1

    def value_and_gradients(function, *inputs):
        inputs = [tf.convert_to_tensor(x) for x in inputs]
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            out = function(*inputs)
            loss = tf.reduce_sum(out * probe)
        return [out, *tape.gradient(loss, inputs)]

    ours = value_and_gradients(
        lambda x, k: ops.depthwise_conv3d(x, k, strides, causal), clip, weights
    )
    with tf.GradientTape() as tape:
        x = tf.convert_to_tensor(clip)
        tape.watch(x)
        out = conv(_pad(x, kernel, strides, causal))
        loss = tf.reduce_sum(out * probe)
    d_x, d_kernel = tape.gradient(loss, [x, conv.kernel.value])
    theirs = [out, d_x, d_kernel[:, :, :, 0, :]]
    for found, expected in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_ones_count_the_taps_a_position_sees():
    clip = tf.ones((1, 3, 3, 3, 1))
    out = ops.depthwise_conv3d(clip, tf.ones((3, 3, 3, 1)))
    # A corner sees 2 x 2 x 2, the centre 3 x 3 x 3.
    assert out[0, 0, 0, 0, 0] == 8
    assert out[0, 1, 1, 1, 0] == 27
    causal = ops.depthwise_conv3d(clip, tf.ones((3, 3, 3, 1)), causal=True)
    np.testing.assert_array_equal(causal[0, :, 1, 1, 0], [9, 18, 27])


def test_causal_output_ignores_the_future():
    clip = _clip(1, 6, 4, 4, 3)
    changed = clip.copy()
    changed[:, 4:] += 1.0
    kernel = tf.constant(_clip(5, 3, 3, 3))
    before, after = (
        ops.depthwise_conv3d(x, kernel, causal=True) for x in (clip, changed)
    )
    np.testing.assert_array_equal(before[:, :4], after[:, :4])
    assert np.abs(before[:, 4:] - after[:, 4:]).max() > 0.1


@pytest.mark.parametrize("stride", [1, 2])
def test_spatial_conv_pads_both_sides(stride):
    clip = _clip(2, 3, 8, 8, 3)
    conv = keras.layers.Conv3D(
        5, (1, 3, 3), (1, stride, stride), "valid", use_bias=False
    )
    expected = conv(_pad(clip, (1, 3, 3), None, False))
    found = ops.spatial_conv(
        tf.constant(clip),
        tf.convert_to_tensor(conv.kernel)[0],
        (1, stride, stride),
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_pointwise_equals_a_matrix_product():
    clip, kernel = _clip(2, 3, 4, 5, 6), _clip(6, 7)
    np.testing.assert_allclose(
        ops.pointwise(tf.constant(clip), tf.constant(kernel)),
        clip @ kernel,
        atol=1e-5,
    )


def test_batch_norm_normalises_and_reports_the_batch():
    clip = 3.0 + 2.0 * _clip(4, 3, 5, 5, 2)
    out, mean, variance = ops.batch_norm_training(
        tf.constant(clip), tf.constant([1.0, 2.0]), tf.constant([0.0, -1.0])
    )
    axes = (0, 1, 2, 3)
    np.testing.assert_allclose(mean, clip.mean(axes), rtol=1e-4)
    np.testing.assert_allclose(variance, clip.var(axes), rtol=1e-2)
    np.testing.assert_allclose(np.mean(out, axes), [0, -1], atol=1e-4)
    np.testing.assert_allclose(np.std(out, axes), [1, 2], rtol=1e-3)
    inferred = ops.batch_norm_inference(
        tf.constant(clip), tf.constant([1.0, 2.0]), tf.constant([0.0, -1.0]),
        tf.constant(clip.mean(axes)), tf.constant(clip.var(axes)),
    )  # fmt: skip
    np.testing.assert_allclose(inferred, out, atol=1e-4)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_batch_norm_is_as_exact_in_inference_as_in_training(dtype):
    clip = tf.cast(10.0 + _clip(4, 3, 5, 5, 8), dtype)
    gamma, beta = tf.ones(8), tf.zeros(8)
    trained, mean, variance = ops.batch_norm_training(clip, gamma, beta)
    inferred = ops.batch_norm_inference(clip, gamma, beta, mean, variance)
    assert inferred.dtype == clip.dtype
    exact = tf.cast(clip, tf.float32)
    exact = (exact - mean) * tf.math.rsqrt(variance + 1e-5)
    for out in (trained, inferred):
        error = tf.cast(out, tf.float32) - exact
        bias = tf.abs(tf.reduce_mean(error, (0, 1, 2, 3)))
        assert float(tf.reduce_max(bias)) < 1e-3


def test_a_zeroed_gate_halves_the_clip():
    clip = tf.reshape(tf.range(32.0), (1, 2, 2, 2, 4))
    out = ops.squeeze_excite(
        clip, tf.ones((4, 2)), tf.zeros(2), tf.zeros((2, 4)), tf.zeros(4)
    )
    np.testing.assert_allclose(out, clip / 2)  # sigmoid(0) = 1/2


def test_causal_mean_is_cumulative():
    clip = tf.reshape(tf.constant([1.0, 3.0, 8.0]), (1, 3, 1, 1, 1))
    found = ops.mean_over_clip(clip, causal=True)
    np.testing.assert_allclose(np.ravel(found), [1.0, 2.0, 4.0])
    np.testing.assert_allclose(np.ravel(ops.mean_over_clip(clip)), [4.0])


@pytest.mark.parametrize("causal", [False, True])
def test_means_are_added_up_in_float32(causal):
    # 64 x 64 times 16 is beyond float16, whose largest number is 65,504.
    clip = tf.fill((1, 3, 64, 64, 2), tf.constant(16.0, tf.float16))
    found = ops.mean_over_clip(clip, causal)
    assert found.dtype == tf.float16
    np.testing.assert_array_equal(found, 16.0)


def test_hard_swish_by_hand():
    # x * relu6(x + 3) / 6 at -3, 0, 1, 3, 6
    found = ops.hard_swish(tf.constant([-3.0, 0.0, 1.0, 3.0, 6.0]))
    np.testing.assert_allclose(found, [0.0, 0.0, 4 / 6, 3.0, 6.0], rtol=1e-6)


@pytest.mark.parametrize("offset", [-5, -2, -1, 0, 1, 2, 5])
def test_shift_time_and_its_gradient(offset):
    clip = tf.reshape(tf.range(1.0, 4.0), (1, 3, 1, 1, 1))  # frames 1, 2, 3
    weights = tf.reshape([1.0, 10.0, 100.0], clip.shape)
    with tf.GradientTape() as tape:
        tape.watch(clip)
        out = ops.shift_time(clip, offset)
        total = tf.reduce_sum(out * weights)
    expected = [
        clip[0, t + offset, 0, 0, 0] if 0 <= t + offset < 3 else 0
        for t in range(3)
    ]
    np.testing.assert_array_equal(tf.squeeze(out), expected)
    # Frame t comes out at t - offset, with that frame's weight.
    backward = [
        10.0 ** (t - offset) if 0 <= t - offset < 3 else 0 for t in range(3)
    ]
    gradient = tf.squeeze(tape.gradient(total, clip))
    np.testing.assert_array_equal(gradient, backward)


def test_subsample_takes_every_other_pixel_and_passes_gradients_there():
    clip = tf.random.stateless_normal((2, 3, 5, 4, 2), (0, 0))
    with tf.GradientTape() as tape:
        tape.watch(clip)
        out = ops.subsample(clip, (1, 2, 2))
    np.testing.assert_array_equal(out, clip[:, :, ::2, ::2])
    expected = np.zeros(clip.shape)
    expected[:, :, ::2, ::2] = 1
    np.testing.assert_array_equal(tape.gradient(out, clip), expected)
