"""Makes a flatbuffer smaller without changing what it computes.

The converter writes a vector of zero points (8 bytes each, all 0) for every
tensor quantized per channel, an empty buffer for every activation, and long
tensor names. Here equal buffers, vectors, strings and tables are stored once,
and names are cut to the layer that made the tensor.
"""

import re

import flatbuffers
import numpy as np

from autox3d_edge import flatbuffer

_ALIGNMENT = 16  # of constant data, as the schema demands
_SHARE_UP_TO = 1 << 16  # bytes; larger vectors are hardly ever equal


def compact(model: bytes) -> bytes:
    """Returns an equal flatbuffer of fewer bytes."""
    content = flatbuffer.unpack(model)
    for graph in content.subgraphs:
        for tensor in graph.tensors:
            tensor.name = short_name(tensor.name)
    return pack(content)


def pack(content, *, share_buffers: bool = True) -> bytes:
    """Returns the flatbuffer of a `ModelT`, equal pieces written once.

    The content is used up: pack it once. Whoever is to change one constant
    and not its equals needs a file without shared buffers.
    """
    if share_buffers:
        _share_buffers(content)
    written = {}
    for graph in content.subgraphs:
        for tensor in graph.tensors:
            tensor.quantization = _once(tensor.quantization, written)
        for operator in graph.operators:
            operator.builtinOptions = _once(operator.builtinOptions, written)
    builder = _SharingBuilder(1 << 20)
    builder.Finish(content.Pack(builder), flatbuffer.IDENTIFIER)
    return bytes(builder.Output())


def short_name(name: bytes | None) -> bytes:
    """Keeps the layer that made a tensor.

    >>> short_name(b"lowered_x3d/head_conv/Relu;lowered_x3d/head_conv/Conv2D")
    b'head_conv'
    >>> short_name(b"arith.constant12")
    b'arith.constant'
    """
    first = (name or b"").split(b";")[0]
    if first.startswith(b"lowered_"):
        return first.split(b"/")[1]
    return re.sub(rb"^(arith\.constant)\d+$", rb"\1", first)


def layer_of(name: bytes | None) -> str:
    """Returns the layer that made a tensor of this name.

    >>> layer_of(b"lowered_x3d/head_conv/Relu;lowered_x3d/head_conv/Conv2D")
    'head_conv'
    """
    return short_name(name).decode().split("/")[0]


def separate_buffers(content) -> None:
    """Gives each constant of a `ModelT` a buffer of its own, in place.

    The converter stores equal ones once.
    """
    taken = {entry.buffer for entry in content.metadata or ()}
    for graph in content.subgraphs:
        for tensor in graph.tensors:
            if tensor.buffer and tensor.buffer in taken:
                own = flatbuffer.schema().BufferT()
                own.data = content.buffers[tensor.buffer].data
                tensor.buffer = len(content.buffers)
                content.buffers.append(own)
            taken.add(tensor.buffer)


def drop_unused(content) -> None:
    """Takes tensors out of a `ModelT` that nothing refers to, in place."""
    (graph,) = content.subgraphs
    used = {int(i) for i in (*graph.inputs, *graph.outputs)}
    for operator in graph.operators:
        used |= {int(i) for i in (*operator.inputs, *operator.outputs)}
    numbers = {old: new for new, old in enumerate(sorted(used - {-1}))}
    graph.tensors = [graph.tensors[old] for old in numbers]
    numbers[-1] = -1  # an input that is left out
    for holder in (graph, *graph.operators):
        holder.inputs = [numbers[int(i)] for i in holder.inputs]
        holder.outputs = [numbers[int(i)] for i in holder.outputs]
    for signature in content.signatureDefs or ():
        for end in (*signature.inputs, *signature.outputs):
            end.tensorIndex = numbers[end.tensorIndex]


def _share_buffers(content) -> None:
    """Equal constants get one buffer, activations the first, empty one."""
    kept, places = [content.buffers[0]], {}

    def place(number):
        data = content.buffers[number].data
        if data is None or not len(data):
            return 0
        key = bytes(data)
        if key not in places:
            places[key] = len(kept)
            kept.append(content.buffers[number])
        return places[key]

    for graph in content.subgraphs:
        for tensor in graph.tensors:
            tensor.buffer = place(tensor.buffer)
    for entry in content.metadata or ():
        entry.buffer = place(entry.buffer)
    content.buffers = kept


def _once(table, written):
    return None if table is None else _Once(table, written)


class _Once:
    """A table that is written once, however often it is referred to."""

    def __init__(self, table, written):
        self._table, self._written = table, written

    def Pack(self, builder):
        fields = sorted(vars(self._table).items())
        key = (type(self._table), *((k, _frozen(v)) for k, v in fields))
        if key not in self._written:
            self._written[key] = self._table.Pack(builder)
        return self._written[key]


def _frozen(value):
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.tobytes()
    return tuple(value) if isinstance(value, list) else value


class _SharingBuilder(flatbuffers.Builder):
    """Writes equal vectors and strings once; aligns bytes as constants."""

    def __init__(self, initial_size):
        super().__init__(initial_size)
        self._written = {}

    def CreateNumpyVector(self, x):
        if x.nbytes > _SHARE_UP_TO:
            return self._write(x)
        key = (x.dtype.str, x.tobytes())
        if key not in self._written:
            self._written[key] = self._write(x)
        return self._written[key]

    def CreateString(self, s, *arguments, **keywords):
        key = ("string", s)
        if key not in self._written:
            self._written[key] = super().CreateString(s, *arguments, **keywords)
        return self._written[key]

    def _write(self, x):
        if x.dtype.itemsize == 1:  # constant data, of whatever type
            # What is aligned first stays aligned: the vector's own alignment
            # below adds no padding between its length and its content.
            self.Prep(_ALIGNMENT, x.nbytes)
        return super().CreateNumpyVector(x)
