"""The one loop of search and training, the one `tf.function` of their steps."""

import contextlib
import inspect
import signal
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import tensorflow as tf
from absl import logging

_OPTIMIZER_OFF = "disable_meta_optimizer"


class Interrupted(SystemExit):
    """A signal ended the run after a whole step; exits with 128 + signal."""

    def __init__(self, number: int, step: int, total_steps: int):
        super().__init__(128 + number)
        self.step = step
        self.message = (
            f"Stopped by {signal.Signals(number).name} after step {step} of "
            f"{total_steps}. The same command resumes the run."
        )

    def __str__(self) -> str:
        return self.message


def run_steps(
    step_fn: Callable[..., dict[str, tf.Tensor]],
    batches: Iterable[Any],
    *,
    first_step: int,
    total_steps: int,
    triggers: Sequence[Callable] = (),
    strategy: tf.distribute.Strategy | None = None,
) -> dict[str, float]:
    """Feeds batches to `step_fn`; saving, logging, evaluating are triggers.

    TensorFlow does not rewrite the graph meanwhile: for X3D-S that takes 12 s,
    as tracing does, and steps are no faster.

    Args:
        step_fn: `step_fn(*batch) -> {name: scalar}`. If its first parameter
            is called `step` it also gets the number of steps done before this
            one, an int64 scalar: 0 in the first step.
        batches: A `tf.data.Dataset` or iterable of tuples, beginning with the
            batch of step `first_step`. A dataset is distributed if `strategy`
            is given; an iterable must hold what the strategy expects.
        first_step: Steps done already: what `restore_latest` returned.
        total_steps: Steps when the run is complete.
        triggers: Each is called `trigger(step, metrics)` after a step, `step`
            counting it: 1 after the first. Metrics are tensors; look at them
            only when needed, for that waits for the device. See triggers.py.
        strategy: Runs `step_fn` in each replica and averages the metrics.
            Losses must be divided by the number of replicas, as gradients are
            summed.

    Returns:
        The metrics of the last step as floats; empty if there was none.

    Raises:
        Interrupted: SIGINT or SIGTERM came; triggers have saved.
        ValueError: If the batches end before `total_steps`.
    """
    if not 0 <= first_step <= total_steps:
        raise ValueError(
            "`first_step` must lie between 0 and `total_steps`. Received: "
            f"first_step={first_step}, total_steps={total_steps}."
        )
    if first_step == total_steps:
        return {}
    if strategy and isinstance(batches, tf.data.Dataset):
        batches = strategy.experimental_distribute_dataset(batches)
    compiled_step = compile_step(step_fn, strategy)
    batches, step, metrics = iter(batches), first_step, {}
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(_catch_signals())
        stack.enter_context(_without_grappler())
        for trigger in triggers:
            stack.callback(_call, trigger, "close")
            _call(trigger, "begin", first_step, total_steps)
        while step < total_steps and not stop:
            batch = _next_batch(batches, step, total_steps)
            metrics = compiled_step(tf.constant(step, tf.int64), *batch)
            step += 1
            for trigger in triggers:
                trigger(step, metrics)
        for trigger in triggers:
            _call(trigger, "end", step, metrics)
        if stop:
            raise Interrupted(stop[0], step, total_steps)
    return {name: float(value) for name, value in metrics.items()}


def compile_step(
    step_fn: Callable[..., Any],
    strategy: tf.distribute.Strategy | None = None,
) -> Callable[..., Any]:
    """Returns `compiled(step, *batch)`, traced once per shape of batch.

    Evaluation uses this too, with any int64 scalar for `step`.

    Args:
        step_fn: See `run_steps`; here it may return any nest of tensors. Its
            `if` and `for` are Python's: tensors need `tf.cond`, `tf.foldl`.
        strategy: Runs `step_fn` in each replica; what is returned is the mean.
    """
    takes_step = next(iter(inspect.signature(step_fn).parameters), "") == "step"

    def one_step(step, *batch):
        arguments = (step, *batch) if takes_step else batch
        if strategy is None:
            return step_fn(*arguments)
        per_replica = strategy.run(step_fn, args=arguments)
        return tf.nest.map_structure(
            lambda value: strategy.reduce(
                tf.distribute.ReduceOp.MEAN, value, axis=None
            ),
            per_replica,
        )

    # Without AutoGraph, which would rewrite all that a step calls: loops and
    # conditions are TensorFlow's own.
    return tf.function(one_step, reduce_retracing=True, autograph=False)


def _next_batch(batches, step, total_steps):
    try:
        batch = next(batches)
    except StopIteration:
        raise ValueError(
            f"`batches` must last for {total_steps} steps. Received: batches "
            f"that end after step {step}."
        ) from None
    return batch if isinstance(batch, (tuple, list)) else (batch,)


def _call(trigger, name, *arguments):
    method = getattr(trigger, name, None)
    if method is not None:
        method(*arguments)


@contextlib.contextmanager
def _catch_signals():
    """Yields a list that the first SIGINT or SIGTERM is appended to.

    The second one acts as it did before.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}

    def restore():
        for number, handler in before.items():
            signal.signal(number, handler)

    def receive(number, frame):
        del frame
        received.append(number)
        restore()
        logging.warning(
            "%s: stopping after this step; once more stops at once.",
            signal.Signals(number).name,
        )

    for number in numbers:
        signal.signal(number, receive)
    try:
        yield received
    finally:
        restore()


@contextlib.contextmanager
def _without_grappler():
    before = tf.config.optimizer.get_experimental_options()
    off = before.get(_OPTIMIZER_OFF, False)
    tf.config.optimizer.set_experimental_options({_OPTIMIZER_OFF: True})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({_OPTIMIZER_OFF: off})
