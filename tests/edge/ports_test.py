"""The recognizers of other languages against the one in Python."""

import dataclasses
import io
import json
import math
import zipfile

import numpy as np
import pytest

from autox3d_edge import Recognizer
from autox3d_edge import manifest as manifest_lib
from autox3d_tf.data import sampling
from tests.edge.ports import (
    moving_frames,
    write_dense_model,
    write_model,
    write_stream,
)


@pytest.fixture(params=["web", "android"])
def ask(request):
    """A function that has calls answered by one of them."""
    return request.getfixturevalue(f"ask_{request.param}")


def test_frame_numbers(ask):
    cases = [
        (mode, frames, clip, stride)
        for mode in ("segment", "dense")
        for frames in (1, 3, 16, 29, 100)
        for clip in (1, 4, 13)
        for stride in (1, 2.5, 6)
    ]
    answers = ask(*({"do": "sampleIndices", "given": c} for c in cases))
    for (mode, frames, clip, stride), answer in zip(
        cases, answers, strict=True
    ):
        expected = sampling.sample_indices(mode, frames, clip, stride=stride)
        assert answer == {"value": expected.tolist()}


@pytest.mark.parametrize("squash", [False, True])
def test_pixels(ask, video, squash):
    cases = [
        (moving_frames(2, 60, 91), 24, 24),
        (moving_frames(1, 91, 60), 24, 21),
        (moving_frames(1, 20, 30), 47, 40),
        (moving_frames(1, 24, 24), 24, 24),
        (moving_frames(1, 24, 25), 24, 23),
        (moving_frames(1, 1, 20_000), 36, 32),
        (moving_frames(1, 20_000, 1), 36, 32),
    ]
    answers = ask(
        *(
            {"do": "cut", "clip": video(frames), "given": [side, crop, squash]}
            for frames, side, crop in cases
        )
    )
    for (frames, side, crop), answer in zip(cases, answers, strict=True):
        expected = sampling.resize_frames(frames, side, squash, crop)
        found = np.reshape(answer["value"], expected.shape)
        np.testing.assert_array_equal(found, expected)


def test_colours(ask, video):
    clip = moving_frames(3, 16, 20)
    grey = np.full((2, 4, 4, 3), 7, np.uint8)
    cases = [(c, how) for c in (clip, grey) for how in sampling.STANDARDIZE]
    answers = ask(
        *(
            {"do": "standardize", "clip": video(c), "how": how}
            for c, how in cases
        )
    )
    for (frames, how), answer in zip(cases, answers, strict=True):
        expected = sampling.standardize(frames, how)
        np.testing.assert_array_equal(
            np.reshape(answer["value"], expected.shape), expected
        )


def test_clips_and_scores(ask, video, exported):
    frames = moving_frames(11, 60, 90)
    whole = {"model": str(exported.path), "clip": video(frames)}
    clip = video(exported.clips[0])
    made, taken, named, scores = ask(
        {"do": "makeClip", **whole},
        {"do": "makeClip", "model": str(exported.path), "clip": clip},
        {"do": "classify", **whole, "top": 3},
        {"do": "scores", "model": str(exported.path), "clip": clip},
    )
    recognizer = Recognizer(exported.path)
    np.testing.assert_array_equal(
        made["value"], recognizer.make_clip(frames).ravel()
    )
    np.testing.assert_array_equal(taken["value"], exported.clips[0].ravel())
    expected = recognizer.scores(exported.clips[0])
    # WebAssembly and this CPU may round a sum differently: one step.
    np.testing.assert_allclose(scores["value"], expected, atol=1 / 256)
    assert len(named["value"]) == 3
    probability = dict(recognizer.classify(frames))
    for label, found in named["value"]:
        assert found == pytest.approx(probability[label], abs=1 / 256)


def test_clips_are_looked_at_in_turn(ask, video, exported, tmp_path):
    dense, slow = (
        write_dense_model(tmp_path / f"dense{fps}.tflite", exported, fps)
        for fps in (0.0, 15.0)
    )
    frames = moving_frames(14, 30, 40)
    clip = video(frames)
    cases = [
        (str(exported.path), {}),
        (str(exported.path), {"window": 6, "hop": 2}),
        (dense, {}),
        (dense, {"fps": 15.0}),
        (slow, {}),
    ]
    answers = ask(
        *(
            {"do": "push", "model": path, "clip": clip, "options": options}
            for path, options in cases
        )
    )
    for (path, options), answer in zip(cases, answers, strict=True):
        check_pushed(Recognizer(path, **options), frames, answer["value"])


