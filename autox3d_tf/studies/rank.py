"""Does the supernet rank architectures as training them alone does?

Architectures are drawn uniformly within the budget of a finished search and
judged with inherited weights; of these, some at even steps through that
ranking are trained from scratch. Kendall's tau compares the two rankings.
"""

import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from absl import logging

from autox3d_tf import cost
from autox3d_tf import space as space_lib
from autox3d_tf.base import checks
from autox3d_tf.base import files as files_lib
from autox3d_tf.data import pipeline
from autox3d_tf.runs import claim as claim_lib
from autox3d_tf.runs import run_dir as run_dir_lib
from autox3d_tf.search import files as search_files
from autox3d_tf.search import options as options_lib
from autox3d_tf.search import run
from autox3d_tf.studies import plan as plan_lib
from autox3d_tf.studies import statistics, trial

SUMMARY = "rank_correlation.json"
FEWEST = 4  # with less, no interval says anything


def rank_correlation(
    search_dir: str | os.PathLike,
    *,
    train_fn: Callable[..., dict[str, Any]],
    run_dir: str | os.PathLike,
    results_dir: str | os.PathLike,
    count: int = 12,
    candidates: int = 48,
    trainings: int = 1,
) -> tuple[list[dict[str, Any]], dict[str, Any]] | None:
    """Writes a small file per architecture, then rank_correlation.json.

    What is finished is not repeated; processes with the same directories
    share the trainings.

    Args:
        search_dir: Of a finished search whose clips hold some out for tests.
        train_fn: `run_training` with the recipe bound.
        run_dir: Gets a directory per training.
        results_dir: Gets the small files.
        count: Architectures to train.
        candidates: Architectures to judge with inherited weights.
        trainings: Of each architecture, with different seeds.

    Returns:
        The architectures, the best by inherited weights first, and the
        summary; None while other processes are at what is left.

    Raises:
        ValueError: If there are too few of them, or files of another search
            or number of trainings.
    """
    if not FEWEST <= count <= candidates:
        raise ValueError(
            f"`count` must be in [{FEWEST}, candidates={candidates}]. "
            f"Received: count={count}."
        )
    checks.check_positive_int("trainings", trainings)
    run_dir, results_dir = pathlib.Path(run_dir), pathlib.Path(results_dir)
    search = search_files.read_record(search_dir)
    data = files_lib.read_fields(pipeline.DataOptions, search["config"]["data"])
    trial.clips_of(data, run_dir)  # some must be held out
    judged_in = run_dir / f"judged{candidates}"
    with claim_lib.claim(f"{judged_in}.lock") as ours:
        if not ours:
            raise ValueError(
                f"Another process judges architectures in {run_dir}. Start "
                "again when it has begun to train them."
            )
        top = _judge(search_dir, search, data, judged_in, candidates)["top"]
    space = space_lib.load_space(pathlib.Path(search_dir, "space.json"))
    paths = {
        place: results_dir / f"arch_{place:02d}_of_{len(top)}.json"
        for place in even_places(len(top), count)
    }
    of = {
        "search": run_dir_lib.fingerprint_of(search["config"]),
        "trainings": trainings,
    }
    _check_records(paths.values(), of)
    for place, path in paths.items():
        with claim_lib.claim(run_dir / f"{path.stem}.lock") as ours:
            if ours and not path.exists():
                folder, one = run_dir / path.stem, top[place]
                record = _train(train_fn, space, data, one, folder, trainings)
                record["provenance"] = run_dir_lib.provenance(
                    search=str(search_dir)
                )
                _check_recipes({**_read(paths.values()), path: record})
                files_lib.write_json(path, {"place": place, **of, **record})
    found = _read(paths.values())
    if len(found) < len(paths):
        return None
    _check_recipes(found)
    records = list(found.values())
    summary = summarize(records)
    files_lib.write_json(results_dir / SUMMARY, summary)
    return records, summary


def _read(paths) -> dict[pathlib.Path, dict[str, Any]]:
    """The results that are there, by path."""
    return {p: files_lib.read_json(p, "a result") for p in paths if p.exists()}


def _check_recipes(records: dict[pathlib.Path, dict[str, Any]]) -> None:
    plan_lib.check_same("recipes", {p: r["recipe"] for p, r in records.items()})


def _check_records(paths, of: dict[str, Any]) -> None:
    """Refuses files of other searches or trainings, before any training."""
    for path, record in _read(paths).items():
        there = {name: record.get(name) for name in of}
        if changes := run_dir_lib.differences(there, of):
            raise ValueError(
                f"{path} is of another ranking ({'; '.join(changes)}). Give "
                "this one another folder of results and another run_dir."
            )


