import pytest

from autox3d_tf.runs import distribute
from autox3d_tf.training import run
from tests.runs import distribute_test
from tests.training import tiny


def test_several_workers_are_refused(tmp_path):
    with pytest.raises(
        ValueError,
        match="must have one worker in a training. Received: 2 workers. Use "
        "--strategy=mirrored",
    ):
        run.run_training(
            arch=tiny.arch(),
            data=tiny.data("clips"),
            training=tiny.training(),
            optimizer=tiny.optimizer(),
            run_dir=str(tmp_path / "run"),
            strategy=distribute_test.workers(2, 0),
        )
    assert not (tmp_path / "run").exists()


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
