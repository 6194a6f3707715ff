"""The last choice: a few networks, each trained on alone for a while.

Inherited weights tell good networks from poor ones, but hardly the best from
the second best: they suit all networks of the space a little, and those that
score highest are neighbours. A few epochs alone, from where the supernet left
off, tell networks of different widths from each other. (From scratch they do
not: what learns fast at first is not what ends well.) What they cannot tell
apart, the better half, goes on for as long again: successive halving (Jamieson
and Talwalkar, 2016).
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from absl import logging

from autox3d_tf import models
from autox3d_tf.runs import run_dir as run_dir_lib
from autox3d_tf.search import derive

FOLDER = "finalists"  # in the search's run directory


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finalist:
    """A network trained on alone, on the weights' half.

    Attributes:
        indices: One entry per choice.
        accuracies: On all clips of the logits' half, after each round that it
            was in.
        clips_trained: Clips forward and back, in all rounds.
        clips_judged: Clips forward only, for batch norms and the accuracies.
    """

    indices: tuple[int, ...]
    accuracies: tuple[float, ...] = ()
    clips_trained: int = 0
    clips_judged: int = 0


def race(
    run: run_dir_lib.RunDir,
    engine,
    found: Sequence[derive.Derived],
    train_fn: Callable[..., dict[str, Any]],
) -> list[Finalist]:
    """Trains each; what an earlier process has finished is not repeated.

    Args:
        run: Of the search. Each finalist gets a directory per round in it, and
            a file with the weights that it inherits.
        engine: The search's; its halves are trained on and validated on.
        found: The networks.
        train_fn: `run_training` with a recipe bound.

    Returns:
        All of them, the best first.
    """
    folder = run.file(FOLDER)
    folder.mkdir(exist_ok=True)
    racing, out = [Finalist(indices=one.indices) for one in found], []
    for number in range(1, engine.search.finalist_rounds + 1):
        if number > 1:  # the better half goes on
            half = (len(racing) + 1) // 2
            racing, out = racing[:half], racing[half:] + out
        if len(racing) == 1:
            break
        for place, one in enumerate(racing):
            racing[place] = _train_on(folder, engine, one, train_fn)
            logging.info(
                "Round %d, finalist %d of %d: %.1f %% on the architecture's "
                "half.",
                number,
                place + 1,
                len(racing),
                100 * racing[place].accuracies[-1],
            )
        racing.sort(key=lambda one: one.accuracies[-1], reverse=True)  # stable
    return racing + out


def _train_on(folder, engine, finalist, train_fn) -> Finalist:
    """Trains a finalist for a round, from where the last one left off."""
    arch = engine.space.decode(finalist.indices, name="finalist")
    # Not by place: after a resume on another machine likelihoods may differ in
    # the last bits, and the order with them.
    name = arch.fingerprint[:12]
    before = len(finalist.accuracies)
    judged = 0
    if before:
        start = folder / f"{name}_{before}"
    else:
        start = folder / f"{name}_inherited.npz"
        judged = engine.search.norm_batches * engine.search.batch_size
        if not start.exists():
            model = engine.inherited(finalist.indices)
            models.save_weights(start, models.weight_values(model))
    record = train_fn(
        arch=arch,
        data=engine.data,
        sources=engine.halves,
        run_dir=str(folder / f"{name}_{before + 1}"),
        init_from=str(start),
        seed=engine.seed + before,  # another order of the clips
    )
    validation = record["validation"]
    judged += validation["clips"]
    return Finalist(
        indices=finalist.indices,
        accuracies=(*finalist.accuracies, validation["accuracy"]),
        clips_trained=finalist.clips_trained + record["clips_trained"],
        clips_judged=finalist.clips_judged + judged,
    )
