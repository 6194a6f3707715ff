"""Graphs that no export makes are refused before an interpreter sees them."""

import copy

import flatbuffers
import numpy as np
import pytest

from autox3d_edge import flatbuffer, graph_check, interpreters
from autox3d_edge import manifest as manifest_lib


class Changed:
    """The graph of an exported file, to be changed.

    Attributes:
        content: Its `ModelT`.
    """

    def __init__(self, path):
        self.content = flatbuffer.unpack(manifest_lib.read_model(path)[0])
        self._graph = self.content.subgraphs[0]

    def first(self, kind):
        number = flatbuffer.kinds(self.content).index(kind)
        return self._graph.operators[number]

    def scale(self, number, factor):
        tensor = self._graph.tensors[number]
        tensor.quantization = copy.copy(tensor.quantization)
        found = tensor.quantization.scale * np.float64(factor)
        tensor.quantization.scale = found.astype(np.float32)

    def retype(self, number, name):
        tensor = self._graph.tensors[number]
        tensor.type = getattr(flatbuffer.schema().TensorType, name)
        tensor.quantization = copy.copy(tensor.quantization)
        tensor.quantization.zeroPoint = np.array([0])

    def renumber(self, kind, wanted):
        code = copy.copy(self.content.operatorCodes[0])
        known = flatbuffer.schema().BuiltinOperator
        code.builtinCode = getattr(known, wanted)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        self.first(kind).opcodeIndex = len(self.content.operatorCodes)
        self.content.operatorCodes.append(code)

    def pack(self):
        builder = flatbuffers.Builder(0)
        builder.Finish(self.content.Pack(builder), flatbuffer.IDENTIFIER)
        return bytes(builder.Output())


@pytest.fixture
def changed(exported):
    """A file that may be changed."""
    return Changed(exported.path)


def refusal(changed):
    with pytest.raises(ValueError) as caught:
        interpreters.load(changed.pack())
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", graph_check.WEIGHTED)
def test_kernels_are_not_too_coarse(changed, kind):
    changed.scale(changed.first(kind).inputs[1], 1e7)
    assert f"so that {kind} would multiply by" in refusal(changed)


@pytest.mark.parametrize("factor", [1e-30, 1e30])
@pytest.mark.parametrize("kind", ["ADD", "FULLY_CONNECTED"])
def test_what_is_made_has_a_scale_that_can_be(changed, kind, factor):
    changed.scale(changed.first(kind).outputs[0], factor)
    assert "has scale" in refusal(changed)


@pytest.mark.parametrize("kind", ["RESHAPE", "MEAN"])
def test_what_is_made_of_any_kind_is_not_too_coarse(changed, kind):
    changed.scale(changed.first(kind).outputs[0], 1e30)
    assert "must be above 0, up to 1e+10" in refusal(changed)


@pytest.mark.parametrize("name", ["FLOAT32", "FLOAT16", "UINT8"])
def test_types_fit_the_operator(changed, name):
    changed.retype(changed.first("LOGISTIC").inputs[0], name)
    # That of the one before, which makes it.
    assert f", of types INT8 INT8 INT32 > {name}." in refusal(changed)


@pytest.mark.parametrize(
    "kind, wanted, message",
    [
        ("FULLY_CONNECTED", "SPLIT", ", SPLIT"),
        ("ADD", "SPLIT", ", SPLIT"),
        ("CONV_2D", "CONV_3D", ", CONV_3D"),
        (
            "FULLY_CONNECTED",
            "CONCATENATION",
            ", CONCATENATION, with FullyConnectedOptions",
        ),
    ],
)
def test_operators_that_no_export_holds(changed, kind, wanted, message):
    changed.renumber(kind, wanted)
    assert message in refusal(changed)


def test_there_is_one_graph(changed):
    changed.content.subgraphs *= 2
    assert "2 graphs in one file" in refusal(changed)


def test_what_an_interpreter_refuses_is_a_line(changed):
    changed.first("CONV_2D").builtinOptions.strideW = 0
    assert "`model` must be one that " in refusal(changed)
