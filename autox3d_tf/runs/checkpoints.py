"""Checkpoints of a run, safe against being killed at any moment.

A checkpoint is a folder `step_00000100/` with TensorFlow's data and index files
and `about.json`. It is written under another name and renamed when it is whole.
"""

import contextlib
import os
import pathlib
import re
import shutil
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from autox3d_tf.base import files as files_lib
from autox3d_tf.runs import determinism, run_dir

_NAME = re.compile(r"step_(\d{8,})")
_DAMAGE = (tf.errors.OpError, OSError, ValueError, LookupError, RuntimeError,
           TypeError, AttributeError)  # fmt: skip


class NonFiniteError(ValueError):
    """Weights or metrics became NaN or infinite."""


class Checkpoints:
    """Saves and restores the state of a run.

    Keras objects are stored by their `variables`, in order, so that the state
    of dropout's random numbers is kept too: Keras 3 does not show it to
    `tf.train.Checkpoint`.

    Args:
        directory: Where the checkpoints lie; made if missing.
        objects: By name, Keras models, layers and optimizers (all built),
            `tf.Variable`s, or lists of these.
        keep: How many of the newest checkpoints to keep.
        identity: What the checkpoints belong to (fingerprints, seed).
            Checkpoints of another identity are refused.
        writes: Whether this process saves. The workers of a run beside its
            chief only read.
        partial: Whether checkpoints to restore may hold more than `objects`.

    Raises:
        ValueError: If an object is something else or not built yet, or `keep`
            is below 1.
    """

    def __init__(
        self,
        directory: str | os.PathLike,
        objects: Mapping[str, Any],
        keep: int = 3,
        identity: Mapping[str, Any] | None = None,
        writes: bool = True,
        partial: bool = False,
    ):
        if keep < 1:
            raise ValueError(f"`keep` must be at least 1. Received: {keep=}.")
        self.directory = pathlib.Path(directory)
        self.keep, self.writes, self.partial = keep, writes, partial
        self._damaged: set[int] = set()
        self.identity = files_lib.to_json(identity or {})
        self._variables = {n: _variables(n, o) for n, o in objects.items()}
        self._checkpoint = tf.train.Checkpoint(**self._variables)
        if writes:
            self.directory.mkdir(parents=True, exist_ok=True)
            for leftover in self.directory.glob(".partial_*"):
                shutil.rmtree(leftover, ignore_errors=True)

    def steps(self) -> list[int]:
        """Returns the steps that have a checkpoint, oldest first."""
        if not self.directory.is_dir():
            return []
        names = (_NAME.fullmatch(p.name) for p in self.directory.iterdir())
        return sorted(int(name[1]) for name in names if name)

    def path(self, step: int) -> pathlib.Path:
        """Returns the folder of the checkpoint of `step`."""
        return self.directory / f"step_{step:08d}"

    def save(self, step: int) -> pathlib.Path:
        """Saves after `step` steps; drops the oldest beyond `keep`.

        Later ones, which `restore_latest` has skipped, go as well.

        Raises:
            NonFiniteError: If a weight is NaN or infinite; nothing is saved.
        """
        self.check_finite(step)
        final = self.path(step)
        if not self.writes:
            return final
        partial = self.directory / f".partial_{os.getpid()}_{step}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        with _quiet():
            self._checkpoint.write(str(partial / "state"))
        about = {
            "step": step,
            "identity": self.identity,
            "layout": self._layout(),
            "threads": determinism.num_threads(),
        }
        files_lib.write_json(partial / "about.json", about)
        shutil.rmtree(final, ignore_errors=True)
        os.replace(partial, final)
        steps = self.steps()
        good = steps[: steps.index(step) + 1]  # later ones were damaged
        for old in {*steps} - {*good[-self.keep :]}:
            shutil.rmtree(self.path(old), ignore_errors=True)
        self._damaged.clear()
        return final

    def restore_latest(self) -> int:
        """Restores the newest good checkpoint; returns its step, 0 if none.

        Raises:
            ValueError: If the checkpoint belongs to something else, or if
                all checkpoints are damaged.
        """
        steps = self.steps()
        for step in reversed(steps):
            try:
                self.restore(step)
            except _Damaged as error:
                logging.warning("Skipping a damaged checkpoint: %s", error)
                self._damaged.add(step)
                continue
            return step
        if steps:
            raise ValueError(
                f"All {len(steps)} checkpoints in {self.directory} are "
                "damaged. Remove them to start the run again."
            )
        return 0

    def restore(self, step: int) -> None:
        """Restores the checkpoint of `step`."""
        folder = self.path(step)
        try:
            about = files_lib.read_json(folder / "about.json", "a checkpoint")
            identity, layout = about["identity"], about["layout"]
        except _DAMAGE as error:
            raise _Damaged(f"{folder}: {_first_line(error)}") from None
        if self.partial:
            layout = {n: v for n, v in layout.items() if n in self._variables}
        changes = run_dir.differences(identity, self.identity)
        changes += _layout_differences(layout, self._layout())
        if changes:
            raise ValueError(
                f"The checkpoint {folder} belongs to something else: "
                f"{'; '.join(changes)}."
            )
        try:
            status = self._checkpoint.read(str(folder / "state"))
            if self.partial:
                status.assert_existing_objects_matched()
                status.expect_partial()
            else:
                status.assert_consumed()
        except (*_DAMAGE, AssertionError) as error:
            raise _Damaged(f"{folder}: {_first_line(error)}") from None
        if about.get("threads") != determinism.num_threads():
            logging.warning(
                "%s was saved with %s CPU threads, this process has %s: "
                "results agree, but not to the last bit.",
                folder,
                about.get("threads"),
                determinism.num_threads(),
            )

    def check_finite(self, step: int) -> None:
        """Raises NonFiniteError, naming the variable, if one is not finite."""
        for name, variables in self._variables.items():
            for variable in variables:
                if not variable.dtype.is_floating:
                    continue
                # A NaN or infinite value makes the sum so, at no extra memory.
                if not np.isfinite(np.sum(variable.numpy(), dtype="float64")):
                    raise NonFiniteError(
                        f"{name} is not finite after step {step}: "
                        f"{variable.name} has NaN or infinite values. "
                        f"{self.last_good()}"
                    )

    def last_good(self) -> str:
        """Says in a sentence which checkpoint is the last."""
        steps = [step for step in self.steps() if step not in self._damaged]
        if not steps:
            return "There is no checkpoint before it."
        return f"The last checkpoint, of step {steps[-1]}, is kept."

    def _layout(self) -> dict[str, list[str]]:
        """Shape and dtype of each variable, to name what does not fit."""
        return {
            name: [f"{v.dtype.name}{list(v.shape)}" for v in variables]
            for name, variables in self._variables.items()
        }


