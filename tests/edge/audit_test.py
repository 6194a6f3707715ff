"""The audit refuses what facts say goes wrong, and names the tensor."""

import dataclasses
import itertools
import re
import types

import flatbuffers
import numpy as np
import pytest
import tensorflow as tf

from autox3d_edge import (
    audit,
    compact,
    flatbuffer,
    graph_check,
    interpreters,
    lowering,
    mixed,
    op_support,
    quantize,
    recipes,
    step_sizes,
)
from autox3d_edge import manifest as manifest_lib
from tests.edge import networks, reference

SQUEEZE = "stage1_block1_se_reduce_relu"


def convert(function, shape, configure=None):
    spec = tf.TensorSpec(shape, tf.float32, name="clip")
    concrete = tf.function(function).get_concrete_function(spec)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])

    def samples():
        rng = np.random.default_rng(0)
        for _ in range(2):
            yield [rng.uniform(0, 255, shape).astype(np.float32)]

    if configure:
        configure(converter)
        converter.representative_dataset = samples
    return converter.convert()


def rules(report):
    return {finding.rule for finding in report.findings}


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_runtime_with_other_scores_is_named(monkeypatch, precision):
    scores = {"first": np.float32([1, 0]), "other": np.float32([0, 1])}

    def make_runner(model, stream, runtime):
        def run(clip):
            assert clip.shape == run.clip_shape
            return scores[runtime]

        run.clip_shape = (2, 4, 4, 3)
        return run

    monkeypatch.setattr(interpreters, "available", lambda: ["first", "other"])
    monkeypatch.setattr(interpreters, "describe", str)
    monkeypatch.setattr(audit.streaming, "make_runner", make_runner)
    ran, findings = audit._run(b"", precision, None)
    assert ran == ["first"]
    (finding,) = findings
    assert finding.where == "other" and "up to 1 off another" in str(finding)


def test_scores_that_are_no_numbers_are_refused(monkeypatch):
    def make_runner(model, stream, runtime):
        def run(clip):
            return np.float32([np.nan, 1])

        run.clip_shape = (2, 4, 4, 3)
        return run

    monkeypatch.setattr(interpreters, "available", lambda: ["only"])
    monkeypatch.setattr(audit.streaming, "make_runner", make_runner)
    ran, findings = audit._run(b"", "fp32", None)
    assert (ran, [*map(str, findings)]) == (
        [],
        ["runs: only: scores are not finite"],
    )


def test_a_large_mask_in_float_is_no_kernel():
    """Of X3D-L's frames and height, where images are one below the other."""
    arch = networks.small_arch(clip_size=(40, 54, 20))
    content = recipes.NetworkConverter(
        arch, networks.random_weights(arch), None
    ).convert_whole("dynamic")
    rows = 40 * 54 // 2  # behind the stem
    tensors = flatbuffer.read_graph(content).tensors
    assert (1, rows, 1, 1) in {t.shape for t in tensors if t.constant}
    report = audit.audit_model(content, "dynamic")
    assert report.passed, report.findings


def test_a_clean_file_passes_and_was_run(exported):
    report = audit.audit_file(exported.path)
    assert report.passed
    report.check()
    assert any(name.startswith("ai-edge-litert") for name in report.loaded_in)


@pytest.mark.parametrize(
    "kept, message",
    [
        ({"stem": "x"}, "`kept.stem` must be one of int16x8, fp32"),
        ({"stem": []}, "`kept.stem` must be one of int16x8, fp32"),
        (["stem"], "`kept` must map parts to precisions"),
    ],
)
def test_what_a_file_says_it_keeps_is_looked_at(exported, kept, message):
    model, manifest = manifest_lib.read_model(exported.path)
    manifest = dataclasses.replace(manifest, provenance={"kept": kept})
    with pytest.raises(ValueError, match=message):
        audit.audit_file(manifest_lib.pack(model, manifest))


