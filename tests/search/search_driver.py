"""Runs a tiny search; may kill itself. Used by run_test.py.

search_driver.py DATA RUN_DIR [DIE_AFTER_STEP]
"""

import os
import signal
import sys

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
            joint_step=7,
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


if __name__ == "__main__":
    if len(sys.argv) > 3:
        die_after(int(sys.argv[3]))
    search(*sys.argv[1:3])
