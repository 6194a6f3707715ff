"""Tables and a plot of a comparison, from its result files alone."""

import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from autox3d_tf.runs import run_dir as run_dir_lib
from autox3d_tf.search import plan, statistics

TABLE, PLOT = "README.md", "accuracy.png"
Records = Sequence[dict[str, Any]]
Table = tuple[Sequence[str], list[list[str]]]  # header, rows
_FIXED = "parsec_equal_steps"


def write_tables(folder: str | os.PathLike) -> str:
    """Writes README.md and accuracy.png beside the results; returns the text.

    Raises:
        ValueError: As `plan.read_results`.
    """
    records = plan.read_results(folder)
    text = format_tables(records, pathlib.Path(folder).name)
    run_dir_lib.write_text(pathlib.Path(folder, TABLE), text)
    figure = draw(records)
    figure.savefig(pathlib.Path(folder, PLOT), dpi=110)
    return text


def format_tables(records: Records, title: str) -> str:
    """Returns all tables as Markdown."""
    parts = [f"# {title}", _about(records), f"![accuracy]({PLOT})"]
    for heading, table in sections(records):
        parts += [f"## {heading}", _markdown(table)]
    return "\n\n".join(parts) + "\n"


def sections(records: Records) -> list[tuple[str, Table]]:
    """Returns all tables with their headings."""
    targets, found = _targets(records), []
    for target in targets:
        chosen = [r for r in records if r["target_macs"] == target]
        budget = f"at most {target / 1e6:g} M multiply-adds"
        found += [
            (f"Methods, {budget}", methods_table(chosen)),
            (f"Differences, {budget}", differences_table(chosen)),
        ]
    if len(targets) > 1:
        found.append(
            (
                "Multiply-adds at equal accuracy (between the means of "
                "neighbouring budgets, linear in log MACs)",
                equal_table(records),
            )
        )
    found.append(
        (
            "Adaptive against fixed samples, as many steps",
            adaptive_table(records),
        )
    )
    return [(heading, table) for heading, table in found if table[1]]


def methods_table(records: Records) -> Table:
    """Accuracy and cost of each method, records of one budget."""
    rows = []
    for method, found in _by_method(records).items():
        short = statistics.summarize([r["accuracy"] for r in found])
        rows.append(
            [
                method,
                str(short.count),
                f"{100 * short.mean:.2f}",
                f"{100 * short.deviation:.2f}",
                f"{100 * short.low:.2f} to {100 * short.high:.2f}",
                f"{_mean(found, lambda r: r['macs']) / 1e6:.3f}",
                f"{_mean(found, lambda r: r['params']) / 1e3:.1f}",
                *_cost_cells(found),
            ]
        )
    header = (
        "method", "runs", "accuracy, %", "deviation", "95 % interval",
        "MACs, M", "params, k", "inherited, %", "architectures",
        "clips processed", "CPU s",
    )  # fmt: skip
    return header, rows


def _cost_cells(found):
    if found[0]["search"] is None:
        return ["-"] * 4
    mean = {
        name: _mean(found, lambda r, name=name: r["search"][name])
        for name in ("inherited_accuracy", "architectures", "clips",
                     "cpu_seconds")
    }  # fmt: skip
    shared = any(r["search"]["supernet_from"] for r in found)
    return [
        f"{100 * mean['inherited_accuracy']:.2f}",
        f"{mean['architectures']:,.0f}",
        f"{mean['clips']:,.0f}" + (" (shared)" if shared else ""),
        f"{mean['cpu_seconds']:,.0f}",
    ]


def differences_table(records: Records) -> Table:
    """The search minus each other method, runs paired by seed and fold."""
    by_method = _by_method(records)
    ours = _accuracies(by_method.get(plan.REFERENCE, []))
    rows = []
    for method, found in by_method.items():
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
                f"{100 * short.deviation:.2f}",
                f"{100 * short.low:+.2f} to {100 * short.high:+.2f}",
            ]
        )
    header = ("difference", "pairs", "points", "deviation", "95 % interval")
    return header, rows


def equal_table(records: Records) -> Table:
    """What the search saves at the accuracy that it has at each budget."""
    points = {
        method: [
            _point([r for r in found if r["target_macs"] == target])
            for target in _targets(found)
        ]
        for method, found in _by_method(records).items()
    }
    rows = []
    for macs, accuracy in points.get(plan.REFERENCE, ()):
        for method, others in points.items():
            if method == plan.REFERENCE:
                continue
            there = statistics.cost_at(accuracy, others)
            ratio = "beyond what was measured"
            if there is not None:
                ratio = f"{there / macs:.2f}"
            rows.append(
                [
                    method,
                    f"{100 * accuracy:.2f}",
                    f"{macs / 1e6:.3f}",
                    "-" if there is None else f"{there / 1e6:.3f}",
                    ratio,
                ]
            )
    header = (
        "method", "accuracy of the search, %", "its MACs, M",
        "MACs of the method, M", "ratio",
    )  # fmt: skip
    return header, rows


