"""What happens beside the steps: saving, logging, guarding.

A trigger is a callable `trigger(step, metrics)`; `step` counts the steps done.
It may have `begin(first_step, total_steps)`, `end(step, metrics)` (the run is
complete or was interrupted) and `close()` (always, also after an error).
The loop calls triggers in the order given: put NanGuard first.
"""

import math
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from autox3d_tf.runs import checkpoints as checkpoints_lib

_GUARD_STEPS = 20


class Every:
    """Calls `fn(step, metrics)` every so many steps or seconds.

    Args:
        fn: The function. Its metrics are floats.
        steps: Call when the step is a multiple of this.
        secs: Or call when so many seconds have passed since the last call.
        at_end: Also call at the last step of the run, if not just done.
    """

    def __init__(
        self,
        fn: Callable[[int, dict[str, float]], Any],
        *,
        steps: int | None = None,
        secs: float | None = None,
        at_end: bool = False,
    ):
        if (steps is None) == (secs is None):
            raise ValueError(
                "Exactly one of `steps` and `secs` must be given. Received: "
                f"steps={steps}, secs={secs}."
            )
        if (secs if steps is None else steps) <= 0:
            raise ValueError(
                "`steps` or `secs` must be positive. Received: "
                f"steps={steps}, secs={secs}."
            )
        self.fn, self.steps, self.secs, self.at_end = fn, steps, secs, at_end
        self._last_time = time.monotonic()
        self._last_step: int | None = None

    def is_due(self, step: int) -> bool:
        """Returns whether to act after this step."""
        if self.steps is not None:
            return step % self.steps == 0
        return time.monotonic() - self._last_time >= self.secs

    def begin(self, first_step: int, total_steps: int) -> None:
        del total_steps
        self._last_time, self._last_step = time.monotonic(), first_step

    def __call__(self, step: int, metrics: dict[str, tf.Tensor]) -> None:
        if self.is_due(step):
            self._act(step, metrics)

    def end(self, step: int, metrics: dict[str, tf.Tensor]) -> None:
        if self.at_end and step != self._last_step:
            self._act(step, metrics)

    def _act(self, step, metrics):
        self.fn(step, as_floats(metrics))
        self._last_time, self._last_step = time.monotonic(), step


class NanGuard:
    """Stops the run when a metric is NaN or infinite, naming the step.

    It collects the metrics and looks at them every `steps` steps, so that the
    device is not waited for at each. Weights that became NaN are never saved
    in the meantime: `Checkpoints.save` looks at them itself.

    A step's loss comes from the weights before it, so the weights are NaN
    after the step before the one named, or after the one named.

    Args:
        steps: How often to look.
        checkpoints: If given, the message says which checkpoint is the last.
    """

    def __init__(
        self,
        steps: int = _GUARD_STEPS,
        checkpoints: checkpoints_lib.Checkpoints | None = None,
    ):
        if steps < 1:
            raise ValueError(f"`steps` must be at least 1. Received: {steps=}.")
        self.steps, self.checkpoints = steps, checkpoints
        self._pending: list[tuple[int, dict[str, tf.Tensor]]] = []

    def __call__(self, step: int, metrics: dict[str, tf.Tensor]) -> None:
        self._pending.append((step, metrics))
        if step % self.steps == 0:
            self.check()

    def end(self, step: int, metrics: dict[str, tf.Tensor]) -> None:
        del step, metrics
        self.check()

    def check(self) -> None:
        """Looks at what has been collected."""
        pending, self._pending = self._pending, []
        for step, metrics in pending:
            for name, value in as_floats(metrics).items():
                if not np.isfinite(value):
                    raise checkpoints_lib.NonFiniteError(
                        self._message(step, name, value)
                    )

    def _message(self, step, name, value):
        message = f"{name} became {value} in step {step}."
        if self.checkpoints is not None:
            message += " " + self.checkpoints.last_good()
        return message + " Try a lower learning rate or gradient clipping."


class SaveCheckpoint(Every):
    """Saves every so many steps or seconds, and when the run ends or stops."""

    def __init__(
        self,
        checkpoints: checkpoints_lib.Checkpoints,
        *,
        steps: int | None = None,
        secs: float | None = None,
        guard: NanGuard | None = None,
    ):
        super().__init__(self._save, steps=steps, secs=secs, at_end=True)
        self.checkpoints, self.guard = checkpoints, guard

    def _save(self, step, metrics):
        del metrics
        if self.guard is not None:
            self.guard.check()  # it can name the step, `save` cannot
        self.checkpoints.save(step)


