"""The benchmark of the supernet, run on the smallest space."""

import pathlib
import subprocess
import sys

from tests.search import search_driver

REPO = pathlib.Path(__file__).resolve().parents[2]


def test_prints_the_step_of_a_search_and_each_child(tmp_path):
    space = tmp_path / "space.json"
    search_driver.SHORT.save(space)
    done = subprocess.run(
        [
            sys.executable, REPO / "tools/benchmark_supernet.py",
            f"--space={space}", "--clip_size=2x16x16", "--batch_size=1",
            "--repeats=3",
        ],
        capture_output=True,
        text=True,
        timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    children = [line for line in lines if "ratio" in line]
    assert [line.split()[0] for line in children] == [
        "small", "middle", "large",
    ]  # fmt: skip
    assert all("forward only" in line for line in children)
    assert lines[-1] == "traces of the supernet: 1"
    (step,) = [line for line in lines if line.startswith("step of a search")]
    assert "tracing included" in step
