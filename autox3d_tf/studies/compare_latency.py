"""Is milliseconds a better budget than multiply-adds? At equal latency.

Per seed, a search under a budget of multiply-adds finds a network; a second
search with the same warm-up, alike but for its budget, may take as many
milliseconds as that network is predicted to. Both are trained from scratch and
tested on clips that no search has seen.
"""

import itertools
import pathlib
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from absl import logging

from autox3d_tf import cost
from autox3d_tf import space as space_lib
from autox3d_tf.base import checks, repeats
from autox3d_tf.base import files as files_lib
from autox3d_tf.data import pipeline
from autox3d_tf.runs import run_dir as run_dir_lib
from autox3d_tf.search import options as options_lib
from autox3d_tf.studies import plan as plan_lib
from autox3d_tf.studies import trial

FORMAT, SCHEMA_VERSION = "autox3d_tf.latency_comparison", 1
_KINDS = ("macs", "latency")


def compare_latency(
    *,
    search_fn: Callable[..., dict[str, Any]],
    train_fn: Callable[..., dict[str, Any]],
    space: str | space_lib.SearchSpace,
    data: pipeline.DataOptions,
    search: options_lib.SearchOptions,
    latency_table: cost.LatencyTable,
    target_macs: float,
    run_dir: str,
    results_dir: str,
    seeds: Sequence[int] = (0, 1, 2),
    folds: Sequence[int] = (),
    trainings: int = 1,
) -> str:
    """Finishes what is left of the comparison.

    Args:
        search_fn: `run_search`, with what both searches share bound.
        train_fn: `run_training`; its validation is the test.
        space: A named space, a space.json or a `SearchSpace`.
        data: Clips, those held out among them.
        search: Of both searches.
        latency_table: Of the device.
        target_macs: Budget of the first search.
        run_dir: Gets a directory per search, with its trainings, and per
            warm-up.
        results_dir: Gets a small JSON file per seed and fold.
        seeds: Of searches and trainings.
        folds: Hold out each in turn; see `trial.data_of_fold`.
        trainings: How often each network is trained.

    Returns:
        The table of all results.

    Raises:
        ValueError: If a finished pair is of other options, clips or another
            recipe, a seed or a fold is named twice, no network is within
            `target_macs`, or the table lacks a part of the space.
    """
    checks.check_positive_int("trainings", trainings)
    plan_lib.check_different("seeds", seeds)
    plan_lib.check_different("folds", folds or (None,))
    space = space_lib.get_space(space)
    shared = files_lib.to_json(
        {
            "space": space.fingerprint,
            "search": search,
            "table": run_dir_lib.fingerprint_of(latency_table.coefficients),
            "target_macs": target_macs,
            "trainings": trainings,
            "data": trial.recipe_of_data(files_lib.to_json(data)),
        }
    )
    made_of = {}
    for fold in folds or (None,):
        clips = trial.clips_of(trial.data_of_fold(data, fold), run_dir)
        made_of[fold] = {**shared, "manifest": clips[0]}
    pairs: dict[pathlib.Path, dict[str, Any]] = {}
    for fold, seed in itertools.product(made_of, seeds):
        runs = [
            plan_lib.Run(
                method=kind, target_macs=target_macs, seed=seed, fold=fold
            )
            for kind in _KINDS
        ]
        path = plan_lib.result_path(results_dir, runs[-1])
        if not path.exists():
            _check_budgets(space, target_macs, latency_table)
            found = _find_pair(
                search_fn, train_fn, latency_table, runs,
                pathlib.Path(run_dir), space=space,
                data=trial.data_of_fold(data, fold), search=search,
                trainings=trainings,
            )  # fmt: skip
            _write(path, found, latency_table, made_of[fold], seed, fold)
        pairs[path] = _read(path, made_of[fold])
        plan_lib.check_same(
            "recipes", {p: pair.get("recipe") for p, pair in pairs.items()}
        )
    text = format_pairs(list(pairs.values()))
    logging.info("%s", text)
    return text


