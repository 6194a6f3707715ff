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

    make_half = _own_clips if own_clips else _same_clips
    size = search.clips_of_logits
    warmup, steps = search.warmup_steps, search.steps

    def zeros(_):
        clips = tf.zeros((size, *data.clip_size, 3))
        return clips, tf.zeros((size,), tf.int32)

    def dataset(context):
        weights = make_half(
            context,
            halves[0],
            data,
            batch_size=search.batch_size,
            seed=2 * seed,
            first_step=first_step,
            total_steps=steps,
        )
        count = max(0, warmup - first_step) * _replicas(context)
        logits = tf.data.Dataset.range(count).map(zeros)
        if warmup < steps:
            later = make_half(
                context,
                halves[1],
                data,
                batch_size=size,
                seed=2 * seed + 1,
                first_step=max(0, first_step - warmup),
                total_steps=steps - warmup,
            )
            logits = logits.concatenate(later)
        both = tf.data.Dataset.zip((weights, logits))
        return both.map(lambda one, two: (*one, *two))

    if strategy is None:
        return dataset(tf.distribute.InputContext())
    return strategy.distribute_datasets_from_function(dataset)


def _replicas(context) -> int:
    """Of this worker."""
    return context.num_replicas_in_sync // context.num_input_pipelines


def _own_clips(
    context, source, data, *, batch_size, seed, first_step, total_steps
):
    """Batches of clips that no other replica gets."""
    workers, replicas = context.num_input_pipelines, _replicas(context)
    return pipeline.make_train_dataset(
        source,
        data,
        batch_size=batch_size * workers,
        seed=seed,
        first_step=first_step * replicas,
        total_steps=total_steps * replicas,
        worker=context.input_pipeline_id,
        num_workers=workers,
    )


def _same_clips(context, source, data, **arguments):
    """Each batch as often as this worker has replicas."""
    batches = pipeline.make_train_dataset(source, data, **arguments)
    replicas = _replicas(context)
    if replicas == 1:
        return batches
    return batches.flat_map(
        lambda *batch: tf.data.Dataset.from_tensors(batch).repeat(replicas)
    )
