import os
import signal

import numpy as np
import pytest
import tensorflow as tf

from autox3d_tf.runs import loop


def numbers(first=0, last=1000):
    return ((tf.constant(float(i)),) for i in range(first, last))


def test_each_step_gets_its_batch_and_triggers_count_from_1():
    seen = []
    result = loop.run_steps(
        lambda x: {"x": x},
        numbers(),
        first_step=0,
        total_steps=3,
        triggers=[lambda step, metrics: seen.append((step, int(metrics["x"])))],
    )
    assert seen == [(1, 0), (2, 1), (3, 2)]
    assert result == {"x": 2.0}


def test_resumed_steps_keep_their_numbers():
    seen = []
    loop.run_steps(
        lambda step, x: {"step": step, "x": x},
        numbers(first=5),
        first_step=5,
        total_steps=7,
        triggers=[
            lambda step, m: seen.append((step, int(m["step"]), int(m["x"])))
        ],
    )
    assert seen == [(6, 5, 5), (7, 6, 6)]


def test_step_is_traced_once():
    traced = []

    def step_fn(step, x):
        traced.append(1)
        return {"x": x + tf.cast(step, tf.float32)}

    result = loop.run_steps(step_fn, numbers(), first_step=0, total_steps=5)
    assert len(traced) == 1
    assert result == {"x": 8.0}


def test_complete_run_does_nothing():
    result = loop.run_steps(None, (), first_step=3, total_steps=3)
    assert result == {}


def test_batches_must_last():
    with pytest.raises(ValueError, match="must last for 5 .* after step 2"):
        loop.run_steps(
            lambda x: {"x": x}, numbers(last=2), first_step=0, total_steps=5
        )


def test_first_step_beyond_the_end_is_refused():
    with pytest.raises(ValueError, match="first_step=6, total_steps=5"):
        loop.run_steps(None, (), first_step=6, total_steps=5)


class Recorder:
    def __init__(self, on_step=None):
        self.calls, self.on_step = [], on_step

    def begin(self, first_step, total_steps):
        self.calls.append(("begin", first_step, total_steps))

    def __call__(self, step, metrics):
        if self.on_step:
            self.on_step(step)

    def end(self, step, metrics):
        self.calls.append(("end", step))

    def close(self):
        self.calls.append(("close",))


def test_triggers_begin_end_and_close():
    recorder = Recorder()
    loop.run_steps(
        lambda x: {"x": x},
        numbers(),
        first_step=0,
        total_steps=2,
        triggers=[recorder],
    )
    assert recorder.calls == [("begin", 0, 2), ("end", 2), ("close",)]


def test_after_an_error_triggers_close_but_do_not_end():
    def fail(step):
        raise RuntimeError("boom")

    recorder = Recorder(fail)
    with pytest.raises(RuntimeError, match="boom"):
        loop.run_steps(
            lambda x: {"x": x},
            numbers(),
            first_step=0,
            total_steps=2,
            triggers=[recorder],
        )
    assert recorder.calls == [("begin", 0, 2), ("close",)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_after_a_whole_step(number):
    before = signal.getsignal(number)

    def kill(step):
        if step == 3:
            os.kill(os.getpid(), number)

    recorder = Recorder(kill)
    with pytest.raises(loop.Interrupted) as caught:
        loop.run_steps(
            lambda x: {"x": x},
            numbers(),
            first_step=0,
            total_steps=9,
            triggers=[recorder],
        )
    assert recorder.calls == [("begin", 0, 9), ("end", 3), ("close",)]
    assert caught.value.code == 128 + number  # the shell's convention
    assert "after step 3 of 9" in str(caught.value)
    assert signal.getsignal(number) is before


@pytest.fixture
def interruptible():
    """What runs in the background ignores SIGINT from its start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_second_signal_stops_at_once(interruptible):
    def interrupt_twice(step):
        del step
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    recorder = Recorder(interrupt_twice)
    with pytest.raises(KeyboardInterrupt):
        loop.run_steps(
            lambda x: {"x": x},
            numbers(),
            first_step=0,
            total_steps=9,
            triggers=[recorder],
        )
    assert recorder.calls == [("begin", 0, 9), ("close",)]


def test_dataset_is_taken_as_it_is():
    dataset = tf.data.Dataset.range(6).batch(2)
    result = loop.run_steps(
        lambda batch: {"sum": tf.reduce_sum(batch)},
        dataset,
        first_step=0,
        total_steps=3,
    )
    assert result == {"sum": 9.0}  # 4 + 5


def test_graph_optimizer_setting_is_given_back():
    get = tf.config.optimizer.get_experimental_options
    tf.config.optimizer.set_experimental_options(
        {"disable_meta_optimizer": False}
    )
    inside = []
    loop.run_steps(
        lambda x: {"x": x},
        numbers(),
        first_step=0,
        total_steps=1,
        triggers=[
            lambda step, m: inside.append(get()["disable_meta_optimizer"])
        ],
    )
    assert inside == [True]
    assert get().get("disable_meta_optimizer", False) is False


def test_one_device_strategy_equals_no_strategy():
    def train(strategy):
        weight = tf.Variable(1.0)

        def step_fn(x):
            weight.assign_add(tf.reduce_mean(x) * 0.1)
            return {"weight": weight.read_value()}

        dataset = tf.data.Dataset.range(8).map(lambda i: tf.cast(i, tf.float32))
        return loop.run_steps(
            step_fn,
            dataset.batch(2),
            first_step=0,
            total_steps=4,
            strategy=strategy,
        )

    one = train(tf.distribute.OneDeviceStrategy("CPU:0"))
    assert one == train(None)
    np.testing.assert_allclose(one["weight"], 1 + 0.1 * 14)  # 0.5+2.5+4.5+6.5


def test_compiled_step_returns_what_the_step_does():
    compiled = loop.compile_step(lambda step, x: (x + 1, {"step": step}))
    value, rest = compiled(tf.constant(4, tf.int64), tf.constant(1.0))
    assert (float(value), int(rest["step"])) == (2.0, 4)
