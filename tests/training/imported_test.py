"""A checkpoint becomes a run directory that is read like a training's."""

import numpy as np
import pytest

from autox3d_tf import models, space
from autox3d_tf.training import files, imported

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
    labels.write_text("left\nright\nstill\n")
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
    assert record["preprocessing"]["stride"] == 2
    assert record["preprocessing"]["crop_size"] == 32
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
