"""Writes an evaluation for people: no number without its protocol."""

from collections.abc import Mapping, Sequence
from typing import Any

from autox3d_tf.training import protocol as protocol_lib


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
    return [
        f"top-1 {percent(result['top1'])} ({result['top1_correct']} of "
        f"{clips}; 95 % interval {percent(low)} to {percent(high)}): "
        f"{protocol}",
        f"top-5 {percent(result['top5'])}: {protocol}",
        f"mean class accuracy {percent(result['mean_class_accuracy'])}: "
        f"{protocol}",
    ]


def summary(result: Mapping[str, Any]) -> str:
    """Returns the accuracies and what was left out."""
    lines = accuracy_lines(result)
    left_out = result["left_out"]
    if left_out:
        lines.append(f"Not evaluated ({len(left_out)} clips):")
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


def confusion_table(
    confusion: Sequence[Sequence[int]], labels: Sequence[str]
) -> str:
    """Returns the confusion matrix as text: rows are labels."""
    names = [
        label if len(label) <= 20 else label[:19] + "…" for label in labels
    ]
    width = max(map(len, names))
    cells = max(3, *(len(str(n)) + 1 for row in confusion for n in row))
    head = "".join(f"{number:>{cells}}" for number in range(len(names)))
    lines = [
        "rows: label; columns: what was said, by number",
        f"{'':<{width + 4}}{head}",
    ]
    for number, (name, row) in enumerate(zip(names, confusion, strict=True)):
        counts = "".join(f"{n or '.':>{cells}}" for n in row)
        lines.append(f"{number:>3} {name:<{width}}{counts}")
    return "\n".join(lines)


def percent(share: float) -> str:
    """Writes a share in percent.

    >>> percent(0.9286)
    '92.9 %'
    """
    return f"{100 * share:.1f} %"
