"""A lowered network with int8 rounding in the loop, to be fine-tuned.

The lowered graph is what tensorflow-model-optimization supports: 2-D
convolutions, additions, multiplications, activations. The few layers of our
own get the quantization that their TFLite operators have. Norms are folded
before, so what is trained is what runs.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras
from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (  # noqa: E501
    default_8bit_quantize_configs as configs,
)
from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (  # noqa: E501
    default_8bit_quantize_registry as registry,
)

from autox3d_edge import input_zero_point, lowered_layers, quantize, ranges

_MOVES = (  # move values, or the zero point, and leave steps as they are
    lowered_layers.FixedReshape,
    lowered_layers.PadFrames,
    lowered_layers.SliceFrames,
    lowered_layers.Shift,
)
_COMPUTES = (  # make new values, whose range is to be learnt
    lowered_layers.ClipMean,
    lowered_layers.CumulativeMean,
    lowered_layers.ScaleChannels,
    tf_keras.layers.Multiply,
)
_QUANTIZER = tfmot.quantization.keras


class StridedPointwise(tf_keras.layers.Conv2D):
    """A strided 1x1 convolution, as one of the pixels that it takes.

    On one thread of a CPU without AVX-512 oneDNN's gradient of the former
    writes behind its memory (TensorFlow 2.21), unless the channels are a
    multiple of 8.
    """

    def convolution_op(self, inputs, kernel):
        rows, columns = self.strides
        return tf.nn.conv2d(inputs[:, ::rows, ::columns], kernel, 1, "VALID")


def quantization_aware(
    lowered: tf_keras.Model, calibration: Sequence[np.ndarray]
) -> tf_keras.Model:
    """Returns the network with rounding simulated, weights copied.

    Args:
        lowered: From `lowering.lower`.
        calibration: uint8 clips whose ranges training starts from.
    """
    annotated = tf_keras.models.clone_model(lowered, clone_function=_annotate)
    annotated.set_weights(lowered.get_weights())
    clips = quantize.check_calibration(calibration, lowered.input_shape)
    with _scope():
        model = _QUANTIZER.quantize_apply(annotated)
    _set_ranges(model, lowered, clips)
    return model


def convert(
    model: tf_keras.Model,
    lowered: tf_keras.Model,
    calibration: Sequence[np.ndarray],
) -> bytes:
    """Returns the int8 flatbuffer of a fine-tuned network.

    It is converted as any other, from the trained weights, whose ranges are
    taken per channel as in training, with the ranges that were learnt.

    Args:
        model: From `quantization_aware`, trained.
        lowered: The network it was made from.
        calibration: uint8 clips, for layers that learn no range.
    """
    trained = tf_keras.models.clone_model(lowered)
    for layer in lowered.layers:
        if layer.weights:
            kept = {
                _place(v): v for v in model.get_layer(_wrapped(layer)).weights
            }
            trained.get_layer(layer.name).set_weights(
                [kept[_place(v)].numpy() for v in layer.weights]
            )
    calibrated = quantize.calibrate(trained, calibration)
    learnt = ranges.set_ranges(calibrated, _learnt_ranges(model))
    return input_zero_point.absorb(quantize.quantize_calibrated(learnt))


def _wrapped(layer) -> str:
    return f"quant_{layer.name}"


def _place(variable) -> str:
    """Last part of a variable's name: "kernel", "bias", ..."""
    return variable.name.split("/")[-1].split(":")[0]


def _set_ranges(model, lowered, clips) -> None:
    """Starts every range at what the float network shows on clips.

    The toolkit starts at [-6, 6] and moves by a thousandth per step. The
    ranges of the weights are taken from them in any training call.
    """
    model(clips[0].astype(np.float32), training=True)
    seen = ranges.Watch(lowered, quantize.samples_of(clips)).seen
    for layer in model.layers:
        found = seen.get(layer.name.removeprefix("quant_"))
        if found:
            low, high = found
            _assign_range(layer, min(low, 0.0), max(high, 0.0))
    _set_input_range(model)


