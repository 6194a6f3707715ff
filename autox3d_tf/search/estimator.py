"""The gradient estimator of PARSEC and FP-NAS, as plain tensor functions.

PARSEC: Casale et al., arXiv 1902.05116; FP-NAS: Yan et al., CVPR 2021.

For K architectures drawn from P(A|a), with log likelihoods l_k and costs:

    m_k = softmax_k(l_k / temperature)               importance weights
    c_k = C_k / sum_j C_j  (0 where the sum is 0)    C: `cost_table.excess`
    grad_w L = - sum_k m_k grad_w l_k
    grad_a L = sum_k (beta c_k - m_k) grad_a log P(A_k|a)

The normalised c_k fade where all samples are far above the budget: they are
1/K then, whatever the costs. With `two_sided` the cost term is therefore the
gradient of beta E|cost/target - 1| as it is, c_k = C_k / K.

`l_k` is the mean log likelihood per clip, so that the temperature does not
depend on the batch: temperature 1 / batch is the equation with the sum over
the batch, which saturates to one sample; 1 is nearly uniform.
"""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from autox3d_tf.search import options as options_lib


def num_samples(entropy, options: options_lib.EstimatorOptions) -> tf.Tensor:
    """K for an entropy in nats, an int32 scalar between 2 and the maximum."""
    if options.fixed_samples:
        return tf.constant(options.fixed_samples)
    wanted = tf.round(options.samples_per_nat * entropy)
    wanted = tf.clip_by_value(  # as it is: an int32 may be too small for it
        wanted,
        float(options_lib.MINIMUM_SAMPLES),
        float(options.max_samples),
    )
    return tf.cast(wanted, tf.int32)


def importance_weights(log_likelihoods, temperature) -> tf.Tensor:
    """m_k of `(K,)` log likelihoods; they sum to 1."""
    return tf.nn.softmax(tf.convert_to_tensor(log_likelihoods) / temperature)


def cost_weights(excess) -> tf.Tensor:
    """c_k of `(K,)` excesses over the budget; all 0 if none is over it."""
    total = tf.reduce_sum(excess, axis=-1, keepdims=True)
    return tf.math.divide_no_nan(excess, total)


def effective_sample_size(weights) -> tf.Tensor:
    """1 / sum of squares: K for equal weights, 1 for a single survivor."""
    return 1.0 / tf.reduce_sum(tf.square(weights), axis=-1)


def coefficients(
    log_likelihoods, excess, options: options_lib.EstimatorOptions
):
    """Factors of grad_a log P(A_k|a) in the gradient of the loss, `(K,)`.

    Leading axes are independent draws. The control variate of the cost term is
    its mean: 1/K where it is normalised, 0 where it is absent.
    """
    likely = importance_weights(log_likelihoods, options.temperature)
    even = 1.0 / tf.cast(tf.shape(likely)[-1], likely.dtype)
    costly = excess * even if options.two_sided else cost_weights(excess)
    if options.control_variate:
        likely = likely - even
        costly = costly - tf.reduce_mean(costly, axis=-1, keepdims=True)
    return options.beta * costly - likely


def logits_surrogate(
    log_probs, log_likelihoods, excess, options: options_lib.EstimatorOptions
) -> tf.Tensor:
    """A scalar whose gradient by the logits is the estimate of grad_a L.

    Args:
        log_probs: `(K,)` log P(A_k|a), differentiable by the logits.
        log_likelihoods: `(K,)` mean log likelihood per clip.
        excess: `(K,)`, from `cost_table.excess`.
        options: Temperature, beta, control variate.
    """
    weights = coefficients(log_likelihoods, excess, options)
    return tf.reduce_sum(tf.stop_gradient(weights) * log_probs)


class StreamingSum(NamedTuple):
    """sum_k m_k g_k, one sample at a time (online softmax).

    Only one set of accumulators is held whatever K is. Exact: when a larger
    log weight arrives, what has been summed is scaled down to it. A tuple, as
    a `tf.while_loop` carries it.

    Attributes:
        peak: Largest log weight so far.
        norm: sum of exp(log weight - peak).
        squares: sum of exp(2 (log weight - peak)), for the sample size.
        sums: sum of exp(log weight - peak) g, one tensor per entry of g.
    """

    peak: tf.Tensor
    norm: tf.Tensor
    squares: tf.Tensor
    sums: tuple[tf.Tensor, ...]

    @classmethod
    def zeros(cls, like: Sequence) -> "StreamingSum":
        """An empty sum of tensors shaped as those of `like`."""
        return cls(
            tf.constant(-float("inf")),
            tf.constant(0.0),
            tf.constant(0.0),
            tuple(tf.zeros(one.shape) for one in like),
        )

    def add(self, log_weight, values: Sequence) -> "StreamingSum":
        """Returns the sum with one more sample."""
        peak = tf.maximum(self.peak, log_weight)
        old, new = tf.exp(self.peak - peak), tf.exp(log_weight - peak)
        return StreamingSum(
            peak,
            self.norm * old + new,
            self.squares * old**2 + new**2,
            tuple(
                kept * old + tf.cast(value, kept.dtype) * new
                for kept, value in zip(self.sums, values, strict=True)
            ),
        )

    def merged(self) -> "StreamingSum":
        """Returns the sum over all replicas of tf.distribute, in each of them.

        A replica may have added no sample.
        """
        replica = tf.distribute.get_replica_context()
        if replica.num_replicas_in_sync == 1:
            return self
        peaks = replica.all_gather(self.peak[tf.newaxis], axis=0)
        peak = tf.reduce_max(peaks)
        scale = tf.exp(self.peak - peak)
        norm, squares, *sums = replica.all_reduce(
            tf.distribute.ReduceOp.SUM,
            [
                self.norm * scale,
                self.squares * scale**2,
                *(total * scale for total in self.sums),
            ],
        )
        return StreamingSum(peak, norm, squares, tuple(sums))

    def mean(self) -> tuple[tf.Tensor, ...]:
        """sum_k m_k g_k."""
        return tuple(total / self.norm for total in self.sums)

    def effective_sample_size(self) -> tf.Tensor:
        """1 / sum_k m_k^2."""
        return self.norm**2 / self.squares
