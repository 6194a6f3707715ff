"""Trains with and without two replicas; prints what loop_mirrored_test needs.

A process of its own, for logical devices must exist before TensorFlow starts.
"""

import contextlib
import json
import sys

import keras
import numpy as np
import tensorflow as tf

from autox3d_tf.runs import checkpoints, loop, triggers


def train(strategy, directory):
    keras.utils.set_random_seed(0)
    scope = strategy.scope() if strategy else contextlib.nullcontext()
    replicas = strategy.num_replicas_in_sync if strategy else 1
    with scope:
        layers = [keras.layers.Dense(8, "tanh"), keras.layers.Dense(3)]
        model = keras.Sequential(layers)
        model.build((None, 4))
        optimizer = keras.optimizers.AdamW(0.01)
        optimizer.build(model.trainable_variables)

    def step_fn(x, y):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(x, training=True) - y) ** 2)
            scaled = loss / replicas
        weights = model.trainable_variables
        gradients = tape.gradient(scaled, weights)
        optimizer.apply_gradients(zip(gradients, weights, strict=True))
        return {"loss": loss, "examples": tf.cast(tf.shape(x)[0], tf.float32)}

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(160, 4)), rng.normal(size=(160, 3))
    arrays = (x.astype("float32"), y.astype("float32"))
    dataset = tf.data.Dataset.from_tensor_slices(arrays).batch(8)
    saver = checkpoints.Checkpoints(
        directory, {"model": model, "optimizer": optimizer}
    )
    metrics = loop.run_steps(
        step_fn, dataset, first_step=0, total_steps=20, strategy=strategy,
        triggers=[triggers.SaveCheckpoint(saver, steps=10)],
    )  # fmt: skip
    state = [np.array(v) for v in model.variables + optimizer.variables]
    for variable in model.variables:
        variable.assign(variable * 0)
    step = saver.restore_latest()
    restored = [np.array(v) for v in model.variables + optimizer.variables]
    same = all(map(np.array_equal, state, restored))
    return metrics, np.concatenate([s.ravel() for s in state]), step, same


def main(directory):
    cpu = tf.config.list_physical_devices("CPU")[0]
    half = tf.config.LogicalDeviceConfiguration()
    tf.config.set_logical_device_configuration(cpu, [half, half])
    one = train(None, directory + "/one")
    mirrored = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    two = train(mirrored, directory + "/two")
    print(json.dumps({
        "metrics": [one[0], two[0]],
        "difference": float(np.max(np.abs(one[1] - two[1]))),
        "restored": [two[2], two[3]],
    }))  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1])
