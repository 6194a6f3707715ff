"""One .tflite of several precisions: int8, some parts int16x8 or float.

The network is converted once per precision. Each part (the stem, a block, the
head) has one activation coming in and one going out, so a file is put together
by taking each part from the conversion of its precision, with one operator
that changes the type where two precisions meet.
"""

import copy
import dataclasses
from collections.abc import Mapping, Sequence

from autox3d_edge import compact, flatbuffer, op_support
from autox3d_tf.base import checks

KEPT = ("int16x8", "fp32")  # what a part may be instead of int8
FLOAT_BORDER = "_in_float"  # ends the name of a tensor between int8 and int16
_CHANGES_TYPE = ("QUANTIZE", "DEQUANTIZE")


def part_names(arch) -> tuple[str, ...]:
    """Returns the parts of a network, in the order they run."""
    return ("stem", *(block.name for block in arch.blocks()), "head")


def part_of(name: str, parts: Sequence[str]) -> str | None:
    """Returns the part that a tensor belongs to by its name, or None.

    >>> part_of("stage1_block11_relu/Relu", ("stage1_block1", "stage1_block11"))
    'stage1_block11'
    """
    return next((p for p in parts if name.startswith(f"{p}_")), None)


def check_kept(
    kept: Mapping[str, str], parts: Sequence[str] | None = None
) -> None:
    """Raises ValueError unless `kept` maps parts to precisions of `KEPT`.

    Args:
        kept: Part -> precision.
        parts: All parts; None if they are not known.
    """
    if not isinstance(kept, Mapping):
        raise ValueError(
            f"`kept` must map parts to precisions. Received: kept={kept!r}."
        )
    for part, precision in kept.items():
        if parts is not None and part not in parts:
            raise ValueError(
                f"`kept` must name parts of {', '.join(parts)}. "
                f"Received: {part!r}."
            )
        checks.check_choice(f"kept.{part}", precision, KEPT)


def assemble(
    models: Mapping[str, bytes],
    kept: Mapping[str, str],
    parts: Sequence[str],
) -> bytes:
    """Returns the int8 network with some parts of another precision.

    Args:
        models: Flatbuffers of the same network by precision: "int8" and those
            that `kept` asks for.
        kept: Part -> "int16x8" or "fp32".
        parts: All parts, in order; see `part_names`.
    """
    check_kept(kept, parts)
    sources = {
        precision: _Source(models[precision], parts)
        for precision in ("int8", *sorted(set(kept.values())))
    }
    assembly = _Assembly(sources["int8"])
    precision = "int8"
    for part in parts:
        wanted = kept.get(part, "int8")
        cut = sources[wanted].cuts[part]
        if wanted != precision:
            before = sources[precision].cuts[part].entry
            assembly.change_type(
                sources[precision], before, sources[wanted], cut.entry, part
            )
        for number in cut.operators:
            owner = None if wanted == "int8" else part
            assembly.copy_operator(sources[wanted], number, owner)
        precision = wanted
    if precision != "int8":
        last = sources[precision].cuts[parts[-1]].exit
        end = sources["int8"].cuts[parts[-1]].exit
        assembly.change_type(
            sources[precision], last, sources["int8"], end, parts[-1]
        )
    return assembly.finish()


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Cut:
    """The operators of a part, and its tensors at the border."""

    operators: tuple[int, ...]
    entry: int
    exit: int


class _Source:
    """One conversion of the network, cut into parts."""

    def __init__(self, model: bytes, parts: Sequence[str]):
        self.content = flatbuffer.unpack(model)
        self.graph = flatbuffer.graph_of(self.content)
        self.owner = self._owners(parts)
        self.cuts = {part: self._cut(part) for part in parts}

    def _owners(self, parts) -> list[str | None]:
        """Part of each operator; None for those that change the type."""
        made_in, owners = {}, []
        for operator in self.graph.operators:
            name = self.graph.tensors[operator.outputs[0]].name
            owner = part_of(name, parts)
            if owner is None and operator.code not in _CHANGES_TYPE:
                # The last operator is called after the graph's output.
                owner = next(
                    (made_in[i] for i in operator.inputs if i in made_in), None
                )
            owners.append(owner)
            made_in.update({i: owner for i in operator.outputs})
        return owners

    def _cut(self, part) -> _Cut:
        numbers = [i for i, owner in enumerate(self.owner) if owner == part]
        inside = [self.graph.operators[i] for i in numbers]
        others = [
            operator
            for i, operator in enumerate(self.graph.operators)
            if self.owner[i] != part
        ]
        made = {i for operator in inside for i in operator.outputs}
        used = {i for operator in inside for i in operator.inputs}
        wanted = {i for operator in others for i in operator.inputs}
        wanted |= set(self.graph.outputs)
        entries = [i for i in used - made if not self.graph.tensors[i].constant]
        exits = sorted(made & wanted)
        assert len(entries) == len(exits) == 1, (part, entries, exits)
        return _Cut(operators=tuple(numbers), entry=entries[0], exit=exits[0])


