"""Graphs that cannot be are refused when a file is read, and named."""

import copy
import itertools

import flatbuffers
import numpy as np
import pytest

from autox3d_edge import compact, flatbuffer, quantize
from autox3d_edge import manifest as manifest_lib


def arena_of(content):
    """Bytes that tensors lie in, without XNNPACK, by their addresses."""
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    interpreter = litert.Interpreter(
        model_content=content,
        experimental_op_resolver_type=(
            litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        ),
    )
    interpreter.allocate_tensors()
    graph = flatbuffer.read_graph(content)
    made = itertools.chain(*(operator.outputs for operator in graph.operators))
    ends = []
    for index in {*graph.inputs, *made}:
        values = interpreter.tensor(index)()
        begin = values.__array_interface__["data"][0]
        ends.append((begin, begin + values.nbytes))
    begins, stops = zip(*ends, strict=True)
    return max(stops) - min(begins)


@pytest.mark.parametrize("kind", ["clip", "fp32", "int8", "int8_native"])
def test_activations_are_planned_as_an_interpreter_does(
    exported, streams, kind
):
    content = manifest_lib.read_model(exported.path)[0]
    if kind != "clip":
        content, _ = getattr(streams, kind)
    planned = flatbuffer.activation_bytes(content)
    assert 0.85 < planned / arena_of(content) < 1.15


def test_weights_that_are_made_float_are_no_activations(exported):
    """They lie in the file as float16, and float as long as it is open."""
    planned = [
        flatbuffer.activation_bytes(quantize.convert(exported.lowered, name))
        for name in ("fp32", "fp16")
    ]
    assert planned[0] == planned[1]


def test_activations_are_those_alive_at_once(monkeypatch):
    tensors = tuple(
        flatbuffer.TensorInfo(
            index=index, name="", shape=(size,), dtype="INT8", scale=(),
            zero_point=(), constant=False,
        )
        for index, size in enumerate((10, 20, 30, 15))
    )  # fmt: skip
    chain = tuple(
        flatbuffer.OperatorInfo(
            code="ADD", version=1, custom=False, inputs=(i,), outputs=(i + 1,)
        )
        for i in range(3)
    )
    graph = flatbuffer.Graph(
        tensors=tensors, operators=chain, inputs=(0,), outputs=(3,), subgraphs=1
    )
    monkeypatch.setattr(flatbuffer, "read_graph", lambda model: graph)
    # The input stays; the second operator has both of its ends beside it.
    assert flatbuffer.activation_bytes(b"") == 10 + 20 + 30


def test_old_files_say_what_an_operator_is_elsewhere(exported):
    content = flatbuffer.unpack(manifest_lib.read_model(exported.path)[0])
    expected = flatbuffer.kinds(content)
    for code in content.operatorCodes:
        code.builtinCode = 0
    found = flatbuffer.unpack(compact.pack(content))
    assert flatbuffer.kinds(found) == expected


def refusal(exported, change):
    """What reading says of the file once its graph was changed."""
    model, _ = manifest_lib.read_model(exported.path)
    content = flatbuffer.unpack(model)
    change(content.subgraphs[0], content)
    builder = flatbuffers.Builder(0)
    builder.Finish(content.Pack(builder), flatbuffer.IDENTIFIER)
    with pytest.raises(ValueError) as caught:
        flatbuffer.read_graph(bytes(builder.Output()))
    return str(caught.value)


def foreign_tensor(graph, content):
    _, *others = graph.operators[3].inputs
    graph.operators[3].inputs = [9999, *others]


def foreign_code(graph, content):
    graph.operators[2].opcodeIndex = 99


def foreign_border(graph, content):
    graph.inputs = [-7]


def short_buffer(graph, content):
    kernel = next(
        tensor
        for tensor in graph.tensors
        if tensor.name == b"stem_spatial" and tensor.shape[0] == 6
    )
    content.buffers[kernel.buffer].data = np.zeros(3, np.uint8)


