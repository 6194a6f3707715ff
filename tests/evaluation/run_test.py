import csv
import dataclasses
import json
import shutil
import tracemalloc

import numpy as np
import pytest

from autox3d_tf import cost, models
from autox3d_tf.data import manifest as manifest_lib
from autox3d_tf.data import pipeline, records, synthetic
from autox3d_tf.evaluation import cache, left_out, metrics, report, run
from autox3d_tf.runs import run_dir
from autox3d_tf.training import files, inputs, predict
from autox3d_tf.training import protocol as protocol_lib
from tests.training import tiny

LABELS = ["left", "right", "up"]


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    synthetic.write_synthetic(
        folder, num_classes=3, clips_per_class=4, frames=12, size=24
    )
    return folder / synthetic.MANIFEST_NAME


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return save_trained(tmp_path_factory.mktemp("t") / "run")


def save_trained(folder, lively=30, labels=LABELS):
    """The directory of a training, with lively random weights."""
    model = models.build_model(tiny.arch(), 3, seed=2)
    values = models.weight_values(model)
    values["head/logits_kernel"] = lively * values["head/logits_kernel"]
    models.assign_weights(model, values)
    path = run_dir.RunDir(folder, {"kind": "training"})
    record = {"labels": labels, "provenance": {}}
    files.save_trained(path, model, record)
    return path.path


def data(source, **changes):
    return tiny.data(
        source,
        short_side_range=(16, 20),
        **{
            "eval_short_side": 20,
            "train_folds": (0, 2),
            "test_folds": (1,),
            **changes,
        },
    )


def evaluate(trained, source, folder, **changes):
    return run.run_evaluation(
        **{
            "trained": str(trained),
            "data": data(source),
            "run_dir": str(folder),
            "batch_size": 5,
            **changes,
        }
    )


def test_views_differ_and_are_averaged(clips, trained, tmp_path, capsys):
    wide = clips.parent / "wide"
    wide_clip = np.random.default_rng(0).integers(
        0, 255, (12, 24, 40, 3), np.uint8
    )
    for name, clip in (
        ("left/0.mp4", wide_clip),
        ("left/1.mp4", wide_clip),
        ("right/0.mp4", wide_clip[::-1]),
    ):
        (wide / name).parent.mkdir(parents=True, exist_ok=True)
        synthetic.write_video(wide / name, clip, 12)
    options = data(wide, train_folds=(), val_folds=(), test_folds=())
    result = evaluate(
        trained, wide, tmp_path, data=options, part="all",
        temporal_views=2, spatial_crops=3,
    )  # fmt: skip
    logits = np.load(tmp_path / "views.npz")["logits"]
    # One of the three is a copy of another: named, not evaluated.
    assert [r["status"] for r in result["left_out"]] == ["duplicate"]
    assert logits.shape == (2, 6, 3)
    # Both times of the centre crop first: a view is time x 3 + crop.
    order = [point["last_view"] for point in result["curve"]]
    assert order == [1, 4, 0, 3, 2, 5]
    for clip in logits:
        assert len({tuple(view) for view in clip}) == 6
    # Each view computed apart, without the predictor.
    source = pipeline.open_source(
        pipeline.pin_manifest(options, tmp_path, begun=False), "all"
    )
    model = files.load_trained(trained)
    dataset = pipeline.make_eval_dataset(
        source, options, batch_size=1, temporal_views=2, spatial_crops=3
    )
    for clip, _, place, view in dataset:
        np.testing.assert_allclose(
            model(clip)[0], logits[int(place[0]), int(view[0])], atol=1e-5
        )
    out = capsys.readouterr().out
    assert "2 clips x 3 crops of 4x16x16" in out
    assert "2 of 3 annotated clips" in out
    assert "the same content as left/0.mp4" in out
    assert "accuracy by views" in out


def test_every_number_carries_its_protocol(clips, trained, tmp_path, capsys):
    result = evaluate(trained, clips, tmp_path, temporal_views=2)
    macs = cost.cost_of(tiny.arch(), (4, 16, 16), 3).macs
    protocol = result["protocol"]
    assert protocol["macs_per_view"] == macs
    assert protocol["macs_all_views"] == 2 * macs
    rows = manifest_lib.read_manifest(clips).select(folds=(1,))
    assert protocol["manifest"] == rows.fingerprint
    assert result["clips"] == result["annotated_clips"] == 3
    numbers = [
        line
        for line in capsys.readouterr().out.splitlines()
        if line.startswith(("top-", "mean class", "accuracy by"))
    ]
    # Of three classes all are among five.
    assert [line.split()[0] for line in numbers] == [
        "top-1", "mean", "accuracy",
    ]  # fmt: skip
    for line in numbers:
        assert line.endswith(report.protocol_line(result))
    written = json.loads((tmp_path / "evaluation.json").read_text())
    assert written["top1"] == result["top1"]
    assert np.sum(written["confusion"]) == 3
    card = (tmp_path / "model_card.md").read_text()
    assert f"part test: {report.accuracy_lines(result)[0]}" in card
    assert card == (trained / "model_card.md").read_text()


