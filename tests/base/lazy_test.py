"""Public names of packages."""

import importlib
import subprocess
import sys

import pytest

PACKAGES = (
    "autox3d_tf.data",
    "autox3d_tf.search",
    "autox3d_tf.training",
    "autox3d_tf.evaluation",
    "autox3d_edge",
)


@pytest.mark.parametrize("name", PACKAGES)
def test_every_public_name_is_there(name):
    package = importlib.import_module(name)
    for public in package.__all__:
        assert getattr(package, public).__name__ == public
    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError, match=f"'{name}' has no attribute 'x'"):
        package.x  # noqa: B018


def test_options_need_no_tensorflow():
    code = (
        "import sys; "
        "from autox3d_tf.data import DataOptions; "
        "from autox3d_tf.search import SearchOptions; "
        "from autox3d_tf.training import TrainingOptions; "
        "from autox3d_edge import Recognizer; "
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
