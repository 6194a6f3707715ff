import dataclasses
import json
import os
import shutil
import time

import numpy as np
import pytest
import tensorflow as tf

from autox3d_tf.base import files
from autox3d_tf.data import decoding, pipeline, records, scan, synthetic


@pytest.fixture(scope="module")
def folder(clips, tmp_path_factory):
    out = tmp_path_factory.mktemp("records") / "out"
    records.make_records(clips, out, short_side=24, num_shards=3)
    return out


def test_fetched_frames_are_those_of_the_video(clips, folder):
    source = records.RecordSource(folder)
    assert len(source) == len(clips)
    assert source.classes == clips.classes
    by_path = {row.path: row for row in clips.rows}
    for position in (0, 5, 11):
        row = source.manifest.rows[position]
        assert row.frames == 20 and (row.height, row.width) == (24, 24)
        indices = [19, 3, 3, 0]
        fetched = source.fetch(position, indices)
        frames = decoding.decode_frames(
            clips.absolute_path(by_path[row.path]), indices, 24
        )
        for picture, frame in zip(fetched, frames, strict=True):
            picture = tf.io.decode_jpeg(picture).numpy().astype(float)
            # JPEG at quality 90 with halved colour resolution.
            assert np.abs(picture - frame).mean() < 8


def test_clips_larger_than_the_records_are_refused(folder, clips, tmp_path):
    def opened(where, side, part="train"):
        options = pipeline.DataOptions(
            source=str(where),
            clip_frames=4,
            crop_size=16,
            short_side_range=(side, side),
            train_folds=(0, 1, 2, 3),
            test_folds=(-1,),
        )
        return pipeline.open_source(options, part)

    assert len(opened(folder, 24)) == 12
    with pytest.raises(ValueError, match="--short_side=32 or more"):
        opened(folder, 32)
    assert len(opened(folder, 32, "all")) == 12  # the crop is 16 there
    # The videos have 48 pixels themselves.
    records.make_records(clips, tmp_path / "whole", short_side=60)
    assert len(opened(tmp_path / "whole", 60)) == 12


def test_a_record_is_a_valid_sequence_example(folder):
    source = records.RecordSource(folder)
    index = json.loads((folder / "index.json").read_text())
    found = {}
    for shard in sorted(folder.glob("*.tfrecord")):
        # TFRecordDataset checks the checksums.
        for payload in tf.data.TFRecordDataset(str(shard)):
            context, lists = tf.io.parse_single_sequence_example(
                payload,
                {
                    "clip/path": tf.io.FixedLenFeature((), tf.string),
                    "clip/frames": tf.io.FixedLenFeature((), tf.int64),
                },
                {"image/encoded": tf.io.FixedLenSequenceFeature((), tf.string)},
            )
            assert len(lists["image/encoded"]) == context["clip/frames"]
            path = context["clip/path"].numpy().decode()
            found[path] = lists["image/encoded"].numpy()
    assert set(found) == {clip["path"] for clip in index["clips"]}
    for position, row in enumerate(source.manifest.rows):
        np.testing.assert_array_equal(
            source.fetch(position, range(row.frames)), found[row.path]
        )


def test_finished_shards_are_kept(clips, folder, tmp_path, monkeypatch):
    """Interrupted in the second shard, only what is missing is written."""
    out = tmp_path / "out"
    encode, encoded = records._encode, []

    def interrupted(manifest, row, *rest):
        if len(encoded) == 6:  # shards of four clips, one worker
            raise KeyboardInterrupt
        encoded.append(row.path)
        return encode(manifest, row, *rest)

    monkeypatch.setattr(records, "_encode", interrupted)
    arguments = {"short_side": 24, "num_shards": 3, "workers": 1}
    with pytest.raises(KeyboardInterrupt):
        records.make_records(clips, out, **arguments)
    assert not (out / "index.json").exists()
    with pytest.raises(ValueError, match="quality=90 instead of 50"):
        records.make_records(clips, out, quality=50, **arguments)
    finished = set(encoded[:4])
    encoded.clear()
    monkeypatch.setattr(
        records,
        "_encode",
        lambda manifest, row, *rest: (
            encoded.append(row.path) or encode(manifest, row, *rest)
        ),
    )
    records.make_records(clips, out, **arguments)
    assert len(encoded) == 8
    assert not finished & set(encoded)
    for shard in folder.glob("*.tfrecord"):
        assert shard.read_bytes() == (out / shard.name).read_bytes()
    assert (folder / "index.json").read_text() == (
        out / "index.json"
    ).read_text()
    assert (
        sorted(p.suffix for p in out.iterdir()) == [".json"] + [".tfrecord"] * 3
    )