class _Damaged(Exception):
    """The files of a checkpoint cannot be read."""


def _variables(name: str, thing: Any) -> list[tf.Variable]:
    """Returns the variables in an object."""
    if hasattr(thing, "read_value"):  # a tf.Variable, distributed or not
        return [thing]
    if isinstance(thing, (list, tuple)):
        return sum((_variables(name, part) for part in thing), [])
    if isinstance(thing, keras.Variable):
        return [thing.value]
    keras_types = (keras.layers.Layer, keras.optimizers.Optimizer)
    if not isinstance(thing, keras_types):
        raise ValueError(
            "`objects` may hold variables and Keras objects only. Received: "
            f"{name!r} with {type(thing).__name__}."
        )
    if not thing.built:
        call = "build(model.trainable_variables)"
        if isinstance(thing, keras.layers.Layer):
            call = "build(shape)"
        raise ValueError(
            f"`objects` must be built, or restoring would miss them. "
            f"Received: {name!r}, not built. Call its {call} first."
        )
    return [variable.value for variable in thing.variables]


def _layout_differences(there: dict, here: dict) -> list[str]:
    found = []
    for name in sorted(there.keys() | here.keys()):
        old, new = there.get(name, []), here.get(name, [])
        if len(old) != len(new):
            found.append(
                f"{name} has {len(old)} variables there, {len(new)} here"
            )
            continue
        for i, (old_one, new_one) in enumerate(zip(old, new, strict=True)):
            if old_one != new_one:
                found.append(
                    f"variable {i} of {name} is {old_one} there, {new_one} here"
                )
                break
    return found


@contextlib.contextmanager
def _quiet():
    """Drops what TensorFlow says of itself at each save."""
    before = logging.get_verbosity()
    logging.set_verbosity(min(before, logging.WARNING))
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0]
