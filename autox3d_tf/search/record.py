"""What a search says about itself in the end, and writes: see files.py.

arch.json has no dates in it: the same search writes the same bytes.
"""

import dataclasses
import math
from typing import Any

from absl import logging

from autox3d_tf import cost, models
from autox3d_tf.base import files as files_lib
from autox3d_tf.runs import run_dir as run_dir_lib
from autox3d_tf.search import derive, files
from autox3d_tf.search import options as options_lib
from autox3d_tf.space import arch as arch_lib


def save(
    run: run_dir_lib.RunDir, *, engine, chosen, top, judged, raced, inherited,
    reported, seconds,
) -> dict[str, Any]:  # fmt: skip
    """Writes the files; search.json, which vouches for all, last."""
    space = engine.space
    rank = derive.Rank(None, None, None)
    if engine.search.method not in options_lib.JUDGED:
        rank = derive.rank(space, engine.distribution(), chosen)
    ranks = {
        "rank": rank.place,
        "rank_above": rank.above,
        "rank_ties": rank.ties,
    }
    costs = {
        budget.metric: {"target": budget.target, "cost": value}
        for budget, value in zip(engine.budgets, chosen.costs, strict=True)
    }
    arch = _arch_of(engine, chosen, costs, rank, run.fingerprint)
    arch.save(run.file("arch.json"))
    models.save_weights(run.file("inherited.npz"), inherited)
    by_indices = {child.indices: child for child in judged}
    child = by_indices[chosen.indices]
    record = _write_record(
        run,
        {
            "space": space.name,
            "space_fingerprint": space.fingerprint,
            "method": engine.search.method,
            "arch": arch.fingerprint,
            "indices": chosen.indices,
            "costs": costs,
            "log_prob": chosen.log_prob,
            **ranks,
            "entropy": float(engine.distribution().entropy()),
            "labels": list(engine.source.classes),
            "metrics": [budget.metric for budget in engine.budgets],
            "inherited_accuracy": child.accuracy,
            "judged_on": {
                "clips": engine.chooser.judge.clips_each,
                "distinct": engine.chooser.judge.distinct,
                "of": "the half the architecture was learned on",
            },
            "top": [
                {**_plain(one), "judged": _plain(by_indices[one.indices])}
                for one in top
            ],
            "children": [_plain(child) for child in judged],
            "candidates": [
                _plain(child) for child in engine.chooser.candidates
            ],
            "finalists": [_plain(one) for one in raced],
            "counts": engine.counts(),
            "chosen_among": engine.chooser.chosen_among,
            "first_samples": engine.first_samples,
            "reported": reported,
            "seconds_since_start_or_resume": round(seconds, 1),
        },
    )
    log_chosen(record)
    return record


def _arch_of(engine, chosen, costs, rank, config_hash) -> arch_lib.ArchSpec:
    """The network that was chosen, which says where it comes from."""
    space = engine.space
    arch = space.decode(chosen.indices, name=f"{space.name}_searched")
    for budget in engine.budgets:  # for certain
        if not budget.allows(arch):
            raise RuntimeError(f"{arch.name} is over {budget}: a bug.")
    provenance = {
        **arch.provenance,
        "space_version": space.version,
        "costs": costs,
        "num_classes": len(engine.source.classes),
        "probability": chosen.probability,
        "rank": rank.place,
        "rank_above": rank.above,  # so many at least, where it has no place
        "seed": engine.seed,
        "config_hash": config_hash,
    }
    return dataclasses.replace(arch, provenance=provenance)


def _write_record(run, record):
    record = {
        "format": files.FORMAT,
        "schema_version": files.SCHEMA_VERSION,
        **record,
        "config": run.config,
        "provenance": run.provenance(),
    }
    run.write_json(files.RECORD, record)
    return files_lib.to_json(record)


def _plain(value) -> dict[str, Any]:
    return dataclasses.asdict(value)


def log_chosen(record: dict[str, Any]) -> None:
    """Says what a search has found, in one line."""
    counts = record["counts"]
    spent = ", ".join(
        f"{metric} {cost.format_amount(metric, v['cost'])} of at most "
        f"{cost.format_amount(metric, v['target'])}"
        for metric, v in record["costs"].items()
    )
    logging.info(
        "Chosen: %s; probability %.3g, rank among all %s; inherited "
        "accuracy %.1f %% on the architecture's half; %d architectures "
        "sampled, %d clips trained and %d judged in %.0f s.",
        spent,
        math.exp(record["log_prob"]),
        files.rank_text(record),
        100 * record["inherited_accuracy"],
        counts["architectures"],
        counts["clips_trained"],
        counts["clips_judged"],
        record["seconds_since_start_or_resume"],
    )
