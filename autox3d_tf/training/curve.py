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
        writes: Whether this process keeps the file. The workers of a run
            beside its chief have the same points in memory.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        first_step: int = 0,
        writes: bool = True,
    ):
        self.path, self.writes = pathlib.Path(path), writes
        self.points = json_lines.resume(self.path, first_step, writes)

    def add(self, step: int, values: dict[str, float]) -> None:
        """Appends a point; usable as the function of a trigger."""
        point = {"step": step, **{k: float(v) for k, v in values.items()}}
        self.points.append(point)
        if self.writes:
            json_lines.append(self.path, point)
