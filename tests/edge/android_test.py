"""What only the recognizer for Android has; ports_test.py has the rest."""

import json

import numpy as np
import pytest

from autox3d_edge import Recognizer, flatbuffer
from autox3d_edge import manifest as manifest_lib
from autox3d_tf.data import sampling
from tests.edge.ports import moving_frames, write_model, write_stream


def test_frames_as_a_phone_has_them(ask_android, video):
    frames = moving_frames(1, 6, 10)
    padded = np.zeros((6, 13, 4), np.uint8)  # rows are longer than the picture
    padded[:, :10, :3] = frames[0]
    argb = np.full((1, 6, 10, 4), 255, np.uint8)
    argb[..., 1:] = frames
    turns = (0, 90, 180, 270)
    rgba, numbers, *turned = ask_android(
        {"do": "padded", "clip": video(padded[None]), "given": [10, 6, 52]},
        {"do": "argb", "clip": video(argb)},
        *({"do": "turn", "clip": video(frames), "given": [t]} for t in turns),
    )
    assert rgba["value"] == frames.ravel().tolist()
    assert numbers["value"] == frames.ravel().tolist()
    for quarters, answer in enumerate(turned):
        expected = np.rot90(frames[0], -quarters)  # clockwise
        assert answer["value"] == [expected.ravel().tolist()]


def test_turned_frames_are_cut(ask_android, video):
    frames = moving_frames(1, 30, 44)
    rgba = np.full((1, 30, 44, 4), 255, np.uint8)
    rgba[..., :3] = frames
    call = {"do": "cut", "given": [18, 16, False]}
    for clip in map(video, (frames, rgba)):
        turns = (0, 90, 180, 270)
        answers = ask_android(*({**call, "clip": clip, "turn": t}
                                for t in turns))  # fmt: skip
        for quarters, answer in enumerate(answers):
            turned = np.rot90(frames, -quarters, (1, 2))  # clockwise
            expected = sampling.resize_frames(turned, 18, crop_size=16)
            assert answer["value"] == [expected.ravel().tolist()]


def test_no_frame_does_not_count(ask_android, video, exported):
    call = {
        "do": "push", "model": str(exported.path),
        "clip": video(moving_frames(9, 24, 24)), "options": {"window": 6},
    }  # fmt: skip
    expected, found = ask_android(call, {**call, "nulls": True})
    assert found == expected


def test_states_of_any_type(ask_android, video, exported, streams, tmp_path):
    path = write_stream(
        tmp_path / "native.tflite", streams.int8_native, exported
    )
    frames = moving_frames(9, 30, 40)
    (pushed,) = ask_android(
        {"do": "push", "model": path, "clip": video(frames)}
    )
    recognizer = Recognizer(path)
    expected = [recognizer.push(frame) for frame in frames]
    np.testing.assert_array_equal(pushed["value"][:-1], expected)
    assert pushed["value"][-1] == pushed["value"][0]


def test_vectors_that_are_longer_than_the_model(
    ask_android, exported, tmp_path
):
    model, _ = manifest_lib.read_model(exported.path)
    tables = flatbuffer.schema()
    graph = tables.Model.GetRootAs(model).Subgraphs(0)
    tensor = graph.Tensors(graph.Inputs(0))
    calls = []
    for table, offset in (
        (graph._tab, 6),  # inputs
        (tensor._tab, 4),  # shape
        (tensor._tab, 10),  # name
    ):
        place = table.Vector(table.Offset(offset)) - 4
        for length in (2**31, 2**31 - 1, 2**32 - 1, len(model)):
            longer = bytearray(model)
            longer[place : place + 4] = length.to_bytes(4, "little")
            path = tmp_path / f"{len(calls)}.tflite"
            write_model(path, bytes(longer), exported)
            calls.append({"do": "manifest", "model": str(path)})
    for answer in ask_android(*calls):
        assert answer == {"error": "The model of this file is no .tflite."}


def test_json(ask_android):
    values = [
        {"a": [1, -2.5, 1e-3, True, False, None], "b": {}, "c": []},
        'quotes " and \\ and \n and \x07, \u00e9 and \U0001f600',
        0,
        [-0.5, 10, 1e300, 2.5e-7],
    ]
    texts = [json.dumps(value) for value in values]
    texts += [json.dumps(value, ensure_ascii=False) for value in values]
    answers = ask_android(*({"do": "parse", "given": [t]} for t in texts))
    assert [answer["value"] for answer in answers] == 2 * values


@pytest.mark.parametrize(
    "text",
    ["", "{", '{"a"}', '{"a":1,}', "[1 2]", "[1]]", '"a', "tru", "-", "1.2.3",
     "+1", "01", "1.", ".5", "1e", '"\\x"', '"\\u12g4"', "{1:2}", "[" * 10_000],
)  # fmt: skip
def test_what_is_not_json(ask_android, text):
    (answer,) = ask_android({"do": "parse", "given": [text]})
    assert "is not JSON" in answer["error"]


def test_bad_calls(ask_android, video, exported):
    clip = video(moving_frames(4, 24, 24))
    good = {"do": "push", "model": str(exported.path), "clip": clip}
    cases = {
        "`hop` and `window` must be positive": {"options": {"hop": -1}},
        "or 0 if not known": {"do": "frameNumbers", "given": [9, -1.0]},
        "A frame must have as many values": {"clip": {**clip, "width": 23}},
        "`degrees` must be 0, 90, 180 or 270": {"do": "turn", "given": [45]},
        "`clip` must have 6912 values": {
            "do": "scores", "clip": video(moving_frames(3, 24, 24))
        },
    }  # fmt: skip
    answers = ask_android(*({**good, **change} for change in cases.values()))
    for message, answer in zip(cases, answers, strict=True):
        assert message in answer.get("error", ""), answer


def test_null_is_named(ask_android, video, exported):
    call = {
        "do": "null", "model": str(exported.path),
        "clip": video(moving_frames(1, 24, 24)),
    }  # fmt: skip
    cases = {
        "classify": "video[1]", "makeClip": "video", "clipOf": "sampled",
        "scores": "clip", "reset": "pace", "network": "network",
        "ofRgb": "rgb", "ofArgb": "argb", "ofRgba": "rgba", "read": "source",
    }  # fmt: skip
    answers = ask_android(*({**call, "given": [method]} for method in cases))
    for name, answer in zip(cases.values(), answers, strict=True):
        assert answer == {"error": f"`{name}` must not be null."}
