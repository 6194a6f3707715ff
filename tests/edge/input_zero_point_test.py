"""The mean pixel is subtracted by the zero point of the input."""

import numpy as np
import pytest

from autox3d_edge import (
    compact,
    flatbuffer,
    input_zero_point,
    interpreters,
    lowering,
    mixed,
    quantize,
)
from tests.edge import networks, reference


@pytest.fixture(scope="module", params=[24, 23])
def arch(request):
    return networks.small_arch(clip_size=(4, request.param, request.param))


@pytest.fixture(scope="module")
def lowered(arch):
    return lowering.lower(arch, networks.random_weights(arch))


@pytest.fixture(scope="module")
def clips(arch):
    return reference.random_clips(8, arch.clip_size)


@pytest.fixture(scope="module")
def raw(lowered, clips):
    return quantize.quantize_calibrated(quantize.calibrate(lowered, clips))


def test_the_subtraction_is_gone_and_the_input_says_so(raw):
    before, after = map(
        flatbuffer.read_graph, (raw, input_zero_point.absorb(raw))
    )
    kinds = [operator.code for operator in before.operators]
    assert kinds[:2] == ["QUANTIZE", "ADD"]
    kinds.remove("ADD")  # the first
    assert [operator.code for operator in after.operators] == kinds
    # Nothing else is left over: the constant, and a tensor less.
    assert len(after.tensors) == len(before.tensors) - 2
    (number,) = after.inputs
    tensor = after.tensors[number]
    assert tensor.dtype == "UINT8"
    assert (tensor.scale, tensor.zero_point) == ((1.0,), (115,))


def test_files_and_streams_have_no_subtraction(lowered, clips, streams):
    file = quantize.convert(lowered, "int8", clips)
    for model, _ in ((file, None), streams.int8, streams.int8_native):
        graph = flatbuffer.read_graph(model)
        tensor = graph.tensors[graph.inputs[0]]
        assert (tensor.scale, tensor.zero_point) == ((1.0,), (115,))


def test_a_bias_that_another_convolution_shares_stays_its_own(raw):
    def biases(content):
        graph = content.subgraphs[0]
        return [
            graph.tensors[operator.inputs[2]]
            for operator, kind in zip(
                graph.operators, flatbuffer.kinds(content), strict=True
            )
            if kind == "CONV_2D"
        ]

    content = flatbuffer.unpack(raw)
    first, *others = biases(content)
    place = [list(bias.shape) for bias in others].index(list(first.shape))
    others[place].buffer = first.buffer  # as where the numbers are equal
    before = bytes(content.buffers[first.buffer].data)
    content = flatbuffer.unpack(input_zero_point.absorb(compact.pack(content)))
    first, *others = biases(content)
    assert bytes(content.buffers[others[place].buffer].data) == before
    assert bytes(content.buffers[first.buffer].data) != before


def stem_errors(model, lowered, clip):
    """Errors of the first convolution inside of images, in steps."""
    run = interpreters.ClipRunner(model, keep_tensors=True)
    graph = flatbuffer.read_graph(model)
    operator = next(op for op in graph.operators if op.code == "CONV_2D")
    run(clip)
    found = run.tensor(operator.outputs[0])
    layer = lowered.get_layer("stem_spatial").output
    network = type(lowered)(lowered.input, layer)
    exact = network(clip.astype(np.float32)).numpy()
    (scale,) = graph.tensors[operator.outputs[0]].scale
    return ((found - exact) / scale)[:, 1:-1, 1:-1]


def test_pixels_stay_exact_to_a_step(raw, lowered, clips):
    errors = stem_errors(input_zero_point.absorb(raw), lowered, clips[0])
    # Rounding of weights and of the result; the mean of a channel has none.
    assert np.abs(errors).max() < 2
    assert np.abs(errors.mean((0, 1, 2))).max() < 0.2


def test_scores_are_those_of_float(raw, lowered, clips):
    run = interpreters.ClipRunner(input_zero_point.absorb(raw))
    for clip in clips:
        expected = lowered(clip.astype(np.float32)).numpy()[0]
        np.testing.assert_allclose(run(clip), expected, atol=0.03)


def test_what_begins_otherwise_stays_as_it_is(raw, lowered, clips, arch):
    fp32 = quantize.convert(lowered, "fp32")
    int16 = quantize.convert(lowered, "int16x8", clips)
    parts = mixed.part_names(arch)
    for model in (
        fp32,
        int16,
        input_zero_point.absorb(raw),
        mixed.assemble({"int8": raw, "fp32": fp32}, {"stem": "fp32"}, parts),
    ):
        assert input_zero_point.absorb(model) is model
