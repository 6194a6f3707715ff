"""The learning curve of a run, kept through interruptions."""

import os
import pathlib

from autox3d_tf.runs import json_lines


class Curve:
    """Points `{"step": ..., name: value}`, one JSON object per line.

    Args:
        path: Of the file.
        first_step: Where the run (re)starts: later points, of steps whose
            weights were lost, are dropped.
    """

    def __init__(self, path: str | os.PathLike, first_step: int = 0):
        self.path = pathlib.Path(path)
        self.points = json_lines.resume(self.path, first_step)

    def add(self, step: int, values: dict[str, float]) -> None:
        """Appends a point; usable as the function of a trigger."""
        point = {"step": step, **{k: float(v) for k, v in values.items()}}
        self.points.append(point)
        json_lines.append(self.path, point)
