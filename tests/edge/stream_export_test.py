"""From a trained causal network to a file that is fed frame by frame."""

import dataclasses
import types

import numpy as np
import pytest

from autox3d_edge import (
    Preprocessing,
    Recognizer,
    benchmark,
    quantize,
    remedies,
    sources,
    stream_export,
    streaming,
)
from autox3d_edge import manifest as manifest_lib
from autox3d_tf import models, space
from autox3d_tf.data import options as data_options
from tests.edge import networks, reference


@pytest.fixture(scope="module")
def trained():
    arch = networks.small_arch("separable", causal=True, clip_size=(4, 12, 12))
    model = models.build_model(arch, num_classes=networks.CLASSES)
    models.assign_weights(model, networks.random_weights(arch))
    return model


@pytest.fixture(scope="module")
def exported_stream(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("streams") / "model_fp32_stream.tflite"
    clips = reference.random_clips(5, trained.arch.clip_size)
    report = stream_export.export_stream(
        trained,
        trained.arch,
        path,
        precision="fp32",
        parity_clips=clips,
        stride=3,
        fps=10.0,
    )
    return types.SimpleNamespace(path=path, report=report, clips=clips)


def test_frame_by_frame_equals_the_trained_clip_network(exported_stream):
    report = exported_stream.report
    assert report["audit"]["passed"]
    assert report["parity"]["reference"] == "keras"
    assert report["parity"]["tflite"]["max_error"] < 1e-4
    assert report["parity"]["tflite"]["top1_agreement"] == 1.0
    assert report["manifest_bytes"] < manifest_lib.MAX_BYTES


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"labels": ["a"]}, "the 7 classes of the model. Received: 1 labels"),
        (
            {"parity_clips": [np.zeros((4, 12, 12, 3))]},
            "`parity_clips` .*clip 0 is float64",
        ),
        (
            {"preprocessing": Preprocessing(
                clip_frames=9, short_side=12, crop_size=12
            )},
            r"makes \(9, 12, 12\)",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_before_conversion(
    trained, tmp_path, monkeypatch, wrong, message
):
    monkeypatch.setattr(stream_export.stream_lowering, "lower_stream", None)
    with pytest.raises(ValueError, match=message):
        stream_export.Exporter(trained, trained.arch).export(
            tmp_path / "model.tflite", "fp32", **wrong
        )


def test_int8_is_close_to_the_trained_clip_network(trained, tmp_path):
    path = tmp_path / "model_int8_stream.tflite"
    clips = reference.random_clips(5, trained.arch.clip_size)
    exporter = stream_export.Exporter(trained, trained.arch, clips)
    report, native = (
        exporter.export(tmp_path / f"model_{name}_stream.tflite", name)
        for name in ("int8", "int8_native")
    )
    assert report["audit"]["passed"]
    found = report["parity"]["tflite"]
    assert found["max_error"] < 0.1 and found["top1_agreement"] == 1.0
    assert native["precision"] == report["precision"] == "int8"
    assert native["parity"]["tflite"] == found
    stream = manifest_lib.read_manifest(native["path"]).stream
    assert {state.dtype for state in stream.states} == {"int8", "int32"}
    path.unlink()
    with pytest.raises(ValueError, match="must hold uint8 clips for int8"):
        stream_export.export_stream(trained, trained.arch, path)
    assert not path.exists()


def test_int8_of_a_stem_that_looks_at_one_frame(tmp_path):
    """The converter puts operators in another order there."""
    arch = dataclasses.replace(
        networks.small_arch(causal=True, clip_size=(4, 16, 16)),
        stem=space.StemSpec(filters=6, temporal_kernel=1),
    )
    clips = reference.random_clips(8, arch.clip_size)
    report = stream_export.export_stream(
        networks.random_weights(arch),
        arch,
        tmp_path / "model.tflite",
        calibration=clips,
    )
    assert report["audit"]["passed"]
    assert report["parity"]["tflite"]["max_error"] < 0.1
    assert report["recipe"] == "int8, equalized, clipped"


def test_other_precisions_are_close_to_it_too(
    trained, exported_stream, tmp_path
):
    exporter = stream_export.Exporter(trained, trained.arch)
    for precision in ("fp16", "dynamic"):
        report = exporter.export(
            tmp_path / f"model_{precision}_stream.tflite",
            precision,
            parity_clips=exported_stream.clips,
        )
        assert report["audit"]["passed"]
        assert report["parity"]["tflite"]["max_error"] < 2e-3


def test_the_file_says_that_it_is_a_stream(exported_stream):
    stream = manifest_lib.read_manifest(exported_stream.path).stream
    assert (stream.stride, stream.fps, stream.memory) == (3, 10.0, 4)
    # Kernels of the stem and of three blocks, their squeeze-excites, the head
    # and the count.
    assert len(stream.states) == 4 + 3 + 1 + 1
    assert all(state.initial == 0 for state in stream.states)


def test_a_stream_is_timed_by_the_frame(exported_stream, monkeypatch):
    invoke, runs = streaming.StreamRunner.invoke, []

    def count(self):  # which moves the states, too
        runs.append(self)
        invoke(self)

    monkeypatch.setattr(streaming.StreamRunner, "invoke", count)
    (timing,) = benchmark.benchmark_files(
        {"stream": exported_stream.path}, threads=(1,), repeats=3
    )
    assert timing.name == "stream, 1 thread" and timing.median > 0
    assert len(runs) == 2 + 3  # two to warm up


def test_drift_is_said_of_each_stream_beside_a_float_one(exported_stream):
    paths = {
        "fp32_stream": exported_stream.path,
        "fp16_stream": exported_stream.path,
        "int8": exported_stream.path,
    }
    found = stream_export.drifts(paths, list(exported_stream.clips))
    assert set(found) == {"fp16_stream"}  # here the same file again
    assert found["fp16_stream"]["end_error"] == 0.0
    (text,) = stream_export.format_drifts(found)
    assert "fp16_stream against fp32_stream" in text
    assert "0.0000 (100.0%) of the same frames up to frame 2,000" in text
    assert stream_export.drifts({"int8": "x"}, [1]) == {}


def test_drift_is_that_of_each_stream_from_the_float_one(monkeypatch):
    def read_model(path):
        return path, types.SimpleNamespace(stream=f"states of {path}")

    monkeypatch.setattr(stream_export.manifest_lib, "read_model", read_model)
    monkeypatch.setattr(
        stream_export.streaming, "StreamRunner", lambda *found: found
    )
    monkeypatch.setattr(stream_export.streaming, "drift", lambda *found: found)
    paths = {"int8_stream": "b", "fp32_stream": "a", "int8": "c"}
    clips = [np.full((400, 1, 1, 3), n, np.uint8) for n in range(5)]
    ((exact, other, video),) = stream_export.drifts(paths, clips).values()
    assert (exact, other) == (("a", "states of a"), ("b", "states of b"))
    # A thousand frames take three of them; the video is shown twice.
    assert video[:, 0, 0, 0].tolist() == 400 * [0] + 400 * [1] + 400 * [2]


def test_only_int8_streams_are_equalized(trained, monkeypatch):
    lowered = []
    monkeypatch.setattr(
        stream_export.stream_lowering,
        "lower_stream",
        lambda arch, weights: lowered.append(weights),
    )
    clips = reference.random_clips(3, trained.arch.clip_size)
    exporter = stream_export.Exporter(trained, trained.arch, clips)
    assert exporter._int8 and exporter._float
    weights = models.weight_values(trained)
    wanted = remedies.equalize(
        trained.arch, weights, quantize.check_calibration(clips, clips[0].shape)
    )
    for found, expected in zip(lowered, (wanted, weights), strict=True):
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value, name)
    key = "stage1_block1/expand_norm_gamma"
    assert (wanted[key] > weights[key]).any()


