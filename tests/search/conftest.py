import pytest

from autox3d_tf.data import synthetic


@pytest.fixture(scope="session")
def clips(tmp_path_factory):
    """A folder of two classes of six clips."""
    folder = tmp_path_factory.mktemp("clips")
    synthetic.write_synthetic(
        folder, num_classes=2, clips_per_class=6, frames=6, size=32
    )
    return folder
