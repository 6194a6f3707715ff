"""The learning rate over the steps of a search or a training."""

import keras


def cosine(
    rate: float,
    warmup: int,
    total: int,
    *,
    start: float = 0.0,
    final: float = 0.0,
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Returns a rate that grows linearly, then falls as half a cosine.

    Args:
        rate: The highest.
        warmup: Steps of growth; 0 for none.
        total: All steps.
        start: Where it begins to grow, relative to `rate`. From 0 it begins
            with one step's growth: at no rate a step is lost.
        final: What it falls to, relative to `rate`.
    """
    first = rate * (start or 1 / warmup) if warmup else rate
    return keras.optimizers.schedules.CosineDecay(
        first,
        max(1, total - warmup),
        alpha=final,
        warmup_target=rate if warmup else None,
        warmup_steps=warmup,
    )
