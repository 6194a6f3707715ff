"""Memory that is freed stays with the process."""

import subprocess
import sys

import pytest

from tests.conftest import REPO

_FAULTS = """
import resource
import numpy as np
from autox3d_tf.runs import allocator

if {kept}:
    assert allocator.keep_freed_memory()
np.ones({size}, np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    np.ones({size}, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(kept, size=2**26):
    """Page faults of five arrays, each freed before the next is made."""
    code = _FAULTS.format(kept=kept, size=size)
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPO, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return int(result.stdout)


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="needs the malloc of glibc"
)
def test_pages_are_taken_from_the_kernel_once():
    # How many pages an array has depends on the kernel's settings.
    assert 4 * page_faults(kept=True) < page_faults(kept=False)


def test_an_environment_that_says_otherwise_is_left_alone(monkeypatch):
    from autox3d_tf.runs import allocator

    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "0")
    assert not allocator.keep_freed_memory()
