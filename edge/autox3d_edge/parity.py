"""Do the trained, the lowered and the exported network say the same?"""

import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from autox3d_tf.base import scores as scores_lib
from autox3d_tf.data import sampling

FLOAT_ERROR = 1e-3  # of a probability, between float networks
HALF_ERROR = 0.02  # of one with weights in 16 bits
_LARGEST = {"fp32": FLOAT_ERROR, "fp16": HALF_ERROR}
_SMALL_ERROR = 0.05  # that a network in integers may always have
_FEW = 10  # clips, for which tracing a network takes longer than it saves

Scorer = Callable[[np.ndarray], np.ndarray]


def keras_scorer(model) -> Scorer:
    """Probabilities of a trained model, for uint8 `(T, H, W, 3)` clips."""

    run = traced(model, after=_FEW)

    def score(clip):
        values = sampling.normalize(clip[None].astype(np.float32))
        return scores_lib.softmax(np.asarray(run(values))[0])

    return score


def lowered_scorer(model) -> Scorer:
    """Probabilities of a lowered model that ends in a softmax."""

    run = traced(model, after=_FEW)

    def score(clip):
        return np.asarray(run(clip.astype(np.float32)))[0]

    return score


def traced(model, after: int = 0) -> Callable:
    """A model in inference, layer by layer for the first `after` inputs."""
    import tensorflow as tf  # a device may do without

    def infer(values):
        return model(values, training=False)

    calls = itertools.count()
    often = tf.function(infer, reduce_retracing=True, autograph=False)

    def run(values):
        return infer(values) if next(calls) < after else often(values)

    return run


def compare(
    scorers: Mapping[str, Scorer], clips: Sequence[np.ndarray]
) -> dict[str, Any]:
    """Compares all scorers with the first, over clips.

    Returns:
        `clips`: their number; `reference`: name of the first; and for each
        other `max_error` of any probability, `mean_error`, `relative_error`,
        the mean squared error in variances of the first over the clips, None
        if it has none, and `top1_agreement`, the share of clips with the same
        label.
    """
    if not len(clips):
        raise ValueError("`clips` must hold at least one clip. Received: none.")
    scores = {
        name: np.stack([scorer(np.asarray(clip)) for clip in clips])
        for name, scorer in scorers.items()
    }
    reference, *others = scores
    report = {"clips": len(clips), "reference": reference}
    variance = float(scores[reference].var(axis=0).mean())
    for name in others:
        error = np.abs(scores[name] - scores[reference])
        agree = scores[name].argmax(1) == scores[reference].argmax(1)
        report[name] = {
            "max_error": float(error.max()),
            "mean_error": float(error.mean()),
            "relative_error": float(np.square(error).mean() / variance)
            if variance
            else None,
            "top1_agreement": float(agree.mean()),
        }
    return report


def contradictions(
    report: Mapping[str, Any], precision: str
) -> Iterator[tuple[str, str]]:
    """Yields who says something else than the reference, and what.

    See `agrees`. In fewer bits a file may lose accuracy, which is for its user
    to judge, but it must be the same network.

    Args:
        report: From `compare`; the file is its "tflite".
        precision: Of the file.
    """
    for who in ("lowered", "tflite"):
        found = report.get(who)
        if found is None:
            continue
        error, agreement = found["max_error"], found["top1_agreement"]
        kind = "fp32" if who == "lowered" else precision
        if not np.isfinite(error):
            yield who, "is not finite"
        elif agrees(error, agreement, kind, found["relative_error"]):
            continue
        elif kind in _LARGEST:
            yield (
                who,
                f"is up to {error:.2g} off {report['reference']}, may be "
                f"{_LARGEST[kind]:.0e}",
            )
        else:
            yield (
                who,
                f"has the label of {report['reference']} on {agreement:.0%} of "
                f"{report['clips']} clips and scores up to {error:.2g} off",
            )


def agrees(
    error: float,
    agreement: float,
    precision: str,
    relative_error: float | None = None,
) -> bool:
    """Whether two networks may be the same.

    Float networks must have the same scores, but for their rounding. Others
    must be nearer to the reference than its own mean is, unless next to all
    clips have the same label, as where it has one for all.

    Args:
        error: Largest difference of a probability.
        agreement: Share of clips with the same label.
        precision: Of the one that is not the reference.
        relative_error: As of `compare`; None for one clip, which is the same
            if the label is, or no score is far off.
    """
    if precision in _LARGEST:
        return error <= _LARGEST[precision]
    if relative_error is None:
        return error <= 0.5 or agreement >= 0.5
    return error <= _SMALL_ERROR or relative_error < 1 or agreement >= 0.9


def remember(scorer: Scorer) -> Scorer:
    """A scorer that keeps what it said of each clip."""
    said: dict[bytes, np.ndarray] = {}

    def score(clip):
        clip = np.asarray(clip)
        digest = hashlib.sha256(np.ascontiguousarray(clip)).digest()
        if digest not in said:
            said[digest] = scorer(clip)
        return said[digest]

    return score
