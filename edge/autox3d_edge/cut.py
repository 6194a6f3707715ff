"""Cuts a piece out of a .tflite: a smaller file that runs alone.

A piece is what computes one tensor from another, with the operators, scales
and constants it has inside the whole file. So a block can be timed exactly as
it will run, and without converting it by itself.
"""

import copy
from collections.abc import Iterator, Mapping

import flatbuffers

from autox3d_edge import compact, flatbuffer


class Cutter:
    """Cuts pieces out of one file.

    Args:
        model: The flatbuffer.

    Attributes:
        layers: Layer name -> number of the last tensor the layer makes.
    """

    def __init__(self, model: bytes):
        self._content = flatbuffer.unpack(model)
        (self._graph,) = self._content.subgraphs
        self.layers = {}
        for operator in self._graph.operators:
            for output in operator.outputs:
                layer = compact.layer_of(self._graph.tensors[output].name)
                self.layers[layer] = int(output)

    def cut(self, start: int | None, end: int | None) -> bytes:
        """Returns the piece that computes tensor `end` from tensor `start`.

        Of a stream it also takes the states that it needs, and gives what it
        makes for the next frame, under their names.

        Args:
            start: Number of the tensor that becomes the input; the model's
                own input if None.
            end: Number of the tensor that becomes the output; the model's own
                output if None.

        Raises:
            ValueError: `end` depends on something before `start`, or not on
                it.
        """
        whole = self._graph
        start = int(whole.inputs[0]) if start is None else start
        end = int(whole.outputs[0]) if end is None else end
        source, *states = map(int, whole.inputs)
        _, reached = _made_of(whole, [end], {start})
        for wrong, text in (
            (start != source and source in reached, "also needs the input"),
            (start not in reached, "does not"),
        ):
            if wrong:
                raise ValueError(
                    "`end` must depend on `start`, and on nothing before it. "
                    f"Received: start={start}, end={end}, which {text}."
                )
        ends = [end, *self._carried(start, end)]
        operators, reached = _made_of(whole, ends, {start})
        given = [start, *(state for state in states if state in reached)]
        return self._pack(operators, given, ends)

    def operators(self) -> Iterator[tuple[int, bytes]]:
        """Yields each operator's number and a file of it alone, in order.

        One of constants only, such as the weights of fp16, has no file of its
        own: it is in those of what takes its output, as XNNPACK refuses a
        convolution whose weights are an input.
        """
        made = set(map(int, self._graph.inputs))
        for number, operator in enumerate(self._graph.operators):
            given = [int(i) for i in operator.inputs if int(i) in made]
            if not given:
                continue
            results = list(map(int, operator.outputs))
            made.update(results)
            operators, _ = _made_of(self._graph, results, set(given))
            given = list(dict.fromkeys(given))
            yield number, self._pack(operators, given, results)

    def _carried(self, start, end) -> list[int]:
        """What is made between two tensors for the next frame."""
        carried = []
        for output in map(int, self._graph.outputs):
            _, reached = _made_of(self._graph, [output], {start, end})
            if start in reached and end not in reached:
                carried.append(output)
        return carried

    def _pack(self, operators, inputs, outputs) -> bytes:
        """The file of some operators."""
        graph, content = copy.copy(self._graph), copy.copy(self._content)
        graph.operators = [copy.copy(operator) for operator in operators]
        graph.inputs, graph.outputs = inputs, outputs
        content.subgraphs = [graph]
        content.signatureDefs = content.metadata = None
        content.metadataBuffer = None
        compact.drop_unused(content)
        graph.tensors = [copy.copy(tensor) for tensor in graph.tensors]
        content.buffers = _keep_buffers(content.buffers, graph.tensors)
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(content.Pack(builder), flatbuffer.IDENTIFIER)
        return bytes(builder.Output())

    def parts(self, ends: Mapping[str, str | None]) -> dict[str, bytes]:
        """Cuts a network into consecutive pieces.

        Args:
            ends: Name of a piece -> layer whose output ends it; None for the
                network's output.
        """
        pieces, start = {}, None
        for name, layer in ends.items():
            end = None if layer is None else self.layers[layer]
            pieces[name] = self.cut(start, end)
            start = end
        return pieces


def _made_of(graph, ends, stops):
    """The operators that `ends` need, in order, and the tensors they meet."""
    made_by = {
        int(output): operator
        for operator in graph.operators
        for output in operator.outputs
    }
    needed, pending, reached = set(), list(ends), set()
    while pending:
        tensor = pending.pop()
        reached.add(tensor)
        if tensor in made_by and tensor not in stops:
            operator = made_by[tensor]
            if id(operator) not in needed:
                needed.add(id(operator))
                pending += [int(i) for i in operator.inputs if i >= 0]
    return [o for o in graph.operators if id(o) in needed], reached


def _keep_buffers(buffers, tensors):
    """The constants that tensors refer to; number 0 is always empty."""
    used = sorted({0} | {tensor.buffer for tensor in tensors})
    numbers = {old: new for new, old in enumerate(used)}
    for tensor in tensors:
        tensor.buffer = numbers[tensor.buffer]
    return [buffers[old] for old in used]
