"""Reads PyTorch's checkpoint files without PyTorch.

A file is a pickle that describes tensors, and their bytes: a zip archive
(since PyTorch 1.6), or all in one stream before. The pickle is never given
the means to run anything: the instructions it may use and the names it may
mention are listed here, those names stand for objects of this file that hold
numbers only, and whatever else it asks for is refused.
"""

import io
import os
import pathlib
import pickle
import pickletools
import re
import struct
import zipfile
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

# Name of a storage class -> (name of its dtype, NumPy code).
STORAGES = {
    "FloatStorage": ("float32", "f4"),
    "DoubleStorage": ("float64", "f8"),
    "HalfStorage": ("float16", "f2"),
    "BFloat16Storage": ("bfloat16", "u2"),
    "LongStorage": ("int64", "i8"),
    "IntStorage": ("int32", "i4"),
    "ShortStorage": ("int16", "i2"),
    "CharStorage": ("int8", "i1"),
    "ByteStorage": ("uint8", "u1"),
    "BoolStorage": ("bool", "?"),
}
# Instructions that make numbers, text, lists, dicts and tensors. Missing:
# those that call a class (OBJ, INST, NEWOBJ) or name one indirectly (EXT).
_OPCODES = frozenset(
    re.findall(
        r"\w+",
        """
        PROTO FRAME STOP MARK POP POP_MARK DUP NONE NEWTRUE NEWFALSE
        INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT
        STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE
        BINBYTES SHORT_BINBYTES EMPTY_LIST LIST APPEND APPENDS
        EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_DICT DICT SETITEM
        SETITEMS EMPTY_SET ADDITEMS FROZENSET
        PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET
        GLOBAL STACK_GLOBAL REDUCE BUILD BINPERSID
        """,
    )
)
_PUTS = ("PUT", "BINPUT", "LONG_BINPUT")
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_START = b"\x80\x02\x8a\x0al\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
_ZIP_START = b"PK\x03\x04"


class Refused(ValueError):
    """The file is whole, and asks for what it must not."""


class Storage(NamedTuple):
    """A run of numbers in the file."""

    dtype: str
    code: str  # NumPy's, with byte order
    key: str
    size: int  # in numbers
    buffers: Any  # `key -> bytes`

    def read(self) -> np.ndarray:
        """Returns the numbers; bfloat16 becomes float32."""
        data = self.buffers(self.key)
        expected = self.size * np.dtype(self.code).itemsize
        if len(data) != expected:
            raise ValueError(
                f"storage {self.key} has {len(data)} bytes instead of "
                f"{expected}: the file is truncated or damaged"
            )
        values = np.frombuffer(data, self.code)
        if self.dtype == "bfloat16":  # the upper half of a float32
            values = (values.astype(np.uint32) << 16).view(np.float32)
        return values


