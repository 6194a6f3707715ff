"""Runs the search and its baselines at equal cost; each network is trained.

A run finds a network (or scales one by hand), trains it from scratch and
writes a result; see plan.py. What is finished is not repeated, what was
interrupted resumes, and processes started with the same directories share
the work.
"""

import dataclasses
import os
import pathlib
import sys
import time
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
from autox3d_tf.runs import triggers
from autox3d_tf.search import baselines, cost_table
from autox3d_tf.search import files as search_files
from autox3d_tf.search import options as options_lib
from autox3d_tf.studies import equal_cost, page, stopwatch, trial
from autox3d_tf.studies import plan as plan_lib

_POLL_SECONDS = 5.0


def compare_searches(
    *,
    search_fn: Callable[..., dict[str, Any]],
    train_fn: Callable[..., dict[str, Any]],
    space: str | space_lib.SearchSpace,
    data: pipeline.DataOptions,
    search: options_lib.SearchOptions,
    estimator: options_lib.EstimatorOptions,
    budgets: Sequence[float],
    run_dir: str,
    results_dir: str,
    methods: Sequence[str] = tuple(plan_lib.COMPARED),
    seeds: Sequence[int] = (0, 1, 2),
    folds: Sequence[int] = (),
    trainings: int = 1,
    restart_after: int = 0,
    networks_from: str | None = None,
) -> list[dict[str, Any]]:
    """Finishes all runs that are left, and prints the tables of all.

    Per seed and fold one supernet is warmed up, which all methods take. The
    probabilistic search goes first; each other search with the same budget,
    seed and fold then processes as many clips as it did.

    Args:
        search_fn: `run_search`, with what all methods share bound.
        train_fn: `run_training`; its validation is the test.
        space: A named space, a space.json or a `SearchSpace`.
        data: Clips. What `val_splits` or `val_folds` name is held out: the
            searches never see it.
        search, estimator: Of the probabilistic search.
        budgets: Targets, multiply-adds of a clip.
        run_dir: Gets a directory per run: checkpoints, logs, weights.
        results_dir: Gets a small JSON file per finished run.
        methods: Keys of `plan.COMPARED`, `probabilistic` among them.
        seeds: Each method's searches and trainings.
        folds: Hold out each of these in turn, instead of what `data` says,
            and train on all other folds that `data` names.
        trainings: How often each network is trained, with different seeds;
            its accuracy is the mean.
        restart_after: Start the process anew, by the command it was started
            with, after so many runs: TensorFlow gives back only a part of the
            memory of each. 0 for never.
        networks_from: The `results_dir` of an earlier comparison, whose
            networks are trained anew, with another recipe or more often,
            instead of searching; None to search.

    Returns:
        The results of all runs.

    Raises:
        ValueError: If the plan makes no sense, the earlier comparison lacks
            one of its runs, a finished run is of other options, or no network
            is within a budget.
    """
    space = space_lib.get_space(space)
    plan = plan_lib.Plan(
        methods, budgets, seeds, folds, searched=networks_from is None
    )
    checks.check_positive_int("trainings", trainings)
    if networks_from is not None:
        plan.check_networks(networks_from, results_dir)
    else:
        _check_reference(search, estimator)
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
        restart_after=restart_after,
        networks_from=networks_from,
    )
    worker.check_networks()
    worker.check_finished()
    worker.check_measured()
    worker.check_budgets()
    worker.work()
    records = [plan_lib.read_result(worker.path(run)) for run in plan.runs]
    print(page.format_tables(records), end="")
    return records


def _check_reference(search, estimator) -> None:
    """Raises ValueError unless the search is what tables call so."""
    if search.method != plan_lib.REFERENCE or estimator.fixed_samples:
        raise ValueError(
            "`search` and `estimator` must be of the probabilistic search with "
            "a K that follows the entropy; `methods` names the others. "
            f"Received: method={search.method!r}, "
            f"fixed_samples={estimator.fixed_samples}."
        )


