"""The browser's recognizer, run in Node.js, against the one in Python."""

import contextlib
import functools
import http.server
import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest

from autox3d_edge import Preprocessing, Recognizer
from autox3d_edge import manifest as manifest_lib
from autox3d_tf.data import sampling, synthetic
from tests.conftest import REPO
from tests.edge import networks

WEB = REPO / "edge/web"


@pytest.fixture(scope="module")
def node():
    """Path of Node.js, that of this environment before any other."""
    found = shutil.which("node", path=str(pathlib.Path(sys.executable).parent))
    found = found or shutil.which("node")
    if found is None or not (WEB / "node_modules").is_dir():
        pytest.skip("needs Node.js and edge/web/node_modules: make install")
    return found


@pytest.fixture
def ask(node, tmp_path):
    """A function that has calls of web_run.mjs answered."""

    def run(*calls):
        request, answer = tmp_path / "request.json", tmp_path / "answer.json"
        request.write_text(json.dumps(calls))
        subprocess.run(
            [node, str(REPO / "tests/edge/web_run.mjs"), request, answer],
            check=True,
            capture_output=True,
        )
        return json.loads(answer.read_text())

    return run


@pytest.fixture
def video(tmp_path):
    """A function that writes frames for `readFrames` of web_run.mjs."""

    def write(frames):
        path = tmp_path / f"{len(os.listdir(tmp_path))}.raw"
        frames.tofile(path)
        count, height, width, channels = frames.shape
        return {
            "file": str(path),
            "count": count,
            "height": height,
            "width": width,
            "channels": channels,
        }

    return write


def moving_frames(count, height, width, seed=0):
    """uint8 `(count, height, width, 3)`: noise over a slope that moves."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 60, (count, height, width, 3))
    slope = (
        np.arange(width)[:, None] * 2 + np.arange(count)[:, None, None, None]
    )
    return (noise + slope).clip(0, 255).astype(np.uint8)


def write_model(path, model, exported, **manifest):
    """A model file with another manifest than it was exported with."""
    base = manifest_lib.read_manifest(exported.path)
    fields = {**base.__dict__, **manifest}
    record = manifest_lib.ModelManifest(**fields)
    path.write_bytes(manifest_lib.pack(model, record))
    return str(path)


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


def test_seconds_show_the_frames_that_are_counted(ask):
    # Of videos of 25 frames a second.
    dense = {"sampling": "dense", "fps": 25.0}
    cases = [
        ({"sampling": "segment", "clip_frames": 4, "stride": 1}, 1),
        ({**dense, "clip_frames": 4, "stride": 5}, 5),
        ({**dense, "clip_frames": 4, "stride": 6, "stride_fps": 30}, 5),
        ({**dense, "clip_frames": 13, "stride": 6}, 6),
    ]
    asked = [(*case, n) for case in cases for n in (20, 49, 50, 71)]
    answers = ask(
        *({"do": "clipTimes", "given": [c, n / 25]} for c, _, n in asked)
    )
    for (case, stride, frames), answer in zip(asked, answers, strict=True):
        expected = sampling.sample_indices(
            case["sampling"], frames, case["clip_frames"], stride=stride
        )
        found = np.floor(np.array(answer["value"]) * 25 + 1e-6)
        np.testing.assert_array_equal(np.minimum(found, frames - 1), expected)


@pytest.mark.parametrize("squash", [False, True])
def test_pixels(ask, video, squash):
    cases = [
        (moving_frames(2, 60, 91), 24),
        (moving_frames(1, 91, 60), 24),
        (moving_frames(1, 20, 30), 47),
        (moving_frames(1, 24, 24), 24),
    ]
    answers = ask(
        *(
            {"do": "resize", "clip": video(frames), "given": [side, squash]}
            for frames, side in cases
        )
    )
    for (frames, side), answer in zip(cases, answers, strict=True):
        expected = sampling.resize_frames(frames, side, squash)
        found = np.reshape(answer["value"], expected.shape)
        # One step apart where rounding the last bit of a weight decides.
        assert np.abs(found - expected).max() <= 1
        assert np.mean(found == expected) > 0.999


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
    model, _ = manifest_lib.read_model(exported.path)
    dense, slow = (
        write_model(
            tmp_path / f"dense{fps}.tflite",
            model,
            exported,
            preprocessing=Preprocessing(
                clip_frames=4,
                sampling="dense",
                stride=2,
                short_side=28,
                crop_size=24,
                standardize=True,
                stride_fps=30.0,
                fps=fps,
            ),
        )
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


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_streams(ask, video, exported, streams, tmp_path, precision):
    content, stream = getattr(streams, precision)
    path = write_model(
        tmp_path / "stream.tflite",
        content,
        exported,
        stream=stream,
        preprocessing=Preprocessing(
            clip_frames=networks.STREAM_FRAMES,
            short_side=18,
            crop_size=16,
            standardize="frame",
            fps=15.0,
        ),
    )
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


def check_pushed(recognizer, frames, found):
    """Each frame's scores, and after a reset those of the first again."""
    *found, again = found
    expected = [recognizer.push(frame) for frame in frames]
    assert [s is None for s in found] == [s is None for s in expected]
    for values, wanted in zip(found, expected, strict=True):
        if wanted is not None:
            np.testing.assert_allclose(values, wanted, atol=1 / 256)
    assert again == found[0]


def test_bad_files_and_frames(ask, video, exported, streams, tmp_path):
    data = exported.path.read_bytes()
    model, _ = manifest_lib.read_model(exported.path)
    flipped = bytearray(data)
    flipped[len(model) // 2] ^= 0x10
    native, stream = streams.int8_native
    files = {
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
        tmp_path / "native.tflite", native, exported, stream=stream
    )
    calls.append({"do": "push", "model": path, "clip": clip})
    wanted.append("Browsers take no int8 tensors")
    path = write_model(
        tmp_path / "labels.tflite", model, exported, labels=("a",)
    )
    calls.append({"do": "classify", "model": path, "clip": clip})
    wanted.append("must name the 7 classes")
    good = {"do": "push", "model": str(exported.path), "clip": clip}
    calls.append({**good, "options": {"hop": 0}})
    wanted.append("`hop` must be a positive integer")
    calls.append({**good, "options": {"fps": "30"}})
    wanted.append("`fps` must be a positive number")
    odd = {**clip, "width": 23}
    calls.append({**good, "clip": odd})
    wanted.append("A frame must be ImageData")
    for call, message, answer in zip(calls, wanted, ask(*calls), strict=True):
        assert message in answer.get("error", ""), (call, answer)


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
    content, stream = streams.int8
    write_model(
        site / "stream.tflite",
        content,
        exported,
        stream=stream,
        preprocessing=Preprocessing(
            clip_frames=networks.STREAM_FRAMES, short_side=18, crop_size=16
        ),
    )
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
    assert bad["video"]["status"].startswith("This is not a .tflite file")
    assert bad["video"]["rows"] == [] and bad["camera"] is None
    assert absent["video"]["status"] == "Cannot read none.mp4: 404."
