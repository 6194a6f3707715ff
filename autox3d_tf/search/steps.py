"""The two steps of the search, as plain functions of tensors.

The number of samples K is a tensor and the samples run one after the other in
a `tf.while_loop`, so one trace serves every K and every architecture.
"""

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf
from absl import logging

from autox3d_tf.models import supernet as supernet_lib
from autox3d_tf.search import cost_table as cost_table_lib
from autox3d_tf.search import distribution as distribution_lib
from autox3d_tf.search import estimator
from autox3d_tf.search import options as options_lib


def mean_log_likelihood(logits, labels, label_smoothing: float = 0.0):
    """Mean over the clips of log P(label | clip), a float32 scalar."""
    log_probs = tf.nn.log_softmax(tf.cast(logits, tf.float32))
    chosen = tf.gather(log_probs, labels, batch_dims=1)
    if label_smoothing:
        even = tf.reduce_mean(log_probs, axis=-1)
        chosen = (1 - label_smoothing) * chosen + label_smoothing * even
    return tf.reduce_mean(chosen)


def accuracy(logits, labels) -> tf.Tensor:
    """Share of clips whose largest logit is the label's."""
    right = tf.equal(tf.argmax(logits, -1, tf.int32), labels)
    return tf.reduce_mean(tf.cast(right, tf.float32))


