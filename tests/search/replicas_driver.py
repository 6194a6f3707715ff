"""Searches on one device and on two replicas, for replicas_test.

replicas_driver.py mirrored|workers CLIPS FOLDER
"""

import functools
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras

from autox3d_tf.search import options
from tests.runs import replicas
from tests.search import search_driver


def soften_adam():
    """Lets it make small steps of small gradients.

    It divides by the size of a gradient: where the samples of a choice nearly
    cancel, last bits, which differ between processors, would become a step.
    """
    keras.optimizers.Adam = functools.partial(
        keras.optimizers.Adam, epsilon=1e-2
    )


def searcher(clips, folder, die_after=None):
    """Returns a search, as a function of the strategy; it may be killed."""

    def run(strategy):
        soften_adam()
        if die_after is not None:
            search_driver.die_after(die_after)
        search_driver.search(
            clips,
            folder,
            space=search_driver.SHORT,
            estimator=options.EstimatorOptions(samples_per_nat=0.9),
            strategy=strategy,
        )

    return run


def main(kind, clips, folder):
    one, two = f"{folder}/one", f"{folder}/two"
    if kind == "mirrored":
        first = replicas.start(searcher(clips, one), lambda: None)
        replicas.wait(
            first, replicas.start(searcher(clips, two), replicas.two_cpus)
        )
    else:
        whole = searcher(clips, two)
        replicas.run_workers(whole, searcher(clips, two, die_after=5))
        replicas.run_workers(searcher(clips, two, die_after=8), whole)
        replicas.run_workers(whole, whole)


if __name__ == "__main__":
    main(*sys.argv[1:])
