"""The audit refuses what facts say goes wrong, and names the tensor."""

import numpy as np
import pytest
import tensorflow as tf

from autox3d_edge import audit, quantize
from autox3d_edge import manifest as manifest_lib


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


def test_a_clean_file_passes_and_was_run(exported):
    report = audit.audit_file(exported.path)
    assert report.passed
    report.check()
    assert any(name.startswith("ai-edge-litert") for name in report.loaded_in)
    assert report.operators["PADV2"] == 1


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


def test_newer_operators_than_the_runtime_are_refused(exported, monkeypatch):
    old = {**audit.RUNTIMES[audit.DEFAULT_RUNTIME], "FULLY_CONNECTED": 1}
    monkeypatch.setitem(audit.RUNTIMES, "old", old)
    model, _ = manifest_lib.read_model(exported.path)
    report = audit.audit_model(model, "int8", "old")
    assert rules(report) == {"op-version"}
    assert len(report.findings) == 2  # the two matrix products of the head
    assert "head_hidden" in report.findings[0].where


def test_unknown_runtime_lists_the_known():
    with pytest.raises(ValueError, match="tflite-runtime 2.14.*'abacus'"):
        audit.audit_model(b"", runtime="abacus")
