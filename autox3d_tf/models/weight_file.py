"""Named arrays in a .npz file, read without executing anything in it."""

import os
import pathlib
import zipfile
import zlib
from collections.abc import Mapping

import numpy as np

from autox3d_tf.base import files as files_lib

# What numpy and zipfile raise for a file that is not whole.
DAMAGE = (OSError, ValueError, KeyError, EOFError, RuntimeError, zlib.error,
          zipfile.BadZipFile)  # fmt: skip


def save_weights(
    path: str | os.PathLike, values: Mapping[str, np.ndarray]
) -> pathlib.Path:
    """Writes named arrays, whole or not at all; the same bytes each time."""
    with files_lib.whole(path) as partial, open(partial, "wb") as file:
        np.savez(file, **values)
    return pathlib.Path(path)


def load_weights(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads a file of `save_weights`. Raises ValueError if it is damaged."""
    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(f"There is no file of weights {path}.")
    try:
        with np.load(path, allow_pickle=False) as file:
            values = {name: file[name] for name in file.files}
    except DAMAGE as error:
        raise ValueError(
            f"{path} is not a file of weights, or is damaged: {error}."
        ) from None
    except AttributeError:  # a bare .npy array
        raise ValueError(f"{path} is not a file of weights.") from None
    for name, value in values.items():
        if value.dtype.kind != "f" or not np.isfinite(value).all():
            raise ValueError(
                f"{path}: {name} must hold finite numbers. "
                f"Received: {value.dtype} with NaN, infinity or none."
            )
    return values
