"""Runs the search and its baselines at equal cost, over several seeds."""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import keras
from absl import logging

from autox3d_tf.runs import run_dir as run_dir_lib
from autox3d_tf.search import baselines, results
from autox3d_tf.search import options as options_lib

FILE = "baselines.json"


def compare_searches(
    *,
    search_fn: Callable[..., dict[str, Any]],
    search: options_lib.SearchOptions,
    estimator: options_lib.EstimatorOptions,
    run_dir: str,
    train_fn: Callable[..., dict[str, Any]] | None = None,
    methods: Sequence[str] = ("probabilistic", "parsec", "evolution", "random"),
    seeds: Sequence[int] = (0, 1, 2),
) -> list[dict[str, Any]]:
    """Writes baselines.json and prints a table.

    The probabilistic search goes first; each other method may then process as
    many clips as it did with the same seed. Finished runs are not repeated.

    Args:
        search_fn: `run_search`, with what all methods share bound.
        search, estimator: Of the probabilistic search.
        run_dir: Gets a directory per method and seed.
        train_fn: `run_training`, to train each network found from scratch;
            its validation is compared. Without it the inherited accuracy is,
            which was also chosen by.
        methods: `probabilistic` and others, of `parsec` (K stays what it is
            at the start), `evolution`, `random`.
        seeds: Seeds.
    """
    if "probabilistic" not in methods:
        raise ValueError(
            "`methods` must have 'probabilistic', whose cost the others get. "
            f"Received: methods={tuple(methods)}."
        )
    others = [method for method in methods if method != "probabilistic"]
    runs = []
    for seed in seeds:
        clips = half = samples = 0
        for method in ("probabilistic", *others):
            folder = pathlib.Path(run_dir) / f"{method}_{seed}"
            options, estimation = search, estimator
            if method != "probabilistic":
                options = baselines.equal_steps(
                    method, search, clips=clips, half=half, samples=samples
                )
            if method == "parsec":
                estimation = dataclasses.replace(
                    estimator, fixed_samples=samples
                )
            record = _search(search_fn, folder, options, estimation, seed)
            counts = record["counts"]
            processed = counts["clips_trained"] + counts["clips_judged"]
            if method == "probabilistic":
                clips, half = processed, record["judged_on"]["clips"]
                samples = record["first_samples"]
            accuracy = record["inherited_accuracy"]
            if train_fn is not None:
                accuracy = _train(train_fn, folder, seed)
            runs.append((method, accuracy, counts["architectures"], processed))
            logging.info("%s, seed %d: %.1f %%.", method, seed, 100 * accuracy)
    rows = baselines.summarize(runs)
    measured = "validation, trained from scratch"
    if train_fn is None:
        measured = "inherited accuracy"
    run_dir_lib.write_json(
        pathlib.Path(run_dir) / FILE,
        {
            "measured": measured,
            "rows": rows,
            "runs": runs,
            "seeds": seeds,
            "provenance": run_dir_lib.provenance(),
        },
    )
    print(f"{measured}:\n{baselines.format_table(rows)}")
    return rows


def _search(search_fn, folder, search, estimator, seed):
    if (folder / "search.json").is_file():
        return results.read_record(folder)
    keras.utils.clear_session()
    return search_fn(
        search=search, estimator=estimator, run_dir=str(folder), seed=seed
    )


def _train(train_fn, folder, seed):
    keras.utils.clear_session()
    record = train_fn(
        arch=str(folder / "arch.json"), run_dir=str(folder / "train"), seed=seed
    )
    return record["validation"]["accuracy"]
