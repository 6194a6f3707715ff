import pathlib
import subprocess
import sys

import pytest

REPO = pathlib.Path(__file__).resolve().parents[2]


def run(*arguments):
    return subprocess.run(
        [sys.executable, REPO / "tools/describe.py", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_network_shows_its_cost():
    done = run("x3d_s")
    assert done.returncode == 0
    # facts.md of X3D: multiply-adds at the training crop, and parameters.
    total = [x for x in done.stdout.splitlines() if x.startswith("total")]
    assert total[0].split() == ["total", "1,962,892,112", "3,794,322"]


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (["x3d_z"], 1, "There is no network or search space 'x3d_z'"),
        (["x3d_s", "--clip_size=1x2"], 2, "must be FRAMESxHEIGHTxWIDTH"),
        (["x3d_s", "--clip_size=1x2x0"], 2, "must be FRAMESxHEIGHTxWIDTH"),
        (["x3d_s", "--num_classes=0"], 2, "num_classes"),
        (["--no_such_flag"], 2, "no_such_flag"),
    ],
)
def test_mistakes_end_in_one_line(arguments, code, message):
    done = run(*arguments)
    assert done.returncode == code
    assert len(done.stderr.strip().splitlines()) == 1
    assert message in done.stderr
