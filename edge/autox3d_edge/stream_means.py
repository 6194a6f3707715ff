"""Closes the means over time of a converted stream, inside the .tflite.

`stream_lowering` leaves open what lies between the mean of one frame and the
mean so far. In float that is float arithmetic. In an int8 file it is integer
arithmetic on the quantized numbers: a running mean in 8 bits would lose what a
frame adds (a hundredth of a step rounds to nothing) and a float one would be a
float tensor in an int8 model. With `u` the mean of this frame, of `memory`
frames the network was trained with:

    count' = min(count + 1, memory + 1)      frames seen
    n = min(count', memory)
    sum' = sum - (count' - n) * round(sum / n) + u
    mean so far = round(sum' / n)

Up to `memory` frames that is the exact mean of all frames; after that, each
frame moves the mean by 1 / memory of its distance, so that a stream without an
end keeps reacting, and forgets. Rounding does not pile up: an error of the sum
shrinks by 1 / memory with each frame and gains at most half, so it stays below
memory / 2, which is half a step of the mean.
"""

from collections.abc import Sequence

import numpy as np

from autox3d_edge import flatbuffer, stream_graph
from autox3d_edge import manifest as manifest_lib
from autox3d_edge import stream_lowering as names

COUNT, SUM = "frame_count", "_sum"


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
        one, limit, full = (
            graph.constant(self._dtype(value))
            for value in (1, memory + 1, memory)
        )
        count = graph.state(COUNT, (1, 1, 1, 1), self._dtype)
        seen = self._make("ADD", count, one)
        seen = self._make("MINIMUM", seen, limit, name=f"{COUNT}{names.NEXT}")
        self._divisor = self._make("MINIMUM", seen, full)
        self._leaks = self._make("SUB", seen, self._divisor)
        if self._integer:
            two = graph.constant(self._dtype(2))
            self._half = self._make("DIV", self._divisor, two)
        graph.outputs[f"{COUNT}{names.NEXT}"] = seen

    def close(self, keep_means):
        for name in self._names:
            self._close(name, keep_means)

    def _close(self, name, keep_means):
        graph = self._graph
        mean = graph.outputs.pop(f"{name}{names.MEAN}")
        so_far = graph.inputs.pop(f"{name}{names.SO_FAR}")
        shape = graph.shape_of(mean)
        if self._integer:
            graph.share_quantization(mean, so_far)
            mean = self._cast(mean, graph.tensor(name, shape, np.int32))
        total = graph.state(f"{name}{SUM}", shape, self._dtype)
        leak = self._make("MUL", self._divide(total), self._leaks)
        total = self._make("SUB", total, leak)
        after = f"{name}{SUM}{names.NEXT}"
        total = self._make("ADD", total, mean, name=after)
        graph.outputs[after] = total
        result = self._divide(total, None if self._integer else so_far)
        if self._integer:
            self._cast(result, so_far)
        if keep_means:
            graph.outputs[f"{name}{names.SO_FAR}"] = so_far

    def _divide(self, total, result=None):
        if self._integer:
            total = self._make("ADD", total, self._half)
        return self._make("DIV", total, self._divisor, result=result)

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
