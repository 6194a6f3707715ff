"""Clips that exports are tested with, and what a device makes of a video."""

import dataclasses
import types

import numpy as np
import pytest

from autox3d_edge import Preprocessing, sources
from autox3d_tf.data import options as data_options
from autox3d_tf.data import pipeline


@pytest.fixture
def read(monkeypatch):
    """Positions that were read; a clip of 48 bytes each."""
    positions = []

    def device_clip(source, data, position):
        positions.append(position)
        return np.full((1, 4, 4, 3), position, np.uint8)

    monkeypatch.setattr(pipeline, "device_clip", device_clip)
    return positions


def test_clips_are_read_once(read):
    clips = sources.DeviceClips(None, None, [5, 7])
    for _ in range(2):
        assert [int(clip.max()) for clip in clips] == [5, 7]
    assert read == [5, 7]


def test_what_does_not_fit_is_read_each_time(read, monkeypatch):
    monkeypatch.setattr(sources, "_KEPT_BYTES", 100)
    clips = sources.DeviceClips(None, None, [5, 7, 8])
    for _ in range(2):
        assert [int(clip.max()) for clip in clips] == [5, 7, 8]
    assert read == [5, 7, 8, 8]


def test_none_is_read_beyond_the_last(read):
    clips = sources.DeviceClips(None, None, [5])
    with pytest.raises(IndexError):
        clips[1]
    assert read == []


def test_a_device_does_what_the_evaluation_does():
    rows = [
        types.SimpleNamespace(frames=frames, fps=fps)
        for frames, fps in ((40, 10.0), (80, 30.0), (97, 0.0), (160, 29.9701))
    ]
    data = data_options.DataOptions(
        source="x",
        clip_frames=16,
        crop_size=112,
        short_side_range=(128, 160),
        eval_crop_size=160,
        eval_short_side=182,
        stride=6,
        stride_fps=25.0,  # of dense clips alone
        squash=True,
        standardize="frame",
    )
    # Strides 2.5, 5, 97 / 16 and 10; one rate is not known.
    expected = Preprocessing(
        clip_frames=16,
        short_side=182,
        crop_size=160,
        stride=5.531,
        squash=True,
        standardize="frame",
        fps=29.97,
    )
    assert sources.preprocessing(data, rows) == expected
    short = [types.SimpleNamespace(frames=4, fps=0.0)]
    for rows_of, stride in ((short, 1.0), ((), 1)):
        found = sources.preprocessing(data, rows_of)
        assert (found.stride, found.fps) == (stride, 0.0)
    data = dataclasses.replace(
        data, sampling="dense", eval_short_side="least", eval_crop_size=None
    )
    expected = dataclasses.replace(
        expected,
        sampling="dense",
        stride=6,
        stride_fps=25.0,
        short_side=128,
        crop_size=112,
    )
    assert sources.preprocessing(data, rows) == expected
    data = dataclasses.replace(data, stride_fps=None)
    expected = dataclasses.replace(expected, stride_fps=0.0)
    assert sources.preprocessing(data, rows) == expected


def test_augmented_clips_are_scaled_to_the_size_of_evaluation():
    data = data_options.DataOptions(
        source="x", crop_size=16, short_side_range=(16, 21)
    )
    fields = dict.fromkeys(f.name for f in dataclasses.fields(sources.Sources))
    for crop, sides in ((None, (16, 21)), (24, (24, 32)), (12, (12, 16))):
        own = dataclasses.replace(data, eval_crop_size=crop)
        loaded = sources.Sources(**{**fields, "data": own})
        assert loaded.augmented.crop_size == (crop or 16)
        assert loaded.augmented.short_side_range == sides
