"""Smaller, and computes the same."""

import types

import numpy as np

from autox3d_edge import (
    compact,
    flatbuffer,
    interpreters,
    manifest,
    quantize,
)


def test_smaller_aligned_and_equal(exported):
    samples = quantize.samples_of(exported.clips[:2])
    plain = quantize.convert_on(exported.lowered, "int8", samples)
    small = compact.compact(plain)
    # Most of so small a network is quantization parameters and names.
    assert len(small) < 0.8 * len(plain)
    before, after = map(interpreters.ClipRunner, (plain, small))
    for clip in exported.clips[:4]:
        np.testing.assert_array_equal(before(clip), after(clip))
    table = flatbuffer.schema().Model.GetRootAs(small, 0)
    start = np.frombuffer(small, np.uint8).__array_interface__["data"][0]
    for index in range(table.BuffersLength()):
        if table.Buffers(index).DataLength():
            data = table.Buffers(index).DataAsNumpy()
            offset = data.__array_interface__["data"][0] - start
            assert offset % 16 == 0


def test_names_keep_the_layer(exported):
    names = {
        tensor.name
        for tensor in flatbuffer.read_graph(
            quantize.convert(exported.lowered, "fp32")
        ).tensors
    }
    assert "head_conv_relu" in names
    assert not any(";" in name for name in names)


def test_equal_pieces_are_written_once(exported):
    model, _ = manifest.read_model(exported.path)
    (graph,) = flatbuffer.unpack(model).subgraphs
    written = flatbuffer.schema().Model.GetRootAs(model, 0).Subgraphs(0)

    def check(tables, places):
        contents = {
            (type(table), *map(repr, sorted(vars(table).items())))
            for table in tables
            if table is not None
        }
        assert 1 < len(contents) == len(set(places)) < len(places)

    check(
        [tensor.quantization for tensor in graph.tensors],
        [
            written.Tensors(i).Quantization()._tab.Pos
            for i in range(written.TensorsLength())
        ],
    )
    options = [
        written.Operators(i).BuiltinOptions()
        for i in range(written.OperatorsLength())
    ]
    check(
        [operator.builtinOptions for operator in graph.operators],
        [table.Pos for table in options if table is not None],
    )
    names = [tensor.name for tensor in graph.tensors]
    assert len(set(names)) < len(names)
    for name in names:  # behind its length
        assert model.count(len(name).to_bytes(4, "little") + name + b"\0") == 1


def test_names_that_are_not_ours_are_left_alone():
    assert compact.short_name(b"tfl.quantize") == b"tfl.quantize"
    assert compact.short_name(b"lowered_net/stem/Conv2D;x") == b"stem"
    assert compact.short_name(None) == b""


def test_taps_share_their_scales(exported):
    small = quantize.convert(exported.lowered, "int8", exported.clips[:4])
    content = flatbuffer.unpack(small)
    kernels = {
        tensor.name.decode(): tensor
        for tensor in content.subgraphs[0].tensors
        if b"_depthwise_tap" in tensor.name
        and len(tensor.shape) == 4
        and flatbuffer.unpack(small).buffers[tensor.buffer].data is not None
    }
    name = "stage1_block1_depthwise_tap"
    scales = [kernels[f"{name}{tap}"].quantization.scale for tap in range(3)]
    np.testing.assert_array_equal(scales[0], scales[1])
    np.testing.assert_array_equal(scales[0], scales[2])
    floats = [
        exported.lowered.get_layer(f"{name}{tap}").get_weights()[0]
        for tap in range(3)
    ]
    # The widest of the three taps, over 127 steps on either side.
    expected = np.abs(floats).max((0, 1, 2, 4)) / 127
    np.testing.assert_allclose(scales[0], expected, rtol=1e-5)
    for tap in range(3):
        kernel = kernels[f"{name}{tap}"]
        data = content.buffers[kernel.buffer].data.view(np.int8)
        rounded = data.reshape(kernel.shape)[0] * scales[0]
        error = np.abs(rounded - floats[tap][..., 0])
        assert (error <= scales[0] * 0.5001).all()


def test_shared_scales_cost_little(exported):
    samples = quantize.samples_of(exported.clips[:8])
    apart = quantize.convert_on(exported.lowered, "int8", samples)
    shared = quantize.convert(exported.lowered, "int8", exported.clips[:8])
    errors = []
    for model in (apart, shared):
        run = interpreters.ClipRunner(model)
        errors.append(
            np.mean(
                [
                    np.abs(
                        run(clip)
                        - exported.lowered(clip.astype(np.float32)).numpy()[0]
                    ).mean()
                    for clip in exported.clips[8:]
                ]
            )
        )
    # Random kernels have unlike taps; those of a trained network are closer.
    assert errors[1] < 2 * errors[0]


def content_of(buffers, *, tensors, metadata):
    """A `ModelT` of the data of buffers, and the numbers that refer to them."""

    def entries(numbers):
        return [types.SimpleNamespace(buffer=number) for number in numbers]

    return types.SimpleNamespace(
        buffers=[types.SimpleNamespace(data=data) for data in buffers],
        subgraphs=[types.SimpleNamespace(tensors=entries(tensors))],
        metadata=entries(metadata),
    )


def numbers_in(content):
    return (
        [tensor.buffer for tensor in content.subgraphs[0].tensors],
        [entry.buffer for entry in content.metadata],
        [entry.data for entry in content.buffers],
    )


def test_constants_are_taken_apart():
    # Two activations, two equal constants, and one that is metadata, too.
    content = content_of(
        [None, b"weights", b"version"], tensors=[0, 0, 1, 1, 2], metadata=[2]
    )
    compact.separate_buffers(content)
    assert numbers_in(content) == (
        [0, 0, 1, 3, 4],
        [2],
        [None, b"weights", b"version", b"weights", b"version"],
    )


def test_equal_constants_get_one_buffer_and_activations_the_first():
    content = content_of(
        [None, b"unused", None, b"weights", b"", b"version", b"weights"],
        tensors=[2, 3, 4, 6],
        metadata=[5],
    )
    compact._share_buffers(content)
    assert numbers_in(content) == (
        [0, 1, 0, 1], [2], [None, b"weights", b"version"],
    )  # fmt: skip
