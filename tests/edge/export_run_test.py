"""What an export is asked for comes to where it matters."""

import dataclasses
import itertools

import numpy as np
import pytest

from autox3d_edge import (
    export,
    export_run,
    fine_tuning,
    op_support,
    sources,
    stream_export,
)
from autox3d_edge import manifest as manifest_lib
from autox3d_tf import models
from autox3d_tf.base import files as files_lib
from autox3d_tf.data import manifest as manifest_data
from autox3d_tf.data import synthetic
from autox3d_tf.space import weight_names
from tests.edge import reference
from tests.training import tiny

CAUSAL = dataclasses.replace(tiny.short_arch(), causal=True)
FILES = {"weights.npz": "0" * 64}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Six clips of two classes; two are left to test on."""
    folder = tmp_path_factory.mktemp("clips")
    synthetic.write_synthetic(
        folder, num_classes=2, clips_per_class=3, frames=16, size=16
    )
    return tiny.data(
        folder / synthetic.MANIFEST_NAME,
        train_folds=(0, 1),
        val_folds=(),
        test_folds=(2,),
    )


@pytest.fixture(autouse=True)
def trained(monkeypatch):
    """A causal network, as if its training were in every folder."""
    model = models.build_model(CAUSAL, num_classes=2)
    shapes = weight_names.weight_shapes(CAUSAL, 2)
    models.assign_weights(model, reference.random_weights(shapes))
    record = {"labels": ["left", "right"], "files": FILES}
    for name, found in (
        ("load_trained", model),
        ("read_record", record),
        ("read_card", "a card"),
    ):
        monkeypatch.setattr(
            sources.files, name, lambda *_, found=found, **__: found
        )


def run(data, folder, precisions=("fp32",), how=None, **changes):
    options = export_run.ExportOptions(
        precisions=precisions,
        **{"calibration_clips": 2, "threads": (1,), "repeats": 1, **changes},
    )
    return export_run.run_export(
        trained="trained",
        data=data,
        options=options,
        run_dir=str(folder),
        **(how or {}),
    )


def test_streams_are_exported_timed_and_compared(data, tmp_path):
    precisions = ("fp32_stream", "fp16_stream")
    data = dataclasses.replace(data, sampling="dense", stride=2)
    result = run(data, tmp_path, precisions, how={"seed": 3})
    (rate,) = {r.fps for r in manifest_data.read_manifest(data.source).rows}
    for name in precisions:
        report = result["files"][name]
        assert report["precision"] == name.removesuffix(stream_export.SUFFIX)
        assert report["parity"]["reference"] == "keras"
        assert report["parity"]["clips"] == 2
        # The network, which is not trained, has one label for all clips.
        assert {**report["test"], "protocol": None} == {
            **result["keras"], "agrees": 2, "protocol": None,
        }  # fmt: skip
        stream = manifest_lib.read_manifest(
            tmp_path / f"model_{name}.tflite"
        ).stream
        assert (stream.stride, stream.fps) == (2, rate / 2)
    assert result["keras"] == {"right": 1, "clips": 2, "top1": 0.5}
    # Videos of 16 frames: two clips of 4, two frames apart.
    assert result["left_running"]["frames"] == [4, 8]
    assert result["left_running"]["videos"] == 2
    assert set(result["drifts"]) == {"fp16_stream"}
    assert [(t["name"], t["repeats"]) for t in result["timings"]] == [
        (f"{name}, 1 thread", 1) for name in precisions
    ]
    drawn = result["calibration"]
    assert (drawn["clips"], drawn["seed"]) == (2, 3)
    # What was kept in case of a stop, the labels of clips, is gone.
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_what_cannot_be_exported_is_refused_before_all_else(data, tmp_path):
    standardized = dataclasses.replace(data, standardize=True)
    both = ("fp32", "fp32_stream")
    with pytest.raises(ValueError, match="`standardize` must be 'frame' or"):
        run(standardized, tmp_path, both)
    with pytest.raises(ValueError, match="`kept` must name .*'stage9'"):
        run(data, tmp_path, ("fp32", "mixed"), kept={"stage9": "fp32"})
    with pytest.raises(ValueError, match="`source` must be None.*'elsewhere'"):
        run(data, tmp_path, how={"source": "elsewhere"})
    assert not list(tmp_path.glob("*.tflite"))


def test_all_clips_drawn_are_calibrated_on(data, tmp_path, monkeypatch):
    def stop(model, arch, clips):
        raise RuntimeError(f"{len(clips)} clips")

    monkeypatch.setattr(export, "make_converter", stop)
    with pytest.raises(RuntimeError, match="3 clips"):
        run(data, tmp_path, calibration_clips=3)


def test_files_must_load_in_the_oldest_runtime(data, tmp_path, monkeypatch):
    monkeypatch.setitem(op_support.RUNTIMES, "stone age", {})
    with pytest.raises(ValueError, match="stone age has up to 0"):
        run(data, tmp_path, runtime="stone age")


def test_an_export_anew_is_not_one_of_another_network(tmp_path, caplog):
    (tmp_path / "model_fp32.tflite").touch()
    export_run._warn_of_another(tmp_path, FILES)  # nothing is there
    for there in ({}, {"trained_files": FILES}):
        files_lib.write_json(tmp_path / "export.json", there)
        export_run._warn_of_another(tmp_path, FILES)
    assert not caplog.text
    export_run._warn_of_another(tmp_path, {"weights.npz": "1" * 64})
    assert "holds an export of another network" in caplog.text


def test_fine_tuning_goes_on_with_the_next_clips(data, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(fine_tuning, "fine_tune", lambda *all: seen.append(all))
    path = tmp_path / "clips.csv"
    manifest_data.read_manifest(data.source).save(path)
    data = dataclasses.replace(data, source=str(path))
    loaded = sources.load(
        "trained", data, tmp_path, calibration_clips=2, test_part=None, seed=0
    )
    larger = dataclasses.replace(
        loaded.data, eval_crop_size=24, eval_short_side=24
    )
    options = fine_tuning.FineTuningOptions(steps=3, batch_size=2)
    for changes in ({"data": larger}, {"data": larger, "seed": 1}):
        export_run.fine_tune(
            dataclasses.replace(loaded, **changes),
            None,
            options,
            tmp_path / "model_qat",
        )
    (_, calibration, make, *_, identity), (_, _, other, *_) = seen
    assert calibration is loaded.calibration
    assert identity["files"] == FILES
    assert identity["calibration"] == loaded.drawn
    # The list of clips in the folder, wherever that is moved to.
    assert not identity["data"].source.startswith(str(tmp_path))

    def clips_of(batches):
        return [clips.numpy() for clips, _ in itertools.islice(batches, 4)]

    clips = clips_of(make(0))
    assert [batch.shape for batch in clips] == 3 * [(2, 4, 24, 24, 3)]
    for first_step in (1, 2):
        rest = clips_of(make(first_step))
        np.testing.assert_array_equal(rest, clips[first_step:])
    others = clips_of(other(0))
    assert any((a != b).any() for a, b in zip(clips, others, strict=True))


def test_a_file_says_how_it_was_fine_tuned_beside_all_else():
    options = fine_tuning.FineTuningOptions(steps=7)
    for before in (None, {"seed": 3}):
        about = export.About(provenance=before, card="a card")
        found = export_run.about_fine_tuning(about, options)
        assert found.provenance.pop("fine_tuning")["steps"] == 7
        assert found.provenance == (before or {})
        assert found.card == "a card"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precisions": ()}, "`precisions` must"),
        ({"threads": ()}, "`threads` must"),
        ({"repeats": 0}, "`repeats` must be at least 1"),
        ({"calibration_clips": 0}, "`calibration_clips` must be at least 1"),
    ],
)
def test_options_are_checked(changes, message):
    with pytest.raises(ValueError, match=message):
        export_run.ExportOptions(**changes)