def test_clips_last_as_long_at_any_rate(ask, video, exported, tmp_path):
    path = write_dense_model(
        tmp_path / "dense.tflite", exported, fps=29.97, stride_fps=0.0
    )
    frames = moving_frames(14, 28, 28)
    cases = ({}, {"fps": 30_000 / 1001}, {"fps": 59.94}, {"fps": 14.985})
    answers = ask(
        *(
            {"do": "makeClip", "model": path, "clip": video(frames),
             "options": options}
            for options in cases
        )
    )  # fmt: skip
    numbers = ([3, 5, 7, 9], [3, 5, 7, 9], [0, 4, 8, 12], [5, 6, 7, 8])
    for options, wanted, answer in zip(cases, numbers, answers, strict=True):
        recognizer = Recognizer(path, **options)
        expected = recognizer.make_clip(frames)
        clip = recognizer.make_clip(frames[wanted, 2:26, 2:26])
        np.testing.assert_array_equal(expected, clip)
        np.testing.assert_array_equal(answer["value"], expected.ravel())


def test_rates_of_half_a_thousandth_are_rounded_alike(ask, exported, tmp_path):
    # A rate below the known one would make every clip begin a frame later.
    cases = {29.971: 29.9705, 29.972: 29.9715}
    paths = [
        write_dense_model(tmp_path / f"{fps}.tflite", exported, fps, 0.0)
        for fps in cases
    ]
    answers = ask(
        *({"do": "frameNumbers", "model": path, "given": [14, fps]}
          for path, fps in zip(paths, cases.values(), strict=True))
    )  # fmt: skip
    for path, fps, answer in zip(paths, cases.values(), answers, strict=True):
        assert answer["value"] == [3, 5, 7, 9]
        found = Recognizer(path).frame_numbers(14, fps)
        assert found.tolist() == answer["value"]


def test_a_file_may_know_its_rate_to_many_digits(ask, exported, tmp_path):
    path = write_dense_model(
        tmp_path / "dense.tflite", exported, fps=30_000 / 1001, stride_fps=0.0
    )
    given = [[14, fps] for fps in (0.0, 29.97, 30_000 / 1001)]
    answers = ask(
        *({"do": "frameNumbers", "model": path, "given": one} for one in given)
    )
    for one, answer in zip(given, answers, strict=True):
        assert answer["value"] == [3, 5, 7, 9]
        assert Recognizer(path).frame_numbers(*one).tolist() == [3, 5, 7, 9]


def test_only_the_frames_of_a_clip(ask, video, exported, tmp_path):
    path = write_dense_model(tmp_path / "dense.tflite", exported, fps=15.0)
    frames = moving_frames(14, 30, 40)
    recognizer = Recognizer(path)
    cases = {0.0: [5, 6, 7, 8], 60.0: [0, 4, 8, 12]}
    sampled = frames[cases[0.0]]
    *numbers, clip, fewer, none = ask(
        *({"do": "frameNumbers", "model": path, "given": [14, fps]}
          for fps in cases),
        {"do": "clipOf", "model": path, "clip": video(sampled)},
        {"do": "clipOf", "model": path, "clip": video(sampled[1:])},
        {"do": "frameNumbers", "model": path, "given": [0, 0.0]},
    )  # fmt: skip
    for (fps, expected), answer in zip(cases.items(), numbers, strict=True):
        assert answer["value"] == expected
        assert recognizer.frame_numbers(14, fps).tolist() == expected
    expected = recognizer.make_clip(frames)
    np.testing.assert_array_equal(clip["value"], expected.ravel())
    np.testing.assert_array_equal(recognizer.clip_of(sampled), expected)
    message = "`sampled` must be the 4 frames of a clip. Received: 3."
    assert fewer["error"] == message
    with pytest.raises(ValueError, match=message):
        recognizer.clip_of(sampled[1:])
    message = "`count` must be a positive integer"
    assert message in none["error"]
    with pytest.raises(ValueError, match=message):
        recognizer.frame_numbers(0)


