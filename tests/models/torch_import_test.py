"""Checkpoints of SlowFast and PyTorchVideo against our networks."""

import dataclasses
import json

import keras
import numpy as np
import pytest

from autox3d_tf import models, space
from autox3d_tf.layers import ops
from autox3d_tf.models import torch_file, torch_import, torch_names, torch_write

TINY = space.x3d(
    name="tiny",
    clip_size=(4, 32, 32),
    frame_stride=1,
    stage_filters=(8, 12),
    depths=(1, 2),
    head_features=16,
)
EXPAND = "s3.pathway0_res1.branch2.a.weight"  # SlowFast's stage2_block2


def random_model(arch=TINY, num_classes=5, seed=3):
    """A model whose weights, statistics included, are all random."""
    model = models.build_model(arch, num_classes)
    rng = np.random.default_rng(seed)
    models.assign_weights(
        model,
        {
            name: rng.uniform(0.2, 1.0, value.shape).astype("float32")
            for name, value in models.weight_values(model).items()
        },
    )
    return model


@pytest.fixture
def saved(tmp_path):
    """A random model and its checkpoint in SlowFast's format."""
    model, path = random_model(), tmp_path / "tiny.pyth"
    models.save_torch_checkpoint(model, path)
    return model, path


def edit(path, change):
    """Rewrites a checkpoint after `change(state)`; returns the path."""
    content = torch_file.read(path)
    state = {k: v.read() for k, v in content["model_state"].items()}
    change(state)
    torch_write.write(path, {"model_state": state})
    return path


