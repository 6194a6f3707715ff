"""The page of a comparison: its tables as Markdown, and a plot."""

import os
import pathlib

from autox3d_tf.base import files as files_lib
from autox3d_tf.base import text as text_lib
from autox3d_tf.search import markdown
from autox3d_tf.studies import plan, statistics, tables

PAGE, PLOT = "README.md", "accuracy.png"


def write_page(folder: str | os.PathLike) -> str:
    """Writes README.md and accuracy.png beside the results; returns the text.

    Raises:
        ValueError: As `plan.read_results`.
    """
    records = plan.read_results(folder)
    text = format_page(records, pathlib.Path(folder).name)
    files_lib.write_text(pathlib.Path(folder, PAGE), text)
    figure = draw(records)
    figure.savefig(pathlib.Path(folder, PLOT), dpi=110)
    return text


def format_page(records: tables.Records, title: str) -> str:
    """Returns the whole page as Markdown."""
    parts = [f"# {title}", _about(records), f"![accuracy]({PLOT})"]
    return "\n\n".join([*parts, format_tables(records)])


def format_tables(records: tables.Records) -> str:
    """Returns all tables as Markdown."""
    parts = []
    for heading, table in tables.sections(records):
        parts += [f"## {heading}", markdown.format_table(table)]
    return "\n\n".join(parts) + "\n"


def draw(records: tables.Records):
    """Accuracy over multiply-adds with 95 % intervals."""
    from matplotlib import figure as figure_lib  # no display is needed

    figure = figure_lib.Figure(figsize=(7, 4.5), layout="constrained")
    axis = figure.subplots()
    for method, found in tables.by_method(records).items():
        points = []
        for target in tables.targets(found):
            chosen = [r for r in found if r["target_macs"] == target]
            short = statistics.summarize_shares([r["accuracy"] for r in chosen])
            below, above = short.mean - short.low, short.high - short.mean
            if short.count == 1:
                below = above = 0.0
            macs, mean = tables.point(chosen)
            points.append((macs / 1e6, 100 * mean, 100 * below, 100 * above))
        macs, means, *margins = zip(*points, strict=True)
        axis.errorbar(
            macs,
            means,
            margins,
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
    days = sorted({dates[0], dates[-1]})
    space = records[0]["arch"]["clip_size"]
    known = "\n".join(
        f"- `{method}`: {plan.COMPARED[method]}"
        for method in tables.by_method(records)
    )
    searched = any(r["search"] for r in records)
    lines = [
        f"{len(records)} runs, {' to '.join(days)}, made by "
        f"`{_command(records[0])}`; this page by `autox3d-results`. "
        f"Clips of {text_lib.times(space)}; each network trained from "
        f"scratch with one recipe and tested on "
        f"{' or '.join(f'{n:,}' for n in clips)} held-out clips"
        + (f" (folds {', '.join(map(str, folds))} in turn)" if folds else "")
        + ", one view of each. A clip processed counts once whether it goes "
        "forward and back or forward only; intervals are Student's, over "
        "runs (seeds and folds taken as independent). `inherited` is the "
        "accuracy with the supernet's weights on the clips the search chose "
        "by.",
        known,
    ]
    if searched:
        lines.append(
            "All methods and budgets take one supernet per seed and fold, "
            "warmed up on uniform paths. Clips, architectures and CPU seconds "
            "are counted as if each had warmed up its own."
        )
    if others := plan.other_options(records):
        lines.append(
            "Searches with other options than the first of `probabilistic`:\n\n"
            + "\n".join(f"- {line}" for line in others)
        )
    return "\n\n".join(lines)


def _command(record):
    program, *arguments = record["provenance"]["command"]
    words = [pathlib.Path(program).name]
    words += map(text_lib.without_folders, arguments)
    return " ".join(map(text_lib.quoted, words))
