import functools
import json
import time
from concurrent import futures

import pytest

from autox3d_tf import cost
from autox3d_tf.base import files as files_lib
from autox3d_tf.training import card, files
from tests.training import tiny

RECORD = {
    "labels": ["left", "right", "up"],
    "macs": {"clip_size": [4, 16, 16]},
    "clips": {"train": 9, "val": 3, "test": 2},
    "licence": "CC-BY-4.0",
    "config": {
        "manifest": "abcdef",
        "seed": 5,
        "training": {"epochs": 2, "mixup": 0.0},
        "optimizer": {"name": "sgd", "weight_decay": 5e-5},
        "data": {"source": "/home/me/my clips", "sampling": "segment"},
        "init_from": {
            "path": "/home/me/runs/before",
            "sha256": "0123456789abcdef",
        },
    },
    "config_hash": "c0ffee",
    "files": {"weights.npz": "11ff"},
    "preprocessing": {"clip_frames": 4, "crop_size": 16, "squash": False},
    "provenance": {
        "created": "2026-11-24T07:00:00Z",
        "versions": {"keras": "3.15"},
        "command": [
            "/home/me/bin/autox3d-train",
            "--gin=SIDES=(32, 40)",
            "--run_dir=/home/me/out",
        ],
    },
    "validation": {
        "accuracy": 2 / 3,
        "clips": 3,
        "protocol": {
            "temporal_views": 1,
            "spatial_crops": 1,
            "clip_size": [4, 16, 16],
            "sampling": "segment",
            "macs_per_view": 2_000_000,
            "macs_all_views": 2_000_000,
            "manifest": "fedcba",
        },
    },
}


def result(right, part="test", weights="11ff", views=1):
    return {
        "part": part,
        "protocol": {"temporal_views": views},
        "top1": right / 2,
        "top1_correct": right,
        "top1_interval": (0.1, 0.9),
        "clips": 2,
        "provenance": {"created": "today"},
        "trained": {"files": {"weights.npz": weights}},
    }


def test_card_says_what_made_the_network():
    entry = card.accuracy(result(1), ["top-1 50.0 %: 1 clips x 1 crops"])
    text = card.model_card(tiny.arch(), RECORD, [entry], "int8 in 3 KiB")
    counted = cost.cost_of(tiny.arch(), (4, 16, 16), 3)
    for wanted in (
        f"{counted.params:,} parameters, {counted.macs:,} MACs per view of "
        "4x16x16",
        "One MAC is one multiply-add",
        "| stage1_block1 | 3x3x3, se | 9 | 4 | 4x4x4 |",
        "3 classes: left, right, up.",
        "Clips: train 9, val 3, test 2.",
        "Manifest of the clips trained on: abcdef.",
        "clip_frames=4, crop_size=16.",  # squash is off
        "- training: epochs=2.",
        "- optimizer: name=sgd, weight_decay=5e-05.",
        "- data: source=.../my clips, sampling=segment.",
        "weights .../before, sha256 0123456789ab.",
        "top-1 66.7 %: 1 clips x 1 crops of 4x16x16 (segment sampling), 2.0 M "
        "MACs per view, 2.0 M in all; 3 clips, manifest fedcba",
        "part test: top-1 50.0 %: 1 clips x 1 crops",
        "- date: 2026-11-24T07:00:00Z",
        "- seed: 5",
        "- config hash: c0ffee",
        "- versions: keras=3.15",
        "- command: autox3d-train '--gin=SIDES=(32, 40)' --run_dir=.../out",
        "## Intended use and limits",
        "Weights: CC-BY-4.0.",
        "## Files\n\nint8 in 3 KiB",
    ):
        assert wanted in text, wanted
    rows = [row for row in text.splitlines() if row.startswith("| s")]
    assert len(rows) == 3  # stem and two blocks
    assert "mixup" not in text
    assert "/home" not in text


def test_what_is_unknown_is_said_to_be():
    text = card.model_card(tiny.arch(), {"labels": ["a"] * 25})
    assert "Weights: not stated." in text
    assert "25 classes: " in text and "and 5 more." in text
    assert "Clips: unknown" in text
    assert "Not evaluated." in text
    assert "Unknown." in text


def test_imported_weights_say_where_they_are_from():
    record = {"labels": ["a"], "import": ["Loaded 9 weights from SlowFast."]}
    text = card.model_card(tiny.arch(), record)
    assert "Not trained here. Loaded 9 weights from SlowFast." in text


@pytest.fixture
def trained(tmp_path):
    """What a training leaves, of weights that are not read here."""
    tiny.arch().save(tmp_path / files.ARCH)
    files_lib.write_json(
        tmp_path / files.RECORD,
        {
            "format": files.FORMAT,
            "schema_version": files.SCHEMA_VERSION,
            **RECORD,
        },
    )
    return tmp_path


def test_accuracies_of_these_weights_are_kept(trained):
    for found, line in (
        (result(1), "first"),
        (result(2), "again"),
        (result(2, views=10), "ten views"),
        (result(1, part="val"), "other part"),
    ):
        text = files.add_accuracy(trained, card.accuracy(found, [line]))
    assert (trained / card.NAME).read_text() == text == files.read_card(trained)
    assert "first" not in text  # replaced by the same test again
    for line in ("test: again", "test: ten views", "val: other part"):
        assert line in text
    entries = json.loads((trained / files.ACCURACY).read_text())
    assert [entry["top1_correct"] for entry in entries] == [2, 2, 1]
    other = card.accuracy(result(0, weights="22ee"), ["other weights"])
    files_lib.write_json(trained / files.ACCURACY, [*entries, other])
    assert "other weights" not in files.read_card(trained)


def test_accuracies_of_two_evaluations_at_once_are_kept(trained, monkeypatch):
    write = files_lib.write_json

    def slowly(path, value):
        time.sleep(0.2)  # after what is there has been read
        write(path, value)

    monkeypatch.setattr(files_lib, "write_json", slowly)
    entries = [
        card.accuracy(result(1, part=part), []) for part in ("val", "test")
    ]
    with futures.ThreadPoolExecutor() as pool:
        list(pool.map(functools.partial(files.add_accuracy, trained), entries))
    kept = json.loads((trained / files.ACCURACY).read_text())
    assert {entry["part"] for entry in kept} == {"val", "test"}


def test_damaged_accuracies_are_named(trained):
    for content in ("[", "[1]", "[{}]"):
        (trained / files.ACCURACY).write_text(content)
        with pytest.raises(ValueError, match="accuracy.json is damaged. Rem"):
            files.read_card(trained)


def test_a_directory_that_cannot_be_written_to(trained, monkeypatch):
    def refuse(path, value):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(files_lib, "write_json", refuse)
    text = files.add_accuracy(trained, card.accuracy(result(1), ["one"]))
    assert "test: one" in text
    assert not (trained / card.NAME).exists()
