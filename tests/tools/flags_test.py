"""What is asked for on the command line comes to where it matters."""

import types

import pytest

from autox3d_tf.data import manifest as manifest_lib
from autox3d_tf.data import records, synthetic
from tools import make_records, make_synthetic, scan

EMPTY = manifest_lib.Manifest("", (), ())


class Called(Exception):
    pass


@pytest.fixture
def called_with(monkeypatch):
    """Runs a tool; returns what it calls another module with."""

    def called_with(tool, main, argument, module, name, /, **flags):
        def stop(*arguments, **named):
            raise Called(arguments, named)

        monkeypatch.setattr(tool, "FLAGS", types.SimpleNamespace(**flags))
        monkeypatch.setattr(module, name, stop)
        with pytest.raises(Called) as caught:
            main([argument])
        return caught.value.args

    return called_with


def test_scan(called_with, tmp_path):
    flags = {
        "root": "videos", "format": "ucf101", "annotations": ["lists"],
        "min_frames": 7, "workers": 3,
    }  # fmt: skip
    reading = {"split": "val", "split_number": 2, "labels": "names.txt"}
    out = str(tmp_path / "m.csv")
    arguments, named = called_with(
        scan, scan._run, "clips", scan.scan, "scan", out=out, **flags, **reading
    )
    found = named.pop("reading")
    assert {name: getattr(found, name) for name in reading} == reading
    assert arguments == ("clips",)
    assert named == {**flags, "log_path": tmp_path / "m.csv.part"}


def test_make_records(called_with, tmp_path, monkeypatch):
    out = str(tmp_path / "out")
    looks = {"min_frames": 7, "workers": 3}
    stored = {"short_side": 40, "quality": 55, "num_shards": 5, "workers": 3}
    flags = {"out": out, **looks, **stored}
    main = make_records._run
    arguments, named = called_with(
        make_records, main, "clips", make_records.scan, "scan", **flags
    )
    assert arguments == ("clips",)
    assert named == {**looks, "log_path": tmp_path / "out" / "scan.part"}
    monkeypatch.setattr(make_records, "_manifest", lambda *_: EMPTY)
    arguments, named = called_with(
        make_records, main, "clips", records, "make_records", **flags
    )
    assert arguments == (EMPTY, out) and named == stored


def test_make_synthetic(called_with, tmp_path):
    flags = {
        "kind": "pairs", "num_classes": 9, "clips_per_class": 2, "seed": 8,
        "frames": 5, "size": 48, "noise": 1.5, "distractors": 4, "speed": 0.5,
        "noise_power": 2.5,
    }  # fmt: skip
    folder = str(tmp_path / "clips")
    arguments, named = called_with(
        make_synthetic, make_synthetic._main, folder, synthetic,
        "write_synthetic", **flags,
    )  # fmt: skip
    assert arguments == (folder,) and named == flags
