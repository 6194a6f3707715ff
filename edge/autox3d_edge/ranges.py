"""The ranges of an int8 network's activations: clipped, or learnt elsewhere.

An int8 tensor spreads 256 steps over its range. Where a few large values
stretch it, cutting them off rounds all others more finely.
"""

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import tf_keras

from autox3d_edge import compact, flatbuffer, parity

_BINS = 2048
_MOST_VALUES = 1 << 16  # of a layer and a sample that are looked at one by one
_FRAMES = ("clip", "frame")  # inputs with the range of pixels
_SHARES = np.linspace(1.0, 0.3, 29)  # of the whole range, tried in turn

Ranges = Mapping[str, tuple[float, float]]


def clipped(network: tf_keras.Model, samples: Callable[[], Iterable]) -> Ranges:
    """Returns the range of each layer with the least mean squared error.

    The error of a range is what rounding to 256 steps makes of the values
    inside, plus what is cut off of those outside. Of large layers it is that
    of values drawn at random, the same each time.

    Args:
        network: The float network. Its inputs have ranges too, all but the
            frames.
        samples: Yields what it takes, float32, the same each time.
    """
    layers = [
        layer
        for layer in network.layers
        if not isinstance(layer, tf_keras.layers.Softmax)
        and layer.name not in _FRAMES
    ]
    watch = parity.traced(
        tf_keras.Model(network.input, [layer.output for layer in layers])
    )

    def values():
        for sample in samples():
            yield [np.asarray(value) for value in watch(sample)]

    ends = [[(v.min(), v.max()) for v in found] for found in values()]
    lows, highs = np.min(ends, 0)[:, 0], np.max(ends, 0)[:, 1]
    lows, highs = np.minimum(lows, 0.0), np.maximum(highs, 0.0)
    counts = np.zeros((len(layers), _BINS))
    rng = np.random.default_rng(0)
    for found in values():
        for row, value, low, high in zip(
            counts, found, lows, highs, strict=True
        ):
            if high > low:
                some = _some_of(value.ravel(), rng)
                row += np.histogram(some, _BINS, (low, high))[0]
    return {
        layer.name: best_range(row, float(low), float(high))
        for layer, row, low, high in zip(
            layers, counts, lows, highs, strict=True
        )
        if high > low
    }


def _some_of(values, rng):
    if len(values) <= _MOST_VALUES:
        return values
    return values[rng.integers(0, len(values), _MOST_VALUES)]


def best_range(
    counts: np.ndarray, low: float, high: float
) -> tuple[float, float]:
    """Returns the share of (low, high) with the least squared error.

    Args:
        counts: Histogram of the values over (low, high).
        low, high: At most 0 and at least 0, so that 0 is a step.

    >>> counts = np.zeros(2048)
    >>> counts[:1024] = 1000.0  # most values are in the lower half
    >>> counts[-1] = 1.0  # and a single one is at the end
    >>> low, high = best_range(counts, 0.0, 1.0)
    >>> round(high, 3)
    0.5
    """
    width = (high - low) / len(counts)
    centres = low + width * (np.arange(len(counts)) + 0.5)
    errors = []
    for share in _SHARES:
        outside = centres - np.clip(centres, low * share, high * share)
        rounding = (share * (high - low) / 255) ** 2 / 12
        squared = np.where(outside == 0, rounding, np.square(outside))
        errors.append(float((counts * squared).sum()))
    share = float(_SHARES[int(np.argmin(errors))])
    return low * share, high * share


def set_ranges(calibrated: bytes, ranges: Ranges) -> bytes:
    """Returns a calibrated graph with other ranges for some layers.

    Args:
        calibrated: From `quantize.calibrate`; see `quantize_calibrated`.
        ranges: Layer -> (lowest, highest) value of its output, or of an
            input. Layers that are not in the graph, as they were fused, are
            left out.
    """
    content = flatbuffer.unpack(calibrated)
    graph = content.subgraphs[0]
    made = [int(i) for operator in graph.operators for i in operator.outputs]
    made += [int(i) for i in graph.inputs]
    # A layer may take several operators; its output is the last.
    last = {_layer(graph.tensors[number]): number for number in made}
    for layer, (low, high) in ranges.items():
        if layer in last:
            _assign(graph.tensors[last[layer]], low, high)
    kinds = flatbuffer.kinds(content)
    for operator, kind in zip(graph.operators, kinds, strict=True):
        if kind in flatbuffer.SAME_SCALE:
            source = graph.tensors[operator.inputs[0]].quantization
            if source is not None and source.max is not None:
                low, high = float(source.min[0]), float(source.max[0])
                _assign(graph.tensors[operator.outputs[0]], low, high)
    return compact.pack(content)


def _layer(tensor) -> str:
    name = compact.short_name(tensor.name).decode().split("/")[0]
    return name.removeprefix("serving_default_").split(":")[0]


def _assign(tensor, low: float, high: float) -> None:
    found = tensor.quantization
    if found is not None and found.max is not None:
        found.min = np.array([low], np.float32)
        found.max = np.array([high], np.float32)
