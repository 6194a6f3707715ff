import math

import numpy as np
import pytest

from autox3d_tf.studies import statistics


def test_summary_by_hand():
    found = statistics.summarize([0.8, 0.9])
    assert (found.count, found.mean) == (2, pytest.approx(0.85))
    # deviation 0.1 / sqrt(2); t of one degree of freedom 12.71
    assert found.deviation == pytest.approx(0.0707, abs=1e-4)
    assert found.high - found.mean == pytest.approx(0.6355, abs=1e-3)
    assert math.isnan(statistics.summarize([1.0]).low)


def test_intervals_of_shares_end_at_none_and_all():
    found = statistics.summarize_shares([0.1, 1.0])
    assert (found.low, found.high) == (0.0, 1.0)
    assert statistics.summarize_shares([0.5, 0.52]) == (
        statistics.summarize([0.5, 0.52])
    )
    assert math.isnan(statistics.summarize_shares([1.0]).high)


@pytest.mark.parametrize(
    ("count", "quantile"),  # printed tables of Student's t, 97.5 %
    [(2, 12.706), (3, 4.303), (4, 3.182), (5, 2.776), (6, 2.571), (7, 2.447),
     (8, 2.365), (9, 2.306), (10, 2.262), (11, 2.228), (12, 2.201),
     (16, 2.131), (21, 2.086), (61, 2.000), (1001, 1.962)],
)  # fmt: skip
def test_intervals_are_students(count, quantile):
    values = np.random.default_rng(count).normal(size=count)
    found = statistics.summarize(values)
    expected = quantile * values.std(ddof=1) / math.sqrt(count)
    assert found.high - found.mean == pytest.approx(expected, rel=1e-3)


def test_differences_are_of_pairs():
    ours = {0: 0.9, 1: 0.8, 2: 0.7}
    found = statistics.paired_difference(ours, {0: 0.8, 1: 0.7, 5: 0.1})
    assert (found.count, found.mean) == (2, pytest.approx(0.1))
    assert found.deviation == pytest.approx(0)
    assert statistics.paired_difference(ours, {7: 1.0}) is None


def test_cost_at_an_accuracy_by_hand():
    points = [(4.0, 0.9), (1.0, 0.7)]
    # half way in accuracy is half way in log cost
    assert statistics.cost_at(0.8, points) == pytest.approx(2.0)
    assert statistics.cost_at(0.9, points) == pytest.approx(4.0)
    assert statistics.cost_at(0.95, points) is None
    assert statistics.cost_at(0.6, points) is None
    assert statistics.cost_at(0.8, [(1.0, 0.8)]) == 1.0
    assert statistics.cost_at(0.7, [(1.0, 0.7), (2.0, 0.7)]) == 1.0
    # where more cost is worse there is no such cost
    assert statistics.cost_at(0.8, [(1.0, 0.9), (2.0, 0.7)]) is None
    # and where the cheapest is better, what follows makes no difference
    dip = [(1.0, 0.9), (2.0, 0.7), (4.0, 0.9)]
    assert statistics.cost_at(0.8, dip) is None
    # where the cheapest has just that, it is the smallest
    later = [(1.0, 0.7), (2.0, 0.6), (4.0, 0.8)]
    assert statistics.cost_at(0.7, later) == 1.0


@pytest.mark.parametrize(
    "first, second, tau",
    [
        ([1, 2, 3, 4], [1, 2, 3, 4], 1),
        ([1, 2, 3, 4], [4, 3, 2, 1], -1),
        # 5 of 6 pairs agree, one does not
        ([1, 2, 3, 4], [1, 2, 4, 3], 4 / 6),
        # pairs: (0,1) tied in both; (0,2), (1,2) agree: 2 / sqrt(2 * 2)
        ([1, 1, 2], [3, 3, 4], 1),
        # one tie in the first: 5 untied pairs against 6, all agree
        ([1, 1, 2, 3], [1, 2, 3, 4], 5 / math.sqrt(5 * 6)),
        # ties in both, in different pairs: 4 agree, 5 untied each
        ([1, 1, 2, 3], [1, 2, 3, 3], 4 / 5),
    ],
)
def test_kendall_tau_by_hand(first, second, tau):
    assert statistics.kendall_tau(first, second) == pytest.approx(tau)
    assert statistics.kendall_tau(second, first) == pytest.approx(tau)


def test_kendall_tau_counts_pairs():
    rng = np.random.default_rng(0)
    first, second = rng.integers(6, size=(2, 20))
    agree = disagree = untied_first = untied_second = 0
    for i in range(20):
        for j in range(i):
            one = int(first[i] > first[j]) - int(first[i] < first[j])
            two = int(second[i] > second[j]) - int(second[i] < second[j])
            agree += one * two > 0
            disagree += one * two < 0
            untied_first += one != 0
            untied_second += two != 0
    expected = (agree - disagree) / math.sqrt(untied_first * untied_second)
    assert statistics.kendall_tau(first, second) == pytest.approx(expected)


def test_no_ranking_has_no_tau():
    assert math.isnan(statistics.kendall_tau([1, 1, 1], [1, 2, 3]))
    low, high = statistics.kendall_interval([1, 1], [1, 2], draws=10)
    assert math.isnan(low) and math.isnan(high)
    assert math.isnan(statistics.kendall_p_value([1, 1, 1], [1, 2, 3]))


def test_interval_and_p_value_of_clear_and_of_no_relation():
    ranks = np.arange(12)
    assert statistics.kendall_interval(ranks, ranks, draws=200) == (1, 1)
    # of 12! orders two are as extreme
    assert statistics.kendall_p_value(ranks, ranks, draws=199) == 1 / 200
    noise = np.random.default_rng(3).permutation(12)
    low, high = statistics.kendall_interval(ranks, noise, draws=500)
    assert low < statistics.kendall_tau(ranks, noise) < high
    assert low < 0 < high
    assert statistics.kendall_p_value(ranks, noise, draws=500) > 0.05


def test_the_interval_leaves_out_a_fortieth_on_each_side():
    rng = np.random.default_rng(5)
    one, two = np.arange(12), rng.permutation(12)
    taus = sorted(
        statistics.kendall_tau(one[drawn], two[drawn])
        for drawn in rng.integers(12, size=(4_000, 12))
    )
    expected = taus[100], taus[-101]  # 5 % would be 0.07 further inside
    found = statistics.kendall_interval(one, two)
    np.testing.assert_allclose(found, expected, atol=0.03)


def test_draws_in_parts_are_as_many_as_asked_for():
    assert len(statistics._in_parts(np.zeros, draws=250)) == 250


def test_p_value_of_four_by_enumeration():
    # tau = 1 of 4: 2 of 24 orders are as extreme
    found = statistics.kendall_p_value([1, 2, 3, 4], [1, 2, 3, 4], draws=20_000)
    assert found == pytest.approx(2 / 24, abs=0.01)
