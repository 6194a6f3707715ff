"""Quantization-aware training of a lowered network: resumable, interruptible.

What is learnt is to say what the float network says: the labels of a small
training set are known by heart already and would teach nothing.
"""

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from autox3d_edge import quantization_aware
from autox3d_tf.base import checks
from autox3d_tf.data import sampling
from autox3d_tf.runs import checkpoints, claim, loop, triggers
from autox3d_tf.runs import run_dir as run_dir_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class FineTuningOptions:
    """How a network learns to live with rounding.

    Attributes:
        steps: Updates.
        batch_size: Clips of an update.
        learning_rate: Of Adam, falling to 0 along a cosine.
        save_secs: Seconds between checkpoints.
    """

    steps: int = 300
    batch_size: int = 4
    learning_rate: float = 1e-4
    save_secs: float = 60.0

    def __post_init__(self):
        for name in ("steps", "batch_size", "learning_rate", "save_secs"):
            checks.check_field(self, name, lambda v: v > 0, "positive")


def fine_tune(
    lowered: tf_keras.Model,
    calibration: Sequence[np.ndarray],
    make_batches: Callable[[int], Iterable],
    options: FineTuningOptions,
    run_dir: str | os.PathLike,
    identity: Mapping[str, Any],
) -> bytes:
    """Trains with rounding and returns the int8 flatbuffer.

    Called again with the same `run_dir` it goes on where it stopped.

    Args:
        lowered: The float network; it is also the teacher.
        calibration: uint8 clips whose ranges training starts from.
        make_batches: First step -> batches of `(clips, ...)` from there on;
            clips are float32 `(B, T, H, W, 3)`, normalised.
        options: Length and rate.
        run_dir: Where the checkpoints are.
        identity: What the run is: fingerprints of weights and clips, seed.
    """
    run = run_dir_lib.RunDir(
        run_dir,
        {
            "kind": "quantization-aware training",
            "steps": options.steps,
            "batch_size": options.batch_size,
            "learning_rate": options.learning_rate,
            **identity,
        },
    )
    model = quantization_aware.quantization_aware(lowered, calibration)
    rate = tf_keras.optimizers.schedules.CosineDecay(
        options.learning_rate, options.steps
    )
    optimizer = tf_keras.optimizers.Adam(rate)
    optimizer.build(model.trainable_variables)
    with claim.alone(run.path):
        run.write_provenance(**run.config)
        saver = checkpoints.Checkpoints(
            run.checkpoints,
            {"model": model.weights, "optimizer": list(optimizer.variables)},
            keep=1,
            identity={"run": run.fingerprint},
        )
        first_step = saver.restore_latest()
        loop.run_steps(
            make_step(model, lowered, optimizer),
            make_batches(first_step),
            first_step=first_step,
            total_steps=options.steps,
            triggers=triggers.usual(
                run.summaries, saver, save_secs=options.save_secs
            ),
        )
    return quantization_aware.convert(model, lowered, calibration)


def make_step(
    model: tf_keras.Model,
    lowered: tf_keras.Model,
    optimizer: tf_keras.optimizers.Optimizer,
) -> Callable[..., dict[str, tf.Tensor]]:
    """Returns `step(clips, ...) -> metrics`, which also runs eagerly.

    A lowered network takes one clip at a time: the gradients of a batch are
    added up one clip after the other.

    Args:
        model: The network with rounding.
        lowered: The float network whose probabilities are the targets.
        optimizer: Built for the trainable variables of `model`.
    """
    # Before the softmax, whose rounded zeros have no finite logarithm.
    student = tf_keras.Model(
        model.input, model.get_layer("quant_probabilities").input
    )
    weights = model.trainable_variables

    def add_clip(sums, clip):
        clip = tf.ensure_shape(clip, model.input_shape)
        target = lowered(clip, training=False)
        with tf.GradientTape() as tape:
            logits = student(clip, training=True)
            loss = tf.reduce_sum(
                tf.nn.softmax_cross_entropy_with_logits(target, logits)
            )
        found = (loss, *tape.gradient(loss, weights))
        return [a + b for a, b in zip(sums, found, strict=True)]

    def train_step(clips, *unused):
        del unused
        raw = tf.round(sampling.denormalize(clips))
        raw = tf.clip_by_value(raw, 0.0, 255.0)
        zeros = [tf.constant(0.0), *map(tf.zeros_like, weights)]
        loss_sum, *total = tf.foldl(add_clip, raw, zeros)
        count = tf.cast(tf.shape(raw)[0], tf.float32)
        optimizer.apply_gradients(
            [(g / count, w) for g, w in zip(total, weights, strict=True)]
        )
        return {"loss": loss_sum / count}

    return train_step