def test_clips_renamed_in_between_are_all_there_once(
    clips, tmp_path, monkeypatch
):
    """Their order in the list is another then."""
    encode, encoded = records._encode, []

    def interrupted(manifest, row, *rest):
        if len(encoded) == 6:
            raise KeyboardInterrupt
        encoded.append(row)
        return encode(manifest, row, *rest)

    monkeypatch.setattr(records, "_encode", interrupted)
    arguments = {"short_side": 24, "num_shards": 3, "workers": 1}
    with pytest.raises(KeyboardInterrupt):
        records.make_records(clips, tmp_path, **arguments)
    assert records.are_begun(tmp_path)
    options = pipeline.DataOptions(source=str(tmp_path))
    with pytest.raises(ValueError, match="are not finished. Go on with autox3"):
        pipeline.open_source(options)
    monkeypatch.setattr(records, "_encode", encode)
    other = dataclasses.replace(clips, rows=clips.rows[::-1])
    assert other.fingerprint == clips.fingerprint
    records.make_records(other, tmp_path, **arguments)
    found = records.RecordSource(tmp_path).manifest.rows
    assert {r.sha256 for r in found} == {r.sha256 for r in clips.rows}
    assert len(found) == len(clips) and not records.are_begun(tmp_path)


def test_interrupted_no_clip_is_finished_first(clips, tmp_path, monkeypatch):
    frame, drawn = np.zeros((8, 8, 3), np.uint8), []
    first = min(clips.rows, key=lambda row: row.identity)  # of a shard

    def frames(path, short_side):
        if path == clips.absolute_path(first):
            raise KeyboardInterrupt
        for _ in range(1000):  # 10 seconds of the other shard's first clip
            drawn.append(path)
            time.sleep(0.01)
            yield frame

    monkeypatch.setattr(decoding, "iter_frames", frames)
    with pytest.raises(KeyboardInterrupt):
        records.make_records(clips, tmp_path, num_shards=2, workers=2)
    assert len(drawn) < 1000


def test_one_process_at_a_time_writes_to_a_folder(
    clips, folder, tmp_path, monkeypatch
):
    encode, refused = records._encode, []

    def meanwhile(*arguments):
        with pytest.raises(ValueError, match="Another process writes") as error:
            records.make_records(clips, tmp_path / "out", quality=50)
        refused.append(str(error.value))
        return encode(*arguments)

    monkeypatch.setattr(records, "_encode", meanwhile)
    arguments = {"short_side": 24, "num_shards": 3}
    records.make_records(clips, tmp_path / "out", **arguments)
    assert len(refused) == len(clips) and "\n" not in refused[0]
    names = sorted(path.name for path in folder.iterdir())
    assert names == sorted(path.name for path in (tmp_path / "out").iterdir())
    records.make_records(clips, tmp_path / "out", **arguments)


def test_made_again_nothing_happens_unless_it_is_another_job(clips, folder):
    before = (folder / "index.json").stat().st_mtime_ns
    records.make_records(clips, folder, short_side=24, num_shards=3)
    assert (folder / "index.json").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="short_side=24 instead of 32"):
        records.make_records(clips, folder, short_side=32, num_shards=3)


