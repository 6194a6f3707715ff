"""The script of `make demo`; its binaries only say how they are called."""

import os
import pathlib
import subprocess
import sys

import pytest

from autox3d_tf.data import manifest as manifest_lib

REPO = pathlib.Path(__file__).resolve().parents[2]
STUB = """#!/bin/bash
printf '%s\\0' "${0##*/}" "$@" end >>"$CALLS"
[ "${0##*/}" != autox3d-scan ] || cp "$LIST" "${2#--out=}"
"""


@pytest.fixture
def demo(tmp_path):
    """Returns the arguments of each binary of a demo on a list of clips."""
    binaries, run = tmp_path / "bin", tmp_path / "run"
    path = [str(binaries), os.path.dirname(sys.executable), os.defpath]
    binaries.mkdir()
    for tool in (REPO / "tools").glob("*.py"):
        stub = binaries / f"autox3d-{tool.stem.replace('_', '-')}"
        stub.write_text(STUB)
        stub.chmod(0o755)

    def calls(*rows):
        labels = tuple({row.label for row in rows})
        listed = manifest_lib.Manifest(str(run), rows, labels)
        listed.save(tmp_path / "run/m.csv")
        subprocess.run(
            ["bash", REPO / "tools/demo.sh", run, tmp_path / "videos"],
            env={
                **os.environ,
                "PATH": os.pathsep.join(path),
                "PYTHONPATH": str(REPO),
                "CALLS": str(tmp_path / "calls"),
                "LIST": str(tmp_path / "run/m.csv"),
            },
            check=True,
            timeout=60,
        )
        said = (tmp_path / "calls").read_text().split("\0end\0")
        found = (call.split("\0") for call in said if call)
        return {name: arguments for name, *arguments in found}

    return calls


def clip(path, **fields):
    return manifest_lib.ClipRow(path=path, label="wave", **fields)


def test_it_ends_with_a_clip_that_can_be_read(demo, tmp_path):
    called = demo(clip("a.mp4", status="empty"), clip("b\n 1.avi"))
    assert called["autox3d-classify"] == [
        f"--model={tmp_path}/run/export/model_int8.tflite",
        f"{tmp_path}/run/b\n 1.avi",
    ]


@pytest.mark.parametrize(
    "splits, part, example",
    [
        (("", ""), "val", 0),
        (("train", "test"), "test", 1),
        (("test", "train", "val"), "val", 2),
    ],
)
def test_it_tests_on_the_part_that_there_is(
    demo, tmp_path, splits, part, example
):
    called = demo(
        *(clip(f"{i}.mp4", split=split) for i, split in enumerate(splits))
    )
    for name in ("evaluate", "export"):
        assert f"--gin=PART={part}" in called[f"autox3d-{name}"]
        file = REPO / f"gin/{name}/trained.gin"
        assert "\nPART = 'val'\n" in file.read_text()
    assert called["autox3d-classify"][-1] == f"{tmp_path}/run/{example}.mp4"
