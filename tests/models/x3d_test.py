"""Building derived networks."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from autox3d_tf import models, space

SMALL = space.x3d(
    name="small net-1",
    clip_size=(4, 16, 16),
    frame_stride=1,
    stage_filters=(8, 12),
    depths=(1, 2),
    head_features=16,
)


def _clip(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def test_x3d_s_has_the_published_parameters():
    model = models.build_model(space.get_arch("x3d_s"), num_classes=400)
    found = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    assert found == 3_794_322


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("activation", space.ACTIVATIONS)
def test_saves_and_loads_in_safe_mode(tmp_path, causal, activation):
    arch = dataclasses.replace(SMALL, causal=causal, activation=activation)
    model = models.build_model(arch, num_classes=3, dropout=0.5)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    clip = _clip(2, 5, 17, 20, 3)  # any number of frames, any size
    np.testing.assert_array_equal(loaded(clip), model(clip))
    assert loaded.arch == arch


def test_what_keras_loads_was_made_with_the_same_options(tmp_path):
    model = models.build_model(
        SMALL,
        num_classes=3,
        dropout=0.5,
        freeze_batch_norm=True,
        dtype="mixed_bfloat16",
        name="other",
    )
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    assert loaded.get_config() == model.get_config()
    assert loaded.name == "other"
    for one, other in zip(
        models.parts(loaded), models.parts(model), strict=True
    ):
        assert one.get_config() == other.get_config()
        assert one.frozen_statistics and one.compute_dtype == "bfloat16"


def test_what_was_frozen_is_frozen_after_loading(tmp_path):
    model = models.build_model(SMALL, num_classes=3, frozen=("stem",))
    model.get_layer("stage2_block1").trainable = False
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    trained = [v.path for v in loaded.trainable_variables]
    assert trained == [v.path for v in model.trainable_variables]
    assert not any("stem" in p or "stage2_block1/" in p for p in trained)
    assert any("stage2_block2/" in path for path in trained)


def test_weights_travel_by_name():
    one, other = (
        models.build_model(SMALL, num_classes=3, seed=seed) for seed in (1, 2)
    )
    clip = _clip(1, 4, 16, 16, 3)
    assert np.abs(one(clip) - other(clip)).max() > 1e-4
    models.assign_weights(other, models.weight_values(one))
    np.testing.assert_array_equal(one(clip), other(clip))


def test_foreign_weights_are_refused_by_name():
    model = models.build_model(SMALL, num_classes=3)
    values = models.weight_values(model)
    with pytest.raises(ValueError, match="no weights .*stage9_block1"):
        models.assign_weights(model, {**values, "stage9_block1/x": np.ones(1)})
    wrong = {**values, "head/logits_bias": np.zeros(4)}
    with pytest.raises(ValueError, match=r"head/logits_bias .*\(3,\).*\(4,\)"):
        models.assign_weights(model, wrong)


def test_same_seed_same_network():
    one, same, other = (
        models.build_model(SMALL, num_classes=3, seed=seed).get_weights()
        for seed in (4, 4, 5)
    )
    for a, b in zip(one, same, strict=True):
        np.testing.assert_array_equal(a, b)
    kernels = [(a, b) for a, b in zip(one, other, strict=True) if a.ndim == 2]
    assert all(np.abs(a - b).max() > 0.01 for a, b in kernels)


def test_mixed_precision_keeps_float32_logits():
    model = models.build_model(SMALL, num_classes=3, dtype="mixed_bfloat16")
    logits = model(_clip(2, 4, 16, 16, 3), training=True)
    assert logits.dtype == "float32"
    assert model.get_layer("stem").compute_dtype == "bfloat16"


def test_sizes_that_are_known_are_not_in_the_graph():
    model = models.build_model(SMALL, num_classes=3)

    call = tf.function(lambda clip: model(clip))
    graph = call.get_concrete_function(_clip(2, 4, 16, 16, 3)).graph
    found = {node.op for node in graph.as_graph_def().node}
    assert "DepthwiseConv2dNative" in found
    assert not {"Shape", "Pack", "ConcatV2"} & found


def test_classes_are_checked():
    with pytest.raises(ValueError, match="`num_classes` must be a positive"):
        models.build_model(SMALL, num_classes=0)