def _set_input_range(model) -> None:
    for layer in model.layers:
        if layer.name.startswith("quantize_layer"):
            _assign_range(layer, 0.0, 255.0)


def _output_range(layer) -> dict[str, tf.Variable]:
    """Variables that hold the ends of a layer's output, not its weights'."""
    return {
        end: variable
        for variable in layer.weights
        for end in ("min", "max")
        if _place(variable).endswith(f"_{end}")
        and "kernel" not in _place(variable)
    }


def _assign_range(layer, low, high) -> None:
    found = _output_range(layer)
    if found:
        found["min"].assign(low)
        found["max"].assign(high)


def _learnt_ranges(model) -> dict[str, tuple[float, float]]:
    """Layer of the lowered network -> the range of its output."""
    learnt = {}
    for layer in model.layers:
        found = _output_range(layer)
        if found and layer.name.startswith("quant_"):
            low, high = float(found["min"]), float(found["max"])
            name = layer.name.removeprefix("quant_")
            learnt[name] = (min(low, 0.0), max(high, 0.0))
    return learnt


class DepthwiseWeightsQuantizer(_QUANTIZER.quantizers.LastValueQuantizer):
    """One range per channel, `(height, width, channels, 1)`.

    That of the toolkit takes the last axis, so all channels share a range.
    """

    def __init__(self):
        super().__init__(
            num_bits=8, per_axis=True, symmetric=True, narrow_range=True
        )

    def build(self, tensor_shape, name, layer):
        def end(which, value):
            return layer.add_weight(
                f"{name}_{which}",
                shape=(tensor_shape[-2],),
                initializer=tf_keras.initializers.Constant(value),
                trainable=False,
            )

        return {"min_var": end("min", -6.0), "max_var": end("max", 6.0)}

    def __call__(self, inputs, training, weights, **kwargs):
        last = tf.transpose(inputs, (0, 1, 3, 2))
        rounded = super().__call__(last, training, weights, **kwargs)
        return tf.transpose(rounded, (0, 1, 3, 2))


class DepthwiseQuantizeConfig(registry.Default8BitQuantizeConfig):
    """A depthwise convolution with a range per channel."""

    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        self.weight_quantizer = DepthwiseWeightsQuantizer()


def _annotate(layer):
    if isinstance(layer, _MOVES):
        config = configs.NoOpQuantizeConfig()
    elif isinstance(layer, _COMPUTES):
        config = configs.Default8BitOutputQuantizeConfig()
    elif isinstance(layer, tf_keras.layers.DepthwiseConv2D):
        config = DepthwiseQuantizeConfig(
            ["depthwise_kernel"], ["activation"], False
        )
    elif _is_strided_pointwise(layer):
        layer = StridedPointwise.from_config(layer.get_config())
        config = registry.Default8BitConvQuantizeConfig(
            ["kernel"], ["activation"], False
        )
    elif isinstance(layer, tf_keras.layers.InputLayer):
        return layer
    else:
        config = None  # The scheme of the toolkit knows it.
    return _QUANTIZER.quantize_annotate_layer(layer, config)


def _is_strided_pointwise(layer) -> bool:
    return (
        isinstance(layer, tf_keras.layers.Conv2D)
        and layer.kernel_size == (1, 1)
        and layer.strides != (1, 1)
    )


def _scope():
    return _QUANTIZER.quantize_scope(
        {
            **{layer.__name__: layer for layer in _MOVES + _COMPUTES},
            "StridedPointwise": StridedPointwise,
            "DepthwiseQuantizeConfig": DepthwiseQuantizeConfig,
            "Default8BitConvQuantizeConfig": (
                registry.Default8BitConvQuantizeConfig
            ),
            "NoOpQuantizeConfig": configs.NoOpQuantizeConfig,
            "Default8BitOutputQuantizeConfig": (
                configs.Default8BitOutputQuantizeConfig
            ),
        }
    )
