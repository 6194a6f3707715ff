import dataclasses
import json
import logging
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from autox3d_tf import cost, models
from autox3d_tf.data import decoding, pipeline
from autox3d_tf.data import manifest as manifest_lib
from autox3d_tf.runs import run_dir
from autox3d_tf.space import weight_names
from autox3d_tf.training import average, card, files, run, validation
from tests.training import tiny

REPO = pathlib.Path(__file__).resolve().parents[2]
DRIVER = "tests.training.resume_driver"


def train(clips, run_dir, *, data=None, training=None, **changes):
    return run.run_training(
        **{
            "arch": tiny.arch(),
            "data": data or tiny.data(clips),
            "training": training or tiny.training(),
            "optimizer": tiny.optimizer(),
            "run_dir": str(run_dir),
            **changes,
        }
    )


def weights_of(path):
    return models.load_weights(path / "weights.npz")


def test_a_run_says_what_it_did(clips, tmp_path, caplog):
    training = tiny.training(validate_epochs=1.0)
    asked = {"training": training, "seed": 5, "licence": "CC0-1.0"}
    record = train(clips, tmp_path, **asked)
    with caplog.at_level(logging.INFO, logger="absl"):  # and says it again
        assert train(clips, tmp_path, **asked) == files.read_record(tmp_path)
    accuracy = 100 * record["validation"]["accuracy"]
    assert f"Validation: top-1 {accuracy:.1f} %: 1 clips x" in caplog.text
    assert json.loads((tmp_path / "training.json").read_text()) == json.loads(
        json.dumps(record | files.read_record(tmp_path))
    )
    assert record["labels"] == ["left", "right", "up"]
    assert record["preprocessing"] == {
        "clip_frames": 4, "sampling": "segment", "stride": 2,
        "stride_fps": None,
        "short_side": 16, "crop_size": 16, "mean": 0.45, "deviation": 0.225,
        "squash": False, "standardize": False,
    }  # fmt: skip
    counted = cost.cost_of(tiny.arch(), (4, 16, 16), 3)
    assert record["macs"]["per_view"] == counted.macs
    assert record["train_clips"] == 9  # 3 classes x folds 0 to 2
    assert record["clips"] == {"train": 9, "val": 3}
    share = 100 * record["validation"]["accuracy"]
    text = (tmp_path / card.NAME).read_text()
    for wanted in (
        "Clips: train 9, val 3.",
        f"top-1 {share:.1f} %: 1 clips x 1 crops of 4x16x16 (segment",
        "- seed: 5",
        "Weights: CC0-1.0.",
    ):
        assert wanted in text
    assert record["validation"]["clips"] == 3
    # 2 epochs of 9 clips by 4, every step a point; validations after 3 steps.
    steps = [p["step"] for p in record["curve"] if "loss" in p]
    assert steps == [1, 2, 3, 4, 5]
    validated = [
        p["step"] for p in record["curve"] if "validation_accuracy" in p
    ]
    assert validated == [3]
    (events,) = (tmp_path / "summaries").glob("events*")
    assert b"validation_accuracy" in events.read_bytes()
    rows = manifest_lib.read_manifest(clips).select(folds=(0, 1, 2))
    assert record["config"]["manifest"] == rows.fingerprint
    assert record["config"]["seed"] == 5
    assert (tmp_path / "provenance.json").exists()
    trained = files.load_trained(tmp_path)
    assert trained.output_shape == (None, 3)
    held_out = pipeline.open_source(tiny.data(clips), "val")
    (batch,) = pipeline.make_eval_dataset(
        held_out, tiny.data(clips), batch_size=3
    )
    logits = trained(batch[0]).numpy().astype(float)
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    said = np.log(probs[range(3), batch[1].numpy()]).mean()
    likelihood = record["validation"]["log_likelihood"]
    assert likelihood == pytest.approx(said, abs=1e-5)


