"""The last choice: a few networks, each trained on alone for a while.

Inherited weights tell good networks from poor ones, but hardly the best from
the second best: they suit all networks of the space a little, and those that
score highest are neighbours. A few epochs alone, from where the supernet left
off, tell networks of different widths from each other. (From scratch they do
not: what learns fast at first is not what ends well.)
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
        accuracy: On all clips of the logits' half.
        clips_trained: Clips forward and back.
        clips_judged: Clips forward only, for batch norms and the accuracy.
    """

    indices: tuple[int, ...]
    accuracy: float
    clips_trained: int
    clips_judged: int


def race(
    run: run_dir_lib.RunDir,
    engine,
    finalists: Sequence[derive.Derived],
    train_fn: Callable[..., dict[str, Any]],
) -> list[Finalist]:
    """Trains each; what an earlier process has finished is not repeated.

    Args:
        run: Of the search. Each finalist gets a directory in it, and a file
            with the weights that it inherits.
        engine: The search's; its halves are trained on and validated on.
        finalists: The networks.
        train_fn: `run_training` with a recipe bound.
    """
    folder = run.file(FOLDER)
    folder.mkdir(exist_ok=True)
    for_norms = engine.search.norm_batches * engine.search.batch_size
    results = []
    for number, one in enumerate(finalists):
        arch = engine.space.decode(one.indices, name=f"finalist_{number}")
        # Not by number: after a resume on another machine likelihoods may
        # differ in the last bits, and the order with them.
        name = arch.fingerprint[:12]
        inherited = folder / f"{name}_inherited.npz"
        if not inherited.exists():
            model = engine.inherited(one.indices)
            models.save_weights(inherited, models.weight_values(model))
        record = train_fn(
            arch=arch,
            data=engine.data,
            sources=engine.halves,
            run_dir=str(folder / name),
            init_from=str(inherited),
            seed=engine.seed,
        )
        results.append(
            Finalist(
                indices=one.indices,
                accuracy=record["validation"]["accuracy"],
                clips_trained=record["clips_trained"],
                clips_judged=for_norms + record["validation"]["clips"],
            )
        )
        logging.info(
            "Finalist %d of %d: %.1f %% on the architecture's half.",
            number + 1,
            len(finalists),
            100 * results[-1].accuracy,
        )
    return results
