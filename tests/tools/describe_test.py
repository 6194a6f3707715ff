import os
import pathlib
import subprocess
import sys

import pytest

from tests.cost import latency_test

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


def test_a_reader_who_has_read_enough_is_no_error():
    closed, written = os.pipe()
    os.close(closed)  # as `| head` does in the end
    done = subprocess.run(
        [sys.executable, REPO / "tools/describe.py", "x3d_s"],
        stdout=written,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    os.close(written)
    assert (done.returncode, done.stderr) == (1, "")


def test_milliseconds_are_of_as_many_threads_as_asked_for(tmp_path):
    two = {**latency_test.COLUMN, "threads": 2}
    path = latency_test.write(tmp_path, columns=[two])
    arch = tmp_path / "arch.json"
    latency_test.SPACE.decode([0] * len(latency_test.SPACE.choices)).save(arch)
    done = run(str(arch), f"--latency_table={path}", "--latency_threads=2")
    assert " ms per clip, int8, 2 threads" in done.stdout


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (["x3d_z"], 1, "There is no network or search space 'x3d_z'"),
        (["x3d_z"], 1, "x3d_motion_stream; search spaces: tiny, "),
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
