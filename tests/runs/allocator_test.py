"""The memory of tensors stays with the process."""

import os
import subprocess
import sys

import pytest

from autox3d_tf.runs import allocator
from tests.conftest import REPO

_FAULTS = """
import resource
import tensorflow as tf
from autox3d_tf.runs import allocator

allocator.keep_tensor_memory()
tf.ones([{count}])
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    tf.ones([{count}])
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(count=2**25, **environment):
    """Page faults of ten tensors, each freed before the next is made."""
    result = subprocess.run(
        [sys.executable, "-c", _FAULTS.format(count=count)],
        cwd=REPO,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(result.stdout)


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="counts as Linux does"
)
def test_pages_are_taken_from_the_kernel_once():
    # How many pages a tensor has depends on the kernel's settings.
    given_back = page_faults(TF_CPU_ALLOCATOR_USE_BFC="0")
    assert 4 * page_faults() < given_back


def test_more_than_the_memory_there_is_ends_in_an_error():
    script = (
        "import os, tensorflow as tf\n"
        "from autox3d_tf.runs import allocator\n"
        "allocator.keep_tensor_memory()\n"
        "size = int(os.environ['TF_CPU_BFC_MEM_LIMIT_IN_MB']) << 20\n"
        "try:\n"
        "    tf.zeros([size], tf.int64)\n"
        "except tf.errors.ResourceExhaustedError:\n"
        "    print('told')\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=REPO, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert result.stdout == "told\n"


def test_an_environment_that_says_otherwise_goes_first(monkeypatch):
    monkeypatch.setenv("TF_CPU_ALLOCATOR_USE_BFC", "0")
    monkeypatch.setenv("TF_CPU_BFC_MEM_LIMIT_IN_MB", "100")
    allocator.keep_tensor_memory()
    assert os.environ["TF_CPU_ALLOCATOR_USE_BFC"] == "0"
    assert os.environ["TF_CPU_BFC_MEM_LIMIT_IN_MB"] == "100"
