"""A killed run ends as one that was never killed, to the last bit."""

import pathlib
import subprocess
import sys

DRIVER = pathlib.Path(__file__).with_name("resume_driver.py")


def test_killed_run_resumes_bit_identical(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    jobs = [
        whole,
        f"{killed}:die_after=8",  # between the checkpoints of 5 and 10
        f"{killed}:die_saving=15",  # written, but not under its name yet
        killed,
    ]
    done = subprocess.run(
        [sys.executable, str(DRIVER), *map(str, jobs)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line.split() for line in done.stdout.splitlines()]
    expected = lines[0][1]
    assert lines == [
        ["0", expected],
        ["exit", "0"],
        ["exit", "-9"],  # SIGKILL
        ["exit", "-9"],
        ["10", expected],
        ["exit", "0"],
    ]
    assert not list((killed / "checkpoints").glob(".*"))
