"""The clips of a training's steps."""

from collections.abc import Iterable

import tensorflow as tf

from autox3d_tf.data import pipeline
from autox3d_tf.runs import distribute
from autox3d_tf.training import options as options_lib


def make_batches(
    source: pipeline.ClipSource,
    data: pipeline.DataOptions,
    training: options_lib.TrainingOptions,
    *,
    seed: int,
    first_step: int,
    last_step: int,
    strategy: tf.distribute.Strategy | None = None,
) -> Iterable[tuple]:
    """Returns clips and labels, step after step.

    Args:
        source: Clips.
        data: How they are cut.
        training: Size of a batch, and of clips over the steps.
        seed: Of order and augmentation.
        first_step, last_step: Steps taken before, and in the end.
        strategy: If given, each replica gets its share of a batch; workers
            read the clips of their own replicas.
    """

    def dataset(context):
        return pipeline.make_train_dataset(
            source,
            data,
            batch_size=training.batch_size,
            seed=seed,
            first_step=first_step,
            total_steps=last_step,
            worker=context.input_pipeline_id,
            num_workers=context.num_input_pipelines,
            sizes=training.clip_sizes(data.crop_size),
        )

    if strategy is None:
        return dataset(tf.distribute.InputContext())
    share = training.batch_size // distribute.num_replicas(strategy)
    return strategy.distribute_datasets_from_function(
        lambda context: dataset(context).rebatch(share, drop_remainder=True)
    )
