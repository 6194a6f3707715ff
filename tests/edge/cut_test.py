"""Pieces of a file, run one after the other, do what the whole file does."""

import numpy as np
import pytest

from autox3d_edge import cut, interpreters, manifest, streaming


def run(model, values):
    interpreter = interpreters.load(model)
    (given,) = interpreter.get_input_details()
    interpreter.set_tensor(given["index"], values.astype(given["dtype"]))
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def test_the_pieces_make_the_whole(exported):
    model, _ = manifest.read_model(exported.path)
    ends = {
        "stem": "stem_temporal_relu",
        "stage1_block1": "stage1_block1_relu",
        "rest": None,
    }
    pieces = cut.Cutter(model).parts(ends)
    values = exported.clips[0]
    for piece in pieces.values():
        values = run(piece, values)
    np.testing.assert_array_equal(values, run(model, exported.clips[0]))
    assert len(pieces["stem"]) < len(model) / 4  # only its own constants


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_pieces_of_a_stream_make_the_whole(streams, precision):
    model, stream = getattr(streams, precision)
    ends = {"stem": "stem_temporal_relu"}
    for block in streams.arch.blocks():
        ends[block.name] = f"{block.name}_relu"
    pieces = cut.Cutter(model).parts({**ends, "head": None})
    loaded = [interpreters.load(piece) for piece in pieces.values()]
    whole = streaming.StreamRunner(model, stream)
    kept = {
        s.input: np.full(s.shape, s.initial, s.dtype) for s in stream.states
    }
    moves = {state.output: state.input for state in stream.states}
    count = moves.pop("frame_count_next")  # of no piece alone
    for frame in streams.clips[0]:
        whole.push(frame[None])
        values = frame[None].astype(np.float32 if precision == "fp32" else "u1")
        taken = {}
        for run in loaded:
            first, *states = run.get_input_details()
            run.set_tensor(first["index"], values)
            for state in states:
                run.set_tensor(state["index"], kept[state["name"]])
            run.invoke()
            first, *results = run.get_output_details()
            values = run.get_tensor(first["index"])
            for result in results:
                made = run.get_tensor(result["index"])
                taken[moves[result["name"]]] = made
        assert taken.keys() == set(moves.values())
        kept.update(taken, **{count: whole.state(count)})
        np.testing.assert_array_equal(values, whole.output(manifest.SCORES))


def test_what_needs_more_than_the_start_is_refused(exported):
    model, _ = manifest.read_model(exported.path)
    cutter = cut.Cutter(model)
    # The shortcut of a block runs around its first convolution.
    start = cutter.layers["stage1_block1_expand_relu"]
    with pytest.raises(ValueError, match="which also needs the input"):
        cutter.cut(start, cutter.layers["stage1_block1_relu"])


def test_what_comes_before_the_start_is_refused(exported):
    model, _ = manifest.read_model(exported.path)
    cutter = cut.Cutter(model)
    end = cutter.layers["stem_temporal_relu"]
    with pytest.raises(ValueError, match="which (does not|also needs)"):
        cutter.cut(cutter.layers["stage1_block1_relu"], end)
