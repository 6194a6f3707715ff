"""Where an int8 network loses its signal: noise per layer, the worst first.

Every tensor of the int8 graph is compared with the output of the layer of the
lowered float network that made it.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tf_keras

from autox3d_edge import flatbuffer, interpreters, lowering, parity
from autox3d_tf.data import sampling

_CEILING = 120.0  # decibels; equal tensors


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerNoise:
    """How well one tensor of the int8 network matches float.

    Attributes:
        layer: Name of the layer in the lowered network.
        operator: What makes the tensor in the int8 graph.
        snr: Signal-to-noise ratio in decibels, over all clips.
        lost: Decibels lost in this operator: the worst of its inputs minus
            `snr`. Large too where next to no noise meets inputs without any.
        bias: Per channel, mean of int8 minus float.
        relu: Whether the tensor is behind a relu.
    """

    layer: str
    operator: str
    snr: float
    lost: float
    bias: np.ndarray
    relu: bool = False

    @property
    def added(self) -> float:
        """Noise over signal that was not in the worst of the inputs.

        Large where the operator itself makes the noise.
        """
        return _noise(self.snr) - _noise(self.snr + self.lost)


def measure(
    lowered: tf_keras.Model, model: bytes, clips: Sequence[np.ndarray]
) -> list[LayerNoise]:
    """Returns the noise of every layer, in the order they run.

    Args:
        lowered: The float network.
        model: Its int8 flatbuffer.
        clips: uint8 clips `(T, H, W, 3)`.
    """
    graph = flatbuffer.read_graph(model)
    made_by = {
        output: operator
        for operator in graph.operators
        for output in operator.outputs
    }
    last = {
        graph.tensors[number].name.split("/")[0]: number for number in made_by
    }  # A layer may take several operators; its output is the last.
    watched = {
        last[layer.name]: layer.name
        for layer in lowered.layers
        if layer.name in last
    }
    relu = {number for number in watched if made_by[number].relu}
    sums = _accumulate(lowered, model, clips, watched, relu)
    snr = {number: _decibels(total) for number, total in sums.items()}
    return [
        LayerNoise(
            layer=watched[number],
            operator=made_by[number].code,
            snr=snr[number],
            lost=_worst_input(made_by, number, snr) - snr[number],
            bias=sums[number]["bias"] / len(clips),
            relu=number in relu,
        )
        for number in watched
    ]


def measure_keras(
    model, lowered: tf_keras.Model, clips: Sequence[np.ndarray]
) -> dict[str, float]:
    """Returns decibels between Keras and the lowered network, per part.

    Args:
        model: The trained Keras model.
        lowered: The float network.
        clips: uint8 clips `(T, H, W, 3)`.
    """
    import keras

    from autox3d_tf import models

    parts = models.parts(model)
    names = [part.name for part in parts]
    ours = keras.Model(model.input, [part.output for part in parts])
    outputs = [lowered.get_layer(lowering.last_layer(n)).output for n in names]
    theirs = tf_keras.Model(lowered.input, outputs)
    sums = {name: {"signal": 0.0, "noise": 0.0} for name in names}
    for clip in clips:
        raw = np.asarray(clip, np.float32)
        expected = ours(sampling.normalize(raw)[None], training=False)
        for name, value, found in zip(
            names, expected, theirs(raw, training=False), strict=True
        ):
            value = np.asarray(value[0], np.float64)
            error = np.asarray(found).reshape(value.shape) - value
            sums[name]["signal"] += np.square(value).sum()
            sums[name]["noise"] += np.square(error).sum()
    return {name: _decibels(total) for name, total in sums.items()}


def worst_layers(noise: Sequence[LayerNoise]) -> list[LayerNoise]:
    """Sorts layers by the noise that they add, worst first."""
    return sorted(noise, key=lambda layer: -layer.added)


def format_table(noise: Sequence[LayerNoise], rows: int = 10) -> str:
    """Returns the worst layers as a table for people."""
    lines = [
        f"{'layer':40} {'operator':18} {'SNR dB':>7} {'lost dB':>8} "
        f"{'added':>8}"
    ]
    lines += [
        f"{layer.layer:40} {layer.operator:18} {layer.snr:7.1f} "
        f"{layer.lost:8.1f} {layer.added:8.1e}"
        for layer in worst_layers(noise)[:rows]
    ]
    return "\n".join(lines)


def _accumulate(lowered, model, clips, watched, relu):
    """Sums of signal, noise and error per channel, per watched tensor."""
    outputs = [lowered.get_layer(name).output for name in watched.values()]
    reference = parity.traced(tf_keras.Model(lowered.input, outputs))
    run = interpreters.ClipRunner(model, keep_tensors=True)
    sums = {
        number: {"signal": 0.0, "noise": 0.0, "bias": 0.0} for number in watched
    }
    for clip in clips:
        run(np.asarray(clip))
        expected = reference(np.asarray(clip, np.float32))
        for number, value in zip(watched, expected, strict=True):
            value = np.asarray(value, np.float64)
            if number in relu:  # Part of the operator, whatever its name.
                value = np.maximum(value, 0.0)
            error = run.tensor(number).reshape(value.shape) - value
            total = sums[number]
            total["signal"] += np.square(value).sum()
            total["noise"] += np.square(error).sum()
            total["bias"] += error.reshape(-1, value.shape[-1]).mean(0)
    return sums


def _decibels(total) -> float:
    if total["noise"] <= 0 or total["signal"] <= 0:
        return _CEILING if total["noise"] <= 0 else -_CEILING
    ratio = 10 * np.log10(total["signal"] / total["noise"])
    return float(np.clip(ratio, -_CEILING, _CEILING))


def _noise(decibels: float) -> float:
    """Noise over signal, as energies."""
    return 10 ** (-decibels / 10)


def _worst_input(made_by, number, snr) -> float:
    """Smallest ratio among the inputs, looking through unnamed tensors."""
    found = []
    pending = list(made_by[number].inputs)
    while pending:
        source = pending.pop()
        if source in snr:
            found.append(snr[source])
        elif source in made_by:
            pending += made_by[source].inputs
    return min(found, default=_CEILING)
