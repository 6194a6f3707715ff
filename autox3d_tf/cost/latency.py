"""Milliseconds of a part, from a table measured on a device.

They are for a clip, or for a frame of a network of a causal space.

A space has too many distinct blocks to time each, but every block is the same
few operations. A table therefore holds one coefficient per *term*, fitted to
measured blocks, and a part takes the sum of its terms, amount times
coefficient:

    pointwise convolution at a size: macs (in * out), in, out
    strided shortcut into a size: macs (in * out), in, out
    depthwise kernels of a type, with its activation, at a size: channels
    squeeze-excite at a size: channels, and once for its small operations
    block of a type: once, for what each operation costs whatever its size
    stem: once; head: once, and the channels it receives

Channels that an operation writes are rounded up to the table's `tile`, since
kernels compute whole vectors. No coefficient is negative: a wider network is
never predicted to be faster.
"""

import dataclasses
import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from autox3d_tf.base import checks
from autox3d_tf.base import files as files_lib
from autox3d_tf.base import text as text_lib
from autox3d_tf.cost import parts as parts_lib
from autox3d_tf.space import arch as arch_lib

SCHEMA_VERSION = 1
METRIC = "latency_ms"
PER = ("clip", "frame")  # what a network of a causal space takes is a frame


def terms(part: parts_lib.Part, tile: int = 1) -> dict[str, float]:
    """Returns what a part consists of, term -> amount.

    Args:
        part: Of `parts_of`.
        tile: Written channels are rounded up to a multiple of it.
    """
    if part.kind == "stem":
        return {f"stem {text_lib.times(part.in_size)}": 1}
    if part.kind == "head":
        key = text_lib.times(part.in_size)
        return {f"head {key}": 1, f"head {key} in": part.in_channels}
    spec = part.block.spec
    before, after = text_lib.times(part.in_size), text_lib.times(part.out_size)
    inner = _round_up(spec.inner_filters, tile)
    filters = _round_up(spec.filters, tile)
    found: dict[str, float] = {}

    def pointwise(name, channels, written):
        for what, amount in (
            ("macs", channels * written),
            ("in", channels),
            ("out", written),
        ):
            key = f"{name} {what}"
            found[key] = found.get(key, 0) + amount

    pointwise(f"pointwise {before}", part.in_channels, inner)
    pointwise(f"pointwise {after}", spec.inner_filters, filters)
    if part.block.projects:
        name = f"shortcut {before} {after}"
        pointwise(name, part.in_channels, filters)
    found[f"{spec.block_type} {before} {after}"] = inner
    found[f"{spec.block_type}"] = 1
    if spec.se_filters:
        found[f"se {after}"] = inner
        found["se"] = 1
    return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class LatencyTable:
    """What parts take on one device, in one precision.

    Attributes:
        coefficients: Milliseconds per unit of a term.
        tile: See `terms`.
        precision, threads: Of the networks that were timed.
        runtime: Interpreter and version.
        device: Processor.
        space_name, space_fingerprint: Of the space whose blocks were timed.
        activation, causal: Of all networks of that space.
        per: One of `PER`, what the milliseconds are for.
    """

    coefficients: Mapping[str, float]
    tile: int
    precision: str
    threads: int
    runtime: str
    device: str
    space_name: str
    space_fingerprint: str
    activation: str
    causal: bool
    per: str = "clip"

    def __post_init__(self):
        checks.check_choice("per", self.per, PER)

    def part_ms(self, part: parts_lib.Part) -> float:
        """Predicted milliseconds of a part.

        Raises:
            ValueError: The table holds no such part.
        """
        found = terms(part, self.tile)
        unknown = [term for term in found if term not in self.coefficients]
        if unknown:
            raise ValueError(
                f"The latency table of space {self.space_name!r} has no "
                f"measurement of {unknown[0]!r}, in {part.name}. Measure the "
                "space or clip size that is asked for: autox3d-benchmark "
                "--table."
            )
        return sum(self.coefficients[t] * amount for t, amount in found.items())

    def network_ms(
        self,
        arch: arch_lib.ArchSpec,
        num_classes: int,
        clip_size: tuple[int, int, int] | None = None,
    ) -> float:
        """Predicted milliseconds of a whole network.

        Args:
            arch: The network.
            num_classes: Outputs.
            clip_size: `(frames, height, width)`; None for the network's own.

        Raises:
            ValueError: It is not of the kind that was timed.
        """
        self._check_network(arch)
        parts = parts_lib.parts_of(
            arch, clip_size or arch.clip_size, num_classes
        )
        return sum(self.part_ms(part) for part in parts)

    def _check_network(self, arch: arch_lib.ArchSpec) -> None:
        """Raises ValueError for a network with what no term tells apart."""
        for name in ("activation", "causal"):
            timed, wanted = getattr(self, name), getattr(arch, name)
            if timed != wanted:
                raise ValueError(
                    f"The latency table of space {self.space_name!r} is for "
                    f"networks with {name}={timed!r}. Received: {arch.name!r} "
                    f"with {name}={wanted!r}. Measure a space of such "
                    "networks: autox3d-benchmark --table."
                )

    def check_space(self, space) -> None:
        """Raises ValueError unless the table is of this `SearchSpace`."""
        if space.fingerprint != self.space_fingerprint:
            raise ValueError(
                f"The latency table must be of space {space.name!r} "
                f"({space.fingerprint[:12]}). Received: one of "
                f"{self.space_name!r} ({self.space_fingerprint[:12]}). "
                "Measure this space: autox3d-benchmark --table."
            )

    def __str__(self) -> str:
        plural = "thread" if self.threads == 1 else "threads"
        return (
            f"ms per {self.per}, {self.precision}, {self.threads} {plural}, "
            f"{self.runtime}, {self.device}"
        )


