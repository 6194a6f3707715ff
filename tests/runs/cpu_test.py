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


def said(code, **environment):
    """What a new process prints that has tuned TensorFlow."""
    own = {k: v for k, v in os.environ.items() if not k.startswith("TF_ENABLE")}
    result = subprocess.run(
        [sys.executable, "-c", f"{_TUNED}\n{code}"],
        cwd=REPO,
        env={**own, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.strip()


def test_kernels_of_onednn():
    code = (
        "from tensorflow.python.framework import test_util\n"
        "print(test_util.IsMklEnabled())"
    )
    assert said(code) == "True"
    assert said(code, TF_ENABLE_ONEDNN_OPTS="0") == "False"


def test_pages_are_taken_from_the_kernel_once():
    # How many pages a tensor has depends on the kernel's settings.
    given_back = int(said(_FAULTS, TF_ENABLE_ONEDNN_OPTS="0"))
    assert 4 * int(said(_FAULTS)) < given_back


def test_more_than_the_memory_there_is_ends_in_an_error():
    code = (
        "import os\n"
        "pages = os.sysconf('SC_PHYS_PAGES')\n"
        "try:\n"
        "    tf.zeros([pages, os.sysconf('SC_PAGE_SIZE')], tf.int64)\n"
        "except tf.errors.ResourceExhaustedError:\n"
        "    print('told')\n"
    )
    assert said(code) == "told"


def test_an_environment_that_says_otherwise_goes_first(monkeypatch):
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    cpu.tune()
    assert os.environ["TF_ENABLE_ONEDNN_OPTS"] == "0"
