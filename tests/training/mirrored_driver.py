"""Trains on one device and on two; prints the largest difference.

Usage: mirrored_driver.py MANIFEST DIRECTORY. A process of its own, for the
number of devices cannot be changed once TensorFlow runs.
"""

import sys

import numpy as np
import tensorflow as tf

from autox3d_tf import models
from autox3d_tf.training import run
from tests.training import tiny


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
            optimizer=tiny.optimizer(name="sgd", weight_decay=0.01),
            run_dir=f"{directory}/{name}",
            strategy=strategy,
        )
        weights.append(models.load_weights(f"{directory}/{name}/weights.npz"))
    one, two = weights
    print("moved", max(np.abs(one[n] - 1).max() for n in ("stem/norm_gamma",)))
    print("apart", max(np.abs(one[n] - two[n]).max() for n in one))


if __name__ == "__main__":
    main(*sys.argv[1:])