def load_latency_table(
    path: str | os.PathLike,
    precision: str = "int8",
    threads: int = 1,
    runtime: str | None = None,
) -> LatencyTable:
    """Reads one column of a table that autox3d-benchmark --table wrote.

    Args:
        path: The JSON file.
        precision, threads: Which column.
        runtime: Name of the interpreter the network is meant for, such as
            "tflite-runtime", with or without version; any by default.

    Raises:
        ValueError: The file is damaged, has no such column, or was measured
            with another runtime.
    """
    return _read(
        path, lambda d: _column_of(path, d, precision, threads, runtime)
    )


def load_latency_tables(
    path: str | os.PathLike, threads: Sequence[int], runtime: str | None = None
) -> list[LatencyTable]:
    """Reads all columns of a table at some numbers of threads.

    Args:
        path, runtime: As of `load_latency_table`.
        threads: Which columns.
    """

    def columns_of(data):
        return [
            _column_of(path, data, c["precision"], c["threads"], runtime)
            for c in data["columns"]
            if c["threads"] in threads
        ]

    return _read(path, columns_of)


def _read(path, take: Callable[[Mapping[str, Any]], Any]):
    """What is taken from a table; ValueError in a line if it is damaged."""
    data = files_lib.read_json(path, "a latency table")
    _check_format(path, data)
    try:
        return take(data)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is a damaged latency table ({type(error).__name__}: "
            f"{error}). Measure again: autox3d-benchmark --table."
        ) from error


def _column_of(path, data, precision, threads, runtime) -> LatencyTable:
    columns = {(c["precision"], c["threads"]): c for c in data["columns"]}
    column = columns.get((precision, threads))
    if column is None:
        known = ", ".join(f"{p} at {t}" for p, t in columns)
        raise ValueError(
            f"{path} must hold {precision} at {threads} threads. Received: "
            f"{known}. Take one of these (a search by PRECISION and THREADS, "
            "autox3d-describe by --precision and --latency_threads), or "
            "measure it: autox3d-benchmark --table "
            f"--precisions={precision} --threads_list={threads}."
        )
    measured = data["device"]["runtime"]  # "name version"
    name, *_ = measured.split(" ")
    if runtime is not None and runtime not in (measured, name):
        raise ValueError(
            f"{path} must be measured with runtime {runtime!r}. Received: "
            f"{measured!r}. Measure it there: autox3d-benchmark --table "
            "--runtime."
        )
    coefficients = column["coefficients"]
    if any(not 0 <= value < math.inf for value in coefficients.values()):
        raise ValueError(
            f"{path} is a damaged latency table: a coefficient is below 0 or "
            "no number. Measure again: autox3d-benchmark --table."
        )
    if type(column["tile"]) is not int or column["tile"] < 1:
        raise ValueError(
            f"{path} is a damaged latency table: its tile is "
            f"{column['tile']!r}. Measure again: autox3d-benchmark --table."
        )
    first = data["archs"][0]  # all of a space have these two in common
    return LatencyTable(
        coefficients=coefficients,
        tile=column["tile"],
        precision=precision,
        threads=threads,
        runtime=measured,
        device=data["device"]["processor"],
        space_name=data["space"]["name"],
        space_fingerprint=data["space"]["fingerprint"],
        activation=first["activation"],
        causal=first["causal"],
        per=data.get("per", "clip"),  # tables from before streams were timed
    )


def _check_format(path, data: Any) -> None:
    if not isinstance(data, dict) or data.get("kind") != "latency_table":
        raise ValueError(
            f"{path} is not a latency table. Write one: autox3d-benchmark "
            "--table."
        )
    version = data.get("schema_version")
    if version != SCHEMA_VERSION:
        raise ValueError(
            f"{path} must have schema_version={SCHEMA_VERSION}. Received: "
            f"schema_version={version!r}. Measure again: autox3d-benchmark "
            "--table."
        )


def _round_up(channels: int, tile: int) -> int:
    return math.ceil(channels / tile) * tile
