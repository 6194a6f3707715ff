"""Asks the recognizers of other languages, and writes what they read.

A port answers a list of calls, `{"do": ..., ...}`, with `{"value": ...}` or
`{"error": ...}` each; see web_run.mjs.
"""

import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys

import numpy as np
import pytest

from autox3d_edge import interpreters
from autox3d_edge import manifest as manifest_lib
from tests.conftest import REPO
from tests.edge import networks

WEB = REPO / "edge/web"


def find_node():
    """Path of Node.js, that of this environment before any other."""
    found = shutil.which("node", path=str(pathlib.Path(sys.executable).parent))
    found = found or shutil.which("node")
    if found is None or not (WEB / "node_modules").is_dir():
        pytest.skip("needs Node.js and edge/web/node_modules: make install")
    return found


def build_android(folder):
    """Builds edge/android, and AndroidRun.java upon it; their class path."""
    if shutil.which("javac") is None or shutil.which("make") is None:
        pytest.skip("needs make and a JDK (Debian's default-jdk-headless)")
    jar = folder / "autox3d-edge.jar"
    for command in (
        ["make", "--silent", "android", f"JAR={jar}"],
        ["javac", "-cp", jar, "-d", folder, "tests/edge/AndroidRun.java"],
    ):
        subprocess.run(command, cwd=REPO, check=True)
    return f"{folder}:{jar}"


def ask_web(node, folder, calls):
    """What edge/web says in Node.js, which stands in for a browser."""
    request, answer = folder / "request.json", folder / "answer.json"
    request.write_text(json.dumps(calls))
    subprocess.run(
        [node, REPO / "tests/edge/web_run.mjs", request, answer],
        check=True,
        capture_output=True,
    )
    return json.loads(answer.read_text())


def ask_android(class_path, folder, calls):
    """What edge/android says on a JVM, this process running its networks."""
    request, answer = folder / "request.json", folder / "answer.json"
    request.write_text(json.dumps(calls))
    loaded = {}
    java = ["java", "-XX:TieredStopAtLevel=1", "-cp", class_path]
    with subprocess.Popen(
        [*java, "org.autox3d.edge.AndroidRun", request, answer],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        while size := process.stdout.read(4):
            path = _take(process, size).decode()
            if path not in loaded:
                model, _ = manifest_lib.read_model(path)
                loaded[path] = interpreters.load(model)
            _run(loaded[path], process)
    assert process.returncode == 0
    return json.loads(answer.read_text())


def _run(interpreter, process):
    """Answers `Interpreter.runForMultipleInputsOutputs` of one call."""
    for detail in interpreter.get_input_details():
        content = _take(process, process.stdout.read(4))
        values = np.frombuffer(content, detail["dtype"])
        shaped = values.reshape(detail["shape"])
        interpreter.set_tensor(detail["index"], shaped)
    interpreter.invoke()
    for detail in interpreter.get_output_details():
        content = interpreter.get_tensor(detail["index"]).tobytes()
        process.stdin.write(struct.pack(">i", len(content)) + content)
    process.stdin.flush()


def _take(process, size):
    return process.stdout.read(struct.unpack(">i", size)[0])


def write_frames(folder, frames):
    """Writes frames `(n, h, w, channels)` for calls; returns their `clip`."""
    path = folder / f"{len(os.listdir(folder))}.raw"
    frames.tofile(path)
    count, height, width, channels = frames.shape
    return {
        "file": str(path),
        "count": count,
        "height": height,
        "width": width,
        "channels": channels,
    }


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


def write_stream(path, made, exported, **preprocessing):
    """One of `streams`, `(content, stream)`, for frames of 16x16."""
    content, stream = made
    how = manifest_lib.Preprocessing(
        clip_frames=networks.STREAM_FRAMES, short_side=18, crop_size=16,
        **preprocessing,
    )  # fmt: skip
    return write_model(
        path, content, exported, stream=stream, preprocessing=how
    )


def write_dense_model(path, exported, fps, stride_fps=30.0):
    """The exported network for frames that are apart in a video."""
    model, _ = manifest_lib.read_model(exported.path)
    preprocessing = manifest_lib.Preprocessing(
        clip_frames=4,
        sampling="dense",
        stride=2,
        short_side=28,
        crop_size=24,
        standardize=True,
        stride_fps=stride_fps,
        fps=fps,
    )
    return write_model(path, model, exported, preprocessing=preprocessing)
