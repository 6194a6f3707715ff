r"""Compares the supernet's ranking with training alone: Kendall's tau.

  autox3d-rank-correlation runs/comparison/probabilistic_1.5M_seed0_fold3 \
    --run_dir=runs/rank --results=docs/results/rank

The directory is that of a finished search. Architectures within its budget are
judged with inherited weights, some at even steps through that ranking trained
from scratch with the recipe of the training in train0/ below it (or --recipe).
Prints both rankings, tau-b, its bootstrap interval and a permutation test;
leaves a small JSON file per architecture in --results. Started again it goes
on where it stopped.
"""

import functools
import pathlib

from absl import flags

from autox3d_tf.runs import binary

FLAGS = flags.FLAGS


def _train_fn(recipe):
    """`run_training` as it was called in a finished training."""
    from autox3d_tf.runs import run_dir
    from autox3d_tf.training import options, run

    config = run_dir.read_config(recipe)
    return functools.partial(
        run.run_training,
        training=options.TrainingOptions(**config["training"]),
        optimizer=options.OptimizerOptions(**config["optimizer"]),
    )


def _main(arguments):
    if len(arguments) != 1 or not (FLAGS.run_dir and FLAGS.results):
        raise binary.UsageError(
            "Give the directory of one finished search, --run_dir and "
            "--results. Try --help."
        )
    from autox3d_tf.studies import rank

    recipes = sorted(pathlib.Path(arguments[0]).glob("train*"))
    recipe = FLAGS.recipe or (recipes and recipes[0])
    if not recipe:
        raise binary.UsageError(
            f"{arguments[0]} holds no training. Name one by --recipe."
        )
    found = rank.rank_correlation(
        arguments[0],
        train_fn=_train_fn(recipe),
        run_dir=FLAGS.run_dir,
        results_dir=FLAGS.results,
        count=FLAGS.count,
        candidates=FLAGS.candidates,
        trainings=FLAGS.trainings,
    )
    if found is None:
        print("Other processes are at the rest; start again for the tables.")
        return
    print(rank.format_rankings(*found), end="")


def _define_flags():
    flags.DEFINE_string("run_dir", None, "Where trainings write.")
    flags.DEFINE_string("results", None, "Gets the small files.")
    flags.DEFINE_string("recipe", None, "Directory of a finished training.")
    flags.DEFINE_integer("count", 12, "Architectures to train.", 4)
    flags.DEFINE_integer("candidates", 48, "Architectures to judge.", 4)
    flags.DEFINE_integer("trainings", 1, "Of each architecture.", 1)


def main():
    binary.run_plain(_main, define=_define_flags, threads=True)


if __name__ == "__main__":
    main()