def adaptive_table(records: Records) -> Table:
    """Adaptive K over K fixed to its start, at the same number of steps."""
    by_method = _by_method(records)
    fixed = {_key(r): r for r in by_method.get(_FIXED, ())}
    pairs = [
        (r, fixed[_key(r)])
        for r in by_method.get(plan.REFERENCE, ())
        if _key(r) in fixed
    ]
    if not pairs:
        return (), []
    rows = [
        [
            f"{a['target_macs'] / 1e6:g} M, seed {a['seed']}"
            + ("" if a["fold"] is None else f", fold {a['fold']}"),
            *(f"{one['search']['architectures']:,}" for one in (a, b)),
            f"{_ratio(a, b, 'architectures'):.3f}",
            *(f"{one['search']['cpu_seconds']:,.0f}" for one in (a, b)),
            f"{_ratio(a, b, 'cpu_seconds'):.3f}",
            *(f"{100 * one['accuracy']:.2f}" for one in (a, b)),
        ]
        for a, b in pairs
    ]
    cells = []
    for name in ("architectures", "cpu_seconds"):
        short = statistics.summarize([_ratio(a, b, name) for a, b in pairs])
        cells.append(f"{short.mean:.3f} ({short.low:.3f} to {short.high:.3f})")
    accuracies = [f"{100 * _mean(c, lambda r: r['accuracy']):.2f}"
                  for c in zip(*pairs, strict=True)]  # fmt: skip
    rows.append(
        [
            "mean (95 % interval)",
            "",
            "",
            cells[0],
            "",
            "",
            cells[1],
            *accuracies,
        ]
    )
    header = (
        "run", "architectures, adaptive", "fixed", "ratio", "CPU s, adaptive",
        "fixed", "ratio", "accuracy, %, adaptive", "fixed",
    )  # fmt: skip
    return header, rows


def draw(records: Records):
    """Accuracy over multiply-adds with 95 % intervals."""
    from matplotlib import figure as figure_lib  # no display is needed

    figure = figure_lib.Figure(figsize=(7, 4.5), layout="constrained")
    axis = figure.subplots()
    for method, found in _by_method(records).items():
        points = []
        for target in _targets(found):
            chosen = [r for r in found if r["target_macs"] == target]
            short = statistics.summarize([r["accuracy"] for r in chosen])
            margin = short.mean - short.low if short.count > 1 else 0.0
            points.append((_point(chosen)[0] / 1e6, short.mean, margin))
        macs, means, margins = zip(*points, strict=True)
        axis.errorbar(
            macs,
            [100 * mean for mean in means],
            [100 * margin for margin in margins],
            marker="o",
            markersize=4,
            capsize=3,
            linewidth=1,
            label=method,
        )
    axis.set_xscale("log")
    axis.set_xlabel("multiply-adds of a clip, M")
    axis.set_ylabel("accuracy, % (mean, 95 % interval)")
    axis.legend(fontsize=8)
    return figure


def _about(records) -> str:
    clips = sorted({t["clips"] for r in records for t in r["tests"]})
    folds = sorted({r["fold"] for r in records if r["fold"] is not None})
    dates = sorted(r["provenance"]["created"][:10] for r in records)
    space = records[0]["arch"]["clip_size"]
    known = "\n".join(
        f"- `{method}`: {plan.METHODS[method]}"
        for method in _by_method(records)
    )
    shared = any(r["search"] and r["search"]["supernet_from"] for r in records)
    lines = [
        f"{len(records)} runs, {dates[0]} to {dates[-1]}, made by "
        f"`{' '.join(_command(records[0]))}`; this page by `autox3d-results`. "
        f"Clips of {'x'.join(map(str, space))}; each network trained from "
        f"scratch with one recipe and tested on "
        f"{' or '.join(f'{n:,}' for n in clips)} held-out clips"
        + (f" (folds {', '.join(map(str, folds))} in turn)" if folds else "")
        + ", one view of each. A clip processed counts once whether it goes "
        "forward and back or forward only; intervals are Student's, over "
        "runs. `inherited` is the accuracy with the supernet's weights on the "
        "clips the search chose by.",
        known,
    ]
    if shared:
        lines.append(
            "(shared): evolution and random search pick from one uniform-path "
            "supernet per seed, also for all budgets, as it knows none. Clips "
            "are counted as if each had trained its own; their CPU seconds "
            "count it once."
        )
    return "\n\n".join(lines)


def _command(record):
    command = record["provenance"]["command"]
    return [pathlib.Path(command[0]).name, *command[1:]]


def _by_method(records: Records) -> dict[str, list[dict]]:
    """Records per method, in the order of `plan.METHODS`."""
    found = {
        method: [r for r in records if r["method"] == method]
        for method in plan.METHODS
    }
    return {method: rows for method, rows in found.items() if rows}


def _targets(records) -> list[float]:
    return sorted({r["target_macs"] for r in records})


def _key(record):
    return record["target_macs"], record["seed"], record["fold"]


def _accuracies(records) -> dict[tuple, float]:
    return {_key(r): r["accuracy"] for r in records}


def _ratio(one, other, name) -> float:
    return one["search"][name] / other["search"][name]


def _mean(records, value: Callable) -> float:
    return sum(map(value, records)) / len(records)


def _point(records) -> tuple[float, float]:
    """Mean multiply-adds and accuracy."""
    return (
        _mean(records, lambda r: r["macs"]),
        _mean(records, lambda r: r["accuracy"]),
    )


def _markdown(table: Table) -> str:
    header, rows = table
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
