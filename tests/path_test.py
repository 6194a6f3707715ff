"""The whole path on tiny synthetic videos: every arrow, file to file."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from autox3d_edge import Recognizer
from autox3d_edge import manifest as edge_manifest
from autox3d_tf import cost, space
from autox3d_tf.data import pipeline, records, scan, synthetic
from autox3d_tf.runs import gin_app

TARGET = 1_500_000.0


def _run(function, name, run_dir, **macros):
    overrides = [f"{key}={value!r}" for key, value in macros.items()]
    with gin_app.configured(
        function, [f"gin/{name}.gin"], overrides, str(run_dir)
    ) as run:
        return run()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A folder in which every arrow has been gone once."""
    from autox3d_edge import export_run
    from autox3d_tf.evaluation import run as evaluation_run
    from autox3d_tf.search import run as search_run
    from autox3d_tf.training import run as training_run

    root = tmp_path_factory.mktemp("path")
    synthetic.write_synthetic(
        root / "videos", num_classes=3, clips_per_class=8, frames=12, size=40
    )
    manifest = scan.scan(root / "videos")
    records.make_records(manifest, root / "records")
    data = {"DATA": str(root / "records")}
    _run(
        search_run.run_search, "demo/search", root / "search", **data,
        TARGET_MACS=TARGET, STEPS=6, WARMUP_STEPS=3,
    )  # fmt: skip
    _run(
        training_run.run_training, "demo/train", root / "train", **data,
        ARCH=str(root / "search"), EPOCHS=2,
    )  # fmt: skip
    trained = {"TRAINED": str(root / "train")}
    _run(
        evaluation_run.run_evaluation, "evaluate/trained", root / "evaluate",
        **trained, TEMPORAL_VIEWS=3,
    )  # fmt: skip
    _run(export_run.run_export, "export/trained", root / "export", **trained)
    return root


@pytest.mark.large
def test_the_searched_network_is_within_budget(path):
    arch = space.load_arch(path / "search" / "arch.json")
    found = cost.cost_of(arch, num_classes=3)
    assert found.macs <= TARGET
    trained = space.load_arch(path / "train" / "arch.json")
    assert trained.fingerprint == arch.fingerprint


@pytest.mark.large
def test_the_export_is_int8_and_says_what_it_is(path):
    report = json.loads((path / "export" / "export.json").read_text())
    for precision in ("fp32", "int8"):
        found = report["files"][precision]
        assert found["audit"]["passed"]
        assert found["test"]["clips"] == 3 * 2  # a fifth of 8, rounded
    int8, fp32 = (report["files"][p]["bytes"] for p in ("int8", "fp32"))
    assert int8 < fp32
    manifest = edge_manifest.read_manifest(path / "export/model_int8.tflite")
    assert manifest.labels == ("left", "right", "up")
    assert manifest.preprocessing.squash
    assert manifest.preprocessing.standardize
    record = json.loads((path / "train" / "training.json").read_text())
    assert manifest.provenance["files"] == record["files"]
    inside = edge_manifest.read_card(path / "export/model_int8.tflite")
    beside = (path / "export/model_card.md").read_text()
    assert inside == (path / "train/model_card.md").read_text()
    assert beside.startswith(inside) and "int8" in beside[len(inside) :]
    evaluated = json.loads((path / "evaluate/evaluation.json").read_text())
    assert f"{evaluated['top1_correct']} of {evaluated['clips']};" in inside


@pytest.mark.large
def test_the_device_cuts_the_clips_that_evaluation_cuts(path):
    recognizer = Recognizer(str(path / "export" / "model_fp32.tflite"))
    options = pipeline.DataOptions(
        source=str(path / "videos"), clip_frames=8, crop_size=32,
        short_side_range=(32, 36), squash=True, standardize=True,
    )  # fmt: skip
    source = pipeline.open_source(options, "val")
    for position, row in enumerate(source.manifest.rows):
        expected = pipeline.device_clip(source, options, position)
        found = recognizer.read_clip(source.manifest.absolute_path(row))
        plain = dataclasses.replace(options, standardize=False)
        raw = pipeline.device_clip(source, plain, position).astype(float)
        deviation = np.sqrt(np.mean((raw - raw.mean((0, 1, 2))) ** 2))
        difference = np.abs(found.astype(int) - expected.astype(int))
        # Scaling rounds once, standardizing enlarges that and rounds again.
        assert difference.max() <= 255 * 0.225 / deviation + 1
        assert difference.mean() < 0.1
        results = recognizer.classify(found)
        assert sum(share for _, share in results) == pytest.approx(1, abs=1e-3)


@pytest.mark.large
def test_the_classify_binary_names_what_it_cannot_read(path):
    broken = path / "broken"
    broken.mkdir(exist_ok=True)
    (broken / "text.mp4").write_text("not a video")
    good = next((path / "videos").rglob("*.mp4"))
    (broken / "good.mp4").write_bytes(good.read_bytes())
    done = subprocess.run(
        [
            sys.executable, "-m", "autox3d_tools.classify",
            f"--model={path / 'export' / 'model_int8.tflite'}", str(broken),
        ],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 1
    assert "text.mp4: not a video" in done.stderr
    assert "good.mp4: " in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.large
def test_a_damaged_model_is_refused_before_it_is_loaded(path, tmp_path):
    content = bytearray((path / "export/model_int8.tflite").read_bytes())
    content[1000] ^= 0xFF
    (tmp_path / "flipped.tflite").write_bytes(content)
    with pytest.raises(ValueError, match="damaged"):
        Recognizer(str(tmp_path / "flipped.tflite"))
    (tmp_path / "cut.tflite").write_bytes(content[:3000])
    with pytest.raises(ValueError, match="cut short"):
        Recognizer(str(tmp_path / "cut.tflite"))


@pytest.mark.large
def test_clips_of_another_shape_are_refused(path):
    recognizer = Recognizer(str(path / "export" / "model_int8.tflite"))
    with pytest.raises(ValueError, match="uint8 RGB frames"):
        recognizer.classify(np.zeros((8, 32, 32, 3), np.float32))
