import json
import pathlib
import subprocess
import sys

import pytest

DRIVER = pathlib.Path(__file__).with_name("mirrored_driver.py")


def test_two_replicas_train_like_one(tmp_path):
    done = subprocess.run(
        [sys.executable, str(DRIVER), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    one, two = found["metrics"]
    assert two["loss"] == pytest.approx(one["loss"], rel=1e-5)
    assert (one["examples"], two["examples"]) == (8, 4)  # the mean of 4 and 4
    assert found["difference"] < 1e-5  # weights, momenta and counters
    assert found["restored"] == [20, True]
