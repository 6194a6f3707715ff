"""What the steps of a search compute, as plain functions of tensors.

The number of samples K is a tensor and the samples run one after the other in
a `tf.while_loop`, so one trace serves every K and every architecture.

Under tf.distribute the K samples are dealt out among the replicas: of R
replicas, number r runs the samples r, r + R, r + 2R ... on its clips, and the
importance weights are normalised over all K. All replicas draw all samples,
from seeds that know nothing of replicas, so the samples do not depend on R.
Replicas meet after their loops only, so it does not matter that some run one
sample less, or none. Batch norms see the clips of their own replica.
"""

import tensorflow as tf

from autox3d_tf.models import supernet as supernet_lib
from autox3d_tf.runs import distribute
from autox3d_tf.search import estimator


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

    In a replica of tf.distribute: over the samples of all replicas.

    Args:
        supernet: Called as `supernet(clips, indices, training=True)`.
        indices: Int32 `(K, choices)`, of all replicas.
        clips, labels: A batch of the weights' half, of this replica.
        temperature: Of the importance weights.
        label_smoothing: Of the loss that is differentiated.
    """
    weights = [variable.value for variable in supernet.shared_weights]
    replica, replicas = distribute.this_replica()

    def one_sample(k, total_right, summed):
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
        summed = summed.add(log_weight, (loss, *gradients))
        total_right += accuracy(logits, labels)
        return k + replicas, total_right, summed

    num = tf.shape(indices)[0]
    start = estimator.StreamingSum.zeros([tf.zeros(()), *weights])
    _, right, summed = tf.while_loop(
        lambda k, *_: k < num,
        one_sample,
        (replica, tf.constant(0.0), start),
        parallel_iterations=1,
    )
    summed = summed.merged()
    right = distribute.total(right)
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

    Forward passes only. In a replica of tf.distribute: those of all replicas,
    each judged on the clips of the replica that ran it.
    """
    num = tf.shape(indices)[0]
    replica, replicas = distribute.this_replica()

    def one_sample(k, likelihoods, accuracies):
        logits = supernet(clips, indices[k], training=False)
        return (
            k + replicas,
            likelihoods.write(k, mean_log_likelihood(logits, labels)),
            accuracies.write(k, accuracy(logits, labels)),
        )

    arrays = [tf.TensorArray(tf.float32, num, element_shape=()) for _ in "la"]
    _, likelihoods, accuracies = tf.while_loop(
        lambda k, *_: k < num,
        one_sample,
        (replica, *arrays),
        parallel_iterations=1,
    )
    # What other replicas write is 0 here.
    return tuple(distribute.total([likelihoods.stack(), accuracies.stack()]))