def test_bad_clips_are_listed_with_the_reason(clips, tmp_path):
    root = tmp_path / "videos"
    shutil.copytree(clips.root, root)
    gone, longer, known = clips.rows[:3]
    (root / gone.path).write_text("no longer a video")
    rows = (
        gone,
        dataclasses.replace(longer, frames=21),
        dataclasses.replace(known, status="truncated", detail="half"),
        *clips.rows[3:],
    )
    manifest = dataclasses.replace(clips, root=str(root), rows=rows)
    records.make_records(manifest, tmp_path / "out", short_side=24)
    source = records.RecordSource(tmp_path / "out")
    assert len(source) == len(clips) - 3
    left_out = {
        entry["path"]: (entry["status"], entry["detail"])
        for entry in source.index["left_out"]
    }
    assert left_out[known.path] == ("truncated", "half")
    assert "not a video" in left_out[gone.path][1]
    assert "20 frames decode, the manifest says 21" in left_out[longer.path][1]


def test_no_index_where_nothing_can_be_read(clips, tmp_path):
    root = tmp_path / "videos"
    for row in clips.rows:
        files.write_text(root / row.path, "no longer a video")
    blank = dataclasses.replace(clips, root=str(root))
    with pytest.raises(ValueError, match="None of the 12 .*not a video"):
        records.make_records(blank, tmp_path / "out", short_side=24)
    assert not list((tmp_path / "out").glob("*.json"))


def test_a_disk_that_goes_away_leaves_nothing_out(
    clips, folder, tmp_path, monkeypatch
):
    """Its clips are not those of a shard that could not be stored."""
    disk, away = tmp_path / "disk", tmp_path / "away"
    shutil.copytree(clips.root, disk)
    lent = dataclasses.replace(clips, root=str(disk))
    encode, encoded = records._encode, []

    def pulled(manifest, row, *rest):
        if len(encoded) == 6 and disk.exists():  # in the second shard
            disk.rename(away)
        encoded.append(row.path)
        return encode(manifest, row, *rest)

    monkeypatch.setattr(records, "_encode", pulled)
    out = tmp_path / "out"
    arguments = {"short_side": 24, "num_shards": 3, "workers": 1}
    with pytest.raises(ValueError, match="4 of 4 .* are gone, such as .*disk"):
        records.make_records(lent, out, **arguments)
    assert not (out / "index.json").exists()
    away.rename(disk)
    # With the disk back, the same command writes them; to the byte.
    records.make_records(lent, out, **arguments)
    assert sorted(p.name for p in out.iterdir()) == sorted(
        p.name for p in folder.iterdir()
    )
    for path in folder.iterdir():
        assert (out / path.name).read_bytes() == path.read_bytes(), path.name


def test_single_clips_that_are_gone_are_left_out(clips, tmp_path):
    root = tmp_path / "videos"
    shutil.copytree(clips.root, root)
    (root / clips.rows[0].path).unlink()
    rest = dataclasses.replace(clips, root=str(root))
    records.make_records(rest, tmp_path / "out", short_side=24, num_shards=3)
    index = json.loads((tmp_path / "out" / "index.json").read_text())
    (left_out,) = index["left_out"]
    assert left_out["path"] == clips.rows[0].path
    assert "no such file" in left_out["detail"]


def test_records_of_other_clips_are_said_to_be(clips, folder):
    fewer = dataclasses.replace(clips, rows=clips.rows[:-1])
    with pytest.raises(ValueError, match="of other clips, or of a list from"):
        records.make_records(fewer, folder, short_side=24, num_shards=3)


def test_records_are_not_put_among_videos(clips):
    before = sorted(os.listdir(clips.root))
    with pytest.raises(ValueError, match=f"empty .* has {before[0]}. Choose"):
        records.make_records(clips, clips.root, short_side=24)
    assert sorted(os.listdir(clips.root)) == before


def test_a_lost_shard_is_named(clips, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "out")
    lost = sorted((tmp_path / "out").glob("*.tfrecord"))[1]
    lost.unlink()
    with pytest.raises(ValueError, match=f"without {lost.name}. Remove"):
        records.make_records(
            clips, tmp_path / "out", short_side=24, num_shards=3
        )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "must hold an object. Received: list"),
        ('{"schema_version": 1}', "is incomplete: 'clips'"),
        ('{"schema_version": 1, "cl', "index.json is damaged: .*char"),
    ],
)
def test_a_damaged_index_is_named(tmp_path, text, message):
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        records.RecordSource(tmp_path)


