"""The lowered graph computes what the 3-D network computes."""

import collections
import dataclasses
import inspect

import numpy as np
import pytest

from autox3d_edge import (
    flatbuffer,
    float_lowering,
    interpreters,
    lowered_layers,
    lowering,
    manifest,
    quantize,
)
from autox3d_tf import space
from tests.edge import networks, reference


def check_equal(arch):
    values = networks.random_weights(arch)
    lowered = [
        lower(arch, values, softmax=False)
        for lower in (lowering.lower, float_lowering.lower_float)
    ]
    for clip in reference.random_clips(2, arch.clip_size):
        expected = reference.logits(arch, values, clip)
        for model in lowered:
            logits = model(clip.astype(np.float32)).numpy()
            assert logits.shape == (1, networks.CLASSES)
            np.testing.assert_allclose(
                logits[0], expected, atol=2e-5, rtol=2e-5
            )


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("block_type", space.BLOCK_TYPES)
def test_every_block_type_equals_the_definition(block_type, causal):
    check_equal(networks.small_arch(block_type=block_type, causal=causal))


@pytest.mark.parametrize("activation", space.ACTIVATIONS)
@pytest.mark.parametrize("attention", space.ATTENTIONS)
def test_every_activation_and_attention(activation, attention):
    check_equal(networks.small_arch(activation=activation, attention=attention))


def test_odd_sizes_and_fewer_frames_than_taps():
    # 2 frames under 5 taps: the outermost taps see padding only.
    check_equal(networks.small_arch(block_type="5x3x3", clip_size=(2, 15, 17)))


@pytest.mark.parametrize("stride", [3, 4])
@pytest.mark.parametrize("block_type", ["3x3x3", "3x5x5"])
def test_other_strides_than_two_equal_the_definition(block_type, stride):
    # After the stem 10 x 8: a stride of 3 takes all rows and leaves a column
    # over, one of 4 leaves over a row and more columns than are padded.
    arch = networks.small_arch(block_type=block_type, clip_size=(3, 10, 16))
    stem = dataclasses.replace(arch.stem, strides=(1, 1, 2))
    (block,) = arch.stages[-1]
    block = dataclasses.replace(block, strides=(1, stride, stride))
    check_equal(dataclasses.replace(arch, stem=stem, stages=((block,),)))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("block_type", ["3x3x3", "5x3x3", "separable"])
def test_frame_by_frame_equals_the_definition(monkeypatch, block_type, causal):
    # As where a clip's inner frames are larger than a processor's cache.
    monkeypatch.setattr(float_lowering, "_CACHE_BYTES", 0)
    check_equal(
        networks.small_arch(
            block_type=block_type, causal=causal, clip_size=(7, 17, 22)
        )
    )


def float_layers(arch):
    model = float_lowering.lower_float(arch, networks.random_weights(arch))
    return {layer.name for layer in model.layers}


@pytest.mark.parametrize("block_type", space.BLOCK_TYPES)
def test_frames_are_one_image_where_that_takes_fewer_convolutions(block_type):
    # One for each row of a kernel, of (t, w), where frames take one for each
    # frame of it; beyond 9 taps XNNPACK's kernels cost as much as of 25.
    layers = float_layers(
        networks.small_arch(block_type=block_type, clip_size=(3, 12, 12))
    )
    assert ("stage1_block1_image" in layers) == (block_type == "3x3x3")
    assert "stage2_block1_image" not in layers  # has a stride


def test_frames_are_taken_one_by_one_where_they_leave_the_cache(monkeypatch):
    arch = networks.small_arch(block_type="separable", clip_size=(2, 6, 10))
    # Before the stride 2 frames of 3 x 5, of 20 channels of 4 bytes.
    for cache, one_by_one in ((2400, False), (2399, True)):
        monkeypatch.setattr(float_lowering, "_CACHE_BYTES", cache)
        layers = float_layers(arch)
        assert ("stage2_block1_frame000" in layers) == one_by_one
        assert "stage1_block1_frame000" not in layers  # has no stride


def test_frames_are_joined_five_at_a_time(monkeypatch):
    monkeypatch.setattr(float_lowering, "_CACHE_BYTES", 0)
    arch = networks.small_arch(block_type="separable", clip_size=(6, 6, 10))
    model = float_lowering.lower_float(arch, networks.random_weights(arch))
    _, graph = kinds_of(model)
    joined = [
        len(operator.inputs)
        for operator in graph.operators
        if operator.code == "CONCATENATION"
    ]
    assert joined == [5, 2]  # the sixth is left as it is


def test_only_float_is_lowered_for_float():
    for precision in ("fp32", "fp16", "dynamic"):
        assert float_lowering.choose(precision) is float_lowering.lower_float
    for precision in quantize.INTEGERS:
        assert float_lowering.choose(precision) is lowering.lower


