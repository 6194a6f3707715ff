"""The learning curve of a run, kept through interruptions."""

import json
import os
import pathlib
from typing import Any

from autox3d_tf.runs import run_dir


class Curve:
    """Points `{"step": ..., name: value}`, one JSON object per line.

    Args:
        path: Of the file.
        first_step: Where the run (re)starts: later points, of steps whose
            weights were lost, are dropped.
    """

    def __init__(self, path: str | os.PathLike, first_step: int = 0):
        self.path = pathlib.Path(path)
        self.points = [p for p in self._read() if p["step"] <= first_step]
        text = "".join(json.dumps(point) + "\n" for point in self.points)
        run_dir.write_text(self.path, text)

    def add(self, step: int, values: dict[str, float]) -> None:
        """Appends a point; usable as the function of a trigger."""
        point = {"step": step, **{k: float(v) for k, v in values.items()}}
        self.points.append(point)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(point) + "\n")

    def last(self, name: str) -> float | None:
        """Returns the newest value of that name."""
        values = [p[name] for p in self.points if name in p]
        return values[-1] if values else None

    def _read(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        points = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                points.append(json.loads(line))
            except ValueError:  # the line at which the process was killed
                continue
        return points
