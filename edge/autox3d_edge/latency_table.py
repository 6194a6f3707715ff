"""Times a bundle of block models on this device and writes its latency table.

    python -m autox3d_edge.latency_table BUNDLE --out=table.json

Needs numpy and an interpreter only; the bundle carries this module. Each
round visits every model once and runs it for a while. The least over the
rounds is the model's time: a processor whose core is shared works at another
speed for seconds on end, and a median would say when a model had its turns.

Stopped and called again it goes on after the last whole round; until the table
is written, table.json.rounds has them.
"""

import argparse
import datetime
import hashlib
import os
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from autox3d_edge import benchmark, interpreters, latency_fit
from autox3d_tf.base import checks
from autox3d_tf.base import files as files_lib
from autox3d_tf.cost import latency
from autox3d_tf.cost import parts as parts_lib
from autox3d_tf.space import arch as arch_lib

ROUNDS = 9
_VISIT_MS = 15.0  # after a warm-up
_FEWEST_RUNS = 2
_ROLES = ("part", "calibrate", "check")


def measure_bundle(
    folder: str | os.PathLike,
    *,
    threads: Sequence[int] = (1,),
    runtime: str | None = None,
    rounds: int = ROUNDS,
    rounds_file: str | os.PathLike | None = None,
    progress: Callable[[str], Any] = print,
) -> dict[str, Any]:
    """Returns the latency table of a bundle, as JSON types.

    Args:
        folder: From `latency_bundle.make_bundle`.
        threads: Numbers of threads to time; each is a column.
        runtime: Interpreter; the first found by default.
        rounds: How often each model is visited.
        rounds_file: Keeps what is measured, for a call after an interruption;
            the caller removes it. Rounds of another bundle, device or runtime
            in it are measured anew. None to keep nothing.
        progress: Is told about each round.
    """
    for count in threads:
        interpreters.check_threads("threads", count)
    folder = pathlib.Path(folder)
    index = read_index(folder)
    device = benchmark.device_description(runtime)
    models, precisions = index["models"], index["precisions"]
    if not any(model["role"] == "part" for model in models):
        raise ValueError(
            f"The latency bundle {folder} has no parts to fit a table to. "
            "Make one with more `samples`."
        )
    columns = []
    digest = files_lib.file_sha256(folder / "index.json")
    made_of = {"bundle": digest, "device": device}
    for count in threads:
        kept = _Rounds(rounds_file, made_of, count)
        # All precisions in one round: they meet the same disturbances.
        timings = _measure(
            _files(folder, index, models, precisions),
            count, runtime, rounds,
            lambda text, c=count: progress(f"{c} threads: {text}"),
            kept,
        )  # fmt: skip
        for number, precision in enumerate(precisions):
            own = timings[number :: len(precisions)]
            columns.append(
                {
                    "precision": precision,
                    "threads": count,
                    **_fit(index, own),
                    "timings": own,
                }
            )
    return {
        "kind": "latency_table",
        "schema_version": latency.SCHEMA_VERSION,
        "date": datetime.date.today().isoformat(),
        "device": device,
        "bundle": {"sha256": digest, "provenance": index.get("provenance")},
        "space": index["space"],
        "per": index["per"],
        "num_classes": index["num_classes"],
        "rounds": rounds,
        "archs": index["archs"],
        "models": [
            {key: model[key] for key in ("role", "arch", "part")}
            for model in models
        ],
        "columns": columns,
    }


def write_table(
    folder: str | os.PathLike, path: str | os.PathLike, **options
) -> None:
    """Measures a bundle, prints what comes of it and writes the table.

    Args:
        folder, **options: Of `measure_bundle`.
        path: The table. `path` with `.rounds` keeps rounds until it is there.

    Raises:
        ValueError: As `measure_bundle`, or `path` cannot be written.
    """
    files_lib.check_writable(path)
    rounds_file = pathlib.Path(f"{path}.rounds")
    table = measure_bundle(folder, rounds_file=rounds_file, **options)
    files_lib.write_json(path, table)
    rounds_file.unlink(missing_ok=True)
    print(format_report(table))


