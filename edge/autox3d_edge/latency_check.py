"""Predicts networks that a latency table has not seen, and times them."""

import os
import tempfile
from collections.abc import Sequence

from autox3d_edge import benchmark, latency_bundle, latency_table
from autox3d_tf import cost, space
from autox3d_tf.base import checks
from autox3d_tf.base import files as files_lib

_SEED = 1  # other networks than those the table was made with


def check_table(
    path: str | os.PathLike,
    count: int = 20,
    threads: Sequence[int] = (1,),
    runtime: str | None = None,
) -> str:
    """Returns a line per column of a table: how far predictions are off.

    Args:
        path: The table; it must be of this device.
        count: Networks, drawn uniformly from the space.
        threads: The columns that are checked.
        runtime: Interpreter; the one of the table must be the same.

    Raises:
        ValueError: The table is of another device, runtime, version or space.
    """
    here = benchmark.device_description(runtime)
    tables = cost.load_latency_tables(path, threads, here["runtime"])
    if not tables:
        wanted = ",".join(map(str, threads))
        raise ValueError(
            f"{path} has no column at threads={list(threads)}. Check those "
            "that it has by --threads_list, or measure it: autox3d-benchmark "
            f"--table --space --threads_list={wanted}."
        )
    record = files_lib.read_json(path, "a latency table")
    for name in ("processor", "machine", "cores"):
        there = record["device"].get(name)
        if there != here[name]:
            raise ValueError(
                f"{path} must be measured on this device to be checked here. "
                f"Received: {name}={there!r}, here {here[name]!r}. Check it "
                "there, or measure this one: autox3d-benchmark --table."
            )
    classes = record.get("num_classes")
    checks.check_positive_int("num_classes", classes)
    search_space = _space_of(record["space"])
    tables[0].check_space(search_space)
    per = latency_bundle.per(search_space)
    if tables[0].per != per:
        raise ValueError(
            f"{path} must hold ms per {per}. Received: ms per {tables[0].per}, "
            "from before streams were timed. Measure again: autox3d-benchmark "
            "--table."
        )
    with tempfile.TemporaryDirectory() as folder:
        latency_bundle.make_bundle(
            search_space,
            folder,
            precisions=sorted({table.precision for table in tables}),
            num_classes=classes,
            samples=0,
            check=count,
            seed=_SEED,
            progress=print,
        )
        return "\n".join(_check(table, folder, runtime) for table in tables)


def _space_of(about) -> space.SearchSpace:
    """The space that a table holds; a named one, of tables from before."""
    if "definition" in about:
        return space.SearchSpace.from_dict(about["definition"])
    if about["name"] in space.SPACES:
        return space.get_space(about["name"])
    raise ValueError(
        "The latency table must hold the space it is of to be checked. "
        f"Received: the name {about['name']!r} alone. Measure again: "
        "autox3d-benchmark --table --space."
    )


def _check(table, folder, runtime) -> str:
    pairs = latency_table.predicted_and_measured(table, folder, runtime)
    return f"{table}: {latency_table.format_check(pairs)}"
