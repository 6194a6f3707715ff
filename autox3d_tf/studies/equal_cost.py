"""What searches take, and options under which all process as many clips."""

import dataclasses
from typing import Any

from autox3d_tf.base import checks
from autox3d_tf.search import options as options_lib
from autox3d_tf.studies import stopwatch

# The probabilistic search with a fixed number of samples, and the relaxation.
FIXED = ("parsec", "parsec_equal_steps", "gumbel")
RELAXED_SAMPLES = 2


def fixed_samples(method: str, first_samples: int) -> int:
    """Returns K of a method; 0 if it follows the entropy or there is none.

    Args:
        method: Of a comparison.
        first_samples: K at the start of the search it is compared with.
    """
    if method == "gumbel":
        return RELAXED_SAMPLES
    return first_samples if method in FIXED else 0


def warm_up(search: options_lib.SearchOptions) -> options_lib.SearchOptions:
    """Returns options that end after the warm-up, for `supernet_from`."""
    if not search.warmup_steps:
        raise ValueError(
            "`warmup_steps` must be at least 1 for methods to share the "
            "warm-up. Received: warmup_steps=0."
        )
    if not search.warmup_samples:
        raise ValueError(
            "`warmup_samples` must be at least 1 for methods to share the "
            "warm-up: with 0 it follows the K of each. Received: "
            "warmup_samples=0."
        )
    return dataclasses.replace(
        search,
        method="probabilistic",
        steps=search.warmup_steps,
        joint_step=0,
        rerank=1,
        refine=0,
        finalists=1,
        start_at_budget=False,
        top_k=1,
        children=0,
    )


def equal_steps(
    method: str,
    search: options_lib.SearchOptions,
    *,
    clips: int,
    judged_on: int,
    to_choose: int = 0,
    samples: int = 0,
) -> options_lib.SearchOptions:
    """Returns options under which a method processes about `clips` clips.

    A clip counts once whether it goes forward and back or forward only. The
    warm-up, the same for all methods, is not counted.

    Args:
        method: `random`, `evolution`, or one with fixed samples: `parsec`,
            `gumbel`, or `parsec_equal_steps`, which takes the same steps and
            so, on purpose, more clips.
        search: Options of the search it is compared with.
        clips: What that search processed after the warm-up.
        judged_on: Clips that one architecture is judged on.
        to_choose: Of `clips`, what it took after the last step, to choose.
        samples: K of `parsec`.
    """
    checks.check_choice("method", method, (*FIXED, *options_lib.JUDGED))
    if method == "parsec_equal_steps":
        return search
    if method in FIXED:
        trained = search.weights_samples or samples
        each = trained * search.batch_size + samples * search.clips_of_logits
        after = max(1, round((clips - to_choose) / each))
        warmup, joint_step = search.warmup_steps, search.joint_step
        if joint_step > warmup:  # at the same share
            share = (joint_step - warmup) / (search.steps - warmup)
            joint_step = warmup + round(share * after)
        relaxed = method == "gumbel"
        return dataclasses.replace(
            search,
            method=method if relaxed else search.method,
            steps=warmup + after,
            joint_step=0 if relaxed else joint_step,
        )
    return dataclasses.replace(
        warm_up(search),
        method=method,
        candidates=max(2, round(clips / judged_on)),
        finalists=search.finalists,
    )


def clips_of(record: dict[str, Any]) -> int:
    """Returns the clips that a search processed, its finalists' left out."""
    counts = record["counts"]
    return counts["clips_trained"] + counts["clips_judged"]


def taken(
    record: dict[str, Any],
    took: stopwatch.Stopwatch,
    *,
    warmed_up: dict[str, int],
    warm_up: stopwatch.Stopwatch,
) -> dict[str, Any]:
    """Returns what finding a network took, the whole warm-up included.

    Args:
        record: Of the search.
        took: Its seconds.
        warmed_up: What the warm-up that it shares has cost, and
        warm_up: its seconds.
    """
    counts, options = record["counts"], record["config"]["search"]
    steps = options["steps"] - options["warmup_steps"]
    samples = None  # of the logits' steps, if there were any
    if steps:
        batch = options["logits_batch_size"] or options["batch_size"]
        judged = counts["clips_judged"] - record["chosen_among"]["clips"]
        samples = judged / (steps * batch)
    finalists = sum(  # what all methods spend alike, if they race any
        one["clips_trained"] + one["clips_judged"]
        for one in record.get("finalists", ())
    )
    return {
        "inherited_accuracy": record["inherited_accuracy"],
        "inherited_clips": record["judged_on"]["clips"],
        "architectures": counts["architectures"],
        "clips": clips_of(record) + finalists,
        "clips_trained": counts["clips_trained"],
        "clips_judged": counts["clips_judged"],
        "steps": options["steps"],
        "first_samples": record["first_samples"],
        "mean_samples": samples,
        "warm_up_architectures": warmed_up["architectures"],
        "warm_up_clips": warmed_up["clips_trained"],
        "warm_up_cpu_seconds": round(warm_up.cpu, 3),
        "cpu_seconds": round(warm_up.cpu + took.cpu, 3),
        "wall_seconds": round(warm_up.wall + took.wall, 3),
        "options": options,
        "estimator": record["config"]["estimator"],
        "weights": record["config"]["weights"],
        "logits": record["config"]["logits"],
    }