def test_views_cost_what_clips_of_their_size_do(clips):
    options = data(clips, eval_crop_size=20)
    source = pipeline.open_source(options, "test")
    found = protocol_lib.protocol_of(tiny.arch(), source, options, 3, 2, 3)
    macs = cost.cost_of(tiny.arch(), (4, 20, 20), 3).macs
    assert found["macs_per_view"] == macs
    assert found["macs_all_views"] == 2 * 3 * macs


def test_predictions_say_what_was_said_of_each_clip(clips, trained, tmp_path):
    result = evaluate(trained, clips, tmp_path, part="all", temporal_views=2)
    with open(tmp_path / "predictions.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    views = np.load(tmp_path / "views.npz")
    scores = np.exp(views["logits"])
    scores = (scores / scores.sum(-1, keepdims=True)).mean(1)
    assert [row["path"] for row in rows] == views["paths"].tolist()
    assert [row["label"] for row in rows] == [
        LABELS[i] for i in views["labels"]
    ]
    for row, expected in zip(rows, scores, strict=True):
        assert row["predicted"] == LABELS[expected.argmax()]
        assert float(row["probability"]) == pytest.approx(
            expected.max(), abs=1e-5
        )
    right = sum(row["label"] == row["predicted"] for row in rows)
    assert right == result["top1_correct"]


def test_classes_are_told_by_name_not_by_number(clips, tmp_path):
    """Those of the clips are left, right, up; the network has another order."""
    labels = ["up", "left", "right"]
    trained = save_trained(tmp_path / "run", labels=labels)
    result = evaluate(trained, clips, tmp_path / "out", part="all")
    with open(tmp_path / "out/predictions.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    said = np.load(tmp_path / "out/views.npz")["logits"][:, 0].argmax(-1)
    assert [row["predicted"] for row in rows] == [labels[n] for n in said]
    true = [row["path"].split("/")[0] for row in rows]
    assert [row["label"] for row in rows] == true
    right = sum(row["predicted"] == row["label"] for row in rows)
    assert result["top1_correct"] == right
    counts = np.zeros((3, 3), int)
    for label, number in zip(true, said, strict=True):
        counts[labels.index(label), number] += 1
    assert result["confusion"].tolist() == counts.tolist()
    written = (tmp_path / "out/evaluation.txt").read_text()
    assert report.classes_table(counts, labels) in written


def test_crops_of_a_squashed_picture_are_one(clips, trained, tmp_path):
    squashed = data(clips, squash=True, eval_short_side=16)
    with pytest.raises(ValueError, match="`spatial_crops` must be 1 .*: 3."):
        evaluate(trained, clips, tmp_path, data=squashed, spatial_crops=3)
    wider = dataclasses.replace(squashed, eval_short_side=20)
    evaluate(trained, clips, tmp_path, data=wider, spatial_crops=3)


def test_clips_that_were_trained_on_are_looked_for(
    clips, trained, tmp_path, monkeypatch
):
    seen = []
    monkeypatch.setattr(
        inputs, "warn_of_trained", lambda _, source: seen.append(len(source))
    )
    for part in ("test", "all", "train"):
        evaluate(trained, clips, tmp_path / part, part=part)
    assert seen == [3, 12]


def test_unusable_clips_belong_to_no_part_that_is_chance(
    clips, trained, tmp_path, caplog
):
    listed = manifest_lib.read_manifest(clips)
    bad = dataclasses.replace(listed.rows[0], path="bad", status="truncated")
    rows = [*listed.rows, *(dataclasses.replace(bad, path=n) for n in "cde")]
    rows = tuple(dataclasses.replace(row, fold=-1) for row in rows)
    dataclasses.replace(listed, rows=rows).save(clips.parent / "list.csv")
    options = data(
        clips.parent / "list.csv", train_folds=(), val_folds=(), test_folds=()
    )
    found = evaluate(trained, clips, tmp_path / "r", data=options, part="val")
    assert len(found["left_out"]) == 3 and found["annotated_clips"] is None
    written = (tmp_path / "r" / "evaluation.txt").read_text()
    assert "Not usable, of all parts (3 clips):" in written
    assert "annotated" not in written
    assert "a share of 0.2 held out by chance" in caplog.text
    caplog.clear()
    found = evaluate(trained, clips, tmp_path / "a", data=options, part="all")
    assert found["annotated_clips"] == found["clips"] + 3
    assert "by chance" not in caplog.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"part": "tset"}, "`part` must be one of train, val, test, all"),
        ({"temporal_views": 0}, "`temporal_views` must be a positive"),
        ({"spatial_crops": -1}, "`spatial_crops` must be a positive"),
        ({"batch_size": 1.5}, "`batch_size` must be a positive"),
    ],
)
def test_what_is_asked_for_is_looked_at_first(changes, message):
    with pytest.raises(ValueError, match=message):
        run.run_evaluation(trained="nowhere", **changes)


