"""A training on several workers, and what its replicas share."""

import json
import types

import numpy as np
import pytest
import tensorflow as tf

from autox3d_tf.data import pipeline, sources
from autox3d_tf.runs import distribute
from autox3d_tf.training import batches, files, run, starts
from tests.runs import replicas
from tests.training import tiny


@pytest.mark.large
def test_two_workers_train_as_two_replicas_of_one_process(clips, tmp_path):
    ends = replicas.run_driver(
        "tests.training.replicas_driver", clips, tmp_path
    )
    # Killed between two checkpoints; then both are started again.
    lost = "error WorkerLost Worker 0 of 2 has lost worker 1. Start all "
    assert len(ends) == 6 and ends.pop(0).startswith(lost)
    assert ends == ["exit 1", "exit -9", "exit 0", "exit 0", "exit 0"]
    one, two = tmp_path / "one", tmp_path / "two"
    found = [dict(np.load(path / files.WEIGHTS)) for path in (one, two)]
    for name, value in found[0].items():
        np.testing.assert_allclose(found[1][name], value, atol=1e-6)
    records = [files.read_record(path) for path in (one, two)]
    for point, other in zip(*(r["curve"] for r in records), strict=True):
        assert other == pytest.approx(point, rel=1e-5)
    assert records[0]["validation"] == records[1]["validation"]
    # All workers have given up the start that came to infinite numbers.
    losses = json.loads((two / "starts.json").read_text())
    assert losses.pop("3") is None and losses.keys() == {"100003"}


class Counting(sources.VideoSource):
    """Clips, which count how often they are read."""

    def __init__(self, manifest):
        super().__init__(manifest)
        self.read = []

    def fetch(self, position, indices):
        self.read.append(position)
        return super().fetch(position, indices)


def test_a_worker_reads_the_clips_of_its_own_replicas(clips):
    data = tiny.data(clips)
    source = Counting(pipeline.open_source(data, "train").manifest)

    def make_batches(strategy=None):
        made = batches.make_batches(
            source, data, tiny.training(), seed=0, first_step=1, last_step=3,
            strategy=strategy,
        )  # fmt: skip
        return [np.array(clips) for clips, _ in made]

    whole = make_batches()
    assert [len(batch) for batch in whole] == [4, 4]
    source.read.clear()
    # The second of two workers with two replicas each.
    context = tf.distribute.InputContext(2, 1, 4)
    shares = make_batches(
        types.SimpleNamespace(
            num_replicas_in_sync=4,
            distribute_datasets_from_function=lambda make: make(context),
        )
    )
    expected = [batch[n : n + 1] for batch in whole for n in (2, 3)]
    np.testing.assert_array_equal(shares, expected)
    assert len(source.read) == 4


@pytest.mark.parametrize("given, expected", [(None, 3), (5, 5)])
def test_workers_look_for_nan_after_the_same_steps_of_a_start(given, expected):
    options = tiny.training(save_steps=given)
    found = starts.options_of(options, steps=20, log_steps=1, num_workers=2)
    assert found.save_steps == expected
    found = starts.options_of(options, steps=20, log_steps=1)
    assert found.save_steps == given


@pytest.mark.parametrize(
    "options, message",
    [
        ({"batch_size": 3}, "batch_size=3, 2 replicas"),  # not evenly shared
        ({"batch_size": 2, "mixup": 0.4}, "least 2 for each .* mixup=0.4"),
    ],
)
def test_a_batch_that_replicas_cannot_share_is_refused(
    tmp_path, monkeypatch, options, message
):
    monkeypatch.setattr(distribute, "num_replicas", lambda strategy: 2)
    with pytest.raises(ValueError, match=message):
        run.run_training(
            arch=tiny.arch(),
            data=tiny.data("clips"),
            training=tiny.training(**options),
            optimizer=tiny.optimizer(),
            run_dir=str(tmp_path / "run"),
        )
    assert not (tmp_path / "run").exists()


def test_xla_does_not_compile_what_replicas_exchange(tmp_path):
    with pytest.raises(ValueError, match="`jit_compile` must not be True"):
        run.run_training(
            arch=tiny.arch(),
            data=tiny.data("clips"),
            training=tiny.training(jit_compile=True),
            optimizer=tiny.optimizer(),
            run_dir=str(tmp_path / "run"),
            strategy=tf.distribute.OneDeviceStrategy("CPU:0"),
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "changes, gpus, steps, expected",
    [
        ({}, ["GPU:0"], 2000, True),
        ({}, ["GPU:0"], 1999, False),  # does not pay
        ({}, [], 10**6, False),
        ({"short_cycle": True}, ["GPU:0"], 10**6, False),  # three programs
        ({"jit_compile": False}, ["GPU:0"], 10**6, False),
        ({"jit_compile": True}, [], 1, True),
    ],
)
def test_xla_compiles_where_it_pays(
    monkeypatch, changes, gpus, steps, expected
):
    monkeypatch.setattr(
        run.tf.config, "list_logical_devices", lambda kind: gpus
    )
    options = tiny.training(**changes)
    assert run.is_compiled(options, None, steps) is expected
