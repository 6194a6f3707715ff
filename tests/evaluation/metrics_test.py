import numpy as np
import pytest

from autox3d_tf.evaluation import metrics


def test_fusion_averages_probabilities_not_logits():
    # softmax of log p is p: views say (0.9, 0.1) and (0.2, 0.8).
    logits = np.log([[[0.9, 0.1], [0.2, 0.8]]]) + 7.0
    np.testing.assert_allclose(metrics.fuse(logits), [[0.55, 0.45]])


@pytest.mark.parametrize("k, right", [(1, 1), (2, 2), (3, 4), (5, 4)])
def test_top_k_by_hand(k, right):
    scores = np.array(
        [[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.4, 0.4, 0.2]]
    )
    labels = np.array([0, 1, 2, 2])  # of rank 1, 2, 3, 3
    assert metrics.top_k(scores, labels, k) == right


def test_constant_scores_are_never_right():
    assert metrics.top_k(np.ones((4, 3)), np.array([0, 1, 2, 0]), 2) == 0


def test_scores_that_are_no_numbers_are_never_right():
    scores = np.array([[np.nan, np.nan], [0.0, np.nan]])
    assert metrics.top_k(scores, np.array([0, 1]), 2) == 0


def test_what_is_said_is_right_where_the_best_score_alone_is():
    scores = np.random.default_rng(0).integers(0, 3, (60, 4)).astype(float)
    labels = np.arange(60) % 4
    said = metrics.predictions(scores, labels)
    np.testing.assert_array_equal(
        scores[np.arange(60), said], scores.max(axis=1)
    )
    assert 0 < (said == labels).sum() == metrics.top_k(scores, labels)


def test_confusion_rows_are_labels():
    predicted, labels = np.array([1, 1, 0, 2]), np.array([0, 1, 0, 2])
    found = metrics.confusion_matrix(predicted, labels, 4)
    np.testing.assert_array_equal(
        found, [[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    )
    # Class 3 has no clip: (1/2 + 1 + 1) / 3.
    assert metrics.mean_class_accuracy(found) == pytest.approx(2.5 / 3)


@pytest.mark.parametrize(
    "successes, trials", [(39, 42), (0, 10), (10, 10), (500, 1000)]
)
def test_wilson_interval_solves_its_equation(successes, trials):
    # The bounds are where |share - p| = z sqrt(p (1 - p) / n).
    z = 1.959964
    for bound in metrics.wilson_interval(successes, trials):
        distance = abs(successes / trials - bound)
        expected = z * np.sqrt(bound * (1 - bound) / trials)
        assert distance == pytest.approx(expected, abs=1e-7)
        assert 0 <= bound <= 1


def test_wilson_interval_of_nothing():
    with pytest.raises(ValueError, match="Received: trials=0"):
        metrics.wilson_interval(0, 0)