def long_buffer(graph, content):
    kernel = graph.tensors[first(graph, content, "CONV_2D").inputs[1]]
    content.buffers[kernel.buffer].data = np.zeros(9999, np.uint8)


def negative_axis(graph, content):
    made = first(graph, content, "ADD").outputs[0]
    graph.tensors[made].shape = [-4, -24, 24, 6]


def foreign_kind(graph, content):
    content.operatorCodes[0].builtinCode = 9999


def no_buffer(graph, content):
    graph.tensors[5].buffer = 99999


def several_scales(graph, content):
    found = graph.tensors[first(graph, content, "ADD").outputs[0]].quantization
    found.scale, found.zeroPoint = np.ones(12, np.float32), np.zeros(12, int)
    found.quantizedDimension = 3


def no_zero_point(graph, content):
    found = graph.tensors[first(graph, content, "ADD").outputs[0]].quantization
    found.zeroPoint = None


def fewer_scales(graph, content):
    kernel = first(graph, content, "CONV_2D").inputs[1]
    found = graph.tensors[kernel].quantization
    found.scale, found.zeroPoint = found.scale[:2], found.zeroPoint[:2]


def foreign_axis_of_scales(graph, content):
    kernel = first(graph, content, "CONV_2D").inputs[1]
    graph.tensors[kernel].quantization.quantizedDimension = 4


def more_zero_points(graph, content):
    kernel = first(graph, content, "CONV_2D").inputs[1]
    found = graph.tensors[kernel].quantization
    found.zeroPoint = np.zeros(1000, int)


def shared_scales(graph, content):
    kernel = graph.tensors[first(graph, content, "CONV_2D").inputs[1]]
    kernel = copy.copy(kernel)
    kernel.buffer, kernel.shape = 0, [1 << 18]
    kernel.quantization = copy.copy(kernel.quantization)
    kernel.quantization.scale = np.ones(1 << 18, np.float32)
    kernel.quantization.zeroPoint = None
    graph.tensors += [kernel] * 4


def many_axes(graph, content):
    graph.tensors[5].shape = np.full(200_000, 2**31 - 1, np.int32)


DAMAGE = (
    (foreign_tensor, "operator 3 names tensor 9999"),
    (foreign_code, "operator 2 is of no known kind"),
    (foreign_kind, "operator kind 9999 is not known"),
    (foreign_border, "its border names tensor -7"),
    (short_buffer, "has 3 bytes"),
    (long_buffer, "has 9999 bytes"),
    (negative_axis, "has shape (-4, -24, 24, 6)"),
    (no_buffer, "tensor 5 has no buffer"),
    (several_scales, "has 12 scales, must have 1"),
    (no_zero_point, "has no zero point"),
    (fewer_scales, "of shape (6, 3, 3, 3) has 2 scales"),
    (foreign_axis_of_scales, "of shape (6, 3, 3, 3) has 6 scales"),
    (more_zero_points, "has 1000 zero points for 6 scales"),
    (shared_scales, "scales and ends of operators"),
    (many_axes, "tensor 5 has 200000 axes"),
)


@pytest.mark.parametrize(
    ("change", "message"), DAMAGE, ids=[change.__name__ for change, _ in DAMAGE]
)
def test_damage_is_named(exported, change, message):
    assert message in refusal(exported, change)


def first(graph, content, kind):
    """The first operator of a kind."""
    codes = [int(code.builtinCode) for code in content.operatorCodes]
    place = codes.index(getattr(flatbuffer.schema().BuiltinOperator, kind))
    return next(o for o in graph.operators if o.opcodeIndex == place)


def absent_input(graph, content):
    first(graph, content, "ADD").inputs = [0, -1]


def no_bias(graph, content):
    first(graph, content, "DEPTHWISE_CONV_2D").inputs = [0, 1]


def absent_weights(graph, content):
    first(graph, content, "CONV_2D").inputs = [0, -1, 1]


def one_input(graph, content):
    first(graph, content, "CONV_2D").inputs = [0]


def no_output(graph, content):
    first(graph, content, "CONV_2D").outputs = []


