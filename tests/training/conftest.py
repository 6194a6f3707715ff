import pytest

from autox3d_tf.data import synthetic


@pytest.fixture(scope="session")
def clips(tmp_path_factory):
    """A manifest of 12 tiny clips in 3 classes, folds 0 to 3."""
    folder = tmp_path_factory.mktemp("clips")
    synthetic.write_synthetic(
        folder, num_classes=3, clips_per_class=4, frames=8, size=16
    )
    return folder / synthetic.MANIFEST_NAME
