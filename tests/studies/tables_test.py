import math

import pytest

from autox3d_tf.studies import page, statistics, tables


def _record(method, seed, macs, accuracy):
    return {
        "method": method,
        "seed": seed,
        "fold": None,
        "target_macs": macs,
        "macs": macs,
        "accuracy": accuracy,
    }


def _searched(method, target, seed, **search):
    return {
        **_record(method, seed, target, 0.5 + 0.02 * seed),
        "params": 50_000 + 20_000 * seed,
        "search": search,
    }


def test_what_a_method_cost_is_a_mean_over_its_runs():
    found = [
        _searched(
            "probabilistic", 1e6, seed, mean_samples=4.0 + 2 * seed,
            inherited_accuracy=0.4 + 0.1 * seed, cpu_seconds=100 + 200 * seed,
            architectures=1000 + 2000 * seed, clips=30_000 + 10_000 * seed,
        )
        for seed in (0, 1)
    ]  # fmt: skip
    header, (row,) = tables.methods_table(found)
    row = dict(zip(header, row, strict=True))
    assert row["runs"] == "2" and row["accuracy, %"] == "51.00"
    assert row["deviation"] == "1.41"
    assert row["95 % interval"] == "38.29 to 63.71"
    assert row["MACs, M"] == "1.000" and row["params, k"] == "60.0"
    assert row["inherited, %"] == "45.00" and row["mean K"] == "5.00"
    assert row["architectures"] == "2,000"
    assert row["clips processed"] == "35,000" and row["CPU s"] == "200"


def test_intervals_of_accuracies_end_at_none_and_all():
    found = [
        {**_record("hand_scaled", seed, 1e6, accuracy), "params": 1,
         "search": None}
        for seed, accuracy in enumerate((0.1, 1.0))
    ]  # fmt: skip
    header, (row,) = tables.methods_table(found)
    assert row[header.index("95 % interval")] == "0.00 to 100.00"


def test_bars_of_the_plot_are_the_intervals_of_the_tables():
    found = [
        _record("probabilistic", seed, macs, accuracy)
        for macs, accuracies in ((1e6, (0.1, 0.9)), (4e6, (0.94, 0.96)))
        for seed, accuracy in enumerate(accuracies)
    ] + [_record("hand_scaled", 0, 2e6, 0.5)]
    (axis,) = page.draw(found).axes
    bars = [
        [tuple(end for _, end in bar) for bar in lines.get_segments()]
        for _, _, (lines,) in axis.containers
    ]
    # By Student's t of one degree of freedom 12.706 times 1 %, of 95 %.
    assert bars[0][0] == pytest.approx((0.0, 100.0))
    assert bars[0][1] == pytest.approx((95 - 12.706, 100.0))
    assert bars[1] == [(50.0, 50.0)]
    points = [line.get_xydata().tolist() for line, *_ in axis.containers]
    assert points == [[[1.0, 50.0], [4.0, 95.0]], [[2.0, 50.0]]]


def test_adaptive_samples_are_compared_at_one_budget():
    found = [
        _searched(
            method, target, 0, architectures=100 + after,
            warm_up_architectures=100, cpu_seconds=10.0 + after,
            warm_up_cpu_seconds=10.0,
        )
        for method, target, after in (
            ("probabilistic", 1e6, 300),
            ("probabilistic", 4e6, 200),
            ("parsec_equal_steps", 1e6, 400),
            ("parsec_equal_steps", 4e6, 800),
        )
    ]  # fmt: skip
    _, (small, large, mean) = tables.adaptive_table(found)
    assert small[:5] == ["1 M, seed 0", "300", "400", "0.750", "0.800"]
    assert large[:5] == ["4 M, seed 0", "200", "800", "0.250", "0.333"]
    assert large[5:9] == ["200", "800", "0.250", f"{210 / 810:.3f}"]
    assert mean[3].startswith("0.500 (")


def test_multiply_adds_at_equal_accuracy_by_hand():
    by_hand = [
        _record("hand_scaled", seed, macs, accuracy)
        for seed, accuracies in ((0, (0.6, 0.8)), (1, (0.7, 0.9)))
        for macs, accuracy in zip((1e6, 4e6), accuracies, strict=True)
    ]
    # Half way and at the end of what a seed has by hand: 2 M and 4 M.
    found = [
        _record("probabilistic", 0, 1e6, 0.7),
        _record("probabilistic", 1, 1e6, 0.9),
    ]
    header, (row,) = tables.equal_table(found + by_hand)
    row = dict(zip(header, row, strict=True))
    assert row["ratio"] == "2.83"  # 0.8 is three quarters of the way
    assert row["runs in range"] == "2 of 2"
    short = statistics.summarize([math.log(2), math.log(4)])
    low, high = math.exp(short.low), math.exp(short.high)
    expected = f"2.83 ({low:.2f} to {high:.2f})"
    assert row["mean ratio (95 % interval)"] == expected


