"""Replicas and worker processes: what a run needs of tf.distribute.

With `multi_worker` the same command runs once per worker, each with its own
`TF_CONFIG`, all with the same `--run_dir` on a disk that all of them see:

    TF_CONFIG='{"cluster": {"worker": ["host0:2222", "host1:2222"]},
                "task": {"type": "worker", "index": 0}}'

Worker 0 is the chief: only it writes files. If a worker dies the others end,
within a minute, and all of them, started again, go on from the last checkpoint;
so a cluster's manager should start each again that fails, as in
`until autox3d-train ...; do sleep 5; done`.
"""

import contextlib
import json
import os
import re
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from autox3d_tf.base import checks

Strategy = tf.distribute.Strategy
_SUM = tf.distribute.ReduceOp.SUM
_TASK = re.compile(r"task:(\d+)")
# What an operation that waits for another worker may end with.
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.DeadlineExceededError,
    tf.errors.CancelledError,
    tf.errors.UnknownError,
    tf.errors.InternalError,
)


class WorkerLost(RuntimeError):
    """Another worker is gone, so this one cannot go on."""

    # A binary leaves without cleaning up, which would wait for that worker.
    exits_at_once = True


def make_strategy(name: str = "one") -> Strategy | None:
    """Returns a strategy of tf.distribute; make it before anything else.

    Args:
        name: `one` device (None is returned), `mirrored` on all GPUs of this
            machine, or `multi_worker` as TF_CONFIG says.
    """
    checks.check_choice("name", name, STRATEGIES)
    return STRATEGIES[name]()


def _multi_worker() -> Strategy:
    try:
        config = json.loads(os.environ.get("TF_CONFIG") or "{}")
        config["cluster"]["worker"][config["task"]["index"]]
    except (ValueError, LookupError, TypeError):
        raise ValueError(
            "`strategy` 'multi_worker' must find in TF_CONFIG the addresses "
            "of all workers and the index of this one, such as "
            '\'{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": '
            '{"type": "worker", "index": 0}}\'. Received: '
            f"TF_CONFIG={os.environ.get('TF_CONFIG')!r}."
        ) from None
    return tf.distribute.MultiWorkerMirroredStrategy()


STRATEGIES: dict[str, Callable[[], Strategy | None]] = {
    "one": lambda: None,
    "mirrored": tf.distribute.MirroredStrategy,
    "multi_worker": _multi_worker,
}


def num_replicas(strategy: Strategy | None) -> int:
    """Returns how many replicas share a step."""
    return strategy.num_replicas_in_sync if strategy else 1


def num_workers(strategy: Strategy | None) -> int:
    """Returns how many processes share a step."""
    resolver = strategy and strategy.cluster_resolver
    spec = resolver.cluster_spec() if resolver else None
    return max(1, spec.num_tasks("worker")) if spec else 1


def is_chief(strategy: Strategy | None) -> bool:
    """Returns whether this process is the one that writes files."""
    return num_workers(strategy) == 1 or not strategy.cluster_resolver.task_id


def scope(strategy: Strategy | None):
    """Returns the context in which the variables of a run are made."""
    return strategy.scope() if strategy else contextlib.nullcontext()


def on_replicas(strategy: Strategy | None, fn: Callable, *batch) -> Any:
    """Returns `fn(*batch)`, which all replicas agree on."""
    if strategy is None:
        return fn(*batch)
    found = strategy.run(fn, args=batch)
    return tf.nest.map_structure(lambda value: first(strategy, value), found)


def first(strategy: Strategy | None, value):
    """Returns the value in the first replica of this process."""
    if strategy is None:
        return value
    return strategy.experimental_local_results(value)[0]


def this_replica() -> tuple[tf.Tensor, int]:
    """Returns the number of this replica, an int32 scalar, and how many."""
    context = tf.distribute.get_replica_context()
    number = tf.convert_to_tensor(context.replica_id_in_sync_group, tf.int32)
    return number, context.num_replicas_in_sync


def total(values):
    """Returns the sum of tensors over all replicas, in each of them.

    Not inside a loop or branch of a replica.
    """
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync == 1:
        return values
    return context.all_reduce(_SUM, values)


def wait_for_all(strategy: Strategy | None) -> None:
    """Returns when all workers have come here."""
    if num_workers(strategy) > 1:
        strategy.run(tf.function(lambda: total(tf.constant(1))))


def wait_at_end(strategy: Strategy | None, is_done: Callable[[], bool]) -> None:
    """The same, as the last thing that a run does.

    Whoever is told first that all have come may end, and be missed by the
    others before they are told: no loss, if what was to be done is.
    """
    try:
        wait_for_all(strategy)
    except _LOST:
        if not is_done():
            raise


def check_same_step(strategy: Strategy | None, step: int) -> None:
    """Raises ValueError if workers would go on from different checkpoints."""
    if num_workers(strategy) == 1:
        return
    steps = tf.function(lambda: total(tf.constant(step, tf.int64)))
    found = int(first(strategy, strategy.run(steps)))
    if found != step * num_replicas(strategy):
        raise ValueError(
            "All workers must go on from the same checkpoint. Received: step "
            f"{step} in worker {strategy.cluster_resolver.task_id}, another "
            "elsewhere. Give all of them the same --run_dir, on a shared "
            "disk; if they have it, start all of them again."
        )


@contextlib.contextmanager
def chief_first(strategy: Strategy | None) -> Iterator[None]:
    """Lets the chief through a block before the other workers."""
    chief = is_chief(strategy)
    if not chief:
        wait_for_all(strategy)
    yield
    if chief:
        wait_for_all(strategy)


@contextlib.contextmanager
def worker_errors(strategy: Strategy | None) -> Iterator[None]:
    """Says in a line that another worker is gone."""
    try:
        yield
    except _LOST as error:
        if num_workers(strategy) == 1:
            raise
        # Iterators in these frames would block the end of the process.
        traceback.clear_frames(error.__traceback__)
        number = strategy.cluster_resolver.task_id
        lost = set(map(int, _TASK.findall(error.message))) - {number}
        name = f"worker {min(lost)}" if lost else "another worker"
        raise WorkerLost(
            f"Worker {number} of {num_workers(strategy)} has lost {name}. "
            "Start all workers again with the same commands: the run goes on "
            "from its last checkpoint."
        ) from error
