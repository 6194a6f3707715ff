"""Trains on one device and on two; prints the largest differences.

Usage: mirrored_driver.py MANIFEST DIRECTORY. A process of its own, for the
number of devices cannot be changed once TensorFlow runs.
"""

import contextlib
import sys

import numpy as np
import tensorflow as tf

from autox3d_tf import models
from autox3d_tf.runs import loop
from autox3d_tf.training import optimizers, run, steps
from tests.training import tiny


def moved_statistics(clips, strategy=None):
    """Returns the stem's moving variance after a batch, of each replica."""
    with strategy.scope() if strategy else contextlib.nullcontext():
        model = models.build_model(tiny.arch(), 3)
    step = loop.compile_step(
        lambda clips: tf.reduce_mean(model(clips, training=True)), strategy
    )
    if strategy:
        dataset = tf.data.Dataset.from_tensors(clips).unbatch()
        dataset = dataset.batch(len(clips))
        (clips,) = strategy.experimental_distribute_dataset(dataset)
    step(tf.constant(0, tf.int64), clips)
    variance = model.get_layer("stem").norm_variance.value
    if strategy is None:
        return [variance.numpy()]
    return [v.numpy() for v in strategy.experimental_local_results(variance)]


def statistics_apart(strategy):
    """Returns how far replicas are from the mean of what each has seen."""
    clips = np.random.default_rng(0).normal(size=(4, 4, 16, 16, 3))
    clips = clips.astype("float32")
    clips[2:] *= 3  # the second replica sees brighter clips
    halves = [moved_statistics(half)[0] for half in np.split(clips, 2)]
    assert np.abs(halves[0] - halves[1]).max() > 0.1
    found = moved_statistics(clips, strategy)
    return max(np.abs(np.mean(halves, 0) - own).max() for own in found)


def moved_by_overflow(strategy):
    """Returns how far weights move if one replica's gradients overflow."""
    training = tiny.training(precision="mixed_float16")
    with strategy.scope():
        model = models.build_model(
            tiny.arch(), 3, freeze_batch_norm=True, dtype="mixed_float16"
        )
        optimizer = optimizers.make_optimizer(
            tiny.optimizer(), training, model.trainable_variables, 40
        )
    step = loop.compile_step(
        steps.make_train_step(model, optimizer, training), strategy
    )
    clips = np.random.default_rng(0).normal(size=(4, 4, 16, 16, 3))
    clips[2:] *= 1e6
    dataset = tf.data.Dataset.from_tensors(
        (clips.astype("float32"), np.array([0, 1, 2, 0], "int32"))
    )
    dataset = dataset.unbatch().batch(4)
    (batch,) = strategy.experimental_distribute_dataset(dataset)
    old = models.weight_values(model)
    step(tf.constant(0, tf.int64), *batch)
    new = models.weight_values(model)
    return max(np.abs(new[name] - old[name]).max() for name in old)


def main(manifest, directory):
    cpu = tf.config.list_physical_devices("CPU")[0]
    device = tf.config.LogicalDeviceConfiguration()
    tf.config.set_logical_device_configuration(cpu, [device, device])
    weights = []
    mirrored = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    for name, strategy in (("one", None), ("two", mirrored)):
        run.run_training(
            arch=tiny.arch(),
            data=tiny.data(manifest),
            # Statistics of half batches differ: none are used.
            training=tiny.training(freeze_batch_norm=True, ema_decay=0.5),
            # All steps are clipped.
            optimizer=tiny.optimizer(
                name="sgd", learning_rate=1.0, weight_decay=0.01, clip_norm=0.01
            ),
            run_dir=f"{directory}/{name}",
            strategy=strategy,
        )
        weights.append(models.load_weights(f"{directory}/{name}/weights.npz"))
    one, two = weights
    print("moved", max(np.abs(one[n] - 1).max() for n in ("stem/norm_gamma",)))
    print("statistics", statistics_apart(mirrored))
    print("overflow", moved_by_overflow(mirrored))
    print("apart", max(np.abs(one[n] - two[n]).max() for n in one))


if __name__ == "__main__":
    main(*sys.argv[1:])
