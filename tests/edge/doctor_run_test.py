"""Trained network -> doctor, fine-tuned export, cross-validation of int8."""

import dataclasses
import json
import math
import types

import numpy as np
import pytest

from autox3d_edge import (
    audit,
    cross_validation,
    diagnosis,
    doctor,
    doctor_run,
    export,
    export_run,
    fine_tuning,
    op_support,
    recipes,
)
from autox3d_edge import manifest as manifest_lib
from autox3d_tf.data import manifest as manifest_data
from autox3d_tf.data import pipeline, sampling, synthetic
from autox3d_tf.runs import claim, gin_app
from autox3d_tf.training import run as training_run
from tests.training import tiny

pytestmark = pytest.mark.large  # a dozen conversions

OPTIONS = doctor_run.DoctorRunOptions(
    doctor=doctor.DoctorOptions(bound=0.5, repeats=1, int8_only_if_enough=True),
    fine_tuning=fine_tuning.FineTuningOptions(steps=2, batch_size=2),
    calibration_clips=7,
    judged_clips=4,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Twelve clips of three classes; fold 3 is left to test on."""
    folder = tmp_path_factory.mktemp("clips")
    synthetic.write_synthetic(
        folder, num_classes=3, clips_per_class=4, frames=8, size=16
    )
    return tiny.data(
        folder / synthetic.MANIFEST_NAME, val_folds=(), test_folds=(3,)
    )


def test_clips_of_another_size_are_refused_at_once(trained, data, tmp_path):
    other = dataclasses.replace(data, clip_frames=8)
    options = export_run.ExportOptions(precisions=("fp32",))
    with pytest.raises(
        ValueError, match="clips of 4x16x16, .*ed: 8x16x16. Give"
    ):
        export_run.run_export(
            trained=trained, data=other, options=options, run_dir=str(tmp_path)
        )


def test_an_export_of_another_network_is_named(trained, data, tmp_path, caplog):
    export_run.run_export(
        trained=trained,
        options=export_run.ExportOptions(precisions=("fp32",), repeats=1),
        run_dir=str(tmp_path),
    )
    path = tmp_path / "export.json"
    record = json.loads(path.read_text())
    record["trained_files"]["weights.npz"] = "0" * 64
    path.write_text(json.dumps(record))
    export_run._warn_of_another(tmp_path, {"weights.npz": "1" * 64})
    assert (
        "another network: files of it that are not made anew (model_fp32.t"
        in (caplog.text)
    )


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    training_run.run_training(
        arch=tiny.arch(),
        data=data,
        training=tiny.training(epochs=1),
        optimizer=tiny.optimizer(),
        run_dir=str(folder),
    )
    return str(folder)


@pytest.fixture(scope="module")
def examined(trained, data, tmp_path_factory):
    """The folder of a doctor's run, and what it returned."""
    folder = tmp_path_factory.mktemp("doctor")
    result = doctor_run.run_doctor(
        trained=trained, data=data, options=OPTIONS, run_dir=str(folder)
    )
    return folder, result


def test_the_chosen_file_is_written_and_says_how_it_was_made(examined):
    folder, result = examined
    assert json.loads((folder / "doctor.json").read_text())["chosen"]
    text = (folder / "doctor.txt").read_text()
    assert result["chosen"] in text
    assert (
        "within a loss of 0.5 on 4 clips of part 'train', each of another "
        "video, none of them calibrated on." in text
    )
    assert (result["judged_clips"], result["judged_part"]) == (4, "train")
    assert result["judged_calibrated_on"] == 0
    precision = result["file"]["precision"]
    path = folder / f"model_{precision}.tflite"
    assert audit.audit_file(path).passed
    manifest = manifest_lib.read_manifest(path)
    assert manifest.precision == precision in audit.INT8_PRECISIONS
    assert manifest.provenance["recipe"] == result["file"]["recipe"]


def test_a_file_says_how_what_was_chosen_was_made(
    trained, data, tmp_path, monkeypatch
):
    loaded = export_run.sources.load(
        trained, data, tmp_path, calibration_clips=3, test_part=None, seed=0
    )
    clipped = recipes.Recipe(clip_ranges=True)
    converter = export.make_converter(
        loaded.model, loaded.model.arch, loaded.calibration
    )
    chosen = diagnosis.Treatment(
        name=clipped.name,
        model=converter.convert(clipped),
        recipe=clipped,
        accuracy=1.0,
        agreement=1.0,
        loss=0.0,
        mean_error=0.0,
        test_accuracy=None,
        size=1,
        activation_bytes=1,
        milliseconds=1.0,
    )
    tuned = dataclasses.replace(
        chosen, name=diagnosis.FINE_TUNED, recipe=recipes.Recipe()
    )
    for row, precision, recipe in (
        (chosen, "int8", "int8, clipped"),
        (tuned, "qat", "int8"),
    ):
        found = types.SimpleNamespace(chosen=row)
        report = doctor_run._export(loaded, found, OPTIONS, tmp_path)
        assert (report["precision"], report["recipe"]) == (precision, recipe)
        path = tmp_path / f"model_{precision}.tflite"
        made = manifest_lib.read_manifest(path).provenance
        assert made["recipe"] == recipe and made["calibration"]["clips"] == 3
        steps = made.get("fine_tuning", {}).get("steps")
        assert steps == (2 if row is tuned else None)
    monkeypatch.setitem(op_support.RUNTIMES, "stone age", {})
    old = dataclasses.replace(OPTIONS, runtime="stone age")
    with pytest.raises(ValueError, match="stone age has up to 0"):
        doctor_run._export(loaded, found, old, tmp_path)


def test_what_the_doctor_leaves_out_is_said(
    examined, trained, data, tmp_path, monkeypatch, caplog
):
    assert (
        "treats clips, not streams"
        not in (examined[0] / "doctor.txt").read_text()
    )
    loaded = export_run.sources.load(
        trained, data, tmp_path, calibration_clips=1, test_part=None, seed=0
    )
    arch = dataclasses.replace(loaded.model.arch, causal=True)
    causal = dataclasses.replace(loaded, model=types.SimpleNamespace(arch=arch))
    found = types.SimpleNamespace(
        format=lambda: "tables", to_dict=dict, chosen=None
    )
    monkeypatch.setattr(export_run.sources, "load", lambda *_, **__: causal)
    monkeypatch.setattr(doctor_run, "examine", lambda *_: (found, None))
    (tmp_path / "model_int8.tflite").touch()
    doctor_run.run_doctor(
        trained=trained, data=data, options=OPTIONS, run_dir=str(tmp_path)
    )
    line = "The doctor treats clips, not streams:"
    text = (tmp_path / "doctor.txt").read_text()
    assert text.startswith(f"tables\n{line}") and line in caplog.text
    assert "model_int8.tflite in " in caplog.text
    assert "stays as it was before, and was not chosen." in caplog.text
    caplog.clear()
    (tmp_path / "model_mixed.tflite").touch()
    found.chosen = types.SimpleNamespace(precision="mixed")
    monkeypatch.setattr(doctor_run, "_export", lambda *_: {})
    doctor_run.run_doctor(
        trained=trained, data=data, options=OPTIONS, run_dir=str(tmp_path)
    )
    assert f"model_int8.tflite in {tmp_path} stays" in caplog.text
    assert "model_mixed" not in caplog.text
    assert not (tmp_path / "tested").exists()


def test_the_report_states_the_calibration_set(examined):
    drawn = examined[1]["calibration"]
    # Nine training clips of three classes, the smaller half drawn in turn: as
    # there is no validation part, the others are left to judge on.
    assert sorted(drawn["per_class"].values()) == [1, 1, 2]
    assert drawn["clips"] == 4 and drawn["seed"] == 0
    assert len(drawn["sha256"]) == 64


def test_judged_clips_are_none_of_the_calibration(trained, data, tmp_path):
    loaded = export_run.sources.load(
        trained, data, tmp_path, calibration_clips=7, test_part="test", seed=0
    )
    loaded, _ = doctor_run.set_apart(loaded, OPTIONS)
    judged = doctor_run.training_clips(loaded, 4)
    assert len(judged.clips) == len(judged.labels) == 4
    calibration = {clip.tobytes() for clip in loaded.calibration}
    assert not calibration & {clip.tobytes() for clip in judged.clips}
    batches = pipeline.make_train_dataset(  # as in fine-tuning
        loaded.train,
        loaded.augmented,
        batch_size=1,
        seed=loaded.seed,
        total_steps=4,
    )
    for clip, _ in batches:
        seen = np.rint(sampling.denormalize(clip[0].numpy()))
        assert all(np.abs(seen - other).max() > 1 for other in judged.clips)
    again = doctor_run.training_clips(loaded, 4)
    assert again.clips[3].tobytes() == judged.clips[3].tobytes()


def test_each_training_video_is_judged_on_once_or_calibrated_on(
    trained, data, tmp_path, monkeypatch, caplog
):
    judged_on, make = [], pipeline.make_train_dataset

    def watched(source, *arguments, **keywords):
        judged_on.extend(source.manifest.rows)
        return make(source, *arguments, **keywords)

    monkeypatch.setattr(pipeline, "make_train_dataset", watched)

    def load(count):
        return export_run.sources.load(
            trained, data, tmp_path, calibration_clips=count, test_part=None,
            seed=0,
        )  # fmt: skip

    options = dataclasses.replace(OPTIONS, judged_clips=300)
    loaded, judged = doctor_run.set_apart(load(7), options)
    rows = loaded.train.manifest.rows
    calibrated = {rows[place] for place in loaded.calibrated_rows}
    # Nine videos: four calibrate, the other five are judged on.
    assert (len(loaded.calibration), len(judged.clips)) == (4, 5)
    assert set(judged_on) == set(rows) - calibrated
    names = [loaded.record["labels"][label] for label in judged.labels]
    assert sorted(names) == sorted(row.label for row in judged_on)
    assert judged.calibrated_on == 0
    assert "Calibrated on 4 of 9 training videos" in caplog.text
    fewer = load(4)
    assert loaded.drawn == fewer.drawn
    assert all(map(np.array_equal, loaded.calibration, fewer.calibration))
    # A single video has to serve for both.
    one = dataclasses.replace(loaded.train.manifest, rows=rows[:1])
    alone = dataclasses.replace(loaded, train=loaded.train.subset(one))
    alone, judged = doctor_run.set_apart(alone, options)
    assert (len(alone.calibration), len(judged.clips)) == (1, 1)
    assert judged.calibrated_on == 1


def test_the_choice_is_made_on_validation_clips(trained, data, tmp_path):
    named = dataclasses.replace(data, val_folds=(3,), test_folds=())

    def load(data):
        return export_run.sources.load(
            trained, data, tmp_path, calibration_clips=1, test_part=None, seed=0
        )

    judged = doctor_run.validation_clips(load(named), 2)
    assert judged.part == "val"
    assert len(judged.clips) == len(judged.labels) == 2
    whole = load(dataclasses.replace(data, test_folds=(3,)))
    assert doctor_run.validation_clips(whole, 2) is None
    judged = doctor_run.validation_clips(load(named), 300)
    source = pipeline.open_source(named, "val")
    expected = {
        pipeline.device_clip(source, named, position).tobytes(): label
        for position, label in enumerate(source.labels)
    }
    found = {
        clip.tobytes(): label
        for clip, label in zip(judged.clips, judged.labels, strict=True)
    }
    assert found == expected and len(found) == 3
    # What is tested on must not be chosen by.
    for part, used in (("test", "val"), (None, "val"), ("val", "train")):
        options = dataclasses.replace(OPTIONS, test_part=part)
        assert doctor_run.set_apart(load(named), options)[1].part == used


def test_clips_that_the_list_calls_test_are_tested_on(trained, data, tmp_path):
    listed = manifest_data.read_manifest(data.source)
    rows = tuple(
        dataclasses.replace(row, split="test" if row.fold == 3 else "train")
        for row in listed.rows
    )
    dataclasses.replace(listed, rows=rows).save(tmp_path / "split.csv")
    for source, clips in ((tmp_path / "split.csv", 3), (data.source, None)):
        loaded = export_run.sources.load(
            trained,
            tiny.data(source, train_folds=(), val_folds=()),
            tmp_path,
            calibration_clips=1,
            test_part="test",
            seed=0,
        )
        assert (loaded.test and len(loaded.test)) == clips


def test_judged_labels_are_outputs_of_the_network(trained, data, tmp_path):
    loaded = export_run.sources.load(
        trained, data, tmp_path, calibration_clips=1, test_part=None, seed=0
    )
    names = [
        loaded.train.classes[i]
        for i in doctor_run.training_clips(loaded, 6).labels
    ]
    turned = dict(loaded.record, labels=loaded.record["labels"][::-1])
    other = dataclasses.replace(loaded, record=turned)
    labels = doctor_run.training_clips(other, 6).labels
    assert [turned["labels"][place] for place in labels] == names
    fewer = dict(loaded.record, labels=loaded.record["labels"][:2])
    with pytest.raises(ValueError, match="knows no class"):
        doctor_run.training_clips(dataclasses.replace(loaded, record=fewer), 6)


def test_fine_tuning_sees_clips_of_the_size_of_evaluation(
    trained, data, tmp_path
):
    loaded = export_run.sources.load(
        trained, data, tmp_path, calibration_clips=1, test_part=None, seed=0
    )
    assert loaded.augmented is loaded.data
    larger = dataclasses.replace(data, eval_crop_size=24, eval_short_side=24)
    loaded = dataclasses.replace(loaded, data=larger)
    clips = doctor_run.training_clips(loaded, 2).clips
    assert {clip.shape[1:] for clip in clips} == {(24, 24, 3)}


def test_fine_tuned_int8_is_a_precision_of_the_export(trained, data, tmp_path):
    options = export_run.ExportOptions(
        precisions=("qat",),
        calibration_clips=7,
        threads=(1,),
        repeats=1,
        fine_tuning=OPTIONS.fine_tuning,
    )
    with pipeline.video_errors():  # of the training's clips, cut as there
        result = export_run.run_export(
            trained=trained, options=options, run_dir=str(tmp_path)
        )
    report = result["files"]["qat"]
    assert report["audit"]["passed"] and report["test"]["clips"] == 3
    assert report["parity"]["reference"] == "keras"
    manifest = manifest_lib.read_manifest(tmp_path / "model_qat.tflite")
    assert manifest.accuracy["test"] == json.loads(json.dumps(report["test"]))
    assert manifest.accuracy["test"]["protocol"]["temporal_views"] == 1
    assert manifest.provenance["fine_tuning"]["steps"] == 2
    assert manifest.preprocessing.stride == 2  # 8 frames, 4 to a clip
    assert manifest.preprocessing.fps > 0
    assert (tmp_path / "model_qat" / "checkpoints").is_dir()
    table = (tmp_path / "export.txt").read_text()
    assert "\nqat " in table
    assert "qat: on paper, operators that fall back to the CPU:" in table
    assert "calibrated on 7 clips of part 'train' of manifest " in table
    assert ", 2 to 3 of each class, seed 0, sha256 " in table


def test_parts_are_kept_wider_in_a_mixed_file(trained, tmp_path):
    def call(kept):
        settings = [f"TRAINED={trained}", "PRECISIONS=('mixed', 'int8')"]
        settings += [f"KEPT={kept}", "PART=None", "ExportOptions.repeats=1"]
        with gin_app.configured(
            export_run.run_export,
            ["gin/export/trained.gin"],
            settings,
            str(tmp_path),
        ) as export:
            return export()

    kept = {"stage1_block1": "fp32", "head": "int16x8"}
    files = call(kept)["files"]
    assert files["mixed"]["kept"] == kept
    assert files["int8"]["recipe"] == "int8"
    assert audit.audit_file(tmp_path / "model_mixed.tflite").passed
    with pytest.raises(ValueError, match="`kept` .* of stem, stage1_block1, "):
        call({"stage9": "fp32"})
    with pytest.raises(ValueError, match="int16x8, fp32.*stem='int4'"):
        call({"stem": "int4"})


def test_a_fold_is_assessed_once(trained, data, tmp_path, monkeypatch):
    out = tmp_path / "results"
    result = cross_validation.assess(trained, out, tmp_path, OPTIONS)
    (path,) = out.iterdir()
    assert path.name == "nano_fold3.json"
    assert set(result["right"]) == {"fp32", "int8", "doctor", "qat"}
    assert all(len(right) == 3 for right in result["right"].values())
    loaded = export_run.sources.load(
        trained, data, tmp_path, calibration_clips=1, test_part="test", seed=0
    )
    right = (loaded.keras_labels == loaded.targets).astype(int)
    assert result["right"]["fp32"] == right.tolist()
    assert result["bytes"]["int8"] != result["bytes"]["fp32"]
    monkeypatch.setattr(cross_validation.sources, "load", None)
    again = cross_validation.assess(trained, out, tmp_path, OPTIONS)
    assert again == json.loads(path.read_text())
    with pytest.raises(ValueError, match="other options. Received: .*nano_f"):
        cross_validation.assess(trained, out, tmp_path, OPTIONS, seed=1)
    table = cross_validation.format_table(cross_validation.read(out))
    assert table.count("\nnano ") == 4


def test_the_fold_that_a_comparison_has_left_out_is_tested_on(data):
    of_comparison = dataclasses.replace(data, val_folds=(3,), test_folds=())
    assert cross_validation.left_out(of_comparison) == data
    both = dataclasses.replace(data, train_folds=(1,), val_folds=(2,))
    assert cross_validation.left_out(both) == both


def test_a_fold_must_leave_clips_to_test_on(trained, tmp_path):
    options = dataclasses.replace(OPTIONS, fine_tuning=None)
    with pytest.raises(ValueError, match="3 clips, fine_tuning=None"):
        cross_validation.assess(trained, tmp_path, tmp_path, options)


def test_drops_are_paired_over_the_folds():
    def fold(fp32, int8):
        right = {"fp32": fp32, "int8": int8, "doctor": fp32, "qat": fp32}
        size = {"fp32": 100, "int8": 30, "doctor": 30, "qat": 30}
        return {"arch": "a", "right": right, "bytes": size, "chosen": "int8"}

    table = cross_validation.format_table(
        [fold([1, 1, 1], [1, 0, 1]), fold([0, 1], [1, 0])]
    )
    # Differences 0, 1, 0, -1, 1: mean 0.2, deviation sqrt(0.7), t of 4: 2.776.
    half = 100 * 2.776 * math.sqrt(0.7) / math.sqrt(5)
    assert f" 20.00 +- {half:.2f}" in table  # a drop, not a gain
    assert "4/5" in table and "3/5" in table and "0.300" in table


def test_options_are_checked():
    with pytest.raises(ValueError, match="`judged_clips` must be at least 1"):
        doctor_run.DoctorRunOptions(judged_clips=0)
    for changes, message in (
        ({"precisions": ("fp32", "int9")}, "`precisions` .* Received: int9"),
        ({"precisions": ("mixed",)}, "`kept` must map parts .*kept={}"),
        ({"kept": {"stem": "fp32"}}, "`kept` must map .*'stem': 'fp32'"),
        ({"threads": (0,)}, "`threads` must be an integer from 1 to 256"),
        ({"threads": (1, 1000)}, "from 1 to 256. Received: threads=1000."),
        ({"runtime": "tflite 2.14"}, "`runtime` must be one of"),
    ):
        with pytest.raises(ValueError, match=message):
            export_run.ExportOptions(**changes)


def test_a_network_that_cannot_stream_is_refused_at_once(
    trained, data, tmp_path
):
    options = export_run.ExportOptions(precisions=("fp32", "fp32_stream"))
    with pytest.raises(ValueError, match="must be causal to run frame by"):
        export_run.run_export(
            trained=trained, data=data, options=options, run_dir=str(tmp_path)
        )
    assert not list(tmp_path.glob("*.tflite"))


def test_two_processes_do_not_write_into_one_folder(trained, data, tmp_path):
    with claim.alone(tmp_path):
        for call, options in (
            (
                export_run.run_export,
                export_run.ExportOptions(precisions=("fp32",)),
            ),
            (doctor_run.run_doctor, OPTIONS),
        ):
            with pytest.raises(ValueError, match="Another process is at work"):
                call(
                    trained=trained,
                    data=data,
                    options=options,
                    run_dir=str(tmp_path),
                )


def test_the_gin_file_configures_the_doctor(tmp_path):
    overrides = ["DATA=clips", "TRAINED=run", "FINE_TUNING=None", "BOUND=0.01"]
    with gin_app.configured(
        doctor_run.run_doctor,
        ["gin/export/doctor_egogestar.gin"],
        overrides,
        str(tmp_path),
    ) as configured:
        assert callable(configured)
