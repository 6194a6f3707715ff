"""From options to a Keras optimizer."""

import keras
import tensorflow as tf
from absl import logging

from autox3d_tf.runs import optimizers, schedule
from autox3d_tf.space import weight_names
from autox3d_tf.training import options as options_lib


def make_optimizer(
    options: options_lib.OptimizerOptions,
    training: options_lib.TrainingOptions,
    weights: list[keras.Variable],
    num_clips: int,
) -> keras.optimizers.Optimizer:
    """Returns an optimizer, built for `weights`; logs the rate in force.

    Args:
        options: Which optimizer.
        training: Says the batch and the length.
        weights: The trainable variables.
        num_clips: Clips of an epoch.
    """
    rate = options.rate(training.batch_size)
    warmup, total = steps_of(options, training, num_clips)
    learning_rate = schedule.cosine(
        rate, warmup, total, start=options.warmup_start, final=options.final
    )
    limit = options.clip_norm
    if limit is not None:  # of what one replica gives; see `steps`
        limit /= tf.distribute.get_strategy().num_replicas_in_sync
    optimizer = optimizers.make_optimizer(
        options.name,
        learning_rate,
        weights,
        weight_names.decays,
        weight_decay=options.weight_decay,
        momentum=options.momentum,
        nesterov=bool(options.nesterov),
        clip_norm=limit,
    )
    if training.precision == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(weights)
    logging.info(
        "%s: learning rate %.6g (%.6g per sample x batch of %d), %d warm-up "
        "steps, cosine to %.3g at step %d.",
        options.name,
        rate,
        rate / training.batch_size,
        training.batch_size,
        warmup,
        rate * options.final,
        total,
    )
    return optimizer


def steps_of(
    options: options_lib.OptimizerOptions,
    training: options_lib.TrainingOptions,
    num_clips: int,
) -> tuple[int, int]:
    """Returns the steps with a growing rate, and all steps.

    Raises:
        ValueError: If the former are not fewer.
    """
    total = training.steps(training.epochs, num_clips)
    warmup = 0
    if options.warmup_epochs:
        warmup = training.steps(options.warmup_epochs, num_clips)
    if warmup >= total:
        raise ValueError(
            "`warmup_epochs` must be fewer steps than all epochs. Received: "
            f"warmup_epochs={options.warmup_epochs} ({warmup} steps), epochs="
            f"{training.epochs} ({total} steps). Train for more epochs, or "
            "give --gin=OptimizerOptions.warmup_epochs=0.0."
        )
    return warmup, total