def test_source_and_data_exclude_each_other(clips, trained):
    with pytest.raises(ValueError, match="`source` must be None where `data`"):
        run.run_evaluation(
            trained=str(trained), source=str(clips), data=data(clips)
        )


def test_cached_views_are_used_for_the_same_weights_only(
    clips, trained, tmp_path, monkeypatch
):
    first = evaluate(trained, clips, tmp_path, temporal_views=2)

    def fail(*_, **__):
        raise AssertionError("computed again")

    monkeypatch.setattr(predict.Predictor, "predict", fail)
    again = evaluate(trained, clips, tmp_path, temporal_views=2)
    assert again["confusion"].tolist() == first["confusion"].tolist()
    with pytest.raises(AssertionError, match="computed again"):
        evaluate(trained, clips, tmp_path, temporal_views=3)
    other = shutil.copytree(trained, tmp_path / "other")
    again = evaluate(other, clips, tmp_path, temporal_views=2)
    assert again["top1"] == first["top1"]  # the same, wherever they are
    save_trained(other, lively=31)
    with pytest.raises(AssertionError, match="computed again"):
        evaluate(other, clips, tmp_path, temporal_views=2)
    (tmp_path / "views.npz").write_bytes(b"damaged")
    with pytest.raises(AssertionError, match="computed again"):
        evaluate(trained, clips, tmp_path, temporal_views=2)


def test_logits_with_flipped_bytes_are_made_anew(tmp_path):
    path = tmp_path / "views.npz"
    logits = np.random.default_rng(0).random((20, 3, 4), np.float32)
    cache.write(path, "a", logits, labels=np.zeros(20, int))
    whole = path.read_bytes()
    assert (cache.read(path, "a") == logits).all()
    for place in range(0, len(whole), 5):
        flipped = bytearray(whole)
        flipped[place] ^= 0x55
        path.write_bytes(flipped)
        found = cache.read(path, "a")
        assert found is None or (found == logits).all()


def test_an_evaluation_that_was_stopped_goes_on(
    clips, trained, tmp_path, monkeypatch
):
    whole = evaluate(trained, clips, tmp_path / "whole")
    monkeypatch.setattr(run, "_PART_CLIPS", 2)  # of three
    real, seen = predict.Predictor.predict, []

    def stopped(self, source, *rest):
        seen.append(len(source))
        if len(seen) == 2:
            raise KeyboardInterrupt
        return real(self, source, *rest)

    monkeypatch.setattr(predict.Predictor, "predict", stopped)
    with pytest.raises(KeyboardInterrupt):
        evaluate(trained, clips, tmp_path / "parts")
    parts = cache.parts

    def removed(path):  # by another process that does the same
        found = parts(path)
        found[0].unlink()
        return found

    monkeypatch.setattr(cache, "parts", removed)
    found = evaluate(trained, clips, tmp_path / "parts")
    assert seen == [2, 1, 1]
    assert found["confusion"].tolist() == whole["confusion"].tolist()
    logits = [
        np.load(tmp_path / name / "views.npz")["logits"]
        for name in ("whole", "parts")
    ]
    np.testing.assert_allclose(*logits, atol=1e-5)
    assert [p.name for p in (tmp_path / "parts").glob("*.npz")] == ["views.npz"]


