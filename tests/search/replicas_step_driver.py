"""Parts of a step on three replicas; prints what replicas_test looks at.

A process of its own, for logical devices must exist before TensorFlow starts.
"""

import json
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from autox3d_tf import models
from autox3d_tf.data import parts, pipeline
from autox3d_tf.runs import distribute, loop
from autox3d_tf.search import batches, estimator, options, steps
from autox3d_tf.search import distribution as distribution_lib
from tests.search import search_driver

REPLICAS = 3
SPACE = search_driver.SPACE


def three_cpus():
    cpu = tf.config.list_physical_devices("CPU")[0]
    third = tf.config.LogicalDeviceConfiguration()
    tf.config.set_logical_device_configuration(cpu, REPLICAS * [third])
    return tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(REPLICAS)])


def make_batch(seed):
    rng = np.random.default_rng(seed)
    clips = rng.normal(size=(4, *SPACE.clip_size, 3)).astype("float32")
    return tf.constant(clips), tf.constant(rng.integers(0, 2, 4), tf.int32)


def on_own_clips(strategy):
    """Largest differences from the sums written out, for K of 2 and of 4.

    Sample k is run by replica k modulo 3, on the clips of this replica.
    """
    with strategy.scope():
        supernet = models.Supernet(SPACE, 2, seed=1)
    drawn = distribution_lib.factorized(SPACE).sample(4, (1, 2))
    parts = [make_batch(seed) for seed in range(REPLICAS)]
    clips, labels = (
        strategy.experimental_distribute_values_from_function(
            lambda c, i=i: parts[c.replica_id_in_sync_group][i]
        )
        for i in range(2)
    )

    def step_fn(num, clips, labels):
        indices = drawn[:num]

        def in_replica(clips, labels):
            return (
                steps.weights_gradient(
                    supernet, indices, clips, labels, temperature=0.2
                ),
                steps.log_likelihoods(supernet, indices, clips, labels)[0],
            )

        return distribute.on_replicas(strategy, in_replica, clips, labels)

    def plain(step, vector, clips, labels):
        del step
        gradients, metrics = steps.weights_gradient(
            supernet, vector[tf.newaxis], clips, labels, temperature=0.2
        )
        return gradients, -metrics["loss"], metrics["train_accuracy"]

    step_fn, plain = loop.compile_step(step_fn), loop.compile_step(plain)
    zero = tf.constant(0, tf.int64)
    each = [plain(zero, drawn[k], *parts[k % REPLICAS]) for k in range(4)]
    found = {}
    for num in (2, 4):
        (gradients, metrics), likelihoods = step_fn(
            zero, tf.constant(num), clips, labels
        )
        expected = [float(one[1]) for one in each[:num]]
        m = estimator.importance_weights(tf.constant(expected), 0.2).numpy()
        sums = [
            sum(w * g.numpy() for w, g in zip(m, rows, strict=True))
            for rows in zip(*(one[0] for one in each[:num]), strict=True)
        ]
        found[num] = {
            "largest": max(float(np.abs(s).max()) for s in sums),
            "gradient": max(
                float(np.abs(g - s).max())
                for g, s in zip(gradients, sums, strict=True)
            ),
            "likelihood": float(np.abs(likelihoods - expected).max()),
            "accuracy": float(metrics["train_accuracy"])
            - float(np.mean([one[2] for one in each[:num]])),
            "effective": float(metrics["train_effective_samples"])
            - float(1 / (m**2).sum()),
        }
    return found


def clips_of_replicas(strategy, folder):
    """Whether replicas get the same clips, or the next ones each."""
    data = search_driver.data_of(folder)
    source = pipeline.open_source(data, "train")
    search = options.SearchOptions(steps=3, warmup_steps=2, batch_size=2)
    found = {}
    for own in (False, True):
        given = batches.make_batches(
            parts.halve(source, 0),
            data,
            search,
            seed=0,
            first_step=1,
            strategy=strategy,
            own_clips=own,
        )
        local = strategy.experimental_local_results
        rows = [[local(value) for value in batch] for batch in given]
        assert len(rows) == 2  # steps 1 and 2
        assert not any(np.any(clips) for clips in rows[0][2])  # warm-up
        expected = pipeline.make_train_dataset(
            parts.halve(source, 0)[0],
            data,
            batch_size=2,
            seed=0,
            first_step=REPLICAS if own else 1,
            total_steps=9 if own else 3,
        )
        expected = [clips for clips, _ in expected]
        if not own:
            expected = [clips for clips in expected for _ in range(REPLICAS)]
        flat = [clips for row in rows for clips in row[0]]
        found[f"own_{own}"] = len(flat) == len(expected) and all(
            map(np.array_equal, flat, expected)
        )
        found[f"judged_{own}"] = len({c.numpy().tobytes() for c in rows[1][2]})
    return found


if __name__ == "__main__":
    mirrored = three_cpus()
    print(
        json.dumps(
            {
                "clips": clips_of_replicas(mirrored, sys.argv[1]),
                "sums": on_own_clips(mirrored),
            }
        )
    )