class WriteScalars(Every):
    """Writes the metrics for TensorBoard every so many steps."""

    def __init__(self, directory, steps: int = 10):
        super().__init__(self.write, steps=steps, at_end=True)
        self.directory, self._writer = os.fspath(directory), None

    def write(self, step: int, metrics: dict[str, tf.Tensor]) -> None:
        """Writes metrics now, those of other triggers too."""
        with self._open().as_default():
            for name, value in metrics.items():
                tf.summary.scalar(name, value, step=step)

    def write_text(self, step: int, name: str, text: str) -> None:
        """Writes Markdown now."""
        with self._open().as_default():
            tf.summary.text(name, text, step=step)

    def _open(self):
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(self.directory)
        return self._writer

    def end(self, step: int, metrics: dict[str, tf.Tensor]) -> None:
        super().end(step, metrics)
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class Progress:
    """Shows step, metrics, rate and time left.

    On a terminal it is one line, rewritten; elsewhere a log line now and then.
    """

    def __init__(self, *, secs: float | None = None, stream=None):
        self._stream = sys.stderr if stream is None else stream
        self._terminal = self._stream.isatty()
        self.secs = (0.5 if self._terminal else 10) if secs is None else secs
        self._line_open = False

    def begin(self, first_step: int, total_steps: int) -> None:
        self._total = total_steps
        self._last = time.monotonic()
        self._start = None  # set after the first step, which traces
        self._first = first_step + 1
        self._show(f"step {self._first}/{total_steps}: tracing")

    def __call__(self, step: int, metrics: dict[str, tf.Tensor]) -> None:
        now = time.monotonic()
        if self._start is None:
            self._start = now
        if now - self._last >= self.secs or step == self._total:
            self._last = now
            self._show(self.line(step, as_floats(metrics), now - self._start))

    def line(self, step: int, metrics: dict[str, float], seconds: float) -> str:
        """Returns the line for a step that came `seconds` after the first."""
        parts = [f"step {step}/{self._total}"]
        parts += [f"{name} {value:.4g}" for name, value in metrics.items()]
        done = step - self._first
        if done > 0 and seconds > 0:
            rate = done / seconds
            left = (self._total - step) / rate
            parts += [f"{rate:.3g} steps/s", f"{duration(left)} left"]
        return "  ".join(parts)

    def _show(self, line):
        if self._terminal:
            self._stream.write(f"\r{line}\x1b[K")
            self._stream.flush()
            self._line_open = True
        else:
            logging.info("%s", line)

    def close(self) -> None:
        if self._line_open:
            self._stream.write("\n")
            self._line_open = False


def usual(
    summaries: str | os.PathLike,
    checkpoints: checkpoints_lib.Checkpoints,
    *,
    save_secs: float = 300,
    save_steps: int | None = None,
    log_steps: int = 10,
) -> list[Callable]:
    """Returns the triggers of an ordinary run, in order.

    Args:
        summaries: Directory for TensorBoard.
        checkpoints: What is saved.
        save_secs: Seconds between checkpoints, if `save_steps` is not given.
        save_steps: Steps between checkpoints.
        log_steps: Steps between scalars for TensorBoard.
    """
    # It looks before anything is logged, too: NaN is no JSON.
    guard = NanGuard(math.gcd(_GUARD_STEPS, log_steps), checkpoints)
    every = {"steps": save_steps} if save_steps else {"secs": save_secs}
    return [
        guard,
        WriteScalars(summaries, log_steps),
        Progress(),
        SaveCheckpoint(checkpoints, guard=guard, **every),
    ]


def duration(seconds: float) -> str:
    """Writes a time span for people.

    >>> duration(7), duration(75), duration(3700)
    ('7s', '1m15s', '1h01m')
    """
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds}s"
    if seconds < 3600:
        return f"{seconds // 60}m{seconds % 60:02d}s"
    return f"{seconds // 3600}h{seconds % 3600 // 60:02d}m"


def as_floats(metrics: dict[str, Any]) -> dict[str, float]:
    """Returns the metrics as Python floats; waits for the device."""
    return {name: float(value) for name, value in metrics.items()}
