"""Rounding in the loop: trains, resumes, and ends as a clean int8 file."""

import dataclasses

import numpy as np
import pytest
import tf_keras

from autox3d_edge import (
    audit,
    fine_tuning,
    interpreters,
    layer_noise,
    lowering,
    quantization_aware,
)
from autox3d_tf.data import sampling
from autox3d_tf.runs import checkpoints, loop
from tests.edge import networks, reference

pytestmark = pytest.mark.large  # wraps and trains a network

CLIP = (3, 16, 16)
OPTIONS = fine_tuning.FineTuningOptions(
    steps=4, batch_size=2, learning_rate=1e-3
)


def one_block(**changes):
    arch = networks.small_arch(clip_size=CLIP, **changes)
    return dataclasses.replace(arch, stages=(arch.stages[1],))


@pytest.fixture(scope="module")
def lowered():
    arch = one_block()
    return lowering.lower(arch, networks.random_weights(arch))


@pytest.fixture(scope="module")
def clips():
    return reference.random_clips(8, CLIP)


@pytest.fixture(scope="module")
def model(lowered, clips):
    return quantization_aware.quantization_aware(lowered, clips)


def batches(clips):
    def make(first_step):
        for step in range(first_step, OPTIONS.steps):
            pair = clips[[2 * step % 8, 2 * step % 8 + 1]]
            yield (
                sampling.normalize(pair.astype(np.float32)),
                np.zeros(2, np.int32),
            )

    return make


def fine_tune(lowered, clips, folder, **changes):
    options = dataclasses.replace(OPTIONS, **changes)
    return fine_tuning.fine_tune(
        lowered, clips, batches(clips), options, folder, {"seed": 0}
    )


@pytest.fixture(scope="module")
def trained(lowered, clips, tmp_path_factory):
    """A fine-tuned file, and the folder of its run."""
    folder = tmp_path_factory.mktemp("qat")
    return fine_tune(lowered, clips, folder), folder


def test_what_is_written_for_tensorboard_lies_in_its_run(trained):
    assert list((trained[1] / "summaries").glob("events*"))


def test_before_training_it_is_the_float_network_with_rounding(
    model, lowered, clips
):
    for clip in clips[:3]:
        floats = clip.astype(np.float32)
        np.testing.assert_allclose(model(floats), lowered(floats), atol=0.15)


def test_each_channel_of_a_depthwise_kernel_has_its_own_range(model):
    layer = model.get_layer("quant_stage1_block1_depthwise_tap1")
    kernel = layer.layer.depthwise_kernel
    (largest,) = (v for v in layer.weights if "kernel_max" in v.name)
    assert largest.shape == kernel.shape[2]
    # A channel rounded with its own range is off by half a step at most.
    _, quantizer, variables = layer._weight_vars[0]
    rounded = quantizer(kernel, True, variables)
    tops = np.abs(kernel).max((0, 1, 3))
    error = np.abs(rounded - kernel).max((0, 1, 3))
    assert (error <= tops / 127 / 2 * 1.001).all()


def test_the_file_is_clean(trained):
    report = audit.audit_model(trained[0], "qat")
    assert report.passed, report.findings


def test_the_file_says_what_float_says_with_its_weights(model, lowered, clips):
    # Not trained: four steps at this rate change the scores by up to 0.2.
    content = quantization_aware.convert(model, lowered, clips)
    run = interpreters.ClipRunner(content)
    for clip in clips:
        expected = lowered(clip.astype(np.float32)).numpy()[0]
        np.testing.assert_allclose(run(clip), expected, atol=0.02)


def test_the_file_has_the_weights_that_were_trained(model, lowered, clips):
    """Here the classes in reverse, which no range knows of."""
    found = model.get_layer("quant_head_logits").weights
    weights = [w for w in found if w.name.endswith(("/kernel:0", "/bias:0"))]
    assert len(weights) == 2

    def turn():
        for weight in weights:
            weight.assign(weight[..., ::-1])

    turn()
    content = quantization_aware.convert(model, lowered, clips)
    turn()
    run = interpreters.ClipRunner(content)
    for clip in clips[:2]:
        expected = lowered(clip.astype(np.float32)).numpy()[0, ::-1]
        np.testing.assert_allclose(run(clip), expected, atol=0.02)


def test_training_lowers_the_loss(lowered, clips):
    model = quantization_aware.quantization_aware(lowered, clips)
    bias = model.get_layer("quant_head_logits").layer.bias
    bias.assign(bias + [3.0, 0.0, 0.0, -3.0, 0.0, 0.0, 0.0])  # to be undone
    optimizer = tf_keras.optimizers.Adam(1e-3)
    optimizer.build(model.trainable_variables)
    step = loop.compile_step(fine_tuning.make_step(model, lowered, optimizer))
    same = sampling.normalize(clips[:2].astype(np.float32))
    losses = [float(step(0, same)["loss"]) for _ in range(6)]
    assert losses[-1] < 0.7 * losses[0]


