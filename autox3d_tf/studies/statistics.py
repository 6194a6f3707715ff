"""Means, intervals, paired differences, rank correlation. No TensorFlow."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from autox3d_tf.base import repeats

_AT_ONCE = 100  # draws of a bootstrap


@dataclasses.dataclass(frozen=True)
class Summary:
    """Some measurements in short.

    Attributes:
        count: How many.
        mean, deviation: The latter is NaN for a single one.
        low, high: Student's 95 % interval of the mean; NaN for a single one.
    """

    count: int
    mean: float
    deviation: float
    low: float
    high: float


def summarize(values: Sequence[float]) -> Summary:
    """Returns mean, deviation and 95 % interval of independent values."""
    mean = math.fsum(values) / len(values)
    deviation, margin = repeats.spread(values)
    return Summary(len(values), mean, deviation, mean - margin, mean + margin)


def summarize_shares(values: Sequence[float]) -> Summary:
    """As `summarize`, of values between 0 and 1; the interval is, too."""
    found = summarize(values)
    return dataclasses.replace(  # NaN stays
        found, low=max(found.low, 0.0), high=min(found.high, 1.0)
    )


def paired_difference(
    ours: Mapping[object, float], others: Mapping[object, float]
) -> Summary | None:
    """Summary of ours minus others, where both were measured; else None."""
    shared = [key for key in ours if key in others]
    if not shared:
        return None
    return summarize([ours[key] - others[key] for key in shared])


def cost_at(
    accuracy: float, points: Sequence[tuple[float, float]]
) -> float | None:
    """Cost at which a method reaches an accuracy, between its budgets.

    Args:
        accuracy: Wanted.
        points: `(cost, accuracy)`, at least two; linear in the logarithm of
            the cost between neighbours.

    Returns:
        The smallest such cost; None outside of what was measured, and where
        the cheapest is better already.
    """
    points = sorted(points)
    if accuracy <= points[0][1]:
        return points[0][0] if accuracy == points[0][1] else None
    for (low, worse), (high, better) in zip(points, points[1:], strict=False):
        if worse <= accuracy <= better and worse < better:
            share = (accuracy - worse) / (better - worse)
            return math.exp(
                (1 - share) * math.log(low) + share * math.log(high)
            )
    return None


def kendall_tau(first: Sequence[float], second: Sequence[float]) -> float:
    """Kendall's tau-b, which allows for ties; NaN if all of one are equal.

    >>> kendall_tau([1, 2, 3], [1, 3, 2])
    0.3333333333333333
    """
    return float(_taus(np.asarray(first), np.asarray(second)))


def _taus(first, second) -> np.ndarray:
    """Tau-b along the last axis: `(..., n)` each -> `(...,)`."""
    one, two = _signs(first), _signs(second)
    scale = np.sqrt((one**2).sum(-1) * (two**2).sum(-1))
    with np.errstate(invalid="ignore"):  # 0 / 0, which is NaN
        return (one * two).sum(-1) / scale


def _signs(values) -> np.ndarray:
    """Sign of the difference of each pair: `(..., n)` -> `(..., pairs)`."""
    values = np.asarray(values, "float64")
    rows, columns = np.triu_indices(values.shape[-1], 1)
    return np.sign(values[..., rows] - values[..., columns])


def kendall_interval(
    first: Sequence[float],
    second: Sequence[float],
    *,
    draws: int = 10_000,
    seed: int = 0,
) -> tuple[float, float]:
    """95 % interval of tau: pairs drawn again with replacement (bootstrap).

    Draws in which all of one side are equal have no tau and are left out.
    """
    first, second = np.asarray(first), np.asarray(second)
    rng = np.random.default_rng(seed)

    def taus(count):
        chosen = rng.integers(len(first), size=(count, len(first)))
        return _taus(first[chosen], second[chosen])

    found = _in_parts(taus, draws)
    if np.isnan(found).all():
        return math.nan, math.nan
    low, high = np.nanquantile(found, (0.025, 0.975))
    return float(low), float(high)


def kendall_p_value(
    first: Sequence[float],
    second: Sequence[float],
    *,
    draws: int = 10_000,
    seed: int = 0,
) -> float:
    """How often rankings without any relation have such a tau (two-sided).

    NaN where there is no tau.
    """
    tau = abs(kendall_tau(first, second))
    if math.isnan(tau):
        return math.nan
    rng, first = np.random.default_rng(seed), np.asarray(first)

    def taus(count):
        orders = np.stack([rng.permutation(second) for _ in range(count)])
        return _taus(first, orders)

    extreme = (np.abs(_in_parts(taus, draws)) >= tau - 1e-12).sum()
    return (1 + int(extreme)) / (1 + draws)


def _in_parts(function, draws: int) -> np.ndarray:
    """Joins what `function(count)` returns for `draws` in all.

    A part at a time fits a processor's cache, and any number of values.
    """
    counts = [min(_AT_ONCE, draws - i) for i in range(0, draws, _AT_ONCE)]
    return np.concatenate([function(count) for count in counts])
