"""A baseline by relaxation: the likelihood's own gradient reaches the logits.

Of one architecture at a time, drawn as the arg max of a Gumbel-softmax, each
choice scales what it makes by p / stop_gradient(p), p its relaxed probability:
1 in value, and the gradient of the logits (a single path, as in SNAS, Xie et
al., 2019, and GDAS, Dong and Yang, 2019). Scaled are the branches of the
residual blocks, by the block's choices and the filters of its stage, before
the shortcuts are added: batch norm undoes every scaling behind them. A skipped
block is a branch of zeros. So a step of the logits goes back through the
network too. The cost is no function of what the network makes: its hinge is
differentiated by the score function over many draws, which cost nothing as no
network runs.
"""

import tensorflow as tf

from autox3d_tf.search import cost_table as cost_table_lib
from autox3d_tf.search import search_step, steps

TEMPERATURE = 1.0
_COST_DRAWS = 256


class RelaxedStep(search_step.SearchStep):
    """As `SearchStep`, for one device; `estimator.beta` weighs the cost."""

    def _logits_step(self, step, num, clips, labels):
        (distribution,), (optimizer,) = (
            self.distributions, self.optimizers.logits,
        )  # fmt: skip
        key = self._key(step, purpose=1)
        likelihood, right, gradients = relaxed_gradient(
            self.supernet, distribution, num, clips, labels, key
        )
        indices = distribution.sample(_COST_DRAWS, key)
        excess = cost_table_lib.excess(
            self.cost_tables, indices, two_sided=self.estimator.two_sided
        )
        costly = cost_gradient(distribution, indices, excess)
        gradients = [
            likely + self.estimator.beta * cost
            for likely, cost in zip(gradients, costly, strict=True)
        ]
        norm = self.optimizers.update_logits(
            optimizer, distribution.logits, gradients
        )
        return {
            **self._costs(indices),
            "logits_gradient_norm": norm,
            "log_likelihood": likelihood,
            "sample_accuracy": right,
            "best_sample_accuracy": right,
            "effective_samples": tf.cast(num, tf.float32),
        }


def relaxed_gradient(supernet, distribution, num, clips, labels, seed):
    """Gradient of the expected loss by the logits, from `num` single paths.

    Returns:
        Mean log likelihood, accuracy, and a gradient per factor of -log
        likelihood.
    """
    variables = distribution.logits

    def one_sample(k, likelihood, right, *sums):
        with tf.GradientTape() as tape:
            indices, gates = distribution.relax(
                seed + tf.stack([0, (k + 1) * 2**20]), TEMPERATURE
            )
            logits = supernet(clips, indices, training=True, gates=gates)
            loss = -steps.mean_log_likelihood(logits, labels)
        gradients = tape.gradient(
            loss, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        return (
            k + 1,
            likelihood - loss,
            right + steps.accuracy(logits, labels),
            *(
                total + tf.convert_to_tensor(gradient)
                for total, gradient in zip(sums, gradients, strict=True)
            ),
        )

    zeros = [tf.zeros(variable.shape) for variable in variables]
    _, *totals = tf.while_loop(
        lambda k, *_: k < num,
        one_sample,
        (tf.constant(0), tf.constant(0.0), tf.constant(0.0), *zeros),
        parallel_iterations=1,
    )
    count = tf.cast(num, tf.float32)
    likelihood, right, *gradients = (total / count for total in totals)
    return likelihood, right, gradients


def cost_gradient(distribution, indices, excess) -> list[tf.Tensor]:
    """Gradient of the expected excess by the logits, by the score function.

    The mean of the other draws is the baseline: no bias, less noise.
    """
    count = tf.cast(tf.size(excess), tf.float32)
    weights = (excess - tf.reduce_mean(excess)) / (count - 1)
    with tf.GradientTape() as tape:
        surrogate = tf.reduce_sum(weights * distribution.log_prob(indices))
    gradients = tape.gradient(surrogate, distribution.logits)
    return [tf.convert_to_tensor(gradient) for gradient in gradients]
