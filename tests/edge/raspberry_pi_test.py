"""What two machines say is compared; here both are this one."""

import importlib.util

import numpy as np
import pytest

from autox3d_tf.data import synthetic
from tests.conftest import REPO


@pytest.fixture(scope="module")
def scores():
    path = REPO / "edge/raspberry_pi/scores.py"
    spec = importlib.util.spec_from_file_location("scores", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def videos(tmp_path):
    rng = np.random.default_rng(0)
    for label in ("gesture 1", "gesture 2"):
        folder = tmp_path / "videos" / label
        folder.mkdir(parents=True)
        for number in range(2):
            frames = rng.integers(0, 256, (6, 32, 40, 3), dtype=np.uint8)
            path = str(folder / f"{number}.mp4")
            synthetic.write_video(path, frames, fps=10)
    return str(tmp_path / "videos")


def test_a_machine_agrees_with_itself(
    scores, videos, exported, tmp_path, capsys
):
    arguments = str(tmp_path / "expected.npz"), videos, str(exported.path)
    assert scores.main(*arguments) == 0
    assert capsys.readouterr().out == ""
    assert scores.main(*arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("4 videos")
    name, same, error, right, there = lines[-1].split(" | ")
    assert (name, same, error) == ("small.tflite", "100.0%", "0, 0")
    assert right == there and right.endswith("%")


def test_a_machine_that_says_something_else_is_told(
    scores, videos, exported, tmp_path, capsys
):
    path = tmp_path / "expected.npz"
    arguments = str(path), videos, str(exported.path)
    scores.main(*arguments)
    found = dict(np.load(path))
    found[f"{exported.path} scores"] = 1 - found[f"{exported.path} scores"]
    np.savez(path, **found)
    assert scores.main(*arguments) == 1
    assert "They differ: small.tflite." in capsys.readouterr().err


def test_videos_of_all_folders(scores, tmp_path):
    for number in range(150):
        kind = ("mp4", "AVI", "mov")[number % 3]
        path = tmp_path / f"{number // 25}" / f"{number}.{kind}"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    found = [path.split("/")[-2] for path in scores._some_videos(tmp_path)]
    assert len(found) == scores.VIDEOS
    assert {found.count(name) for name in found} <= {16, 17}


def test_a_folder_without_videos(scores, exported, tmp_path):
    with pytest.raises(SystemExit, match="There is no video below"):
        scores.main(
            str(tmp_path / "expected.npz"), str(tmp_path), str(exported.path)
        )