def test_all_options_come_to_where_they_matter(clips, tmp_path, monkeypatch):
    made = {}

    def watch(module, name):
        real = getattr(module, name)

        def watched(*arguments, **named):
            made[name] = (arguments, named)
            return real(*arguments, **named)

        monkeypatch.setattr(module, name, watched)

    def stop(*_, **__):
        raise KeyboardInterrupt

    watch(run.models, "build_model")
    watch(run.steps, "class_weights_of")
    watch(run.steps, "make_train_step")
    watch(run.batches, "make_batches")
    watch(run.checkpoints, "Checkpoints")
    monkeypatch.setattr(run.loop, "run_steps", stop)
    with pytest.raises(KeyboardInterrupt):
        train(
            clips,
            tmp_path,
            training=tiny.training(
                dropout=0.25, zero_init=True, motion_init=0.5,
                follow_motion=1.0, ema_decay=0.9, balance=0.5,
                precision="mixed_bfloat16",
            ),
            optimizer=tiny.optimizer(name="sgd", weight_decay=0.125),
            seed=7,
        )  # fmt: skip
    network, step, drawn = (
        made[name][1]
        for name in ("build_model", "make_train_step", "make_batches")
    )
    assert (network["dropout"], network["zero_init"]) == (0.25, True)
    assert network["dtype"] == "mixed_bfloat16"
    assert step["weight_decay"] == 0.125
    assert network["seed"] == step["seed"] == drawn["seed"] == 7
    assert made["class_weights_of"][0][2] == 0.5
    assert step["class_weights"] is not None
    saved = made["Checkpoints"][0][1]
    assert saved.keys() == {"model", "optimizer", "average"}
    assert saved["average"] is step["average"].values
    plain = models.build_model(tiny.arch(), 3, zero_init=True, seed=7)
    plain = models.weight_values(plain)
    started = {
        name.split("/")[0]
        for name, value in models.weight_values(saved["model"]).items()
        if not np.array_equal(value, plain[name])
    }
    assert started == {"stem", "stage1_block1", "stage2_block1"}  # by motion


def test_averaged_weights_are_validated(clips, monkeypatch):
    data, training = tiny.data(clips), tiny.training()
    model = models.build_model(tiny.arch(), 3, seed=1)
    bias = model.layers[-1].logits_bias

    class Predictor:
        """Right about all clips while a bias is positive."""

        def __init__(self, model, batch_size):
            del model, batch_size

        def predict(self, source, options):
            right = float(bias[0]) > 0
            labels = source.labels if right else (source.labels + 1) % 3
            return np.eye(3)[labels][:, np.newaxis]

    monkeypatch.setattr(validation.predict, "Predictor", Predictor)
    bias.assign([1, 0, 0])
    averaged = average.WeightAverage(model, 0.9)
    bias.assign([0, 0, 0])
    source = validation.open_clips(data, training)
    validate = validation.make_validator(
        model, averaged, source, data, training
    )
    assert validate()["accuracy"] == 1.0 and float(bias[0]) == 0
    assert validate(final=True)["accuracy"] == 0.0  # they are the model's then
    plain = validation.make_validator(model, None, source, data, training)
    assert plain()["accuracy"] == 0.0


def test_averaged_weights_are_saved_with_statistics_of_their_own(
    clips, tmp_path, monkeypatch, caplog
):
    made = []

    class Watched(average.WeightAverage):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            made.append(self)

    def steps(*_, **__):
        for value in made[0].values:
            value.assign_add(0.5 * tf.ones_like(value))

    monkeypatch.setattr(average, "WeightAverage", Watched)
    monkeypatch.setattr(run.loop, "run_steps", steps)
    training = tiny.training(ema_decay=0.9, precise_batch_norm=3)
    with caplog.at_level(logging.INFO, logger="absl"):
        train(clips, tmp_path, arch=tiny.short_arch(), training=training)
    assert "statistics re-estimated over 3 batches" in caplog.text
    saved = average.state_of(files.load_trained(tmp_path))
    for value, variable in zip(made[0].values, saved, strict=True):
        if weight_names.is_statistic(variable.name):
            assert not np.allclose(value, variable.value, atol=1e-3)
        else:
            np.testing.assert_array_equal(value, variable.value)