def test_the_loss_is_the_mean_cross_entropy_with_float(model, lowered, clips):
    student = tf_keras.Model(
        model.input, model.get_layer("quant_head_logits").output
    )
    expected = []
    for clip in clips[:3].astype(np.float32):
        logits = np.float64(student(clip)[0])
        target = np.float64(lowered(clip)[0])
        logs = logits - np.log(np.exp(logits).sum())
        expected.append(-(target * logs).sum())
    optimizer = tf_keras.optimizers.SGD(0.0)
    optimizer.build(model.trainable_variables)
    step = fine_tuning.make_step(model, lowered, optimizer)
    normal = sampling.normalize(clips[:3].astype(np.float32))
    found = float(step(normal + 1e-4)["loss"])  # pixels are whole numbers
    assert found == pytest.approx(np.mean(expected), rel=0.02)


def test_the_rate_falls_to_nothing_along_a_cosine(
    model, lowered, clips, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        quantization_aware, "quantization_aware", lambda *_: model
    )
    made = []
    monkeypatch.setattr(
        fine_tuning, "make_step", lambda *given: made.extend(given)
    )
    monkeypatch.setattr(loop, "run_steps", lambda *_, **__: None)
    fine_tune(lowered, clips, tmp_path, steps=8, learning_rate=0.5)
    _, _, optimizer = made
    schedule = tf_keras.optimizers.schedules.deserialize(
        optimizer.get_config()["learning_rate"]
    )
    rates = [float(schedule(step)) for step in (0, 2, 4, 8)]
    assert rates == pytest.approx([0.5, 0.25 * (1 + 0.5**0.5), 0.25, 0.0])


def test_a_finished_run_is_not_trained_again(trained, lowered, clips):
    content, folder = trained
    assert fine_tune(lowered, clips, folder) == content


def test_an_interrupted_run_ends_as_one_that_was_not(
    trained, lowered, clips, tmp_path, monkeypatch
):
    saves = checkpoints.Checkpoints.save

    def killed(self, step):
        saves(self, step)
        if step == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fine_tuning.triggers, "usual", save_each_step)
        patch.setattr(checkpoints.Checkpoints, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            fine_tune(lowered, clips, tmp_path)
    assert fine_tune(lowered, clips, tmp_path) == trained[0]


def save_each_step(run, saver, **settings):
    del run, settings
    return [fine_tuning.triggers.SaveCheckpoint(saver, steps=1)]


def test_another_run_is_not_gone_on_with(trained, lowered, clips):
    with pytest.raises(ValueError, match="learning_rate=0.001 there"):
        fine_tune(lowered, clips, trained[1], learning_rate=1e-4)


def test_options_are_checked():
    with pytest.raises(ValueError, match="`steps` must be positive"):
        fine_tuning.FineTuningOptions(steps=0)


def test_learnt_ranges_are_those_of_the_file(model, lowered, clips):
    learnt = dict(quantization_aware._learnt_ranges(model))
    learnt["stage1_block1_relu"] = (0.0, 5.0)
    for layer in model.layers:
        if layer.name == "quant_stage1_block1_relu":
            quantization_aware._assign_range(layer, 0.0, 5.0)
    content = quantization_aware.convert(model, lowered, clips)
    noise = layer_noise.measure(lowered, content, clips[:1])
    assert "stage1_block1_relu" in {layer.layer for layer in noise}
    graph = audit.flatbuffer.read_graph(content)
    (scale,) = {
        tensor.scale
        for tensor in graph.tensors
        if tensor.name == "stage1_block1_relu"
    }
    assert scale == pytest.approx((5.0 / 255,))


def test_no_strided_pointwise_convolution_is_trained(model):
    # Its gradient writes behind its memory; see StridedPointwise.
    convolutions = [
        wrapper.layer
        for wrapper in model.layers
        if isinstance(getattr(wrapper, "layer", None), tf_keras.layers.Conv2D)
        and wrapper.layer.kernel_size == (1, 1)
        and wrapper.layer.strides != (1, 1)
    ]
    assert convolutions  # the shortcut's
    for layer in convolutions:
        assert type(layer) is quantization_aware.StridedPointwise


def test_a_strided_pointwise_convolution_takes_the_same_pixels():
    frames = np.random.default_rng(0).normal(size=(2, 5, 6, 3))
    frames = frames.astype(np.float32)
    plain = tf_keras.layers.Conv2D(4, 1, (2, 3))
    expected = plain(frames)
    ours = quantization_aware.StridedPointwise.from_config(plain.get_config())
    ours.build(frames.shape)
    ours.set_weights(plain.get_weights())
    np.testing.assert_allclose(ours(frames), expected, atol=1e-6)