def test_names_of_scores(ask, exported):
    call = {"do": "named", "model": str(exported.path), "top": 3}
    scores = [0.0, 0.25, 0.0, 0.5, 0.0, 0.25, 0.0]
    cases = (None, [], scores[:6])
    named, *bad = ask(
        *({**call, "given": [given]} for given in (scores, *cases))
    )
    recognizer = Recognizer(exported.path)
    pairs = [["gesture 3", 0.5], ["gesture 1", 0.25], ["gesture 5", 0.25]]
    assert named["value"] == pairs
    assert list(map(list, recognizer.named(scores, 3))) == pairs
    message = "`scores` must be 7 numbers, one per class. Received: "
    for given, answer in zip(cases, bad, strict=True):
        assert answer["error"].startswith(message)
        with pytest.raises(ValueError, match=message):
            recognizer.named(given)
    with pytest.raises(ValueError, match=message):
        recognizer.named(["0.5"] * 7)
    for top, answer in zip(
        (-1, 0),
        ask(*({**call, "given": [scores], "top": top} for top in (-1, 0))),
        strict=True,
    ):
        assert "`top` must be a positive integer" in answer["error"]
        with pytest.raises(ValueError, match="`top` must be a positive"):
            recognizer.named(scores, top)
    assert bad[0]["error"].endswith("as of `push` before it has looked.")


def test_what_a_recognizer_says_of_itself(ask, exported, tmp_path):
    path = write_dense_model(tmp_path / "dense.tflite", exported, fps=15.0)
    paces = ({}, {"fps": 60.0}, {"hop": 3, "window": 9})
    answers = ask(
        *({"do": "about", "model": path, "options": pace} for pace in paces)
    )
    for pace, answer in zip(paces, answers, strict=True):
        known = Recognizer(path, **pace)
        assert answer["value"] == [
            list(known.labels), list(known.clip_shape),
            known.hop, known.window, known.fps,
        ]  # fmt: skip


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_streams(ask, video, exported, streams, tmp_path, precision):
    path = write_stream(
        tmp_path / "stream.tflite", getattr(streams, precision), exported,
        standardize="frame", fps=15.0,
    )  # fmt: skip
    frames = moving_frames(9, 30, 40)
    clip = video(streams.clips[0])
    pushed, scores = ask(
        {"do": "push", "model": path, "clip": video(frames)},
        {"do": "scores", "model": path, "clip": clip},
    )
    recognizer = Recognizer(path)
    check_pushed(recognizer, frames, pushed["value"])
    expected = recognizer.scores(streams.clips[0])
    np.testing.assert_allclose(scores["value"], expected, atol=1 / 256)


def test_frames_at_any_time(ask, video, exported, streams, tmp_path):
    by_frame = write_stream(tmp_path / "stream.tflite", streams.fp32, exported)
    frames = moving_frames(8, 24, 24)
    slow, fast = ((5 + np.arange(8) / rate).tolist() for rate in (10, 90))
    paces = {"fps": 30.0, "window": 7, "hop": 3}
    cases = [  # what comes, and as which frames at 30 a second it counts
        (path, seconds, numbers)
        for path in (str(exported.path), by_frame)
        for seconds, numbers in (
            (slow, [[0]] + [[i - 1, i - 1, i] for i in range(1, 8)]),
            (fast, [[0], [], [2], [], [], [5], [], []]),
        )
    ]
    answers = ask(
        *(
            {"do": "push", "model": path, "clip": video(frames),
             "options": paces, "seconds": seconds}
            for path, seconds, _ in cases
        )
    )  # fmt: skip
    for (path, seconds, numbers), answer in zip(cases, answers, strict=True):
        timed, counted = (Recognizer(path, **paces) for _ in range(2))
        check_pushed(timed, frames, answer["value"], seconds)
        timed.reset()
        expected = None
        for frame, second, shown in zip(frames, seconds, numbers, strict=True):
            for number in shown:
                expected = counted.push(frames[number])
            found = timed.push(frame, second)
            if expected is None:
                assert found is None
            else:
                np.testing.assert_array_equal(found, expected)


def test_looks_stay_a_hop_apart(ask, video, exported, streams, tmp_path):
    """A look that comes late leaves the next where it was."""
    by_frame = write_stream(tmp_path / "stream.tflite", streams.fp32, exported)
    frames = moving_frames(8, 24, 24)
    seconds = (5 + np.array([0, 3, 7, 9, 10, 12, 13, 15]) / 30).tolist()
    paces = {"fps": 30.0, "window": 7, "hop": 3}
    paths = str(exported.path), by_frame
    answers = ask(
        *(
            {"do": "push", "model": path, "clip": video(frames),
             "options": paces, "seconds": seconds}
            for path in paths
        )
    )  # fmt: skip
    for path, answer in zip(paths, answers, strict=True):
        check_pushed(
            Recognizer(path, **paces), frames, answer["value"], seconds
        )


