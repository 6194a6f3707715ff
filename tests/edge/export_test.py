"""End to end: weights -> int8 file that passes its audit and is right."""

import dataclasses
import json
import os
import types

import numpy as np
import pytest

from autox3d_edge import (
    Preprocessing,
    export,
    interpreters,
    op_support,
    quantize,
    recipes,
)
from autox3d_edge import manifest as manifest_lib
from autox3d_tf import space
from autox3d_tf.base import files as files_lib
from tests.edge import networks, reference


def test_int8_file_says_what_the_definition_says(exported):
    model, _ = manifest_lib.read_model(exported.path)
    run = interpreters.ClipRunner(model)
    for clip in exported.clips[8:]:
        expected = reference.probabilities(
            exported.arch, exported.weights, clip
        )
        # Random weights are harsher than trained ones; a wrong lowering is
        # off by more than 0.5 on most of these clips.
        np.testing.assert_allclose(run(clip), expected, atol=0.12)


def test_report_stands_beside_the_file(exported):
    stored = json.loads(
        exported.path.with_name("small.tflite.report.json").read_text()
    )
    assert stored == exported.report
    assert stored["audit"]["passed"] and not stored["audit"]["findings"]
    assert stored["bytes"] == exported.path.stat().st_size
    assert stored["sha256"] == files_lib.file_sha256(exported.path)
    assert stored["parity"]["tflite"]["top1_agreement"] >= 0.75
    assert stored["parity"]["clips"] == 8
    assert stored["manifest_bytes"] < manifest_lib.MAX_BYTES


@pytest.mark.parametrize(
    "precision, tolerance", [("fp32", 1e-5), ("fp16", 5e-3), ("dynamic", 0.1)]
)
def test_float_precisions(tmp_path, exported, precision, tolerance):
    path = tmp_path / "model.tflite"
    report = export.export_model(
        exported.weights,
        exported.arch,
        path,
        precision=precision,
        parity_clips=exported.clips[:4],
    )
    assert report["audit"]["passed"]
    assert report["parity"]["tflite"]["max_error"] <= tolerance


def test_a_file_of_another_network_is_refused(tmp_path, exported):
    path = tmp_path / "model.tflite"
    model, _ = manifest_lib.read_model(exported.path)
    surely = np.eye(networks.CLASSES, dtype=np.float32)
    right = interpreters.ClipRunner(model)

    def another(clip):
        return surely[(right(clip).argmax() + 1) % networks.CLASSES]

    def write(precision, content, scorer):
        return export.write_model(
            content,
            path,
            arch=exported.arch,
            precision=precision,
            references={"lowered": scorer},
            parity_clips=exported.clips[:4],
        )

    with pytest.raises(ValueError, match="parity: tflite: has the label of "):
        write("int8", model, another)
    fp32 = quantize.convert(exported.lowered, "fp32")
    near = interpreters.ClipRunner(fp32)
    with pytest.raises(ValueError, match="parity: tflite: is up to 0.002 off"):
        write("fp32", fp32, lambda clip: near(clip) + np.float32(0.002))
    assert not path.exists()
    refused = path.with_name("model.tflite.refused.json")
    report = json.loads(refused.read_text())
    assert not report["audit"]["passed"] and "parity" in report
    assert write("fp32", fp32, near)["audit"]["passed"]
    assert path.exists() and not refused.exists()
    with pytest.raises(ValueError, match="parity: tflite: is up to 0.002 off"):
        write("fp32", fp32, lambda clip: near(clip) + np.float32(0.002))
    kept = json.loads(path.with_name("model.tflite.report.json").read_text())
    assert path.exists() and kept["audit"]["passed"] and refused.exists()


