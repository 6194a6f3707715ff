import json

import numpy as np
import pytest

from autox3d_tf import models
from autox3d_tf.runs import run_dir
from autox3d_tf.training import files
from tests.training import tiny


class Trap:
    """Unpickling it would call `print`."""

    def __reduce__(self):
        return print, ("executed",)


@pytest.fixture
def trained(tmp_path):
    """A directory as a training leaves it, and the model."""
    model = models.build_model(tiny.arch(), 3, seed=4)
    run = run_dir.RunDir(tmp_path / "run", {"kind": "training"})
    files.save_trained(run, model, {"labels": ["a", "b", "c"]})
    return run.path, model


def test_round_trip(trained):
    path, model = trained
    loaded = files.load_trained(path)
    assert loaded.arch == model.arch
    expected = models.weight_values(model)
    for name, value in models.weight_values(loaded).items():
        np.testing.assert_array_equal(value, expected[name])
    clips = np.random.default_rng(0).normal(size=(2, 4, 16, 16, 3))
    np.testing.assert_array_equal(loaded(clips), model(clips))


def test_weights_files_are_equal_for_equal_weights(tmp_path):
    values = {"stem/norm_mean": np.ones(3, np.float32)}
    first = models.save_weights(tmp_path / "a.npz", values).read_bytes()
    assert models.save_weights(tmp_path / "b.npz", values).read_bytes() == first


def test_pickles_are_never_executed(tmp_path, capsys):
    path = tmp_path / "weights.npz"
    np.savez(path, trap=np.array([Trap()], dtype=object))
    with pytest.raises(ValueError, match="is not a file of weights"):
        models.load_weights(path)
    path.write_bytes(b"\x80\x04K\x01.")  # a bare pickle
    with pytest.raises(ValueError, match="is not a file of weights"):
        models.load_weights(path)
    assert "executed" not in capsys.readouterr().out


def test_not_finite_weights_are_refused(tmp_path):
    values = {"stem/norm_mean": np.array([1.0, np.nan])}
    path = models.save_weights(tmp_path / "weights.npz", values)
    with pytest.raises(ValueError, match="stem/norm_mean must hold finite"):
        models.load_weights(path)


def damage_weights(path):
    content = bytearray((path / "weights.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (path / "weights.npz").write_bytes(content)


def replace_arch(path):
    tiny.arch(stage_filters=(4, 8)).save(path / "arch.json")


def edit_record(path, **changes):
    record = json.loads((path / "training.json").read_text())
    (path / "training.json").write_text(json.dumps({**record, **changes}))


@pytest.mark.parametrize(
    "spoil, message",
    [
        (damage_weights, "weights.npz is damaged or from another run"),
        (replace_arch, "arch.json is damaged or from another run. Expected"),
        (
            lambda path: (path / "weights.npz").unlink(),
            "weights.npz is damaged .* Received: nothing",
        ),
        (
            lambda path: (path / "training.json").unlink(),
            "holds no finished training",
        ),
        (
            lambda path: (path / "training.json").write_text('{"labels": ['),
            "training.json is not the record of a training: not valid",
        ),
        (
            lambda path: (path / "training.json").write_text("{}"),
            "was not written by a training",
        ),
        (
            lambda path: edit_record(path, schema_version=99),
            "must have schema_version=1. Received: schema_version=99",
        ),
    ],
)
def test_damaged_and_foreign_files_are_refused(trained, spoil, message):
    path, _ = trained
    spoil(path)
    with pytest.raises(ValueError, match=message) as error:
        files.load_trained(path)
    assert "\n" not in str(error.value)