def test_times_that_make_no_sense(ask, video, exported):
    frames = moving_frames(2, 24, 24)
    call = {
        "do": "push", "model": str(exported.path), "clip": video(frames),
        "options": {"fps": 30.0},
    }  # fmt: skip
    falls, unknown = ask(
        {**call, "seconds": [2.0, 1.0]},
        {**call, "seconds": [2.0, 3.0], "options": {}},
    )
    for answer, options, message in (
        (falls, {"fps": 30.0}, "`seconds` must be a number and not fall"),
        (unknown, {}, "`seconds` need a frame rate"),
    ):
        assert message in answer["error"]
        recognizer = Recognizer(exported.path, **options)
        with pytest.raises(ValueError, match=message):
            for frame, seconds in zip(frames, (2.0, 1.0), strict=True):
                recognizer.push(frame, seconds)


def check_pushed(recognizer, frames, found, seconds=None):
    """Each frame's scores, and after a reset those of the first again."""
    *found, again = found
    seconds = seconds or [None] * len(frames)
    expected = list(map(recognizer.push, frames, seconds))
    assert [s is None for s in found] == [s is None for s in expected]
    for values, wanted in zip(found, expected, strict=True):
        if wanted is not None:
            np.testing.assert_allclose(values, wanted, atol=1 / 256)
    assert again == found[0]


def test_a_rate_that_makes_no_sense(ask, video, exported):
    clip = video(moving_frames(4, 24, 24))
    call = {"do": "push", "model": str(exported.path), "clip": clip}
    rates = (-5.0, 29_970.0, 1e300)
    for answer in ask(*({**call, "options": {"fps": r}} for r in rates)):
        assert (
            "`fps` must be a positive number, at most 1000" in answer["error"]
        )


def test_a_manifest_of_another_network(ask, video, exported, tmp_path):
    model, manifest = manifest_lib.read_model(exported.path)
    calls = []
    for number, other in enumerate(({"clip_frames": 3}, {"crop_size": 16})):
        cut = dataclasses.replace(manifest.preprocessing, **other)
        path = write_model(
            tmp_path / f"{number}.tflite", model, exported, preprocessing=cut
        )
        with pytest.raises(ValueError, match=r"must fit .* \(4, 24, 24, 3\)"):
            Recognizer(path)
        clip = video(moving_frames(4, 24, 24))
        calls.append({"do": "push", "model": path, "clip": clip})
    for answer in ask(*calls):
        message = answer.get("error", "")
        assert "must fit its network, which takes frames of shape" in message
        assert "4,24,24,3" in message.replace(" ", "")


def test_a_manifest_with_flipped_bytes(ask, video, exported, tmp_path):
    data = exported.path.read_bytes()
    model, manifest = manifest_lib.read_model(exported.path)
    calls = []
    clip = video(moving_frames(4, 24, 24))
    for position in range(len(model), len(data), 37):
        flipped = bytearray(data)
        flipped[position] ^= 0x55
        path = tmp_path / f"{position}.tflite"
        path.write_bytes(flipped)
        calls.append({"do": "manifest", "model": str(path), "clip": clip})
    answers = ask(*calls)
    # Some bytes of a zip mean nothing (dates), or are of other entries.
    refused = [a["error"] for a in answers if "error" in a]
    read = [a["value"] for a in answers if "value" in a]
    assert len(refused) > len(answers) // 4
    assert all("\n" not in message for message in refused)
    assert all(labels == list(manifest.labels) for labels in read)


def zipped(manifest):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", manifest)
    return content.getvalue()


