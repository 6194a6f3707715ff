"""The parts of comparisons: one search, one training from scratch."""

import contextlib
import dataclasses
import gc
import os
import pathlib
from collections.abc import Callable
from typing import Any

import keras

from autox3d_tf.base import files as files_lib
from autox3d_tf.data import pipeline
from autox3d_tf.runs import run_dir as run_dir_lib
from autox3d_tf.search import files as search_files
from autox3d_tf.search import options as options_lib
from autox3d_tf.studies import equal_cost, stopwatch
from autox3d_tf.training import files as training_files
from autox3d_tf.training import inputs

SECONDS = "search_seconds.json"  # what a search in the same folder took
_SEED_STEP = 1000  # between the seeds of two trainings of one network
_UNTESTED = (
    "`data` must name clips to test on, by `val_folds`, `val_splits` or "
    "`folds` of the comparison. Received: none."
)


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


def clips_of(
    data: pipeline.DataOptions, run_dir: str | os.PathLike
) -> tuple[str, int]:
    """Returns the manifest's fingerprint and the classes to train on.

    Args:
        data: Clips, those held out among them.
        run_dir: Keeps what a scan finds, as that of a search does.

    Raises:
        ValueError: If no clips are held out, or none of those that are named
            are there.
    """
    if not inputs.has_part(data, "val"):
        raise ValueError(_UNTESTED)
    if data.cache_dir is None:
        data = dataclasses.replace(data, cache_dir=str(run_dir))
    source = pipeline.open_source(data, "train")
    pipeline.open_source(data, "val")
    return source.manifest.fingerprint, len(source.classes)


def search_once(
    search_fn: Callable[..., dict[str, Any]],
    folder: pathlib.Path,
    **arguments: Any,
) -> dict[str, Any]:
    """Searches in a folder, or warms up in it, unless that has been done.

    A search that has ended there is taken if it is this one, and refused if
    not: by `search_fn`, as it alone knows all of its options.

    Args:
        search_fn: `run_search`, with what all searches share bound.
        folder: Its `run_dir`; gets a file of the seconds that it took, too.
        **arguments: Of `search_fn`, such as its data and its seed.

    Returns:
        What `search_fn` does: the record of the search.
    """
    if search_files.is_finished(folder):
        return search_fn(run_dir=str(folder), **arguments)
    folder.mkdir(parents=True, exist_ok=True)
    forget()
    with stopwatch.Stopwatch(folder / SECONDS):
        return search_fn(run_dir=str(folder), **arguments)


def warm_up(
    search_fn: Callable[..., dict[str, Any]],
    folder: pathlib.Path,
    *,
    search: options_lib.SearchOptions,
    target_macs: float,
    **arguments: Any,
) -> dict[str, Any]:
    """Trains a supernet for `supernet_from`, unless that has been done.

    Args:
        search_fn, folder: As of `search_once`.
        search: Of the searches that will share it.
        target_macs: One of their budgets. A warm-up depends on none, so one
            that was begun with another is gone on with.
        **arguments: As of `search_once`.
    """
    if run_dir_lib.is_run(folder):
        (budget,) = run_dir_lib.read_config(folder)["budgets"]
        target_macs = budget["target"]
    return search_once(
        search_fn,
        folder,
        search=equal_cost.warm_up(search),
        target_macs=target_macs,
        **arguments,
    )


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
        watch = stopwatch.Stopwatch(run / "seconds.json")
        is_finished = (run / training_files.RECORD).is_file()
        with contextlib.nullcontext() if is_finished else watch:
            record = train_fn(
                arch=str(run.parent / "arch.json"),
                data=data,
                run_dir=str(run),
                seed=one,
            )
        if "validation" not in record:
            raise ValueError(_UNTESTED)
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
    config = files_lib.to_json(record["config"])
    return {
        "data": recipe_of_data(config["data"]),
        "training": config["training"],
        "optimizer": config["optimizer"],
    }


def recipe_of_data(data: dict[str, Any]) -> dict[str, Any]:
    """The same of the options of clips, as JSON types."""
    places = "source", "cache_dir"
    folds = "train_folds", "val_folds", "test_folds"
    return {n: v for n, v in data.items() if n not in places + folds}


def forget() -> None:
    """Frees what the run before has built."""
    keras.utils.clear_session()
    gc.collect()
