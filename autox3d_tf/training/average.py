"""Moving average of a model's weights and batch-norm statistics."""

import contextlib

import keras
import tensorflow as tf

from autox3d_tf.space import weight_names


def state_of(model: keras.Model) -> list[keras.Variable]:
    """Returns the weights and batch-norm statistics of a model, in order."""
    return [
        variable
        for variable in model.variables
        if variable.trainable or weight_names.is_statistic(variable.name)
    ]


class WeightAverage:
    """An exponential moving average of all weights, statistics included.

    The statistics of batch norm fit the weights they were measured with, so
    both are averaged over the same steps; a precise batch norm at the end
    measures them for the averaged weights.

    Args:
        model: What to average, built.
        decay: Of the average. Early on it is (1 + n) / (10 + n) after n steps,
            if that is less, or the initial weights would weigh too much.

    Attributes:
        values: The averages, `tf.Variable`s, of `state_of(model)` in order.
    """

    def __init__(self, model: keras.Model, decay: float):
        self.decay = decay
        self._state = state_of(model)
        self.values = [
            tf.Variable(
                variable.value,
                trainable=False,
                dtype=variable.dtype,
                # All replicas have the same.
                aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
            )
            for variable in self._state
        ]

    def update(self, step: tf.Tensor) -> None:
        """Moves the average towards the weights; `step` counts from 0."""
        done = tf.cast(step, tf.float32)
        decay = tf.minimum(self.decay, (1.0 + done) / (10.0 + done))
        for value, variable in zip(self.values, self._state, strict=True):
            value.assign_sub((1.0 - decay) * (value - variable.value))

    def copy_to_model(self) -> None:
        """Makes the averages the model's weights."""
        for value, variable in zip(self.values, self._state, strict=True):
            variable.assign(value)

    @contextlib.contextmanager
    def in_model(self):
        """The model has the averages inside, its own weights afterwards."""
        own = [variable.numpy() for variable in self._state]
        self.copy_to_model()
        try:
            yield
        finally:
            for value, variable in zip(own, self._state, strict=True):
                variable.assign(value)
