"""The history of a search, as lines of JSON that a report can draw."""

import json
import os
import pathlib
from collections.abc import Callable, Sequence

import tensorflow as tf

from autox3d_tf.space import search_space

FILE = "search_history.jsonl"


class History:
    """Appends metrics and the probabilities of all choices.

    Args:
        path: The file. What it says of steps after `first_step` is dropped,
            as a resumed run takes them again.
        first_step: Steps that are done.
        probabilities: Returns them, one list per choice.
        counts: Returns further numbers for a line, by name.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        first_step: int,
        probabilities: Callable[[int], Sequence],
        counts: Callable[[], dict[str, int]],
    ):
        self.path = pathlib.Path(path)
        self._probabilities, self._counts = probabilities, counts
        kept = [x for x in read_history(self.path) if x["step"] <= first_step]
        text = "".join(_line(entry) for entry in kept)
        partial = self.path.with_name(f".{self.path.name}.tmp")
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, self.path)

    def add(self, step: int, metrics: dict[str, float]) -> None:
        """Appends a line for the step."""
        entry = {
            "step": step,
            **{name: float(f"{x:.6g}") for name, x in metrics.items()},
            **self._counts(),
            "probabilities": [
                [round(float(p), 5) for p in row]
                for row in self._probabilities(step)
            ],
        }
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(_line(entry))


def _line(entry):
    return json.dumps(entry) + "\n"


def read_history(path: str | os.PathLike) -> list[dict]:
    """Returns the lines; what a killed process left unfinished is dropped."""
    path = pathlib.Path(path)
    if not path.is_file():
        return []
    entries = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entries.append(json.loads(line))
        except ValueError:
            break
    return entries


class WriteChoices:
    """Writes the most probable candidates as a table for TensorBoard."""

    def __init__(
        self,
        directory: str | os.PathLike,
        space: search_space.SearchSpace,
        probabilities: Callable[[int], Sequence],
    ):
        self._writer = tf.summary.create_file_writer(str(directory))
        self._space, self._probabilities = space, probabilities

    def __call__(self, step: int, metrics: dict[str, float]) -> None:
        del metrics
        table = choices_table(self._space, self._probabilities(step))
        with self._writer.as_default():
            tf.summary.text("most_probable_choices", table, step=step)
        self._writer.flush()


def choices_table(
    space: search_space.SearchSpace, probabilities: Sequence
) -> str:
    """Returns a Markdown table: choice, best candidate, its probability."""
    lines = ["| choice | candidate | probability |", "|---|---|---|"]
    for choice, row in zip(space.choices, probabilities, strict=True):
        best = max(range(len(row)), key=lambda i: row[i])
        lines.append(
            f"| {choice.name} | {choice.candidates[best]} | {row[best]:.2f} |"
        )
    return "\n".join(lines)