def no_scale(graph, content):
    made = first(graph, content, "ADD").outputs[0]
    graph.tensors[made].quantization = None


def endless(graph, content):
    made = first(graph, content, "ADD").outputs[0]
    graph.tensors[made].shape = [8, 8388626, 18, 16]


def endless_in_float(graph, content):
    made = graph.tensors[first(graph, content, "ADD").outputs[0]]
    made.shape = [8, 1 << 20, 8, 8]  # 512 Mi values, each of 4 bytes
    made.type = flatbuffer.schema().TensorType.FLOAT32


def far_zero_point(graph, content):
    made = first(graph, content, "SOFTMAX").outputs[0]
    graph.tensors[made].quantization.zeroPoint = np.array([200_000])


def made_twice(graph, content):
    made = graph.operators[0].outputs
    first(graph, content, "ADD").outputs = made


def makes_a_weight(graph, content):
    weight = first(graph, content, "CONV_2D").inputs[1]
    first(graph, content, "ADD").outputs = [weight]


def makes_the_input(graph, content):
    first(graph, content, "ADD").outputs = graph.inputs


def weight_as_input(graph, content):
    graph.inputs = [first(graph, content, "CONV_2D").inputs[1]]


def never_made(graph, content):
    graph.operators.remove(first(graph, content, "ADD"))


def too_early(graph, content):
    graph.operators.insert(0, graph.operators.pop(1))


def output_never_made(graph, content):
    graph.outputs = [len(graph.tensors)]
    graph.tensors.append(graph.tensors[graph.inputs[0]])


def kept_for_the_next_run(graph, content):
    made = first(graph, content, "ADD").outputs[0]
    graph.tensors[made].isVariable = True


def other_data(graph, content):
    reshape = first(graph, content, "RESHAPE")
    reshape.inputs = [graph.inputs[0], reshape.inputs[1]]


def shape_from_weights(graph, content):
    reshape = first(graph, content, "RESHAPE")
    weight = first(graph, content, "CONV_2D").inputs[1]
    reshape.inputs = [reshape.inputs[0], weight]


def shape_from_bias(graph, content):
    reshape = first(graph, content, "RESHAPE")
    bias = first(graph, content, "CONV_2D").inputs[2]
    reshape.inputs = [reshape.inputs[0], bias]


def no_shape(graph, content):
    reshape = first(graph, content, "RESHAPE")
    reshape.inputs = reshape.inputs[:1]
    reshape.builtinOptions = None


FATAL = (
    (made_twice, "which holds data, is an input or was made before"),
    (makes_a_weight, "which holds data, is an input or was made before"),
    (makes_the_input, "which holds data, is an input or was made before"),
    (weight_as_input, "its input, tensor"),
    (never_made, "before it is made"),
    (too_early, "operator 0 takes tensor"),
    (output_never_made, "is never made"),
    (kept_for_the_next_run, "keeps its values from run to run"),
    (other_data, "of (4, 24, 24, 3)"),
    (shape_from_weights, "takes a shape that is no int32 vector"),
    (shape_from_bias, ", but is told ("),
    (no_shape, ", but is told ()"),
    (absent_input, "names tensor -1"),
    (no_bias, "DEPTHWISE_CONV_2D, has 2 inputs and 1 outputs"),
    (absent_weights, "names tensor -1"),
    (one_input, "CONV_2D, has 1 inputs and 1 outputs"),
    (no_output, "CONV_2D, has 3 inputs and 0 outputs"),
    (no_scale, "has 0 scales, must have 1"),
    (endless, "of shape (8, 8388626, 18, 16) would fill"),
    (endless_in_float, "of shape (8, 1048576, 8, 8) would fill"),
    (far_zero_point, "has zero point 200000"),
)


@pytest.mark.parametrize(
    ("change", "message"), FATAL, ids=[change.__name__ for change, _ in FATAL]
)
def test_what_ends_the_process_of_an_interpreter_is_refused(
    exported, change, message
):
    """With any of these LiteRT 2.3 is gone before it says why."""
    assert message in refusal(exported, change)
