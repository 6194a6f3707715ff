"""One training step, as a plain function."""

from collections.abc import Callable

import keras
import tensorflow as tf
from absl import logging

from autox3d_tf import models
from autox3d_tf.data import augment
from autox3d_tf.runs import distribute
from autox3d_tf.training import average as average_lib
from autox3d_tf.training import optimizers
from autox3d_tf.training import options as options_lib


def make_train_step(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    options: options_lib.TrainingOptions,
    *,
    weight_decay: float = 0.0,
    average: average_lib.WeightAverage | None = None,
    seed: int = 0,
) -> Callable[..., dict[str, tf.Tensor]]:
    """Returns `step(step, clips, labels) -> metrics`, which also runs eagerly.

    Args:
        model: Clips -> logits.
        optimizer: Built for the model's trainable variables.
        options: Label smoothing, mixup, cutmix and layer decay.
        weight_decay: What goes into the gradient of kernels.
        average: Updated after each step.
        seed: Of mixing.
    """
    num_classes = model.output_shape[-1]
    weights = model.trainable_variables
    decaying = [v for v in weights if optimizers.decays(v)]
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
        with tf.GradientTape() as tape:
            logits = model(clips, training=True)
            loss = cross_entropy(logits, targets, options.label_smoothing)
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


def cross_entropy(logits, targets, label_smoothing: float = 0.0) -> tf.Tensor:
    """Returns the mean cross entropy, a scalar.

    Args:
        logits, targets: `(B, classes)`; targets sum to 1.
        label_smoothing: Share of the target spread over all classes.
    """
    classes = targets.shape[-1]
    targets = targets * (1.0 - label_smoothing) + label_smoothing / classes
    return tf.reduce_mean(
        tf.nn.softmax_cross_entropy_with_logits(targets, logits)
    )
