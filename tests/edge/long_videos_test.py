"""Streams left running on videos that are longer than a clip."""

import dataclasses
import types

import numpy as np
import pytest

from autox3d_edge import Preprocessing, Recognizer, long_videos
from autox3d_tf.data import decoding, pipeline, synthetic
from autox3d_tf.data import options as data_options
from tests.edge import networks
from tests.edge.ports import write_model

FRAMES = networks.STREAM_FRAMES
PREPROCESSING = Preprocessing(
    clip_frames=FRAMES,
    short_side=18,
    crop_size=16,
    sampling="dense",
    stride=2,
    standardize="frame",
)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """Three videos of 44 frames, as an export holds them."""
    folder = tmp_path_factory.mktemp("clips")
    synthetic.write_synthetic(
        folder, num_classes=3, clips_per_class=1, frames=44, size=20
    )
    data = data_options.DataOptions(
        source=str(folder / synthetic.MANIFEST_NAME),
        clip_frames=FRAMES,
        crop_size=16,
        short_side_range=(18, 18),
        eval_short_side=18,
        sampling="dense",
        stride=2,
        standardize="frame",
        train_folds=(1,),
        val_folds=(),
        test_folds=(0,),
    )
    test = pipeline.open_source(data, "test", whole=True)
    return types.SimpleNamespace(
        data=data, train=test, test=test, targets=np.arange(len(test))
    )


def test_labels_are_those_of_frames_pushed_one_by_one(
    loaded, streams, exported, tmp_path
):
    content, stream = streams.fp32
    path = write_model(
        tmp_path / "stream.tflite",
        content,
        exported,
        stream=stream,
        preprocessing=PREPROCESSING,
    )
    videos = long_videos.find(loaded)
    # 22 of a video's frames count, 18 are three clips: the middle ones.
    assert (videos.times, len(videos.clips)) == (3, 3)
    labels = []
    for position in range(3):
        row = loaded.test.manifest.rows[position]
        frames = decoding.decode_frames(loaded.test.manifest.absolute_path(row))
        recognizer = Recognizer(path, hop=1)
        scores = [recognizer.push(frame) for frame in frames[4:40:2]]
        labels.append(np.argmax(scores, 1)[FRAMES - 1 :: FRAMES])
    # Targets that make each count another: right everywhere, once, never.
    wrong = (labels[2].max() + 1) % networks.CLASSES
    targets = np.array([labels[0][0], labels[1][-1], wrong])
    videos = long_videos.LongVideos(
        clips=videos.clips, targets=targets, times=videos.times
    )
    found = long_videos.score({"fp32_stream": path, "fp32": "none"}, videos)
    expected = (np.array(labels) == targets[:, None]).sum(0)
    assert found == {
        "videos": 3,
        "frames": [6, 12, 18],
        "right": {"fp32_stream": expected.tolist()},
    }
    (line,) = long_videos.format_score(found)
    assert "after 6, 12, 18 frames of 3 videos: " in line


def test_videos_no_longer_than_two_clips_say_nothing(loaded):
    for changes in ({"clip_frames": 12}, {"sampling": "segment"}):
        data = dataclasses.replace(loaded.data, **changes)
        changed = types.SimpleNamespace(**{**vars(loaded), "data": data})
        assert long_videos.find(changed) is None
    untested = types.SimpleNamespace(**{**vars(loaded), "test": None})
    assert long_videos.find(untested) is None
    assert long_videos.score({"fp32_stream": "none"}, None) is None
    (line,) = long_videos.format_score(None)
    assert line.startswith("left running: not tested, since no half of the")


@pytest.mark.parametrize(
    ("lengths", "times", "which"),
    [
        # Twice as many frames as count; a clip has 6.
        ((40, 100, 48, 20), 4, [1, 2]),  # half of them
        ((100, 40, 30, 20, 10), 2, [0, 1, 2]),  # one of four, two of three
        ((100, 40, 20, 20, 20), None, []),
    ],
)
def test_the_longest_that_half_of_the_videos_are(loaded, lengths, times, which):
    rows = [types.SimpleNamespace(frames=n, fps=12.0) for n in lengths]
    manifest = types.SimpleNamespace(rows=rows)
    part = types.SimpleNamespace(manifest=manifest)
    targets = np.arange(10, 10 + len(lengths))
    given = {"train": loaded.train, "test": part, "targets": targets}
    for data in (
        loaded.data,
        # Those of the training have 44 frames: 2 to each of a clip of 22.
        # Segments have no rate.
        dataclasses.replace(
            loaded.data, sampling="segment", clip_frames=22, stride_fps=30.0
        ),
    ):
        dense = data.sampling == "dense"
        if not dense:
            for row in rows:
                row.frames = row.frames * 22 // 6
        found = long_videos.find(types.SimpleNamespace(data=data, **given))
        assert (found and found.times) == times
        if found:
            assert len(found.clips) == len(which)
            assert found.targets.tolist() == [10 + n for n in which]
