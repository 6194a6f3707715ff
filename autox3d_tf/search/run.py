"""Searches for an architecture: the function behind autox3d-search."""

import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

from absl import logging

from autox3d_tf import cost, models
from autox3d_tf.base import files as files_lib
from autox3d_tf.data import parts, pipeline
from autox3d_tf.runs import claim, determinism, distribute, memory
from autox3d_tf.runs import run_dir as run_dir_lib
from autox3d_tf.search import (
    baselines,
    cost_table,
    derive,
    distribution,
    files,
    finalists,
    summaries,
)
from autox3d_tf.search import engine as engine_lib
from autox3d_tf.search import options as options_lib
from autox3d_tf.search import record as record_lib
from autox3d_tf.space import search_space, spaces

_KIND = "search"
# What a warm-up depends on, beside clips, weights and seed.
_WARMUP = ("warmup_steps", "warmup_samples", "largest_steps", "batch_size",
           "label_smoothing")  # fmt: skip
_SAMPLES = ("samples_per_nat", "fixed_samples", "max_samples")  # make K
_REPORTED = ("top_k", "children", "norm_batches")  # what is said of the end
_MAY_CHANGE = ("save_secs", "save_steps", *_REPORTED)


def run_search(
    *,
    space: str | search_space.SearchSpace,
    data: pipeline.DataOptions,
    search: options_lib.SearchOptions,
    run_dir: str,
    target_macs: float | None = None,
    target_params: float | None = None,
    target_peak_bytes: float | None = None,
    target_latency_ms: float | None = None,
    latency_table: cost.LatencyTable | None = None,
    targets: Mapping[str, float] | None = None,
    estimator: options_lib.EstimatorOptions | None = None,
    weights: options_lib.WeightsOptions | None = None,
    logits: options_lib.LogitsOptions | None = None,
    supernet_from: str | None = None,
    seed: int = 0,
    deterministic: bool | None = None,
    strategy: distribute.Strategy | None = None,
    own_clips: bool = False,
    finalist_fn: Callable[..., dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Searches a space and writes arch.json, within budget for certain.

    Beside it come space.json, inherited.npz (weights for a quick start of the
    training), search.json (what was found, runners-up, provenance) and
    search_history.jsonl. Called again with the same `run_dir` it goes on
    where it stopped, and ends with the same architecture; one that has ended
    is returned as it is.

    Args:
        space: A named space, a space.json, or a `SearchSpace`.
        data: Clips, and which of them train. They are halved: the weights
            learn from one half, the architecture from the other.
        search: Length and schedule.
        run_dir: Where the run writes.
        target_macs: Most multiply-adds for one clip of the space's size.
        target_params: Most parameters.
        target_peak_bytes: Most bytes of activations in one part, float32.
        target_latency_ms: Most milliseconds on the device of `latency_table`,
            for what the table is of: a clip, or a frame if the space is
            causal. Targets may be combined.
        latency_table: From `cost.load_latency_table`.
        targets: Largest costs by metric, for those of your own. A module that
            the caller, or the gin file, imports puts them into `cost.METRICS`.
        estimator: Of the gradients.
        weights, logits: Their optimizers.
        supernet_from: Directory of a finished search with the same space,
            clips and seed, whose supernet is taken instead of training one,
            such as searches within several budgets may share. A search with
            steps of the logits goes on where that one ended, which must be
            just after the same warm-up. The weights' rate has come to zero
            there, and goes on at what this search, which is longer, has then:
            not quite the search that does its own warm-up.
        seed: Of initialisation, halves, clips and samples.
        deterministic: As in `determinism.set_seed`: by default so that the
            same bits come back, but on a GPU.
        strategy: Of tf.distribute, such as `distribute.make_strategy` makes:
            its replicas share the architectures of a step. The children's
            batch norms use the clips of their own replica. None for one
            device.
        own_clips: Give each replica `batch_size` clips of its own, for more
            clips in the same time; architectures are then compared across
            clips. By default all replicas see the same clips, and the search
            is that of one device but for the last bits.
        finalist_fn: `run_training` with the recipe bound that finalists are
            trained by; needed if `search` asks for more than one.

    Returns:
        What search.json says.

    Raises:
        ValueError: If options contradict each other, nothing in the space is
            within the budget, or `run_dir` or `supernet_from` is another
            run's.
    """
    if search.finalists > 1 and finalist_fn is None:
        raise ValueError(
            "`finalist_fn` must be given to train finalists. Received: None, "
            f"with finalists={search.finalists} in the options of the search."
        )
    replicas = distribute.num_replicas(strategy)
    if search.method == "gumbel" and replicas > 1:
        raise ValueError(
            "`strategy` must be of one device for the method 'gumbel'. "
            f"Received: {replicas} replicas."
        )
    weights = weights or options_lib.WeightsOptions()
    if weights.warmup_steps >= search.steps:
        logging.warning(
            "The weights' rate grows for %d steps, longer than the search, and "
            "never reaches its peak: --gin=WeightsOptions.warmup_steps=...",
            weights.warmup_steps,
        )
    if latency_table is not None:
        logging.info("Latency table: %s.", latency_table)
    determinism.set_seed(seed, deterministic=deterministic)
    space = spaces.get_space(space)
    with distribute.worker_errors(strategy):
        with distribute.chief_first(strategy):
            run_dir_lib.check_kind(run_dir, _KIND)
            begun = run_dir_lib.is_run(run_dir)
            clips = pipeline.pin_manifest(
                data, pathlib.Path(run_dir), begun=begun
            )
            source = pipeline.open_source(clips, "train")
            parts.check_classes(source)
            asked = {
                "space": space,
                "source": source,
                "data": data,
                "budgets": make_budgets(
                    space,
                    len(source.classes),
                    macs=target_macs,
                    params=target_params,
                    peak_activation_bytes=target_peak_bytes,
                    latency_ms=target_latency_ms,
                    table=latency_table,
                    others=targets,
                ),
                "search": search,
                "estimator": estimator or options_lib.EstimatorOptions(),
                "weights": weights,
                "logits": logits or options_lib.LogitsOptions(),
                "seed": seed,
            }
            run, config = _begin(
                run_dir, asked, supernet_from, strategy, own_clips, finalist_fn
            )
        if files.is_finished(run.path, _reported(search)):
            logging.info("%s is finished.", run.path)
            record_lib.log_chosen(files.read_record(run.path))
        else:
            engine = engine_lib.Engine(
                **asked, strategy=strategy, own_clips=own_clips
            )
            _search(run, engine, supernet_from, finalist_fn, made_of=config)
        distribute.wait_at_end(strategy, run.file(files.RECORD).is_file)
    return files.read_record(run_dir)


def _begin(
    run_dir, asked, supernet_from, strategy, own_clips, finalist_fn
) -> tuple[run_dir_lib.RunDir, dict[str, Any]]:
    """Enters the directory; returns it and what the result depends on."""
    config = _config_of(**asked)
    if own_clips:  # then the result depends on the replicas
        config["replicas"] = distribute.num_replicas(strategy)
    if supernet_from is not None:
        config["supernet_from"] = check_supernet(supernet_from, config)
    if asked["search"].finalists > 1:
        names = "space", "source", "data", "seed"
        config["finalists"] = finalists.check(
            finalist_fn,
            run_dir=run_dir,
            **{name: asked[name] for name in names},
        )
    chief = distribute.is_chief(strategy)
    return run_dir_lib.RunDir(run_dir, config, writes=chief), config


def _search(run, engine, supernet_from, finalist_fn, made_of) -> None:
    """Takes all steps; the chief chooses from what they have led to."""
    chief = distribute.is_chief(engine.strategy)
    with (
        claim.alone(run.path) if chief else contextlib.nullcontext(),
        memory.freed_at_end(),
    ):
        if chief:
            run.write_provenance(**made_of)
            engine.space.save(run.file("space.json"))
        began = time.monotonic()
        judged = engine.search.method in options_lib.JUDGED
        if judged:  # before the steps
            baselines.check_reachable(engine.space, engine.tables)
        if supernet_from is not None and judged:
            engine.adopt(supernet_from, run)
        else:
            engine.train(run, supernet_from)
        if chief:
            _finish(run, engine, finalist_fn, began)


def _config_of(
    space, source, data, budgets, search, estimator, weights, logits, seed
) -> dict[str, Any]:
    """What the result of any search depends on."""
    may_change = set(_MAY_CHANGE)
    if search.finalists > 1:  # which start from weights with such norms
        may_change.remove("norm_batches")
    return {
        "kind": _KIND,
        "space": {"name": space.name, "fingerprint": space.fingerprint},
        "data": dataclasses.replace(data, cache_dir=None),
        "manifest": source.manifest.fingerprint,
        "order": source.manifest.order_fingerprint,
        "budgets": [_plain_budget(budget, space) for budget in budgets],
        "search": {
            name: value
            for name, value in files_lib.to_json(search).items()
            if name not in may_change
        },
        "estimator": estimator,
        "weights": weights,
        "logits": logits,
        "seed": seed,
    }


def _reported(search) -> dict[str, Any]:
    return {name: getattr(search, name) for name in _REPORTED}


def _finish(run, engine, finalist_fn, began) -> None:
    """Chooses, judges and writes what the search has found."""
    search, chooser, raced = engine.search, engine.chooser, []
    if search.method in options_lib.LEARNT and (
        search.steps == search.warmup_steps
    ):
        logging.warning(
            "All %d steps are warm-up: nothing is learnt about architectures, "
            "which one is chosen says nothing.",
            search.steps,
        )
    learnt = engine.distribution()
    found = chooser.choose(learnt)
    if search.finalists > 1:
        found, raced = finalists.decide(
            found,
            chooser.finalists(found),
            lambda racers: finalists.race(run, engine, racers, finalist_fn),
        )
    chosen, top = found[0], found[: search.top_k]
    judged = chooser.judged(top, learnt)
    if raced:
        inherited = finalists.inherited(run, engine, chosen.indices)
    else:
        inherited = models.weight_values(engine.inherited(chosen.indices))
    record = record_lib.save(
        run,
        engine=engine,
        chosen=chosen,
        top=top,
        judged=judged,
        raced=raced,
        inherited=inherited,
        reported=_reported(search),
        seconds=time.monotonic() - began,
    )
    summaries.write_found(run, engine.space, record)
    logging.info("Wrote %s.", run.file("arch.json"))


def make_budgets(
    space, num_classes, table=None, others=None, **targets
) -> tuple[cost.Budget, ...]:
    """Returns a budget per target that is given; refuses impossible ones.

    Args:
        space: What is searched.
        num_classes: Outputs.
        table: The `LatencyTable` of the target `latency_ms`.
        others: More of `targets`, or None.
        **targets: Metric -> largest cost; None for no limit.
    """
    if table is not None and targets.get(cost.LATENCY) is None:
        raise ValueError(
            "`target_latency_ms` must be given with a latency table. Received: "
            "None. Say how many milliseconds, or leave the table out."
        )
    for metric, target in (others or {}).items():
        if targets.get(metric) is not None:
            raise ValueError(
                f"`targets` must not say again what is given. Received: "
                f"{metric} <= {target:g} and {metric} <= {targets[metric]:g}."
            )
        targets[metric] = target
    budgets = tuple(
        cost.Budget(
            metric=metric,
            target=float(target),  # 40_000_000 and 40e6 are one search
            num_classes=num_classes,
            table=table if metric == cost.LATENCY else None,
        )
        for metric, target in targets.items()
        if target is not None
    )
    if not budgets:
        raise ValueError(
            "At least one of `target_macs`, `target_params`, "
            "`target_peak_bytes`, `target_latency_ms` and `targets` must be "
            "given. Received: none."
        )
    for budget in budgets:
        cost.check_feasible(space, budget)
    if len(budgets) > 1:  # the cheapest by one may be dear by another
        tables = [cost_table.CostTable(space, budget) for budget in budgets]
        derive.top_k(space, distribution.factorized(space), tables, 1)
    return budgets


def _plain_budget(budget: cost.Budget, space) -> dict[str, Any]:
    """A budget as JSON types; of a table, what tells it from others."""
    plain = files_lib.to_json(budget)
    table = plain.pop("table")
    if table is not None:
        coefficients = table.pop("coefficients")
        table["fingerprint"] = run_dir_lib.fingerprint_of(coefficients)
        plain["table"] = table
    elif budget.metric not in cost.COUNTS:  # code, which only its results tell
        largest = cost.SpaceCost(space, budget)(space.largest)
        plain["costs"] = [cost.cheapest(space, budget), largest]
    return plain


def check_supernet(run_dir: str, config: dict[str, Any]) -> str:
    """Returns the fingerprint of a search whose supernet serves another.

    The clips must be the same and halved in the same way; where steps of the
    logits are to follow, all that is behind it must be their warm-up.
    """
    there = run_dir_lib.read_config(run_dir)
    shared = ("kind", "space", "manifest", "order", "data", "weights", "seed")
    changes = run_dir_lib.differences(
        {name: there.get(name) for name in shared},
        run_dir_lib.as_there(
            {name: files_lib.to_json(config[name]) for name in shared}, there
        ),
    )
    if changes:
        raise ValueError(
            "`supernet_from` must be a search of the same space, clips and "
            f"seed. Received: {run_dir} ({'; '.join(changes)})."
        )
    wanted = config["search"]
    if wanted["method"] not in options_lib.JUDGED:
        changes = run_dir_lib.differences(
            {"steps": there["search"]["steps"], **_warm_up_of(there)},
            {"steps": wanted["warmup_steps"], **_warm_up_of(config)},
        )
        if changes:
            raise ValueError(
                "`supernet_from` must be a search that ended after the same "
                f"warm-up. Received: {run_dir} ({'; '.join(changes)})."
            )
    return run_dir_lib.fingerprint_of(there)


def _warm_up_of(config: dict[str, Any]) -> dict[str, Any]:
    """What the warm-up of a search depends on.

    Samples are weighed against each other, by the temperature, if there are
    several; how many there are may follow from the estimator.
    """
    search = config["search"]
    estimator = files_lib.to_json(config["estimator"])
    names = ("temperature",) if search["warmup_samples"] != 1 else ()
    names += () if search["warmup_samples"] else _SAMPLES
    return {
        "replicas": config.get("replicas"),  # None where all see the same clips
        **{name: search.get(name) for name in _WARMUP},
        **{name: estimator[name] for name in names},
    }
