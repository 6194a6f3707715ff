"""Runs the search and its baselines at equal cost; each network is trained.

A run finds a network (or scales one by hand), trains it from scratch and
writes a result; see plan.py. What is finished is not repeated, what was
interrupted resumes, and processes started with the same directories share
the work.
"""

import dataclasses
import gc
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import keras
from absl import logging

from autox3d_tf import cost
from autox3d_tf import space as space_lib
from autox3d_tf.data import pipeline
from autox3d_tf.runs import claim as claim_lib
from autox3d_tf.runs import run_dir as run_dir_lib
from autox3d_tf.search import baselines, results
from autox3d_tf.search import options as options_lib
from autox3d_tf.search import plan as plan_lib

_POLL_SECONDS = 5.0
_SEED_STEP = 1000  # between the seeds of two trainings of one network


def compare_searches(
    *,
    search_fn: Callable[..., dict[str, Any]],
    train_fn: Callable[..., dict[str, Any]],
    space: str,
    data: pipeline.DataOptions,
    search: options_lib.SearchOptions,
    estimator: options_lib.EstimatorOptions,
    budgets: Sequence[float],
    run_dir: str,
    results_dir: str,
    methods: Sequence[str] = tuple(plan_lib.METHODS),
    seeds: Sequence[int] = (0, 1, 2),
    folds: Sequence[int] = (),
    trainings: int = 1,
) -> list[dict[str, Any]]:
    """Finishes all runs that are left, one after the other.

    The probabilistic search goes first; each other search with the same seed
    and fold then processes as many clips as it did.

    Args:
        search_fn: `run_search`, with what all methods share bound.
        train_fn: `run_training`; its validation is the test.
        space: A named space or a space.json.
        data: Clips. What `val_splits` or `val_folds` name is held out: the
            searches never see it.
        search, estimator: Of the probabilistic search.
        budgets: Targets, multiply-adds of a clip.
        run_dir: Gets a directory per run: checkpoints, logs, weights.
        results_dir: Gets a small JSON file per finished run.
        methods: Keys of `plan.METHODS`, `probabilistic` among them.
        seeds: Each method's searches and trainings.
        folds: Hold out each of these in turn, instead of what `data` says,
            and train on all other folds that `data` names.
        trainings: How often each network is trained, with different seeds;
            its accuracy is the mean.

    Returns:
        The results of all runs.
    """
    plan = plan_lib.Plan(methods, budgets, seeds, folds)
    worker = _Worker(
        plan=plan,
        search_fn=search_fn,
        train_fn=train_fn,
        space=space,
        data=data,
        search=search,
        estimator=estimator,
        run_dir=pathlib.Path(run_dir),
        results_dir=pathlib.Path(results_dir),
        trainings=trainings,
    )
    worker.work()
    return [plan_lib.read_result(worker.path(run)) for run in plan.runs]


