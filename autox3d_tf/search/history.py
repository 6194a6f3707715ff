"""The history of a search, as lines of JSON that a report can draw."""

import os
import pathlib
from collections.abc import Callable, Sequence

from autox3d_tf.runs import json_lines
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
        every: Lines of steps in between, where a run stopped, are dropped too.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        first_step: int,
        probabilities: Callable[[int], Sequence],
        counts: Callable[[], dict[str, int]],
        every: int = 1,
    ):
        self.path = pathlib.Path(path)
        self._probabilities, self._counts = probabilities, counts
        json_lines.resume(self.path, first_step, every=every)

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
        json_lines.append(self.path, entry)


class WriteChoices:
    """Writes the most probable candidates as a table for TensorBoard.

    Args:
        write_text: Of `triggers.WriteScalars`.
        space: What is searched.
        probabilities: As of `History`.
    """

    def __init__(
        self,
        write_text: Callable[[int, str, str], None],
        space: search_space.SearchSpace,
        probabilities: Callable[[int], Sequence],
    ):
        self._write_text = write_text
        self._space, self._probabilities = space, probabilities

    def __call__(self, step: int, metrics: dict[str, float]) -> None:
        del metrics
        table = choices_table(self._space, self._probabilities(step))
        self._write_text(step, "most_probable_choices", table)


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