def predicted_and_measured(
    table: latency.LatencyTable,
    folder: str | os.PathLike,
    runtime: str | None = None,
) -> list[tuple[float, float]]:
    """Returns (predicted, measured) milliseconds of a bundle's networks."""
    folder = pathlib.Path(folder)
    index = read_index(folder)
    networks = [model for model in index["models"] if model["part"] is None]
    timings = _measure(
        _files(folder, index, networks, [table.precision]),
        table.threads, runtime, ROUNDS, lambda text: None, _Rounds(),
    )  # fmt: skip
    archs = [
        arch_lib.ArchSpec.from_dict(index["archs"][model["arch"]])
        for model in networks
    ]
    return [
        (table.network_ms(arch, index["num_classes"]), timing["least"])
        for arch, timing in zip(archs, timings, strict=True)
    ]


def read_index(folder: pathlib.Path) -> dict[str, Any]:
    """Reads index.json of a bundle. Raises ValueError if it is not whole."""
    index = files_lib.read_json(folder / "index.json", "a latency bundle")
    if not isinstance(index, dict) or index.get("kind") != "latency_bundle":
        raise ValueError(
            f"{folder} is not a latency bundle. Make one: autox3d-benchmark "
            "--bundle."
        )
    keys = (
        "precisions", "models", "archs", "states", "space", "per",
        "num_classes", "sha256",
    )  # fmt: skip
    try:
        lacks = [key for key in keys if key not in index]
        lacks += [
            name
            for name, digest in index.get("sha256", {}).items()
            if not _is_whole(folder / name, digest)
        ]
        lacks += [
            name
            for model in index.get("models", ())
            for name in model["files"].values()
            if name not in index.get("sha256", {})
        ]
    except (AttributeError, KeyError, TypeError):
        lacks = ["the files' names in index.json"]
    if lacks:
        raise ValueError(
            f"The latency bundle {folder} is not whole: it lacks {lacks[0]}, "
            "or that was changed. Copy it again, or make one: "
            "autox3d-benchmark --bundle."
        )
    try:
        _check_contents(folder, index)
    except (LookupError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f"The index.json of the latency bundle {folder} was changed "
            f"({type(error).__name__}: {error}). Copy it again, or make one: "
            "autox3d-benchmark --bundle."
        ) from error
    return index


def _check_contents(folder, index) -> None:
    """Looks up all that an index is asked for later."""
    checks.check_positive_int("num_classes", index["num_classes"])
    checks.check_choice("per", index["per"], latency.PER)
    for name in ("name", "fingerprint"):
        checks.check_text(name, index["space"][name])
    for moves in index["states"]:
        for output, state in moves.items():
            checks.check_text(output, state)
    _files(folder, index, index["models"], index["precisions"])
    list(_contents(index))


def _is_whole(path: pathlib.Path, digest: str) -> bool:
    """An interpreter may crash on a damaged file, so none gets to see one."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == digest
    except OSError:
        return False


def format_report(table: dict[str, Any]) -> str:
    """Returns what a table holds, and how well it predicts, for people."""
    device = table["device"]
    lines = [
        f"space {table['space']['name']} on {device['processor']}, "
        f"{device['cores']} cores, {device['system']}, {device['runtime']}, "
        f"ms per {table['per']}"
    ]
    for column in table["columns"]:
        spread = np.median(
            [(t["high"] - t["low"]) / t["median"] for t in column["timings"]]
        )
        lines.append(
            f"{column['precision']}, threads {column['threads']}: "
            f"{column['parts']} distinct parts timed (spread of the middle "
            f"half {spread:.1%}), {len(column['coefficients'])} terms, tile "
            f"{column['tile']}; error of a part left out: median "
            f"{column['part_error']:.1%}"
        )
        if column["check"]:
            lines.append("  " + format_check(column["check"]))
    return "\n".join(lines)


def format_check(pairs: Sequence[tuple[float, float]]) -> str:
    """One line about (predicted, measured) milliseconds of networks."""
    if not len(pairs):
        return "no whole networks were timed"
    predicted, measured = np.array(pairs).T
    errors = np.abs(predicted / measured - 1.0)
    alike = ""
    if len(errors) > 2:  # of fewer it says nothing
        alike = f"; correlation {np.corrcoef(predicted, measured)[0, 1]:.3f}"
    return (
        f"{len(errors)} whole networks not used in the fit, "
        f"{measured.min():.2f}-{measured.max():.2f} ms: absolute error median "
        f"{np.median(errors):.1%}, largest {errors.max():.1%}{alike}"
    )


def _files(folder, index, models, precisions):
    """(path, states) of what is timed, a model's precisions together."""
    return [
        (folder / model["files"][precision], index["states"][model["arch"]])
        for model in models
        for precision in precisions
    ]


