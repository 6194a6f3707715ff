import collections
import concurrent.futures
import dataclasses
import itertools
import shutil
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import tensorflow as tf

from autox3d_tf.data import (
    decoding,
    opening,
    pipeline,
    reads,
    records,
    sampling,
    sources,
    synthetic,
    transforms,
)
from autox3d_tf.data import manifest as manifest_lib


def make_options(source="x", **fields):
    return pipeline.DataOptions(
        source=str(source),
        **{
            "clip_frames": 4,
            "crop_size": 16,
            "short_side_range": (16, 20),
            "brightness": 0.2,
            **fields,
        },
    )


@pytest.fixture(scope="module", params=["videos", "records"])
def source(request, clips, tmp_path_factory):
    """The same twelve clips, as videos and as records."""
    if request.param == "videos":
        return sources.VideoSource(clips)
    out = tmp_path_factory.mktemp("pipeline") / "records"
    records.make_records(clips, out, short_side=24, num_shards=2)
    return records.RecordSource(out)


def batches(source, options=None, batch_size=3, seed=1, **steps):
    dataset = pipeline.make_train_dataset(
        source,
        options or make_options(),
        batch_size=batch_size,
        seed=seed,
        **steps,
    )
    return [(c.numpy(), y.numpy()) for c, y in dataset]


def test_batches_have_the_promised_form(source):
    ((clips, labels),) = batches(source, total_steps=1)
    assert clips.shape == (3, 4, 16, 16, 3)
    assert clips.dtype == np.float32 and labels.dtype == np.int32
    # Normalised pixels lie between (0 - 0.45) / 0.225 and (1 - 0.45) / 0.225.
    assert -2.001 <= clips.min() < clips.max() <= 2.445


def test_scaling_is_traced_once_for_all_datasets(clips):
    def traces(seed):
        pipeline.make_train_dataset(
            sources.VideoSource(clips), make_options(), batch_size=3, seed=seed
        )
        return transforms._traced_scaled.experimental_get_tracing_count()

    assert traces(seed=1) == traces(seed=2) > 0


def test_successive_batches_of_other_sizes_show_the_same_clips(clips):
    source = sources.VideoSource(clips)
    plain = batches(source, total_steps=4)
    sized = batches(source, total_steps=4, sizes=(16, 11, 8))
    shapes = [clip.shape[2:4] for clip, _ in sized]
    assert shapes == [(16, 16), (11, 11), (8, 8), (16, 16)]
    for (clip, label), (small, same) in zip(plain, sized, strict=True):
        np.testing.assert_array_equal(label, same)
        expected = [
            tf.image.resize(one, small.shape[2:4], antialias=True)
            for one in clip
        ]
        np.testing.assert_allclose(small, expected, atol=1e-5)
    np.testing.assert_allclose(sized[0][0], plain[0][0], atol=1e-5)
    (rest,) = batches(source, first_step=2, total_steps=3, sizes=(16, 11, 8))
    np.testing.assert_array_equal(rest[0], sized[2][0])


def test_each_epoch_has_every_clip_once_in_another_order(source):
    labels = np.concatenate([y for _, y in batches(source, total_steps=12)])
    epochs = labels.reshape(3, 12)
    for epoch in epochs:
        assert collections.Counter(epoch.tolist()) == {0: 4, 1: 4, 2: 4}
    assert (epochs[0] != epochs[1]).any() and (epochs[1] != epochs[2]).any()
    positions = [
        [
            int(pipeline._shuffled_position(n, 12, seed=1))
            for n in range(e, e + 12)
        ]
        for e in (0, 12)
    ]
    for epoch in positions:
        assert sorted(epoch) == list(range(12))


def test_a_resumed_run_sees_what_an_uninterrupted_one_sees(source):
    whole = batches(source, total_steps=7)
    rest = batches(source, first_step=5, total_steps=7)
    assert len(whole) == 7 and len(rest) == 2
    for (clip, label), (other, other_label) in zip(
        whole[5:], rest, strict=True
    ):
        np.testing.assert_array_equal(clip, other)
        np.testing.assert_array_equal(label, other_label)


