"""The runs of a comparison, and the file that each of them leaves.

A result is one JSON file of a few KB in the results folder, named after its
run: method, budget, seed and, if clips are cross-validated, the fold that was
held out. Tables and plots are made from these files alone.
"""

import dataclasses
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from autox3d_tf.base import checks
from autox3d_tf.base import files as files_lib
from autox3d_tf.runs import run_dir

FORMAT, SCHEMA_VERSION = "autox3d_tf.comparison", 1
REFERENCE = "probabilistic"  # the others get as many clips as it took
# Scaled by hand, no search: share of the blocks that the space has at most.
BY_HAND = {"hand_scaled": 1.0, "hand_scaled_half": 0.5}
# What each method is, in the order of the tables.
COMPARED = {
    REFERENCE: "the search: K follows the entropy",
    "parsec": "fixed K, as many clips as the search",
    "parsec_equal_steps": "fixed K, as many steps as the search",
    "gumbel": "relaxation: single paths of a Gumbel-softmax",
    "evolution": "regularised evolution by inherited likelihood",
    "random": "the best of random networks by inherited likelihood",
    "hand_scaled": "X3D scaled by hand to the budget in width, no search",
    "hand_scaled_half": "the same with half the depth, and wider",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """One network to find, train and test.

    Attributes:
        method: A key of `COMPARED`; or what names a run of another comparison.
        target_macs: Budget, multiply-adds of a clip.
        seed: Of the search and the training.
        fold: Held out; None where the clips themselves say what is.
    """

    method: str
    target_macs: float
    seed: int
    fold: int | None = None

    @property
    def name(self) -> str:
        """Of its file and directory."""
        return f"{self.method}_{self.target_macs / 1e6:g}M_{self._clips}"

    @property
    def supernet(self) -> str | None:
        """Directory of the warm-up it shares; None if it needs none."""
        return None if self.method in BY_HAND else f"supernet_{self._clips}"

    @property
    def _clips(self) -> str:
        fold = "" if self.fold is None else f"_fold{self.fold}"
        return f"seed{self.seed}{fold}"


class Plan:
    """All runs of a comparison and what they wait for.

    Args: as `compare.compare_searches`; `searched` is false if the networks
        are those of another comparison.

    Raises:
        ValueError: If a method is unknown, the one that the others are
            measured by is missing, a list is empty or names one twice, or
            budgets are no positive numbers or too alike for names.
    """

    def __init__(
        self,
        methods: Sequence[str],
        budgets: Sequence[float],
        seeds: Sequence[int],
        folds: Sequence[int] = (),
        *,
        searched: bool = True,
    ):
        check_different("methods", methods)
        check_different("budgets", budgets)
        check_different("seeds", seeds)
        check_different("folds", folds or (None,))
        for method in methods:
            checks.check_choice("methods", method, COMPARED)
        alone = not searched or set(methods) <= set(BY_HAND)
        if REFERENCE not in methods and not alone:
            raise ValueError(
                f"`methods` must have {REFERENCE!r}, whose cost the others "
                f"get. Received: methods={tuple(methods)}."
            )
        if not all(0 < target < math.inf for target in budgets):
            raise ValueError(
                "`budgets` must be positive numbers of multiply-adds. "
                f"Received: budgets={tuple(budgets)}."
            )
        self.budgets = tuple(budgets)
        self.runs = [
            Run(method=method, target_macs=target, seed=seed, fold=fold)
            for fold in (folds or (None,))
            for seed in seeds
            for method in COMPARED
            if method in methods
            for target in budgets
        ]
        if len({run.name for run in self.runs}) < len(self.runs):
            raise ValueError(
                "`budgets` must differ in the first six digits. Received: "
                f"budgets={tuple(budgets)}."
            )

    def check_networks(self, networks_from, results_dir) -> None:
        """Raises ValueError if an earlier comparison lacks a run."""
        if pathlib.Path(networks_from).resolve() == (
            pathlib.Path(results_dir).resolve()
        ):
            raise ValueError(
                "`results_dir` must be another folder than `networks_from`, "
                f"whose results stay. Received: {results_dir} for both."
            )
        for run in self.runs:
            read_result(result_path(networks_from, run))

    @staticmethod
    def measured_by(run: Run) -> Run | None:
        """The run whose number of clips `run` gets; None if it is free."""
        if run.method == REFERENCE or run.method in BY_HAND:
            return None
        return dataclasses.replace(run, method=REFERENCE)


def check_different(name: str, values: Sequence) -> None:
    """Raises ValueError if there is no value, or one twice."""
    if not values or len(set(values)) != len(values):
        raise ValueError(
            f"`{name}` must be different values, at least one. "
            f"Received: {name}={tuple(values)}."
        )


def result_path(folder: str | os.PathLike, run: Run) -> pathlib.Path:
    """The file of a run's result."""
    return pathlib.Path(folder, f"{run.name}.json")


def read_result(path: str | os.PathLike) -> dict[str, Any]:
    """Reads a result. Raises ValueError naming what is wrong."""
    record = files_lib.read_record(
        path, "a result", "a comparison", FORMAT, SCHEMA_VERSION
    )
    search = record["search"]
    if search and "warm_up_architectures" not in search:  # of before
        options = search["options"]
        samples = options["warmup_steps"] * options["warmup_samples"]
        search["warm_up_architectures"] = samples or None
    return record


def read_results(folder: str | os.PathLike) -> list[dict[str, Any]]:
    """Reads all results of a folder.

    Raises:
        ValueError: If there are none, one is damaged, or networks were not
            all found and trained in the same way; see `check_alike`.
    """
    paths = sorted(pathlib.Path(folder).glob("*_seed*.json"))
    if not paths:
        raise ValueError(
            f"{folder} holds no results of a comparison. Make some with "
            "autox3d-compare-searches."
        )
    records = {path: read_result(path) for path in paths}
    check_alike(records)
    return list(records.values())


def check_finished(
    path: str | os.PathLike, found: dict[str, Any], made_of: dict[str, Any]
) -> None:
    """Refuses a result of other options; what it does not say may be any.

    Args:
        path, found: The result.
        made_of: What it should say: `trainings`, `manifest`, `data`, `space`
            and, of a search, `options` and `estimator`.

    Raises:
        ValueError: With all that differs.
    """
    search = found["search"] or {}
    there = {
        "trainings": len(found["tests"]),
        "manifest": found.get("manifest"),
        "data": found["recipe"]["data"],
        "space": found.get("space"),
        "options": search.get("options"),
        "estimator": search.get("estimator"),
    }
    there = {n: v for n, v in there.items() if v is not None and n in made_of}
    here = {name: made_of[name] for name in there}
    for name in ("data", "options"):  # some do not change what is found
        if name in there:
            here[name] = {n: here[name].get(n) for n in there[name]}
    if changes := run_dir.differences(there, here):
        raise ValueError(
            f"{path} was made with other options ({'; '.join(changes)}). "
            "Give this comparison another folder of results and another "
            "run_dir; or, for other TRAININGS of the same networks, remove "
            "the file: what the run_dir has is not repeated."
        )


def check_alike(records: Mapping[str | os.PathLike, dict[str, Any]]) -> None:
    """Refuses results that cannot be compared, by path.

    Clips are compared within a fold, and what an earlier version did not write
    not at all.

    Raises:
        ValueError: If recipes, spaces, clips or optimizers of searches differ.
    """
    check_same("recipes", {p: r["recipe"] for p, r in records.items()})
    check_same("spaces", {p: r.get("space") for p, r in records.items()})
    for fold in {record["fold"] for record in records.values()}:
        check_same(
            "clips",
            {
                path: record.get("manifest")
                for path, record in records.items()
                if record["fold"] == fold
            },
        )
    for name in ("weights", "logits"):
        check_same(
            f"optimizers of {name}",
            {p: (r["search"] or {}).get(name) for p, r in records.items()},
        )


def check_same(what: str, values: Mapping[str | os.PathLike, Any]) -> None:
    """Refuses values that differ, by the path of their result.

    Those that are None, which an earlier version did not write, may be any.

    Raises:
        ValueError: With two of the paths and all that differs.
    """
    first = None
    for path, value in values.items():
        if value is None:
            continue
        other, known = first = first or (path, value)
        if changes := run_dir.differences(known, value):
            raise ValueError(
                f"{path} and {other} are of different {what}, so their "
                f"accuracies cannot be compared ({'; '.join(changes)}). Keep "
                "the results of each in a folder of their own."
            )


def other_options(records: Sequence[dict[str, Any]]) -> list[str]:
    """Says which searches had other options than the first, and which."""
    searches = [r for r in records if r["method"] == REFERENCE]
    lines = []
    for record in searches[1:]:
        changes = run_dir.differences(
            _searched_by(searches[0]), _searched_by(record)
        )
        if changes:
            lines.append(
                f"{record['target_macs'] / 1e6:g} M, seed {record['seed']}: "
                f"{'; '.join(changes)}"
            )
    return lines


def _searched_by(record) -> dict[str, Any]:
    """What is off is as what an earlier version did not know."""
    return {
        name: {key: v for key, v in record["search"][name].items() if v}
        for name in ("options", "estimator")
    }
