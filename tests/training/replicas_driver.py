"""Trains on two replicas of one process and of two, for workers_test.

replicas_driver.py CLIPS FOLDER
"""

import os
import signal
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from autox3d_tf.training import curve, run, steps
from tests.runs import replicas
from tests.training import tiny

SEED, NEXT_SEED = 3, 100_003  # of the first start, and of the second


def train(clips, folder, strategy, seed, starts=1):
    run.run_training(
        arch=tiny.arch(stage_filters=(4,), depths=(1,)),
        data=tiny.data(clips, brightness=0.3, shift=0.1),
        training=tiny.training(
            epochs=5,  # 12 steps
            starts=starts,
            save_steps=3,
            validate_epochs=2.0,
            dropout=0.5,
            mixup=0.2,
            ema_decay=0.9,
            precise_batch_norm=2,
            motion_init=0.5,
        ),
        optimizer=tiny.optimizer(
            name="sgd", warmup_epochs=1.0, weight_decay=0.01, clip_norm=1.0
        ),
        run_dir=folder,
        seed=seed,
        strategy=strategy,
    )


def worker(clips, folder, die_after=None):
    """Returns a training whose first start diverges, and that may be killed.

    Args:
        clips: A manifest.
        folder: Of the run.
        die_after: A step.
    """

    def train_in_worker(strategy):
        make_train_step, add = steps.make_train_step, curve.Curve.add

        def make_or_diverge(*arguments, seed, **options):
            train_step = make_train_step(*arguments, seed=seed, **options)

            def diverging(step, clips, labels):
                metrics = train_step(step, clips, labels)
                return {**metrics, "loss": metrics["loss"] / 0.0}

            return diverging if seed == SEED else train_step

        def add_or_die(self, step, metrics):
            if step == die_after:
                os.kill(os.getpid(), signal.SIGKILL)
            add(self, step, metrics)

        steps.make_train_step, curve.Curve.add = make_or_diverge, add_or_die
        train(clips, folder, strategy, SEED, starts=2)

    return train_in_worker


def main(clips, folder):
    one, two = f"{folder}/one", f"{folder}/two"
    mirrored = replicas.start(
        lambda strategy: train(clips, one, strategy, NEXT_SEED),
        replicas.two_cpus,
    )
    whole = worker(clips, two)
    replicas.run_workers(whole, worker(clips, two, die_after=8))
    replicas.run_workers(whole, whole)
    replicas.wait(mirrored)


if __name__ == "__main__":
    main(*sys.argv[1:])
