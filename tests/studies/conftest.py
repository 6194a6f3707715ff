import pytest

from autox3d_tf.data import synthetic


@pytest.fixture(scope="session")
def clips(tmp_path_factory):
    """The list of two classes of eight clips in four folds."""
    folder = tmp_path_factory.mktemp("clips")
    synthetic.write_synthetic(
        folder, num_classes=2, clips_per_class=8, frames=6, size=32
    )
    return str(folder / synthetic.MANIFEST_NAME)