def test_a_runtime_that_does_not_work_here_says_nothing_of_the_model(
    exported, monkeypatch
):
    real = interpreters.load_class
    broken = interpreters.available()[0]

    def make(name):
        def other_numpy(**arguments):
            raise SystemError("returned a result with an exception set")

        return other_numpy if name == broken else real(name)

    monkeypatch.setattr(interpreters, "load_class", make)
    report = audit.audit_file(exported.path)
    assert report.passed and report.loaded_in
    assert not any(name.startswith(broken) for name in report.loaded_in)
    monkeypatch.setattr(interpreters, "available", lambda: [broken])
    report = audit.audit_file(exported.path)
    assert rules(report) == {"runs"} and not report.loaded_in
    with pytest.raises(ValueError, match=f"{broken} .* does not work with num"):
        report.check()


def test_conv3d_is_refused_in_float_and_in_silently_float_int8():
    kernel = np.ones((3, 3, 3, 3, 4), np.float32)

    def network(clip):
        return tf.nn.conv3d(clip, kernel, (1, 1, 1, 1, 1), "SAME")

    shape = (1, 4, 8, 8, 3)
    report = audit.audit_model(convert(network, shape), "fp32")
    assert {"no-3d", "4-d"} <= rules(report)
    assert not report.loaded_in
    quantized = convert(network, shape, quantize._set_int8)
    report = audit.audit_model(quantized, "int8")
    assert {"no-3d", "no-float"} <= rules(report)
    with pytest.raises(ValueError, match="fails its audit .*no-3d: "):
        report.check()


def test_flex_operators_are_refused():
    def network(clip):
        return tf.nn.max_pool3d(clip, 2, 2, "VALID")

    def flex(converter):
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.TFLITE_BUILTINS,
            tf.lite.OpsSet.SELECT_TF_OPS,
        ]

    report = audit.audit_model(convert(network, (1, 4, 8, 8, 3), flex), "fp32")
    assert "Flex operator FlexMaxPool3D" in str(report.findings[0])


def test_a_float_model_called_int8_is_refused(exported):
    content = quantize.convert(exported.lowered, "fp32")
    report = audit.audit_model(content, "int8")
    assert rules(report) == {"no-float", "border"}
    named = {finding.where for finding in report.findings}
    assert any("stage1_block1_expand" in name for name in named)


def test_borders_of_another_scale_or_zero_point_are_refused(exported):
    model, _ = manifest_lib.read_model(exported.path)
    for end, scale, zero in (
        ("outputs", 1 / 128, 0),
        ("outputs", 1 / 256, 115),
        ("inputs", 0.5, 115),
        ("inputs", 1.0, 114),
    ):
        content = flatbuffer.unpack(model)
        (number,) = getattr(content.subgraphs[0], end)
        steps = content.subgraphs[0].tensors[number].quantization
        steps.scale = np.array([scale], np.float32)
        steps.zeroPoint = np.array([zero])
        (finding,) = audit.audit_model(compact.pack(content), "int8").findings
        assert finding.rule == "border"
        assert f"is the {end[:-1]} and must be UINT8" in finding.message


@pytest.mark.parametrize(
    ("made", "called", "found"),
    [
        ("fp32", "fp16", {"no-float"}),
        ("fp32", "dynamic", {"no-float"}),
        ("fp32", "int16x8", {"no-float"}),
        ("int8", "fp32", {"type"}),
        ("int8", "int16x8", {"type"}),
        ("int16x8", "fp32", {"type"}),
        ("int16x8", "dynamic", {"type"}),
    ],
)
def test_a_model_of_another_precision_is_refused(
    by_precision, monkeypatch, made, called, found
):
    # Small kernels stay in float; this network has no others.
    monkeypatch.setitem(audit._NARROW_FROM, "dynamic", 100)
    assert audit.audit_model(by_precision[made], made).passed
    report = audit.audit_model(by_precision[made], called)
    assert rules(report) == found


def test_unknown_precision_lists_the_known():
    with pytest.raises(ValueError, match="fp16, dynamic, .*'int4'"):
        audit.audit_model(b"", "int4")


