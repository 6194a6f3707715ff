"""Which classes networks say clips are of; a test that stopped goes on."""

import pathlib
import shutil
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import logging

from autox3d_edge import parity
from autox3d_tf.base import files as files_lib
from autox3d_tf.base import progress
from autox3d_tf.runs import run_dir as run_dir_lib

_FOLDER = "tested"
_SAVE_SECONDS = 30.0


class LabelCache:
    """Labels that networks give to the same clips; kept while they are found.

    Args:
        clips: uint8 clips `(T, H, W, 3)`.
        identity: What clips these are, JSON types.
        folder: Of the run; labels are kept in a folder in it, until `forget`.
    """

    def __init__(
        self, clips: Sequence[np.ndarray], identity: Any, folder: pathlib.Path
    ):
        self._clips, self._identity = clips, identity
        self._folder = pathlib.Path(folder, _FOLDER)

    def labels(
        self, scorer: parity.Scorer, network: str, title: str
    ) -> np.ndarray:
        """Returns class numbers `(clips,)`; goes on with those that are kept.

        Args:
            scorer: The network.
            network: Says which it is, such as a hash of its weights.
            title: Says so to people.
        """
        path = self._path(network)
        found = self._read(path)
        rest = range(len(found), len(self._clips))
        saved = time.monotonic()
        try:
            for number in progress.bar(
                rest,
                title=f"test of {title}",
                unit="clip",
                total=len(self._clips),
                known=len(found),
            ):
                found.append(int(scorer(self._clips[number]).argmax()))
                if time.monotonic() - saved > _SAVE_SECONDS:
                    files_lib.write_json(path, found)
                    saved = time.monotonic()
        finally:
            if rest:
                files_lib.write_json(path, found)
        return np.array(found, int)

    def forget(self) -> None:
        """Removes what is kept."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, network):
        name = run_dir_lib.fingerprint_of([self._identity, network])
        return self._folder / f"{name}.json"

    def _read(self, path) -> list[int]:
        if not path.is_file():
            return []
        try:
            found = files_lib.read_json(path, "labels")
        except ValueError as error:
            logging.warning("Tested anew: %s", error)
            return []
        fits = isinstance(found, list) and len(found) <= len(self._clips)
        return found if fits else []
