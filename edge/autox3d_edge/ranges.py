"""The ranges of an int8 network's activations: clipped, or learnt elsewhere.

An int8 tensor spreads 256 steps over its range. Where a few large values
stretch it, cutting them off rounds all others more finely.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
import tf_keras

from autox3d_edge import compact, flatbuffer, parity

_BINS = 2048
_MOST_VALUES = 1 << 16  # of a layer and a sample that are looked at one by one
_RUN = 64  # of them lie beside each other: each alone takes 5 times as long
_FRAMES = ("clip", "frame")  # inputs with the range of pixels
_PIXELS = ("stem_centre",)  # that nothing is cut off: steps are of one
_SHARES = np.linspace(1.0, 0.3, 29)  # of the whole range, tried in turn

Ranges = Mapping[str, tuple[float, float]]


class Watch:
    """Looks at what comes out of the layers of a network.

    Args:
        network: The float network. Its inputs have ranges too, all but the
            frames.
        samples: Yields what it takes, float32, the same each time.
    """

    def __init__(
        self, network: tf_keras.Model, samples: Callable[[], Iterable]
    ):
        self._layers = [
            layer
            for layer in network.layers
            if not isinstance(layer, tf_keras.layers.Softmax)
            and layer.name not in _FRAMES
        ]
        outputs = [layer.output for layer in self._layers]
        self._run = parity.traced(tf_keras.Model(network.input, outputs))
        self._samples = samples

    @functools.cached_property
    def seen(self) -> Ranges:
        """The least and the largest value of each layer."""
        ends = [
            [(value.min(), value.max()) for value in values]
            for values in self._values()
        ]
        lows, highs = np.min(ends, 0)[:, 0], np.max(ends, 0)[:, 1]
        return {
            layer.name: (float(low), float(high))
            for layer, low, high in zip(self._layers, lows, highs, strict=True)
        }

    @functools.cached_property
    def clipped(self) -> Ranges:
        """The range of each layer with the least mean squared error.

        The error of a range is what rounding to 256 steps makes of the values
        inside, which is nothing of the many that a relu has made 0, plus what
        is cut off of those outside. Of large layers it is that of values drawn
        at random, the same each time.
        """
        ends = np.array([self.seen[layer.name] for layer in self._layers])
        lows, highs = np.minimum(ends[:, 0], 0.0), np.maximum(ends[:, 1], 0.0)
        counts = np.zeros((len(self._layers), _BINS))
        draw = np.random.default_rng(0).random(_MOST_VALUES // _RUN)
        for number, values in enumerate(self._values()):
            for row, value, low, high in zip(
                counts, values, lows, highs, strict=True
            ):
                if high > low:
                    some = _some_of(value.ravel(), draw, number)
                    row += _histogram(some, low, high)
        return {
            layer.name: best_range(row, float(low), float(high))
            if high > low and layer.name not in _PIXELS
            else (float(low), float(high))
            for layer, row, low, high in zip(
                self._layers, counts, lows, highs, strict=True
            )
        }

    def _values(self) -> Iterator[list[np.ndarray]]:
        for sample in self._samples():
            yield [np.asarray(value) for value in self._run(sample)]


def _some_of(values, draw, number):
    """Runs of values at places drawn once and moved on for each sample."""
    if len(values) <= _MOST_VALUES:
        return values
    runs = values[: len(values) // _RUN * _RUN].reshape(-1, _RUN)
    places = (draw * len(runs)).astype(np.int64) + number
    return runs[places % len(runs)].ravel()


def _histogram(values, low, high) -> np.ndarray:
    """As `np.histogram`, in a third of the time."""
    bins = ((values - low) * (_BINS / (high - low))).astype(np.int32)
    return np.bincount(bins.clip(0, _BINS - 1), minlength=_BINS)


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
        step = share * (high - low) / 255
        rounded = np.rint(centres / step) * step
        squared = np.square(rounded.clip(low * share, high * share) - centres)
        errors.append(float((counts * squared).sum()))
    share = float(_SHARES[int(np.argmin(errors))])
    return low * share, high * share


def set_ranges(calibrated: bytes, ranges: Ranges) -> bytes:
    """Returns a calibrated graph with other ranges for some layers.

    Args:
        calibrated: From `quantize.calibrate`; see `quantize_calibrated`.
        ranges: Layer -> (lowest, highest) value of its output, or of an
            input, in the order of the network. Layers that are not in the
            graph, as they were fused, are left out.
    """
    content = flatbuffer.unpack(calibrated)
    graph = content.subgraphs[0]
    kinds = flatbuffer.kinds(content)
    kept = {  # what a rearrangement makes -> what it is made of
        int(operator.outputs[0]): int(operator.inputs[0])
        for operator, kind in zip(graph.operators, kinds, strict=True)
        if kind in flatbuffer.SAME_SCALE
    }
    made = [int(i) for operator in graph.operators for i in operator.outputs]
    made += [int(i) for i in graph.inputs]
    places = {layer: place for place, layer in enumerate(ranges)}
    layers = {number: _layer(graph.tensors[number], places) for number in made}
    # A layer may take several operators; its output is the last.
    last = {layer: number for number, layer in layers.items()}
    for layer, (low, high) in ranges.items():
        number = last.get(layer)
        while number is not None and layers.get(number) == layer:
            _assign(graph.tensors[number], low, high)
            number = kept.get(number)  # has the same values
    for number, source in kept.items():
        found = graph.tensors[source].quantization
        if found is not None and found.max is not None:
            low, high = float(found.min[0]), float(found.max[0])
            _assign(graph.tensors[number], low, high)
    return compact.pack(content)


def _layer(tensor, places) -> str:
    """Of layers that were fused into one operator, the last."""
    names = [compact.layer_of(name) for name in tensor.name.split(b";")]
    names = [
        name.removeprefix("serving_default_").split(":")[0] for name in names
    ]
    known = [name for name in names if name in places]
    return max(known, key=places.get) if known else names[0]


def _assign(tensor, low: float, high: float) -> None:
    found = tensor.quantization
    if found is not None and found.max is not None:
        found.min = np.array([low], np.float32)
        found.max = np.array([high], np.float32)