@pytest.fixture(scope="module")
def finished(clips, tmp_path_factory):
    """The directory of a finished run; not to be written to."""
    path = tmp_path_factory.mktemp("finished")
    train(clips, path)
    return path


@pytest.fixture
def again(finished, tmp_path):
    """A copy of it."""
    return shutil.copytree(finished, tmp_path / "again")


def test_named_clips_to_validate_on_must_be_there(clips, tmp_path):
    data = tiny.data(clips, train_folds=(0, 1, 2), val_folds=(33,))
    with pytest.raises(ValueError, match="33"):
        train(clips, tmp_path / "run", data=data)
    assert not (tmp_path / "run" / "run.json").exists()


def test_finished_run_is_not_trained_again(clips, finished, again):
    before = {path: path.read_bytes() for path in again.glob("*.*")}
    # How often it saves may change.
    record = train(clips, again, training=tiny.training(save_steps=1))
    assert record == files.read_record(finished)
    before.pop(again / "run.lock", None)
    for path, content in before.items():
        assert path.read_bytes() == content, path


def test_what_a_finished_run_lacks_is_made_again(clips, finished, again):
    (again / files.WEIGHTS).unlink()
    train(clips, again, licence="CC0-1.0")
    before = weights_of(finished)
    for name, value in weights_of(again).items():
        np.testing.assert_array_equal(value, before[name])
    # Another licence is another card, of the same weights.
    assert train(clips, again, licence="MIT")["licence"] == "MIT"
    assert "Weights: MIT." in (again / "model_card.md").read_text()


def test_another_run_is_refused(clips, again):
    with pytest.raises(ValueError, match="belongs to another run .*seed=0 th"):
        train(clips, again, seed=1)
    other = tiny.training(dropout=0.5)
    with pytest.raises(ValueError, match="training.dropout=0.0 there, 0.5 he"):
        train(clips, again, training=other)


def test_clips_in_another_order_are_another_run(clips, again, tmp_path):
    """What is drawn in which step depends on their order."""
    manifest = manifest_lib.read_manifest(clips)
    other = tmp_path / "reversed.csv"
    dataclasses.replace(manifest, rows=manifest.rows[::-1]).save(other)
    with pytest.raises(ValueError, match="another run .*order="):
        train(other, again)


def test_fine_tuning_begins_with_the_weights_given(clips, finished, tmp_path):
    gentle = tiny.optimizer(name="sgd", learning_rate=1e-12)
    train(
        clips,
        tmp_path,
        arch=str(finished),
        init_from=str(finished),
        optimizer=gentle,
        training=tiny.training(freeze_batch_norm=True),
        seed=9,
    )
    first = weights_of(finished)
    for name, value in weights_of(tmp_path).items():
        np.testing.assert_allclose(value, first[name], atol=1e-8)


def test_the_network_is_saved_for_clips_as_they_were_cut(clips, tmp_path):
    longer = tiny.data(clips, clip_frames=6, eval_crop_size=20)
    train(clips, tmp_path, data=longer, training=tiny.training(epochs=1))
    model = files.load_trained(tmp_path)
    assert tuple(model.arch.clip_size) == (6, 20, 20)
    assert model.arch.stages == tiny.arch().stages


def test_frozen_batch_norm_keeps_statistics_and_learns_scales(clips, tmp_path):
    train(clips, tmp_path, training=tiny.training(freeze_batch_norm=True))
    fresh = models.weight_values(models.build_model(tiny.arch(), 3))
    after = weights_of(tmp_path)
    for name, value in fresh.items():
        if name.endswith(("_mean", "_variance")):
            np.testing.assert_array_equal(after[name], value)
    assert not np.allclose(after["stem/norm_gamma"], 1.0, atol=1e-3)


