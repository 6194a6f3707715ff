import numpy as np
import pytest

from autox3d_tf import models, space
from autox3d_tools import parity_table


def test_golden_networks_and_costs(shared_dir, capsys):
    assert parity_table._run([str(shared_dir / "golden")]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == (
        "| largest difference after | pytorchvideo_x3d_tiny | "
        "slowfast_x3d_tiny |"
    )
    assert [line.split(" | ")[0] for line in out[2:8]] == [
        f"| {stage}" for stage in parity_table.STAGES
    ]
    # facts of X3D: parameters and multiply-adds of XS at 160.
    assert "| x3d_xs | parameters | 3,794,322 | 3,794,322 | 0 |" in out
    assert "| x3d_xs | MACs, 4x160x160 | 605,256,512 | 605,256,512 | 0 |" in out


@pytest.fixture
def golden(tmp_path):
    """A network with outputs that it does not give."""
    arch = space.x3d(
        name="tiny",
        clip_size=(2, 16, 16),
        frame_stride=1,
        stage_filters=(8, 8, 8, 8),
        depths=(1, 1, 1, 1),
        head_features=8,
    )
    model = models.build_model(arch, 3)
    models.save_torch_checkpoint(model, tmp_path / "tiny.pyth")
    wrong = np.full((1, 1, 1, 1, 8), 99.0, "float32")
    outputs = dict.fromkeys(parity_table.STAGES, wrong)
    outputs["logits"] = np.full((1, 3), 99.0, "float32")
    outputs["clip"] = np.zeros((1, 2, 16, 16, 3), "float32")
    np.savez(tmp_path / "tiny_io.npz", **outputs)
    return tmp_path


def test_a_difference_is_an_exit_code(golden, capsys):
    assert parity_table._run([str(golden)]) == 1
    assert "| logits | 9.9e+01 |" in capsys.readouterr().out


def test_a_difference_that_is_no_number_is_an_exit_code(golden, monkeypatch):
    errors = dict.fromkeys(parity_table.STAGES, 0.0)
    errors[parity_table.STAGES[-1]] = float("nan")  # not the first of them
    monkeypatch.setattr(parity_table, "stage_errors", lambda path: errors)
    assert parity_table._run([str(golden)]) == 1


def test_missing_files_are_named(tmp_path, golden):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no golden network .* in .*empty"):
        parity_table._run([str(tmp_path / "empty")])
    (golden / "tiny_io.npz").unlink()
    with pytest.raises(ValueError, match="must have outputs beside it"):
        parity_table._run([str(golden)])
