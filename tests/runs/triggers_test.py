import io
import math

import numpy as np
import pytest
import tensorflow as tf

from autox3d_tf.runs import checkpoints, loop, run_dir, triggers


def run(steps, *some, first_step=0, metrics=None):
    """Runs triggers over steps; `metrics(step)` gives what they see."""
    metrics = metrics or (lambda step: {"loss": float(step)})
    for trigger in some:
        loop._call(trigger, "begin", first_step, steps)
    for step in range(first_step + 1, steps + 1):
        for trigger in some:
            trigger(step, metrics(step))
    for trigger in some:
        loop._call(trigger, "end", steps, metrics(steps))


def test_every_acts_on_multiples():
    seen = []
    run(10, triggers.Every(lambda s, m: seen.append((s, m["loss"])), steps=4))
    assert seen == [(4, 4.0), (8, 8.0)]


def test_every_acts_at_the_end_once():
    seen = []
    keep = lambda step, metrics: seen.append(step)  # noqa: E731
    run(10, triggers.Every(keep, steps=4, at_end=True))
    run(8, triggers.Every(keep, steps=4, at_end=True))
    assert seen == [4, 8, 10, 4, 8]


def test_every_by_time(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(triggers.time, "monotonic", lambda: now[0])
    seen = []
    every = triggers.Every(lambda s, m: seen.append(s), secs=5)
    for step in range(1, 13):  # a step takes a second
        now[0] += 1
        every(step, {})
    assert seen == [5, 10]


@pytest.mark.parametrize("when", [{}, {"steps": 1, "secs": 1}])
def test_every_needs_one_interval(when):
    with pytest.raises(ValueError, match="Exactly one of `steps` and `secs`"):
        triggers.Every(print, **when)


def test_every_refuses_0():
    with pytest.raises(ValueError, match="must be positive. Received: steps=0"):
        triggers.Every(print, steps=0)


def test_nan_guard_names_the_step_and_the_checkpoint(tmp_path):
    saver = checkpoints.Checkpoints(tmp_path, {"x": tf.Variable(1.0)})
    saver.save(10)
    guard = triggers.NanGuard(steps=20, checkpoints=saver)
    bad = lambda step: {"loss": math.nan if step >= 13 else 1.0}  # noqa: E731
    message = "loss became nan in step 13. The last checkpoint, of step 10, is"
    with pytest.raises(checkpoints.NonFiniteError, match=message):
        run(40, guard, metrics=bad)


def test_nan_guard_looks_only_every_so_many_steps():
    guard, reached = triggers.NanGuard(steps=20), []
    bad = lambda step: {"loss": math.inf if step == 3 else 1.0}  # noqa: E731
    with pytest.raises(checkpoints.NonFiniteError, match="inf in step 3"):
        run(40, lambda step, _: reached.append(step), guard, metrics=bad)
    assert reached[-1] == 20


def test_nan_guard_looks_at_the_end():
    bad = lambda step: {"loss": math.nan if step == 5 else 1.0}  # noqa: E731
    with pytest.raises(checkpoints.NonFiniteError, match="in step 5"):
        run(5, triggers.NanGuard(steps=20), metrics=bad)


@pytest.mark.parametrize("log_steps, found", [(10, 10), (25, 15), (7, 13)])
def test_nothing_is_logged_before_the_guard_has_looked(
    tmp_path, log_steps, found
):
    guard = triggers.usual(tmp_path, None, log_steps=log_steps)[0]
    for step in range(1, found):
        guard(step, {"loss": tf.constant(1.0 if step < 13 else np.nan)})
    with pytest.raises(checkpoints.NonFiniteError, match="nan in step 1[03]"):
        guard(found, {"loss": tf.constant(np.nan)})


def test_saving_asks_the_guard_first(tmp_path):
    saver = checkpoints.Checkpoints(tmp_path, {"x": tf.Variable(1.0)})
    guard = triggers.NanGuard(steps=100)
    save = triggers.SaveCheckpoint(saver, steps=5, guard=guard)
    bad = lambda step: {"loss": math.nan if step == 7 else 1.0}  # noqa: E731
    with pytest.raises(checkpoints.NonFiniteError, match="in step 7"):
        run(20, guard, save, metrics=bad)
    assert saver.steps() == [5]


def test_save_checkpoint_saves_at_the_end_too(tmp_path):
    saver = checkpoints.Checkpoints(tmp_path, {"x": tf.Variable(1.0)}, keep=9)
    run(7, triggers.SaveCheckpoint(saver, steps=3))
    assert saver.steps() == [3, 6, 7]


def test_scalars_can_be_read_back(tmp_path):
    writer = triggers.WriteScalars(tmp_path, steps=2)
    run(5, writer)
    writer.close()
    (file,) = tmp_path.glob("*.v2")
    found = [
        (event.step, value.tag, float(tf.make_ndarray(value.tensor)))
        for event in tf.compat.v1.train.summary_iterator(str(file))
        for value in event.summary.value
    ]
    assert found == [(2, "loss", 2.0), (4, "loss", 4.0), (5, "loss", 5.0)]


def test_texts_go_into_the_file_of_the_scalars(tmp_path):
    writer = triggers.WriteScalars(tmp_path, steps=1)
    run(1, writer, lambda step, _: writer.write_text(step, "table", "| a |"))
    writer.close()
    (file,) = tmp_path.glob("*.v2")
    found = {
        value.tag: tf.make_ndarray(value.tensor)
        for event in tf.compat.v1.train.summary_iterator(str(file))
        for value in event.summary.value
    }
    assert found["loss"] == 1.0 and found["table"].item() == b"| a |"


def test_progress_line_by_hand():
    progress = triggers.Progress(stream=io.StringIO())
    progress.begin(10, 100)
    # Step 11 was the first: 20 steps in 40 s since, so 70 steps take 140 s.
    line = progress.line(30 + 1, {"loss": 0.51234}, 40.0)
    assert line == "step 31/100  loss 0.5123  0.5 steps/s  2m18s left"


def test_progress_without_a_rate_says_nothing_of_time():
    progress = triggers.Progress(stream=io.StringIO())
    progress.begin(0, 100)
    assert progress.line(1, {}, 0.0) == "step 1/100"


def test_progress_rewrites_a_line_on_a_terminal():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    progress = triggers.Progress(secs=0, stream=stream)
    run(3, progress)
    progress.close()
    _, first, *lines = stream.getvalue().split("\r")
    assert first == "step 1/3: tracing\x1b[K"
    assert len(lines) == 3
    assert stream.getvalue().endswith("left\x1b[K\n")


def test_usual_triggers_save_and_write(tmp_path):
    here = run_dir.RunDir(tmp_path, {})
    weights = tf.Variable(np.ones(3, "float32"))
    saver = checkpoints.Checkpoints(here.checkpoints, {"weights": weights})
    run(4, *triggers.usual(here.summaries, saver, save_steps=2))
    assert saver.steps() == [2, 4]
    assert list(here.summaries.glob("*.v2"))


def test_scalars_can_be_written_by_a_second_run(tmp_path):
    writer = triggers.WriteScalars(tmp_path, steps=1)
    for _ in range(2):
        run(1, writer)
        writer.close()
    assert list(tmp_path.glob("*.v2"))
