"""Milliseconds per clip, measured so that the ratios can be trusted.

All candidates take turns within one run, so that a machine that slows down
slows all of them, and a ratio is taken within each turn. Needs numpy and an
interpreter only.
"""

import dataclasses
import os
import pathlib
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from autox3d_edge import interpreters, streaming
from autox3d_edge import manifest as manifest_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timing:
    """How long one candidate takes.

    Attributes:
        name: Of the candidate.
        median: Milliseconds.
        low, high: The middle half of the repeats lies between them.
        ratio: To the first candidate in the same round, median over rounds.
        repeats: How many were timed.
    """

    name: str
    median: float
    low: float
    high: float
    ratio: float
    repeats: int


def time_in_turns(
    candidates: Mapping[str, Callable[[], Any]],
    repeats: int = 20,
    warmup: int = 2,
) -> list[Timing]:
    """Times callables in turns; ratios are relative to the first.

    Args:
        candidates: Name -> what to time.
        repeats: Timed rounds; each calls every candidate once.
        warmup: Rounds before that.
    """
    if not candidates or repeats < 1:
        raise ValueError(
            "`candidates` must not be empty and `repeats` at least 1. "
            f"Received: {len(candidates)} candidates, repeats={repeats}."
        )
    times = {name: [] for name in candidates}
    for round_number in range(-warmup, repeats):
        for name, candidate in candidates.items():
            start = time.perf_counter()
            candidate()
            if round_number >= 0:
                times[name].append(1e3 * (time.perf_counter() - start))
    first = np.array(times[next(iter(times))])
    return [_timing(name, values, first) for name, values in times.items()]


def benchmark_files(
    paths: Mapping[str, str | os.PathLike | bytes],
    threads: Sequence[int] = (1, 2),
    repeats: int = 20,
    runtime: str | None = None,
) -> list[Timing]:
    """Times exported files on each number of threads, all in turns.

    A stream is timed for one frame, moving its states included.

    Args:
        paths: Name -> exported file, or flatbuffer bytes. Timings are called
            as `label` says.
        threads: Numbers of threads to try.
        repeats: As in `time_in_turns`.
        runtime: As in `Recognizer`.
    """
    candidates = {}
    for name, path in paths.items():
        model, stream = _read_any(path)
        for count in threads:
            run = streaming.make_runner(model, stream, count, runtime)
            rng = np.random.default_rng(0)
            run.set_clip(rng.integers(0, 256, run.clip_shape, np.uint8))
            candidates[label(name, count)] = run.invoke
    return time_in_turns(candidates, repeats)


def label(name: str, threads: int) -> str:
    """Returns what the timing of a file on so many threads is called.

    >>> label("int8", 2)
    'int8, 2 threads'
    """
    return f"{name}, {threads} thread{'s' * (threads != 1)}"


def format_table(timings: Sequence[Timing]) -> str:
    """Returns a table for people."""
    width = max(len(timing.name) for timing in timings)
    lines = [f"{'':{width}}  ms median   middle half   ratio"]
    for timing in timings:
        spread = f"{timing.low:.2f}-{timing.high:.2f}"
        lines.append(
            f"{timing.name:{width}}  {timing.median:9.2f}  {spread:>12}"
            f"  {timing.ratio:6.2f}"
        )
    return "\n".join(lines)


def device_description(runtime: str | None = None) -> dict[str, Any]:
    """Returns what the numbers were measured on."""
    return {
        "processor": _processor(),
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "cores": os.cpu_count(),
        "runtime": interpreters.describe(runtime),
        "python": platform.python_version(),
    }


def _timing(name, values, first) -> Timing:
    low, median, high = np.percentile(values, (25, 50, 75))
    return Timing(
        name=name,
        median=float(median),
        low=float(low),
        high=float(high),
        ratio=float(np.median(values / first)),
        repeats=len(values),
    )


def _read_any(path) -> tuple[bytes, manifest_lib.Stream | None]:
    """The flatbuffer of a file of ours; bytes are taken as they are."""
    if isinstance(path, bytes):
        return path, None
    model, manifest = manifest_lib.read_model(path)
    return model, manifest.stream


def _processor() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [
        line.split(":", 1)[1].strip()
        for line in lines
        if line.startswith(("model name", "Model"))
    ]
    return names[0] if names else platform.processor()
