import json
import os

import keras
import numpy as np
import pytest
import tensorflow as tf

from autox3d_tf.runs import checkpoints


def small_model():
    layers = [
        keras.layers.Dense(3),
        keras.layers.BatchNormalization(),
        keras.layers.Dropout(0.5, seed=1),
        keras.layers.Dense(2),
    ]
    model = keras.Sequential(layers)
    model.build((None, 4))
    optimizer = keras.optimizers.AdamW(0.1)
    optimizer.build(model.trainable_variables)
    return model, optimizer


def train(model, optimizer, steps=3):
    clip = tf.reshape(tf.range(32.0), (8, 4)) / 32
    for _ in range(steps):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(model(clip, training=True) ** 2)
        weights = model.trainable_variables
        optimizer.apply_gradients(
            zip(tape.gradient(loss, weights), weights, strict=True)
        )


def values(*things):
    return [np.array(v) for thing in things for v in thing.variables]


def assert_equal(first, second):
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def test_model_optimizer_and_plain_variables_come_back(tmp_path):
    model, optimizer = small_model()
    counter = tf.Variable(7, dtype=tf.int64)
    train(model, optimizer)
    saved = values(model, optimizer)
    objects = {"model": model, "optimizer": optimizer, "counter": counter}
    checkpoints.Checkpoints(tmp_path, objects).save(3)

    # Other names, as in another process: keras numbers its layers.
    model, optimizer = small_model()
    counter = tf.Variable(0, dtype=tf.int64)
    objects = {"model": model, "optimizer": optimizer, "counter": counter}
    restored = checkpoints.Checkpoints(tmp_path, objects)
    assert restored.restore_latest() == 3
    assert_equal(values(model, optimizer), saved)
    assert int(counter) == 7
    assert int(optimizer.iterations) == 3
    momenta = [v for v in optimizer.variables if "momentum" in v.path]
    assert len(momenta) == 6 and any(np.any(v) for v in momenta)


def test_training_goes_on_as_if_never_stopped(tmp_path):
    model, optimizer = small_model()
    start = values(model)
    objects = {"model": model, "optimizer": optimizer}
    saver = checkpoints.Checkpoints(tmp_path, objects)
    train(model, optimizer, 2)
    saver.save(2)
    train(model, optimizer, 2)
    expected = values(model, optimizer)

    other, other_optimizer = small_model()
    objects = {"model": other, "optimizer": other_optimizer}
    checkpoints.Checkpoints(tmp_path, objects).restore_latest()
    train(other, other_optimizer, 2)  # dropout's state counts here
    assert_equal(values(other, other_optimizer), expected)
    assert not np.array_equal(values(other)[0], start[0])


def test_nothing_to_restore_is_step_0(tmp_path):
    saver = checkpoints.Checkpoints(tmp_path, {"x": tf.Variable(1.0)})
    assert saver.restore_latest() == 0
    assert saver.steps() == []


def test_keeps_the_newest(tmp_path):
    saver = checkpoints.Checkpoints(tmp_path, {"x": tf.Variable(1.0)}, keep=2)
    for step in (1, 5, 30):
        saver.save(step)
    assert saver.steps() == [5, 30]


def test_saving_a_step_again_replaces_it(tmp_path):
    x = tf.Variable(1.0)
    saver = checkpoints.Checkpoints(tmp_path, {"x": x})
    saver.save(1)
    x.assign(2.0)
    saver.save(1)
    x.assign(3.0)
    assert saver.restore_latest() == 1
    assert float(x) == 2.0


def test_other_identity_is_refused(tmp_path):
    x = tf.Variable(1.0)
    identity = {"arch": "aaa", "seed": 0}
    checkpoints.Checkpoints(tmp_path, {"x": x}, identity=identity).save(1)
    other = {"arch": "bbb", "seed": 0}
    saver = checkpoints.Checkpoints(tmp_path, {"x": x}, identity=other)
    with pytest.raises(ValueError, match="arch='aaa' there, 'bbb' here"):
        saver.restore_latest()


def test_a_reader_restores_but_never_saves(tmp_path):
    x = tf.Variable([1.0])
    checkpoints.Checkpoints(tmp_path, {"x": x}).save(1)
    x.assign([2.0])
    reader = checkpoints.Checkpoints(tmp_path, {"x": x}, writes=False)
    reader.save(2)
    assert reader.steps() == [1]
    assert reader.restore_latest() == 1 and x.numpy() == [1.0]
    x.assign([np.nan])
    with pytest.raises(checkpoints.NonFiniteError):
        reader.save(2)


def test_other_shapes_are_refused(tmp_path):
    checkpoints.Checkpoints(tmp_path, {"x": tf.Variable([1.0])}).save(1)
    x = tf.Variable([1.0, 2.0])
    saver = checkpoints.Checkpoints(tmp_path, {"x": x})
    message = r"variable 0 of x is float32\[1\] there, float32\[2\] here"
    with pytest.raises(ValueError, match=message):
        saver.restore_latest()
    np.testing.assert_array_equal(x, [1.0, 2.0])


def test_other_number_of_variables_is_refused(tmp_path):
    x, y = tf.Variable(1.0), tf.Variable(1.0)
    checkpoints.Checkpoints(tmp_path, {"x": x}).save(1)
    saver = checkpoints.Checkpoints(tmp_path, {"x": x, "y": y})
    with pytest.raises(ValueError, match="y has 0 variables there, 1 here"):
        saver.restore_latest()


def flip_a_byte(path):
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(bytes(data))


def truncate(path):
    os.truncate(path, 3)


