import dataclasses
import json
import logging
import pathlib
import shutil

import pytest

from autox3d_tf.base import files as files_lib
from autox3d_tf.data import manifest as manifest_lib
from autox3d_tf.data import pipeline
from autox3d_tf.runs import run_dir
from autox3d_tf.training import curve, inputs
from tests.training import tiny


def freeze(options, folder):
    begun = run_dir.is_run(folder)
    return pipeline.pin_manifest(options, folder, begun=begun)


def test_folder_is_listed_once(clips, tmp_path):
    folder = tmp_path / "videos"
    shutil.copytree(clips.parent, folder)
    (folder / "manifest.csv").unlink()
    (folder / "left" / "broken.mp4").write_text("not a video")
    options = tiny.data(folder, train_folds=(), val_folds=())
    frozen = freeze(options, tmp_path / "run")
    assert pathlib.Path(frozen.source).parent == tmp_path / "run"
    rows = manifest_lib.read_manifest(frozen.source).rows
    assert len(rows) == 13
    assert [r.status for r in rows if r.path.endswith("broken.mp4")] == [
        "undecodable"
    ]
    # Before the run has begun, what changes is seen; then it is too late.
    (folder / "left" / "broken.mp4").unlink()
    again = freeze(options, tmp_path / "run")
    assert len(manifest_lib.read_manifest(again.source).rows) == 12
    run_dir.RunDir(tmp_path / "run", {"kind": "training"})
    (folder / "left" / "left_0001.mp4").unlink()
    again = freeze(options, tmp_path / "run")
    assert len(manifest_lib.read_manifest(again.source).rows) == 12


def test_another_folder_gets_a_list_of_its_own(clips, tmp_path):
    sources = []
    for name in ("a", "b"):
        shutil.copytree(clips.parent, tmp_path / name)
        (tmp_path / name / "manifest.csv").unlink()
        options = tiny.data(tmp_path / name, train_folds=(), val_folds=())
        sources.append(freeze(options, tmp_path / "run").source)
    assert len(set(sources)) == 2


def test_a_list_is_known_again_where_run_and_videos_have_moved(clips, tmp_path):
    shutil.copytree(clips.parent, tmp_path / "here/videos")
    (tmp_path / "here/videos/manifest.csv").unlink()
    names = []
    for place in ("here", "there"):
        options = tiny.data(tmp_path / place / "videos")
        folder = tmp_path / place / "run"
        frozen = pathlib.Path(freeze(options, folder).source)
        run_dir.RunDir(folder, {"kind": "training"})
        names.append(frozen.relative_to(folder))
        if place == "here":
            (tmp_path / "here").rename(tmp_path / "there")
    assert names[0] == names[1]


def test_scanned_list_stays_as_it_is(clips, tmp_path):
    options = tiny.data(clips)
    assert freeze(options, tmp_path) is options


def test_a_list_without_usable_clips_is_not_scanned_again(clips, tmp_path):
    manifest = manifest_lib.read_manifest(clips)
    rows = [
        dataclasses.replace(row, status="truncated") for row in manifest.rows
    ]
    bad = dataclasses.replace(manifest, rows=tuple(rows))
    bad.save(tmp_path / "bad.csv")
    options = tiny.data(tmp_path / "bad.csv")
    assert freeze(options, tmp_path) is options


def only(clips, *labels):
    source = pipeline.open_source(tiny.data(clips), "train")
    others = tuple(name for name in source.classes if name not in labels)
    return source.subset(source.manifest.select(exclude_labels=others))


def test_one_class_cannot_be_trained(clips):
    with pytest.raises(ValueError, match="at least two classes.*'left'"):
        inputs.check_classes(only(clips, "left"))


def test_labels_are_matched_by_name(clips):
    source = pipeline.open_source(tiny.data(clips), "train")
    assert source.classes == ("left", "right", "up")
    outputs = inputs.outputs_of(source, ["left", "right", "up"])
    assert outputs.tolist() == [0, 1, 2]
    outputs = inputs.outputs_of(source, ["up", "x", "right", "left"])
    assert outputs.tolist() == [3, 2, 0]
    with pytest.raises(ValueError, match="knows no class 'up'. Its classes"):
        inputs.outputs_of(source, ["left", "right"])
    rows = tuple(r for r in source.manifest.rows if r.label != "up")
    fewer = source.subset(dataclasses.replace(source.manifest, rows=rows))
    outputs = inputs.outputs_of(fewer, ["left", "right"])
    assert outputs.tolist() == [0, 1, -1]


def test_few_clips_are_a_warning(clips, caplog):
    inputs.check_classes(only(clips, "left", "right"))
    assert (
        "Classes with fewer than 5 clips to train on: 'left' (3), 'right' (3)."
        in caplog.text
    )


def test_rare_classes_are_said(clips, caplog):
    source = only(clips, "left", "right")
    left, *_ = source.manifest.rows
    rows = 15 * (left,) + source.manifest.rows[-3:]
    manifest = dataclasses.replace(source.manifest, rows=rows)
    with caplog.at_level(logging.INFO, logger="absl"):
        inputs.check_classes(source.subset(manifest))
        assert "balance" not in caplog.text  # 15 is no more than 5 times 3
        manifest = dataclasses.replace(manifest, rows=(left, *rows))
        inputs.check_classes(source.subset(manifest))
    assert "Classes have 3 to 16 clips" in caplog.text


