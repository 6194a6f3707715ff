"""Tiny searches for run_test: some are killed, some go on.

Usage: search_driver.py DATA RUN_DIR[:DIE_AFTER_STEP...] ...
Directories are filled at the same time; in one, a search follows another that
was killed after a step. Each is a forked process, which saves importing
TensorFlow again.
"""

import dataclasses
import os
import signal
import sys
import traceback

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from autox3d_tf import space as space_lib
from autox3d_tf.data import options as data_options
from autox3d_tf.search import engine, options, run

SPACE = space_lib.SearchSpace(
    name="toy",
    version=1,
    clip_size=(4, 16, 16),
    frame_stride=1,
    stem=space_lib.StemSpec(filters=4, temporal_kernel=3),
    stages=(
        space_lib.StageSpace(
            filters=(4, 8, 12),
            depth=2,
            block_types=("3x3x3", "1x3x3"),
            expansions=(1.0, 2.0),
            channel_multiple=4,
        ),
    ),
    head=space_lib.HeadSpec(filters=8, features=8),
)
# A block less to trace, where it does not matter what is left out.
SHORT = dataclasses.replace(
    SPACE, stages=(dataclasses.replace(SPACE.stages[0], depth=1),)
)
TARGET_MACS = 60_000.0  # of 41,296 to 203,600


def data_of(source):
    return data_options.DataOptions(
        source=str(source),
        clip_frames=4,
        crop_size=16,
        short_side_range=(16, 20),
    )


def search(source, run_dir, **changes):
    arguments = {
        "space": SPACE,
        "data": data_of(source),
        "search": options.SearchOptions(
            steps=9,
            warmup_steps=3,
            joint_step=5,  # so a killed one goes on from a joint one
            batch_size=4,
            save_steps=3,
            log_steps=2,
            children=3,
            top_k=4,
            norm_batches=2,
        ),
        "estimator": options.EstimatorOptions(samples_per_nat=0.5),
        "logits": options.LogitsOptions(learning_rate=0.1),
        "target_macs": TARGET_MACS,
        "run_dir": str(run_dir),
        "seed": 1,
    }
    return run.run_search(**{**arguments, **changes})


def die_after(wanted):
    convert = engine.Engine._convert

    def convert_or_die(self, step, metrics):
        if step == wanted:
            os.kill(os.getpid(), signal.SIGKILL)
        convert(self, step, metrics)

    engine.Engine._convert = convert_or_die


def in_a_process(function, *arguments):
    """Forks; returns the child's number."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            function(*arguments)
            code = 0
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(code)
    return child


def exit_code(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def search_or_die(source, run_dir, step):
    if step is not None:
        die_after(step)
    search(source, run_dir)


def go_on(source, job):
    """Searches until it is not killed; says how each process ended."""
    run_dir, *steps = job.split(":")
    for step in [*map(int, steps), None]:
        code = exit_code(in_a_process(search_or_die, source, run_dir, step))
        there = os.path.exists(f"{run_dir}/arch.json")
        print(os.path.basename(run_dir), code, there, flush=True)


if __name__ == "__main__":
    jobs = [in_a_process(go_on, sys.argv[1], job) for job in sys.argv[2:]]
    sys.exit(max(map(exit_code, jobs)))
