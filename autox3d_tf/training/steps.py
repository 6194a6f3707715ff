"""One training step, as a plain function."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from autox3d_tf import models
from autox3d_tf.data import augment
from autox3d_tf.runs import distribute
from autox3d_tf.space import weight_names
from autox3d_tf.training import average as average_lib
from autox3d_tf.training import options as options_lib


def make_train_step(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    options: options_lib.TrainingOptions,
    *,
    weight_decay: float = 0.0,
    average: average_lib.WeightAverage | None = None,
    class_weights: np.ndarray | None = None,
    seed: int = 0,
    jit_compile: bool = False,
) -> Callable[..., dict[str, tf.Tensor]]:
    """Returns `step(step, clips, labels) -> metrics`, which also runs eagerly.

    Args:
        model: Clips -> logits.
        optimizer: Built for the model's trainable variables.
        options: Label smoothing, mixup, cutmix and layer decay.
        weight_decay: What goes into the gradient of kernels.
        average: Updated after each step.
        class_weights: Of `class_weights_of`.
        seed: Of mixing.
        jit_compile: Whether XLA makes one program of all but the mixing.
    """
    num_classes = model.output_shape[-1]
    weights = model.trainable_variables
    decaying = [v for v in weights if weight_names.decays(v.name)]
    slow = slow_weights(model, options.layer_decay)
    if slow:
        logging.info(
            "layer_decay=%.6g: the stem learns at %.2g of the rate.",
            options.layer_decay,
            min(share for _, share in slow),
        )

    def train_step(step, clips, labels):
        targets = tf.one_hot(labels, num_classes)
        if options.mixup or options.cutmix:
            clips, targets = augment.mix(
                clips,
                targets,
                tf.stack([seed & 0x7FFFFFFF, tf.cast(step, tf.int32)]),
                mixup=options.mixup,
                cutmix=options.cutmix,
            )
        return update(step, clips, labels, targets)

    def update(step, clips, labels, targets):
        with tf.GradientTape() as tape:
            logits = model(clips, training=True)
            loss = cross_entropy(
                logits, targets, options.label_smoothing, class_weights
            )
            objective = loss
            if weight_decay:
                squares = [tf.nn.l2_loss(v.value) for v in decaying]
                objective = loss + weight_decay * tf.add_n(squares)
            objective = optimizer.scale_loss(objective)
        gradients = mean_over_replicas(tape.gradient(objective, weights))
        rate = optimizer.learning_rate
        before = [tf.identity(v.value) for v, _ in slow]
        optimizer.apply_gradients(zip(gradients, weights, strict=True))
        for (weight, share), old in zip(slow, before, strict=True):
            weight.assign(old + share * (weight.value - old))
        if average is not None:
            average.update(step)
        right = tf.equal(tf.argmax(logits, -1, tf.int32), labels)
        return {
            "loss": loss,
            "accuracy": tf.reduce_mean(tf.cast(right, tf.float32)),
            "learning_rate": tf.convert_to_tensor(rate),
        }

    if jit_compile:
        update = tf.function(update, autograph=False, jit_compile=True)
    return train_step


def mean_over_replicas(gradients) -> list[tf.Tensor]:
    """Returns what each replica gives to its Keras optimizer.

    That clips gradients, and looks for overflows in those of the first
    replica, before it adds those of all replicas. So each gets the mean
    already, over the number of replicas once more, for the sum to be the mean.
    """
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    if replicas == 1:
        return gradients
    return [total / replicas**2 for total in distribute.total(gradients)]


def slow_weights(
    model: keras.Model, layer_decay: float
) -> list[tuple[keras.Variable, float]]:
    """Returns weights with the share of each update that they take.

    The head takes all of it, each part below it `layer_decay` times as much
    as the one above. Scaling updates, not gradients, works for any optimizer.
    """
    if layer_decay == 1.0:
        return []
    return [
        (weight, layer_decay**depth)
        for depth, layer in enumerate(reversed(models.parts(model)))
        for weight in layer.trainable_variables
        if depth
    ]


def class_weights_of(
    labels: np.ndarray, num_classes: int, balance: float
) -> np.ndarray:
    """Returns what the loss of a clip of each class counts, on average 1.

    Args:
        labels: Classes of all clips, integers.
        num_classes: Also those without clips.
        balance: As in `TrainingOptions`.

    Returns:
        float32 `(num_classes,)`.
    """
    counts = np.bincount(labels, minlength=num_classes)
    weights = np.maximum(counts, 1.0) ** -balance
    return np.float32(weights * counts.sum() / (weights @ counts))


def cross_entropy(
    logits, targets, label_smoothing: float = 0.0, class_weights=None
) -> tf.Tensor:
    """Returns the mean cross entropy, a scalar.

    Args:
        logits, targets: `(B, classes)`; targets sum to 1.
        label_smoothing: Share of the target spread over all classes.
        class_weights: What a clip of each class counts; None for 1. A clip
            that is mixed of two counts as much of each as its targets say.
    """
    classes = targets.shape[-1]
    smoothed = targets * (1.0 - label_smoothing) + label_smoothing / classes
    losses = tf.nn.softmax_cross_entropy_with_logits(smoothed, logits)
    if class_weights is not None:
        losses *= tf.linalg.matvec(targets, class_weights)
    return tf.reduce_mean(losses)
