"""Writes checkpoints that `torch.load(weights_only=True)` reads."""

import os
import pathlib
import struct
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from autox3d_tf.base import files as files_lib
from autox3d_tf.models import torch_file

_STORAGE_OF = {dtype: name for name, (dtype, _) in torch_file.STORAGES.items()}
_DATE = (1980, 1, 1, 0, 0, 0)  # equal weights make equal files


def write(path: str | os.PathLike, value: Mapping[str, Any]) -> None:
    """Writes nested dicts of arrays, numbers and text, whole or not at all.

    Args:
        path: Usually ends in .pyth.
        value: Leaves are NumPy arrays (which become tensors), int, float,
            bool, str or None.
    """
    path = pathlib.Path(path)
    writer = _Pickle()
    writer.value(value)
    with (
        files_lib.whole(path) as partial,
        zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive,
    ):

        def add(name, data):
            archive.writestr(
                zipfile.ZipInfo(f"{path.stem}/{name}", _DATE), data
            )

        add("data.pkl", b"\x80\x02" + b"".join(writer.parts) + b".")
        add("byteorder", b"little")
        for key, array in enumerate(writer.arrays):
            add(f"data/{key}", array.tobytes())
        add("version", b"3\n")


class _Pickle:
    """Instructions of a pickle (protocol 2), and the arrays it refers to."""

    def __init__(self):
        self.parts: list[bytes] = []
        self.arrays: list[np.ndarray] = []

    def value(self, value: Any) -> None:
        """Appends what builds `value`."""
        if value is None:
            self.parts.append(b"N")
        elif isinstance(value, bool):
            self.parts.append(b"\x88" if value else b"\x89")
        elif isinstance(value, int):
            self._int(value)
        elif isinstance(value, float):
            self.parts.append(b"G" + struct.pack(">d", value))
        elif isinstance(value, str):
            text = value.encode()
            self.parts.append(b"X" + struct.pack("<I", len(text)) + text)
        elif isinstance(value, Mapping):
            self._mapping(value)
        elif isinstance(value, tuple):
            self._tuple(value)
        elif isinstance(value, np.ndarray):
            self._tensor(value)
        else:
            raise ValueError(
                "`value` must be made of dicts, arrays, numbers and text. "
                f"Received: a {type(value).__name__}."
            )

    def _int(self, value: int) -> None:
        if -(2**31) <= value < 2**31:
            self.parts.append(b"J" + struct.pack("<i", value))
        else:
            data = value.to_bytes(value.bit_length() // 8 + 1, "little",
                                  signed=True)  # fmt: skip
            self.parts.append(b"\x8a" + bytes([len(data)]) + data)

    def _mapping(self, value: Mapping[str, Any]) -> None:
        self.parts.append(b"}(")
        for key, entry in value.items():
            self.value(key)
            self.value(entry)
        self.parts.append(b"u")

    def _tuple(self, value: tuple) -> None:
        self.parts.append(b"(")
        for entry in value:
            self.value(entry)
        self.parts.append(b"t")

    def _tensor(self, array: np.ndarray) -> None:
        """_rebuild_tensor_v2(storage, 0, shape, strides, False, {})."""
        array = np.asarray(array, array.dtype.newbyteorder("<"), order="C")
        name = _STORAGE_OF.get(array.dtype.name)
        if name is None:
            raise ValueError(
                f"`value` must hold arrays of {sorted(_STORAGE_OF)}. "
                f"Received: {array.dtype.name}."
            )
        strides = tuple(s // array.itemsize for s in array.strides)
        self.parts.append(b"ctorch._utils\n_rebuild_tensor_v2\n((")
        self.value("storage")
        self.parts.append(b"ctorch\n" + name.encode() + b"\n")
        self.value(str(len(self.arrays)))
        self.value("cpu")
        self.value(array.size)
        self.parts.append(b"tQ")
        for entry in (0, array.shape, strides, False, {}):
            self.value(entry)
        self.parts.append(b"tR")
        self.arrays.append(array)