def kinds_of(model, precision="fp32"):
    graph = flatbuffer.read_graph(quantize.convert(model, precision))
    return collections.Counter(op.code for op in graph.operators), graph


def test_float_files_cut_and_pad_no_frames():
    arch = networks.small_arch(clip_size=(5, 18, 22))
    values = networks.random_weights(arch)
    before, _ = kinds_of(lowering.lower(arch, values))
    after, _ = kinds_of(float_lowering.lower_float(arch, values))
    # Two taps of each of three blocks; those of the strided block stay.
    assert before["STRIDED_SLICE"] == 6
    assert after["STRIDED_SLICE"] == 2
    # XNNPACK pads with zeros while it convolves, with others it does not.
    assert before["PADV2"] == after["PADV2"] == 0


@pytest.mark.parametrize("size", [(17, 22), (18, 21), (16, 16)])
def test_each_strided_tap_has_a_padding_of_its_own(size):
    # One that several take is a copy; TFLite makes one of several alike.
    arch = networks.small_arch(clip_size=(5, *size))
    model = lowering.lower(arch, networks.random_weights(arch))
    _, graph = kinds_of(model)
    pads = {op.outputs[0] for op in graph.operators if op.code == "PAD"}
    sources = collections.Counter(
        op.inputs[0]
        for op in graph.operators
        if op.code == "DEPTHWISE_CONV_2D" and op.inputs[0] in pads
    )
    # Of odd sizes one padding is that of "same", which the converter knows.
    assert len(sources) >= 2
    assert set(sources.values()) == {1}


@pytest.mark.parametrize(
    "layer",
    [
        lowered_layers.FixedReshape((1, 6, 4)),
        lowered_layers.PadFrames(((1, 0), (2, 3), (0, 4))),
        lowered_layers.SliceFrames(2, 3),
        lowered_layers.MaskRows(5, -1),
        lowered_layers.Shift(2.5),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_a_config_keeps_every_argument_of_a_layer(layer):
    again = type(layer).from_config(layer.get_config())
    arguments = set(inspect.signature(type(layer)).parameters) - {"kwargs"}
    for name in arguments:
        assert getattr(again, name) == getattr(layer, name), name


def test_no_tensor_has_more_than_four_dimensions():
    model = lowering.lower(
        networks.small_arch(), networks.random_weights(networks.small_arch())
    )
    for layer in model.layers:
        assert len(layer.output.shape) <= 4, layer.name


def test_softmax_is_the_default():
    arch = networks.small_arch()
    values = networks.random_weights(arch)
    clip = reference.random_clips(1, arch.clip_size)[0]
    scores = lowering.lower(arch, values)(clip.astype(np.float32)).numpy()[0]
    np.testing.assert_allclose(
        scores, reference.probabilities(arch, values, clip), atol=1e-5
    )


def test_weights_that_do_not_fit_are_named():
    arch = networks.small_arch()
    values = networks.random_weights(arch)

    def lower(**changed):
        return lowering.lower(arch, {**values, **changed})

    with pytest.raises(ValueError, match="'head/conv_kernel' must have shape"):
        lower(**{"head/conv_kernel": np.zeros((3, 3))})
    broken = values["stem/norm_beta"].copy()
    broken[:2] = np.nan, np.inf
    with pytest.raises(ValueError, match="'stem/norm_beta' with 2 NaN"):
        lower(**{"stem/norm_beta": broken})
    below = -values["stem/norm_variance"]
    with pytest.raises(ValueError, match="'stem/norm_variance' must be at"):
        lower(**{"stem/norm_variance": below})
    with pytest.raises(ValueError, match="1 not of this network.*'other'"):
        lower(other=np.zeros(3))
    with pytest.raises(ValueError, match="missing, first"):
        lowering.lower(
            dataclasses.replace(arch, stages=arch.stages * 2), values
        )


def test_int8_means_are_not_shifted_without_delegates(exported):
    # As on a Raspberry Pi with tflite-runtime 2.14. Steps of each mean, off
    # the mean of its input, that rounding to the next does not explain.
    model, _ = manifest.read_model(exported.path)
    run = interpreters.ClipRunner(model, keep_tensors=True)
    graph = flatbuffer.read_graph(model)
    means = [op for op in graph.operators if op.code == "MEAN"]
    assert len(means) == len(list(exported.arch.blocks())) + 1
    for op in means:
        source, result = op.inputs[0], op.outputs[0]
        (scale,) = graph.tensors[result].scale
        (zero_point,) = graph.tensors[result].zero_point
        errors = []
        for clip in exported.clips:
            run(clip)
            frames = run.tensor(source)
            exact = frames.reshape(-1, frames.shape[-1]).mean(0) / scale
            exact = exact.clip(-128 - zero_point, 127 - zero_point)
            errors.append(run.tensor(result).ravel() / scale - exact)
        assert abs(np.mean(errors)) < 0.15
        assert np.abs(errors).max() < 1.0