def _judge(search_dir, search, data, folder, candidates):
    """Random architectures with the search's supernet, best first."""
    config = search["config"]
    options = options_lib.SearchOptions(
        **{
            **config["search"],
            "method": "random",
            "joint_step": 0,
            "warmup_steps": config["search"]["steps"],
            "candidates": candidates,
            "top_k": candidates,
            "finalists": 1,
            "children": 0,
        }
    )
    budgets = {b["metric"]: b["target"] for b in config["budgets"]}
    if cost.LATENCY in budgets:
        raise ValueError(
            "`search_dir` must be of a search without a budget of "
            "milliseconds, whose table is not kept with it. Received: "
            f"{', '.join(budgets)} in {search_dir}."
        )
    return trial.search_once(
        run.run_search,
        folder,
        space=str(pathlib.Path(search_dir, "space.json")),
        data=data,
        search=options,
        weights=options_lib.WeightsOptions(**config["weights"]),
        targets=budgets,
        supernet_from=str(search_dir),
        seed=config["seed"],
    )


def _train(train_fn, space, data, judged, folder, trainings) -> dict[str, Any]:
    arch = space.decode(judged["indices"])
    folder.mkdir(parents=True, exist_ok=True)
    arch.save(folder / "arch.json")
    # One seed for all: they differ in the architecture only.
    tests, record = trial.train_and_test(
        train_fn, folder, data=data, seed=0, trainings=trainings
    )
    network = cost.cost_of(arch, num_classes=len(record["labels"]))
    accuracy = trial.accuracy(tests)
    logging.info(
        "%s: inherited %.1f %%, trained alone %.1f %%.",
        folder.name,
        100 * judged["judged"]["accuracy"],
        100 * accuracy,
    )
    return {
        "indices": judged["indices"],
        "macs": network.macs,
        "params": network.params,
        "inherited_accuracy": judged["judged"]["accuracy"],
        "inherited_log_likelihood": judged["judged"]["log_likelihood"],
        "accuracy": accuracy,
        "tests": tests,
        "recipe": trial.recipe_of(record),
    }


def even_places(number: int, count: int) -> list[int]:
    """Returns `count` places at even steps through a ranking of `number`.

    >>> even_places(10, 4)
    [0, 3, 6, 9]
    """
    if number < count:
        raise ValueError(
            f"`count` must be at most {number}, the architectures that were "
            f"found within the budget. Received: count={count}."
        )
    return [round(i * (number - 1) / (count - 1)) for i in range(count)]


def summarize(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Tau of both inherited measures with the accuracy trained alone."""
    alone = [record["accuracy"] for record in records]
    summary: dict[str, Any] = {"architectures": len(records)}
    for name in ("inherited_log_likelihood", "inherited_accuracy"):
        inherited = [record[name] for record in records]
        low, high = statistics.kendall_interval(inherited, alone)
        summary[name] = {
            "tau_b": statistics.kendall_tau(inherited, alone),
            "low": low,
            "high": high,
            "p_value": statistics.kendall_p_value(inherited, alone),
        }
    return summary


def format_rankings(
    records: Sequence[dict[str, Any]], summary: dict[str, Any]
) -> str:
    """Returns both rankings and tau as Markdown."""
    alone = sorted(r["accuracy"] for r in records)[::-1]
    lines = [
        "| inherited rank | inherited log likelihood | inherited, % | "
        "alone, % | rank alone | MACs, M |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for rank, record in enumerate(records, 1):
        lines.append(
            f"| {rank} | {record['inherited_log_likelihood']:.4f} "
            f"| {100 * record['inherited_accuracy']:.2f} "
            f"| {100 * record['accuracy']:.2f} "
            f"| {1 + alone.index(record['accuracy'])} "
            f"| {record['macs'] / 1e6:.3f} |"
        )
    for name in ("inherited_log_likelihood", "inherited_accuracy"):
        tau = summary[name]
        lines += [
            "",
            f"Kendall's tau-b, {name.replace('_', ' ')} against accuracy "
            f"trained alone, {summary['architectures']} architectures: "
            f"{tau['tau_b']:.3f}, bootstrap 95 % interval {tau['low']:.3f} to "
            f"{tau['high']:.3f}; permutation p = {tau['p_value']:.4f}.",
        ]
    return "\n".join(lines) + "\n"