def test_the_seed_changes_order_and_augmentation(source):
    one, same, other = (
        batches(source, total_steps=4, seed=seed) for seed in (1, 1, 2)
    )
    for (a, _), (b, _) in zip(one, same, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any(
        (a != b).any() for (_, a), (_, b) in zip(one, other, strict=True)
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"clip_frames": 20},  # all frames, cut and coloured anew
        {"brightness": 0.0, "short_side_range": (16, 16)},  # other frames
    ],
)
def test_a_clip_is_another_in_each_epoch_and_with_each_seed(clips, changes):
    alone = sources.VideoSource(dataclasses.replace(clips, rows=clips.rows[:1]))
    options = make_options(flip=False, **changes)
    epochs, others = (
        [
            clip
            for clip, _ in batches(
                alone, options, batch_size=1, total_steps=4, seed=seed
            )
        ]
        for seed in (1, 2)
    )
    for one, other in itertools.combinations(epochs, 2):
        assert (one != other).any()
    for one, other in zip(epochs, others, strict=True):
        assert (one != other).any()


def test_the_seed_changes_the_order():
    orders = [
        [int(pipeline._shuffled_position(n, 12, seed)) for n in range(12)]
        for seed in (1, 2)
    ]
    assert orders[0] != orders[1]


def test_memory_changes_nothing_but_reads_once(clips, monkeypatch):
    fresh = batches(sources.VideoSource(clips), total_steps=8)
    reads = []
    fetch = sources.VideoSource.fetch

    def counted(self, position, indices):
        reads.append(position)
        return fetch(self, position, indices)

    monkeypatch.setattr(sources.VideoSource, "fetch", counted)
    kept = sources.MemorySource(sources.VideoSource(clips), limit=1 << 26)
    for ours, theirs in zip(batches(kept, total_steps=8), fresh, strict=True):
        np.testing.assert_array_equal(ours[0], theirs[0])
    assert sorted(reads) == list(range(len(clips)))


def test_threads_that_want_one_clip_read_it_once(clips, monkeypatch):
    reads, fetch = [], sources.VideoSource.fetch

    def slow(self, position, indices):
        reads.append(position)
        time.sleep(0.05)  # all others have come by then
        return fetch(self, position, indices)

    monkeypatch.setattr(sources.VideoSource, "fetch", slow)
    kept = sources.MemorySource(sources.VideoSource(clips), limit=1 << 26)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: kept.fetch(1, [0, 3]), range(8)))
    assert reads == [1]
    for frames in found:
        np.testing.assert_array_equal(frames, found[0])


def test_full_memory_reads_again(source):
    small = sources.MemorySource(source, limit=1)
    for _ in range(2):
        assert list(map(bytes, small.fetch(0, [2, 1]))) == list(
            map(bytes, source.fetch(0, [2, 1]))
        )


def test_a_clip_that_does_not_fit_is_neither_read_whole_nor_counted(
    clips, monkeypatch
):
    long, *short = clips.rows
    rows = (dataclasses.replace(long, frames=9000), *short)
    one = 20 * 24 * 24 * 3  # bytes of a short one, at the limited size
    videos = sources.VideoSource(dataclasses.replace(clips, rows=rows), 24)
    kept = sources.MemorySource(videos, limit=3 * one - 1)
    reads, fetch = [], sources.VideoSource.fetch

    def counted(self, position, indices):
        reads.append((position, len(indices)))
        return fetch(self, position, indices)

    monkeypatch.setattr(sources.VideoSource, "fetch", counted)
    for _ in range(2):
        for position in range(4):  # room for two of the short ones
            kept.fetch(position, [0, 3])
    assert reads == [(0, 2), (1, 20), (2, 20), (3, 2), (0, 2), (3, 2)]


