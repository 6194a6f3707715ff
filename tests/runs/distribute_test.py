"""What a run asks tf.distribute, without starting workers."""

import types

import pytest
import tensorflow as tf

from autox3d_tf.runs import binary, distribute, gin_app, run_dir


def workers(count, index):
    """What `distribute` looks at in a strategy of several workers."""
    addresses = [f"localhost:{port}" for port in range(count)]
    spec = tf.train.ClusterSpec({"worker": addresses})
    resolver = types.SimpleNamespace(
        cluster_spec=lambda: spec, task_type="worker", task_id=index
    )
    return types.SimpleNamespace(cluster_resolver=resolver)


def test_strategies_are_those_of_the_flag():
    assert tuple(distribute.STRATEGIES) == gin_app._STRATEGIES
    assert distribute.make_strategy("one") is None
    with pytest.raises(ValueError, match="one of one, mirrored, multi_worker"):
        distribute.make_strategy("two")


@pytest.mark.parametrize(
    "config",
    [
        None,
        "",
        "not JSON",
        "[]",
        '{"cluster": {"worker": ["a:1"]}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"index": 1}}',
    ],
)
def test_workers_must_be_listed(monkeypatch, config):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if config is not None:
        monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(ValueError, match=r"TF_CONFIG the addresses .* Rec"):
        distribute.make_strategy("multi_worker")


def test_one_process_is_the_chief():
    for strategy in (None, tf.distribute.OneDeviceStrategy("CPU:0")):
        assert distribute.num_workers(strategy) == 1
        assert distribute.num_replicas(strategy) == 1
        assert distribute.is_chief(strategy)
        with distribute.chief_first(strategy), distribute.scope(strategy):
            variable = tf.Variable(2.0)
        found = distribute.on_replicas(
            strategy, lambda x, v=variable: {"product": v * x}, tf.constant(3.0)
        )
        assert float(found["product"]) == 6.0


def test_worker_0_is_the_chief():
    assert distribute.num_workers(workers(3, 1)) == 3
    found = [distribute.is_chief(workers(3, index)) for index in range(3)]
    assert found == [True, False, False]


def test_lost_worker_is_a_line_for_the_user():
    error = tf.errors.UnavailableError(
        None, None, "/job:worker/task:1 calling /job:worker/task:2: gone"
    )
    with (
        pytest.raises(
            distribute.WorkerLost,
            match="Worker 1 of 3 has lost worker 2. Start",
        ) as caught,
        distribute.worker_errors(workers(3, 1)),
    ):
        raise error
    assert binary.is_expected(caught.value)
    with (
        pytest.raises(
            distribute.WorkerLost, match="Worker 0 of 2 has lost another worker"
        ),
        distribute.worker_errors(workers(2, 0)),
    ):
        raise tf.errors.AbortedError(None, None, "gone")
    with (
        pytest.raises(tf.errors.UnavailableError),
        distribute.worker_errors(None),
    ):
        raise error


def test_workers_go_on_from_the_same_checkpoint():
    strategy = workers(2, 1)
    strategy.num_replicas_in_sync = 2
    strategy.experimental_local_results = lambda value: (value,)
    strategy.run = lambda fn: tf.constant(6 + other)
    other = 6
    distribute.check_same_step(strategy, 6)
    distribute.check_same_step(None, 6)
    other = 9
    with pytest.raises(ValueError, match="step 6 in worker 1, another"):
        distribute.check_same_step(strategy, 6)


def test_workers_beside_the_chief_make_no_files(tmp_path):
    path = tmp_path / "run"
    with pytest.raises(ValueError, match="a directory that all workers see"):
        run_dir.RunDir(path, {"seed": 1}, writes=False)
    assert not path.exists()
    run_dir.RunDir(path, {"seed": 1})
    before = {p: p.stat().st_mtime_ns for p in path.iterdir()}
    found = run_dir.RunDir(path, {"seed": 1}, writes=False)
    assert found.checkpoints == path / "checkpoints"
    assert {p: p.stat().st_mtime_ns for p in path.iterdir()} == before
    with pytest.raises(ValueError, match="seed=1 there, 2 here"):
        run_dir.RunDir(path, {"seed": 2}, writes=False)


def test_a_worker_that_is_gone_at_the_end_is_no_loss(monkeypatch):
    def gone(strategy):
        raise tf.errors.UnavailableError(None, None, "task:1 is gone")

    monkeypatch.setattr(distribute, "wait_for_all", gone)
    distribute.wait_at_end(workers(2, 0), lambda: True)
    with pytest.raises(tf.errors.UnavailableError):
        distribute.wait_at_end(workers(2, 0), lambda: False)
