"""The table that an export prints."""

from collections.abc import Mapping, Sequence
from typing import Any

from autox3d_edge import (
    audit,
    benchmark,
    long_videos,
    op_support,
    stream_export,
)
from autox3d_tf.training import protocol as protocol_lib


def format_export(result: Mapping[str, Any], threads: Sequence[int]) -> str:
    """Returns the comparison as a table for people."""
    timings = {t["name"]: t for t in result["timings"]}
    heads = [benchmark.label("ms", count) for count in threads]
    lines = [
        f"{'':<20}{'top-1':>16}{'as Keras':>12}{'size':>12}{'activations':>13}"
        + "".join(f"{head:>16}" for head in heads)
    ]
    if result["keras"]:
        lines.append(f"{'Keras':<20}{_share(result['keras']):>16}")
    for precision, report in result["files"].items():
        test = report.get("test")
        row = f"{precision:<20}"
        row += f"{_share(test) if test else '-':>16}"
        row += f"{_agreement(test) if test else '-':>12}"
        row += f"{report['bytes'] / 1024:>8.0f} KiB"
        row += f"{report['activation_bytes'] / 1024:>9.0f} KiB"
        for count in threads:
            timing = timings[benchmark.label(precision, count)]
            row += f"{timing['median']:>16.2f}"
        lines.append(row)
    device = result["device"]
    lines.append(
        f"top-1 on part {result['test_part']!r}: {_protocol(result)}; ms per "
        "clip, of a "
        f"stream per frame: median of runs in turns, {device['processor']}, "
        f"{device['runtime']}; activations: most bytes at once, as planned"
    )
    lines += stream_export.format_drifts(result["drifts"])
    if any(name.endswith(stream_export.SUFFIX) for name in result["files"]):
        lines += long_videos.format_score(result["left_running"])
    lines.append(_format_calibration(result["calibration"]))
    return "\n".join([*lines, *format_fall_back(result["files"])])


def format_fall_back(files: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Returns, for one file of clips and one of streams, what falls back.

    It is the first in int8, which a device would get, or else the first.

    Args:
        files: By name, what was written of each file.
    """
    shown = []
    for streams in (False, True):
        names = [
            n for n in files if n.endswith(stream_export.SUFFIX) == streams
        ]
        int8 = [
            n for n in names if files[n]["precision"] in audit.INT8_PRECISIONS
        ]
        shown += (int8 or names)[:1]
    lines = []
    for name in shown:
        seen = files[name]["audit"]
        text = op_support.format_fall_back(
            seen["fall_back_on_paper"], sum(seen["operators"].values())
        )
        lines.append(f"{name}: {text}")
    return lines


def _share(test) -> str:
    return f"{test['right']}/{test['clips']} = {test['top1']:.1%}"


def _agreement(test) -> str:
    return f"{test['agrees']}/{test['clips']}"


def _protocol(result) -> str:
    if result["protocol"] is None:
        return "not tested"
    return protocol_lib.protocol_line(
        result["protocol"], result["keras"]["clips"]
    )


def _format_calibration(drawn) -> str:
    counts = drawn["per_class"].values()
    return (
        f"calibrated on {drawn['clips']} clips of part 'train' of "
        f"manifest {drawn['manifest'][:12]}, {min(counts)} to "
        f"{max(counts)} of each class, seed {drawn['seed']}, "
        f"sha256 {drawn['sha256'][:12]}"
    )
