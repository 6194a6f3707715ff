"""A search as one self-contained HTML page."""

import base64
import html
import io
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from autox3d_tf import cost
from autox3d_tf.runs import json_lines
from autox3d_tf.search import history as history_lib
from autox3d_tf.search import options, plan, results, tables
from autox3d_tf.space import arch as arch_lib
from autox3d_tf.space import search_space

FILE = "report.html"
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem;
       margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; }
td, th { padding: .2rem .7rem; border-bottom: 1px solid #ddd;
         text-align: right; }
td:first-child, th:first-child { text-align: left; }
img { max-width: 100%; }
code { font-size: .9em; }
"""


def write_report(
    run_dir: str | os.PathLike, baselines: str | os.PathLike | None = None
) -> pathlib.Path:
    """Writes report.html into the directory of a search; returns its path.

    Args:
        run_dir: Of a search. One that is still going is drawn so far.
        baselines: The folder of a comparison's results, to add its tables.

    Raises:
        ValueError: If there is nothing to draw.
    """
    run_dir = pathlib.Path(run_dir)
    entries = json_lines.read(run_dir / history_lib.FILE)
    record_path = run_dir / "search.json"
    if not entries and not record_path.is_file():
        raise ValueError(
            f"{run_dir} holds no history of a search "
            f"({history_lib.FILE} is missing or empty)."
        )
    space = search_space.load_space(run_dir / "space.json")
    sections = []
    if entries:  # a supernet that was taken leaves none
        choices = _image(draw_choices(space, entries))
        sections = [
            ("How it went", _image(draw_curves(entries))),
            ("Probabilities of the choices", choices),
        ]
    if record_path.is_file():
        record = results.read_record(run_dir)
        arch = arch_lib.load_arch(run_dir / "arch.json")
        sections = [
            ("What was found", _found(record)),
            ("The network", _image(draw_network(arch, record))),
            *sections,
            ("Judged inside the supernet", _image(draw_children(record))),
            ("The first of those within budget", _top_table(space, record)),
        ]
        if record.get("finalists"):
            sections.insert(1, ("Finalists", _finalists_table(space, record)))
    else:
        sections.insert(0, ("Still searching", _progress(entries)))
    if baselines is not None:
        sections += [
            (heading, _table(*table))
            for heading, table in tables.sections(plan.read_results(baselines))
        ]
    body = "\n".join(f"<h2>{title}</h2>\n{text}" for title, text in sections)
    title = f"Search of {html.escape(space.name)}"
    page = (
        f"<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        f"<title>{title}</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>{title}</h1>\n{body}\n</body></html>\n"
    )
    path = run_dir / FILE
    partial = path.with_name(f".{path.name}.tmp")
    partial.write_text(page, encoding="utf-8")
    os.replace(partial, path)
    return path


def draw_curves(entries: Sequence[Mapping[str, Any]]):
    """Entropy, samples, effective samples, cost, accuracy and loss."""
    figure, axes = _figure(2, 3, (11, 5.5))
    searching = [e for e in entries if e.get("effective_samples")]
    metric = next((k for k in entries[0] if k.startswith("cost_")), None)
    panels = (
        ("entropy (nats)", entries, ("entropy",)),
        ("architectures per step", entries, ("samples", "weights_samples")),
        ("effective samples", searching, ("effective_samples", "samples")),
        (f"mean {metric}", searching, (metric,) if metric else ()),
        (
            "accuracy of samples",
            searching,
            ("train_accuracy", "sample_accuracy", "best_sample_accuracy"),
        ),
        ("loss of the weights", entries, ("loss",)),
    )
    for axis, (title, rows, names) in zip(axes.flat, panels, strict=True):
        for name in names:
            axis.plot(
                [row["step"] for row in rows],
                [row[name] for row in rows],
                label=name.replace("_", " "),
            )
        if len(names) > 1 and rows:
            axis.legend(fontsize=7)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("step", fontsize=8)
    return figure


def draw_choices(
    space: search_space.SearchSpace, entries: Sequence[Mapping[str, Any]]
):
    """Heat map: a row per candidate of every choice, a column per entry."""
    names, rows, borders = [], [], []
    for position, choice in enumerate(space.choices):
        borders.append(len(rows))
        for place, candidate in enumerate(choice.candidates):
            names.append(f"{choice.name} {candidate}")
            rows.append([e["probabilities"][position][place] for e in entries])
    figure, axes = _figure(1, 1, (11, 1 + 0.13 * len(rows)))
    axis = axes.flat[0]
    steps = [entry["step"] for entry in entries]
    image = axis.imshow(
        np.array(rows), aspect="auto", cmap="viridis", vmin=0, vmax=1,
        interpolation="nearest",
        extent=(steps[0], max(steps[-1], steps[0] + 1), len(rows), 0),
    )  # fmt: skip
    axis.set_yticks(np.arange(len(rows)) + 0.5, names, fontsize=5)
    for border in borders[1:]:
        axis.axhline(border, color="white", linewidth=0.4)
    axis.set_xlabel("step", fontsize=8)
    figure.colorbar(image, ax=axis, fraction=0.03, label="probability")
    return figure


def draw_network(arch: arch_lib.ArchSpec, record: Mapping[str, Any]):
    """A box per block: width its filters, colour its kernel, MACs inside."""
    from matplotlib import patches

    found = cost.cost_of(arch, num_classes=len(record["labels"]))
    figure, axes = _figure(1, 1, (11, 1 + 0.42 * len(found.layers)))
    axis = axes.flat[0]
    widest = max(part.out_channels for part in found.layers[:-1])
    colors = dict(
        zip(arch_lib.BLOCK_TYPES, ("#9ecae1", "#c7e9c0", "#4292c6", "#fdae6b",
                                   "#a1d99b", "#bcbddc"), strict=True)
    )  # fmt: skip
    for row, part in enumerate(found.layers):
        text, color = part.kind, "#dddddd"
        width = min(1.0, part.out_channels / widest)
        if part.kind == "block":
            spec = part.spec.spec
            text = f"{spec.block_type}   inner {spec.inner_filters}"
            text += "   SE" if spec.attention == "se" else ""
            color = colors[spec.block_type]
        if part.kind == "head":
            width = 1.0
        size = "x".join(map(str, part.out_size))
        axis.add_patch(
            patches.Rectangle(
                (-width / 2, row + 0.1), width, 0.8, facecolor=color,
                edgecolor="#555555", linewidth=0.7,
            )
        )  # fmt: skip
        axis.text(0, row + 0.5, text, ha="center", va="center", fontsize=8)
        axis.text(-0.56, row + 0.5, part.name, ha="right", va="center",
                  fontsize=8)  # fmt: skip
        axis.text(
            0.56,
            row + 0.5,
            f"{part.out_channels} x {size}    {part.macs / 1e6:.2f} M MACs",
            va="center",
            fontsize=8,
        )
    axis.set_xlim(-0.95, 1.25)
    axis.set_ylim(len(found.layers), 0)
    axis.axis("off")
    return figure


def draw_children(record: Mapping[str, Any]):
    """Inherited accuracy over cost, the front of those that none beats."""
    figure, axes = _figure(1, 1, (8, 4.5))
    axis = axes.flat[0]
    metric = record["metrics"][0]
    points = np.array(
        [(child["costs"][0], child["accuracy"]) for child in record["children"]]
    )
    axis.scatter(points[:, 0], 100 * points[:, 1], s=18, label="judged")
    order = np.lexsort((-points[:, 1], points[:, 0]))
    best = np.maximum.accumulate(points[order, 1])
    front = order[points[order, 1] > np.concatenate([[-1], best[:-1]])]
    axis.step(points[front, 0], 100 * points[front, 1], where="post",
              linewidth=1, label="Pareto front")  # fmt: skip
    axis.scatter(
        [record["costs"][metric]["cost"]],
        [100 * record["inherited_accuracy"]],
        marker="*", s=160, color="crimson", label="chosen",
    )  # fmt: skip
    axis.axvline(
        record["costs"][metric]["target"], color="gray", linestyle="--",
        linewidth=1, label="budget",
    )  # fmt: skip
    axis.set_xlabel(metric)
    axis.set_ylabel("inherited accuracy, %")
    axis.legend(fontsize=8)
    return figure


def _found(record):
    counts, judged_on = record["counts"], record["judged_on"]
    clips = judged_on.get("distinct", judged_on["clips"])
    rows = [
        ("entropy at the end", f"{record['entropy']:.2f} nats"),
        ("log probability", f"{record['log_prob']:.2f}"),
        (
            "inherited accuracy",
            f"{100 * record['inherited_accuracy']:.1f} % of {clips} clips of "
            f"{record['judged_on']['of']}",
        ),
        ("architectures sampled", f"{counts['architectures']:,}"),
        ("clips, for the weights", f"{counts['clips_trained']:,}"),
        ("clips, for the architecture", f"{counts['clips_judged']:,}"),
        ("seed", record["config"]["seed"]),
        ("architecture", record["arch"][:12]),
        ("space", record["space_fingerprint"][:12]),
    ]
    if record["method"] not in options.JUDGED:
        rank = record["rank"] or "beyond what was counted"
        rows.insert(2, ("rank among all", rank))
    for metric, value in record["costs"].items():
        text = " of at most ".join(
            cost.format_amount(metric, value[name])
            for name in ("cost", "target")
        )
        rows.insert(0, (metric, text))
    return _table(("", ""), rows)


def _progress(entries):
    last = entries[-1]
    return _table(
        ("", ""),
        [("step", last["step"]), ("entropy", f"{last['entropy']:.2f} nats")],
    )


def _top_table(space, record):
    rows = []
    for place, one in enumerate(record["top"], 1):
        rows.append(
            (
                place,
                *_shape_cells(space, one["indices"]),
                f"{one['log_prob']:.2f}",
                *map(cost.format_amount, record["metrics"], one["costs"]),
                f"{100 * one['judged']['accuracy']:.1f}",
            )
        )
    header = ("", "filters", "blocks", "log probability", *record["metrics"])
    return _table((*header, "inherited accuracy, %"), rows)


def _finalists_table(space, record):
    """On halves of the clips first; the best from scratch on most of them."""
    rows = [
        (
            place,
            *_shape_cells(space, one["indices"]),
            *(f"{100 * each:.1f}" for each in one["accuracies"]),
            *[""] * (2 - len(one["accuracies"])),
            "chosen" if one["indices"] == record["indices"] else "",
        )
        for place, one in enumerate(record["finalists"], 1)
    ]
    return _table(
        ("", "filters", "blocks", "trained on, %", "from scratch, %", ""),
        rows,
    )


def _shape_cells(space, indices) -> tuple[str, str]:
    """Filters and blocks of the stages."""
    arch = space.decode(indices)
    return (
        "-".join(str(stage[0].filters) for stage in arch.stages),
        "-".join(str(len(stage)) for stage in arch.stages),
    )


def _table(header, rows):
    def line(cells, tag):
        inner = "".join(
            f"<{tag}>{html.escape(str(cell))}</{tag}>" for cell in cells
        )
        return f"<tr>{inner}</tr>"

    lines = [line(header, "th")] if any(header) else []
    lines += [line(row, "td") for row in rows]
    return "<table>\n" + "\n".join(lines) + "\n</table>"


def _figure(rows, columns, size):
    from matplotlib import figure as figure_lib  # no display is needed

    figure = figure_lib.Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def _image(figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f"<img alt='' src='data:image/png;base64,{data}'>"
