import pathlib
import subprocess
import sys

import pytest

from autox3d_tf.data import manifest as manifest_lib
from autox3d_tf.data import synthetic

REPO = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    synthetic.write_synthetic(
        folder, num_classes=2, clips_per_class=2, frames=4, size=16
    )
    (folder / "left" / "text.mp4").write_text("not a video")
    (folder / "left" / "empty.mp4").touch()
    return folder


def run(tool, *arguments):
    return subprocess.run(
        [sys.executable, REPO / f"tools/{tool}.py", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_scan_names_what_is_not_usable(clips, tmp_path):
    out = tmp_path / "manifest.csv"
    done = run("scan", clips, f"--out={out}")
    assert done.returncode == 0
    assert "4 of 6 clips in 2 classes are usable" in done.stdout
    assert "left/text.mp4" in done.stdout and "left/empty.mp4" in done.stdout
    assert len(manifest_lib.read_manifest(out).select()) == 4


@pytest.mark.large
def test_records_of_a_list_that_nobody_has_scanned(clips, tmp_path):
    out, listed = tmp_path / "records", clips / "list.txt"
    names = [f"{c}/{c}_000{i}.mp4" for c in ("left", "right") for i in (0, 1)]
    listed.write_text("".join(f"{n} {i // 2}\n" for i, n in enumerate(names)))
    done = run("make_records", listed, f"--out={out}", "--short_side=16")
    assert done.returncode == 0, done.stderr
    assert "4 clips in" in done.stdout
    again = run("make_records", clips, f"--out={out}", "--short_side=12")
    assert again.returncode == 1
    assert "records of the same job" in again.stderr


def test_records_need_a_folder(tmp_path):
    (tmp_path / "file").touch()
    done = run("make_records", tmp_path, f"--out={tmp_path / 'file'}")
    assert done.returncode == 2
    assert "--out must be a folder. Received: the file" in done.stderr


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        ([], 2, "Give one folder of videos"),
        (["nothing/here"], 1, "which does not exist"),
        ([REPO / "tools"], 1, "must hold videos"),
    ],
)
def test_mistakes_end_in_one_line(arguments, code, message):
    done = run("scan", *arguments)
    assert done.returncode == code
    assert len(done.stderr.strip().splitlines()) == 1
    assert message in done.stderr


def test_nothing_usable_fails(tmp_path):
    (tmp_path / "wave").mkdir()
    (tmp_path / "wave" / "empty.mp4").touch()
    done = run("scan", tmp_path)
    assert done.returncode == 1
    assert "wave/empty.mp4" in done.stdout
    assert "has no usable clip" in done.stderr
