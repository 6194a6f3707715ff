"""A checkpoint becomes a run directory that is read like a training's."""

import os
import pickle
import zipfile

import numpy as np
import pytest

from autox3d_tf import models, space
from autox3d_tf.models import torch_file, torch_write
from autox3d_tf.training import files, imported, initial

ARCH = space.x3d(
    name="tiny",
    clip_size=(4, 32, 32),
    frame_stride=2,
    stage_filters=(8, 12),
    depths=(1, 1),
    head_features=16,
)


@pytest.fixture
def checkpoint(tmp_path):
    model, path = models.build_model(ARCH, 3, seed=5), tmp_path / "tiny.pyth"
    models.save_torch_checkpoint(model, path)
    return model, path


def test_import_is_read_like_a_training(checkpoint, tmp_path):
    model, path = checkpoint
    labels = tmp_path / "labels.txt"
    labels.write_text("left\nright\nstill\n", encoding="utf-8-sig")
    for _ in range(2):  # the same import again is welcome
        report = imported.import_checkpoint(
            path,
            tmp_path / "run",
            labels=labels,
            clip_size=(4, 32, 32),
            frame_stride=2,
        )
    assert report.source == "SlowFast"
    record = files.read_record(tmp_path / "run")
    assert record["labels"] == ["left", "right", "still"]
    assert record["preprocessing"] == {
        "clip_frames": 4, "sampling": "dense", "stride": 2,
        "stride_fps": 30.0,  # as SlowFast counts
        "crop_size": 32, "short_side": 36,  # 32 * 8 / 7
        "mean": 0.45, "deviation": 0.225,
    }  # fmt: skip
    again = files.load_trained(tmp_path / "run")
    assert again.arch == ARCH
    for name, value in models.weight_values(model).items():
        np.testing.assert_array_equal(models.weight_values(again)[name], value)


def test_wrong_number_of_labels(checkpoint, tmp_path):
    labels = tmp_path / "labels.txt"
    labels.write_text("left\nright\n")
    with pytest.raises(ValueError, match="3 classes.*2 lines"):
        imported.import_checkpoint(
            checkpoint[1], tmp_path / "run", labels=labels
        )
    assert not (tmp_path / "run").exists()


def test_wrong_architecture_leaves_no_run(checkpoint, tmp_path):
    with pytest.raises(ValueError, match="must have shape"):
        imported.import_checkpoint(
            checkpoint[1], tmp_path / "run", arch=space.get_arch("x3d_xs")
        )
    assert not (tmp_path / "run").exists()


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("was_run",)


def spoil(path, what):
    """Makes the checkpoint a bad one."""
    content = {
        k: v.read() for k, v in torch_file.read(path)["model_state"].items()
    }
    kernel = "s3.pathway0_res0.branch2.a.weight"
    if what == "truncated":
        path.write_bytes(path.read_bytes()[:-2000])
    elif what == "malicious":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a/data.pkl", pickle.dumps(Malicious()))
    elif what == "nan":
        content[kernel] = content[kernel] * np.float32("nan")
    elif what == "other network":
        content = {"conv1.weight": np.ones((4, 3), "float32")}
    elif what == "float16":
        content = {
            name: value.astype("float16") if value.dtype == "f4" else value
            for name, value in content.items()
        }
    if what in ("nan", "other network", "float16"):
        torch_write.write(path, {"model_state": content})
    elif what == "optimizer":
        extra = {"state": {0: {"momentum_buffer": np.ones(3, "float32")}}}
        torch_write.write(
            path, {"model_state": content, "optimizer_state": extra}
        )


BAD = {
    "truncated": "Cannot read checkpoint .*tiny.pyth",
    "malicious": "asks for .*mkdir.*nothing of it was run",
    "nan": "s3.pathway0_res0.branch2.a.weight .*must be finite",
    "other network": "is no X3D of SlowFast or PyTorchVideo",
}


@pytest.mark.parametrize("what", BAD)
def test_bad_checkpoints_are_refused_in_one_line(
    checkpoint, tmp_path, what, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    model, path = checkpoint
    spoil(path, what)
    for use in (
        lambda: imported.import_checkpoint(path, tmp_path / "run"),
        lambda: initial.assign_initial(model, path),
    ):
        with pytest.raises(ValueError, match=BAD[what]) as caught:
            use()
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "was_run").exists()


@pytest.mark.parametrize(
    "what, said",
    [
        ("float16", "tensors from float16 to float32"),
        ("optimizer", "Left, as no weights of the model: optimizer_state"),
    ],
)
def test_unusual_checkpoints_are_imported(checkpoint, tmp_path, what, said):
    model, path = checkpoint
    spoil(path, what)
    report = imported.import_checkpoint(
        path, tmp_path / "run", licence="CC-BY-NC-4.0"
    )
    assert said in str(report)
    card = (tmp_path / "run/model_card.md").read_text()
    assert said in card and "Weights: CC-BY-NC-4.0." in card
    again = files.load_trained(tmp_path / "run")
    for name, value in models.weight_values(model).items():
        np.testing.assert_allclose(
            models.weight_values(again)[name], value, rtol=1e-3, atol=1e-4
        )


def test_a_training_starts_from_a_checkpoint(checkpoint):
    model, path = checkpoint
    assert initial.find_arch(path, (4, 32, 32), 2) == ARCH
    values = models.weight_values(model)
    same = models.build_model(ARCH, 3, seed=6)
    # With as many classes the last layer is kept, also where it may go.
    initial.assign_initial(same, path, replace_head=True)
    for name, value in models.weight_values(same).items():
        np.testing.assert_array_equal(value, values[name])
    fewer = models.build_model(ARCH, 2, seed=6)
    fresh = models.weight_values(fewer)["head/logits_kernel"]
    with pytest.raises(
        ValueError, match="has 3 classes, the data 2.*replace_head=True"
    ):
        initial.assign_initial(fewer, path)
    initial.assign_initial(fewer, path, replace_head=True)
    loaded = models.weight_values(fewer)
    np.testing.assert_array_equal(loaded["head/logits_kernel"], fresh)
    name = "stem/spatial_kernel"
    np.testing.assert_array_equal(loaded[name], values[name])


def test_what_is_said_of_clips_counts_beside_an_architecture(
    checkpoint, tmp_path
):
    imported.import_checkpoint(
        checkpoint[1], tmp_path / "run", arch=ARCH, clip_size=(8, 48, 48),
        frame_stride=3, short_side=64,
    )  # fmt: skip
    cut = files.read_record(tmp_path / "run")["preprocessing"]
    names = ("clip_frames", "crop_size", "stride", "short_side")
    assert [cut[name] for name in names] == [8, 48, 3, 64]
    arch = files.load_trained(tmp_path / "run").arch
    assert (arch.clip_size, arch.frame_stride) == ((8, 48, 48), 3)
    with pytest.raises(ValueError, match="`short_side` must be at least the"):
        imported.import_checkpoint(
            checkpoint[1], tmp_path / "other", arch=ARCH, short_side=16
        )
