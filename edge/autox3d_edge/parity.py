"""Do the trained, the lowered and the exported network say the same?"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from autox3d_tf.data import sampling

Scorer = Callable[[np.ndarray], np.ndarray]


def keras_scorer(model) -> Scorer:
    """Probabilities of a trained model, for uint8 `(T, H, W, 3)` clips."""

    def score(clip):
        values = normalise(clip[None])
        return softmax(np.asarray(model(values, training=False))[0])

    return score


def normalise(pixels: np.ndarray) -> np.ndarray:
    """Turns raw RGB in [0, 255] into what a trained model takes."""
    values = pixels.astype(np.float32) / 255.0
    return (values - sampling.MEAN) / sampling.DEVIATION


def lowered_scorer(model) -> Scorer:
    """Probabilities of a lowered model that ends in a softmax."""

    def score(clip):
        return np.asarray(model(clip.astype(np.float32), training=False))[0]

    return score


def softmax(logits: np.ndarray) -> np.ndarray:
    """Returns probabilities."""
    exponents = np.exp(logits - logits.max())
    return exponents / exponents.sum()


def compare(
    scorers: Mapping[str, Scorer], clips: Sequence[np.ndarray]
) -> dict[str, Any]:
    """Compares all scorers with the first, over clips.

    Returns:
        `clips`: their number; `reference`: name of the first; and for each
        other `max_error` of any probability, `mean_error`, and
        `top1_agreement`, the share of clips with the same label.
    """
    if not len(clips):
        raise ValueError("`clips` must hold at least one clip. Received: none.")
    scores = {
        name: np.stack([scorer(np.asarray(clip)) for clip in clips])
        for name, scorer in scorers.items()
    }
    reference, *others = scores
    report = {"clips": len(clips), "reference": reference}
    for name in others:
        error = np.abs(scores[name] - scores[reference])
        agree = scores[name].argmax(1) == scores[reference].argmax(1)
        report[name] = {
            "max_error": float(error.max()),
            "mean_error": float(error.mean()),
            "top1_agreement": float(agree.mean()),
        }
    return report