def test_parts_and_the_whole_are_not_held_at_a_time(
    clips, tmp_path, monkeypatch
):
    monkeypatch.setattr(run, "_PART_CLIPS", 1)
    source = pipeline.open_source(data(clips), "all")
    tracemalloc.start()
    try:
        found = run._in_parts(
            lambda part: np.full((len(part), 500, 100), len(part), np.float32),
            source, "key", tmp_path / "views.npz", on_known=None,
        )  # fmt: skip
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.shape == (12, 500, 100) and (found == 1).all()
    # One part and its copy being written lie beside all twelve.
    assert peak < 1.5 * found.nbytes


def test_cached_views_of_records_are_not_those_of_videos(
    clips, trained, tmp_path
):
    """Records hold the same clips in another order, and compressed."""
    listed = manifest_lib.read_manifest(clips)
    for name, quality in (("a", 90), ("b", 20)):
        records.make_records(
            listed, tmp_path / name, num_shards=3, quality=quality
        )
    sources = [clips, tmp_path / "a", tmp_path / "b"]

    def logits(source, folder):
        evaluate(trained, source, tmp_path / folder)
        return np.load(tmp_path / folder / "views.npz")["logits"]

    for place, source in enumerate(sources):
        shared, apart = (logits(source, f) for f in ("one", f"apart{place}"))
        np.testing.assert_allclose(shared, apart, atol=1e-5)
    found = [pipeline.open_source(data(s), "test") for s in sources]
    assert len({one.manifest.fingerprint for one in found}) == 1
    assert len({one.identity for one in found}) == 3


def test_cache_of_something_else_is_not_read(tmp_path):
    path, logits = tmp_path / "views.npz", np.ones((1, 2, 3), np.float32)
    cache.write(path, "a", logits)
    np.testing.assert_array_equal(cache.read(path, "a"), logits)
    assert cache.read(path, "b") is None
    assert cache.read(tmp_path / "none.npz", "a") is None
    np.savez_compressed(path, identity="b", logits=logits)  # as before
    np.testing.assert_array_equal(cache.read(path, "b"), logits)


def test_scores_by_hand():
    # Probabilities (0.6, 0.4), (0.3, 0.7), (0.2, 0.8); labels 0, 1, 0.
    logits = np.log([[[0.6, 0.4]], [[0.3, 0.7]], [[0.2, 0.8]]])
    protocol = {"temporal_views": 1, "spatial_crops": 1}
    found = run.score(logits, np.array([0, 1, 0]), protocol)
    assert found["top1_correct"] == 2 and found["top5"] == 1.0
    assert found["mean_class_accuracy"] == 0.75  # (1/2 + 1) / 2
    assert found["confusion"].tolist() == [[1, 1], [0, 1]]
    assert found["top1_interval"] == metrics.wilson_interval(2, 3)


def scored(logits, labels, temporal_views=1, spatial_crops=1):
    protocol = {
        "temporal_views": temporal_views, "spatial_crops": spatial_crops,
        "clip_size": (4, 16, 16), "sampling": "dense", "macs_per_view": 2e6,
        "macs_all_views": 2e6 * temporal_views * spatial_crops, "manifest": "",
    }  # fmt: skip
    found = run.score(logits, labels, protocol)
    return {**found, "protocol": protocol, "annotated_clips": None}


def test_top_5_counts_five_of_many():
    logits = -np.arange(7.0)[None, None].repeat(4, 0)
    found = scored(logits, np.array([0, 3, 4, 5]))  # the last one is sixth
    assert found["top1"] == 0.25 and found["top5"] == 0.75


@pytest.mark.parametrize("classes, lines", [(5, 2), (6, 3)])
def test_top_5_is_said_where_it_says_something(classes, lines):
    result = scored(np.eye(classes)[:, None], np.arange(classes))
    assert len(report.accuracy_lines(result)) == lines


def test_the_curve_counts_what_its_views_cost():
    result = scored(np.zeros((1, 6, 2)), np.array([0]), 2, 3)
    _, _, *points = report.curve_table(result).splitlines()
    assert [(line.split()[0], line.split()[-1]) for line in points] == [
        (str(views), f"{2 * views}.0") for views in range(1, 7)
    ]


