"""The last choice: a few networks, each trained alone.

Inherited weights tell good networks from poor ones, but hardly the best from
the second best: they suit all networks of the space a little, and those that
score highest are neighbours. A few epochs alone, from where the supernet left
off, tell networks of different widths from each other. (From scratch a few do
not: what learns fast at first is not what ends well.)

The likeliest wins: accuracy puts them in the same order, but needs several
times as many clips for it.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from absl import logging

from autox3d_tf import models
from autox3d_tf.data import parts
from autox3d_tf.runs import memory
from autox3d_tf.runs import run_dir as run_dir_lib
from autox3d_tf.search import derive

FOLDER = "finalists"  # in the search's run directory


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finalist:
    """A network trained alone.

    Attributes:
        indices: One entry per choice.
        accuracy: On all clips of the logits' half, after a few epochs on the
            weights' half.
        log_likelihood: There, in nats, a clip's on average.
        clips_trained: Clips forward and back.
        clips_judged: Clips forward only, for batch norms and the accuracies.
    """

    indices: tuple[int, ...]
    accuracy: float
    log_likelihood: float
    clips_trained: int
    clips_judged: int


def race(
    run: run_dir_lib.RunDir,
    engine,
    found: Sequence[derive.Derived],
    train_fn: Callable[..., dict[str, Any]],
) -> list[Finalist]:
    """Trains each; what an earlier process has finished is not repeated.

    Args:
        run: Of the search. Each finalist gets a directory in it, and a file
            with the weights that it inherits.
        engine: The search's; its halves are trained on and validated on.
        found: The networks.
        train_fn: `run_training` with a recipe bound, from inherited weights.

    Returns:
        All of them, the best first.
    """
    folder = run.file(FOLDER)
    folder.mkdir(exist_ok=True)
    raced = []
    for place, one in enumerate(found, 1):
        raced.append(_train_on(folder, engine, one.indices, train_fn))
        logging.info(
            "Finalist %d of %d: log-likelihood %.3f, %.1f %% on the "
            "architecture's half.",
            place,
            len(found),
            raced[-1].log_likelihood,
            100 * raced[-1].accuracy,
        )
    # Stable: of equal ones the likeliest is first.
    return sorted(raced, key=lambda one: one.log_likelihood, reverse=True)


def check(
    train_fn: Callable[..., dict[str, Any]],
    *,
    space,
    source,
    data,
    seed: int,
    run_dir: str,
) -> dict[str, Any]:
    """Refuses a recipe that cannot be, which a search would find hours later.

    Args:
        train_fn: As of `race`.
        space, source, data, seed: Of the engine; the largest network stands
            for all.
        run_dir: Of the search.

    Returns:
        What the recipe says of itself.
    """
    return train_fn(
        arch=space.decode(space.largest),
        data=data,
        sources=parts.halve(source, seed),
        run_dir=str(pathlib.Path(run_dir, FOLDER)),
        init_from=None,
        seed=seed,
        check_only=True,
    )


def decide(
    found: Sequence[derive.Derived],
    racers: Sequence[derive.Derived],
    race_fn: Callable[[Sequence[derive.Derived]], list[Finalist]],
) -> tuple[list[derive.Derived], list[Finalist]]:
    """Lets a race choose; a single racer is chosen without training.

    Args:
        found: Networks, the likeliest first.
        racers: Some of them, one at least.
        race_fn: Trains these; returns them, the best first.

    Returns:
        The networks, now with the best racer first, and what was trained.
    """
    raced = race_fn(racers) if len(racers) > 1 else []
    best = (raced or racers)[0].indices
    # Stable: the others stay in their order.
    return sorted(found, key=lambda one: one.indices != best), raced


def inherited(
    run: run_dir_lib.RunDir, engine, indices: Sequence[int]
) -> dict[str, np.ndarray]:
    """Returns the weights that one of `race` began with, by name."""
    name = _arch_of(engine, indices)[1]
    return models.load_weights(_inherited_path(run.file(FOLDER), name))


def _inherited_path(folder, name):
    return folder / f"{name}_inherited.npz"


def _train_on(folder, engine, indices, train_fn) -> Finalist:
    """Trains a network on from the supernet's weights."""
    arch, name = _arch_of(engine, indices)
    path = _inherited_path(folder, name)
    if not path.exists():
        with memory.freed_at_end():
            model = engine.inherited(indices)
            models.save_weights(path, models.weight_values(model))
    norms = engine.search.norm_batches * engine.search.batch_size
    record = train_fn(
        arch=arch,
        data=engine.data,
        sources=engine.halves,
        run_dir=str(folder / name),
        init_from=str(path),
        seed=engine.seed,
    )
    validation = record["validation"]
    return Finalist(
        indices=indices,
        accuracy=validation["accuracy"],
        log_likelihood=validation["log_likelihood"],
        clips_trained=record["clips_trained"],
        clips_judged=norms + validation["clips"],
    )


def _arch_of(engine, indices):
    """Returns the network, and the name of its folder."""
    arch = engine.space.decode(indices, name="finalist")
    # Not by place: after a resume on another machine likelihoods may differ in
    # the last bits, and the order with them.
    return arch, arch.fingerprint[:12]
