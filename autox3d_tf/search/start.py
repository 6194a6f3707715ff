"""Where the distribution starts: uniform, or already at the budget.

Under a tight budget most uniform samples are far above it, and the cost term
has to push so hard at first that it overshoots. Tilting the uniform
distribution until its mean cost is the target (the least informative
distribution that does so, were the choices' costs additive) avoids that. The
warm-up stays uniform: were it tilted too, cheap candidates, sampled more often,
would learn more, and the search would prefer them for that. This project's own
addition.
"""

from collections.abc import Sequence

import numpy as np

from autox3d_tf.search import cost_table as cost_table_lib

_SAMPLES = 8192
_HALVINGS = 30


def logits_at_budget(
    sizes: Sequence[int],
    tables: Sequence[cost_table_lib.CostTable],
    seed: int = 0,
) -> list[np.ndarray]:
    """Returns logits whose samples cost the target on average.

    The logit of a candidate is its mean cost, over everything else uniform,
    relative to the target, times one negative factor for all. Of several
    budgets the one that is exceeded most counts.

    Args:
        sizes: Candidates per choice.
        tables: One per budget.
        seed: Of the samples that means are taken over.

    Returns:
        One float32 vector per choice, with mean 0. All zeros where uniform
        samples are within the budget on average, as near as can be where the
        target is close to the cheapest architecture.
    """
    draws = np.random.default_rng([seed, 0x7117]).random((_SAMPLES, len(sizes)))

    def relative_costs(indices):
        costs = [table(indices) / table.budget.target for table in tables]
        return np.max(costs, axis=0)

    flat = [np.zeros(size, np.float32) for size in sizes]
    uniform = _pick(draws, flat)
    costs = relative_costs(uniform)
    if costs.mean() <= 1.0:
        return flat
    slopes = []
    for position, size in enumerate(sizes):
        means = np.array(
            [costs[uniform[:, position] == i].mean() for i in range(size)]
        )
        slopes.append(means - means.mean())
    low, high = 0.0, 1.0
    steepest = max(float(np.ptp(slope)) for slope in slopes)
    while high * steepest < 20.0:
        tilted = _pick(draws, [-high * slope for slope in slopes])
        if relative_costs(tilted).mean() <= 1.0:
            break
        high *= 2.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        tilted = _pick(draws, [-middle * slope for slope in slopes])
        if relative_costs(tilted).mean() > 1.0:
            low = middle
        else:
            high = middle
    return [(-high * slope).astype(np.float32) for slope in slopes]


def _pick(draws, logits) -> np.ndarray:
    """Indices `(samples, choices)` of uniform numbers in [0, 1)."""
    columns = []
    for column, vector in zip(draws.T, logits, strict=True):
        shares = np.exp(vector - vector.max())
        bounds = np.cumsum(shares / shares.sum())[:-1]
        columns.append(np.searchsorted(bounds, column, side="right"))
    return np.stack(columns, axis=1).astype(np.int32)
