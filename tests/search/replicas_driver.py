"""Searches on one device and on two replicas, for replicas_test.

    replicas_driver.py mirrored|workers CLIPS FOLDER

Each search is a forked process, which saves importing TensorFlow again, for
devices and workers must be known before TensorFlow starts. Prints how each
process ended: an error in one line, then its exit code.
"""

import json
import os
import socket
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf

from autox3d_tf.runs import distribute
from autox3d_tf.search import options
from tests.search import search_driver


def two_cpus():
    cpu = tf.config.list_physical_devices("CPU")[0]
    half = tf.config.LogicalDeviceConfiguration()
    tf.config.set_logical_device_configuration(cpu, [half, half])
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def worker(index, addresses):
    os.environ["TF_CONFIG"] = json.dumps(
        {
            "cluster": {"worker": addresses},
            "task": {"type": "worker", "index": index},
        }
    )
    return distribute.make_strategy("multi_worker")


def start(clips, folder, make_strategy, die_after=None):
    """Forks a search; the child ends with 1 and a line if it fails."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        if die_after is not None:
            search_driver.die_after(die_after)
        search_driver.search(
            clips,
            folder,
            space=search_driver.SHORT,
            estimator=options.EstimatorOptions(samples_per_nat=0.9),
            strategy=make_strategy(),
        )
        code = 0
    except Exception as error:
        print("error", type(error).__name__, error, flush=True)
    finally:
        os._exit(code)


def wait(*children):
    for child in children:
        status = os.waitpid(child, 0)[1]
        print("exit", os.waitstatus_to_exitcode(status), flush=True)


def free_addresses(count):
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    found = [f"localhost:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    return found


def search_with_workers(clips, folder, dying=None, die_after=None):
    """Two workers, of which one may die; 0 is the chief."""
    addresses = free_addresses(2)
    wait(
        *[
            start(
                clips,
                folder,
                lambda index=index: worker(index, addresses),
                die_after if index == dying else None,
            )
            for index in range(2)
        ]
    )


def main(kind, clips, folder):
    if kind == "mirrored":
        wait(
            start(clips, f"{folder}/one", lambda: None),
            start(clips, f"{folder}/two", two_cpus),
        )
    else:
        search_with_workers(clips, f"{folder}/two", dying=1, die_after=5)
        search_with_workers(clips, f"{folder}/two", dying=0, die_after=8)
        search_with_workers(clips, f"{folder}/two")


if __name__ == "__main__":
    main(*sys.argv[1:])