def weights_gradient(
    supernet: supernet_lib.Supernet,
    indices: tf.Tensor,
    clips: tf.Tensor,
    labels: tf.Tensor,
    *,
    temperature: float,
    label_smoothing: float = 0.0,
) -> tuple[tuple[tf.Tensor, ...], dict[str, tf.Tensor]]:
    """Returns - sum_k m_k grad_w log P(y|X,w,A_k), and metrics.

    Args:
        supernet: Called as `supernet(clips, indices, training=True)`.
        indices: Int32 `(K, choices)`.
        clips, labels: A batch of the weights' half.
        temperature: Of the importance weights.
        label_smoothing: Of the loss that is differentiated.
    """
    weights = [variable.value for variable in supernet.shared_weights]

    def one_sample(k, total_right, *flat):
        with tf.GradientTape() as tape:
            logits = supernet(clips, indices[k], training=True)
            loss = -mean_log_likelihood(logits, labels, label_smoothing)
        gradients = tape.gradient(
            loss, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        gradients = [
            tf.ensure_shape(gradient, weight.shape)
            for gradient, weight in zip(gradients, weights, strict=True)
        ]
        log_weight = mean_log_likelihood(logits, labels) / temperature
        summed = estimator.StreamingSum.from_flat(flat)
        summed = summed.add(log_weight, (loss, *gradients))
        return k + 1, total_right + accuracy(logits, labels), *summed.flat()

    num = tf.shape(indices)[0]
    start = estimator.StreamingSum.zeros([tf.zeros(()), *weights])
    _, right, *flat = tf.while_loop(
        lambda k, *_: k < num,
        one_sample,
        (tf.constant(0), tf.constant(0.0), *start.flat()),
        parallel_iterations=1,
    )
    summed = estimator.StreamingSum.from_flat(flat)
    loss, *gradients = summed.mean()
    return gradients, {
        "loss": loss,
        "train_accuracy": right / tf.cast(num, tf.float32),
        "train_effective_samples": summed.effective_sample_size(),
    }


def log_likelihoods(
    supernet: supernet_lib.Supernet,
    indices: tf.Tensor,
    clips: tf.Tensor,
    labels: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns mean log likelihoods and accuracies, `(K,)` each.

    Forward passes only.
    """
    num = tf.shape(indices)[0]

    def one_sample(k, likelihoods, accuracies):
        logits = supernet(clips, indices[k], training=False)
        return (
            k + 1,
            likelihoods.write(k, mean_log_likelihood(logits, labels)),
            accuracies.write(k, accuracy(logits, labels)),
        )

    arrays = [tf.TensorArray(tf.float32, num, element_shape=()) for _ in "la"]
    _, likelihoods, accuracies = tf.while_loop(
        lambda k, *_: k < num,
        one_sample,
        (tf.constant(0), *arrays),
        parallel_iterations=1,
    )
    return likelihoods.stack(), accuracies.stack()


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
        warmup = weights.warmup_steps
        schedule = keras.optimizers.schedules.CosineDecay(
            0.0 if warmup else rate,
            max(1, steps - warmup),
            warmup_target=rate if warmup else None,
            warmup_steps=warmup,
        )
        shared = supernet.shared_weights
        self.decaying = [v.name.endswith("_kernel") for v in shared]
        self.coupled_decay = 0.0
        if weights.name == "sgd":
            self.weights = keras.optimizers.SGD(
                schedule, momentum=weights.momentum
            )
            self.coupled_decay = weights.weight_decay
        else:
            self.weights = keras.optimizers.AdamW(
                schedule, weight_decay=weights.weight_decay
            )
            self.weights.exclude_from_weight_decay(
                var_list=[
                    v
                    for v, decays in zip(shared, self.decaying, strict=True)
                    if not decays
                ]
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


def _clip(gradients, limit):
    norm = tf.linalg.global_norm(gradients)
    if limit is not None:
        gradients, _ = tf.clip_by_global_norm(gradients, limit, norm)
    return gradients, norm


def make_search_step(
    supernet: supernet_lib.Supernet,
    distributions: Sequence[distribution_lib.ArchitectureDistribution],
    cost_tables: Sequence[cost_table_lib.CostTable],
    optimizers: Optimizers,
    search: options_lib.SearchOptions,
    estimation: options_lib.EstimatorOptions,
    *,
    counters: tf.Variable,
    seed: int = 0,
) -> Callable[..., dict[str, tf.Tensor]]:
    """Returns the step of a search; it also runs eagerly.

    `step(step, clips, labels, logits_clips, logits_labels) -> metrics`: the
    weights learn from the first batch, then the logits from the second.

    Args:
        supernet: Clips and indices -> logits.
        distributions: The factorized one; then, if `search.joint_step` is set,
            the joint one.
        cost_tables: One per budget.
        optimizers: Of weights and logits.
        search: Schedule.
        estimation: Of the gradients.
        counters: Int64 `(3,)`: architectures sampled, clips that went forward
            and back, clips that went forward only.
        seed: Of the samples.
    """

    def current(step, function):
        """`function` of the distribution in force."""
        if len(distributions) == 1:
            return function(0)
        return tf.cond(
            step >= search.joint_step, lambda: function(1), lambda: function(0)
        )

    def draw(step, num, purpose):
        key = tf.stack([tf.cast(2 * seed + purpose, tf.int32),
                        tf.cast(step, tf.int32)])  # fmt: skip
        return current(step, lambda i: distributions[i].sample(num, key))

    def weights_step(step, num, clips, labels):
        indices = draw(step, num, 0)
        gradients, metrics = weights_gradient(
            supernet,
            indices,
            clips,
            labels,
            temperature=estimation.temperature,
            label_smoothing=search.label_smoothing,
        )
        norm = optimizers.update_weights(supernet.shared_weights, gradients)
        return {**metrics, "gradient_norm": norm}

    def logits_step(step, num, clips, labels):
        indices = draw(step, num, 1)
        likelihoods, accuracies = log_likelihoods(
            supernet, indices, clips, labels
        )
        excess = cost_table_lib.excess(cost_tables, indices)

        def update(i):
            variables = distributions[i].logits
            with tf.GradientTape() as tape:
                surrogate = estimator.logits_surrogate(
                    distributions[i].log_prob(indices),
                    likelihoods,
                    excess,
                    estimation,
                )
            gradients = tape.gradient(surrogate, variables)
            gradients, norm = _clip(gradients, optimizers.logits_clip_norm)
            optimizers.logits[i].apply_gradients(
                zip(gradients, variables, strict=True)
            )
            return norm

        weights = estimator.importance_weights(
            likelihoods, estimation.temperature
        )
        return {
            "logits_gradient_norm": current(step, update),
            "log_likelihood": tf.reduce_mean(likelihoods),
            "sample_accuracy": tf.reduce_mean(accuracies),
            "best_sample_accuracy": tf.reduce_max(accuracies),
            "effective_samples": estimator.effective_sample_size(weights),
            "within_budget": tf.reduce_mean(tf.cast(excess <= 0, tf.float32)),
            **_mean_costs(cost_tables, indices),
        }

    def search_step(step, clips, labels, logits_clips, logits_labels):
        entropy = current(step, lambda i: distributions[i].entropy())
        num = estimator.num_samples(entropy, estimation)
        searching = step >= search.warmup_steps
        weights_num = search.weights_samples or num
        if search.warmup_samples:
            weights_num = tf.where(
                searching, weights_num, search.warmup_samples
            )
        metrics = weights_step(step, weights_num, clips, labels)

        def no_step():
            names = (*_LOGITS_METRICS, *_mean_costs(cost_tables, None))
            return {name: tf.constant(0.0) for name in names}

        metrics |= tf.cond(
            searching,
            lambda: logits_step(step, num, logits_clips, logits_labels),
            no_step,
        )
        logits_num = tf.where(searching, num, 0)
        counted = [
            weights_num + logits_num,
            weights_num * tf.shape(clips)[0],
            logits_num * tf.shape(logits_clips)[0],
        ]
        counters.assign_add(tf.cast(tf.stack(counted), tf.int64))
        return {
            **metrics,
            "entropy": entropy,
            "samples": tf.cast(num, tf.float32),
            "weights_samples": tf.cast(weights_num, tf.float32),
        }

    return search_step


_LOGITS_METRICS = (
    "logits_gradient_norm",
    "log_likelihood",
    "sample_accuracy",
    "best_sample_accuracy",
    "effective_samples",
    "within_budget",
)


def _mean_costs(cost_tables, indices):
    """Mean cost of the samples per budget; None without indices."""
    return {
        f"cost_{table.budget.metric}": None
        if indices is None
        else tf.cast(tf.reduce_mean(table.in_graph(indices)), tf.float32)
        for table in cost_tables
    }