def test_differences_are_of_runs_of_one_seed_and_fold():
    records = [
        {**_record(method, 0, 1e6, accuracy), "fold": fold}
        for method, accuracies in (
            ("probabilistic", (0.9, 0.5)),
            ("hand_scaled", (0.5, 0.3)),
        )
        for fold, accuracy in enumerate(accuracies)
    ]
    header, (row,) = tables.differences_table(records)
    row = dict(zip(header, row, strict=True))
    assert row["pairs"] == "2" and row["points"] == "+30.00"  # 40 and 20
    # 20 / sqrt(2), and by Student's t of one degree of freedom 12.706 times 10.
    assert row["deviation"] == "14.14"
    assert row["95 % interval"] == "-97.06 to +157.06"


def test_only_runs_at_all_budgets_of_a_method_are_compared():
    by_hand = [
        _record("hand_scaled", seed, macs, accuracy)
        for seed, accuracies in ((0, (0.6, 0.8)), (1, (None, 0.1)))
        for macs, accuracy in zip((1e6, 4e6), accuracies, strict=True)
        if accuracy is not None
    ]
    found = [
        _record("probabilistic", 0, 1e6, 0.7),
        _record("probabilistic", 1, 1e6, 0.1),
        _record("probabilistic", 2, 1e6, 0.1),
    ]
    _, (row,) = tables.equal_table(found + by_hand)
    # seed 0 only: half way from 1 M to 4 M
    assert row[1:] == ["70.00", "1.000", "2.000", "2.00", "1 of 1", "2.00"]
    _, rows = tables.equal_table(found[1:] + by_hand)
    assert rows == []


def test_budgets_with_other_seeds_are_left_out():
    by_hand = [
        _record("hand_scaled", seed, macs, accuracy)
        for seeds, macs, accuracy in (
            ((4, 5), 1e6, 0.5),
            ((0, 1, 2, 4, 5), 4e6, 0.7),
            ((0, 1, 2), 16e6, 0.9),
        )
        for seed in seeds
    ]
    found = [
        _record("probabilistic", seed, macs, accuracy)
        for seeds, macs, accuracy in (
            ((4, 5), 1e6, 0.6),
            ((0, 1, 2, 4, 5), 4e6, 0.8),
        )
        for seed in seeds
    ]
    _, (low, high) = tables.equal_table(found + by_hand)
    # Half way from 1 M to 4 M, with seeds 4 and 5; from 4 M to 16 M, 0 to 2.
    assert low[1:6] == ["60.00", "1.000", "2.000", "2.00", "2 of 2"]
    assert high[1:6] == ["80.00", "4.000", "8.000", "2.00", "3 of 3"]


def test_of_as_many_runs_those_at_more_budgets_are_compared():
    by_hand = [
        _record("hand_scaled", seed, macs, accuracy)
        for count, macs, accuracy in ((3, 1e6, 0.5), (3, 4e6, 0.7), (2, 9e6, 1))
        for seed in range(count)
    ]
    found = [_record("probabilistic", seed, 1e6, 0.6) for seed in range(3)]
    _, (row,) = tables.equal_table(found + by_hand)
    assert row[3:6] == ["2.000", "2.00", "2 of 2"]  # not 3 at two budgets


def test_runs_outside_of_what_was_measured_leave_no_mean():
    by_hand = [
        _record("hand_scaled", seed, macs, accuracy)
        for seed in range(4)
        for macs, accuracy in ((1e6, 0.6), (4e6, 0.8))
    ]
    found = [
        _record("probabilistic", seed, 2e6, accuracy)
        for seed, accuracy in enumerate((0.7, 0.9, 0.5, 0.4))
    ]
    _, (row,) = tables.equal_table(found + by_hand)
    assert row[-2:] == ["1 of 4 (1 above, 2 below)", "-"]


@pytest.mark.parametrize(
    ("accuracy", "bound"), [(0.5, "less than 0.50"), (0.95, "more than 2.00")]
)
def test_what_lies_outside_of_what_was_measured_has_a_bound(accuracy, bound):
    by_hand = [
        _record("hand_scaled", 0, macs, accuracy_by_hand)
        for macs, accuracy_by_hand in ((1e6, 0.6), (4e6, 0.8))
    ]
    found = [_record("probabilistic", 0, 2e6, accuracy)]
    _, (row,) = tables.equal_table(found + by_hand)
    side = "0 above, 1 below" if accuracy < 0.6 else "1 above, 0 below"
    assert row[-3:] == [bound, f"0 of 1 ({side})", "-"]
