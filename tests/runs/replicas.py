"""Processes with replicas, for drivers and the tests that run them.

Each is forked by a driver, which saves importing TensorFlow again, for devices
and workers must be known before TensorFlow starts. A driver prints how each of
its processes ended: an error in one line, then its exit code.
"""

import json
import os
import pathlib
import socket
import subprocess
import sys

REPO = pathlib.Path(__file__).resolve().parents[2]


def run_driver(module, *arguments):
    """Returns the lines in which a driver says how each process ended."""
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=REPO,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    return [x for x in lines if x.startswith(("exit ", "error "))]


def two_cpus():
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    half = tf.config.LogicalDeviceConfiguration()
    tf.config.set_logical_device_configuration(cpu, [half, half])
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def worker(index, addresses):
    from autox3d_tf.runs import distribute

    os.environ["TF_CONFIG"] = json.dumps(
        {
            "cluster": {"worker": addresses},
            "task": {"type": "worker", "index": index},
        }
    )
    return distribute.make_strategy("multi_worker")


def start(run, make_strategy):
    """Forks `run(strategy)`; the child ends with 1 and a line if it fails."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        _keep_iterators()
        run(make_strategy())
        code = 0
    except Exception as error:
        print("error", type(error).__name__, error, flush=True)
    finally:
        os._exit(code)


def _keep_iterators():
    """On a busy machine TensorFlow may take a minute to let go of one."""
    from autox3d_tf.runs import loop

    kept = []
    loop.iter = lambda batches: kept.append(iter(batches)) or kept[-1]


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


def run_workers(*runs):
    """Forks a worker for each `run(strategy)`, and waits; 0 is the chief."""
    addresses = free_addresses(len(runs))
    wait(
        *[
            start(run, lambda index=index: worker(index, addresses))
            for index, run in enumerate(runs)
        ]
    )