@pytest.mark.parametrize(
    "changes, has_val, has_test",
    [
        ({}, True, False),
        ({"val_folds": (), "test_folds": (3,)}, False, True),
        ({"train_folds": (), "val_folds": ()}, True, False),
        ({"val_folds": (), "val_splits": ("dev",)}, True, False),
    ],
)
def test_which_parts_there_are(changes, has_val, has_test):
    options = tiny.data("x", **changes)
    assert inputs.has_part(options, "val") == has_val
    assert inputs.has_part(options, "test") == has_test


def test_curve_forgets_steps_that_were_lost(tmp_path):
    path = tmp_path / "curve.jsonl"
    first = curve.Curve(path)
    for step in (1, 2, 3):
        first.add(step, {"loss": 1 / step})
    with open(path, "a", encoding="utf-8") as file:
        file.write('{"step": 4, "lo')  # killed here
    before = path.read_bytes()
    beside = curve.Curve(path, first_step=2, writes=False)
    beside.add(3, {"loss": 0.25})
    assert path.read_bytes() == before
    resumed = curve.Curve(path, first_step=2)
    resumed.add(3, {"loss": 0.25})
    assert beside.points == resumed.points
    written = [json.loads(line) for line in path.read_text().splitlines()]
    assert written == resumed.points == [
        {"step": 1, "loss": 1.0},
        {"step": 2, "loss": 0.5},
        {"step": 3, "loss": 0.25},
    ]  # fmt: skip


def test_data_of_a_training_is_read_back():
    options = tiny.data("videos", flip=True, exclude_labels=("up",))
    record = {"config": {"data": options}}
    record = json.loads(json.dumps(files_lib.to_json(record)))
    assert inputs.trained_on(record, "run") == options
    moved = inputs.trained_on(record, "run", "elsewhere")
    assert moved == dataclasses.replace(options, source="elsewhere")


def test_a_list_in_the_run_directory_moves_with_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("run", tmp_path / "run"):
        options = tiny.data(f"{folder}/manifest-1.csv")
        told = inputs.portable(options, "run")
        assert told.source == "$RUN_DIR/manifest-1.csv"
        record = {"config": {"data": files_lib.to_json(told)}}
        found = inputs.trained_on(record, "/moved")
        assert found.source == "/moved/manifest-1.csv"
    other = tiny.data("clips/manifest.csv")
    assert inputs.portable(other, "run") == other


def test_data_of_weights_from_elsewhere():
    cut = inputs.preprocessing(tiny.data("x", stride=3, eval_short_side=20))
    record = {"config": {"kind": "import"}, "preprocessing": cut}
    options = inputs.trained_on(record, "run", "videos")
    assert inputs.preprocessing(options) == cut
    with pytest.raises(ValueError, match="`source` must be given for weights"):
        inputs.trained_on(record, "run")


def test_clips_are_those_of_the_training_unless_others_are_given(
    clips, tmp_path
):
    data = tiny.data("nowhere", stride=3)
    record = {
        "config": {"data": files_lib.to_json(data)},
        "preprocessing": inputs.preprocessing(data),
    }
    with pytest.raises(ValueError, match="There are no clips nowhere, as se"):
        inputs.resolve(record, tmp_path, None, None)
    found = inputs.resolve(record, tmp_path, None, str(clips))
    assert (found.source, found.stride) == (str(clips), 3)
    other = tiny.data(str(clips))
    assert inputs.resolve(record, tmp_path, other, None) == other
    with pytest.raises(ValueError, match="`source` must be None where `data`"):
        inputs.resolve(record, tmp_path, other, "elsewhere")


def test_clips_cut_otherwise_are_a_warning(caplog):
    options = tiny.data("x")
    record = {"preprocessing": inputs.preprocessing(options)}
    other_size = dataclasses.replace(options, eval_short_side=20, stride=5)
    inputs.warn_of_other_cut(record, other_size)
    assert not caplog.text
    inputs.warn_of_other_cut(
        record, dataclasses.replace(options, sampling="dense", clip_frames=8)
    )
    assert "trained with sampling='segment', not 'dense'" in caplog.text
    assert "trained with clip_frames=4, not 8" in caplog.text
    assert "(--gin=DataOptions.clip_frames=4)" in caplog.text
    inputs.warn_of_other_cut(record, dataclasses.replace(options, crop_size=8))
    assert "trained with crop_size=16, not 8" in caplog.text
    for name in ("squash", "standardize"):
        other = dataclasses.replace(options, **{name: True})
        inputs.warn_of_other_cut(record, other)
        assert f"trained with {name}=False, not True" in caplog.text


def test_clips_that_were_trained_on_are_counted(clips, tmp_path, caplog):
    train, both = (
        pipeline.open_source(tiny.data(clips), part)
        for part in ("train", "all")
    )
    inputs.warn_of_trained(tmp_path, both)  # of a training of before
    inputs.save_clips(tmp_path, train)
    inputs.warn_of_trained(
        tmp_path, pipeline.open_source(tiny.data(clips), "val")
    )
    assert not caplog.text
    inputs.warn_of_trained(tmp_path, both)
    assert f"{len(train)} of {len(both)} clips to test on are" in caplog.text


def test_a_part_held_out_by_chance_of_other_clips_is_said(clips, caplog):
    options = tiny.data(clips)
    source = pipeline.open_source(options, "val")
    assert not inputs.is_by_chance(source, options, "val")
    options = tiny.data(clips, train_folds=(), val_folds=())
    source = pipeline.open_source(options, "val")
    assert inputs.is_by_chance(source, options, "val")
    assert not inputs.is_by_chance(source, options, "all")
    inputs.warn_of_chance(source, options)
    assert "a share of 0.2 held out by chance" in caplog.text
    assert "--gin=PART='all'" in caplog.text
