import numpy as np

from autox3d_tf.base import scores


def test_softmax_of_large_logits():
    found = scores.softmax(np.array([1e4, 1e4 - np.log(3), -1e4]))
    np.testing.assert_allclose(found, [0.75, 0.25, 0.0], rtol=1e-6)


def test_each_row_is_on_its_own():
    found = scores.softmax([[0.0, np.log(3)], [1e4, 1e4]])
    np.testing.assert_allclose(found, [[0.25, 0.75], [0.5, 0.5]])
