"""Keras behaviour of every layer: config, saving, dtypes, shapes."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

from autox3d_tf import layers, space
from autox3d_tf.layers import ops

STAGE = space.get_space("tiny").stages[1]

# Constructor, input shape, further call arguments.
LAYERS = {
    "stem": (
        lambda **k: layers.Stem3D(6, 3, (1, 2, 2), True, seed=3, **k),
        (1, 4, 8, 7, 3),
        (),
    ),
    "block": (
        lambda **k: layers.BottleneckBlock3D(
            "separable", 8, 12, (1, 2, 2), "se", "hard_swish", True, True, **k
        ),
        (1, 4, 6, 6, 8),
        (),
    ),
    "identity_block": (
        lambda **k: layers.BottleneckBlock3D("3x3x3", 8, 12, **k),
        (1, 4, 6, 6, 8),
        (),
    ),
    "head": (
        lambda **k: layers.Head3D(6, 10, 4, dropout=0.5, **k),
        (2, 4, 3, 3, 8),
        (),
    ),
    "elastic_stem": (
        lambda **k: layers.ElasticStem3D(6, 3, **k),
        (1, 4, 8, 8, 3),
        (),
    ),
    "elastic_stage": (
        lambda **k: layers.ElasticStage3D(STAGE, (8, 16, 24), **k),
        (1, 4, 8, 8, 16),
        (tf.constant(1), tf.constant([2, 1, 0, 1, 2, 2, 0])),
    ),
    "elastic_head": (
        lambda **k: layers.ElasticHead3D((8, 16, 24), 6, 10, 4, **k),
        (2, 4, 3, 3, 16),
        (tf.constant(1),),
    ),
}


def _clip(shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


@pytest.mark.parametrize("name", sorted(LAYERS))
def test_config_keeps_every_constructor_argument(name):
    layer = LAYERS[name][0]()
    arguments = set(inspect.signature(type(layer).__init__).parameters)
    assert arguments - {"self", "kwargs"} <= set(layer.get_config())
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()


@pytest.mark.parametrize("name", sorted(LAYERS))
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_call_gives_the_declared_dtype_and_same_shape_again(name, policy):
    make, shape, arguments = LAYERS[name]
    layer = make(dtype=policy)
    out = layer(_clip(shape), *arguments)
    expected = "float32" if "head" in name else layer.compute_dtype
    assert keras.backend.standardize_dtype(out.dtype) == expected
    if hasattr(layer, "compute_output_shape") and name != "elastic_stage":
        assert tuple(out.shape) == tuple(layer.compute_output_shape(shape))
    assert np.isfinite(tf.cast(out, tf.float32)).all()


def test_the_head_adds_up_in_float32():
    head = layers.Head3D(6, 10, 4, dtype="mixed_float16")
    clip = np.broadcast_to(_clip((1, 1, 1, 1, 8)), (1, 4, 64, 64, 8))
    # All places are alike, so that their mean is any of them.
    np.testing.assert_allclose(
        head(100 * clip), head(100 * clip[:, :1, :1, :1]), rtol=0.02
    )


@pytest.mark.parametrize("name", ["stem", "block", "identity_block", "head"])
def test_saves_and_loads_in_safe_mode(name, tmp_path):
    make, shape, _ = LAYERS[name]
    clip = keras.Input((None, None, None, shape[-1]))
    model = keras.Model(clip, make()(clip))
    for variable in model.variables:
        if variable.dtype == "float32":
            variable.assign(variable + 0.1)
    model.save(tmp_path / "layer.keras")
    loaded = keras.models.load_model(tmp_path / "layer.keras", safe_mode=True)
    np.testing.assert_array_equal(loaded(_clip(shape)), model(_clip(shape)))


def test_a_zero_initialised_block_is_the_identity():
    block = layers.BottleneckBlock3D("3x3x3", 8, 12, zero_init=True)
    clip = np.abs(_clip((1, 4, 6, 6, 8)))
    np.testing.assert_array_equal(block(clip), clip)  # relu of it is itself


def test_frozen_batch_norm_uses_and_keeps_its_statistics():
    block = layers.BottleneckBlock3D("1x3x3", 8, 12)
    clip = _clip((2, 4, 6, 6, 8))
    block(clip)
    block.trainable = False
    before = block.weight_values()
    out = block(clip, training=True)
    np.testing.assert_array_equal(out, block(clip, training=False))
    after = block.weight_values()
    for name in before:
        np.testing.assert_array_equal(after[name], before[name])


def test_moving_statistics_approach_the_batch():
    stem = layers.Stem3D(4, 3)
    clip = _clip((2, 4, 8, 8, 3))
    stem(clip)
    fresh = stem.weight_values()
    stem(clip, training=True)
    once = stem.weight_values()
    # new = 0.9 * old + 0.1 * batch, from 0 and 1.
    assert np.abs(once["norm_mean"]).max() > 0
    stem(clip, training=True)
    twice = stem.weight_values()
    batch_mean = once["norm_mean"] / 0.1
    np.testing.assert_allclose(
        twice["norm_mean"], 0.19 * batch_mean, rtol=1e-4, atol=1e-6
    )
    np.testing.assert_array_equal(fresh["norm_variance"], np.ones(4, "float32"))


def test_kernels_start_as_he_et_al_by_what_they_read():
    stem = layers.Stem3D(64, name="stem")
    block = layers.BottleneckBlock3D(
        "3x3x3", 48, 144, attention="se", name="block"
    )
    head = layers.Head3D(96, 80, 30, name="head")
    for layer, channels in ((stem, 3), (block, 64), (head, 40)):
        layer.build((None, None, None, None, channels))
    for layer, name, read in (
        (stem, "spatial_kernel", 3 * 3 * 3),
        (stem, "temporal_kernel", 5),
        (block, "expand_kernel", 64),
        (block, "depthwise1_kernel", 27),
        (block, "se_reduce_kernel", 144),
        (block, "project_kernel", 144),
        (block, "shortcut_kernel", 64),
        (head, "conv_kernel", 40),
        (head, "hidden_kernel", 96),
    ):
        values = layer.weight_values()[name]
        error = 4 / np.sqrt(2 * values.size)  # standard errors
        assert np.std(values) == pytest.approx(np.sqrt(2 / read), rel=error)
    logits = head.weight_values()["logits_kernel"]
    assert np.std(logits) == pytest.approx(0.01, rel=0.1)


def test_same_seed_same_weights_and_other_seed_others():
    def kernel(seed):
        stem = layers.Stem3D(4, 3, seed=seed, name="stem")
        stem.build((None, None, None, None, 3))
        return stem.weight_values()["spatial_kernel"]

    np.testing.assert_array_equal(kernel(1), kernel(1))
    assert np.abs(kernel(1) - kernel(2)).max() > 0.01


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: layers.BottleneckBlock3D("3x3x3", 8, 8, activation="gelu"),
            "activation='gelu'",
        ),
    ],
)
def test_messages(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_assigning_weights_names_what_does_not_fit():
    stem = layers.Stem3D(4, 3, name="stem")
    stem.build((None, None, None, None, 3))
    values = stem.weight_values()
    with pytest.raises(ValueError, match=r"Missing: \['norm_beta'\]"):
        stem.assign_weights(
            {k: v for k, v in values.items() if k != "norm_beta"}
        )
    with pytest.raises(ValueError, match=r"stem/norm_beta .*\(4,\).*\(3,\)"):
        stem.assign_weights({**values, "norm_beta": np.zeros(3)})


def test_filling_up_channels_changes_nothing(monkeypatch):
    # 12 inner channels are filled up to 16 in training; LANES=1 fills none.
    rng = np.random.default_rng(0)
    clip = rng.normal(size=(2, 3, 6, 6, 8)).astype("float32")
    weigh = rng.normal(size=(2, 3, 3, 3, 8)).astype("float32")
    values, results = None, []
    for lanes in (8, 1):
        monkeypatch.setattr(ops, "LANES", lanes)
        layer = layers.BottleneckBlock3D("3x3x3", 8, 12, (1, 2, 2), "se")
        layer.build(clip.shape)
        values = values or {
            name: rng.uniform(0.2, 1.0, value.shape)
            for name, value in layer.weight_values().items()
        }
        layer.assign_weights(values)
        with tf.GradientTape() as tape:
            out = layer(clip, training=True)
            loss = tf.reduce_sum(out * weigh)
        weights = [w.value for w in layer.trainable_variables]
        gradients = tape.gradient(loss, weights)
        assert len(gradients) == len(layer.trainable_variables)
        statistics = layer.non_trainable_variables
        results.append(
            [out, *gradients, *map(tf.convert_to_tensor, statistics)]
        )
    for filled, plain in zip(*results, strict=True):
        scale = np.abs(plain).max()
        np.testing.assert_allclose(filled / scale, plain / scale, atol=2e-5)


def test_motion_channels_ignore_what_stands_still():
    stem = layers.Stem3D(4, 3, seed=1)
    stem.build((None, None, None, None, 3))
    before = stem.weight_values()["temporal_kernel"]
    stem.start_with_motion(0.4)  # 1.6 filters
    kernel = stem.weight_values()["temporal_kernel"]
    # Two of four filters sum to zero over time; their size stays.
    np.testing.assert_allclose(kernel[..., :2].sum(0), 0.0, atol=1e-6)
    np.testing.assert_array_equal(kernel[..., 2:], before[..., 2:])
    sizes = [np.linalg.norm(k, axis=0) for k in (kernel, before)]
    np.testing.assert_allclose(*sizes, rtol=1e-5)


def test_a_kernel_of_one_frame_has_no_motion_to_start_with():
    stem = layers.Stem3D(4, 1, seed=1)
    stem.build((None, None, None, None, 3))
    before = stem.weight_values()["temporal_kernel"]
    stem.start_with_motion(0.5)
    after = stem.weight_values()["temporal_kernel"]
    np.testing.assert_array_equal(after, before)


def test_kernels_follow_one_direction_each():
    block = layers.BottleneckBlock3D("3x5x5", 4, 8, seed=1)
    block.build((None, None, None, None, 4))
    before = block.weight_values()["depthwise1_kernel"]
    block.follow_motion(0.5)
    kernel = block.weight_values()["depthwise1_kernel"]
    np.testing.assert_array_equal(kernel[..., 4:], before[..., 4:])
    sizes = [np.sqrt((k**2).sum((0, 1, 2))) for k in (kernel, before)]
    np.testing.assert_allclose(*sizes, rtol=1e-5)
    # A dot that moves a pixel per frame, seen where it is at the middle one.
    for channel, (down, right) in enumerate(((0, 1), (0, -1), (1, 0), (-1, 0))):
        clip = np.zeros((3, 5, 5), np.float32)
        for frame in (-1, 0, 1):
            clip[1 + frame, 2 + frame * down, 2 + frame * right] = 1.0
        added = kernel / sizes[0] - before / sizes[1] / np.sqrt(5)
        answers = np.tensordot(clip, added[..., :4], 3)
        assert answers.argmax() == channel
        # twice the path, less its mean, to once the random kernel
        path = clip - clip.mean()
        mixed = 2 * path / np.linalg.norm(path)
        mixed += before[..., channel] / sizes[1][channel]
        np.testing.assert_allclose(
            kernel[..., channel] / sizes[0][channel],
            mixed / np.linalg.norm(mixed),
            atol=1e-6,
        )


@pytest.mark.parametrize("block_type", ["1x3x3", "separable"])
def test_kernels_over_space_or_time_follow_nothing(block_type):
    block = layers.BottleneckBlock3D(block_type, 4, 8)
    block.build((None, None, None, None, 4))
    before = block.weight_values()
    block.follow_motion(1.0)
    for name, value in block.weight_values().items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize("block_type", sorted(space.BLOCK_TYPES))
def test_causal_blocks_do_not_see_the_future(block_type):
    block = layers.BottleneckBlock3D(
        block_type, 6, 8, (1, 2, 2), "se", causal=True
    )
    clip = _clip((1, 5, 6, 6, 4))
    whole = block(clip)
    for frames in (1, 3):
        np.testing.assert_allclose(
            block(clip[:, :frames]), whole[:, :frames], atol=1e-5
        )
    later = clip.copy()
    later[:, 3:] += 1.0
    found = block(later)
    np.testing.assert_allclose(found[:, :3], whole[:, :3], atol=1e-5)
    assert np.abs(found[:, 3:] - whole[:, 3:]).max() > 1e-3