def test_the_size_of_a_clip_in_memory_is_known_before_it_is_read(clips, source):
    assert 0 < source.size_of(3) <= 20 * 48 * 48 * 3
    unknown = tuple(
        dataclasses.replace(row, width=0, height=0) for row in clips.rows
    )
    for rows in (clips.rows, unknown):
        for limit in (24, 48, None):
            listed = dataclasses.replace(clips, rows=rows)
            videos = sources.VideoSource(listed, limit)
            whole = videos.fetch(3, range(20)).nbytes
            assert videos.size_of(3) == whole


@pytest.mark.parametrize("num_workers", [1, 3])
def test_nobody_waits_for_a_thread_that_tunes(source, num_workers):
    """Who lets go of a tuned dataset's iterator waits up to a minute."""
    for dataset in (
        pipeline.make_train_dataset(
            source,
            make_options(),
            batch_size=3,
            seed=0,
            num_workers=num_workers,
        ),
        pipeline.make_eval_dataset(source, make_options(), batch_size=3),
    ):
        assert dataset.options().autotune.enabled is False


def test_workers_share_each_step(source):
    how = {"batch_size": 4, "total_steps": 3, "sizes": (16, 11, 8)}
    whole = batches(source, **how)
    shares = [batches(source, **how, worker=w, num_workers=2) for w in range(2)]
    for step, (clips, labels) in enumerate(whole):
        np.testing.assert_array_equal(
            clips, np.concatenate([share[step][0] for share in shares])
        )
        np.testing.assert_array_equal(
            labels, np.concatenate([share[step][1] for share in shares])
        )


def test_evaluation_has_each_view_once_and_the_last_batch(source):
    dataset = pipeline.make_eval_dataset(
        source,
        make_options(),
        batch_size=7,
        temporal_views=2,
        spatial_crops=3,
    )
    parts = [[part.numpy() for part in batch] for batch in dataset]
    assert [len(part[0]) for part in parts] == [7] * 10 + [2]
    clips, labels, places, views = (
        np.concatenate(column) for column in zip(*parts, strict=True)
    )
    assert clips.shape == (72, 4, 16, 16, 3)
    np.testing.assert_array_equal(places, np.repeat(np.arange(12), 6))
    np.testing.assert_array_equal(views, np.tile(np.arange(6), 12))
    np.testing.assert_array_equal(labels, source.labels[places])
    # Two temporal views of a moving picture differ.
    assert np.abs(clips[0] - clips[3]).max() > 0.5


@pytest.mark.parametrize("mode", ["segment", "dense"])
def test_views_of_a_clip_are_read_at_once(source, mode, monkeypatch):
    """A video is decoded from its start for every view that is read alone."""
    options = make_options(sampling=mode, stride=3)
    expected = [
        transforms.normalize(
            transforms.eval_clips(cut_frames(source, place, numbers), 16, 16, 2)
        )
        for place in range(len(source))
        for numbers in (
            sampling.sample_indices(mode, 20, 4, stride=3, view=v, num_views=3)
            for v in range(3)
        )
    ]
    reads, fetch = [], type(source).fetch

    def counted(self, position, indices):
        reads.append((position, len(indices), len(set(indices))))
        return fetch(self, position, indices)

    monkeypatch.setattr(type(source), "fetch", counted)
    dataset = pipeline.make_eval_dataset(
        source, options, batch_size=5, temporal_views=3, spatial_crops=2
    )
    found = np.concatenate([batch[0] for batch in dataset])
    # One uint8 step is 1 / 255 / 0.225 = 0.0174; kernels may round apart.
    np.testing.assert_allclose(found, np.concatenate(expected), atol=0.018)
    assert sorted(place for place, *_ in reads) == list(range(len(source)))
    # No frame twice: dense views start at 0, 5 and 10, and share none or one.
    assert all(count == distinct <= 12 for _, count, distinct in reads)


class Watched(sources.VideoSource):
    """Keeps the frame numbers of each clip that is read."""

    def __init__(self, manifest):
        super().__init__(manifest)
        self.numbers = []

    def fetch(self, position, indices):
        self.numbers.append(np.array(indices))
        return super().fetch(position, indices)