def test_ties_are_wrong_in_every_accuracy():
    protocol = {"temporal_views": 1, "spatial_crops": 1}
    found = run.score(np.zeros((4, 1, 2)), np.array([0, 0, 1, 1]), protocol)
    assert found["top1"] == found["mean_class_accuracy"] == 0.0
    assert found["confusion"].tolist() == [[0, 2], [2, 0]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_refused(clips, bad):
    model = models.build_model(tiny.arch(), 3, seed=2)
    values = models.weight_values(model)
    values["head/logits_bias"] = np.array([0, bad, 0], np.float32)
    models.assign_weights(model, values)
    options = data(clips)
    source = pipeline.open_source(options, "test")
    with pytest.raises(ValueError, match="NaN or infinity for 3 of 3 clips"):
        predict.Predictor(model, 3).predict(source, options)


def test_bad_clips_of_the_part_are_listed(clips, tmp_path):
    manifest = manifest_lib.read_manifest(clips)
    rows = list(manifest.rows)
    for place, status in ((1, "undecodable"), (5, "missing"), (2, "empty")):
        rows[place] = dataclasses.replace(
            rows[place], status=status, detail="why", frames=0
        )
    path = tmp_path / "manifest.csv"
    manifest_lib.Manifest(manifest.root, tuple(rows), manifest.classes).save(
        path
    )
    options = data(path)
    # Four clips of a class, in folds 0 to 3: rows 1 and 5 are of fold 1.
    found = left_out.left_out(options, "test")
    assert [(r["status"], r["label"], r["detail"]) for r in found] == [
        ("undecodable", "left", "why"),
        ("missing", "right", "why"),
    ]
    assert len(left_out.left_out(options, "all")) == 3
    without = dataclasses.replace(options, exclude_labels=("left",))
    assert len(left_out.left_out(without, "test")) == 1


@pytest.mark.parametrize("memory_mib", [0, 10])
def test_bad_clips_of_records_are_listed_in_their_own_part(
    clips, tmp_path, memory_mib
):
    manifest = manifest_lib.read_manifest(clips)
    rows = [
        dataclasses.replace(row, split=("train", "val", "test", "test")[n % 4])
        for n, row in enumerate(manifest.rows)
    ]
    for place in (0, 1):  # of the first class, to train and to validate on
        rows[place] = dataclasses.replace(rows[place], status="empty", frames=0)
    listed = dataclasses.replace(manifest, rows=tuple(rows))
    listed.save(tmp_path / "manifest.csv")
    records.make_records(listed, tmp_path / "records", short_side=20)
    for source in (tmp_path / "records", tmp_path / "manifest.csv"):
        options = data(
            source, memory_mib=memory_mib, train_folds=(), val_folds=(),
            test_folds=(),
        )  # fmt: skip
        found = {
            part: [r["path"] for r in left_out.left_out(options, part)]
            for part in ("train", "val", "test")
        }
        assert [len(paths) for paths in found.values()] == [1, 1, 0]
        assert found["train"] != found["val"]


def test_another_evaluation_is_replaced_with_a_word(
    clips, trained, tmp_path, caplog
):
    evaluate(trained, clips, tmp_path)
    evaluate(trained, clips, tmp_path)
    assert "another evaluation" not in caplog.text
    evaluate(trained, clips, tmp_path, data=data(clips, test_folds=(3,)))
    assert "holds another evaluation, which this one replaces (m" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "evaluation.json was not written by an evaluation. Remove"),
        ("[1]", "evaluation.json was not written by an evaluation. Remove"),
        ('{"top1', "evaluation.json is not an evaluation: not valid JSON"),
    ],
)
def test_what_is_no_evaluation_is_not_replaced(
    clips, trained, tmp_path, text, message
):
    (tmp_path / "evaluation.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        evaluate(trained, clips, tmp_path)
    assert (tmp_path / "evaluation.json").read_text() == text


def test_confusion_table_names_rows():
    lines = report.classes_table([[3, 0], [11, 5]], ["up", "down"])
    assert lines.splitlines()[2:] == [
        "  0 up    3  .   100.0 %",
        "  1 down 11  5    31.2 %",
    ]


def test_of_many_classes_the_worst_are_named():
    confusion = 4 * np.eye(31, dtype=int)
    confusion[7] = 0  # no clips, so no accuracy
    confusion[5, 30], confusion[2, 3] = 12, 1
    lines = report.classes_table(confusion, [f"c{i}" for i in range(31)])
    assert lines.splitlines()[1:3] == [
        "  25.0 %     4 of    16  c5",
        "  80.0 %     4 of     5  c2",
    ]
    assert "c7" not in lines
    assert lines.splitlines()[12:] == [
        "      12 of    16  c5, predicted as c30",
        "       1 of     5  c2, predicted as c3",
    ]