@dataclasses.dataclass(kw_only=True)
class _Worker:
    """One process that takes runs until all are done."""

    plan: plan_lib.Plan
    search_fn: Callable[..., dict[str, Any]]
    train_fn: Callable[..., dict[str, Any]]
    space: space_lib.SearchSpace
    data: pipeline.DataOptions
    search: options_lib.SearchOptions
    estimator: options_lib.EstimatorOptions
    run_dir: pathlib.Path
    results_dir: pathlib.Path
    trainings: int
    restart_after: int
    networks_from: str | None
    _opened: dict[int | None, tuple[str, int]] = dataclasses.field(
        default_factory=dict
    )

    def path(self, run: plan_lib.Run) -> pathlib.Path:
        return plan_lib.result_path(self.results_dir, run)

    def check_finished(self) -> None:
        """Refuses results that tables must not put side by side with new ones.

        Raises:
            ValueError: A result or a search is of other options.
        """
        there = self._results()
        for run in self.plan.runs:
            path = self.path(run)
            if path in there:
                plan_lib.check_finished(path, there[path], self._made_of(run))
        plan_lib.check_alike(there)
        for run in self.plan.runs:
            folder = self.run_dir / run.name
            if (
                run.method == plan_lib.REFERENCE
                and self.networks_from is None
                and search_files.is_finished(folder)
                and search_files.is_finished(self.run_dir / run.supernet)
            ):  # one is enough: `search_fn`, which alone knows all options
                self._search(run, folder, self._data_of(run))
                return

    def check_networks(self) -> None:
        """Refuses to test on clips that an earlier search may have seen.

        Raises:
            ValueError: A network was searched with other clips.
        """
        for run in self.plan.runs if self.networks_from is not None else ():
            path = plan_lib.result_path(self.networks_from, run)
            earlier, clips = plan_lib.read_result(path), self._clips_of(run)[0]
            if earlier["search"] and earlier.get("manifest", clips) != clips:
                raise ValueError(
                    "`networks_from` must be of searches with the clips that "
                    f"train here. Received: {path}, of manifest "
                    f"{earlier['manifest'][:12]}, here {clips[:12]}: the "
                    "search may have seen what is held out here."
                )

    def _results(self) -> dict[pathlib.Path, dict[str, Any]]:
        """Those of the plan that are there, by path."""
        paths = map(self.path, self.plan.runs)
        return {p: plan_lib.read_result(p) for p in paths if p.exists()}

    def _data_of(self, run) -> pipeline.DataOptions:
        return trial.data_of_fold(self.data, run.fold)

    def _made_of(self, run) -> dict[str, Any]:
        """What the result of a run depends on, as far as is known here."""
        data = self._data_of(run)
        made_of: dict[str, Any] = {
            "trainings": self.trainings,
            "manifest": self._clips_of(run)[0],
            "data": trial.recipe_of_data(files_lib.to_json(data)),
        }
        if self.networks_from is not None:
            earlier = plan_lib.result_path(self.networks_from, run)
            made_of["space"] = plan_lib.read_result(earlier).get("space")
        else:
            made_of["space"] = {
                "name": self.space.name,
                "fingerprint": self.space.fingerprint,
            }
            if run.method == plan_lib.REFERENCE:
                made_of["options"] = files_lib.to_json(self.search)
                made_of["estimator"] = files_lib.to_json(self.estimator)
        return made_of

    def _clips_of(self, run) -> tuple[str, int]:
        """Manifest and number of classes to train on, read once per fold."""
        if run.fold not in self._opened:
            self._opened[run.fold] = trial.clips_of(
                self._data_of(run), self.run_dir
            )
        return self._opened[run.fold]

    def check_measured(self) -> None:
        """Refuses to wait for searches that nobody will make again.

        Raises:
            ValueError: A run is to get as many clips as one whose result is
                there, but not the search itself.
        """
        for run in self.plan.runs:
            other = self.plan.measured_by(run)
            if other is None or self._is_ready(run) or self.path(run).exists():
                continue
            if self.path(other).exists():
                raise ValueError(
                    f"`run_dir` must have the search {other.name}, whose clips "
                    f"{run.name} is to get. Received: {self.run_dir} without "
                    f"it, while its result is in {self.results_dir}. Give the "
                    "run_dir of that result, or another folder of results."
                )

    def check_budgets(self) -> None:
        """Refuses now what a run would be refused for, hours of others later.

        Raises:
            ValueError: No network of the space, none scaled by hand, or for
                methods that draw them no random one, is within a budget.
        """
        if self.networks_from is not None:
            return  # which are there
        least = min(self.plan.budgets)  # what it allows, the others do
        runs = [run for run in self.plan.runs if run.target_macs == least]
        methods = {run.method: run for run in runs}  # seeds, folds are alike
        if not methods.keys() <= plan_lib.BY_HAND.keys():
            cost.check_feasible(self.space, self._budget(runs[0]))
        if methods.keys() & set(options_lib.JUDGED):
            table = cost_table.CostTable(self.space, self._budget(runs[0]))
            baselines.check_reachable(self.space, [table])
        for method, run in methods.items():
            if method in plan_lib.BY_HAND:
                try:
                    self._scale(run)
                except ValueError as error:
                    raise ValueError(f"{run.name}: {error}") from error

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
                "%d of %d runs are done; %d here, %.1f min each; %d left, %s "
                "for a single process.",
                len(self.plan.runs) - left,
                len(self.plan.runs),
                done,
                60 * hours / done,
                left,
                triggers.duration(3600 * left * hours / done),
            )
            if left and done == self.restart_after:
                logging.info("Starting anew.")
                logging.flush()
                os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])

    def _try(self, run: plan_lib.Run) -> bool:
        """Finishes a run if it is ready and nobody else is at it."""
        if not self._is_ready(run):
            return False
        with claim_lib.claim(self.run_dir / f"{run.name}.lock") as ours:
            if not ours or self.path(run).exists() or not self._warm_up(run):
                return False
            logging.info("Run %s.", run.name)
            self._finish(run)
        return True

    def _is_ready(self, run: plan_lib.Run) -> bool:
        other = self.plan.measured_by(run)
        if other is None or self.networks_from is not None:
            return True
        return search_files.is_finished(self.run_dir / other.name)

    def _warm_up(self, run: plan_lib.Run) -> bool:
        """Trains the supernet of a run, unless another process is at it."""
        if run.supernet is None or self.networks_from is not None:
            return True
        folder = self.run_dir / run.supernet
        with claim_lib.claim(self.run_dir / f"{run.supernet}.lock") as ours:
            if not ours:
                return search_files.is_finished(folder)
            logging.info("Supernet %s.", run.supernet)
            trial.warm_up(
                self.search_fn,
                folder,
                search=self.search,
                estimator=self.estimator,
                space=self.space,
                data=self._data_of(run),
                target_macs=max(self.plan.budgets),
                seed=run.seed,
            )
        return True

    def _finish(self, run: plan_lib.Run) -> None:
        """Finds a network, trains, tests and writes the result."""
        folder, data = self.run_dir / run.name, self._data_of(run)
        folder.mkdir(parents=True, exist_ok=True)
        took = self._find(run, folder, data)
        arch = space_lib.load_arch(folder / "arch.json")
        tests, record = trial.train_and_test(
            self.train_fn,
            folder,
            data=data,
            seed=run.seed,
            trainings=self.trainings,
        )
        network = cost.cost_of(arch, num_classes=len(record["labels"]))
        made_of = self._made_of(run)
        result = {
            "format": plan_lib.FORMAT,
            "schema_version": plan_lib.SCHEMA_VERSION,
            **dataclasses.asdict(run),
            "accuracy": trial.accuracy(tests),
            "tests": tests,
            "macs": network.macs,
            "params": network.params,
            "search": took,
            "recipe": trial.recipe_of(record),
            "space": made_of["space"],
            "manifest": made_of["manifest"],
            "arch": arch.to_dict(),
            "provenance": run_dir_lib.provenance(),
        }
        plan_lib.check_alike({**self._results(), self.path(run): result})
        files_lib.write_json(self.path(run), result)
        logging.info(
            "%s: %.1f %%, %.2f M MACs.",
            run.name,
            100 * trial.accuracy(tests),
            network.macs / 1e6,
        )

    def _find(self, run, folder, data) -> dict[str, Any] | None:
        """Writes arch.json; returns what it took, None if scaled by hand."""
        if self.networks_from is not None:
            earlier = plan_lib.result_path(self.networks_from, run)
            record = plan_lib.read_result(earlier)
            arch = space_lib.ArchSpec.from_dict(record["arch"])
            arch.save(folder / "arch.json")
            return record["search"]
        if run.method in plan_lib.BY_HAND:
            self._scale(run).save(folder / "arch.json")
            return None
        record = self._search(run, folder, data)
        supernet = self.run_dir / run.supernet
        return equal_cost.taken(
            record,
            stopwatch.Stopwatch(folder / trial.SECONDS),
            warmed_up=self._warmed_up(run),
            warm_up=stopwatch.Stopwatch(supernet / trial.SECONDS),
        )

    def _budget(self, run) -> cost.Budget:
        return cost.Budget(
            target=run.target_macs, num_classes=self._clips_of(run)[1]
        )

    def _scale(self, run) -> space_lib.ArchSpec:
        return space_lib.scaled_x3d(
            self.space,
            self._budget(run).allows,
            depth=plan_lib.BY_HAND[run.method],
        )

    def _search(self, run, folder, data) -> dict[str, Any]:
        search, estimator = self.search, self.estimator
        measured_by = self.plan.measured_by(run)
        if measured_by is not None:
            record = search_files.read_record(self.run_dir / measured_by.name)
            samples = equal_cost.fixed_samples(
                run.method, record["first_samples"]
            )
            search = equal_cost.equal_steps(
                run.method,
                search,
                clips=equal_cost.clips_of(record)
                - self._warmed_up(run)["clips_trained"],
                judged_on=record["judged_on"]["clips"],
                to_choose=record["chosen_among"]["clips"],
                samples=samples,
            )
            estimator = dataclasses.replace(estimator, fixed_samples=samples)
        return trial.search_once(
            self.search_fn,
            folder,
            space=self.space,
            search=search,
            estimator=estimator,
            seed=run.seed,
            data=data,
            target_macs=run.target_macs,
            supernet_from=str(self.run_dir / run.supernet),
        )

    def _warmed_up(self, run) -> dict[str, int]:
        """What the warm-up that a run shares has cost."""
        return search_files.read_record(self.run_dir / run.supernet)["counts"]
