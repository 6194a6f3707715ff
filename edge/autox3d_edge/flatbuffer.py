"""Reads the graph inside a .tflite: operators, tensors, types, versions."""

import dataclasses
import functools
import importlib
import math

IDENTIFIER = b"TFL3"  # at byte 4 of every .tflite flatbuffer
# Operators whose output has the scale of their input.
SAME_SCALE = ("RESHAPE", "PAD", "PADV2", "STRIDED_SLICE", "SLICE", "TRANSPOSE")
_BYTES = {"FLOAT32": 4, "FLOAT16": 2, "INT64": 8, "INT32": 4, "INT16": 2}
_BYTES |= {"INT8": 1, "UINT8": 1}  # of one value
# Fewest inputs of operators, 1 of all others. Those behind, such as a bias,
# may be absent (-1).
_FEWEST_INPUTS = {
    # Without a bias LiteRT refuses the first and crashes in the second.
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D"), 3),
    "FULLY_CONNECTED": 2,
    **dict.fromkeys(("ADD", "SUB", "MUL", "DIV", "MEAN", "SUM", "PAD"), 2),
    **dict.fromkeys(("MAXIMUM", "MINIMUM", "TRANSPOSE", "BATCH_MATMUL"), 2),
    "SLICE": 3,
    "PADV2": 3,
    "STRIDED_SLICE": 4,
}
# Bytes that no real tensor comes near. What a damaged file says that one has,
# interpreters reserve.
_TOO_MANY = 2**31
# Far more than there are of the largest network. A small file may name one
# vector of them for each of its tensors.
_MOST_NAMED = 2**20
_MOST_AXES = 8  # as many as any operator takes
_INT32 = 2  # of the schema's TensorType
_ZERO_POINTS = {"INT8": (-128, 127), "UINT8": (0, 255), "INT16": (0, 0)}
_SCHEMAS = (
    "ai_edge_litert.schema_py_generated",
    "tensorflow.lite.python.schema_py_generated",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TensorInfo:
    """One tensor of the graph.

    Attributes:
        index: Its number in the graph.
        name: As the converter called it.
        shape, dtype: Of its values; dtype in upper case ("INT8").
        scale, zero_point: Of its quantization, one entry per channel.
        constant: Whether its values are in the file.
        dynamic: Whether its shape may be another when it runs.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    constant: bool
    dynamic: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class OperatorInfo:
    """One operator of the graph.

    Attributes:
        code: "CONV_2D", ...; the custom name if it is a custom one.
        version: Of the operator.
        custom: Whether it is not builtin.
        inputs, outputs: Numbers of tensors; absent inputs are left out.
        relu: Whether a relu is part of the operator.
    """

    code: str
    version: int
    custom: bool
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    relu: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Graph:
    """The graph of a .tflite file.

    Attributes:
        tensors: By number.
        operators: In the order they run.
        inputs, outputs: Numbers of the tensors at the border.
        subgraphs: How many graphs the file holds.
    """

    tensors: tuple[TensorInfo, ...]
    operators: tuple[OperatorInfo, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    subgraphs: int


def schema():
    """Returns the module of the flatbuffer schema."""
    for name in _SCHEMAS:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise ImportError("Reading .tflite graphs needs ai-edge-litert.")


def unpack(model: bytes):
    """Returns the `ModelT` of a flatbuffer, whose fields can be changed.

    Not those of `builtinOptions`, which operators may share.

    Raises:
        ValueError: The bytes are cut short or changed, so that an interpreter
            might read or write outside its tensors.
    """
    if model[4:8] != IDENTIFIER:
        raise ValueError(
            "`model` must be a .tflite flatbuffer. Received: "
            f"{len(model)} bytes without the mark {IDENTIFIER.decode()}."
        )
    tables = schema()
    # Both need the package flatbuffers: tflite-runtime comes without.
    from autox3d_edge import table_reader

    try:
        content = table_reader.read(model, tables)
        problem = next(_problems(content), None)
    except Exception as error:  # struct.error, IndexError, TypeError, ...
        problem = f"it cannot be unpacked ({error})"
    if problem:
        raise ValueError(
            f"`model` is damaged: {problem}. Received: {len(model)} bytes. "
            "Copy or export it again."
        )
    return content


def _problems(content):
    """What would make an interpreter read or write outside its tensors."""
    if not content.subgraphs:
        yield "it holds no graph"
    named = sum(map(_named, content.subgraphs))
    if named > _MOST_NAMED:
        yield f"its graphs name {named} scales and ends of operators"
    for code in content.operatorCodes or ():
        if _number(code) not in _names("BuiltinOperator"):
            yield f"operator kind {_number(code)} is not known"
    known = [_kind(code) for code in content.operatorCodes or ()]
    for graph in content.subgraphs:
        tensors = graph.tensors
        for end in (*graph.inputs, *graph.outputs):
            if not 0 <= end < len(tensors):
                yield f"its border names tensor {end} of {len(tensors)}"
        for number, tensor in enumerate(tensors):
            yield from _tensor_problems(number, tensor, content.buffers)
        for number, operator in enumerate(graph.operators):
            if not 0 <= operator.opcodeIndex < len(known):
                yield f"operator {number} is of no known kind"
                continue
            kind = known[operator.opcodeIndex]
            yield from _operator_problems(number, kind, operator, len(tensors))
            if kind == "RESHAPE":
                yield from _reshape_problems(
                    number, operator, tensors, content.buffers
                )
        yield from _flow_problems(graph, content.buffers)
        made = {end for op in graph.operators for end in op.outputs}
        for number in sorted({*map(int, graph.inputs), *map(int, made)}):
            yield from _scale_problems(number, tensors[number])


def _named(graph) -> int:
    """How many numbers are gone through: tensors and operators share them."""
    vectors = [
        *(steps for tensor in graph.tensors for steps in _steps(tensor)),
        *(tensor.shapeSignature for tensor in graph.tensors),
        *(operator.inputs for operator in graph.operators),
        *(operator.outputs for operator in graph.operators),
    ]
    return sum(map(_length, vectors))


def _operator_problems(number, name, operator, count):
    inputs, outputs = (
        () if ends is None else tuple(map(int, ends))
        for ends in (operator.inputs, operator.outputs)
    )
    fewest = _FEWEST_INPUTS.get(name, 1)
    if len(inputs) < fewest or not outputs:
        yield (
            f"operator {number}, {name}, has {len(inputs)} inputs and "
            f"{len(outputs)} outputs"
        )
    for place, end in enumerate((*inputs, *outputs)):
        optional = fewest <= place < len(inputs)
        if not (-1 if optional else 0) <= end < count:
            yield f"operator {number} names tensor {end} of {count}"


def _reshape_problems(number, operator, tensors, buffers):
    """What interpreters do not compare: they go on beyond the end of one."""
    source, *given = (tensors[end] for end in operator.inputs if end >= 0)
    before, made = _shape(source), _shape(tensors[operator.outputs[0]])
    if math.prod(before) != math.prod(made):
        yield f"operator {number} makes shape {made} of {before}"
    if not given:
        wanted = getattr(operator.builtinOptions, "newShape", None)
    elif (given[0].type, len(_shape(given[0]))) != (_INT32, 1):
        yield f"operator {number} takes a shape that is no int32 vector"
        return
    else:
        wanted = buffers[given[0].buffer].data
        if wanted is None:
            return  # It is computed.
        wanted = wanted.view("<i4")
    # Of one that is longer than any shape the beginning tells as much.
    wanted = () if wanted is None else tuple(map(int, wanted[: _MOST_AXES + 1]))
    if len(wanted) != len(made) or any(
        size not in (-1, other)
        for size, other in zip(wanted, made, strict=True)
    ):
        yield f"operator {number} makes shape {made}, but is told {wanted}"


def _flow_problems(graph, buffers):
    """Of what is read before it is there, or written where it may not be."""
    there = {
        number
        for number, tensor in enumerate(graph.tensors)
        if held(tensor, buffers) or 0 in _shape(tensor)
    }
    for end in map(int, graph.inputs):
        if end in there:
            yield f"its input, tensor {end}, holds data or is named twice"
        there.add(end)
    for number, operator in enumerate(graph.operators):
        for end in map(int, operator.inputs):
            if end >= 0 and end not in there:
                yield f"operator {number} takes tensor {end} before it is made"
        for end in map(int, operator.outputs):
            if end in there:
                yield (
                    f"operator {number} makes tensor {end}, which holds data, "
                    "is an input or was made before"
                )
            there.add(end)
    for end in map(int, graph.outputs):
        if end not in there:
            yield f"its output, tensor {end}, is never made"


def _scale_problems(number, tensor):
    """Of what is computed: without a scale interpreters end the process."""
    limits = _ZERO_POINTS.get(type_name(tensor))
    if limits is None:
        return
    low, high = limits
    scales, points = map(_length, _steps(tensor))
    if scales != 1:
        yield f"tensor {number} has {scales} scales, must have 1"
    elif points != 1:
        yield f"tensor {number} has no zero point"
    elif not low <= tensor.quantization.zeroPoint[0] <= high:
        point = int(tensor.quantization.zeroPoint[0])
        yield f"tensor {number} has zero point {point}"


def _steps(tensor) -> tuple:
    """Scales and zero points of a tensor, each None if it has none."""
    found = tensor.quantization
    return (None, None) if found is None else (found.scale, found.zeroPoint)


def _length(values) -> int:
    return 0 if values is None else len(values)


def _shape(tensor) -> tuple[int, ...]:
    return () if tensor.shape is None else tuple(map(int, tensor.shape))


def _tensor_problems(number, tensor, buffers):
    if tensor.type not in _names("TensorType"):
        yield f"tensor {number} is of no known type"
        return
    if _length(tensor.shape) > _MOST_AXES:  # whose product may take hours
        yield f"tensor {number} has {len(tensor.shape)} axes"
        return
    if not 0 <= tensor.buffer < len(buffers):
        yield f"tensor {number} has no buffer"
        return
    if tensor.isVariable:
        yield f"tensor {number} keeps its values from run to run"
    shape, present = _shape(tensor), held(tensor, buffers)
    if min(shape, default=1) < 0:
        yield f"tensor {number} has shape {shape}"
    size = _BYTES.get(type_name(tensor))
    if (size or 1) * math.prod(shape) >= _TOO_MANY:
        yield f"tensor {number} of shape {shape} would fill a memory"
    if present and size and present != size * math.prod(shape):
        yield f"tensor {number} of shape {shape} has {present} bytes"
    scales, points = map(_length, _steps(tensor))
    if scales > 1:
        axis = tensor.quantization.quantizedDimension
        if not 0 <= axis < len(shape) or scales != shape[axis]:
            yield f"tensor {number} of shape {shape} has {scales} scales"
    if points not in (0, scales):
        yield f"tensor {number} has {points} zero points for {scales} scales"


def read_graph(model: bytes) -> Graph:
    """Returns the main graph of a flatbuffer."""
    return graph_of(unpack(model))


def graph_of(content) -> Graph:
    """Returns the main graph of a `ModelT`, as it is now."""
    graph = content.subgraphs[0]
    text = functools.cache(_text)  # many tensors may have one name
    return Graph(
        tensors=tuple(
            _tensor(index, tensor, text(tensor.name), content)
            for index, tensor in enumerate(graph.tensors)
        ),
        operators=tuple(
            _operator(operator, content) for operator in graph.operators
        ),
        inputs=tuple(int(i) for i in graph.inputs),
        outputs=tuple(int(i) for i in graph.outputs),
        subgraphs=len(content.subgraphs),
    )


def kinds(content) -> list[str]:
    """Returns "CONV_2D", ... for each operator of the main graph."""
    codes = content.operatorCodes
    graph = content.subgraphs[0]
    return [_kind(codes[op.opcodeIndex]) for op in graph.operators]


def held(tensor, buffers) -> int:
    """Returns how many bytes of a tensor are in the file."""
    return _length(buffers[tensor.buffer].data)


def type_name(tensor) -> str:
    """Returns "INT8", ... for a tensor."""
    return _names("TensorType")[tensor.type]


def output_shape(model: bytes) -> tuple[int, ...]:
    """Returns the shape of the first output."""
    graph = read_graph(model)
    return graph.tensors[graph.outputs[0]].shape


def activation_bytes(model: bytes) -> int:
    """Returns the most memory that activations need at once.

    It is the largest sum of tensors alive while one operator runs, inputs,
    which an interpreter never writes over, always among them; weights, also
    those that are made float when it loads, are not in it. Its arena has about
    as much: gaps make it larger, operations in place smaller.
    """
    graph = read_graph(model)
    constant = {t.index for t in graph.tensors if t.constant}
    operators = []
    for operator in graph.operators:
        if constant.issuperset(operator.inputs):
            constant.update(operator.outputs)
        else:
            operators.append(operator)
    last = {i: at for at, op in enumerate(operators) for i in op.inputs}
    kept = (*graph.inputs, *graph.outputs)
    last.update(dict.fromkeys(kept, len(operators)))
    sizes = {
        t.index: _BYTES.get(t.dtype, 4) * math.prod(t.shape)
        for t in graph.tensors
        if t.index not in constant
    }
    alive, peak = set(graph.inputs), 0
    for at, operator in enumerate(operators):
        alive.update(operator.outputs)
        peak = max(peak, sum(sizes[i] for i in alive))
        alive = {i for i in alive if last.get(i, -1) > at}
    return peak


def _text(name: bytes | None) -> str:
    return (name or b"").decode("utf-8", "replace")


def _tensor(index, tensor, name, content) -> TensorInfo:
    scale, zero_point = _steps(tensor)
    return TensorInfo(
        index=index,
        name=name,
        shape=_shape(tensor),
        dtype=type_name(tensor),
        scale=tuple(map(float, scale)) if scale is not None else (),
        zero_point=tuple(map(int, zero_point))
        if zero_point is not None
        else (),
        constant=held(tensor, content.buffers) > 0,
        dynamic=_length(tensor.shapeSignature) > 0
        and min(tensor.shapeSignature) < 0,
    )


def _operator(operator, content) -> OperatorInfo:
    code = content.operatorCodes[operator.opcodeIndex]
    name = _kind(code)
    custom = name == "CUSTOM"
    if custom and code.customCode:
        name = code.customCode.decode("utf-8", "replace")
    return OperatorInfo(
        code=name,
        version=code.version,
        custom=custom,
        inputs=tuple(int(i) for i in operator.inputs if i >= 0),
        outputs=tuple(int(i) for i in operator.outputs),
        relu=getattr(operator.builtinOptions, "fusedActivationFunction", 0)
        == schema().ActivationFunctionType.RELU,
    )


def _kind(code) -> str:
    return _names("BuiltinOperator")[_number(code)]


def _number(code) -> int:
    # Codes below 127 of old files stand in the deprecated field only.
    return max(code.builtinCode, code.deprecatedBuiltinCode)


@functools.cache
def _names(enumeration: str) -> dict[int, str]:
    values = vars(getattr(schema(), enumeration))
    return {v: k for k, v in values.items() if isinstance(v, int)}
