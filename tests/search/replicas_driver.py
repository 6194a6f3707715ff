"""Searches on one device and on two replicas, for replicas_test.

replicas_driver.py mirrored|workers CLIPS FOLDER
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from autox3d_tf.search import options
from tests.runs import replicas
from tests.search import search_driver


def searcher(clips, folder, die_after=None):
    """Returns a search, as a function of the strategy; it may be killed."""

    def run(strategy):
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
