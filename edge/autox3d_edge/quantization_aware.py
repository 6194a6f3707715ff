"""Fine-tunes a lowered network with int8 rounding in the loop.

The lowered graph is what tensorflow-model-optimization supports: 2-D
convolutions, additions, multiplications, activations. The few layers of our
own get the quantization that their TFLite operators have. Norms are folded
before, so what is trained is what runs.
"""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras
from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (  # noqa: E501
    default_8bit_quantize_configs as configs,
)

from autox3d_edge import compact, lowered_layers, quantize

_MOVES = (  # move values and leave them as they are
    lowered_layers.FixedReshape,
    lowered_layers.PadFrames,
    lowered_layers.SliceFrames,
)
_COMPUTES = (  # make new values, whose range is to be learnt
    lowered_layers.ClipMean,
    lowered_layers.CumulativeMean,
    lowered_layers.HardSwish,
    lowered_layers.ScaleChannels,
    tf_keras.layers.Multiply,
)
_QUANTIZER = tfmot.quantization.keras


def quantization_aware(
    lowered: tf_keras.Model, calibration: Sequence[np.ndarray]
) -> tf_keras.Model:
    """Returns the network with rounding simulated, weights copied.

    Args:
        lowered: From `lowering.lower`, norms folded.
        calibration: uint8 clips whose ranges training starts from.

    Raises:
        ValueError: The network has batch norms of its own.
    """
    for layer in lowered.layers:
        if isinstance(layer, tf_keras.layers.BatchNormalization):
            raise ValueError(
                "`lowered` must have its norms folded. Received: layer "
                f"{layer.name!r}. Lower with fold_norms=True."
            )
    annotated = tf_keras.models.clone_model(lowered, clone_function=_annotate)
    annotated.set_weights(lowered.get_weights())
    clips = quantize.check_calibration(calibration, lowered.input_shape)
    with _scope():
        model = _QUANTIZER.quantize_apply(annotated)
    _set_ranges(model, lowered, clips)
    return model


def fine_tune(
    model: tf_keras.Model,
    clips: Sequence[np.ndarray],
    labels: Sequence[int],
    *,
    steps: int,
    seed: int,
    learning_rate: float = 1e-4,
    batch_size: int = 8,
    on_step: Callable[[int, float], None] | None = None,
) -> None:
    """Trains in place; a lowered network sees one clip at a time.

    Args:
        model: From `quantization_aware`.
        clips: uint8 clips `(T, H, W, 3)`, augmented or not.
        labels: Class numbers.
        steps: Updates.
        seed: Of the order of the clips.
        learning_rate: Of Adam, falling to 0 along a cosine.
        batch_size: Clips whose gradients are averaged.
        on_step: Called with the step and the loss.
    """
    rng = np.random.default_rng(seed)
    rate = tf_keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    optimizer = tf_keras.optimizers.Adam(rate)
    for step in range(steps):
        chosen = rng.choice(len(clips), batch_size, len(clips) < batch_size)
        loss, gradients = _mean_gradients(model, clips, labels, chosen)
        optimizer.apply_gradients(
            zip(gradients, model.trainable_variables, strict=True)
        )
        if on_step:
            on_step(step, loss)


def convert(model: tf_keras.Model) -> bytes:
    """Returns the int8 flatbuffer of a fine-tuned network.

    The ranges were learnt, so no calibration clips are needed; that of the
    input is what a pixel can be.
    """
    _set_input_range(model)
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.inference_input_type = tf.uint8
    converter.inference_output_type = tf.uint8
    return compact.compact(quantize.run_quietly(converter.convert))


def _set_ranges(model, lowered, clips) -> None:
    """Starts every range at what the float network shows on clips.

    The toolkit starts at [-6, 6] and moves by a thousandth per step. The
    ranges of the weights are taken from them in any training call.
    """
    model(clips[0].astype(np.float32), training=True)
    outputs = [layer.output for layer in lowered.layers[1:]]
    names = [layer.name for layer in lowered.layers[1:]]
    watch = tf_keras.Model(lowered.input, outputs)
    lows, highs = np.zeros(len(names)), np.zeros(len(names))
    for clip in clips:
        values = watch(clip.astype(np.float32), training=False)
        lows = np.minimum(lows, [float(tf.reduce_min(v)) for v in values])
        highs = np.maximum(highs, [float(tf.reduce_max(v)) for v in values])
    ranges = dict(zip(names, zip(lows, highs, strict=True), strict=True))
    for layer in model.layers:
        found = ranges.get(layer.name.removeprefix("quant_"))
        if found:
            _assign_range(layer, *found)
    _set_input_range(model)


def _set_input_range(model) -> None:
    for layer in model.layers:
        if layer.name.startswith("quantize_layer"):
            _assign_range(layer, 0.0, 255.0)


def _assign_range(layer, low, high) -> None:
    """Sets the range of a layer's output, not those of its weights."""
    for variable in layer.weights:
        name = variable.name.split("/")[-1].split(":")[0]
        if "kernel" in name:
            continue
        if name.endswith("_min"):
            variable.assign(low)
        elif name.endswith("_max"):
            variable.assign(high)


def _annotate(layer):
    if isinstance(layer, _MOVES):
        config = configs.NoOpQuantizeConfig()
    elif isinstance(layer, _COMPUTES):
        config = configs.Default8BitOutputQuantizeConfig()
    elif isinstance(layer, tf_keras.layers.InputLayer):
        return layer
    else:
        config = None  # The scheme of the toolkit knows it.
    return _QUANTIZER.quantize_annotate_layer(layer, config)


def _scope():
    return _QUANTIZER.quantize_scope(
        {
            **{layer.__name__: layer for layer in _MOVES + _COMPUTES},
            "NoOpQuantizeConfig": configs.NoOpQuantizeConfig,
            "Default8BitOutputQuantizeConfig": (
                configs.Default8BitOutputQuantizeConfig
            ),
        }
    )


def _mean_gradients(model, clips, labels, chosen):
    """Mean loss and gradients over the chosen clips, one after the other."""
    total, losses = None, []
    for index in chosen:
        clip = np.asarray(clips[index], np.float32)
        with tf.GradientTape() as tape:
            scores = model(clip, training=True)
            loss = -tf.math.log(scores[0, int(labels[index])] + 1e-7)
        gradients = tape.gradient(loss, model.trainable_variables)
        losses.append(float(loss))
        total = (
            gradients
            if total is None
            else [a + b for a, b in zip(total, gradients, strict=True)]
        )
    mean = [gradient / len(chosen) for gradient in total]
    return float(np.mean(losses)), mean