def test_strides_count_in_a_frame_rate(clips):
    """Two frames of ten a second are four of twenty."""
    rows = [dataclasses.replace(row, fps=20.0) for row in clips.rows]
    source = Watched(dataclasses.replace(clips, rows=tuple(rows)))
    options = make_options(sampling="dense", stride=2, stride_fps=10.0)
    batches(source, options, total_steps=2)
    for _ in pipeline.make_eval_dataset(source, options, batch_size=4):
        pass
    pipeline.calibration_clips(source, options, 2)
    assert len(source.numbers) == 6 + 12 + 2
    for numbers in source.numbers:
        assert np.diff(numbers).tolist() == [4, 4, 4]


def test_training_leaves_out_an_end_of_the_video(clips):
    """The first frame is of the first quarter, 0 to 4, if none is left out."""
    latest = []
    for jitter in (0.0, 0.9):
        source = Watched(clips)
        options = make_options(temporal_jitter=jitter)
        batches(source, options, total_steps=4)
        latest.append(max(numbers[0] for numbers in source.numbers))
    assert latest[0] < 5 <= latest[1]


def cut_frames(source, position, numbers):
    frames = source.fetch(position, numbers)
    if source.encoded:
        return np.stack([tf.io.decode_jpeg(frame) for frame in frames])
    return frames


def test_evaluation_of_videos_equals_the_numpy_path(clips):
    options = make_options()
    source = sources.VideoSource(clips)
    dataset = pipeline.make_eval_dataset(source, options, batch_size=1)
    for clip, _, place, _ in dataset.take(4):
        row = clips.rows[int(place[0])]
        frames = decoding.decode_frames(
            clips.absolute_path(row), sampling.segment_indices(20, 4), 16
        )
        expected = (sampling.center_crop(frames, 16) / 255 - 0.45) / 0.225
        # One uint8 step is 1 / 255 / 0.225 = 0.0174.
        np.testing.assert_allclose(clip[0], expected, atol=0.018)


class Wide(sources.VideoSource):
    """Pictures twice as wide as they are high."""

    def fetch(self, position, indices):
        return super().fetch(position, indices).repeat(2, axis=2)


@pytest.mark.parametrize("how", [True, "frame"])
def test_clips_are_squashed_and_standardized_as_on_a_device(clips, how):
    """In evaluation, and where a converter is calibrated."""
    options = make_options(clip_frames=12, squash=True, standardize=how)
    source = Wide(clips)
    frames = source.fetch(0, sampling.segment_indices(20, 12))
    cut = sampling.resize_frames(frames, 16, squash=True, crop_size=16)
    expected = sampling.standardize(cut, how).astype(float)
    ((clip, *_),) = pipeline.make_eval_dataset(
        source, options, batch_size=1
    ).take(1)
    for found in (
        sampling.denormalize(clip[0].numpy()),
        pipeline.device_clip(source, options, 0),
    ):
        # Levels of the clip before may differ by one, after by some.
        difference = np.abs(found - expected)
        assert difference.mean() < 0.5 and difference.max() < 8


def test_calibration_clips_are_balanced_bytes(source):
    clips = pipeline.calibration_clips(source, make_options(), 6, seed=0)
    assert len(clips) == 6
    for clip in clips:
        assert clip.shape == (4, 16, 16, 3) and clip.dtype == np.uint8
    positions = pipeline.balanced_positions(source.labels, 6, seed=0)
    assert sorted(source.labels[positions]) == [0, 0, 1, 1, 2, 2]
    others = [
        pipeline.balanced_positions(source.labels, 6, seed) for seed in (0, 1)
    ]
    assert positions == others[0] != others[1]
    with pytest.raises(ValueError, match=r"\[1, 12\].*count=13"):
        pipeline.calibration_clips(source, make_options(), 13)


