"""The clips of a search's steps: a batch of each half."""

from collections.abc import Iterable, Sequence

import tensorflow as tf

from autox3d_tf.data import pipeline
from autox3d_tf.search import options as options_lib


def make_batches(
    halves: Sequence,
    data: pipeline.DataOptions,
    search: options_lib.SearchOptions,
    *,
    seed: int,
    first_step: int = 0,
    strategy: tf.distribute.Strategy | None = None,
    own_clips: bool = False,
) -> Iterable[tuple]:
    """Returns clips and labels of both halves, step after step.

    During the warm-up the second pair is zeros, for nobody looks at it.

    Args:
        halves: Clips of the weights, and of the logits.
        data: How clips are sampled and cropped.
        search: Batch sizes and schedule.
        seed: Of order and augmentation.
        first_step: Steps taken before.
        strategy: If given, each replica gets such batches.
        own_clips: Each replica gets clips of its own. If not, all get the
            same ones, and a step does not depend on the number of replicas.
    """

    def dataset(context):
        workers = context.num_input_pipelines
        replicas = context.num_replicas_in_sync // workers  # of this worker

        def half(source, size, seed, first, total):
            shares = workers if own_clips else 1
            repeats = replicas if own_clips else 1
            batches = pipeline.make_train_dataset(
                source,
                data,
                batch_size=size * shares,
                seed=seed,
                first_step=first * repeats,
                total_steps=total * repeats,
                worker=context.input_pipeline_id if own_clips else 0,
                num_workers=shares,
            )
            if own_clips or replicas == 1:
                return batches
            return batches.flat_map(
                lambda *batch: tf.data.Dataset.from_tensors(batch).repeat(
                    replicas
                )
            )

        def zeros(_):
            clips = tf.zeros((size, *data.clip_size, 3))
            return clips, tf.zeros((size,), tf.int32)

        size = search.logits_batch_size or search.batch_size
        warmup, steps = search.warmup_steps, search.steps
        weights = half(
            halves[0], search.batch_size, 2 * seed, first_step, steps
        )
        count = max(0, warmup - first_step) * replicas
        logits = tf.data.Dataset.range(count).map(zeros)
        if warmup < steps:
            first = max(0, first_step - warmup)
            logits = logits.concatenate(
                half(halves[1], size, 2 * seed + 1, first, steps - warmup)
            )
        both = tf.data.Dataset.zip((weights, logits))
        return both.map(lambda one, two: (*one, *two))

    if strategy is None:
        return dataset(tf.distribute.InputContext())
    return strategy.distribute_datasets_from_function(dataset)
