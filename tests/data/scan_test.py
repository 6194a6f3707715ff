import os
import pathlib
import shutil

import numpy as np
import pytest

from autox3d_tf.base import files as files_lib
from autox3d_tf.data import annotations, decoding, locating, scan, synthetic
from autox3d_tf.data import manifest as manifest_lib


def write_clip(path, frames=10, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    clip = synthetic.draw_clip(
        synthetic.KINDS["single"]["left"],
        np.random.default_rng(seed),
        frames=frames,
        size=32,
    )
    synthetic.write_video(path, clip, 10)


def video_info(**found):
    """What decoding found, and of what it does not matter something."""
    return decoding.VideoInfo(
        fps=30.0, width=8, height=8, duration=1.0, **found
    )


@pytest.fixture(scope="module")
def messy(tmp_path_factory):
    """One of everything that goes wrong, beside good clips."""
    root = tmp_path_factory.mktemp("messy")
    write_clip(root / "good/one.mp4", seed=1)
    write_clip(root / "good/two.mp4", seed=2)
    write_clip(root / "good/short.mp4", frames=3, seed=3)
    shutil.copy(root / "good/one.mp4", root / "good/zz_copy.mp4")
    (root / "good/notes.txt").write_text("not looked at")
    (root / "broken").mkdir()
    (root / "broken/zero.mp4").touch()
    (root / "broken/text.mp4").write_text("I am a letter.\n" * 99)
    content = (root / "good/one.mp4").read_bytes()
    (root / "broken/cut.mp4").write_bytes(content[: len(content) // 2])
    write_clip(root / "single/only.mp4", seed=4)
    shutil.copy(root / "good/two.mp4", root / "single/two.mp4")
    return root


def test_each_bad_clip_gets_its_status(messy):
    manifest = scan.scan(messy, min_frames=8, workers=2)
    assert {row.path: row.status for row in manifest.rows} == {
        "broken/cut.mp4": "undecodable",  # the index is at the end of an mp4
        "broken/text.mp4": "undecodable",
        "broken/zero.mp4": "empty",
        "good/one.mp4": "ok",
        "good/short.mp4": "too_short",
        "good/two.mp4": "duplicate",  # of a clip with another label
        "good/zz_copy.mp4": "duplicate",
        "single/only.mp4": "ok",
        "single/two.mp4": "duplicate",
    }
    good = manifest.rows[3]
    assert (good.frames, good.width, good.height) == (10, 32, 32)
    assert (good.fps, good.duration) == (10.0, 1.0)


def test_a_scan_that_was_stopped_goes_on(messy, tmp_path, monkeypatch):
    log, examine, seen = tmp_path / "m.csv.part", scan._examine, []

    def stopped(row, path, min_frames):
        if len(seen) == 4:
            raise KeyboardInterrupt
        seen.append(row.path)
        return examine(row, path, min_frames)

    def counted(row, path, min_frames):
        seen.append(row.path)
        return examine(row, path, min_frames)

    monkeypatch.setattr(scan, "_examine", stopped)
    with pytest.raises(KeyboardInterrupt):
        scan.scan(messy, min_frames=8, workers=1, log_path=log)
    with log.open("a", encoding="utf-8") as file:
        file.write('\n["half a li')
    monkeypatch.setattr(scan, "_examine", counted)
    found = scan.scan(messy, min_frames=8, workers=1, log_path=log)
    assert len(seen) == len(set(seen)) == 9
    # What was written after half a line counts too.
    assert found == scan.scan(messy, min_frames=8, log_path=log)
    assert len(seen) == 9
    assert found == scan.scan(messy, min_frames=8)
    # Of another least length it says nothing.
    longer = scan.scan(messy, min_frames=50, log_path=log)
    assert not len(longer.select()) and len(found.select())


def test_a_video_that_was_replaced_is_examined_again(tmp_path):
    log = tmp_path / "m.csv.part"
    for frames in (10, 12):
        write_clip(tmp_path / "clips/a/1.mp4", frames=frames)
        (row,) = scan.scan(tmp_path / "clips", log_path=log).rows
        assert row.frames == frames


def test_as_many_frames_as_are_asked_for_are_enough(tmp_path):
    write_clip(tmp_path / "a/1.mp4", frames=3)
    statuses = [
        scan.scan(tmp_path, min_frames=asked).rows[0].status for asked in (3, 4)
    ]
    assert statuses == ["ok", "too_short"]


def test_what_could_not_be_read_for_a_while_is_examined_again(
    messy, tmp_path, monkeypatch
):
    log, sha256 = tmp_path / "m.csv.part", files_lib.file_sha256

    def denied(path):
        if path.endswith("two.mp4"):
            raise PermissionError(13, "Permission denied")
        return sha256(path)

    monkeypatch.setattr(files_lib, "file_sha256", denied)
    scanned = scan.scan(messy, min_frames=8, log_path=log)
    unread = [row for row in scanned.rows if "Permission" in row.detail]
    assert {row.status for row in unread} == {"undecodable"}
    monkeypatch.setattr(files_lib, "file_sha256", sha256)
    found = scan.scan(messy, min_frames=8, log_path=log)
    assert found == scan.scan(messy, min_frames=8)


def test_summary_names_each_of_them(messy):
    text = scan.summarize(scan.scan(messy, min_frames=8))
    assert text.startswith("2 of 9 clips in 3 classes are usable")
    for line in (
        "Class 'broken' has no usable clip.",
        "Class 'single' has a single usable clip",
        "undecodable (2):",
        "broken/text.mp4: not a video",
        "broken/zero.mp4: the file has zero bytes",
        "good/short.mp4: 3 frames, fewer than 8",
        "good/zz_copy.mp4: the same content as good/one.mp4",
        "good/two.mp4: the same content as single/two.mp4, which has another",
        "single/two.mp4: the same content as good/two.mp4, which has another",
    ):
        assert line in text
    assert "notes.txt" not in text


def test_a_video_that_stops_early_is_truncated(shared_dir, tmp_path):
    # An AVI holds its length in front, so half of it still opens.
    source = shared_dir / "data/decode_clips/v_SoccerJuggling_g23_c01.avi"
    content = source.read_bytes()
    (tmp_path / "a").mkdir()
    (tmp_path / "a/half.avi").write_bytes(content[: len(content) // 2])
    (row,) = scan.scan(tmp_path).rows
    assert row.status == "truncated"
    assert row.detail.startswith(f"only {row.frames} of 240 frames decode")
    assert 60 < row.frames < 180


def test_a_matroska_that_stops_early_is_truncated(tmp_path):
    for name in ("whole", "half"):  # it tells seconds, no frames
        write_clip(tmp_path / f"a/{name}.mkv", frames=60, seed=len(name))
    half = tmp_path / "a/half.mkv"
    half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])
    found = {row.path: row for row in scan.scan(tmp_path).rows}
    assert found["a/whole.mkv"].status == "ok"
    assert found["a/half.mkv"].status == "truncated"
    assert " frames decode, " in found["a/half.mkv"].detail
    assert found["a/half.mkv"].detail.endswith(" of 6.0 seconds")


@pytest.mark.parametrize(
    "frames, seconds, truncated",
    [(90, 3.0, False), (90, 3.7, False), (90, 4.0, True), (90, 0.0, False)],
)
def test_sound_may_last_a_little_longer(frames, seconds, truncated):
    info = video_info(frames=frames, declared_seconds=seconds, read_seconds=3.0)
    assert bool(info.lacking) == truncated


def test_what_became_a_class_or_a_split_is_said(tmp_path, caplog):
    for place in ("left/anna", "left/bob", "right/anna"):
        write_clip(tmp_path / f"{place}/1.mp4", seed=len(place))
    (tmp_path / "up").mkdir()
    (tmp_path / "up/1.mp3").touch()
    text = scan.summarize(scan.list_clips(tmp_path))
    assert "up holds no video, and is no class." in caplog.text
    assert "\nClasses: anna, bob.\nSplits: left, right.\n" in text
    assert "Of others, such as left, say which trains (train_splits)" in text


@pytest.mark.parametrize(
    "frames, declared, error, truncated",
    [
        (48, 49, "", False),  # HMDB51 promises one frame too many
        (240, 0, "", False),  # the container does not say
        (300, 306, "", False),
        (300, 307, "", True),
        (300, 300, "Invalid data", True),
    ],
)
def test_how_much_may_lack(frames, declared, error, truncated):
    info = video_info(frames=frames, declared_frames=declared, error=error)
    assert bool(info.lacking) == truncated


def test_csv_with_a_missing_file(messy, tmp_path):
    (tmp_path / "list.csv").write_text(
        "path,label,split\ngood/one.mp4,a,train\ngood/gone.mp4,b,val\n"
    )
    manifest = scan.scan(tmp_path / "list.csv", root=messy)
    assert [row.status for row in manifest.rows] == ["ok", "missing"]
    assert [row.split for row in manifest.rows] == ["train", "val"]
    assert "good/gone.mp4: there is no such file" in scan.summarize(manifest)


def test_split_folders(tmp_path):
    write_clip(tmp_path / "train/a/1.mp4", seed=1)
    write_clip(tmp_path / "val/a/1.mp4", seed=2)
    manifest = scan.scan(tmp_path)
    assert [(row.split, row.label) for row in manifest.rows] == [
        ("train", "a"),
        ("val", "a"),
    ]
    assert "Only one class, 'a'" in scan.summarize(manifest)


def test_folders_that_are_links_are_followed_but_not_in_circles(tmp_path):
    write_clip(tmp_path / "elsewhere/b/1.mp4", seed=1)
    write_clip(tmp_path / "clips/a/1.mp4", seed=2)
    (tmp_path / "clips/b").symlink_to(tmp_path / "elsewhere/b")
    (tmp_path / "clips/a/up").symlink_to(tmp_path / "clips")
    (tmp_path / "elsewhere/b/a").symlink_to(tmp_path / "clips/a")
    (tmp_path / "clips/_latest").symlink_to(tmp_path / "clips/a")
    assert locating.find_videos(tmp_path / "clips") == [
        pathlib.PurePath("a/1.mp4"),
        pathlib.PurePath("b/1.mp4"),
    ]


def test_hidden_files_and_folders_are_no_clips_and_no_classes(tmp_path, caplog):
    for place in (
        "a/1", "a/._1", ".Trash/1", "__MACOSX/a/._1", "a/@eaDir/1.mp4/SYNO",
    ):  # fmt: skip
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{place}.mp4").touch()
    (row,) = scan.list_clips(tmp_path).rows
    assert (row.path, row.label, row.split) == ("a/1.mp4", "a", "")
    assert not caplog.text


def test_a_label_is_one_class_however_unicode_spells_it(tmp_path):
    composed, marked = "\xdcbung", "U\u0308bung"
    for label in (composed, marked):
        (tmp_path / "clips" / label).mkdir(parents=True)
        (tmp_path / "clips" / label / "1.mp4").touch()
    (tmp_path / "m.csv").write_text(f"path,label\n1,{composed}\n2,{marked}\n")
    listed = scan.list_clips(tmp_path / "clips")
    assert len({row.path for row in listed.rows}) == 2
    assert listed.classes == (composed,)
    assert scan.list_clips(tmp_path / "m.csv").classes == (composed,)
    clip = annotations.Annotation(name="1", label=marked)
    found = locating.locate([clip], tmp_path / "clips")
    assert found.classes == (composed,)


def test_of_videos_of_one_name_that_in_the_label_is_taken(tmp_path):
    for place in ("train/b", "val/a"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "x.mp4").touch()
    clip = annotations.Annotation(name="x", label="a", split="train")
    (row,) = locating.locate([clip], tmp_path).rows
    assert row.path == "val/a/x.mp4"


def test_classes_that_may_be_mistakes_are_named(tmp_path):
    (tmp_path / "m.csv").write_text(
        "path,label,split\n1,Wave,train\n2,wave,test\n3,jump,train\n"
        "4,jump,val\n5,run,unused\n"
    )
    text = scan.summarize(scan.list_clips(tmp_path / "m.csv"))
    assert "\nClasses 'Wave' and 'wave' differ in case only.\n" in text
    assert "Class 'wave' has clips to test on and none to train on." in text
    assert text.count("none to train on") == 1


def test_files_that_are_no_videos_are_counted(tmp_path, caplog):
    (tmp_path / "a").mkdir()
    for name in ("1.mp4", "2.M2TS", "3.gif", "4.zip", "5.ZIP", "6", "l.csv"):
        (tmp_path / "a" / name).touch()
    videos = locating.find_videos(tmp_path)
    assert [video.name for video in videos] == ["1.mp4", "2.M2TS", "3.gif"]
    assert "not looked at: 2 x .zip, 1 x without a suffix." in caplog.text


def test_split_of_all_clips(messy, tmp_path):
    reading = annotations.ReadOptions(split="validation")
    manifest = scan.scan(messy, reading=reading)
    assert manifest.splits == {"val"}
    manifest.save(tmp_path / "m.csv")
    reading = annotations.ReadOptions(split="night")
    assert scan.list_clips(tmp_path / "m.csv", reading=reading).splits == {
        "night"
    }


def test_options_without_a_meaning_are_refused(messy, tmp_path):
    named = annotations.ReadOptions(labels="labels.txt")
    with pytest.raises(ValueError, match="names of classes are known"):
        scan.list_clips(messy, reading=named)
    scan.list_clips(messy).save(tmp_path / "m.csv")
    with pytest.raises(ValueError, match="names of classes are known"):
        scan.list_clips(tmp_path / "m.csv", reading=named)
    with pytest.raises(ValueError, match="`root` is for lists"):
        scan.list_clips(messy, root=tmp_path)


def test_a_name_that_is_no_text_is_refused_before_it_is_decoded(tmp_path):
    path = os.path.join(os.fsencode(tmp_path), b"caf\xe9", b"1.mp4")
    os.mkdir(os.path.dirname(path))
    open(path, "wb").close()
    with pytest.raises(ValueError, match=r"UTF-8. Received: b'caf\\xe9/1.mp4'"):
        scan.scan(tmp_path)


def test_folder_without_videos(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/readme.txt").touch()
    with pytest.raises(ValueError, match="must hold videos") as caught:
        scan.scan(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("place", ["1.mp4", "a/b/c/1.mp4"])
def test_other_layouts_are_explained(tmp_path, place):
    write_clip(tmp_path / place)
    with pytest.raises(ValueError, match=r"by class.*root/label/video.mp4"):
        scan.scan(tmp_path)


def test_no_such_source(tmp_path):
    with pytest.raises(ValueError, match="nowhere.*does not exist"):
        scan.scan(tmp_path / "nowhere")


def test_empty_list(tmp_path):
    (tmp_path / "m.csv").write_text("path,label\n")
    with pytest.raises(ValueError, match="has no rows"):
        scan.scan(tmp_path / "m.csv")


def test_other_videos_of_the_same_names_are_another_manifest(tmp_path):
    found = []
    for seed in (0, 1, 0):
        write_clip(tmp_path / "a" / "1.mp4", seed=seed)
        found.append(scan.scan(tmp_path).fingerprint)
    assert found[0] == found[2] != found[1]


def test_scanning_a_saved_manifest_changes_nothing(messy):
    manifest = scan.scan(messy, min_frames=8)
    manifest.save(messy / "m.csv")
    again = scan.scan(messy / "m.csv", min_frames=8)
    assert [row.status for row in again.rows] == [
        row.status for row in manifest.rows
    ]
    read = manifest_lib.read_manifest(messy / "m.csv")
    assert again.fingerprint == read.fingerprint
