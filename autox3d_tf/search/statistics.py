"""Means, intervals, paired differences, rank correlation. No TensorFlow."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from autox3d_tf.base import repeats


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
    one, two = _signs(first), _signs(second)
    scale = math.sqrt(float((one**2).sum()) * float((two**2).sum()))
    return float((one * two).sum()) / scale if scale else math.nan


def _signs(values) -> np.ndarray:
    """Sign of the difference of each pair."""
    values = np.asarray(values, "float64")
    rows, columns = np.triu_indices(len(values), 1)
    return np.sign(values[rows] - values[columns])


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
    taus = []
    for _ in range(draws):
        chosen = rng.integers(len(first), size=len(first))
        taus.append(kendall_tau(first[chosen], second[chosen]))
    if np.isnan(taus).all():
        return math.nan, math.nan
    low, high = np.nanquantile(taus, (0.025, 0.975))
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
    found = abs(kendall_tau(first, second))
    if math.isnan(found):
        return math.nan
    rng, second = np.random.default_rng(seed), np.asarray(second)
    extreme = sum(
        abs(kendall_tau(first, rng.permutation(second))) >= found - 1e-12
        for _ in range(draws)
    )
    return (1 + extreme) / (1 + draws)
