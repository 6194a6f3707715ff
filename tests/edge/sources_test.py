"""Clips that exports are tested with."""

import numpy as np
import pytest

from autox3d_edge import sources
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
