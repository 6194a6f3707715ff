"""The browser's recognizer, run in Node.js, against the one in Python."""

import contextlib
import functools
import http.server
import json
import os
import shutil
import subprocess
import threading

import numpy as np
import pytest

from autox3d_edge import Recognizer, float_lowering, quantize
from autox3d_tf.data import sampling, synthetic
from tests.conftest import REPO
from tests.edge.ports import WEB, moving_frames, write_model, write_stream


def test_seconds_show_the_frames_that_are_counted(ask_web):
    # Of videos of 25 frames a second.
    dense = {"sampling": "dense", "fps": 25.0}
    cases = [
        ({"sampling": "segment", "clip_frames": 4, "stride": 1}, 1),
        ({**dense, "clip_frames": 4, "stride": 5}, 5),
        ({**dense, "clip_frames": 4, "stride": 6, "stride_fps": 30}, 5),
        ({**dense, "clip_frames": 13, "stride": 6}, 6),
    ]
    asked = [(*case, n) for case in cases for n in (20, 49, 50, 71)]
    answers = ask_web(
        *({"do": "clipTimes", "given": [c, n / 25]} for c, _, n in asked)
    )
    for (case, stride, frames), answer in zip(asked, answers, strict=True):
        expected = sampling.sample_indices(
            case["sampling"], frames, case["clip_frames"], stride=stride
        )
        found = np.floor(np.array(answer["value"]) * 25 + 1e-6)
        np.testing.assert_array_equal(np.minimum(found, frames - 1), expected)


def test_frames_without_alpha(ask_web, video):
    frames = moving_frames(2, 30, 44)
    call = {"do": "cut", "clip": video(frames), "given": [18, 16, False]}
    (answer,) = ask_web({**call, "rgb": True})
    expected = sampling.resize_frames(frames, 18, crop_size=16)
    assert answer["value"] == expected.reshape(2, -1).tolist()


def test_float_files_say_the_same(
    ask_web, video, exported, tmp_path, monkeypatch
):
    """Frames in one image, and the strided block one frame at a time."""
    monkeypatch.setattr(float_lowering, "_CACHE_BYTES", 0)
    lowered = float_lowering.lower_float(exported.arch, exported.weights)
    model = quantize.convert(lowered, "fp32")
    path = write_model(tmp_path / "fp32.tflite", model, exported)
    clips = exported.clips[:3]
    answers = ask_web(
        *({"do": "scores", "model": path, "clip": video(c)} for c in clips)
    )
    for clip, answer in zip(clips, answers, strict=True):
        expected = lowered(clip.astype(np.float32)).numpy()[0]
        np.testing.assert_allclose(answer["value"], expected, atol=1e-5)


def test_what_a_browser_cannot_do(ask_web, video, exported, streams, tmp_path):
    native, stream = streams.int8_native
    path = write_model(
        tmp_path / "native.tflite", native, exported, stream=stream
    )
    clip = video(moving_frames(4, 24, 24))
    good = {"do": "push", "model": str(exported.path), "clip": clip}

    def method(*given):
        return {"do": "method", "given": given}

    cases = {
        "Browsers take no int8 tensors": {"model": path},
        "`hop` must be a positive integer": {"options": {"hop": 0}},
        "`fps` must be a positive number": {"options": {"fps": "30"}},
        "1000. Received: fps=.": {"do": "frameNumbers", "given": [9, ""]},
        "`source` must be an address": {"model": None},
        "a Uint8Array. Received: .": {"model": ""},
        "`frames` must be an array": method("classify", "frame"),
        "clip. Received: String.": method("clipOf", "abcd"),
        "clip. Received: undefined.": method("clipOf", None),
        "Received: undefined x undefined": method("clipOf", [None] * 4),
        "of seconds. Received: null.": method("push", "frame", None),
        "of seconds. Received: 1.5.": method("push", "frame", 1.5),
        "of hop, window, fps. Received: 30.": method("reset", 30),
        "`top` must be a positive": {"do": "classify", "top": 2.5},
        "Received: framerate": {"options": {"framerate": 30}},
        "A frame must be ImageData": {"clip": {**clip, "width": 23}},
        "must be ImageData": {"clip": {**clip, "width": 28.8, "height": 20}},
        "values (Float32Array)": {"clip": {**clip, "type": "Float32Array"}},
        "values (Uint16Array)": {"clip": {**clip, "type": "Uint16Array"}},
        "values (Array)": {"clip": {**clip, "type": "Array"}},
    }
    nothing = {"hop": None, "window": None, "fps": None}
    answers = ask_web(
        *({**good, **change} for change in cases.values()),
        {**good, "options": nothing},
    )
    assert "value" in answers.pop()
    for message, answer in zip(cases, answers, strict=True):
        assert message in answer.get("error", ""), answer


def test_a_closed_recognizer_says_so(ask_web, video, exported):
    call = {
        "do": "closed", "model": str(exported.path),
        "clip": video(moving_frames(1, 24, 24)),
    }  # fmt: skip
    for answer in ask_web(*({**call, "given": [m]} for m in ("push", "reset"))):
        assert "recognizer is closed" in answer.get("error", ""), answer


