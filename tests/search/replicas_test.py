"""Two replicas search as one device does, and a lost worker is no disaster."""

import json
import subprocess
import sys

import numpy as np
import pytest

from autox3d_tf import space as space_lib
from autox3d_tf.runs import json_lines
from autox3d_tf.search import history
from tests.runs import replicas

DRIVER = "tests.search.replicas_driver"


@pytest.fixture(scope="module")
def mirrored(clips, tmp_path_factory):
    """A folder with a search on one device, and one on two replicas."""
    folder = tmp_path_factory.mktemp("mirrored")
    ends = replicas.run_driver(DRIVER, "mirrored", clips, folder)
    assert ends == ["exit 0", "exit 0"]
    return folder


def assert_same_search(one, two):
    """The same samples, so the same end, but for the last bits."""
    archs = [space_lib.load_arch(run / "arch.json") for run in (one, two)]
    assert archs[0].fingerprint == archs[1].fingerprint
    lines = [json_lines.read(r / history.FILE) for r in (one, two)]
    assert len(lines[0]) == len(lines[1]) == 5
    for first, second in zip(*lines, strict=True):
        assert first.keys() == second.keys()
        for name, value in first.items():
            if name != "probabilities":
                assert second[name] == pytest.approx(value, rel=1e-4), name
        for row, other in zip(
            first["probabilities"], second["probabilities"], strict=True
        ):
            np.testing.assert_allclose(row, other, atol=2e-5)
    start, end = (lines[0][i]["probabilities"][0] for i in (0, -1))
    assert np.abs(np.subtract(end, start)).max() > 0.01  # it has learnt
    values = [dict(np.load(run / "inherited.npz")) for run in (one, two)]
    for name, value in values[0].items():
        np.testing.assert_allclose(value, values[1][name], atol=1e-5)


def test_replicas_make_one_sum_of_their_samples(clips):
    driver = [sys.executable, "-m", "tests.search.replicas_step_driver"]
    done = subprocess.run(
        [*driver, str(clips)],
        cwd=replicas.REPO,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    # of three replicas one has no sample, or one has two
    for num in ("2", "4"):
        sums = found["sums"][num]
        assert sums["gradient"] < 2e-5 < 1e-2 < sums["largest"], sums
        for name in ("likelihood", "accuracy", "effective"):
            assert abs(sums[name]) < 1e-4, (name, sums)
    assert found["clips"] == {
        "own_False": True,
        "own_True": True,
        "judged_False": 1,
        "judged_True": 3,
    }


@pytest.mark.large
def test_two_replicas_search_as_one_device(mirrored):
    # K is 2 in the warm-up, one for each; then 3, of which one has two
    assert_same_search(mirrored / "one", mirrored / "two")


@pytest.mark.large
def test_two_workers_survive_the_loss_of_either(clips, mirrored, tmp_path):
    ends = replicas.run_driver(DRIVER, "workers", clips, tmp_path)
    lost = (
        "error WorkerLost Worker {} of 2 has lost worker {}. Start all "
        "workers again with the same commands: the run goes on from its last "
        "checkpoint."
    )
    # Each is killed between two checkpoints, and both are started again.
    assert ends == [
        *(lost.format(0, 1), "exit 1", "exit -9"),  # after step 5
        *("exit -9", lost.format(1, 0), "exit 1"),  # the chief, after 8
        *("exit 0", "exit 0"),
    ]
    assert_same_search(mirrored / "one", tmp_path / "two")
    about = tmp_path / "two/checkpoints/step_00000009/about.json"
    assert json.loads(about.read_text())["step"] == 9
