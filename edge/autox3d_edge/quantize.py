"""Lowered tf_keras graph -> .tflite bytes in one of several precisions.

int8 files take and return uint8 (LiteRT.js accepts no int8 at the border) and
are int8 inside. The scale of the input is exactly 1, so that a frame as decoded
is the tensor the network wants; its zero point is the mean pixel.
"""

import inspect
import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf
import tf_keras
from tensorflow.lite.python import convert as convert_lib
from tensorflow.lite.python.optimize import calibrator
from tensorflow.python.framework import convert_to_constants

from autox3d_edge import (
    compact,
    flatbuffer,
    input_zero_point,
    op_support,
    ranges,
    step_sizes,
    tap_scales,
)
from autox3d_tf.base import checks

PRECISIONS = ("fp32", "fp16", "dynamic", "int8", "int16x8")
INTEGERS = ("int8", "int16x8")
INSIDE_LAYERS = 16  # clips that show what lies inside of layers
# One scale per matrix. TensorFlow 2.16 has no other, and no word for it.
_DENSE = {"disable_per_channel_for_dense_layers": True}
if not _DENSE.keys() <= {
    *inspect.signature(convert_lib.mlir_quantize).parameters
}:
    _DENSE = {}


def convert(
    model: tf_keras.Model,
    precision: str = "int8",
    calibration: Sequence[np.ndarray] | None = None,
) -> bytes:
    """Returns the .tflite flatbuffer of a lowered model.

    Args:
        model: From `lowering.lower`.
        precision: One of `PRECISIONS`. "dynamic" has int8 weights and float
            activations, "int16x8" int8 weights and int16 activations.
        calibration: uint8 clips `(T, H, W, 3)` as the device will see them;
            needed by the integer precisions.

    Raises:
        ValueError: Unknown precision, or calibration clips that are missing,
            of another shape or dtype, or constant.
    """
    checks.check_choice("precision", precision, PRECISIONS)
    if precision in INTEGERS:
        calibrated = calibrate(model, calibration)
        return input_zero_point.absorb(
            quantize_calibrated(calibrated, precision)
        )
    return compact.compact(convert_on(model, precision))


def freeze(model: tf_keras.Model):
    """Returns the model as a function of constants, for `convert_on`.

    Of a model as it is, TensorFlow would trace and save each layer by itself,
    which takes 20 times as long as converting it. Several inputs, in a dict,
    keep their names; a single one is called "clip", and the names of the
    results are not the model's.
    """
    shapes = model.input_shape
    several = isinstance(shapes, Mapping)
    specs = {
        name: tf.TensorSpec(shape, tf.float32, name=name)
        for name, shape in (shapes if several else {"clip": shapes}).items()
    }
    traced = tf.function(
        lambda **inputs: model(
            inputs if several else inputs["clip"], training=False
        ),
        autograph=False,
    )
    return convert_to_constants.convert_variables_to_constants_v2(
        traced.get_concrete_function(**specs)
    )


def convert_on(
    model: tf_keras.Model,
    precision: str,
    samples: Callable[[], Iterable] | None = None,
) -> bytes:
    """Returns the flatbuffer of any lowered model as the converter makes it.

    Args:
        model: Any tf_keras model that TFLite can run, or, to trace it once
            for several precisions, what `freeze` makes of it.
        precision: One of `PRECISIONS` but int16x8.
        samples: Yields the inputs, float32, for int8.
    """
    converter = _converter(model, samples)
    _SETTINGS[precision](converter)
    return run_quietly(converter.convert)


def calibrate(
    model: tf_keras.Model,
    calibration: Sequence[np.ndarray],
    watch: ranges.Watch | None = None,
) -> bytes:
    """Returns the float flatbuffer with the ranges seen on clips.

    TensorFlow's calibrator looks at a tensor after an operation that works in
    place has written over it (2.21): a sum of taps, the product of swish. The
    ranges it finds are up to nine times too wide. So it sees few clips, for
    tensors inside of layers; the others' are those of the float network.

    Args:
        model: From `lowering.lower`.
        calibration: uint8 clips `(T, H, W, 3)`.
        watch: What looks at the model on these clips, if there is one.
    """
    clips = check_calibration(calibration, model.input_shape)
    if watch is None:
        watch = ranges.Watch(model, samples_of(clips))
    content = calibrate_on(model, samples_of(clips[:INSIDE_LAYERS]))
    return ranges.set_ranges(content, watch.seen)


def calibrate_on(model, samples: Callable[[], Iterable]) -> bytes:
    """The same for inputs of any kind; arguments as of `convert_on`."""
    converter = _converter(model, samples)
    _set_int8(converter)
    converter._experimental_calibrate_only = True
    return run_quietly(converter.convert)


def quantize_calibrated(calibrated: bytes, precision: str = "int8") -> bytes:
    """Returns the flatbuffer of one of `INTEGERS`, from that of `calibrate`.

    It still subtracts the mean pixel; see `input_zero_point.absorb`. Weights
    have a scale per channel, in int8 those of the head's matrices one in all.
    """
    calibrated = step_sizes.widen(calibrated)
    if precision == "int16x8":
        return _quantize_16x8(calibrated)
    quantized = run_quietly(
        lambda: convert_lib.mlir_quantize(
            calibrated,
            input_data_type=tf.uint8,
            output_data_type=tf.uint8,
            **_DENSE,
        )
    )
    content = flatbuffer.unpack(quantized)
    compact.separate_buffers(content)
    tap_scales.share(content, flatbuffer.unpack(calibrated))
    return compact.compact(compact.pack(content))


