"""How often the clips of a judge are read."""

import numpy as np
import pytest
import tensorflow as tf

from autox3d_tf.data import manifest as manifest_lib
from autox3d_tf.data import options as data_options
from autox3d_tf.data import sources
from autox3d_tf.search import children, steps


class _Counting(sources.ClipSource):
    """Clips of one grey level each; keeps the numbers of those read."""

    def __init__(self, manifest, read=None):
        super().__init__(manifest)
        self.read = [] if read is None else read

    def subset(self, manifest):
        return _Counting(manifest, self.read)

    def fetch(self, position, indices):
        self.read.append(int(self.manifest.rows[position].path))
        level = 10 * self.read[-1]
        return np.full((len(indices), 16, 16, 3), level, np.uint8)


DATA = data_options.DataOptions(source="x", clip_frames=4, crop_size=16)


def make_source(labels):
    rows = [
        manifest_lib.ClipRow(path=str(i), label=label, frames=4, status="ok")
        for i, label in enumerate(labels)
    ]
    return _Counting(manifest_lib.Manifest("", tuple(rows), ("a", "b")))


@pytest.mark.parametrize(("cache_bytes", "reads"), [(2**28, 1), (0, 2)])
def test_clips_that_fit_are_read_once(monkeypatch, cache_bytes, reads):
    monkeypatch.setattr(children, "_CACHE_BYTES", cache_bytes)
    monkeypatch.setattr(
        steps,
        "log_likelihoods",
        lambda net, vectors, clips, labels: (
            tf.reduce_mean(clips)[None],
            tf.reduce_mean(tf.cast(labels, tf.float32))[None],
        ),
    )
    source = make_source("ababab")
    judge = children.Judge(None, source, DATA, (), 4)
    first, second = judge((0,)), judge((0,))
    assert first == second
    # Six clips in two batches of four, the first two of them twice.
    assert judge.clips_each == 8 and judge.clips == 16
    assert len(source.read) == 8 * reads
    assert judge.distinct == len(set(source.read[:8])) == 6
    numbers = np.array(source.read[:8])
    assert first.accuracy == np.mean(numbers % 2)
    assert first.log_likelihood == pytest.approx(
        np.mean((10 * numbers / 255 - 0.45) / 0.225), rel=1e-5
    )


def test_batches_of_some_of_the_clips_mix_the_classes(monkeypatch):
    monkeypatch.setattr(
        steps,
        "log_likelihoods",
        lambda net, vectors, clips, labels: (
            tf.zeros(1),
            tf.cast(tf.reduce_any(labels != labels[0]), tf.float32)[None],
        ),
    )
    monkeypatch.setattr(children, "_MOST_CLIPS", 7)
    source = make_source("aaaaaabbbbbb")
    judge = children.Judge(None, source, DATA, (), 4)
    assert judge((0,)).accuracy == 1
    assert judge.clips_each == judge.distinct == judge.clips == 8
    assert len(set(source.read)) == 8