def test_newer_operators_than_the_runtime_are_refused(exported, monkeypatch):
    old = {**op_support.RUNTIMES[audit.DEFAULT_RUNTIME], "FULLY_CONNECTED": 1}
    monkeypatch.setitem(op_support.RUNTIMES, "old", old)
    model, _ = manifest_lib.read_model(exported.path)
    report = audit.audit_model(model, "int8", "old")
    assert rules(report) == {"op-version"}
    assert len(report.findings) == 2  # the two matrix products of the head
    assert "head_hidden" in report.findings[0].where


def test_operators_that_the_runtime_does_not_know_are_refused():
    model = convert(lambda clip: tf.cumsum(clip, 1), (1, 8, 8, 3))
    (finding,) = audit.audit_model(model, "fp32").findings
    assert finding.rule == "op-version"
    assert "needs CUMSUM version 1; tflite-runtime 2.14 has up to 0" in (
        finding.message
    )


def test_graphs_that_branch_are_refused():
    def network(clip):
        return tf.cond(clip[0, 0] > 0, lambda: clip + 1, lambda: clip * 2)

    report = audit.audit_model(convert(network, (1, 3)), "fp32")
    assert "control-flow: graph: has 3 subgraphs, must have 1" in [
        *map(str, report.findings)
    ]
    assert not report.loaded_in


def graph_of(code, dtype, *scales, versions=(1,)):
    """Operators with the scales of their inputs and, last, their output."""
    tensors = tuple(
        flatbuffer.TensorInfo(
            index=number,
            name=f"tensor {number}",
            shape=(1, 2),
            dtype=dtype,
            scale=scale,
            zero_point=(0,) * len(scale),
            constant=False,
        )
        for number, scale in enumerate(scales)
    )
    *inputs, output = range(len(scales))
    operators = tuple(
        flatbuffer.OperatorInfo(
            code=code,
            version=version,
            custom=False,
            inputs=tuple(inputs),
            outputs=(output,),
        )
        for version in versions
    )
    return flatbuffer.Graph(
        tensors=tensors,
        operators=operators,
        inputs=(0,),
        outputs=(output,),
        subgraphs=1,
    )


def test_the_newest_version_of_an_operator_counts():
    graph = graph_of("ADD", "INT8", (1.0,), (1.0,), (1.0,), versions=(2, 4, 1))
    assert audit._versions(graph) == {"ADD": 4}


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("fp16", "FLOAT16"), ("dynamic", "INT8"), ("int16x8", "INT8")],
)
def test_only_constants_may_be_narrower(precision, dtype):
    graph = graph_of("ADD", dtype, (), (), ())
    first, *others = graph.tensors
    first = dataclasses.replace(first, constant=True)
    graph = dataclasses.replace(graph, tensors=(first, *others))
    findings = audit._type_findings(graph, precision, {})
    assert [finding.where for finding in findings] == ["tensor 1", "tensor 2"]


@pytest.mark.parametrize(
    ("code", "dtype", "scales", "limit"),
    [
        # Products, or twice the larger of two terms, of 1.
        ("CONV_2D", "INT8", [(2.0,), (1e-6, 0.5, 1e-6)], 256),
        ("FULLY_CONNECTED", "INT8", [(2.0,), (0.5,)], 256),
        ("ADD", "INT8", [(0.25,), (0.5,)], 2**20),
        ("ADD", "INT16", [(0.5,), (0.25,)], 2**15),
    ],
)
def test_how_far_a_runtime_can_multiply(code, dtype, scales, limit):
    for made, bad in ((1 / limit, 1), (1.01 / limit, 0)):
        graph = graph_of(code, dtype, *scales, (made,))
        assert len([*graph_check.scale_problems(graph)]) == bad


