"""Changes to a network that leave float alone and help int8."""

from collections.abc import Sequence

import numpy as np
import tf_keras

from autox3d_edge import layer_noise, lowering, parity
from autox3d_edge import weights as weights_lib
from autox3d_tf.space import arch as arch_lib

_MAX_GAIN = 16.0  # a channel that is hardly ever on must not blow up


def equalize(
    arch: arch_lib.ArchSpec,
    weights: weights_lib.Weights,
    clips: Sequence[np.ndarray],
) -> dict[str, np.ndarray]:
    """Gives the channels between expansion and depthwise one range.

    A tensor has one scale, so a channel of small range gets few of the 256
    steps. A relu passes positive factors through: what the expansion's batch
    norm multiplies a channel by, the depthwise kernel divides it by. The
    depthwise kernel has a scale per channel, so it loses nothing.

    Args:
        arch: The network.
        weights: Its weights by name.
        clips: uint8 clips that show the ranges.

    Returns:
        New weights of the same float network.
    """
    lowered = lowering.lower(arch, weights)
    blocks = [block.name for block in arch.blocks()]
    outputs = [
        lowered.get_layer(f"{name}_expand_relu").output for name in blocks
    ]
    ranges = _channel_ranges(tf_keras.Model(lowered.input, outputs), clips)
    changed = dict(weights)
    for name, channels in zip(blocks, ranges, strict=True):
        largest = channels.max()
        if largest <= 0:
            continue
        gain = largest / np.maximum(channels, largest / _MAX_GAIN)
        for part in ("gamma", "beta"):
            key = f"{name}/expand_norm_{part}"
            changed[key] = (changed[key] * gain).astype(np.float32)
        key = f"{name}/depthwise1_kernel"
        changed[key] = (changed[key] / gain).astype(np.float32)
    return changed


def correct_biases(
    lowered: tf_keras.Model, model: bytes, clips: Sequence[np.ndarray]
) -> tf_keras.Model:
    """Takes the mean error that rounded weights make out of the biases.

    For projections and the classifier, whose output no relu hides. What
    comes in wrong is not counted: the mean error of the input, multiplied by
    the float weights, is what a perfect layer would pass on.

    Args:
        lowered: The float network.
        model: Its int8 flatbuffer.
        clips: uint8 clips.

    Returns:
        A copy of `lowered` with other biases.
    """
    noise = {
        layer.layer: layer
        for layer in layer_noise.measure(lowered, model, clips)
    }
    corrected = tf_keras.models.clone_model(lowered)
    corrected.set_weights(lowered.get_weights())
    for layer in lowered.layers:
        if not _is_pointwise(layer):
            continue
        here, source = noise.get(layer.name), _noise_before(layer, noise)
        if here is None or here.relu or source is None:
            continue
        kernel, bias = layer.get_weights()
        passed_on = source.bias @ kernel.reshape(kernel.shape[-2:])
        bias = bias - (here.bias - passed_on).astype(np.float32)
        corrected.get_layer(layer.name).set_weights([kernel, bias])
    return corrected


def _noise_before(layer, noise) -> layer_noise.LayerNoise | None:
    """That of its input; a relu may be part of the layer before it."""
    before = layer.input._keras_history.layer
    if before.name not in noise and isinstance(before, tf_keras.layers.ReLU):
        before = before.input._keras_history.layer
    return noise.get(before.name)


def _is_pointwise(layer) -> bool:
    """Whether it is one matrix product with a bias, at every position."""
    if isinstance(layer, tf_keras.layers.Dense):
        return layer.use_bias
    return (
        type(layer) is tf_keras.layers.Conv2D
        and layer.kernel_size == layer.strides == (1, 1)
        and layer.use_bias
    )


def _channel_ranges(model, clips) -> list[np.ndarray]:
    """Largest value of each channel of each output, over all clips."""
    largest, run = None, parity.traced(model)
    for clip in clips:
        values = run(np.asarray(clip, np.float32))
        tops = [
            np.asarray(value).max((0, 1, 2))
            for value in (values if isinstance(values, list) else [values])
        ]
        largest = (
            tops
            if largest is None
            else [np.maximum(a, b) for a, b in zip(largest, tops, strict=True)]
        )
    return largest
