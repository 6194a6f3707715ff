"""The last choice: a few networks, each trained alone.

Inherited weights tell good networks from poor ones, but hardly the best from
the second best: they suit all networks of the space a little, and those that
score highest are neighbours. A few epochs alone, from where the supernet left
off, tell networks of different widths from each other. (From scratch a few do
not: what learns fast at first is not what ends well.) What the best of them are
worth in the end only their whole training says, from scratch.

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
        accuracies, log_likelihoods: After a few epochs on the weights' half,
            on all clips of the logits' half; then, if it was retrained, on
            clips held out of both halves together. The latter are nats, a
            clip's on average.
        clips_trained: Clips forward and back.
        clips_judged: Clips forward only, for batch norms and the accuracies.
    """

    indices: tuple[int, ...]
    accuracies: tuple[float, ...] = ()
    log_likelihoods: tuple[float, ...] = ()
    clips_trained: int = 0
    clips_judged: int = 0

    def after(self, record: dict[str, Any]) -> "Finalist":
        """Returns it with what a training's record says."""
        validation = record["validation"]
        return dataclasses.replace(
            self,
            accuracies=(*self.accuracies, validation["accuracy"]),
            log_likelihoods=(
                *self.log_likelihoods,
                validation["log_likelihood"],
            ),
            clips_trained=self.clips_trained + record["clips_trained"],
            clips_judged=self.clips_judged + validation["clips"],
        )


def race(
    run: run_dir_lib.RunDir,
    engine,
    found: Sequence[derive.Derived],
    train_fn: Callable[..., dict[str, Any]],
    retrain_fn: Callable[..., dict[str, Any]] | None = None,
) -> list[Finalist]:
    """Trains each; what an earlier process has finished is not repeated.

    Args:
        run: Of the search. Each finalist gets a directory in it, and a file
            with the weights that it inherits.
        engine: The search's; its halves are trained on and validated on.
        found: The networks.
        train_fn: `run_training` with a recipe bound, from inherited weights.
        retrain_fn: The same from scratch, for the best of them, if the search
            retrains any.

    Returns:
        All of them, the best first.
    """
    folder = run.file(FOLDER)
    folder.mkdir(exist_ok=True)
    raced = [Finalist(indices=one.indices) for one in found]
    for place, one in enumerate(raced):
        raced[place] = _train_on(folder, engine, one, train_fn)
        _log(place, raced, "on the architecture's half")
    raced.sort(key=_likelihood, reverse=True)  # stable
    if not engine.search.retrained:
        return raced
    best = raced[: engine.search.retrained]
    sources = parts.hold_out(engine.source, engine.data.val_fraction)
    for place, one in enumerate(best):
        best[place] = _retrain(folder, engine, one, sources, retrain_fn)
        _log(place, best, "on clips held out, from scratch")
    best.sort(key=_likelihood, reverse=True)
    return best + raced[len(best) :]


def check(
    train_fn: Callable[..., dict[str, Any]] | None,
    retrain_fn: Callable[..., dict[str, Any]] | None,
    *,
    space,
    source,
    data,
    search,
    seed: int,
    run_dir: str,
) -> dict[str, dict[str, Any]]:
    """Refuses recipes that cannot be, which a search would find hours later.

    Args:
        train_fn, retrain_fn: As of `race`.
        space, source, data, search, seed: Of the engine; the largest network
            stands for all.
        run_dir: Of the search.

    Returns:
        What each recipe that the search will follow says of itself.
    """
    wanted = {}
    if search.finalists > 1:
        wanted["trained"] = train_fn, parts.halve(source, seed)
    if search.retrained:
        held_out = parts.hold_out(source, data.val_fraction)
        wanted["retrained"] = retrain_fn, held_out
    return {
        name: recipe_fn(
            arch=space.decode(space.largest),
            data=data,
            sources=sources,
            run_dir=str(pathlib.Path(run_dir, FOLDER)),
            init_from=None,
            seed=seed,
            check_only=True,
        )
        for name, (recipe_fn, sources) in wanted.items()
    }


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
    run: run_dir_lib.RunDir, engine, finalist: Finalist | derive.Derived
) -> dict[str, np.ndarray]:
    """Returns the weights that one of `race` began with, by name."""
    name = _arch_of(engine, finalist)[1]
    return models.load_weights(_inherited_path(run.file(FOLDER), name))


def _inherited_path(folder, name):
    return folder / f"{name}_inherited.npz"


def _likelihood(finalist) -> float:
    """Of the last training."""
    return finalist.log_likelihoods[-1]


def _log(place, finalists, where):
    logging.info(
        "Finalist %d of %d: log-likelihood %.3f, %.1f %% %s.",
        place + 1,
        len(finalists),
        _likelihood(finalists[place]),
        100 * finalists[place].accuracies[-1],
        where,
    )


def _train_on(folder, engine, finalist, train_fn) -> Finalist:
    """Trains a finalist on from the supernet's weights."""
    arch, name = _arch_of(engine, finalist)
    path = _inherited_path(folder, name)
    if not path.exists():
        with memory.freed_at_end():
            model = engine.inherited(finalist.indices)
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
    return dataclasses.replace(finalist, clips_judged=norms).after(record)


def _retrain(folder, engine, finalist, sources, retrain_fn) -> Finalist:
    """Trains a finalist from scratch."""
    arch, name = _arch_of(engine, finalist)
    record = retrain_fn(
        arch=arch,
        data=engine.data,
        sources=sources,
        run_dir=str(folder / f"{name}_from_scratch"),
        init_from=None,
        seed=engine.seed,
    )
    return finalist.after(record)


def _arch_of(engine, finalist):
    """Returns the network, and the name of its folder."""
    arch = engine.space.decode(finalist.indices, name="finalist")
    # Not by place: after a resume on another machine likelihoods may differ in
    # the last bits, and the order with them.
    return arch, arch.fingerprint[:12]