def test_records_from_before_files_were_hashed_are_read(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "out")
    index = json.loads((folder / "index.json").read_text())
    for clip in index["clips"]:
        assert len(clip.pop("sha256")) == 64
    (tmp_path / "out" / "index.json").write_text(json.dumps(index))
    rows = records.RecordSource(tmp_path / "out").manifest.rows
    assert {row.sha256 for row in rows} == {""}


def test_damage_is_reported_with_the_clip(folder, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(folder, out)
    source = records.RecordSource(out)
    row = source.manifest.rows[0]
    shard = out / source._places[row.path][0]
    content = shard.read_bytes()
    shard.write_bytes(b"\x07" * len(content))
    with pytest.raises(decoding.VideoError, match=f"{row.path}: cannot be"):
        source.fetch(0, [0])
    shard.write_bytes(content[:40])
    with pytest.raises(decoding.VideoError, match="ends too early"):
        source.fetch(0, [0])
    shard.unlink()
    with pytest.raises(decoding.VideoError, match="No such file"):
        source.fetch(0, [0])


def test_an_index_of_other_shards_is_noticed(folder, tmp_path):
    """Two clips of a shard have changed places since."""
    out = tmp_path / "out"
    shutil.copytree(folder, out)
    index = json.loads((out / "index.json").read_text())
    one, other = index["clips"][:2]
    places = ("offset", "header", "length")
    for name in places:
        one[name], other[name] = other[name], one[name]
    (out / "index.json").write_text(json.dumps(index))
    with pytest.raises(decoding.VideoError, match="holds something else"):
        records.RecordSource(out).fetch(0, [0])


def test_a_damaged_picture_is_named(folder, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(folder, out)
    source = records.RecordSource(out)
    row = source.manifest.rows[0]
    shard = out / source._places[row.path][0]
    content, picture = shard.read_bytes(), source.fetch(0, [3])[0]
    shard.write_bytes(content.replace(picture, bytes(len(picture))))
    source.fetch(0, [2])
    with pytest.raises(decoding.VideoError, match=f"{row.path}: frame 3 in"):
        source.fetch(0, [2, 3])


def test_index_of_another_version(folder, tmp_path):
    index = json.loads((folder / "index.json").read_text())
    (tmp_path / "index.json").write_text(
        json.dumps({**index, "schema_version": 0})
    )
    with pytest.raises(ValueError, match="schema_version=1.*schema_version=0"):
        records.RecordSource(tmp_path)


@pytest.mark.parametrize(
    "arguments, message",
    [({"quality": 0}, "quality=0"), ({"short_side": 0}, "short_side=0")],
)
def test_refuses_nonsense(clips, tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        records.make_records(clips, tmp_path, **arguments)


def test_small_videos_are_not_enlarged(clips, tmp_path):
    records.make_records(clips.select(folds=(0,)), tmp_path, short_side=200)
    row = records.RecordSource(tmp_path).manifest.rows[0]
    assert (row.height, row.width) == (48, 48)


def test_neither_lying_nor_standing_videos_are_enlarged(tmp_path):
    """The side of the records lies between the two sides of the pictures."""
    rng = np.random.default_rng(0)
    for name, shape in (("lying", (24, 40)), ("standing", (40, 24))):
        (tmp_path / "videos" / name).mkdir(parents=True)
        clip = rng.integers(0, 255, (4, *shape, 3), dtype=np.uint8)
        synthetic.write_video(tmp_path / f"videos/{name}/0.mp4", clip, 12)
    records.make_records(
        scan.scan(tmp_path / "videos"), tmp_path / "out", short_side=32
    )
    rows = records.RecordSource(tmp_path / "out").manifest.rows
    assert {r.label: (r.height, r.width) for r in rows} == {
        "lying": (24, 40), "standing": (40, 24)
    }  # fmt: skip