def test_swap_gives_mirrored_clips_the_other_direction(source):
    """Classes left, right, up: those of mirrored clips become 1, 0, 2."""
    plain, mirrored, swapped = (
        batches(source, make_options(flip=flip), total_steps=8)
        for flip in (False, True, "swap")
    )
    seen = set()
    for straight, turned, found in zip(plain, mirrored, swapped, strict=True):
        np.testing.assert_array_equal(found[0], turned[0])
        moved = (straight[0] != found[0]).any(axis=(1, 2, 3, 4))
        for label, new, was_moved in zip(
            straight[1], found[1], moved, strict=True
        ):
            assert new == ({0: 1, 1: 0, 2: 2}[label] if was_moved else label)
            seen.add((label, bool(was_moved)))
    assert len(seen) == 6


def test_directional_labels_are_never_mirrored(source):
    """All of left, right, up: with flip="auto", the clips equal flip=False."""
    plain, auto, mirrored = (
        batches(source, make_options(flip=flip), total_steps=4)
        for flip in (False, "auto", True)
    )
    for (a, _), (b, _) in zip(plain, auto, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any(
        (a != b).any() for (a, _), (b, _) in zip(plain, mirrored, strict=True)
    )


def test_a_clip_that_breaks_later_is_named_not_replaced(clips, tmp_path):
    root = tmp_path / "videos"
    shutil.copytree(clips.root, root)
    moved = dataclasses.replace(clips, root=str(root))
    broken = moved.rows[6]
    (root / broken.path).write_text("gone")
    source = sources.VideoSource(moved)
    with (
        pytest.raises(decoding.VideoError, match=broken.path) as caught,
        pipeline.video_errors(),
    ):
        batches(source, total_steps=4)
    assert "\n" not in str(caught.value)
    dataset = pipeline.make_eval_dataset(source, make_options(), batch_size=4)
    with (
        pytest.raises(decoding.VideoError, match=broken.path),
        pipeline.video_errors(),
    ):
        list(dataset)


def test_other_errors_pass_through():
    with (
        pytest.raises(tf.errors.InvalidArgumentError),
        pipeline.video_errors(),
    ):
        tf.reshape(tf.zeros(3), (2, 2))


def test_one_clip_alone_makes_a_data_set(clips):
    (row,) = clips.rows[:1]
    alone = dataclasses.replace(clips, rows=(row,))
    result = batches(sources.VideoSource(alone), total_steps=2)
    assert [y.tolist() for _, y in result] == [[0, 0, 0]] * 2


def test_video_shorter_than_the_clip(clips):
    options = make_options(clip_frames=32, sampling="dense")
    ((clip, _),) = batches(sources.VideoSource(clips), options, total_steps=1)
    assert clip.shape == (3, 32, 16, 16, 3)
    # 20 frames, stride 2: from the eleventh on it is the last one. Kernels
    # round the last bit by where in memory a value is.
    np.testing.assert_allclose(clip[:, 11], clip[:, 31], atol=1e-6)


def test_opening_a_folder_scans_it_once(clips, tmp_path, monkeypatch):
    options = make_options(clips.root, cache_dir=str(tmp_path))
    train = pipeline.open_source(options, "train")
    val = pipeline.open_source(options, "val")
    assert (len(train), len(val)) == (9, 3)
    monkeypatch.setattr(decoding, "probe", lambda path: 1 / 0)
    again = pipeline.open_source(options, "train")
    assert again.manifest.fingerprint == train.manifest.fingerprint


def test_a_folder_opened_twice_at_once_is_scanned_once(
    clips, tmp_path, monkeypatch
):
    scans, real = [], opening.scan.scan

    def slow_scan(*arguments, **named):
        scans.append(arguments)
        time.sleep(0.2)
        return real(*arguments, **named)

    monkeypatch.setattr(opening.scan, "scan", slow_scan)
    options = make_options(clips.root, cache_dir=str(tmp_path))
    with concurrent.futures.ThreadPoolExecutor() as pool:
        first, second = pool.map(opening.scan_cached, [options] * 2)
    assert len(scans) == 1
    assert first.fingerprint == second.fingerprint


def test_opening_a_manifest_by_folds(clips):
    options = make_options(
        f"{clips.root}/manifest.csv",
        train_folds=(0, 1),
        val_folds=(2,),
        exclude_labels=("up",),
    )
    train = pipeline.open_source(options, "train")
    assert train.classes == ("left", "right") and len(train) == 4
    assert len(pipeline.open_source(options, "val")) == 2


def test_a_whole_video_is_cut_as_on_a_device(tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "_FRAMES_AT_ONCE", 3)
    noise = np.random.default_rng(0).integers(0, 256, (9, 12, 16, 3), np.uint8)
    (tmp_path / "a").mkdir()
    path = tmp_path / "a/large.mp4"
    synthetic.write_video(path, noise.repeat(10, 1).repeat(10, 2), 10)
    options = make_options(tmp_path, sampling="segment")
    numbers = sampling.sample_indices("segment", 9, options.clip_frames)
    frames = sampling.resize_frames(decoding.decode_frames(path, numbers), 16)
    there = sampling.center_crop(frames, 16).astype(int)
    largest = {}
    for whole in (False, True):
        source = pipeline.open_source(options, "all", whole=whole)
        clip = pipeline.device_clip(source, options, 0)
        largest[whole] = np.abs(clip - there).max()
    assert largest[True] <= 1 < largest[False]


def test_a_list_of_videos_that_are_not_there_is_refused_at_once(
    clips, tmp_path
):
    gone = dataclasses.replace(clips.rows[0], path="left/gone.mp4")
    listed = dataclasses.replace(clips, rows=(*clips.rows, gone))
    listed.save(tmp_path / "list.csv")
    with pytest.raises(decoding.VideoError, match="1 of 13 missing, .*/gone"):
        pipeline.open_source(make_options(tmp_path / "list.csv"), "all")


def test_videos_of_other_parts_need_not_be_there(clips, tmp_path):
    rows = [
        row if row.fold == 2 else dataclasses.replace(row, path=f"x/{row.path}")
        for row in clips.rows
    ]
    dataclasses.replace(clips, rows=tuple(rows)).save(tmp_path / "list.csv")
    options = make_options(
        tmp_path / "list.csv", train_folds=(0, 1), val_folds=(2,)
    )
    assert len(pipeline.open_source(options, "val")) == 3
    with pytest.raises(decoding.VideoError, match="6 of 6 missing"):
        pipeline.open_source(options, "train")


def test_runs_share_what_a_scan_has_found(clips, tmp_path, monkeypatch):
    options = make_options(clips.root, cache_dir=str(tmp_path / "cache"))
    first = pipeline.pin_manifest(options, tmp_path / "a", begun=False)
    monkeypatch.setattr(decoding, "probe", lambda path: 1 / 0)
    second = pipeline.pin_manifest(options, tmp_path / "b", begun=False)
    lists = [manifest_lib.read_manifest(o.source) for o in (first, second)]
    assert lists[0].fingerprint == lists[1].fingerprint
    assert len(lists[0]) == 12


def test_what_a_scan_has_found_is_of_no_use_once_a_file_has_changed(
    clips, tmp_path
):
    shutil.copytree(clips.root, tmp_path / "clips")
    (tmp_path / "clips/manifest.csv").unlink()
    options = make_options(
        tmp_path / "clips", cache_dir=str(tmp_path / "cache")
    )
    assert len(opening.scan_cached(options).select()) == 12
    changed = tmp_path / "clips" / clips.rows[0].path
    changed.write_bytes(bytes(changed.stat().st_size))  # and is as large
    assert len(opening.scan_cached(options).select()) == 11


@pytest.mark.parametrize("shape", [(24, 40), (40, 24)])
def test_videos_within_the_limit_are_as_they_are(tmp_path, shape):
    """It is that of the shorter side; the longer one is beyond it."""
    clip = np.zeros((3, *shape, 3), np.uint8)
    synthetic.write_video(tmp_path / "x.mp4", clip, 12)
    row = manifest_lib.ClipRow(
        path="x.mp4", label="a", frames=3, height=shape[0], width=shape[1]
    )
    listed = manifest_lib.Manifest(str(tmp_path), (row,), ("a",))
    fetched = sources.VideoSource(listed, 32).fetch(0, [0, 2])
    assert fetched.shape == (2, *shape, 3)


def test_opening_counts_odd_clips_and_names_five(clips, tmp_path, caplog):
    rows = [dataclasses.replace(row, frames=3) for row in clips.rows[:7]]
    rows += [
        dataclasses.replace(row, path=f"no/{i}.mp4", status="missing")
        for i, row in enumerate(rows)
    ]
    listed = dataclasses.replace(clips, rows=(*rows, *clips.rows[7:]))
    listed.save(tmp_path / "list.csv")
    source = pipeline.open_source(make_options(tmp_path / "list.csv"), "all")
    assert len(source) == 12
    bad, short = caplog.messages[0], caplog.messages[-1]
    assert bad.startswith("7 of 19 clips are left out")
    assert "no/4.mp4 (missing) and 2 more." in bad
    assert short.startswith("all: 7 clips have fewer than 4 frames")
    assert short.endswith("(3) and 2 more.") and short.count("(3)") == 5


def test_opening_a_list_without_frame_counts(clips, tmp_path):
    lines = ["path,label"] + [
        f"{clips.absolute_path(row)},{row.label}" for row in clips.rows
    ]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    options = make_options(tmp_path / "list.csv")
    source = pipeline.open_source(options, "all")
    assert {row.frames for row in source.manifest.rows} == {20}


def test_a_stride_that_counts_on_unknown_rates_is_a_warning(
    clips, tmp_path, caplog
):
    rows = [dataclasses.replace(row, fps=0.0) for row in clips.rows[:2]]
    listed = dataclasses.replace(clips, rows=(*rows, *clips.rows[2:]))
    listed.save(tmp_path / "list.csv")
    options = make_options(tmp_path / "list.csv", sampling="dense")
    pipeline.open_source(options, "all")
    assert "have no fps" not in caplog.text
    options = dataclasses.replace(options, stride_fps=30.0)
    pipeline.open_source(options, "all")
    assert "all: 2 clips have no fps" in caplog.text


def test_python_ends_with_an_iterator_that_reads_ahead(clips):
    program = f"""
from autox3d_tf.data import pipeline
options = pipeline.DataOptions(
    source={str(clips.root)!r}, clip_frames=4, crop_size=16, memory_mib=100
)
source = pipeline.open_source(options, "all")
iterator = iter(pipeline.make_train_dataset(
    source, options, batch_size=64, seed=0
))
print(next(iterator)[0].shape)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "(64, 4, 16, 16, 3)\n"


def test_python_waits_for_a_read_under_way():
    under_way, ended = reads.Reads(quiet_secs=0.01), threading.Event()

    def read():
        with under_way:
            ended.wait(60)

    thread = threading.Thread(target=read)
    thread.start()
    while not under_way._running:
        time.sleep(0.001)
    threading.Timer(0.05, ended.set).start()
    under_way.close()
    assert ended.is_set()
    with pytest.raises(RuntimeError, match="Python is ending"), under_way:
        pass
    thread.join()


def test_opening_records(source):
    if not isinstance(source, records.RecordSource):
        pytest.skip("opens records only")
    options = make_options(source.folder, train_folds=(0,), val_folds=(3,))
    opened = pipeline.open_source(options, "val")
    assert isinstance(opened, records.RecordSource) and len(opened) == 3


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda o: pipeline.open_source(o, "dev"), "part='dev'"),
        (lambda o: pipeline.open_source(o), "does not exist"),
    ],
)
def test_opening_refuses_nonsense(tmp_path, call, message):
    with pytest.raises(ValueError, match=message):
        call(make_options(tmp_path / "nowhere"))


def test_batch_must_divide_among_workers(source):
    with pytest.raises(ValueError, match="batch_size=3, num_workers=2"):
        batches(source, batch_size=3, num_workers=2, total_steps=1)
    with pytest.raises(ValueError, match="temporal_views=0"):
        pipeline.make_eval_dataset(
            source, make_options(), batch_size=1, temporal_views=0
        )