def assert_same_weights(first, second):
    expected = models.weight_values(first)
    received = models.weight_values(second)
    assert set(received) == set(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(received[name], value, err_msg=name)


def to_pytorchvideo(model, path):
    """Writes the model as PyTorchVideo would: no norm on equal shortcuts."""
    dialect, state = torch_names.PYTORCHVIDEO, {}
    for weight, array in models.weight_values(model).items():
        if not weight.startswith("stage1_block1/shortcut_norm"):
            name = torch_names.tensor_name(dialect, weight)
            state[name] = torch_names.to_torch(weight, array)
    torch_write.write(path, {"model_state": state})


@pytest.mark.parametrize("project", ["slowfast", "pytorchvideo"])
def test_golden_networks_stage_by_stage(shared_dir, project):
    # Outputs of the projects themselves, with random weights and statistics.
    path = shared_dir / "golden" / f"{project}_x3d_tiny.pyth"
    with np.load(path.with_name(f"{project}_x3d_tiny_io.npz")) as file:
        golden = dict(file)
    checkpoint = models.open_torch_checkpoint(path)
    arch = checkpoint.architecture(clip_size=(4, 64, 64), frame_stride=1)
    assert [len(stage) for stage in arch.stages] == [1, 2, 5, 3]
    model = models.build_model(arch, checkpoint.num_classes)
    report = models.load_torch_checkpoint(model, path)
    assert "epoch" in report.left
    assert bool(report.identity) == (project == "pytorchvideo")
    last = [f"stage{i}_block{len(s)}" for i, s in enumerate(arch.stages, 1)]
    names = dict(zip(("res2", "res3", "res4", "res5"), last, strict=True))
    names = {"stem": "stem", **names, "logits": "head"}
    taps = [model.get_layer(layer).output for layer in names.values()]
    outputs = keras.Model(model.input, taps)(golden["clip"])
    for name, output in zip(names, outputs, strict=True):
        np.testing.assert_allclose(
            output, golden[name], atol=1e-4, rtol=0, err_msg=name
        )


@pytest.mark.parametrize(
    "dialect", torch_names.DIALECTS, ids=lambda dialect: dialect.name
)
def test_names_and_shapes_of_x3d_s(shared_dir, dialect):
    # The projects' own X3D-S. PyTorchVideo has no norm on res2's shortcut.
    file = f"{dialect.name.lower()}_x3d_s_shapes.json"
    golden = json.loads((shared_dir / "golden" / file).read_text())
    golden = {
        name: tuple(shape)
        for name, shape in golden.items()
        if not name.endswith(torch_names.COUNTER)
    }
    model = models.build_model(space.get_arch("x3d_s"), 400)
    ours = {
        torch_names.tensor_name(dialect, weight): torch_names.to_torch(
            weight, value
        ).shape
        for weight, value in models.weight_values(model).items()
    }
    if dialect is torch_names.PYTORCHVIDEO:
        norm = "blocks.1.res_blocks.0.branch1_norm."
        ours = {k: v for k, v in ours.items() if not k.startswith(norm)}
    assert ours == golden


def test_slowfast_round_trip_is_exact(saved):
    model, path = saved
    again = models.build_model(TINY, 5)
    report = models.load_torch_checkpoint(again, path)
    assert_same_weights(again, model)
    assert report.source == "SlowFast"
    assert set(report.loaded) == set(models.weight_values(model))
    assert not report.missing
    assert "step counters" in str(report)


def test_torch_reads_what_we_write(saved):
    torch = pytest.importorskip("torch")
    model, path = saved
    state = torch.load(path, weights_only=True)["model_state"]
    kernel = models.weight_values(model)["stage2_block2/expand_kernel"]
    theirs = state[EXPAND]
    assert tuple(theirs.shape) == (27, 12, 1, 1, 1)
    np.testing.assert_array_equal(theirs[:, :, 0, 0, 0].numpy(), kernel.T)
    counter = state["s3.pathway0_res1.branch2.a_bn.num_batches_tracked"]
    assert counter.dtype == torch.int64 and counter.shape == ()


def test_pytorchvideo_without_the_first_shortcut_norm(tmp_path):
    model = random_model()
    values = models.weight_values(model)
    for name in values:
        if name.startswith("stage1_block1/shortcut_norm"):
            values[name] = torch_import.identity_norm(name, values[name].shape)
    models.assign_weights(model, values)
    path = tmp_path / "tiny.pyth"
    to_pytorchvideo(model, path)
    again = models.build_model(TINY, 5)
    report = models.load_torch_checkpoint(again, path)
    assert_same_weights(again, model)
    assert report.source == "PyTorchVideo"
    assert len(report.identity) == 4  # gamma, beta, mean, variance
    assert "change nothing" in str(report)


def test_other_norms_of_shortcuts_are_missed(tmp_path):
    # stage 2 goes from 8 to 12 channels: PyTorchVideo has a norm there, too
    path, model = tmp_path / "tiny.pyth", random_model()
    to_pytorchvideo(model, path)
    name = "blocks.2.res_blocks.0.branch1_norm.running_mean"
    edit(path, lambda state: state.pop(name))
    with pytest.raises(ValueError, match=rf"Tensor {name} .* no such tensor"):
        models.load_torch_checkpoint(model, path)


def test_identity_norm_changes_nothing():
    x = np.random.default_rng(0).normal(size=(1, 2, 3, 3, 7))
    x = x.astype("float32")
    vectors = [
        torch_import.identity_norm(f"norm_{suffix}", (7,))
        for suffix in ("gamma", "beta", "mean", "variance")
    ]
    np.testing.assert_array_equal(ops.batch_norm_inference(x, *vectors), x)


def test_architecture_from_shapes(saved):
    _, path = saved
    arch = models.architecture_of_checkpoint(
        path, name="tiny", clip_size=(4, 32, 32), frame_stride=1
    )
    assert arch == TINY
    assert models.open_torch_checkpoint(path).num_classes == 5


@pytest.mark.parametrize("attention", ["se", "none"])
def test_attention_is_where_its_tensors_are(tmp_path, attention):
    """Not in every second block, as X3D's is."""
    stages = tuple(
        tuple(dataclasses.replace(b, attention=attention) for b in stage)
        for stage in TINY.stages
    )
    arch = dataclasses.replace(TINY, stages=stages)
    models.save_torch_checkpoint(random_model(arch), tmp_path / "x.pyth")
    found = models.architecture_of_checkpoint(tmp_path / "x.pyth")
    assert found.stages == stages


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_floats_become_float32(saved, dtype):
    model, path = saved
    edit(path, lambda s: s.update({EXPAND: s[EXPAND].astype(dtype)}))
    again = models.build_model(TINY, 5)
    report = models.load_torch_checkpoint(again, path)
    assert report.converted == {dtype: 1}
    name = "stage2_block2/expand_kernel"
    np.testing.assert_array_equal(
        models.weight_values(again)[name],
        models.weight_values(model)[name].astype(dtype).astype("float32"),
    )


def test_optimizer_state_is_left_and_said_so(saved):
    model, path = saved
    state = {
        k: v.read() for k, v in torch_file.read(path)["model_state"].items()
    }
    momentum = {"state": {0: {"momentum_buffer": np.ones(3, "float32")}}}
    torch_write.write(
        path,
        {"epoch": 7, "model_state": state, "optimizer_state": momentum},
    )
    again = models.build_model(TINY, 5)
    report = models.load_torch_checkpoint(again, path)
    assert_same_weights(again, model)
    assert {"epoch", "optimizer_state"} <= set(report.left)
    assert "optimizer_state" in str(report)


@pytest.mark.parametrize(
    "prefix", ["module.", "model.", "module.model.", "model.module."]
)
def test_prefix_of_a_wrapped_network(saved, prefix):
    model, path = saved
    state = torch_file.read(path)["model_state"]
    torch_write.write(path, {prefix + k: v.read() for k, v in state.items()})
    again = models.build_model(TINY, 5)
    models.load_torch_checkpoint(again, path)
    assert_same_weights(again, model)


def assert_refused(model, path, match, **kwargs):
    """It is refused in one line, and the model is as it was."""
    before = models.weight_values(model)
    with pytest.raises(ValueError, match=match) as caught:
        models.load_torch_checkpoint(model, path, **kwargs)
    assert "\n" not in str(caught.value)
    for name, value in models.weight_values(model).items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_is_refused_by_name(saved, bad):
    model, path = saved

    def spoil(state):
        state[EXPAND] = state[EXPAND].copy()
        state[EXPAND].flat[1] = bad

    edit(path, spoil)
    # 27 * 12 values
    assert_refused(model, path, rf"{EXPAND} .*finite.*1 of 324 values")


def test_float64_that_overflows_is_refused(saved):
    model, path = saved
    edit(path, lambda s: s.update({EXPAND: s[EXPAND].astype("f8") * 1e300}))
    assert_refused(model, path, "must be finite")


def test_integer_weights_are_refused(saved):
    model, path = saved
    edit(path, lambda s: s.update({EXPAND: s[EXPAND].astype("int8")}))
    assert_refused(model, path, rf"{EXPAND} .*must be one of.*int8")


def test_wrong_width_names_tensor_and_both_shapes(saved):
    _, path = saved
    wider = space.x3d(
        name="wider",
        clip_size=(4, 32, 32),
        frame_stride=1,
        stage_filters=(8, 16),
        depths=(1, 2),
        head_features=16,
    )
    # The first tensor that differs: 27 = 2.25 * 12, 36 = 2.25 * 16.
    assert_refused(
        models.build_model(wider, 5),
        path,
        r"s3\.pathway0_res0\.branch2\.a\.weight must have shape "
        r"\(36, 8, 1, 1, 1\).*shape=\(27, 8, 1, 1, 1\)",
    )


@pytest.mark.parametrize(
    "depth, match",
    [
        (1, r"s3\.pathway0_res1.* of shape \(.*has no weight"),
        (3, r"s3\.pathway0_res2.* must have shape \(.*no such tensor"),
    ],
)
def test_wrong_depth_names_the_tensor(saved, depth, match):
    _, path = saved
    arch = space.x3d(
        name="other",
        clip_size=(4, 32, 32),
        frame_stride=1,
        stage_filters=(8, 12),
        depths=(1, depth),
        head_features=16,
    )
    assert_refused(models.build_model(arch, 5), path, match)


def test_other_classes_explain_replace_head(saved):
    model, path = saved
    other = models.build_model(TINY, 3)
    assert_refused(other, path, r"5 classes.*has 3.*replace_head=True")
    fresh = models.weight_values(other)["head/logits_kernel"]
    report = models.load_torch_checkpoint(other, path, replace_head=True)
    loaded = models.weight_values(other)
    np.testing.assert_array_equal(loaded["head/logits_kernel"], fresh)
    np.testing.assert_array_equal(
        loaded["head/hidden_kernel"],
        models.weight_values(model)["head/hidden_kernel"],
    )
    assert report.missing == ("head/logits_kernel", "head/logits_bias")
    assert "head.projection.weight" in report.left


def test_no_x3d_is_refused(tmp_path):
    path = tmp_path / "other.pyth"
    weights = {"blocks.0.conv.weight": np.ones((4, 3), "f4")}
    torch_write.write(path, {"model_state": weights})
    assert_refused(random_model(), path, "no X3D.*blocks.0.conv.weight")


@pytest.mark.parametrize(
    "change, match",
    [
        ({"activation": "hard_swish"}, "hard_swish"),
        ({"causal": True}, "causal=True"),
    ],
)
def test_networks_slowfast_cannot_express_are_not_written(
    tmp_path, change, match
):
    arch = space.ArchSpec.from_dict({**TINY.to_dict(), **change})
    with pytest.raises(ValueError, match=match):
        models.save_torch_checkpoint(
            models.build_model(arch, 5), tmp_path / "a.pyth"
        )
    assert not list(tmp_path.iterdir())


def test_separable_blocks_are_not_written(tmp_path):
    data = TINY.to_dict()
    data["stages"][1][1]["block_type"] = "separable"
    model = models.build_model(space.ArchSpec.from_dict(data), 5)
    with pytest.raises(ValueError, match="stage2_block2.*separable"):
        models.save_torch_checkpoint(model, tmp_path / "a.pyth")
