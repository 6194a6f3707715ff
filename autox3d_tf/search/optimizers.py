"""The optimizers of a search: of the shared weights, and of the logits."""

from collections.abc import Sequence

import keras
import tensorflow as tf
from absl import logging

from autox3d_tf.models import supernet as supernet_lib
from autox3d_tf.runs import optimizers, schedule
from autox3d_tf.search import distribution as distribution_lib
from autox3d_tf.search import options as options_lib
from autox3d_tf.space import weight_names


class Optimizers:
    """The optimizers of weights and logits, built and told apart.

    Args:
        supernet: Whose shared weights are learned.
        weights: Options of their optimizer.
        distributions: Each gets an Adam of its own, so that a conversion to
            the joint distribution starts with clean moments.
        logits: Options of these.
        batch_size: Clips of a step; the rate per sample times this.
        steps: Of the whole search, the length of the cosine.
    """

    def __init__(
        self,
        supernet: supernet_lib.Supernet,
        weights: options_lib.WeightsOptions,
        distributions: Sequence[distribution_lib.ArchitectureDistribution],
        logits: options_lib.LogitsOptions,
        *,
        batch_size: int,
        steps: int,
    ):
        rate = weights.learning_rate_per_sample * batch_size
        learning_rate = schedule.cosine(rate, weights.warmup_steps, steps)
        shared = supernet.shared_weights
        self.decaying = [weight_names.decays(v.name) for v in shared]
        self.coupled_decay = optimizers.coupled_decay(
            weights.name, weights.weight_decay
        )
        self.weights = optimizers.make_optimizer(
            weights.name,
            learning_rate,
            shared,
            weight_names.decays,
            weight_decay=weights.weight_decay,
            momentum=weights.momentum,
        )
        self.weights.build(shared)
        self.clip_norm = weights.clip_norm
        self.logits_clip_norm = logits.clip_norm
        self.logits = []
        for distribution in distributions:
            adam = keras.optimizers.Adam(
                logits.learning_rate, beta_1=logits.beta_1, beta_2=logits.beta_2
            )
            adam.build(distribution.logits)
            self.logits.append(adam)
        logging.info(
            "Weights: %s, learning rate %.6g (%.6g per sample x batch of %d), "
            "cosine over %d steps. Logits: adam, learning rate %.6g.",
            weights.name,
            rate,
            weights.learning_rate_per_sample,
            batch_size,
            steps,
            logits.learning_rate,
        )

    def update_weights(self, shared, gradients) -> tf.Tensor:
        """Applies decay, clipping and one step; returns the gradients' norm."""
        gradients = [
            g + self.coupled_decay * v if decays and self.coupled_decay else g
            for g, v, decays in zip(
                gradients, shared, self.decaying, strict=True
            )
        ]
        gradients, norm = _clip(gradients, self.clip_norm)
        self.weights.apply_gradients(zip(gradients, shared, strict=True))
        return norm

    def update_logits(self, optimizer, logits, gradients) -> tf.Tensor:
        """Applies clipping and one step; returns the gradients' norm."""
        gradients, norm = _clip(gradients, self.logits_clip_norm)
        optimizer.apply_gradients(zip(gradients, logits, strict=True))
        return norm


def _clip(gradients, limit: float | None):
    """Scales gradients to a norm of at most `limit`; returns them and it."""
    norm = tf.linalg.global_norm(gradients)
    if limit is not None:
        gradients, _ = tf.clip_by_global_norm(gradients, limit, norm)
    return gradients, norm
