"""Tiny trainings for run_test: some are killed, some go on.

Usage: resume_driver.py MANIFEST DIRECTORY[:die_after=STEP] ...
Each is a forked process, which saves importing TensorFlow again; the first
runs beside the others, which follow each other.
"""

import os
import signal
import sys

from autox3d_tf.runs import triggers
from autox3d_tf.training import run
from tests.training import tiny


def main(manifest, directory, death=""):
    if death:
        step_to_die = int(death.split("=")[1])
        act = triggers.WriteScalars.__call__

        def die(self, step, metrics):
            act(self, step, metrics)
            if step == step_to_die:
                os.kill(os.getpid(), signal.SIGKILL)

        triggers.WriteScalars.__call__ = die
    run.run_training(
        arch=tiny.short_arch(),
        data=tiny.data(manifest, brightness=0.3, shift=0.1),
        training=tiny.training(
            epochs=5,
            batch_size=4,
            save_steps=3,
            validate_epochs=1.0,
            dropout=0.5,
            mixup=0.2,
            ema_decay=0.9,
            precise_batch_norm=2,
        ),
        optimizer=tiny.optimizer(warmup_epochs=1.0, weight_decay=0.01),
        run_dir=directory,
        seed=3,
    )


def start(manifest, job):
    directory, _, death = job.partition(":")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            main(manifest, directory, death)
            code = 0
        finally:
            os._exit(code)
    return child


def exit_code(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    path, beside, *others = sys.argv[1:]
    first = start(path, beside)
    codes = [exit_code(start(path, job)) for job in others]
    for code in (exit_code(first), *codes):
        print("exit", code)
