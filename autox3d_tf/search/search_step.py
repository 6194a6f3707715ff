"""The step of a search: of the weights, then of the logits."""

from collections.abc import Sequence

import tensorflow as tf

from autox3d_tf.models import supernet as supernet_lib
from autox3d_tf.runs import distribute
from autox3d_tf.search import cost_table as cost_table_lib
from autox3d_tf.search import distribution as distribution_lib
from autox3d_tf.search import estimator as estimator_lib
from autox3d_tf.search import optimizers as optimizers_lib
from autox3d_tf.search import options as options_lib
from autox3d_tf.search import steps


class SearchStep:
    """The step of a search, a function of tensors; it also runs eagerly.

    The weights learn from the first batch, then the logits from the second.

    Args:
        supernet: Clips and indices -> logits.
        distributions: The factorized one; then, if `search.joint_step` is set,
            the joint one.
        cost_tables: One per budget.
        optimizers: Of weights and logits.
        search: Schedule.
        estimator: Of the gradients.
        counters: Int64 `(3,)`: architectures sampled, clips of the weights'
            steps, clips of the logits' steps.
        seed: Of the samples.
        strategy: Of tf.distribute; its replicas share the samples. All
            variables were made in its scope, but the counters.

    Call arguments:
        step: Steps done before this one.
        clips, labels, logits_clips, logits_labels: Batches of the two halves,
            as many clips in each replica; per replica under a strategy.

    Returns:
        Metrics, scalars by name, over all replicas.
    """

    def __init__(
        self,
        supernet: supernet_lib.Supernet,
        distributions: Sequence[distribution_lib.ArchitectureDistribution],
        cost_tables: Sequence[cost_table_lib.CostTable],
        optimizers: optimizers_lib.Optimizers,
        search: options_lib.SearchOptions,
        estimator: options_lib.EstimatorOptions,
        *,
        counters: tf.Variable,
        seed: int = 0,
        strategy: tf.distribute.Strategy | None = None,
    ):
        self.supernet, self.distributions = supernet, distributions
        self.cost_tables, self.optimizers = cost_tables, optimizers
        self.search, self.estimator = search, estimator
        self.counters, self.seed, self.strategy = counters, seed, strategy
        self._uniform = distribution_lib.factorized(
            supernet.space, [tf.zeros(size) for size in supernet.space.sizes]
        )

    def __call__(self, step, clips, labels, logits_clips, logits_labels):
        searching = step >= self.search.warmup_steps
        entropy = self._current(step, lambda d, _: d.entropy())
        drawn_from = tf.where(searching, entropy, self._uniform.entropy())
        num = estimator_lib.num_samples(drawn_from, self.estimator)
        weights_num = tf.where(
            searching,
            self.search.weights_samples or num,
            self.search.warmup_samples or num,
        )
        logits_num = tf.where(searching, num, 0)
        indices = tf.cond(
            searching,
            lambda: self._draw(step, weights_num, purpose=0),
            lambda: self._uniform.sample(weights_num, self._key(step, 0)),
        )
        if self.search.largest_steps:
            largest = step < self.search.largest_steps
            indices = tf.cond(largest, self._largest, lambda: indices)
            weights_num = tf.where(largest, 1, weights_num)
        metrics = self._weights_step(indices, clips, labels)
        if self.search.steps > self.search.warmup_steps:
            metrics |= tf.cond(
                searching,
                lambda: self._logits_step(
                    step, num, logits_clips, logits_labels
                ),
                self._no_logits_step,
            )
        else:  # a warm-up of others: half of the graph is not traced
            metrics |= self._no_logits_step()
        counted = [
            weights_num + logits_num,
            weights_num * self._batch_size(clips),
            logits_num * self._batch_size(logits_clips),
        ]
        self.counters.assign_add(tf.cast(tf.stack(counted), tf.int64))
        return {
            **metrics,
            "entropy": entropy,
            "samples": tf.cast(num, tf.float32),
            "weights_samples": tf.cast(weights_num, tf.float32),
        }

    def _weights_step(self, indices, clips, labels):
        def on_replica(clips, labels):
            return steps.weights_gradient(
                self.supernet,
                indices,
                clips,
                labels,
                temperature=self.estimator.temperature,
                label_smoothing=self.search.label_smoothing,
            )

        gradients, metrics = distribute.on_replicas(
            self.strategy, on_replica, clips, labels
        )
        norm = self.optimizers.update_weights(
            self.supernet.shared_weights, gradients
        )
        return {**metrics, "gradient_norm": norm}

    def _logits_step(self, step, num, clips, labels):
        indices = self._draw(step, num, purpose=1)
        likelihoods, accuracies = distribute.on_replicas(
            self.strategy,
            lambda *batch: steps.log_likelihoods(
                self.supernet, indices, *batch
            ),
            clips,
            labels,
        )
        excess = cost_table_lib.excess(
            self.cost_tables, indices, two_sided=self.estimator.two_sided
        )

        def update(distribution, optimizer):
            return self._update_logits(
                distribution, optimizer, indices, likelihoods, excess
            )

        weights = estimator_lib.importance_weights(
            likelihoods, self.estimator.temperature
        )
        return {
            "logits_gradient_norm": self._current(step, update),
            "log_likelihood": tf.reduce_mean(likelihoods),
            "sample_accuracy": tf.reduce_mean(accuracies),
            "best_sample_accuracy": tf.reduce_max(accuracies),
            "effective_samples": estimator_lib.effective_sample_size(weights),
            **self._costs(indices),
        }

    def _costs(self, indices):
        """What the drawn architectures cost on average, and how many may."""
        return {
            "within_budget": cost_table_lib.within(self.cost_tables, indices),
            **{
                _cost_name(table): tf.cast(
                    tf.reduce_mean(table.in_graph(indices)), tf.float32
                )
                for table in self.cost_tables
            },
        }

    def _no_logits_step(self):
        """Zeros for what a logits' step reports."""
        return {name: tf.constant(0.0) for name in self._logits_metrics()}

    def omit_zeros(self, step: int, metrics: dict[str, tf.Tensor]) -> None:
        """A trigger that takes out what no step of the logits has reported.

        Both branches of a graph return the same names, and a log likelihood
        of 0 reads as perfect. Triggers that come later do not see it.
        """
        if step <= self.search.warmup_steps:
            for name in self._logits_metrics():
                del metrics[name]

    def _logits_metrics(self):
        """Names of what a logits' step reports."""
        return (*_LOGITS_METRICS, *map(_cost_name, self.cost_tables))

    def _update_logits(
        self, distribution, optimizer, indices, likelihoods, excess
    ):
        """The same in all replicas, which know all likelihoods."""
        with tf.GradientTape() as tape:
            surrogate = estimator_lib.logits_surrogate(
                distribution.log_prob(indices),
                likelihoods,
                excess,
                self.estimator,
            )
        logits = distribution.logits
        gradients = tape.gradient(surrogate, logits)
        return self.optimizers.update_logits(optimizer, logits, gradients)

    def _largest(self):
        return tf.constant([self.supernet.space.largest], tf.int32)

    def _draw(self, step, num, purpose):
        key = self._key(step, purpose)
        return self._current(step, lambda d, _: d.sample(num, key))

    def _key(self, step, purpose):
        return tf.stack([tf.cast(2 * self.seed + purpose, tf.int32),
                         tf.cast(step, tf.int32)])  # fmt: skip

    def _current(self, step, function):
        """`function` of the distribution in force and its optimizer."""
        first, *joint = zip(
            self.distributions, self.optimizers.logits, strict=True
        )
        if not joint:
            return function(*first)
        return tf.cond(
            step >= self.search.joint_step,
            lambda: function(*joint[0]),
            lambda: function(*first),
        )

    def _batch_size(self, clips):
        return tf.shape(distribute.first(self.strategy, clips))[0]


_LOGITS_METRICS = (
    "logits_gradient_norm",
    "log_likelihood",
    "sample_accuracy",
    "best_sample_accuracy",
    "effective_samples",
    "within_budget",
)


def _cost_name(table) -> str:
    return f"cost_{table.budget.metric}"
