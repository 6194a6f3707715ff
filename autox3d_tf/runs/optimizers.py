"""Keras optimizers by name, for the weights of a search and of a training."""

from collections.abc import Callable, Sequence

import keras

from autox3d_tf.base import checks


def make_optimizer(
    name: str,
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
    weights: Sequence[keras.Variable],
    decays: Callable[[str], bool],
    *,
    weight_decay: float,
    momentum: float,
    nesterov: bool = False,
    clip_norm: float | None = None,
) -> keras.optimizers.Optimizer:
    """Returns an optimizer, not built yet.

    Args:
        name: `sgd`, `adam` or `adamw`.
        learning_rate: Rate or schedule.
        weights: What it is for.
        decays: Whether a weight of this name decays.
        weight_decay: Of those, if decoupled; see `coupled_decay`.
        momentum, nesterov: Of `sgd`.
        clip_norm: Largest norm of all gradients together; None for no limit.

    Raises:
        ValueError: There is no such optimizer.
    """
    checks.check_choice("name", name, ("sgd", "adam", "adamw"))
    if name == "sgd":
        return keras.optimizers.SGD(
            learning_rate,
            momentum=momentum,
            nesterov=nesterov,
            global_clipnorm=clip_norm,
        )
    if name == "adam":
        return keras.optimizers.Adam(learning_rate, global_clipnorm=clip_norm)
    optimizer = keras.optimizers.AdamW(
        learning_rate, weight_decay=weight_decay, global_clipnorm=clip_norm
    )
    optimizer.exclude_from_weight_decay(
        var_list=[v for v in weights if not decays(v.name)]
    )
    return optimizer


def coupled_decay(name: str, weight_decay: float) -> float:
    """Returns the weight decay that belongs into the gradient."""
    return 0.0 if name == "adamw" else weight_decay
