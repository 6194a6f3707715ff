"""Operators are timed one by one, those of a stream too."""

import collections

from autox3d_edge import flatbuffer, op_profile, quantize


def test_every_operator_of_a_stream_is_timed(streams, monkeypatch):
    monkeypatch.setattr(op_profile, "_AT_ONCE", 7)
    model, _ = streams.int8  # with operators of two inputs, and of int32
    found = op_profile.profile(model, repeats=1)
    operators = flatbuffer.read_graph(model).operators
    counts = collections.Counter(operator.code for operator in operators)
    assert {name: n for name, (n, _) in found.kinds.items()} == counts
    times = [ms for _, ms in found.kinds.values()]
    assert times == sorted(times, reverse=True) and min(times) > 0
    assert found.whole > 0


def test_weights_of_fp16_are_unpacked_where_they_are_used(exported):
    model = quantize.convert(exported.lowered, "fp16")
    found = op_profile.profile(model, repeats=1)
    operators = flatbuffer.read_graph(model).operators
    counts = collections.Counter(operator.code for operator in operators)
    assert counts.pop("DEQUANTIZE") > 10
    assert {name: n for name, (n, _) in found.kinds.items()} == counts


def test_a_profile_is_a_line_per_kind():
    found = op_profile.Profile(
        whole=3.5, kinds={"CONV_2D": (2, 3.0), "ADD": (1, 1.0)}
    )
    lines = op_profile.format_profile(found).splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["CONV_2D", "2", "3.000", "75.0%"],
        ["ADD", "1", "1.000", "25.0%"],
        ["all", "of", "them", "3", "4.000"],
        ["the", "file", "in", "one", "go", "3.500"],
    ]
