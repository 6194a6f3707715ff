"""Operators are timed one by one, those of a stream too."""

import collections
import types

from autox3d_edge import cut, flatbuffer, manifest, op_profile, quantize


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


def test_a_kind_takes_what_its_operators_take_together(exported, monkeypatch):
    def time_in_turns(models, repeats):
        return [types.SimpleNamespace(median=len(m)) for m in models.values()]

    monkeypatch.setattr(op_profile.benchmark, "time_in_turns", time_in_turns)
    monkeypatch.setattr(op_profile.interpreters, "prepare", lambda m, *_: m)
    model, _ = manifest.read_model(exported.path)
    found = op_profile.profile(model)
    codes = [o.code for o in flatbuffer.read_graph(model).operators]
    sizes = collections.Counter()
    for number, piece in cut.Cutter(model).operators():
        sizes[codes[number]] += len(piece)
    assert {name: ms for name, (_, ms) in found.kinds.items()} == sizes
    assert found.whole == len(model)


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