def test_a_manifest_that_makes_no_sense(ask, exported, streams, tmp_path):
    clip, dense = str(exported.path), {"sampling": "dense"}
    cases = [  # which file, and fields of it, the last of which is named
        (clip, {"preprocessing": change})
        for change in (
            *({"stride": s} for s in ("2", -3, 0.5, True, None)),
            *({**dense, "stride": s} for s in (-3, 2.5)),
            *({"stride_fps": r} for r in (-1, "30", False, math.inf)),
            *({"fps": r} for r in (-1, [25], None)),
            *({"squash": s} for s in (1, "yes", None)),
            *({"standardize": s} for s in (1, "clip", None)),
            *({"clip_frames": c} for c in ("4", 0, 4.5, True)),
        )
    ]
    cases += [
        (exported.path, {"top": {"labels": labels}})
        for labels in (5, None, "abcdefg", [*"abcdef", 5], [*"abcdef", None])
    ]
    path = write_stream(tmp_path / "stream.tflite", streams.int8, exported)
    cases += [
        (path, {"stream": change})
        for change in (
            *({"states": s} for s in (5, None)),
            *({"memory": m} for m in (0, "16", None)),
            *({"stride": s} for s in (-3, 2.5, "2", None)),
            *({"fps": r} for r in (-1, "30", None)),
        )
    ]
    cases += [
        (path, {"state": change})
        for change in (
            *({"input": i} for i in (5, None)),
            {"output": 5},
            *({"shape": s} for s in (5, None, [1, -8], [1, 2.5], ["1"])),
            *({"dtype": t} for t in ("toString", "float64", 5, ["uint8"])),
            *({"initial": i} for i in (-1, 256, 0.5, "0", True, None)),
        )
    ]
    calls = []
    for number, (source, changes) in enumerate(cases):
        changed = tmp_path / f"{number}.tflite"
        changed.write_bytes(rewritten(source, **changes))
        calls.append({"do": "manifest", "model": str(changed)})
    for call, case, answer in zip(calls, cases, ask(*calls), strict=True):
        ((*_, name),) = case[1].values()
        message = answer.get("error", "").removesuffix(".")
        assert "is incomplete; export the model again" in message, case
        assert name in message.split("Missing: ")[1].split(", "), case
        with pytest.raises(ValueError, match="is incomplete"):
            manifest_lib.read_manifest(call["model"])


def rewritten(path, preprocessing=(), stream=(), state=(), top=()):
    """A file with other fields, which need not make sense, in its manifest."""
    model, _ = manifest_lib.read_model(path)
    with zipfile.ZipFile(path) as archive:
        fields = json.loads(archive.read("manifest.json"))
    fields.update(top)
    fields["preprocessing"].update(preprocessing)
    if fields["stream"]:
        fields["stream"]["states"][0].update(state)
        fields["stream"].update(stream)
    text = json.dumps(fields)
    return model + zipped(text.replace("Infinity", "1e999"))


def test_windows_have_an_end(ask, video, exported, tmp_path):
    path = tmp_path / "far.tflite"
    path.write_bytes(rewritten(exported.path, {"stride": 1e300}))
    clip = video(moving_frames(4, 24, 24))
    slow = tmp_path / "slow.tflite"
    slow.write_bytes(rewritten(exported.path, {"stride_fps": 1e-3}))
    cases = [
        (path, {}, False),
        (slow, {"fps": 1000.0}, False),
        (slow, {"fps": 250.0}, True),
        (exported.path, {"window": 1_000_001}, False),
        (exported.path, {"window": 1_000_000}, True),
    ]
    answers = ask(
        *(
            {"do": "about", "model": str(p), "clip": clip, "options": options}
            for p, options, _ in cases
        )
    )
    for (*_, fits), answer in zip(cases, answers, strict=True):
        if fits:
            assert answer["value"][3] == 1_000_000
        else:
            message = "`window` must be at most 1000000 frames. Received: "
            assert answer["error"].startswith(message)


def test_bad_files(ask, video, exported, streams, tmp_path):
    data = exported.path.read_bytes()
    model, _ = manifest_lib.read_model(exported.path)
    flipped = bytearray(data)
    flipped[len(model) // 2] ^= 0x10
    with zipfile.ZipFile(exported.path) as archive:
        fields = json.loads(archive.read("manifest.json"))
    fields["preprocessing"]["short_side"] = 20
    files = {
        "more than 16777216 bytes": model + zipped(b" " * (17 << 20)),
        "Missing: crop_size.": model + zipped(json.dumps(fields)),
        "not a .tflite": b"not a model",
        "cut short": data[: len(data) - 7],
        "its model was changed": bytes(flipped),
        "no manifest": model,
    }
    calls, wanted = [], []
    clip = video(moving_frames(4, 24, 24))
    for number, (message, content) in enumerate(files.items()):
        path = tmp_path / f"{number}.tflite"
        path.write_bytes(content)
        calls.append({"do": "classify", "model": str(path), "clip": clip})
        wanted.append(message)
    path = write_model(
        tmp_path / "labels.tflite", model, exported, labels=("a",)
    )
    calls.append({"do": "classify", "model": path, "clip": clip})
    wanted.append("must name the 7 classes")
    content, stream = streams.int8
    fewer = dataclasses.replace(stream, states=stream.states[1:])
    path = write_model(
        tmp_path / "states.tflite", content, exported, stream=fewer
    )
    calls.append({"do": "classify", "model": path, "clip": clip})
    wanted.append("tensors of the model")
    for call, message, answer in zip(calls, wanted, ask(*calls), strict=True):
        assert message in answer.get("error", ""), (call, answer)
