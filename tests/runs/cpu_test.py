"""What TensorFlow is told of CPUs."""

import os
import platform
import subprocess
import sys

import pytest

from autox3d_tf.runs import cpu
from tests.conftest import REPO

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or platform.machine() != "x86_64",
    reason="oneDNN's kernels are of x86; counts pages as Linux does",
)
_TUNED = "from autox3d_tf.runs import cpu; cpu.tune(); import tensorflow as tf"
_FAULTS = """
import resource
tf.ones([2**25])
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    tf.ones([2**25])
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


_KERNELS = """
from tensorflow.python.framework import test_util
print(test_util.IsMklEnabled())
"""
_TOO_MUCH = """
import os
pages = os.sysconf("SC_PHYS_PAGES")
try:
    tf.zeros([pages, os.sysconf("SC_PAGE_SIZE")], tf.int64)
except tf.errors.ResourceExhaustedError:
    print("told")
"""


def start(code, **environment):
    own = {k: v for k, v in os.environ.items() if not k.startswith("TF_ENABLE")}
    return subprocess.Popen(
        [sys.executable, "-c", f"{_TUNED}\n{code}"],
        cwd=REPO,
        env={**own, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def said():
    """What new processes print that have tuned TensorFlow, by their code.

    All run at once: most of the time goes into imports, and ten seconds into
    waiting for memory that nobody gives back.
    """
    off = {"TF_ENABLE_ONEDNN_OPTS": "0"}
    started = {
        (code, not environment): start(code, **environment)
        for code, environment in (
            (_TOO_MUCH, {}), (_KERNELS, {}), (_KERNELS, off), (_FAULTS, {}),
            (_FAULTS, off),
        )
    }  # fmt: skip

    def said(code, tuned=True):
        process = started[code, tuned]
        printed, error = process.communicate()
        assert process.returncode == 0, error
        return printed.strip()

    yield said
    for process in started.values():
        process.kill()  # if no test has asked
        process.wait()


def test_kernels_of_onednn(said):
    assert said(_KERNELS) == "True"
    assert said(_KERNELS, tuned=False) == "False"


def test_pages_are_taken_from_the_kernel_once(said):
    # How many pages a tensor has depends on the kernel's settings.
    given_back = int(said(_FAULTS, tuned=False))
    assert 4 * int(said(_FAULTS)) < given_back


def test_more_than_the_memory_there_is_ends_in_an_error(said):
    assert said(_TOO_MUCH) == "told"


def test_an_environment_that_says_otherwise_goes_first(monkeypatch):
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    cpu.tune()
    assert os.environ["TF_ENABLE_ONEDNN_OPTS"] == "0"