class _Rounds:
    """The rounds of one number of threads, kept in a file after each."""

    def __init__(self, path=None, made_of=None, threads=1):
        self._path, self._made_of = path, made_of
        self._threads = str(threads)
        self._rounds = self._there()  # of all numbers of threads

    def read(self, files: int) -> list[list[float]]:
        """Returns what an earlier process measured of as many files."""
        found = self._rounds.get(self._threads, [])
        try:
            whole = np.shape(found) == (len(found), files)
            whole = whole and np.all(np.greater(found, 0))
        except (TypeError, ValueError):
            whole = False
        return found if whole else []

    def write(self, visits: Sequence[Sequence[float]]) -> None:
        """Keeps all rounds so far."""
        if self._path:
            self._rounds[self._threads] = visits
            record = {"made_of": self._made_of, "rounds": self._rounds}
            files_lib.write_json(self._path, record)

    def _there(self) -> dict[str, list[list[float]]]:
        if not self._path or not os.path.exists(self._path):
            return {}
        try:
            record = files_lib.read_json(self._path, "rounds")
        except ValueError:  # measured anew costs minutes
            return {}
        if not isinstance(record, dict):
            return {}
        rounds = record.get("rounds")
        ours = record.get("made_of") == self._made_of
        return rounds if ours and isinstance(rounds, dict) else {}


def _measure(files, threads, runtime, rounds, progress, kept):
    """Least milliseconds per file over the rounds, and their spread."""
    visits = kept.read(len(files))[:rounds]
    if visits:
        progress(f"{len(visits)} of {rounds} rounds are there")
    for number in range(len(visits) + 1, rounds + 1):
        began = time.monotonic()
        visits.append([_visit(*file, threads, runtime) for file in files])
        kept.write(visits)
        left = (time.monotonic() - began) * (rounds - number)
        progress(
            f"round {number} of {rounds}, {sum(visits[-1]):.0f} ms, "
            f"{left:.0f} s left"
        )
    names = ("least", "low", "median", "high")
    taken = np.percentile(visits, (0, 25, 50, 75), axis=0)
    return [
        dict(zip(names, values, strict=True))
        for values in np.round(taken.T, 5).tolist()
    ]


def _visit(path, states, threads, runtime) -> float:
    """Loads a model, warms it up and runs it for a while; median ms."""
    run = interpreters.prepare(path.read_bytes(), threads, runtime, states)
    run()
    times: list[float] = []
    while len(times) < _FEWEST_RUNS or sum(times) < _VISIT_MS:
        start = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - start))
    return float(np.median(times))


def _contents(index):
    """Yields the role of each model, and its parts; of a part, that one."""
    archs = [
        list(parts_lib.parts_of(arch, arch.clip_size, index["num_classes"]))
        for arch in map(arch_lib.ArchSpec.from_dict, index["archs"])
    ]
    for model in index["models"]:
        role, parts = model["role"], archs[model["arch"]]
        checks.check_choice("role", role, _ROLES)
        if role == "part":
            (parts,) = [p for p in parts if p.name == model["part"]]
        yield role, parts


def _fit(index, timings):
    """Coefficients, and (predicted, measured) of the networks kept apart."""
    by_role = {role: [] for role in _ROLES}
    for (role, parts), timing in zip(_contents(index), timings, strict=True):
        by_role[role].append((parts, timing["least"]))
    column = latency_fit.fit_column(by_role["part"], by_role["calibrate"])
    column["check"] = [
        (sum(latency_fit.predict(column, part) for part in parts), measured)
        for parts, measured in by_role["check"]
    ]
    return column


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; argparse, since a device need not have absl."""
    parser = argparse.ArgumentParser(
        prog="python -m autox3d_edge.latency_table", description=__doc__
    )
    parser.add_argument("bundle", help="folder of autox3d-benchmark --bundle")
    parser.add_argument("--out", default="latency_table.json")
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--runtime", default=None)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    try:
        write_table(
            options.bundle,
            options.out,
            threads=options.threads,
            runtime=options.runtime,
            rounds=options.rounds,
        )
    except (ValueError, ImportError) as error:
        parser.exit(1, f"{error}\n")
    except KeyboardInterrupt:
        parser.exit(
            130,
            "Stopped; called again it goes on after the last whole round.\n",
        )


if __name__ == "__main__":
    main()