def test_the_recognizer_takes_the_pace_of_the_file(exported_stream):
    recognizer = Recognizer(exported_stream.path)
    assert recognizer.hop == 3
    # 10 frames of a second are looked at.
    assert Recognizer(exported_stream.path, fps=20.0).hop == 2
    assert recognizer.clip_shape == exported_stream.clips[0].shape


def test_what_cannot_stream_is_refused(trained, tmp_path):
    whole = manifest_lib.Preprocessing(
        clip_frames=4, short_side=12, crop_size=12, standardize=True
    )
    path = tmp_path / "model.tflite"
    with pytest.raises(ValueError, match="'frame' or False for a stream"):
        stream_export.export_stream(
            trained, trained.arch, path, preprocessing=whole
        )
    assert not path.exists()


def test_pace_is_the_median_of_the_training_videos():
    rows = [
        types.SimpleNamespace(frames=frames, fps=fps)
        for frames, fps in ((40, 10.0), (80, 30.0), (96, 30.0))
    ]
    segments = data_options.DataOptions(source="x", clip_frames=16)
    # Strides 2.5, 5, 6 and rates 4, 6, 5 frames per second.
    assert sources.pace(rows, segments) == {"stride": 5, "fps": 5.0}
    dense = data_options.DataOptions(source="x", sampling="dense", stride=3)
    assert sources.pace(rows, dense) == {"stride": 3, "fps": 10.0}
    silent = [types.SimpleNamespace(frames=4, fps=0.0)]
    assert sources.pace(silent, segments)["fps"] == 0.0
    assert np.isfinite(sources.pace(silent, segments)["stride"])
