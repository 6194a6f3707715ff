import numpy as np
import pytest

from autox3d_tf.evaluation import metrics, views


@pytest.mark.parametrize("times, crops", [(1, 1), (10, 1), (10, 3), (2, 3)])
def test_order_is_a_permutation_that_spreads(times, crops):
    order = views.view_order(times, crops)
    assert sorted(order) == list(range(times * crops))
    first = order[:times]
    assert {view % crops for view in first} == {(crops - 1) // 2}
    assert sorted(view // crops for view in first) == list(range(times))


@pytest.mark.parametrize("count", [1, 2, 5, 10, 30])
def test_each_number_is_as_far_from_those_before_as_can_be(count):
    order = views.spread_order(count)
    assert sorted(order) == list(range(count))
    for place in range(1, count):
        before = np.array(order[:place])
        reach = [np.abs(before - n).min() for n in range(count)]
        assert reach[order[place]] == max(reach)


def test_curve_by_hand():
    # One clip of class 1. Views 0, 1, 2 give it 0.9, 0.2 and 0.3; the order
    # is 1, 0, 2: means 0.2, 0.55, 0.4667.
    logits = np.log([[[0.1, 0.9], [0.8, 0.2], [0.7, 0.3]]])
    points = views.accuracy_curve(logits, np.array([1]), 3, 1)
    assert [p["views"] for p in points] == [1, 2, 3]
    assert [p["last_view"] for p in points] == [1, 0, 2]
    assert [p["top1"] for p in points] == [0.0, 1.0, 0.0]
    assert points[1]["interval"] == metrics.wilson_interval(1, 1)


def test_curve_ends_with_the_accuracy_of_all_views():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(50, 6, 4))
    labels = rng.integers(0, 4, 50)
    points = views.accuracy_curve(logits, labels, 2, 3)
    right = metrics.top_k(metrics.fuse(logits), labels)
    assert points[-1]["top1"] == right / 50
