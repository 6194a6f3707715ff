"""The distribution that starts at the budget."""

import numpy as np
import pytest

from autox3d_tf import cost
from autox3d_tf.search import cost_table, distribution, start
from autox3d_tf.space import spaces

SPACE = spaces.get_space("tiny")
SIZES = [len(choice) for choice in SPACE.choices]


def table(target):
    return cost_table.CostTable(
        SPACE, cost.Budget(target=target, num_classes=4)
    )


@pytest.mark.parametrize("target", [1.5e6, 2.0e6])
def test_samples_cost_the_target_on_average(target):
    budget = table(target)
    logits = start.logits_at_budget(SIZES, [budget])
    tilted = distribution.ArchitectureDistribution(
        distribution.factorized_factors(SPACE), logits
    )
    samples = tilted.sample(4000, (3, 4)).numpy()
    # 4,000 samples: the mean's standard error is below 1 % of the target.
    assert budget(samples).mean() == pytest.approx(target, rel=0.03)
    assert tilted.entropy() > 0.5 * sum(map(np.log, SIZES))


def test_a_loose_budget_leaves_it_uniform():
    for vector in start.logits_at_budget(SIZES, [table(1e9)]):
        assert not vector.any()


def test_the_tightest_of_several_budgets_counts():
    one = start.logits_at_budget(SIZES, [table(1.5e6)])
    both = start.logits_at_budget(SIZES, [table(1.5e6), table(1e9)])
    for ours, theirs in zip(one, both, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_dearer_candidates_are_less_likely():
    filters = start.logits_at_budget(SIZES, [table(1.5e6)])[0]
    assert list(filters) == sorted(filters, reverse=True)