class Tensor(NamedTuple):
    """A tensor of the file; its numbers are read on demand."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def dtype(self) -> str:
        """Name of the dtype in the file."""
        return self.storage.dtype

    def read(self) -> np.ndarray:
        """Returns the values, checked to lie within the storage."""
        ints = (self.offset, *self.shape, *self.strides)
        if any(type(n) is not int or n < 0 for n in ints) or len(
            self.shape
        ) != len(self.strides):
            raise ValueError(f"a tensor of impossible shape {self.shape}")
        if 0 in self.shape:
            return np.zeros(self.shape, self.storage.read().dtype)
        count = int(np.prod(self.shape, dtype=object))
        last = self.offset + sum(
            (n - 1) * s for n, s in zip(self.shape, self.strides, strict=True)
        )
        if last >= self.storage.size or count > self.storage.size:
            raise ValueError(
                f"a tensor of shape {self.shape} that is larger than its "
                f"{self.storage.size} stored numbers"
            )
        values = self.storage.read()
        view = np.lib.stride_tricks.as_strided(
            values[self.offset :],
            self.shape,
            [s * values.itemsize for s in self.strides],
        )
        return np.array(view)


class _StateDict(dict):
    """Stands for OrderedDict; attributes such as _metadata are dropped."""

    __slots__ = ()

    def __setstate__(self, state):
        pass


class _Inert:
    """A name that a pickle may mention: nothing can be set on it."""

    __slots__ = ("_call", "name")

    def __init__(self, name, call=None):
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "_call", call)

    def __setattr__(self, name, value):
        raise AttributeError(name)

    def __setstate__(self, state):
        raise AttributeError("__setstate__")

    def __call__(self, *args):
        if self._call is None:
            raise Refused(f"a call of {self.name}")
        return self._call(*args)


def _rebuild_tensor(storage, offset, shape, strides, *_):
    if not isinstance(storage, Storage):
        raise Refused("a tensor without storage")
    return Tensor(storage, offset, tuple(shape), tuple(strides))


def _rebuild_parameter(data, *_):
    return data


_KNOWN_NAMES = {
    ("collections", "OrderedDict"): _Inert("OrderedDict", _StateDict),
    ("torch", "Size"): _Inert("torch.Size", tuple),
    **{
        ("torch._utils", name): _Inert(name, call)
        for name, call in (
            ("_rebuild_tensor", _rebuild_tensor),
            ("_rebuild_tensor_v2", _rebuild_tensor),
            ("_rebuild_parameter", _rebuild_parameter),
        )
    },
    **{("torch", name): _Inert(name) for name in STORAGES},
}


class _Unpickler(pickle.Unpickler):
    """Knows the names above and no others."""

    def __init__(self, data: bytes, order: str, buffers, found):
        super().__init__(io.BytesIO(data))
        self.order = order
        self.buffers = buffers
        self.found = found

    def find_class(self, module, name):
        known = _KNOWN_NAMES.get((module, name))
        if known is None:
            raise Refused(
                f"it asks for {module}.{name}, which no state dict needs; "
                "nothing of it was run. If you trust its origin, load it with "
                "PyTorch and save its state dict alone"
            )
        return known

    def persistent_load(self, pid):
        kind, storage, key, _, size = pid[:5]
        if kind != "storage" or getattr(storage, "name", "") not in STORAGES:
            raise Refused(f"it refers to a {kind!r} that is no storage")
        if len(pid) > 5 and pid[5] is not None:
            raise Refused("it holds views of storages (PyTorch 0.3)")
        dtype, code = STORAGES[storage.name]
        found = Storage(dtype, self.order + code, key, size, self.buffers)
        return self.found.setdefault(key, found)


def _load(
    stream: io.BytesIO,
    order: str = "<",
    buffers: Callable[[str], bytes] | None = None,
    found: dict[str, Storage] | None = None,
) -> Any:
    """Reads the pickle that starts here and stays behind it.

    Args:
        stream: Of the file, or of one pickle.
        order: Byte order of the storages.
        buffers: Storage key -> its bytes.
        found: Takes the storages the pickle refers to, by key.
    """
    start, length = stream.tell(), len(stream.getbuffer())
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name not in _OPCODES:
            raise Refused(
                f"its pickle uses {opcode.name}, which no state dict needs; "
                "nothing of it was run"
            )
        if opcode.name in _PUTS and argument > length:
            raise Refused("its pickle numbers objects beyond its length")
    end = stream.tell()
    data = bytes(stream.getbuffer()[start:end])
    found = {} if found is None else found
    return _Unpickler(data, order, buffers, found).load()


def read(path: str | os.PathLike) -> Any:
    """Returns what the file holds, tensors as `Tensor`.

    Raises:
        ValueError: In one line: missing, truncated or damaged, or it asks for
            more than a state dict needs.
    """
    try:
        data = pathlib.Path(path).read_bytes()
    except OSError as error:
        raise ValueError(
            f"Cannot read checkpoint {path}: {error.strerror}."
        ) from error
    try:
        if data.startswith(_ZIP_START):
            return _read_zip(data)
        if data.startswith(_LEGACY_START):
            return _read_stream(io.BytesIO(data))
    except Exception as error:  # a bad pickle can raise anything
        raise ValueError(
            f"Cannot read checkpoint {path}: {_reason(error)}."
        ) from error
    what = "is empty" if not data else f"starts with {data[:4]!r}"
    raise ValueError(
        f"Cannot read checkpoint {path}: it {what} and is no file of "
        "torch.save."
    )


def _reason(error: Exception) -> str:
    if isinstance(error, Refused):
        return str(error)
    detail = " ".join(f"{type(error).__name__}: {error}".split())
    return f"the file is truncated or damaged ({detail})"


def _read_zip(data: bytes) -> Any:
    archive = zipfile.ZipFile(io.BytesIO(data))
    names = set(archive.namelist())
    pickles = [n for n in names if n.split("/", 1)[-1] == "data.pkl"]
    if len(pickles) != 1:
        raise Refused("a zip archive without data.pkl, not of torch.save")
    folder = pickles[0].removesuffix("data.pkl")
    order = b"little"
    if f"{folder}byteorder" in names:
        order = archive.read(f"{folder}byteorder")
    if order not in (b"little", b"big"):
        raise Refused(f"unknown byte order {order!r}")

    def buffers(key):
        try:
            return archive.read(f"{folder}data/{key}")
        except KeyError:
            raise ValueError(f"storage {key} is not in the file") from None
        except Exception as error:  # of zipfile and zlib, various
            raise ValueError(_reason(error)) from error

    stream = io.BytesIO(archive.read(pickles[0]))
    return _load(stream, "<" if order == b"little" else ">", buffers)


def _read_stream(stream: io.BytesIO) -> Any:
    """Reads the format of PyTorch before 1.6."""
    data = stream.getbuffer()
    places = {}

    def buffers(key):
        start, stop = places[key]
        return bytes(data[start:stop])

    magic, _, system = (_load(stream) for _ in range(3))
    if magic != _LEGACY_MAGIC:
        raise Refused("not a file of torch.save")
    order = "<" if system.get("little_endian", True) else ">"
    found: dict[str, Storage] = {}
    result = _load(stream, order, buffers, found)
    for key in _load(stream):
        (size,) = struct.unpack(order + "q", stream.read(8))
        if key not in found or found[key].size != size:
            raise ValueError(f"storage {key!r} is not what the pickle says")
        start = stream.tell()
        stop = start + size * np.dtype(found[key].code).itemsize
        if stop > len(data):
            raise EOFError("storages are missing")
        places[key] = (start, stop)
        stream.seek(stop)
    return result