def test_precise_batch_norm_changes_statistics_only(clips, finished, tmp_path):
    precise = tiny.training(precise_batch_norm=2)
    train(clips, tmp_path, training=precise)
    plain = weights_of(finished)
    for name, value in weights_of(tmp_path).items():
        if name.endswith("_mean"):
            assert not np.allclose(value, plain[name], atol=1e-6), name
        elif not name.endswith("_variance"):
            np.testing.assert_array_equal(value, plain[name])


def test_clips_of_other_sizes_train_in_turn(clips, finished, tmp_path):
    record = train(clips, tmp_path, training=tiny.training(short_cycle=True))
    assert record["config"]["training"]["short_cycle"]
    losses, plain = (
        [point["loss"] for point in of["curve"]]
        for of in (record, files.read_record(finished))
    )
    np.testing.assert_allclose(losses[0], plain[0], rtol=1e-4)  # full size
    assert abs(losses[1] - plain[1]) > 1e-4


def test_refused_options_leave_the_directory_free(clips, tmp_path):
    optimizer = dataclasses.replace(tiny.optimizer(), warmup_epochs=100.0)
    with pytest.raises(ValueError, match="`warmup_epochs` must be fewer"):
        train(clips, tmp_path / "run", optimizer=optimizer)
    assert not (tmp_path / "run" / "run.json").exists()


def test_weights_of_other_classes_leave_the_directory_free(
    clips, finished, tmp_path, caplog
):
    manifest = manifest_lib.read_manifest(clips)
    rows = [
        dataclasses.replace(row, label=row.label.replace("up", "down"))
        for row in manifest.rows
    ]
    renamed = manifest_lib.Manifest(
        manifest.root, tuple(rows), ("down", "left", "right")
    )
    renamed.save(tmp_path / "renamed.csv")
    fewer = tiny.data(clips, exclude_labels=("up",))
    for other in (fewer, tiny.data(tmp_path / "renamed.csv")):
        with pytest.raises(
            ValueError, match="--gin=TrainingOptions.replace_head"
        ):
            train(clips, tmp_path / "run", data=other, init_from=str(finished))
    again = tiny.training(replace_head=True, epochs=1)
    with caplog.at_level("INFO", logger="absl"):
        train(
            clips, tmp_path / "run", data=other, init_from=str(finished),
            training=again,
        )  # fmt: skip
    assert "The last layer starts anew" in caplog.text


def test_one_class_is_refused_before_anything_is_trained(clips, tmp_path):
    data = tiny.data(clips, exclude_labels=("left", "up"))
    with pytest.raises(ValueError, match="clips of at least two classes"):
        train(clips, tmp_path, data=data)


def test_a_clip_that_broke_since_the_scan_is_named(clips, tmp_path):
    manifest = manifest_lib.read_manifest(clips)
    rows = [
        dataclasses.replace(row, path=f"gone/{row.path}")
        if row.path.endswith("left_0001.mp4")
        else row
        for row in manifest.rows
    ]
    broken = manifest_lib.Manifest(manifest.root, tuple(rows), manifest.classes)
    broken.save(tmp_path / "manifest.csv")
    data = tiny.data(tmp_path / "manifest.csv")
    with pytest.raises(decoding.VideoError, match="gone/left/left_0001.mp4"):
        train(clips, tmp_path / "run", data=data)


