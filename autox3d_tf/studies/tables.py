"""Tables of a comparison, from its result files alone."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

from autox3d_tf.search import markdown
from autox3d_tf.studies import plan, statistics

Records = Sequence[dict[str, Any]]
_EQUAL_STEPS = "parsec_equal_steps"


def sections(records: Records) -> list[tuple[str, markdown.Table]]:
    """Returns all tables with their headings."""
    budgets, found = targets(records), []
    for target in budgets:
        chosen = [r for r in records if r["target_macs"] == target]
        budget = f"at most {target / 1e6:g} M multiply-adds"
        found += [
            (f"Methods, {budget}", methods_table(chosen)),
            (f"Differences, {budget}", differences_table(chosen)),
        ]
    if len(budgets) > 1:
        found.append(
            (
                "Multiply-adds at equal accuracy (between the means of "
                "neighbouring budgets, linear in log MACs; runs of the search "
                "above or below all of a method's have none)",
                equal_table(records),
            )
        )
    found.append(
        (
            "Adaptive against fixed samples, as many steps: architectures and "
            "CPU seconds after the warm-up, which both share, and in all",
            adaptive_table(records),
        )
    )
    return [(heading, table) for heading, table in found if table[1]]


def methods_table(records: Records) -> markdown.Table:
    """Accuracy and cost of each method, records of one budget."""
    rows = []
    for method, found in by_method(records).items():
        short = statistics.summarize_shares([r["accuracy"] for r in found])
        rows.append(
            [
                method,
                str(short.count),
                f"{100 * short.mean:.2f}",
                *_spread(short, 100, ".2f"),
                f"{_mean(found, lambda r: r['macs']) / 1e6:.3f}",
                f"{_mean(found, lambda r: r['params']) / 1e3:.1f}",
                *_cost_cells(found),
            ]
        )
    header = (
        "method", "runs", "accuracy, %", "deviation", "95 % interval",
        "MACs, M", "params, k", "inherited, %", "mean K", "architectures",
        "clips processed", "CPU s",
    )  # fmt: skip
    return header, rows


def _cost_cells(found):
    if found[0]["search"] is None:
        return ["-"] * 5
    mean = {
        name: _mean(found, lambda r, name=name: r["search"][name])
        for name in ("inherited_accuracy", "architectures", "clips",
                     "cpu_seconds")
    }  # fmt: skip
    samples = "-"
    if found[0]["search"]["mean_samples"] is not None:
        samples = f"{_mean(found, lambda r: r['search']['mean_samples']):.2f}"
    return [
        f"{100 * mean['inherited_accuracy']:.2f}",
        samples,
        f"{mean['architectures']:,.0f}",
        f"{mean['clips']:,.0f}",
        f"{mean['cpu_seconds']:,.0f}",
    ]


def differences_table(records: Records) -> markdown.Table:
    """The search minus each other method, runs paired by seed and fold."""
    methods = by_method(records)
    ours = _accuracies(methods.get(plan.REFERENCE, []))
    rows = []
    for method, found in methods.items():
        if method == plan.REFERENCE:
            continue
        short = statistics.paired_difference(ours, _accuracies(found))
        if short is None:
            continue
        rows.append(
            [
                f"{plan.REFERENCE} - {method}",
                str(short.count),
                f"{100 * short.mean:+.2f}",
                *_spread(short, 100, "+.2f"),
            ]
        )
    header = ("difference", "pairs", "points", "deviation", "95 % interval")
    return header, rows


def equal_table(records: Records) -> markdown.Table:
    """What the search saves at the accuracy that it has at each budget.

    Once between the means, of those seeds and folds that a method has at all
    budgets (or those that leave most runs), and once for each of them by
    itself, for the interval: Student's, of the ratio's logarithm. There is
    none if some runs lie outside of what was measured: those left would not
    stand for all.
    """
    methods = by_method(records)
    rows = []
    for target in targets(methods.get(plan.REFERENCE, ())):
        ours = [
            r for r in methods[plan.REFERENCE] if r["target_macs"] == target
        ]
        for method, others in methods.items():
            if method != plan.REFERENCE:
                rows.append(_equal_row(method, ours, others))
    header = (
        "method", "accuracy of the search, %", "its MACs, M",
        "MACs of the method, M", "ratio", "runs in range",
        "mean ratio (95 % interval)",
    )  # fmt: skip
    return header, [row for row in rows if row]


def _equal_row(method, ours, others) -> list[str] | None:
    """Compares a method at one budget of ours; None if nothing is known."""
    chosen, found = _shared_runs(ours, others)
    if not chosen:
        return None
    macs, accuracy = point(chosen)
    points = _means(found)
    there = statistics.cost_at(accuracy, points)
    if there is None and len(points) == 1:
        return None  # one budget says nothing of others
    if there is None:
        cost, ratio = "-", _bound(accuracy, macs, points)
    else:
        cost, ratio = f"{there / 1e6:.3f}", f"{there / macs:.2f}"
    return [
        method,
        f"{100 * accuracy:.2f}",
        f"{macs / 1e6:.3f}",
        cost,
        ratio,
        *_ratios_by_run(chosen, found),
    ]


def _bound(accuracy, macs, points) -> str:
    """The ratio where a method never reaches an accuracy, or always does."""
    costs, accuracies = zip(*sorted(points), strict=True)
    if accuracy > max(accuracies):
        return f"more than {costs[-1] / macs:.2f}"
    return f"less than {costs[0] / macs:.2f}"


def _shared_runs(ours, others) -> tuple[list, list]:
    """Of ours at one budget and others at all, the seeds and folds of each.

    Where these are few because some budgets have others, of all choices of
    two budgets or more that which leaves most runs; if two do, the larger.
    """
    by_target = {
        target: {_repeat(r) for r in others if r["target_macs"] == target}
        for target in targets(others)
    }
    chosen: tuple = ()
    shared: set = set()
    for count in range(min(2, len(by_target)), len(by_target) + 1):
        for some in itertools.combinations(by_target, count):
            found = set(map(_repeat, ours)).intersection(
                *(by_target[target] for target in some)
            )
            if len(found) * count >= len(shared) * len(chosen):
                chosen, shared = some, found
    return (
        [r for r in ours if _repeat(r) in shared],
        [
            r
            for r in others
            if r["target_macs"] in chosen and _repeat(r) in shared
        ],
    )


def _ratios_by_run(ours, others) -> tuple[str, str]:
    """Of each run of ours, beside the others of its seed and fold."""
    logs, above = [], 0
    for run in ours:
        points = _means([r for r in others if _repeat(r) == _repeat(run)])
        there = statistics.cost_at(run["accuracy"], points)
        if there is not None:
            logs.append(math.log(there / run["macs"]))
        above += run["accuracy"] > max(accuracy for _, accuracy in points)
    outside = len(ours) - len(logs)
    if outside:
        parts = (f"{above} above", f"{outside - above} below")
        return f"{len(logs)} of {len(ours)} ({', '.join(parts)})", "-"
    short = statistics.summarize(logs)
    mean = f"{math.exp(short.mean):.2f}"
    if len(logs) > 1:
        mean += f" ({math.exp(short.low):.2f} to {math.exp(short.high):.2f})"
    return f"{len(logs)} of {len(ours)}", mean


def adaptive_table(records: Records) -> markdown.Table:
    """Adaptive K over K fixed to its start, at the same number of steps."""
    methods = by_method(records)
    fixed = {_key(r): r for r in methods.get(_EQUAL_STEPS, ())}
    pairs = [
        (r, fixed[_key(r)])
        for r in methods.get(plan.REFERENCE, ())
        if _key(r) in fixed and r["search"]["warm_up_architectures"]
    ]
    if not pairs:
        return (), []
    rows = [
        [
            f"{a['target_macs'] / 1e6:g} M, seed {a['seed']}"
            + ("" if a["fold"] is None else f", fold {a['fold']}"),
            *(f"{_after(one, 'architectures'):,}" for one in (a, b)),
            *(f"{f(a, b, 'architectures'):.3f}" for f in _RATIOS),
            *(f"{_after(one, 'cpu_seconds'):,.0f}" for one in (a, b)),
            *(f"{f(a, b, 'cpu_seconds'):.3f}" for f in _RATIOS),
            *(f"{100 * one['accuracy']:.2f}" for one in (a, b)),
        ]
        for a, b in pairs
    ]
    cells = []
    for name in ("architectures", "cpu_seconds"):
        cells += ["", ""]
        for ratio in _RATIOS:
            short = statistics.summarize([ratio(a, b, name) for a, b in pairs])
            _, interval = _spread(short, 1, ".3f")
            cells.append(f"{short.mean:.3f} ({interval})")
    accuracies = [f"{100 * _mean(c, lambda r: r['accuracy']):.2f}"
                  for c in zip(*pairs, strict=True)]  # fmt: skip
    rows.append(["mean (95 % interval)", *cells, *accuracies])
    header = (
        "run", "architectures, adaptive", "fixed", "ratio", "in all",
        "CPU s, adaptive", "fixed", "ratio", "in all",
        "accuracy, %, adaptive", "fixed",
    )  # fmt: skip
    return header, rows


def by_method(records: Records) -> dict[str, list[dict[str, Any]]]:
    """Records per method, in the order of `plan.COMPARED`."""
    found = {
        method: [r for r in records if r["method"] == method]
        for method in plan.COMPARED
    }
    return {method: rows for method, rows in found.items() if rows}


def targets(records: Records) -> list[float]:
    """Budgets, the smallest first."""
    return sorted({r["target_macs"] for r in records})


def _repeat(record):
    return record["seed"], record["fold"]


def _key(record):
    return record["target_macs"], *_repeat(record)


def _accuracies(records) -> dict[tuple, float]:
    return {_key(r): r["accuracy"] for r in records}


def _after(record, name):
    """Cost of a search without its warm-up."""
    return record["search"][name] - record["search"][f"warm_up_{name}"]


def _ratio_after(one, other, name) -> float:
    return _after(one, name) / _after(other, name)


def _ratio_in_all(one, other, name) -> float:
    return one["search"][name] / other["search"][name]


_RATIOS = (_ratio_after, _ratio_in_all)


def _mean(records, value: Callable) -> float:
    return sum(map(value, records)) / len(records)


def _means(records) -> list[tuple[float, float]]:
    """A point per budget."""
    return [
        point([r for r in records if r["target_macs"] == target])
        for target in targets(records)
    ]


def point(records: Records) -> tuple[float, float]:
    """Mean multiply-adds and accuracy."""
    return (
        _mean(records, lambda r: r["macs"]),
        _mean(records, lambda r: r["accuracy"]),
    )


def _spread(short: statistics.Summary, scale, form) -> tuple[str, str]:
    """Deviation and interval as text, where there is more than one value."""
    if short.count < 2:
        return "-", "-"
    low, high = (format(scale * x, form) for x in (short.low, short.high))
    return f"{scale * short.deviation:.2f}", f"{low} to {high}"