def test_a_report_that_is_not_of_its_file_can_be_told(
    tmp_path, exported, monkeypatch
):
    path = tmp_path / "model.tflite"

    def write(run):
        return export.export_model(
            exported.weights, exported.arch, path, precision="fp32",
            provenance={"run": run},
        )  # fmt: skip

    first = write("first")

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(files_lib, "write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        write("second")
    report = json.loads(path.with_name("model.tflite.report.json").read_text())
    assert report == first
    assert manifest_lib.read_manifest(path).provenance["run"] == "second"
    assert report["sha256"] != files_lib.file_sha256(path)


@pytest.mark.parametrize("precision", ["fp16", "dynamic", "int8", "int16x8"])
def test_a_file_of_a_network_that_is_never_sure_is_known_from_others(
    tmp_path, exported, precision
):
    weights = dict(exported.weights)
    weights["head/logits_kernel"] = 0.3 * weights["head/logits_kernel"]
    other = networks.random_weights(exported.arch, seed=5)
    silent = {**weights, "head/logits_kernel": 0 * other["head/logits_kernel"]}
    right, *wrong = (
        export.make_converter(values, exported.arch, exported.clips[:8])
        for values in (weights, other, silent)
    )

    def write(converter):
        return export.write_model(
            converter.convert_whole(precision),
            tmp_path / "model.tflite",
            arch=exported.arch,
            precision=precision,
            references=export.references_of(weights, right.lowered()),
            parity_clips=exported.clips,
        )

    assert write(right)["parity"]["tflite"]["relative_error"] < 0.1
    for converter in wrong:
        with pytest.raises(ValueError, match="parity: tflite: "):
            write(converter)


def test_a_file_holds_its_own_accuracy(tmp_path, exported):
    path = tmp_path / "model.tflite"
    report = export.export_model(
        exported.weights,
        exported.arch,
        path,
        precision="fp32",
        accuracy={"trained": None},
        test=lambda run, content: {
            "label": int(run(exported.clips[0]).argmax()),
            "bytes": len(content),
        },
    )
    assert report["test"]["label"] in range(networks.CLASSES)
    assert 0 < report["test"]["bytes"] < report["bytes"]
    manifest = manifest_lib.read_manifest(path)
    assert manifest.accuracy == {"trained": None, "test": report["test"]}


@pytest.mark.parametrize("precision", ["dynamic", "int8"])
def test_a_wide_head_stays_within_the_runtime(tmp_path, precision):
    """Matrices of over 1,024 weights are quantized in dynamic range too."""
    head = space.HeadSpec(filters=48, features=64)
    arch = dataclasses.replace(
        networks.small_arch(clip_size=(4, 16, 16)), head=head
    )
    clips = reference.random_clips(4, arch.clip_size)
    report = export.export_model(
        networks.random_weights(arch),
        arch,
        tmp_path / "wide.tflite",
        precision=precision,
        calibration=clips,
    )
    assert report["audit"]["passed"], report["audit"]["findings"]


def test_causal_network_is_int8_too(tmp_path):
    arch = networks.small_arch(causal=True, clip_size=(4, 16, 16))
    weights = networks.random_weights(arch)
    clips = reference.random_clips(6, arch.clip_size)
    path = tmp_path / "causal.tflite"
    report = export.export_model(weights, arch, path, calibration=clips)
    assert report["audit"]["passed"]
    assert report["parity"]["tflite"]["max_error"] < 0.15


def test_equalized_export_is_as_right(tmp_path, exported):
    report = export.export_model(
        exported.weights,
        exported.arch,
        tmp_path / "equalized.tflite",
        calibration=exported.clips[:8],
        parity_clips=exported.clips[8:],
        recipe=recipes.Recipe(equalize=True),
    )
    assert report["recipe"] == "int8, equalized"
    assert exported.report["recipe"] == "int8"
    plain = exported.report["parity"]["tflite"]["mean_error"]
    assert report["parity"]["tflite"]["mean_error"] < 1.5 * plain


def test_a_failed_audit_leaves_no_model(tmp_path, exported, monkeypatch):
    monkeypatch.setitem(
        op_support.RUNTIMES, "stone age", {"CONV_2D": 1, "ADD": 1}
    )
    path = tmp_path / "model.tflite"
    with pytest.raises(ValueError, match="needs .* version .*; stone age has"):
        export.export_model(
            exported.weights,
            exported.arch,
            path,
            calibration=exported.clips[:2],
            runtime="stone age",
        )
    assert [p.name for p in tmp_path.iterdir()] == ["model.tflite.refused.json"]


def test_clips_that_are_not_square_are_refused_before_conversion(
    tmp_path, exported
):
    for clip_size in ((4, 16, 24), (4, 24, 16)):
        arch = networks.small_arch(clip_size=clip_size)
        wide = types.SimpleNamespace(**{**vars(exported), "arch": arch})
        with pytest.raises(ValueError, match="as wide as .*'small' with clip_"):
            export_unconverted(wide, tmp_path)


@pytest.mark.parametrize(("stride", "sampling"), [(1, "segment"), (5, "dense")])
def test_frames_that_are_apart_are_sampled_densely(stride, sampling):
    arch = networks.small_arch(clip_size=(4, 24, 24))
    arch = dataclasses.replace(arch, frame_stride=stride)
    found = export.default_preprocessing(arch)
    assert found == Preprocessing(
        clip_frames=4,
        sampling=sampling,
        stride=stride,
        short_side=24,
        crop_size=24,
    )


def test_labels_are_those_of_a_keras_model_or_of_its_weights(exported):
    model = types.SimpleNamespace(output_shape=(None, networks.CLASSES))
    names = [f"gesture {i}" for i in range(networks.CLASSES)]
    for network in (model, exported.weights):
        for labels in (None, names):
            about = export.About(labels=labels)
            export.check_unconverted(network, exported.arch, about, None)
        about = export.About(labels=names[1:])
        with pytest.raises(ValueError, match="7 classes .* Received: 6 labels"):
            export.check_unconverted(network, exported.arch, about, None)


def test_calibration_is_checked():
    shape = (4, 24, 24, 3)
    clips = reference.random_clips(2, shape[:3])
    check = quantize.check_calibration
    with pytest.raises(ValueError, match="must hold uint8 clips"):
        check(None, shape)
    with pytest.raises(ValueError, match="clip 0 is float32"):
        check(clips.astype(np.float32), shape)
    with pytest.raises(ValueError, match=r"clip 0 is uint8 \(3, 24, 24, 3\)"):
        check(clips[:, :3], shape)
    with pytest.raises(ValueError, match="2 clips in which every frame"):
        check(np.full((2, *shape), 7, np.uint8), shape)
    flat = np.zeros((2, *shape), np.uint8)
    flat[0, 1], flat[1, 2] = 100, (1, 2, 3)
    with pytest.raises(ValueError, match="2 clips .* of a single colour, such"):
        check(flat, shape)
    flat[1, 2, 5, 6, 2] = 4
    assert len(check(flat, shape)) == 2


def test_one_clip_that_moves_or_stills_that_differ_are_calibrated_on():
    shape = (2, 4, 4, 3)
    moving, stills = np.zeros((1, *shape)), np.zeros((2, *shape))
    moving[0, 1, 2] = stills[1, :, 2] = 9
    for clips in (moving, stills):
        found = quantize.check_calibration(clips.astype(np.uint8), shape)
        assert len(found) == len(clips)


def test_all_clips_show_ranges_and_some_of_them_what_lies_inside(monkeypatch):
    def watch(model, samples):
        return types.SimpleNamespace(seen=list(samples()))

    monkeypatch.setattr(quantize.ranges, "Watch", watch)
    monkeypatch.setattr(
        quantize, "calibrate_on", lambda model, samples: list(samples())
    )
    monkeypatch.setattr(quantize.ranges, "set_ranges", lambda *found: found)
    model = types.SimpleNamespace(input_shape=(1, 2, 2, 3))
    clips = [np.full((1, 2, 2, 3), 10 + n, np.uint8) for n in range(20)]
    for clip in clips:
        clip[0, 1, 0] = 200
    inside, seen = quantize.calibrate(model, clips)
    assert (len(inside), len(seen)) == (16, 20)
    for samples in (inside, seen):
        for number, (clip,) in enumerate(samples):
            assert clip.dtype == np.float32
            assert clip[0, 0, 1, 0] == 10 + number
        (first,) = samples[0]
        assert (first.min(), first.max()) == (0, 255)


def test_what_a_converter_writes_is_shown_if_it_fails(capfd):
    def convert():
        os.write(2, b"of no use")
        return b"done"

    def fail():
        os.write(2, b"the reason")
        raise RuntimeError("failed")

    def free():
        """The numbers that the next files would get."""
        numbers = [os.dup(2) for _ in range(5)]
        for number in numbers:
            os.close(number)
        return numbers

    before = free()
    assert quantize.run_quietly(convert) == b"done"
    assert capfd.readouterr().err == ""
    with pytest.raises(RuntimeError, match="failed"):
        quantize.run_quietly(fail)
    assert capfd.readouterr().err == "the reason"
    os.write(2, b"later")
    assert capfd.readouterr().err == "later"
    assert free() == before


def test_calibration_always_spans_the_range():
    grey = np.full((2, 4, 24, 24, 3), 100, np.uint8)
    grey[1, 2, 3] = 120
    clips = quantize.check_calibration(grey, (4, 24, 24, 3))
    assert min(c.min() for c in clips) == 0
    assert max(c.max() for c in clips) == 255
    assert grey.min() == 100  # the caller's clips are left alone


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"parity_clips": [np.zeros((4, 20, 24, 3), np.uint8)]},
         r"`parity_clips` .* clip 0 is uint8 \(4, 20, 24, 3\)"),
        ({"precision": "mixed", "kept": {"stem": "fp64"}},
         "`kept.stem` must be one of int16x8, fp32"),
        ({"recipe": recipes.Recipe(kept={"stem": "fp32"})},
         "none for 'int8'. Received: precision='int8', .*'stem'"),
        ({"precision": "mixed"}, "wider for 'mixed', .* precision='mixed'"),
        ({"precision": "fp16", "kept": {"stem": "fp32"}},
         "left out but for .* precision='fp16', .*kept={'stem': 'fp32'}"),
        ({"precision": "int16x8", "recipe": recipes.Recipe(equalize=True)},
         "left out but for .* precision='int16x8', .*equalize=True"),
        ({"precision": "mixed", "kept": {"tail": "fp32"}},
         "`kept` must name parts of stem, .* Received: 'tail'"),
        ({"labels": ["a", "b"]}, "the 7 classes .* Received: 2 labels"),
        ({"preprocessing": Preprocessing(
            clip_frames=9, short_side=24, crop_size=24)},
         r"makes \(9, 24, 24\)"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_before_conversion(
    exported, tmp_path, wrong, message
):
    with pytest.raises(ValueError, match=message):
        export_unconverted(exported, tmp_path, **wrong)


def test_a_file_is_compared_on_clips_of_its_own_or_of_calibration(
    exported, tmp_path, monkeypatch
):
    compared = []
    monkeypatch.setattr(
        export, "write_model", lambda *_, **how: compared.append(how)
    )
    whole = types.SimpleNamespace(convert_whole=lambda precision: b"")
    own, calibration = [exported.clips[0]], [exported.clips[1]]
    for clips in (own, None):
        export.export_model(
            exported.weights, exported.arch, tmp_path / "model.tflite",
            precision="fp32", calibration=calibration, parity_clips=clips,
            converter=whole, references={"keras": None},
        )  # fmt: skip
    assert [how["parity_clips"] for how in compared] == [own, calibration]


def test_a_misspelt_field_is_refused_before_conversion(exported, tmp_path):
    with pytest.raises(TypeError, match="'label'"):
        export_unconverted(exported, tmp_path, label=["a"])


def export_unconverted(exported, folder, **arguments):
    """An export that fails as soon as it converts."""

    class Closed(recipes.NetworkConverter):
        def _once(self, key, make):
            raise AssertionError(key)

    converter = Closed(exported.arch, exported.weights, exported.clips)
    export.export_model(
        exported.weights,
        exported.arch,
        folder / "model.tflite",
        converter=converter,
        **arguments,
    )


def test_clips_of_another_shape_are_refused_unread(exported, tmp_path):
    with pytest.raises(ValueError, match="`parity_clips` clips must be uint8"):
        export.write_model(
            b"", tmp_path / "model.tflite", arch=exported.arch,
            precision="int8", references={},
            parity_clips=exported.clips[:2].astype(np.float32),
        )  # fmt: skip


def test_unknown_precision_lists_the_known(exported):
    with pytest.raises(ValueError, match="fp32, fp16, .*'int4'"):
        quantize.convert(exported.lowered, "int4")
