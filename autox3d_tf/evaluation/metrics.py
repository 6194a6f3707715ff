"""Accuracies and their uncertainty; numpy only."""

import math

import numpy as np

from autox3d_tf.base import scores as scores_lib

_Z = 1.959964  # within so many deviations lie 95 % of a normal distribution


def fuse(logits: np.ndarray) -> np.ndarray:
    """Averages the softmax of all views.

    Args:
        logits: `(clips, views, classes)`.

    Returns:
        Probabilities `(clips, classes)`.
    """
    views = logits.shape[1]  # one at a time: all may be gigabytes
    return sum(scores_lib.softmax(logits[:, v]) for v in range(views)) / views


def top_k(scores: np.ndarray, labels: np.ndarray, k: int = 1) -> int:
    """Counts the clips whose label is among the k best scores.

    Equal scores count as ranked before the label's, so ties never help; nor
    does a score that is NaN.

    >>> scores = np.array([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2]])
    >>> top_k(scores, np.array([2, 0])), top_k(scores, np.array([2, 0]), k=2)
    (1, 2)
    """
    own = scores[np.arange(len(labels)), labels][:, None]
    rank = (scores >= own).sum(axis=1)  # 1 for the best
    return int(((rank >= 1) & (rank <= k)).sum())


def predictions(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns the class of the best score of each clip, `(clips,)`.

    Of equal ones it is one that is wrong, as in `top_k`.

    >>> scores = np.array([[0.4, 0.4, 0.2], [0.4, 0.4, 0.2]])
    >>> predictions(scores, np.array([0, 2])).tolist()
    [1, 0]
    """
    others = np.array(scores, np.float64)
    others[np.arange(len(labels)), labels] = -np.inf
    own = scores[np.arange(len(labels)), labels]
    return np.where(own > others.max(-1), labels, others.argmax(-1))


def confusion_matrix(
    predicted: np.ndarray, labels: np.ndarray, num_classes: int
) -> np.ndarray:
    """Returns counts `(classes, classes)`: rows are labels."""
    counts = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(counts, (labels, predicted), 1)
    return counts


def mean_class_accuracy(confusion: np.ndarray) -> float:
    """Returns the mean over the classes that have clips.

    >>> mean_class_accuracy(np.array([[3, 1], [0, 2]]))
    0.875
    """
    clips = confusion.sum(axis=1)
    present = clips > 0
    return float((np.diag(confusion)[present] / clips[present]).mean())


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Returns the 95 % confidence interval of a proportion.

    Reference: Wilson, J. Am. Stat. Assoc. 22 (1927).

    >>> [round(bound, 3) for bound in wilson_interval(8, 10)]
    [0.49, 0.943]
    """
    if trials < 1:
        raise ValueError(f"`trials` must be at least 1. Received: {trials=}.")
    share, square = successes / trials, _Z * _Z / trials
    middle = (share + square / 2) / (1 + square)
    reach = _Z * math.sqrt(share * (1 - share) / trials + square / (4 * trials))
    reach /= 1 + square
    return max(0.0, middle - reach), min(1.0, middle + reach)