class _Assembly:
    """The file that is put together."""

    def __init__(self, host: _Source):
        self._host = host
        self._tables = flatbuffer.schema()
        empty = self._tables.BufferT()
        self._buffers, self._codes = [empty], []
        self._tensors, self._operators = [], []
        self._places = {}  # (source, number there) -> number here
        # The border is the first operator and the last.
        assert host.owner[0] is host.owner[-1] is None, host.owner
        self.copy_operator(host, 0)

    def copy_operator(self, source: _Source, number: int, part=None) -> None:
        """Copies an operator of a source with its tensors.

        With `part`, they are called after it, as the audit looks at names.
        """
        original = source.content.subgraphs[0].operators[number]
        operator = copy.copy(original)
        code = source.content.operatorCodes[original.opcodeIndex]
        operator.opcodeIndex = self._code(copy.copy(code))
        for side in ("inputs", "outputs"):
            numbers = [
                self._tensor(source, i, part=part) if i >= 0 else -1
                for i in getattr(original, side)
            ]
            setattr(operator, side, numbers)
        self._operators.append(operator)

    def change_type(self, before, number, after, result, part) -> None:
        """Adds what turns a tensor of one source into that of another.

        Runtimes up to 2.14 turn int8 into int16 by way of float only.
        """
        types = self._tables.TensorType
        source = self._tensor(before, number)
        target = self._tensor(after, result, f"{part}_in")
        first, last = self._tensors[source].type, self._tensors[target].type
        if (first, last) == (types.INT8, types.INT16):
            middle = copy.copy(self._tensors[source])
            middle.name = f"{part}{FLOAT_BORDER}".encode()
            middle.type, middle.quantization = types.FLOAT32, None
            self._tensors.append(middle)
            self._convert(source, len(self._tensors) - 1)
            source = len(self._tensors) - 1
        self._convert(source, target)

    def _convert(self, source: int, target: int) -> None:
        types, kinds = self._tables.TensorType, self._tables.BuiltinOperator
        first, last = self._tensors[source].type, self._tensors[target].type
        wide = types.INT16 in (first, last)
        to_float = last == types.FLOAT32
        kind, version = ("DEQUANTIZE", 2) if to_float else ("QUANTIZE", 1)
        if wide:
            version = op_support.INT16[kind]
        code = self._builtin(getattr(kinds, kind), version)
        operator = self._tables.OperatorT()
        operator.opcodeIndex = code
        operator.inputs, operator.outputs = [source], [target]
        self._operators.append(operator)

    def finish(self) -> bytes:
        """Returns the flatbuffer."""
        self.copy_operator(self._host, len(self._host.owner) - 1)
        content = copy.copy(self._host.content)
        graph = copy.copy(content.subgraphs[0])
        graph.inputs = [self._tensor(self._host, i) for i in graph.inputs]
        graph.outputs = [self._tensor(self._host, i) for i in graph.outputs]
        graph.tensors, graph.operators = self._tensors, self._operators
        content.subgraphs = [graph]
        content.operatorCodes, content.buffers = self._codes, self._buffers
        content.metadata = content.metadataBuffer = None
        for signature in content.signatureDefs or ():
            for ends in (signature.inputs, signature.outputs):
                for end in ends:
                    end.tensorIndex = self._tensor(self._host, end.tensorIndex)
        return compact.pack(content)

    def _tensor(self, source, number, name=None, part=None) -> int:
        constant = source.graph.tensors[number].constant
        # Parts share equal constants; here each has its own.
        key = (id(source), number, part if constant else None)
        if key not in self._places:
            tensor = copy.copy(source.content.subgraphs[0].tensors[number])
            if name is not None:
                tensor.name = name.encode()
            elif part and not tensor.name.startswith(f"{part}_".encode()):
                tensor.name = f"{part}_{tensor.name.decode()}".encode()
            buffer = source.content.buffers[tensor.buffer]
            tensor.buffer = 0
            if constant:
                tensor.buffer = len(self._buffers)
                self._buffers.append(buffer)
            self._places[key] = len(self._tensors)
            self._tensors.append(tensor)
        return self._places[key]

    def _builtin(self, kind: int, version: int) -> int:
        code = self._tables.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = kind
        code.version = version
        return self._code(code)

    def _code(self, code) -> int:
        for number, known in enumerate(self._codes):
            if vars(known) == vars(code):
                return number
        self._codes.append(code)
        return len(self._codes) - 1