@dataclasses.dataclass(kw_only=True)
class _Worker:
    """One process that takes runs until all are done."""

    plan: plan_lib.Plan
    search_fn: Callable[..., dict[str, Any]]
    train_fn: Callable[..., dict[str, Any]]
    space: str
    data: pipeline.DataOptions
    search: options_lib.SearchOptions
    estimator: options_lib.EstimatorOptions
    run_dir: pathlib.Path
    results_dir: pathlib.Path
    trainings: int

    def path(self, run: plan_lib.Run) -> pathlib.Path:
        return plan_lib.result_path(self.results_dir, run)

    def work(self) -> None:
        """Takes runs that are ready and that nobody has, until all are done."""
        done, began = 0, time.monotonic()
        while left := [r for r in self.plan.runs if not self.path(r).exists()]:
            if not any(self._try(run) for run in left):
                time.sleep(_POLL_SECONDS)  # others are at what is left
                continue
            done += 1
            hours = (time.monotonic() - began) / 3600
            left = sum(not self.path(run).exists() for run in self.plan.runs)
            logging.info(
                "%d of %d runs are done; %d here, %.1f min each; %d left, "
                "%.1f h for a single process.",
                len(self.plan.runs) - left,
                len(self.plan.runs),
                done,
                60 * hours / done,
                left,
                left * hours / done,
            )

    def _try(self, run: plan_lib.Run) -> bool:
        """Finishes a run if it is ready and nobody else is at it."""
        if not self._is_ready(run):
            return False
        with claim_lib.claim(self.run_dir / f"{run.name}.lock") as ours:
            if not ours or self.path(run).exists():
                return False
            logging.info("Run %s.", run.name)
            self._finish(run)
        return True

    def _is_ready(self, run: plan_lib.Run) -> bool:
        measured_by = self.plan.measured_by(run)
        supernet = self.plan.supernet_of(run)
        return all(
            other is None
            or (self.run_dir / other.name / "search.json").exists()
            for other in (measured_by, supernet)
        )

    def _finish(self, run: plan_lib.Run) -> None:
        """Searches, trains, tests and writes the result."""
        folder, data = (
            self.run_dir / run.name,
            data_of_fold(self.data, run.fold),
        )
        folder.mkdir(parents=True, exist_ok=True)
        watch = claim_lib.Stopwatch(folder / "search_seconds.json")
        found = None
        if run.method == plan_lib.HAND:
            self._scale(run, data).save(folder / "arch.json")
        else:
            with watch:
                found = self._search(run, folder, data)
        arch = space_lib.load_arch(folder / "arch.json")
        trained = [
            self._train(folder, data, run.seed + _SEED_STEP * number)
            for number in range(self.trainings)
        ]
        tests = [test for test, _ in trained]
        record = trained[0][1]
        network = cost.cost_of(arch, num_classes=len(record["labels"]))
        run_dir_lib.write_json(
            self.path(run),
            {
                "format": plan_lib.FORMAT,
                "schema_version": plan_lib.SCHEMA_VERSION,
                **dataclasses.asdict(run),
                "accuracy": sum(t["accuracy"] for t in tests) / len(tests),
                "tests": tests,
                "macs": network.macs,
                "params": network.params,
                "search": found and self._cost(run, found, watch),
                "recipe": recipe_of(record),
                "arch": arch.to_dict(),
                "provenance": run_dir_lib.provenance(),
            },
        )
        logging.info(
            "%s: %.1f %%, %.2f M MACs.",
            run.name,
            100 * sum(t["accuracy"] for t in tests) / len(tests),
            network.macs / 1e6,
        )

    def _scale(self, run, data) -> space_lib.ArchSpec:
        classes = len(pipeline.open_source(data, "train").classes)
        budget = cost.Budget(target=run.target_macs, num_classes=classes)
        space = space_lib.get_space(self.space)
        return space_lib.scaled_x3d(space, budget.allows)

    def _search(self, run, folder, data) -> dict[str, Any]:
        if (folder / "search.json").is_file():
            return results.read_record(folder)
        search, estimator = self.search, self.estimator
        measured_by = self.plan.measured_by(run)
        if measured_by is not None:
            record = results.read_record(self.run_dir / measured_by.name)
            search = baselines.equal_steps(
                run.method,
                search,
                clips=_clips(record),
                half=record["judged_on"]["clips"],
                samples=record["first_samples"],
            )
            if run.method in baselines.FIXED:
                estimator = dataclasses.replace(
                    estimator, fixed_samples=record["first_samples"]
                )
        supernet = self.plan.supernet_of(run)
        _forget()
        return self.search_fn(
            space=self.space,
            data=data,
            search=search,
            estimator=estimator,
            target_macs=run.target_macs,
            run_dir=str(folder),
            supernet_from=supernet and str(self.run_dir / supernet.name),
            seed=run.seed,
        )

    def _cost(self, run, record, watch) -> dict[str, Any]:
        """What finding the network took."""
        counts, options = record["counts"], record["config"]["search"]
        steps = options["steps"] - options["warmup_steps"]
        samples = None  # of the logits' steps, if there were any
        if steps:
            batch = options["logits_batch_size"] or options["batch_size"]
            samples = counts["clips_judged"] / (steps * batch)
        supernet = self.plan.supernet_of(run)
        return {
            "inherited_accuracy": record["inherited_accuracy"],
            "inherited_clips": record["judged_on"]["clips"],
            "architectures": counts["architectures"],
            "clips": _clips(record),
            "clips_trained": counts["clips_trained"],
            "clips_judged": counts["clips_judged"],
            "steps": options["steps"],
            "first_samples": record["first_samples"],
            "mean_samples": samples,
            "supernet_from": supernet and supernet.name,
            "cpu_seconds": round(watch.cpu, 3),
            "wall_seconds": round(watch.wall, 3),
            "options": options,
            "estimator": record["config"]["estimator"],
        }

    def _train(self, folder, data, seed) -> tuple[dict, dict]:
        """Trains once; returns the test and what the training says."""
        _forget()
        folder = folder / f"train{seed}"
        with claim_lib.Stopwatch(folder / "seconds.json") as watch:
            record = self.train_fn(
                arch=str(folder.parent / "arch.json"),
                data=data,
                run_dir=str(folder),
                seed=seed,
            )
        if "validation" not in record:
            raise ValueError(
                "`data` must name clips to test on, by `val_folds`, "
                "`val_splits` or `folds` of the comparison. Received: none."
            )
        accuracy, clips = (
            record["validation"][k] for k in ("accuracy", "clips")
        )
        return {
            "seed": seed,
            "accuracy": accuracy,
            "correct": round(accuracy * clips),
            "clips": clips,
            "cpu_seconds": round(watch.cpu, 3),
            "wall_seconds": round(watch.wall, 3),
        }, record


def data_of_fold(
    data: pipeline.DataOptions, fold: int | None
) -> pipeline.DataOptions:
    """Returns options that hold out a fold and train on all others named."""
    if fold is None:
        return data
    named = {*data.train_folds, *data.val_folds, *data.test_folds}
    if fold not in named or len(named) < 2:
        raise ValueError(
            "`folds` must be among the two or more that `data` names in "
            f"train_folds, val_folds and test_folds: {sorted(named)}. "
            f"Received: {fold}."
        )
    return dataclasses.replace(
        data,
        train_folds=tuple(sorted(named - {fold})),
        val_folds=(fold,),
        test_folds=(),
    )


def recipe_of(record: dict[str, Any]) -> dict[str, Any]:
    """How a network was trained, without what differs between runs."""
    config = run_dir_lib.to_json(record["config"])
    data = config["data"]
    for name in ("source", "cache_dir"):
        data.pop(name)
    for part in ("train", "val", "test"):
        data.pop(f"{part}_folds")
    return {
        "data": data,
        "training": config["training"],
        "optimizer": config["optimizer"],
    }


def _clips(record) -> int:
    counts = record["counts"]
    return counts["clips_trained"] + counts["clips_judged"]


def _forget() -> None:
    """Frees what the run before has built."""
    keras.utils.clear_session()
    gc.collect()