def test_a_training_goes_on_once_a_lost_clip_is_back(clips, tmp_path):
    folder, run = tmp_path / "clips", tmp_path / "run"
    shutil.copytree(clips.parent, folder)
    lost = folder / "left/left_0001.mp4"
    content = lost.read_bytes()
    lost.write_bytes(b"lost")
    training = tiny.training(epochs=2, save_steps=1)
    with pytest.raises(decoding.VideoError, match="left_0001.*Put the file"):
        train(folder / clips.name, run, training=training)
    lost.unlink()
    with pytest.raises(decoding.VideoError, match="1 of 9 .*Put them back"):
        train(folder / clips.name, run, training=training)
    lost.write_bytes(content)
    train(folder / clips.name, run, training=training)


def test_the_directory_of_a_search_stays_as_it_is(clips, tmp_path):
    shutil.copytree(clips.parent, tmp_path / "clips")
    (tmp_path / "clips/manifest.csv").unlink()
    run_dir.RunDir(tmp_path / "run", {"kind": "search"})
    before = sorted(os.listdir(tmp_path / "run"))
    data = tiny.data(tmp_path / "clips", train_folds=(), val_folds=())
    with pytest.raises(ValueError, match="'search' there and 'training' here"):
        train(clips, tmp_path / "run", data=data)
    assert sorted(os.listdir(tmp_path / "run")) == before


def test_a_training_ends_without_clips_to_test_on(clips, tmp_path, caplog):
    folder, run = tmp_path / "clips", tmp_path / "run"
    shutil.copytree(clips.parent, folder)
    data = tiny.data(
        folder / clips.name, train_folds=(0, 1), val_folds=(2,), test_folds=(3,)
    )
    for row in manifest_lib.read_manifest(folder / clips.name).rows:
        if row.fold == 3:
            (folder / row.path).unlink()
    train(folder / clips.name, run, data=data)
    record = files.read_record(run)
    assert record["clips"].keys() == {"train", "val"}
    assert "No clips to test: " in caplog.text
    assert "3 of 3 missing" in caplog.text


@pytest.mark.large
def test_killed_training_ends_with_the_same_weights(clips, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    jobs = [whole, f"{killed}:die_after=5", f"{killed}:die_after=8", killed]
    done = subprocess.run(
        [sys.executable, "-m", DRIVER, str(clips), *map(str, jobs)],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=REPO,
        env={**os.environ, "PYTHONPATH": str(REPO)},
    )
    codes = [line for line in done.stdout.splitlines() if "exit" in line]
    wanted = ["exit 0", "exit -9", "exit -9", "exit 0"]  # 9 is SIGKILL
    assert codes == wanted, done.stderr[-3000:]
    content = (whole / "weights.npz").read_bytes()
    assert (killed / "weights.npz").read_bytes() == content
    curves = [files.read_record(path)["curve"] for path in (whole, killed)]
    assert curves[0] == curves[1]


@pytest.mark.large
def test_two_replicas_train_as_one_device_does(clips, tmp_path):
    driver = "tests.training.mirrored_driver"
    done = subprocess.run(
        [sys.executable, "-m", driver, str(clips), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=REPO,
        env={**os.environ, "PYTHONPATH": str(REPO)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = dict(line.split() for line in done.stdout.splitlines())
    assert float(found["moved"]) > 1e-5
    assert float(found["apart"]) < 1e-6
    # An overflow in one replica is one in all: the step is left out.
    assert float(found["overflow"]) == 0.0
    # Each replica normalises by its own clips; the moving statistics of all
    # are the mean of what each would have.
    assert float(found["statistics"]) < 1e-5


def test_weights_beside_the_network_are_mentioned_where_all_start_anew(
    clips, tmp_path, caplog
):
    found, said = tmp_path / "search", "All weights start anew"
    found.mkdir()
    tiny.short_arch().save(found / "arch.json")
    (found / "inherited.npz").touch()
    with caplog.at_level(logging.INFO, logger="absl"):
        train(clips, tmp_path / "run", arch=str(found))
        assert said in caplog.text
        caplog.clear()
        train(clips, tmp_path / "run", arch=str(found))  # goes on
        assert said not in caplog.text
