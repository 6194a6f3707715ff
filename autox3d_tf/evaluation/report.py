"""Writes an evaluation for people: no number without its protocol."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from autox3d_tf.training import protocol as protocol_lib

_MOST_CLASSES = 30  # whose confusion matrix people can read
_NAMED = 10


def protocol_line(result: Mapping[str, Any]) -> str:
    """Returns what an accuracy was measured with, on one line.

    Args:
        result: Of `run.run_evaluation`.
    """
    return protocol_lib.protocol_line(
        result["protocol"], result["clips"], result["annotated_clips"]
    )


def accuracy_lines(result: Mapping[str, Any]) -> list[str]:
    """Returns the accuracies, each with its protocol."""
    low, high = result["top1_interval"]
    clips, protocol = result["clips"], protocol_line(result)
    lines = [
        f"top-1 {percent(result['top1'])} ({result['top1_correct']} of "
        f"{clips}; 95 % interval {percent(low)} to {percent(high)}): "
        f"{protocol}",
    ]
    if len(result["confusion"]) > 5:  # or all are among five
        lines.append(f"top-5 {percent(result['top5'])}: {protocol}")
    mean = percent(result["mean_class_accuracy"])
    return [*lines, f"mean class accuracy {mean}: {protocol}"]


def summary(result: Mapping[str, Any]) -> str:
    """Returns the accuracies and what was left out."""
    lines = accuracy_lines(result)
    left_out = result["left_out"]
    if left_out:
        known = result["annotated_clips"] is not None
        title = "Not evaluated" if known else "Not usable, of all parts"
        lines.append(f"{title} ({len(left_out)} clips):")
        lines += [
            f"  {row['path']}: {row['status']} ({row['detail']})"
            for row in left_out
        ]
    return "\n".join(lines)


def curve_table(result: Mapping[str, Any]) -> str:
    """Returns accuracy against the number of views."""
    protocol = result["protocol"]
    lines = [
        "accuracy by views, out of one pass: " + protocol_line(result),
        f"{'views':>5} {'top-1':>8} {'95 % interval':>20} {'M MACs':>10}",
    ]
    for point in result["curve"]:
        low, high = point["interval"]
        macs = point["views"] * protocol["macs_per_view"] / 1e6
        interval = f"{percent(low)} - {percent(high)}"
        lines.append(
            f"{point['views']:>5} {percent(point['top1']):>8} "
            f"{interval:>20} {macs:>10,.1f}"
        )
    return "\n".join(lines)


def classes_table(
    confusion: Sequence[Sequence[int]], labels: Sequence[str]
) -> str:
    """Returns what became of each class.

    The confusion matrix, rows are labels; of more than 30 classes the ten
    with the least accuracy and the ten most frequent confusions.
    """
    if len(labels) > _MOST_CLASSES:
        return _worst(np.asarray(confusion), labels)
    names = [
        label if len(label) <= 20 else label[:19] + "…" for label in labels
    ]
    width = max(map(len, names))
    cells = max(3, *(len(str(n)) + 1 for row in confusion for n in row))
    head = "".join(f"{number:>{cells}}" for number in range(len(names)))
    lines = [
        "rows: true class; columns: predicted class, by number; last: accuracy",
        f"{'':<{width + 4}}{head}",
    ]
    for number, (name, row) in enumerate(zip(names, confusion, strict=True)):
        counts = "".join(f"{n or '.':>{cells}}" for n in row)
        right = percent(row[number] / sum(row)) if sum(row) else "no clips"
        lines.append(f"{number:>3} {name:<{width}}{counts} {right:>9}")
    return "\n".join(lines)


def _worst(confusion: np.ndarray, labels: Sequence[str]) -> str:
    clips, right = confusion.sum(axis=1), np.diag(confusion)
    present = np.flatnonzero(clips)
    accuracy = right[present] / clips[present]
    lines = ["the classes with the least accuracy:"]
    for i in present[np.argsort(accuracy, kind="stable")][:_NAMED]:
        share = percent(right[i] / clips[i])
        lines.append(f"{share:>8} {right[i]:>5} of {clips[i]:>5}  {labels[i]}")
    wrong = confusion - np.diag(right)
    often = np.argsort(-wrong, axis=None, kind="stable")[:_NAMED]
    lines.append("the most frequent confusions (evaluation.json has all):")
    for i, j in zip(*np.unravel_index(often, wrong.shape), strict=True):
        if wrong[i, j]:
            lines.append(
                f"{wrong[i, j]:>8} of {clips[i]:>5}  {labels[i]}, "
                f"predicted as {labels[j]}"
            )
    return "\n".join(lines)


def percent(share: float) -> str:
    """Writes a share in percent.

    >>> percent(0.9286)
    '92.9 %'
    """
    return f"{100 * share:.1f} %"
