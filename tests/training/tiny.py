"""The smallest network and data that go through a whole training."""

from autox3d_tf import space
from autox3d_tf.data import options as data_options
from autox3d_tf.training import options

FRAMES, SIZE = 4, 16


def arch(**changes):
    return space.x3d(
        name="nano",
        clip_size=(FRAMES, SIZE, SIZE),
        frame_stride=1,
        **{
            "stage_filters": (4, 6),
            "depths": (1, 1),
            "head_features": 8,
            **changes,
        },
    )


def short_arch():
    """A block less to trace, where networks are trained again and again."""
    return arch(stage_filters=(4,), depths=(1,))


def data(source, **changes):
    return data_options.DataOptions(
        source=str(source),
        **{
            "clip_frames": FRAMES,
            "crop_size": SIZE,
            "short_side_range": (SIZE, SIZE + 4),
            "train_folds": (0, 1, 2),
            "val_folds": (3,),
            **changes,
        },
    )


def training(**changes):
    return options.TrainingOptions(
        **{"epochs": 2, "batch_size": 4, "log_steps": 1, **changes}
    )


def optimizer(**changes):
    return options.OptimizerOptions(**{"learning_rate": 0.01, **changes})