def format_pairs(pairs: Sequence[dict[str, Any]]) -> str:
    """Returns a line per kind of budget, and the difference in accuracy."""
    lines = [f"{'budget':10}{'accuracy':>10}{'ms':>8}{'M MACs':>8}"]
    for kind in _KINDS:
        means = [
            statistics.fmean(pair[kind][name] for pair in pairs)
            for name in ("accuracy", "ms", "macs")
        ]
        lines.append(
            f"{kind:10}{means[0]:>10.1%}{means[1]:>8.3f}{means[2] / 1e6:>8.2f}"
        )
    gains = [p["latency"]["accuracy"] - p["macs"]["accuracy"] for p in pairs]
    interval = ""
    if len(pairs) > 1:
        interval = f", 95 % interval +-{100 * repeats.spread(gains)[1]:.1f}"
    lines.append(
        f"latency - macs: {100 * statistics.fmean(gains):+.1f} points"
        f"{interval}; {len(pairs)} pair{'s' if len(pairs) > 1 else ''}"
    )
    return "\n".join(lines)


def _check_budgets(space, target_macs, table) -> None:
    """Refuses now what a search would be refused for after the warm-up.

    The least that any clips ask of a network is a single class, and the first
    search that is made knows theirs; milliseconds do not depend on it.
    """
    cost.check_feasible(space, cost.Budget(target=target_macs, num_classes=1))
    ms = cost.Budget(metric=cost.LATENCY, target=1, num_classes=1, table=table)
    cost.cheapest(space, ms)  # looks at all parts of the space


def _find_pair(
    search_fn, train_fn, table, runs, run_dir, *, search, trainings, **shared
) -> dict[str, Any]:
    """What `_search_and_train` returns of each budget, from one supernet."""
    target_macs, shared["seed"] = runs[0].target_macs, runs[0].seed
    supernet = run_dir / runs[0].supernet
    trial.warm_up(
        search_fn, supernet, search=search, target_macs=target_macs, **shared
    )
    found: dict[str, Any] = {}
    for run in runs:
        budget = {"target_macs": target_macs}
        if run.method == "latency":
            budget = {
                "target_macs": None,
                "target_latency_ms": found["macs"]["ms"],
                "latency_table": table,
            }
        found[run.method] = _search_and_train(
            search_fn, train_fn, table, run_dir / run.name,
            trainings=trainings, search=search, supernet_from=str(supernet),
            **shared, **budget,
        )  # fmt: skip
    # One recipe trains both, and what they were trained with says it.
    recipes = [found[kind].pop("recipe") for kind in _KINDS]
    return {**found, "recipe": recipes[0]}


def _search_and_train(
    search_fn, train_fn, table, folder, *, seed, data, trainings, **arguments
) -> dict[str, Any]:
    """Accuracy and costs of the network that one search finds."""
    trial.search_once(search_fn, folder, data=data, seed=seed, **arguments)
    arch = space_lib.load_arch(folder / "arch.json")
    tests, record = trial.train_and_test(
        train_fn, folder, data=data, seed=seed, trainings=trainings
    )
    classes = len(record["labels"])
    return {
        "accuracy": trial.accuracy(tests),
        "tests": tests,
        "ms": table.network_ms(arch, classes),
        "macs": cost.cost_of(arch, num_classes=classes).macs,
        "arch": arch.to_dict(),
        "recipe": trial.recipe_of(record),
    }


def _read(path, made_of) -> dict[str, Any]:
    pair = files_lib.read_record(
        path, "a result", "a comparison", FORMAT, SCHEMA_VERSION
    )
    # Of what an earlier version did not write anything may be true.
    there = pair.get("made_of") or dict.fromkeys(made_of)
    here = {name: made_of.get(name) for name in there}
    if changes := run_dir_lib.differences(there, here):
        raise ValueError(
            f"{path} was made with other options ({'; '.join(changes)}). Give "
            "this comparison another folder of results and another run_dir."
        )
    return pair


def _write(path, found, table, made_of, seed, fold) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    files_lib.write_json(
        path,
        {
            "format": FORMAT,
            "schema_version": SCHEMA_VERSION,
            "made_of": made_of,
            "target_macs": made_of["target_macs"],
            "seed": seed,
            "fold": fold,
            "table": str(table),
            **found,
            "provenance": run_dir_lib.provenance(),
        },
    )