def test_a_sum_is_as_wide_as_its_coarser_term_needs():
    tensors = [
        types.SimpleNamespace(
            quantization=types.SimpleNamespace(min=[low], max=[high])
        )
        for low, high in ((-2.0, 1.0), (0.0, 160.0), (0.0, 0.0))
    ]
    graph = types.SimpleNamespace(tensors=tensors)
    addition = types.SimpleNamespace(inputs=[0, 1], outputs=[2])
    found = step_sizes._least_width(graph, addition, "ADD", {}, set())
    assert found == ([2], 160.0 / 16)  # rounded to a 16th of its step


def test_the_oldest_runtime_has_all_operators_and_no_older_does(exported):
    report = audit.audit_file(exported.path)
    oldest = report.oldest_runtime
    assert report.to_dict()["oldest_runtime_on_paper"] == oldest
    known = op_support._of_release(oldest)
    assert all(known[name] >= v for name, v in report.versions.items())
    assert oldest in {
        op_support.first_runtime(name, v) for name, v in report.versions.items()
    }
    assert op_support.oldest_runtime({"ADD": 6}) is None
    assert op_support.oldest_runtime({"CUMSUM": 1}) is None


def test_a_file_of_int16_is_for_runtimes_that_have_it(exported, by_precision):
    model = by_precision["int16x8"]
    report = audit.audit_model(model, "int16x8")
    # As op_version.cc says of each; 2.4 is the first with ADD 3 and MEAN 3.
    for name, version in (
        ("ADD", 3), ("CONV_2D", 4), ("DEPTHWISE_CONV_2D", 5), ("DEQUANTIZE", 3),
        ("FULLY_CONNECTED", 7), ("LOGISTIC", 3), ("MEAN", 3), ("MUL", 4),
        ("PAD", 3), ("QUANTIZE", 2), ("RESHAPE", 1), ("SOFTMAX", 3),
    ):  # fmt: skip
        assert report.versions[name] == version, name
    assert report.to_dict()["oldest_runtime_on_paper"] == "2.4"
    assert report.passed and report.loaded_in
    content = flatbuffer.unpack(model)
    for code in content.operatorCodes:
        code.version = 1
    before = interpreters.ClipRunner(compact.pack(content))
    after = interpreters.ClipRunner(model)
    for clip in exported.clips[:2]:
        np.testing.assert_array_equal(after(clip), before(clip))
    newest = op_support.RUNTIMES["tflite-runtime 2.14"]
    assert all(newest[name] >= v for name, v in op_support.INT16.items())
    kept = {"head": "int16x8"}
    parts = mixed.part_names(exported.arch)
    partly = mixed.assemble(by_precision, kept, parts)
    versions = audit.audit_model(partly, "mixed", kept=kept).versions
    assert versions["FULLY_CONNECTED"] == 7 and versions["MUL"] == 2


def test_no_runtime_knows_more_than_a_newer_one():
    names = [f"tflite-runtime {v}" for v in ("2.5", "2.8", "2.11", "2.14")]
    assert set(names) == set(op_support.RUNTIMES)
    for older, newer in itertools.pairwise(names):
        for name, version in op_support.RUNTIMES[older].items():
            assert version <= op_support.RUNTIMES[newer][name], name


def test_unknown_runtime_lists_the_known():
    with pytest.raises(ValueError, match="tflite-runtime 2.14.*'abacus'"):
        audit.audit_model(b"", runtime="abacus")


@pytest.mark.parametrize("precision", ["int8", "int16x8"])
def test_hard_swish_is_made_of_what_every_precision_has(precision):
    arch = networks.small_arch(activation="hard_swish", clip_size=(2, 8, 8))
    lowered = lowering.lower(arch, networks.random_weights(arch))
    clips = reference.random_clips(4, arch.clip_size)
    model = quantize.convert(lowered, precision, clips)
    report = audit.audit_model(model, precision)
    assert report.passed, report.findings
    assert "HARD_SWISH" not in report.operators
    run = interpreters.ClipRunner(model)
    for clip in clips:
        expected = lowered(clip.astype(np.float32)).numpy()[0]
        np.testing.assert_allclose(run(clip), expected, atol=0.03)


