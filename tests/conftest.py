"""Fixtures shared by all tests."""

import gc
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import pytest

from autox3d_tf.runs import cpu

cpu.tune()  # as the binaries do, before TensorFlow is imported

REPO = pathlib.Path(__file__).resolve().parents[1]


def pytest_collection_finish():
    """Spares every collection of garbage what imports leave for good."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared_dir() -> pathlib.Path:
    """The folder of real clips and golden files beside the project."""
    folder = pathlib.Path(
        os.environ.get("AUTOX3D_SHARED", REPO.parent / "shared")
    )
    if not (folder / "data").is_dir():
        pytest.skip(
            f"needs the real clips of {folder}; set AUTOX3D_SHARED to where "
            "they are"
        )
    return folder
