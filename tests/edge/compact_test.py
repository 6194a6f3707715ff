"""Smaller, and computes the same."""

import numpy as np

from autox3d_edge import compact, flatbuffer, interpreters, quantize


def test_smaller_aligned_and_equal(exported, monkeypatch):
    shrink = compact.compact
    monkeypatch.setattr(quantize.compact, "compact", lambda model: model)
    plain = quantize.convert(exported.lowered, "int8", exported.clips[:2])
    small = shrink(plain)
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
    assert "head_conv_relu/Relu" in names
    assert not any(";" in name for name in names)


def test_names_that_are_not_ours_are_left_alone():
    assert compact.short_name(b"arith.constant12") == b"arith.constant12"
    assert compact.short_name(b"lowered_net/stem/Conv2D;x") == b"stem/Conv2D"
    assert compact.short_name(None) == b""