@pytest.mark.parametrize("file", ["about.json", "state.index", "data"])
@pytest.mark.parametrize("harm", [truncate, os.remove])
def test_damaged_checkpoint_falls_back(tmp_path, file, harm):
    x = tf.Variable(tf.range(100.0))
    saver = checkpoints.Checkpoints(tmp_path, {"x": x})
    saver.save(1)
    x.assign(x + 1)
    saver.save(2)
    (path,) = saver.path(2).glob(f"*{file}*")
    harm(path)
    assert saver.restore_latest() == 1
    np.testing.assert_array_equal(x, range(100))


def test_flipped_bit_is_noticed(tmp_path):
    x = tf.Variable(tf.range(100.0))
    saver = checkpoints.Checkpoints(tmp_path, {"x": x})
    saver.save(1)
    (path,) = saver.path(1).glob("*data*")
    flip_a_byte(path)
    with pytest.raises(ValueError, match="All 1 checkpoints .* are damaged"):
        saver.restore_latest()


def test_leftovers_of_a_killed_save_are_ignored(tmp_path):
    x = tf.Variable(1.0)
    checkpoints.Checkpoints(tmp_path, {"x": x}).save(1)
    leftover = tmp_path / ".partial_99_2"
    leftover.mkdir()
    (leftover / "state.index").write_text("half")
    saver = checkpoints.Checkpoints(tmp_path, {"x": x})
    assert saver.restore_latest() == 1
    assert not leftover.exists()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_never_saved(tmp_path, bad):
    model, _ = small_model()
    saver = checkpoints.Checkpoints(tmp_path, {"model": model})
    saver.save(1)
    model.layers[0].bias.assign([0.0, bad, 0.0])
    message = "model is not finite after step 2: .*/bias:0 .* step 1, is kept"
    with pytest.raises(checkpoints.NonFiniteError, match=message):
        saver.save(2)
    assert saver.steps() == [1]


def test_unbuilt_optimizer_is_refused(tmp_path):
    optimizer = keras.optimizers.Adam()
    with pytest.raises(ValueError, match="'optimizer', not built. Call its"):
        checkpoints.Checkpoints(tmp_path, {"optimizer": optimizer})


def test_unbuilt_model_is_refused(tmp_path):
    model = keras.Sequential([keras.layers.Dense(1)])
    with pytest.raises(ValueError, match=r"not built. Call its build\(shape"):
        checkpoints.Checkpoints(tmp_path, {"model": model})


def test_keep_is_checked(tmp_path):
    with pytest.raises(ValueError, match="`keep` must be at least 1"):
        checkpoints.Checkpoints(tmp_path, {}, keep=0)


def test_loss_scale_and_averages_come_back(tmp_path):
    def make():
        model, _ = small_model()
        inner = keras.optimizers.SGD(0.1, momentum=0.9, use_ema=True)
        optimizer = keras.optimizers.LossScaleOptimizer(inner)
        optimizer.build(model.trainable_variables)
        return model, optimizer

    model, optimizer = make()
    train(model, optimizer)
    saver = checkpoints.Checkpoints(
        tmp_path, {"model": model, "optimizer": optimizer}
    )
    saver.save(3)
    other, other_optimizer = make()
    saver = checkpoints.Checkpoints(
        tmp_path, {"model": other, "optimizer": other_optimizer}
    )
    saver.restore_latest()
    assert_equal(
        values(other_optimizer.inner_optimizer),
        values(optimizer.inner_optimizer),
    )
    assert len(optimizer.inner_optimizer.variables) == 2 + 6 + 6


def test_about_says_what_it_is(tmp_path):
    saver = checkpoints.Checkpoints(
        tmp_path, {"x": tf.Variable([1, 2])}, identity={"seed": 3}
    )
    about = json.loads((saver.save(4) / "about.json").read_text())
    assert about["step"] == 4 and about["identity"] == {"seed": 3}
    assert about["layout"] == {"x": ["int32[2]"]}


def test_lists_of_variables_come_back_and_are_looked_at(tmp_path):
    logits = [tf.Variable([1.0, 2.0]), tf.Variable([3.0])]
    saver = checkpoints.Checkpoints(tmp_path, {"logits": logits})
    saver.save(1)
    logits[1].assign([np.nan])
    with pytest.raises(checkpoints.NonFiniteError, match="logits is not"):
        saver.save(2)
    saver.restore_latest()
    np.testing.assert_array_equal(logits[1], [3.0])


@pytest.mark.parametrize("thing", ["y", [tf.Variable(1.0), "y"]])
def test_other_objects_are_refused(tmp_path, thing):
    with pytest.raises(ValueError, match="Received: 'x' with str"):
        checkpoints.Checkpoints(tmp_path, {"x": thing})


def test_what_was_skipped_as_damaged_does_not_push_out_what_is_good(tmp_path):
    x = tf.Variable(1.0)
    saver = checkpoints.Checkpoints(tmp_path, {"x": x}, keep=1)
    saver.save(1)
    (tmp_path / "step_00000400").mkdir()
    (tmp_path / "step_00000400" / "about.json").write_text("[]")
    assert saver.restore_latest() == 1
    assert saver.last_good() == "The last checkpoint, of step 1, is kept."
    saver.save(2)
    assert saver.steps() == [2] and saver.restore_latest() == 2


def test_a_reader_of_nothing_finds_nothing(tmp_path):
    saver = checkpoints.Checkpoints(
        tmp_path / "none", {"x": tf.Variable(1.0)}, writes=False
    )
    assert saver.restore_latest() == 0 and not saver.directory.exists()


def test_a_reader_leaves_a_save_in_progress_alone(tmp_path):
    x = {"x": tf.Variable(1.0)}
    checkpoints.Checkpoints(tmp_path, x).save(1)
    (tmp_path / ".partial_1_2").mkdir()
    checkpoints.Checkpoints(tmp_path, x, writes=False).restore_latest()
    assert (tmp_path / ".partial_1_2").is_dir()
