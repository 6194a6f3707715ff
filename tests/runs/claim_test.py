import os
import subprocess
import sys

import pytest

from autox3d_tf.runs import claim

_HOLD = """
import sys, time
from autox3d_tf.runs import claim
with claim.claim(sys.argv[1]) as ours:
    print(ours, flush=True)
    time.sleep(60)
"""


def test_two_claims_in_one_process_exclude_each_other(tmp_path):
    with claim.claim(tmp_path / "a" / "lock") as first:
        assert first
        assert (tmp_path / "a" / "lock").read_text() == f"{os.getpid()}\n"
        with claim.claim(tmp_path / "a" / "lock") as second:
            assert not second
        with claim.claim(tmp_path / "b" / "lock") as other:
            assert other
    with claim.claim(tmp_path / "a" / "lock") as again:
        assert again


def test_a_killed_process_leaves_no_claim(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path / "lock")],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout.readline() == "True\n"
    with claim.claim(tmp_path / "lock") as ours:
        assert not ours
    assert (tmp_path / "lock").read_text() == f"{holder.pid}\n"
    holder.kill()
    holder.wait()
    with claim.claim(tmp_path / "lock") as ours:
        assert ours


def test_one_process_at_a_time_in_a_run_directory(tmp_path):
    with claim.alone(tmp_path):
        refused = pytest.raises(ValueError, match="is at work in .* --run_dir")
        with refused, claim.alone(tmp_path):
            pass
    with claim.alone(tmp_path):
        pass