def test_scores_that_fail_leave_no_trace(
    ask_web, video, exported, streams, tmp_path
):
    path = write_stream(tmp_path / "stream.tflite", streams.fp32, exported)
    clip = streams.clips[0]
    short, failed = ask_web(
        *(
            {"do": "failed", "model": path, "clip": video(c), "given": [after]}
            for c, after in ((clip[1:], clip.size), (clip, clip.size // 2))
        )
    )
    message, scores = short["value"]
    assert message == "`clip` must have 4608 values. Received: 3840."
    expected = Recognizer(path).push(clip[1])
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    message, scores = failed["value"]
    assert message == "no memory"
    expected = Recognizer(path).push(clip[0])
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_runs_that_fail_keep_no_memory(
    ask_web, video, exported, streams, tmp_path
):
    path = write_stream(tmp_path / "stream.tflite", streams.fp32, exported)
    inputs = 1 + len(streams.fp32[1].states)
    answers = ask_web(
        *(
            {"do": "kept", "model": str(model), "clip": video(clip)}
            for model, clip in (
                (exported.path, exported.clips[0]),
                (path, streams.clips[0]),
            )
        )
    )
    for count, answer in zip((1, inputs), answers, strict=True):
        assert answer == {"value": ["no memory", [True] * count]}


class _Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextlib.contextmanager
def served(folder):
    """Address of a folder on this machine."""
    handler = functools.partial(_Silent, directory=folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_building_the_page_keeps_what_else_is_there(node, exported, tmp_path):
    site = tmp_path / "site"
    (site / "wasm").mkdir(parents=True)
    (site / "notes.txt").write_text("mine")
    (site / "wasm/old.wasm").write_text("of another version")
    model = shutil.copy(exported.path, site / "model.tflite")
    build = [node, "build.js", f"--out={site}"]
    subprocess.run([*build, model], cwd=WEB, check=True, capture_output=True)
    assert (site / "index.html").is_file() and (site / "page.js").is_file()
    assert not (site / "wasm/old.wasm").exists()
    assert (site / "notes.txt").read_text() == "mine"
    assert (site / "model.tflite").read_bytes() == exported.path.read_bytes()
    again = subprocess.run(
        [*build, exported.path, model, exported.path],
        cwd=WEB, capture_output=True, text=True,
    )  # fmt: skip
    name = os.path.basename(exported.path)
    assert (again.returncode, again.stderr) == (
        1,
        f"Two files are called {name}.\n",
    )


@pytest.mark.large
def test_the_page_in_a_browser(node, exported, streams, tmp_path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs Chromium (Debian's package chromium)")
    site = tmp_path / "site"
    clip = shutil.copy(exported.path, tmp_path / "clip.tflite")
    subprocess.run(
        [node, "build.js", f"--out={site}", clip], cwd=WEB, check=True
    )
    write_stream(site / "stream.tflite", streams.int8, exported)
    (site / "bad.tflite").write_bytes(b"no model")
    video = site / "video.mp4"
    frames = (moving_frames(24, 60, 80) + 90).clip(0, 255).astype(np.uint8)
    synthetic.write_video(str(video), frames, fps=12)
    models = ("clip", "stream", "bad")
    empty = f"index.html?model={models[0]}.tflite&video=none.mp4"
    answer = tmp_path / "answer.json"
    script = str(REPO / "tests/edge/web_browser.mjs")
    with served(site) as address:
        pages = [
            f"{address}/index.html?model={name}.tflite&video=video.mp4"
            for name in models
        ]
        pages.append(f"{address}/{empty}")
        subprocess.run([node, script, browser, answer, *pages], check=True)
    *good, bad, absent = json.loads(answer.read_text())
    for name, said in zip(models, good, strict=False):
        probability = dict(Recognizer(site / f"{name}.tflite").classify(video))
        assert len(said["video"]["rows"]) == 5
        for label, percent in said["video"]["rows"]:
            # Browsers turn YUV into RGB in a way of their own.
            found = float(percent.removesuffix("%")) / 100
            assert found == pytest.approx(probability[label], abs=0.05)
        assert (
            said["video"]["status"]
            == f"Most likely {said['video']['rows'][0][0]}"
        )
        assert len(said["camera"]["rows"]) == 5
        assert said["camera"]["status"] == "Watching ..."
        assert said["camera"]["time"].endswith("ms for the frame")
        assert said["off"] == {
            "status": "The camera is off.", "time": "", "rows": []
        }  # fmt: skip
        assert said["broken"] == {
            "status": "no memory", "rows": [],
            "pressed": "false", "track": "ended",
        }  # fmt: skip
    assert bad["video"]["status"].startswith("This is not a .tflite file")
    assert bad["video"]["rows"] == [] and bad["camera"] is None
    assert absent["video"]["status"] == "Cannot read none.mp4: 404."