@pytest.fixture(scope="module")
def by_precision(exported):
    """The same network in the precisions that parts of it may have."""
    return {
        "int8": quantize.quantize_calibrated(
            quantize.calibrate(exported.lowered, exported.clips)
        ),
        "fp32": quantize.convert(exported.lowered, "fp32"),
        "int16x8": quantize.convert(
            exported.lowered, "int16x8", exported.clips[:4]
        ),
    }


@pytest.mark.parametrize(
    "kept",
    [
        {},
        {"stage1_block2": "fp32"},
        {"stem": "fp32", "head": "fp32"},
        {"stage1_block1": "int16x8", "stage1_block2": "int16x8"},
        {"stem": "int16x8", "stage1_block1": "fp32", "head": "int16x8"},
    ],
    ids=str,
)
def test_only_declared_parts_may_be_other_than_int8(
    exported, by_precision, kept
):
    parts = mixed.part_names(exported.arch)
    model = mixed.assemble(by_precision, kept, parts)
    report = audit.audit_model(model, "mixed", kept=kept)
    assert report.passed, report.findings
    run, plain = map(interpreters.ClipRunner, (model, by_precision["int8"]))
    for clip in exported.clips[:3]:
        np.testing.assert_allclose(run(clip), plain(clip), atol=0.12)
    for part in kept:
        declared = {k: v for k, v in kept.items() if k != part}
        report = audit.audit_model(model, "mixed", kept=declared)
        assert rules(report) <= {"no-float", "type"}
        named = {finding.where for finding in report.findings}
        assert named and all(name.startswith(part) for name in named)
        # Nor as each other.
        other, rule = {
            "fp32": ("int16x8", "no-float"), "int16x8": ("fp32", "type"),
        }[kept[part]]  # fmt: skip
        report = audit.audit_model(model, "mixed", kept={**kept, part: other})
        assert rules(report) == {rule}


def test_all_parts_in_float_are_the_float_network(exported, by_precision):
    parts = mixed.part_names(exported.arch)
    kept = dict.fromkeys(parts, "fp32")
    run = interpreters.ClipRunner(mixed.assemble(by_precision, kept, parts))
    expected = interpreters.ClipRunner(by_precision["fp32"])
    for clip in exported.clips[:3]:
        # One step of the uint8 output, and of the int8 input: none.
        np.testing.assert_allclose(run(clip), expected(clip), atol=1 / 256)


def test_parts_and_their_precisions_are_checked(exported, by_precision):
    parts = mixed.part_names(exported.arch)
    with pytest.raises(ValueError, match="parts of stem, .*'tail'"):
        mixed.assemble(by_precision, {"tail": "fp32"}, parts)
    with pytest.raises(ValueError, match="int16x8, fp32.*stem='int4'"):
        mixed.assemble(by_precision, {"stem": "int4"}, parts)


def test_what_falls_back_is_said_on_paper(exported):
    report = audit.audit_file(exported.path)
    opencl, opengl, _, edge_tpu = report.fall_back.values()
    # Documented for the GPU: no MEAN (three squeezes and the head), no PADV2,
    # which there is none of.
    assert opencl["MEAN"] == 4
    # Two of three taps look at other frames: slices, and padded again.
    assert opencl["STRIDED_SLICE"] == report.operators["STRIDED_SLICE"]
    assert opencl["PAD"] < report.operators["PAD"]  # others pad the sides
    assert "CONV_2D" not in opencl
    # 4 frames, 3 of them under a tap that looks ahead, and the one clip.
    assert opengl == report.operators
    # Frames are the batch, and the Edge TPU takes one picture: what is left
    # to it is what comes after the head's mean, and the squeezes.
    assert edge_tpu["ADD"] == report.operators["ADD"]
    assert "FULLY_CONNECTED" not in edge_tpu
    total = sum(report.operators.values())
    text = op_support.format_fall_back(report.fall_back, total)
    assert "up to the driver): 25 of 77: MEAN 4, MUL 3, PAD 6," in text
    assert f"several batch sizes): {total} of {total}: all\n" in text


