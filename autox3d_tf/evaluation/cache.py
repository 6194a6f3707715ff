"""Per-view logits on disk: another way to fuse them costs no second pass."""

import os
import pathlib

import numpy as np
from absl import logging

from autox3d_tf.base import files as files_lib
from autox3d_tf.models import weight_file


def write(
    path: str | os.PathLike, identity: str, logits, labels, paths
) -> None:
    """Writes logits `(clips, views, classes)` with labels and clip names."""
    with files_lib.whole(path) as partial, open(partial, "wb") as file:
        np.savez(  # logits are noise to a compressor
            file,
            identity=np.array(identity),
            logits=logits,
            labels=labels,
            paths=np.array(list(paths)),
        )


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
