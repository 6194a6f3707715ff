"""Small training runs, for resume_test: some resume, some are killed.

Usage: resume_driver.py DIRECTORY[:die_after=STEP | :die_saving=STEP] ...
Each run is a forked process, which saves importing TensorFlow again. Prints
for each its first step, a hash of the final state, and how it ended.
"""

import hashlib
import os
import signal
import sys

import keras
import numpy as np
import tensorflow as tf

from autox3d_tf.runs import checkpoints, determinism, loop, run_dir, triggers

STEPS = 24


def build():
    layers = [
        keras.layers.Conv2D(8, 3, activation="relu"),
        keras.layers.DepthwiseConv2D(3),
        keras.layers.BatchNormalization(),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dropout(0.5),
        keras.layers.Dense(3),
    ]
    model = keras.Sequential(layers)
    model.build((None, 8, 8, 3))
    optimizer = keras.optimizers.AdamW(0.01)
    optimizer.build(model.trainable_variables)
    return model, optimizer


def batches(first_step):
    def make(step):
        seed = tf.stack([step, 7])
        clip = tf.random.stateless_normal((8, 8, 8, 3), seed)
        return clip, tf.reduce_mean(clip, (1, 2))

    return tf.data.Dataset.range(first_step, STEPS).map(
        make, num_parallel_calls=2
    )


def kill_self():
    os.kill(os.getpid(), signal.SIGKILL)


def main(directory, when="", step=""):
    determinism.set_seed(0)
    model, optimizer = build()
    run = run_dir.RunDir(directory, {"kind": "resume", "steps": STEPS})
    saver = checkpoints.Checkpoints(
        run.checkpoints, {"model": model, "optimizer": optimizer}
    )
    first_step = saver.restore_latest()

    def step_fn(clip, target):
        with tf.GradientTape() as tape:
            error = model(clip, training=True) - target
            loss = tf.reduce_mean(error**2)
        weights = model.trainable_variables
        gradients = tape.gradient(loss, weights)
        optimizer.apply_gradients(zip(gradients, weights, strict=True))
        return {"loss": loss}

    def die_after(done, metrics):
        if when == "die_after" and done == int(step):
            kill_self()

    if when == "die_saving":
        rename = os.replace

        def die_saving(source, target):
            if str(target).endswith(f"step_{int(step):08d}"):
                kill_self()
            rename(source, target)

        os.replace = die_saving
    loop.run_steps(
        step_fn, batches(first_step), first_step=first_step, total_steps=STEPS,
        triggers=[
            *triggers.usual(run.summaries, saver, save_steps=5), die_after
        ],
    )  # fmt: skip
    state = model.variables + optimizer.variables
    data = b"".join(np.array(variable).tobytes() for variable in state)
    print(first_step, hashlib.sha256(data).hexdigest(), flush=True)


def in_a_process(job):
    directory, _, death = job.partition(":")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            main(directory, *death.split("="))
            code = 0
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    print("exit", os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        in_a_process(argument)
