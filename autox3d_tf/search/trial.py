"""The parts of comparisons: one search, one training from scratch."""

import gc
import os
import pathlib
from collections.abc import Callable
from typing import Any

import keras

from autox3d_tf import space as space_lib
from autox3d_tf.data import pipeline
from autox3d_tf.runs import claim
from autox3d_tf.runs import run_dir as run_dir_lib
from autox3d_tf.search import results

SECONDS = "search_seconds.json"  # what a search in the same folder took
_SEED_STEP = 1000  # between the seeds of two trainings of one network


def search_once(
    search_fn: Callable[..., dict[str, Any]],
    folder: pathlib.Path,
    **arguments: Any,
) -> None:
    """Searches in a folder, or warms up in it, unless that has been done.

    Args:
        search_fn: `run_search`, with what all searches share bound.
        folder: Its `run_dir`; gets a file of the seconds that it took, too.
        **arguments: Of `search_fn`, such as its data and its seed.
    """
    if is_found(folder):
        check_found(folder, **arguments)
        return
    folder.mkdir(parents=True, exist_ok=True)
    forget()
    with claim.Stopwatch(folder / SECONDS):
        search_fn(run_dir=str(folder), **arguments)


def is_found(folder: pathlib.Path) -> bool:
    """Whether a search has ended here."""
    return (folder / "search.json").is_file()


def check_found(
    folder: pathlib.Path, *, space, search, seed, estimator=None, **others: Any
) -> dict[str, Any]:
    """Returns the record of a search that has ended, if it is this one.

    Args:
        folder: Its `run_dir`.
        space, search, seed, estimator: Of `run_search`.
        **others: Its other arguments, which are not looked at.

    Raises:
        ValueError: If it was made with other options.
    """
    del others
    record = results.read_record(folder)
    config = record["config"]
    here = run_dir_lib.to_json({"search": search, "seed": seed})
    # Some change nothing that is found; others came later.
    here["search"] = {n: here["search"].get(n) for n in config["search"]}
    if estimator is not None:
        estimator = run_dir_lib.to_json(estimator)
        here["estimator"] = {n: estimator.get(n) for n in config["estimator"]}
    here["space"] = space_lib.get_space(space).fingerprint
    there = {name: config[name] for name in here}
    there["space"] = config["space"]["fingerprint"]
    if changes := run_dir_lib.differences(there, here):
        raise ValueError(
            f"{folder} holds a search of other options ({'; '.join(changes)}). "
            "Give this comparison another run_dir."
        )
    return record


def train_and_test(
    train_fn: Callable[..., dict[str, Any]],
    folder: str | os.PathLike,
    *,
    data: pipeline.DataOptions,
    seed: int,
    trainings: int = 1,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Trains the arch.json of a folder, in folders of its own below it.

    Args:
        train_fn: `run_training` with the recipe bound; its validation is the
            test.
        folder: Has an arch.json. What is finished is not repeated.
        data: Clips, those held out among them.
        seed: Of the first training.
        trainings: How many, each with another seed.

    Returns:
        A test per training, and the record of the last.

    Raises:
        ValueError: If no clips are held out.
    """
    tests = []
    for number in range(trainings):
        forget()
        one = seed + _SEED_STEP * number
        run = pathlib.Path(folder, f"train{one}")
        with claim.Stopwatch(run / "seconds.json") as watch:
            record = train_fn(
                arch=str(run.parent / "arch.json"),
                data=data,
                run_dir=str(run),
                seed=one,
            )
        if "validation" not in record:
            raise ValueError(
                "`data` must name clips to test on, by `val_folds`, "
                "`val_splits` or `folds` of the comparison. Received: none."
            )
        found = record["validation"]
        tests.append(
            {
                "seed": one,
                "accuracy": found["accuracy"],
                "correct": round(found["accuracy"] * found["clips"]),
                "clips": found["clips"],
                "cpu_seconds": round(watch.cpu, 3),
                "wall_seconds": round(watch.wall, 3),
            }
        )
    return tests, record


def accuracy(tests: list[dict[str, Any]]) -> float:
    """Mean accuracy of the trainings."""
    return sum(test["accuracy"] for test in tests) / len(tests)


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


def forget() -> None:
    """Frees what the run before has built."""
    keras.utils.clear_session()
    gc.collect()
