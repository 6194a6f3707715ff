"""Closes the means over time of a converted stream, inside the .tflite.

`stream_lowering` leaves open what lies between the mean of one frame and the
mean so far. In float that is float arithmetic. In an int8 file it is integer
arithmetic on the quantized numbers: a running mean in 8 bits would lose what a
frame adds (a hundredth of a step rounds to nothing) and a float one would be a
float tensor in an int8 model. With `u` the mean of this frame, of `memory`
frames the network was trained with:

    n' = min(n + 1, memory)                  frames that count
    total = sum + u
    mean so far = total / n'
    sum' = total - mean so far               if n' = memory, else total

Up to `memory` frames that is the exact mean of all frames; after that, each
frame moves the mean by 1 / memory of its distance, so that a stream without an
end keeps reacting, and forgets.

Means of single frames differ more than those of many, so their steps are
larger, up to six times in networks that were looked at. Integers therefore
count 64ths of such a step, and become the steps of the mean so far by one
division. Rounding does not pile up: an error of the sum shrinks by 1 / memory
with each frame and gains at most half, so it stays below memory / 2, which is
a 128th of a step of the mean.
"""

import math
from collections.abc import Sequence

import numpy as np

from autox3d_edge import flatbuffer, stream_graph
from autox3d_edge import manifest as manifest_lib
from autox3d_edge import stream_lowering as names

COUNT, SUM = "frame_count", "_sum"
_FINE = 64  # parts of a step that integer sums count in
_LAST = 255  # of the numbers of uint8


def close_means(
    model: bytes,
    results: Sequence[str],
    memory: int,
    keep_means: bool = False,
    native: bool = False,
) -> tuple[bytes, tuple[manifest_lib.StreamState, ...]]:
    """Returns the flatbuffer with closed means, and its states.

    Args:
        model: Converted from `stream_lowering.lower_stream`.
        results: What its outputs are, in order.
        memory: Frames after which means begin to forget.
        keep_means: Make the means so far outputs too, for calibration.
        native: Leave earlier frames int8 at the border, not uint8.
    """
    graph = stream_graph.StreamGraph(model, results)
    _Means(graph, memory).close(keep_means)
    if native:
        graph.drop_conversions()
    states = graph.name_states()
    return graph.finish(), states


class _Means:
    """The operators between the mean of a frame and the mean so far."""

    def __init__(self, graph, memory):
        self._graph = graph
        means = [n for n in graph.outputs if n.endswith(names.MEAN)]
        self._names = [name.removesuffix(names.MEAN) for name in means]
        uint8 = flatbuffer.schema().TensorType.UINT8
        self._integer = graph.type_of(graph.outputs[means[0]]) == uint8
        self._dtype = np.int32 if self._integer else np.float32
        count = graph.state(COUNT, (1, 1, 1, 1), self._dtype)
        seen = self._make("ADD", count, self._constant(1))
        name = f"{COUNT}{names.NEXT}"
        self._count = self._make(
            "MINIMUM", seen, self._constant(memory), name=name
        )
        graph.outputs[name] = self._count
        # 1 once the memory is full, 0 before.
        full = self._make("SUB", self._count, self._constant(memory - 1))
        self._forgets = self._make("MAXIMUM", full, self._constant(0))
        if self._integer:
            self._half = self._make("DIV", self._count, self._constant(2))

    def close(self, keep_means):
        for name in self._names:
            self._close(name, keep_means)

    def _close(self, name, keep_means):
        graph = self._graph
        mean = graph.outputs.pop(f"{name}{names.MEAN}")
        so_far = graph.inputs.pop(f"{name}{names.SO_FAR}")
        shape = graph.shape_of(mean)
        total = graph.state(f"{name}{SUM}", shape, self._dtype)
        if self._integer:
            number = self._cast(mean, graph.tensor(name, shape, np.int32))
            fine = self._make("MUL", number, self._constant(_FINE))
            total = self._make("ADD", total, fine)
            rounded = self._make("ADD", total, self._half)
            result = self._make("DIV", rounded, self._count)
            self._requantize(result, mean, so_far)
        else:
            total = self._make("ADD", total, mean)
            result = self._make("DIV", total, self._count, result=so_far)
        forgotten = self._make("MUL", result, self._forgets)
        after = f"{name}{SUM}{names.NEXT}"
        graph.outputs[after] = self._make("SUB", total, forgotten, name=after)
        if keep_means:
            graph.outputs[f"{name}{names.SO_FAR}"] = so_far

    def _requantize(self, fine, mean, so_far):
        """A number of parts of a step of `mean` -> one of steps of `so_far`.

        The latter become a whole number of such parts: as large as they were
        or, by less than a part, larger.
        """
        graph = self._graph
        scale, zero = graph.quantization(mean)
        wanted, wanted_zero = graph.quantization(so_far)
        # One step that holds all of `mean` is the largest that makes sense.
        parts = math.ceil(min(wanted * _FINE / scale, _FINE * _LAST))
        step = scale * parts / _FINE
        first = min(_LAST, max(0, round(wanted_zero * wanted / step)))
        graph.set_quantization(so_far, step, first)
        # (fine - zero * _FINE) / parts + first, rounded. Of what is below 0,
        # and then is cut, division rounds the other way.
        shift = first * parts - zero * _FINE + parts // 2
        moved = self._make("ADD", fine, self._constant(shift))
        number = self._make("DIV", moved, self._constant(parts))
        number = self._make("MAXIMUM", number, self._constant(0))
        number = self._make("MINIMUM", number, self._constant(_LAST))
        self._cast(number, so_far)

    def _constant(self, value):
        return self._graph.constant(self._dtype(value))

    def _make(self, code, first, second, result=None, name="mean_step"):
        """An operator on two tensors, the second broadcast."""
        if result is None:
            shape = np.broadcast_shapes(
                *map(self._graph.shape_of, (first, second))
            )
            result = self._graph.tensor(name, shape, self._dtype)
        self._graph.operator(code, (first, second), result)
        return result

    def _cast(self, source, result):
        self._graph.operator("CAST", (source,), result)
        return result
