"""A few synthetic clips, written once."""

import pytest

from autox3d_tf.data import synthetic


@pytest.fixture(scope="session")
def clips(tmp_path_factory):
    """Manifest of 3 classes (left, right, up) with 4 clips of 20 frames."""
    return synthetic.write_synthetic(
        tmp_path_factory.mktemp("synthetic"),
        num_classes=3,
        clips_per_class=4,
        frames=20,
        size=48,
        seed=5,
    )
