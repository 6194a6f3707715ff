"""What a scan has examined so far, so that a stopped one goes on."""

import dataclasses
import json
import os
import pathlib
import threading

from autox3d_tf.data import manifest as manifest_lib

UNREADABLE = "cannot be read"  # how a detail begins that may pass: an OSError


class ScanLog:
    """Examined rows, a line of a file each, for as long as the scan takes.

    A line counts if the video is still the same file and the same is asked.
    What the system did not let us read is examined again.

    Args:
        path: The file; None keeps nothing.
        *asked: What else the result depends on, JSON types.
    """

    def __init__(self, path: str | os.PathLike | None, *asked):
        self._path = None if path is None else pathlib.Path(path)
        self._asked = asked
        self._lock = threading.Lock()
        self._rows: dict[str, manifest_lib.ClipRow] = {}
        if self._path is None or not self._path.exists():
            return
        for line in self._path.read_text(encoding="utf-8").splitlines():
            try:
                key, row = json.loads(line)
                self._rows[key] = manifest_lib.ClipRow(**row)
            except (ValueError, TypeError):  # it was stopped while writing
                continue

    def find(self, row: manifest_lib.ClipRow, video: str):
        """Returns what was found out about a row's video; None if nothing."""
        return self._rows.get(self._key(row, video))

    def add(self, row: manifest_lib.ClipRow, video: str, examined) -> None:
        """Keeps what was found out about a row's video."""
        if self._path is None or examined.detail.startswith(UNREADABLE):
            return
        line = json.dumps([self._key(row, video), dataclasses.asdict(examined)])
        with self._lock:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(f"\n{line}")  # after half a line, too

    def _key(self, row, video) -> str:
        try:
            facts = os.stat(video)
            stamp = (facts.st_size, facts.st_mtime_ns)
        except OSError:
            stamp = ()
        asked = (os.path.abspath(video), row.cells(), stamp, self._asked)
        return json.dumps(asked)