def test_one_picture_at_a_time_suits_the_gpu():
    def network(frame):
        return tf.nn.relu(tf.nn.conv2d(frame, tf.ones((3, 3, 3, 4)), 1, "SAME"))

    report = audit.audit_model(convert(network, (1, 8, 8, 3)), "fp32")
    opencl, opengl, _, _ = report.fall_back.values()
    assert opencl == opengl == {}


def test_a_shape_that_is_not_known_is_refused():
    report = audit.audit_model(convert(tf.nn.relu, (None, 8, 8, 3)), "fp32")
    assert rules(report) == {"static"}
    assert not report.loaded_in


def test_damaged_bytes_are_refused_before_an_interpreter_sees_them(exported):
    model, _ = manifest_lib.read_model(exported.path)
    for length in (0, 7, 100, len(model) // 2, len(model) - 4):
        with pytest.raises(ValueError, match="`model` (must be|is damaged)"):
            audit.audit_model(model[:length])
    rng, refused = np.random.default_rng(0), 0
    for place in rng.integers(0, len(model), 200):
        damaged = bytearray(model)
        damaged[place] ^= 0xFF
        try:
            flatbuffer.read_graph(bytes(damaged))
        except ValueError:
            refused += 1  # Any other error would fail the test.
    assert refused > 20  # Most bytes are values of weights.


@pytest.mark.parametrize("scale", [0.0, -1.0, np.inf, np.nan])
def test_scales_that_end_the_process_are_refused_without_an_audit(
    exported, scale
):
    model, _ = manifest_lib.read_model(exported.path)
    graph_check.check(model)
    content = flatbuffer.unpack(model)
    tensors = content.subgraphs[0].tensors
    number = int(content.subgraphs[0].operators[5].outputs[0])
    tensors[number].quantization.scale = np.array([scale], np.float32)
    builder = flatbuffers.Builder(0)
    builder.Finish(content.Pack(builder), flatbuffer.IDENTIFIER)
    with pytest.raises(ValueError, match=f"has scale {scale:g}, must be"):
        interpreters.ClipRunner(bytes(builder.Output()))


@pytest.mark.parametrize("axis", [None, (0, 1, 2)])
def test_an_output_that_is_no_scores_is_refused_without_an_audit(axis):
    mean = tf.function(lambda clip: tf.reduce_mean(clip, axis))
    clip = tf.TensorSpec((2, 4, 4, 3), tf.float32)
    model = quantize.convert_on(mean.get_concrete_function(clip), "fp32")
    message = "must give scores (1, classes). Received: an output of shape "
    message += "()." if axis is None else "(3,)."
    with pytest.raises(ValueError, match=re.escape(message)):
        interpreters.ClipRunner(model)


@pytest.mark.parametrize("precision", ["int8", "int16x8"])
@pytest.mark.parametrize(
    "silence",
    [
        networks.silent_squeeze,
        networks.silent_taps,
        networks.silent_expansion,
    ],
)
def test_what_is_silent_on_the_calibration_clips_can_be_run(silence, precision):
    arch = networks.small_arch(clip_size=(4, 16, 16))
    weights = {k: v.copy() for k, v in networks.random_weights(arch).items()}
    silence(weights)
    clips = reference.random_clips(4, arch.clip_size)
    lowered = lowering.lower(arch, weights)
    calibrated = quantize.calibrate(lowered, clips)
    assert step_sizes.widen(calibrated) != calibrated
    model = quantize.convert(lowered, precision, clips)
    # An interpreter sees it only if the audit finds nothing.
    audit.audit_model(model, precision).check()
    scores = interpreters.ClipRunner(model)(clips[0])
    expected = lowered(clips[0].astype(np.float32))[0]
    np.testing.assert_allclose(scores, expected, atol=0.1)


def test_equal_taps_are_rounded_each_for_itself():
    """The converter stores proportional taps once; their scales differ."""
    arch = networks.small_arch(clip_size=(4, 16, 16))
    weights = {k: v.copy() for k, v in networks.random_weights(arch).items()}
    kernel = weights["stage1_block1/depthwise1_kernel"]
    kernel[0], kernel[2] = 0.5 * kernel[1], 0.25 * kernel[1]
    lowered = lowering.lower(arch, weights)
    clips = reference.random_clips(8, arch.clip_size)
    model = quantize.convert(lowered, "int8", clips)
    content = flatbuffer.unpack(model)
    peaks = []
    for tap in range(3):
        name = f"stage1_block1_depthwise_tap{tap}".encode()
        (kernel,) = (
            tensor
            for tensor in content.subgraphs[0].tensors
            if tensor.name == name and content.buffers[tensor.buffer].data is
            not None and tensor.shape[0] == 1 and len(tensor.shape) == 4
        )  # fmt: skip
        data = content.buffers[kernel.buffer].data.view(np.int8)
        peaks.append(int(np.abs(data).max()))
    assert peaks == [64, 127, 32]
    run = interpreters.ClipRunner(model)
    for clip in clips:
        expected = lowered(clip.astype(np.float32))[0]
        np.testing.assert_allclose(run(clip), expected, atol=0.02)


def test_16x8_where_a_bias_equals_another_constant():
    """Four frames: a bias of four zeros, and where a slice begins."""
    arch = networks.small_arch(clip_size=(4, 16, 16), causal=True)
    weights = networks.random_weights(arch)
    lowered = lowering.lower(arch, weights)
    clips = reference.random_clips(4, arch.clip_size)
    model = quantize.convert(lowered, "int16x8", clips)
    audit.audit_model(model, "int16x8").check()
    scores = interpreters.ClipRunner(model)(clips[0])
    expected = lowered(clips[0].astype(np.float32))[0]
    np.testing.assert_allclose(scores, expected, atol=0.02)


def with_scale(model, name, scale):
    """A file with another scale for the tensor that an operator makes."""
    content, graph = flatbuffer.unpack(model), flatbuffer.read_graph(model)
    made = [i for operator in graph.operators for i in operator.outputs]
    number = next(i for i in made if graph.tensors[i].name == name)
    tensor = content.subgraphs[0].tensors[number]
    tensor.quantization.scale = np.array([scale], np.float32)
    return compact.pack(content)


@pytest.mark.parametrize(
    ("name", "scale", "message"),
    [
        (SQUEEZE, 7.8e-9, "has scale 7.8e-09, so that CONV_2D would multiply"),
        (SQUEEZE, 0.0, "has scale 0, must be above 0, up to 1e+10"),
        (SQUEEZE, np.nan, "has scale nan, must be above 0, up to 1e+10"),
        (SQUEEZE, np.inf, "has scale inf, must be above 0, up to 1e+10"),
        # What takes it as its input would multiply too much.
        (SQUEEZE, 1e10, "so that CONV_2D would multiply by"),
        ("stage1_block1_depthwise_tap0_add", 1e-8, "so that ADD would"),
    ],
)
def test_a_scale_that_ends_the_process_is_refused(
    exported, name, scale, message
):
    model, _ = manifest_lib.read_model(exported.path)
    report = audit.audit_model(with_scale(model, name, scale), "int8")
    assert rules(report) == {"scale"}
    assert not report.loaded_in
    (finding,) = report.findings
    taker = "stage1_block1_se_expand" if scale == 1e10 else name
    assert finding.where == taker
    assert message in finding.message
    assert "calibrate on more or more varied clips" in finding.message
    assert "ExportOptions.kept = {'PART': 'fp32'}" in finding.message


def test_of_a_stream_no_part_is_kept_in_float(streams):
    content, stream = streams.int8
    content = with_scale(content, SQUEEZE, 0.0)
    (finding,) = audit.audit_model(content, "int8", stream=stream).findings
    assert "more varied clips, or take precision 'fp16'" in finding.message
    assert "mixed" not in finding.message