def _quantize_16x8(calibrated: bytes) -> bytes:
    """With int16 activations, by the only quantizer that has them."""
    content = flatbuffer.unpack(calibrated)
    # The quantizer changes biases in place, and with them what shares theirs.
    compact.separate_buffers(content)
    quantizer = calibrator.Calibrator(
        compact.pack(content, share_buffers=False)
    )
    dense = [False] if _DENSE else []  # whether they have one scale
    border, activations, biases = (
        np.dtype(name).num for name in ("float32", "int16", "int64")
    )
    quantized = run_quietly(
        lambda: quantizer._calibrator.QuantizeModel(
            border, border, False, activations, biases, False, *dense
        )
    )
    content = flatbuffer.unpack(quantized)
    _set_int16_versions(content)
    return compact.compact(compact.pack(content))


def _set_int16_versions(content) -> None:
    """Says of operators on int16 which version has it, in place.

    The quantizer writes those of int8, with which runtimes that know no int16
    would take the file.
    """
    (graph,) = content.subgraphs
    kinds = flatbuffer.kinds(content)
    for operator, kind in zip(graph.operators, kinds, strict=True):
        ends = [i for i in (*operator.inputs, *operator.outputs) if i >= 0]
        types = {flatbuffer.type_name(graph.tensors[i]) for i in ends}
        code = content.operatorCodes[operator.opcodeIndex]
        if "INT16" in types:
            code.version = max(code.version, op_support.INT16.get(kind, 1))


def check_calibration(
    calibration: Sequence[np.ndarray] | None, clip_shape: tuple[int, ...]
) -> list[np.ndarray]:
    """Returns calibration clips that between them hold 0 and 255.

    Two pixels of the first clip are set to black and white if needed: the
    range of the input, and so its scale, must not depend on the clips.

    Raises:
        ValueError: There are none, or one is of another shape or dtype, or
            all frames of all clips are the same picture or of a single colour.
    """
    if calibration is None or not len(calibration):
        raise ValueError(
            "`calibration` must hold uint8 clips for int8. Received: none. "
            "Draw some from the training data: "
            "autox3d_tf.data.pipeline.calibration_clips."
        )
    clips = check_clips("calibration", calibration, clip_shape)
    first = clips[0][0]
    if all((clip == first).all() for clip in clips):
        raise ValueError(
            "`calibration` must show what the device will see. Received: "
            f"{len(clips)} clips in which every frame is the same picture."
        )
    if all((clip == clip[:, :1, :1]).all() for clip in clips):
        raise ValueError(
            "`calibration` must show what the device will see. Received: "
            f"{len(clips)} clips in which every frame is of a single colour, "
            "such as black. Look at the videos they were cut from."
        )
    clips[0] = clips[0].copy()
    clips[0][0, 0, 0], clips[0][0, -1, -1] = 0, 255
    return clips


def check_clips(
    name: str, clips: Sequence[np.ndarray], clip_shape: tuple[int, ...]
) -> list[np.ndarray]:
    """Returns clips as arrays. Raises ValueError unless uint8 of a shape."""
    clips = [np.asarray(clip) for clip in clips]
    for index, clip in enumerate(clips):
        if clip.dtype != np.uint8 or clip.shape != tuple(clip_shape):
            raise ValueError(
                f"`{name}` clips must be uint8 {tuple(clip_shape)}. "
                f"Received: clip {index} is {clip.dtype} {clip.shape}."
            )
    return clips


def _converter(model, samples):
    if isinstance(model, tf_keras.Model):
        model = freeze(model)
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [model], tf.Module()
    )
    converter.representative_dataset = samples
    return converter


def samples_of(clips: Iterable[np.ndarray]) -> Callable[[], Iterable]:
    """Returns what yields uint8 clips as a network takes them, float32."""

    def samples():
        for clip in clips:
            yield [clip.astype(np.float32)]

    return samples


def _set_float16(converter):
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]


def _set_dynamic(converter):
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    # Per-channel weights of FULLY_CONNECTED with float activations need
    # version 12 of it, newer than the runtimes of many devices.
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True  # noqa: E501


def _set_int8(converter):
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.uint8
    converter.inference_output_type = tf.uint8


_SETTINGS = {
    "fp32": lambda converter: None,
    "fp16": _set_float16,
    "dynamic": _set_dynamic,
    "int8": _set_int8,
}


def run_quietly(convert: Callable[[], bytes]) -> bytes:
    """Keeps what the converter's C++ writes to stderr out of the way.

    If conversion fails, all of it is shown.
    """
    with tempfile.TemporaryFile() as captured, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        saved = os.dup(2)
        os.dup2(captured.fileno(), 2)
        try:
            return convert()
        except BaseException:
            os.dup2(saved, 2)
            captured.seek(0)
            os.write(2, captured.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
