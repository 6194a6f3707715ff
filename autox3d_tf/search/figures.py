"""What a search has done and found, as figures of matplotlib."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from autox3d_tf import cost
from autox3d_tf.base import text as text_lib
from autox3d_tf.space import arch as arch_lib
from autox3d_tf.space import search_space

_LIMIT = {"color": "gray", "linestyle": "--", "linewidth": 1}  # of a budget
_ROUNDING = 1e-9  # sums of milliseconds depend on the order of the parts


def draw_curves(
    entries: Sequence[Mapping[str, Any]], targets: Mapping[str, float]
):
    """Entropy, samples, effective samples, costs, accuracy and loss.

    Args:
        entries: Of the history.
        targets: Metric -> target of its budget.
    """
    figure, axes = _figure(2, 3, (11, 5.5))
    searching = [e for e in entries if "effective_samples" in e]
    relative = [
        {
            "step": entry["step"],
            **{m: entry[f"cost_{m}"] / limit for m, limit in targets.items()},
        }
        for entry in searching
    ]
    panels = (
        ("entropy (nats)", entries, ("entropy",)),
        ("architectures per step", entries, ("samples", "weights_samples")),
        ("effective samples", searching, ("effective_samples", "samples")),
        ("mean cost / budget", relative, tuple(targets)),
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
        if rows is relative:
            axis.axhline(1, label="budget", **_LIMIT)
        if rows and len(axis.lines) > 1:
            axis.legend(fontsize=7)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("step", fontsize=8)
    return figure


def draw_choices(
    space: search_space.SearchSpace, entries: Sequence[Mapping[str, Any]]
):
    """Heat map: a row per candidate of every choice, a column per entry.

    A column ends at the step of its entry and begins at that of the last one.
    """
    names, rows, borders = [], [], []
    for position, choice in enumerate(space.choices):
        borders.append(len(rows))
        for place, candidate in enumerate(choice.candidates):
            names.append(f"{choice.name} {candidate}")
            rows.append([e["probabilities"][position][place] for e in entries])
    figure, axes = _figure(1, 1, (11, 1 + 0.13 * len(rows)))
    axis = axes.flat[0]
    steps = [entry["step"] for entry in entries]
    first = np.diff(steps)[0] if len(steps) > 1 else 1
    image = axis.pcolormesh(
        [steps[0] - first, *steps],
        np.arange(len(rows) + 1),
        np.array(rows),
        cmap="viridis",
        vmin=0,
        vmax=1,
    )
    axis.invert_yaxis()
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
            spec = part.block.spec
            text = f"{spec.block_type}   inner {spec.inner_filters}"
            text += "   SE" if spec.attention == "se" else ""
            color = colors[spec.block_type]
        if part.kind == "head":
            width = 1.0
        size = text_lib.times(part.out_size)
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
    """Inherited accuracy over each cost, the front of those that none beats.

    Hollow markers: over some budget, not always that of the panel.
    """
    judged = [*record["candidates"], *record["children"]]
    children = list({tuple(one["indices"]): one for one in judged}.values())
    metrics = record["metrics"]
    figure, axes = _figure(1, len(metrics), (max(8, 5.5 * len(metrics)), 4.5))
    costs = np.array([child["costs"] for child in children])
    accuracies = np.array([100 * child["accuracy"] for child in children])
    targets = np.array([record["costs"][m]["target"] for m in metrics])
    fits = (costs <= targets * (1 + _ROUNDING)).all(axis=1)
    for place, (axis, metric) in enumerate(
        zip(axes.flat, metrics, strict=True)
    ):
        for label, shown, face in (
            ("within budget", fits, "tab:blue"),
            ("over a budget", ~fits, "none"),
        ):
            axis.scatter(
                costs[shown, place], accuracies[shown], s=18, label=label,
                facecolors=face, edgecolors="tab:blue",
            )  # fmt: skip
        order = np.lexsort((-accuracies, costs[:, place]))
        best = np.maximum.accumulate(accuracies[order])
        front = order[accuracies[order] > np.concatenate([[-1], best[:-1]])]
        axis.step(costs[front, place], accuracies[front], where="post",
                  linewidth=1, label="Pareto front")  # fmt: skip
        axis.scatter(
            [record["costs"][metric]["cost"]],
            [100 * record["inherited_accuracy"]],
            marker="*", s=160, color="crimson", label="chosen",
        )  # fmt: skip
        axis.axvline(targets[place], label="budget", **_LIMIT)
        axis.set_xlabel(metric)
        axis.set_ylabel("inherited accuracy, %")
    axes.flat[0].legend(fontsize=8)
    return figure


def _figure(rows, columns, size):
    from matplotlib import figure as figure_lib  # no display is needed

    figure = figure_lib.Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def as_png(figure) -> bytes:
    """Returns the figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
