"""Per-view logits on disk: another way to fuse them costs no second pass."""

import os
import pathlib

import numpy as np
from absl import logging

from autox3d_tf.base import files as files_lib
from autox3d_tf.models import weight_file


def write(path: str | os.PathLike, identity: str, logits, **about) -> None:
    """Writes logits `(clips, views, classes)`.

    Args:
        path: Of the file.
        identity: See `read`.
        logits: Float32.
        **about: Arrays of what else a reader of the file should know.
    """
    with files_lib.whole(path) as partial, open(partial, "wb") as file:
        # Not compressed: logits are noise.
        np.savez(file, identity=np.array(identity), logits=logits, **about)


def read(path: str | os.PathLike, identity: str) -> np.ndarray | None:
    """Returns the logits, or None if they are of something else.

    Args:
        path: A file of `write`.
        identity: Says weights, clips and protocol; must be what was written.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            if str(file["identity"]) == identity:
                return file["logits"]
    except weight_file.DAMAGE as e:
        logging.warning("%s is damaged (%s): evaluating anew.", path, e)
        return None
    logging.info("%s is of other weights or views: evaluating anew.", path)
    return None


def part_path(path: str | os.PathLike, first: int) -> pathlib.Path:
    """Returns the file of the logits from the clip numbered `first` on."""
    path = pathlib.Path(path)
    return path.with_name(f"{path.stem}.part{first}{path.suffix}")


def parts(path: str | os.PathLike) -> list[pathlib.Path]:
    """Returns all such files that are there."""
    path = pathlib.Path(path)
    return list(path.parent.glob(f"{path.stem}.part*{path.suffix}"))
