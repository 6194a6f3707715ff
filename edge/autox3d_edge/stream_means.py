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

from autox3d_edge import compact, flatbuffer
from autox3d_edge import manifest as manifest_lib
from autox3d_edge import stream_lowering as names

COUNT, SUM, AFTER = "frame_count", "_sum", "_next"


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
    editor = _Editor(model, results)
    _Means(editor, memory).close(keep_means)
    if native:
        editor.drop_conversions()
    states = editor.name_states()
    return editor.finish(), states


class _Means:
    """The operators between the mean of a frame and the mean so far."""

    def __init__(self, editor, memory):
        self._editor = editor
        means = [n for n in editor.outputs if n.endswith(names.MEAN)]
        self._names = [name.removesuffix(names.MEAN) for name in means]
        self._types = flatbuffer.schema().TensorType
        quantized = editor.type_of(editor.outputs[means[0]]) == (
            self._types.UINT8
        )
        self._dtype = np.int32 if quantized else np.float32
        one, limit, full = (
            editor.constant(self._dtype(value))
            for value in (1, memory + 1, memory)
        )
        count = editor.state(COUNT, (1, 1, 1, 1), self._dtype)
        seen = self._make("ADD", count, one)
        seen = self._make("MINIMUM", seen, limit, name=f"{COUNT}{AFTER}")
        self._divisor = self._make("MINIMUM", seen, full)
        self._leaks = self._make("SUB", seen, self._divisor)
        self._half = None
        if quantized:
            two = editor.constant(self._dtype(2))
            self._half = self._make("DIV", self._divisor, two)
        editor.outputs[f"{COUNT}{AFTER}"] = seen

    def close(self, keep_means):
        for name in self._names:
            self._close(name, keep_means)

    def _close(self, name, keep_means):
        editor = self._editor
        mean = editor.outputs.pop(f"{name}{names.MEAN}")
        so_far = editor.inputs.pop(f"{name}{names.SO_FAR}")
        shape = editor.shape_of(mean)
        if self._half is not None:
            editor.share_quantization(mean, so_far)
            mean = self._cast(mean, editor.tensor(name, shape, np.int32))
        total = editor.state(f"{name}{SUM}", shape, self._dtype)
        leak = self._make("MUL", self._divide(total), self._leaks)
        total = self._make("SUB", total, leak)
        after = f"{name}{SUM}{AFTER}"
        total = self._make("ADD", total, mean, name=after)
        editor.outputs[after] = total
        result = self._divide(total, None if self._half is not None else so_far)
        if self._half is not None:
            self._cast(result, so_far)
        if keep_means:
            editor.outputs[f"{name}{names.SO_FAR}"] = so_far

    def _divide(self, total, result=None):
        if self._half is not None:
            total = self._make("ADD", total, self._half)
        return self._make("DIV", total, self._divisor, result=result)

    def _make(self, code, first, second, result=None, name="mean_step"):
        """An operator on two tensors, the second broadcast."""
        if result is None:
            shape = np.broadcast_shapes(
                *map(self._editor.shape_of, (first, second))
            )
            result = self._editor.tensor(name, shape, self._dtype)
        self._editor.operator(code, (first, second), result)
        return result

    def _cast(self, source, result):
        self._editor.operator("CAST", (source,), result)
        return result


class _Editor:
    """A graph to which states and operators are added."""

    def __init__(self, model: bytes, results: Sequence[str]):
        self._content = flatbuffer.unpack(model)
        self._graph = self._content.subgraphs[0]
        self._tables = flatbuffer.schema()
        (self._signature,) = self._content.signatureDefs
        self.inputs, self.outputs = (
            {end.name.decode(): end.tensorIndex for end in ends}
            for ends in (self._signature.inputs, self._signature.outputs)
        )
        self.outputs = {  # The converter calls them output_0, output_1, ...
            results[int(name.rsplit("_", 1)[1])]: number
            for name, number in self.outputs.items()
        }
        self.outputs[manifest_lib.SCORES] = self.outputs.pop(names.SCORES)

    def type_of(self, number):
        return self._graph.tensors[number].type

    def shape_of(self, number) -> tuple[int, ...]:
        return tuple(int(size) for size in self._graph.tensors[number].shape)

    def share_quantization(self, source, target):
        tensors = self._graph.tensors
        tensors[target].quantization = tensors[source].quantization

    def tensor(self, name, shape, dtype) -> int:
        """Adds a tensor; returns its number."""
        added = self._tables.TensorT()
        added.name, added.shape = name.encode(), list(shape)
        added.type = {
            np.int32: self._tables.TensorType.INT32,
            np.float32: self._tables.TensorType.FLOAT32,
        }[dtype]
        added.buffer = 0
        self._graph.tensors.append(added)
        return len(self._graph.tensors) - 1

    def constant(self, value) -> int:
        number = self.tensor("constant", (1, 1, 1, 1), type(value))
        buffer = self._tables.BufferT()
        buffer.data = np.frombuffer(value.tobytes(), np.uint8)
        self._graph.tensors[number].buffer = len(self._content.buffers)
        self._content.buffers.append(buffer)
        return number

    def state(self, name, shape, dtype) -> int:
        self.inputs[name] = self.tensor(name, shape, dtype)
        return self.inputs[name]

    def operator(self, code, inputs, result) -> None:
        """Adds an operator of a builtin kind."""
        kind = getattr(self._tables.BuiltinOperator, code)
        added = self._tables.OperatorT()
        added.opcodeIndex = self._code(kind)
        added.inputs, added.outputs = list(inputs), [result]
        name = {"MINIMUM": "MaximumMinimum"}.get(code, code.capitalize())
        added.builtinOptionsType = getattr(
            self._tables.BuiltinOptions, f"{name}Options"
        )
        added.builtinOptions = getattr(self._tables, f"{name}OptionsT")()
        if code == "CAST":
            added.builtinOptions.inDataType = self.type_of(inputs[0])
            added.builtinOptions.outDataType = self.type_of(result)
        self._graph.operators.append(added)

    def _code(self, kind) -> int:
        for number, known in enumerate(self._content.operatorCodes):
            if (known.builtinCode, known.version) == (kind, 1):
                return number
        code = self._tables.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = kind
        code.version = 1
        self._content.operatorCodes.append(code)
        return len(self._content.operatorCodes) - 1

    def drop_conversions(self) -> None:
        """Makes the int8 tensors behind the uint8 frames the border."""
        operators = self._graph.operators
        for name, number in self.inputs.items():
            if name.endswith(names.PAST):
                (change,) = (o for o in operators if number in o.inputs)
                self.inputs[name] = int(change.outputs[0])
                operators.remove(change)
        for name, number in self.outputs.items():
            if self.type_of(number) == self._tables.TensorType.UINT8 and (
                name != manifest_lib.SCORES
            ):
                (change,) = (o for o in operators if number in o.outputs)
                self.outputs[name] = int(change.inputs[0])
                operators.remove(change)

    def name_states(self) -> tuple[manifest_lib.StreamState, ...]:
        """Names the tensors at the border; returns those that come in pairs."""
        for number, name in [
            (number, name)
            for ends in (self.inputs, self.outputs)
            for name, number in ends.items()
        ]:
            self._graph.tensors[number].name = name.encode()
        pairs = {
            name: name.removesuffix(names.PAST) + AFTER
            for name in self.inputs
            if name != manifest_lib.FRAME
        }
        return tuple(self._state(*pair) for pair in pairs.items())

    def _state(self, source, result):
        tensor = self._graph.tensors[self.inputs[source]]
        types = self._tables.TensorType
        quantized = tensor.type in (types.UINT8, types.INT8)
        zero = tensor.quantization.zeroPoint[0] if quantized else 0
        return manifest_lib.StreamState(
            input=source,
            output=result,
            shape=self.shape_of(self.inputs[source]),
            dtype={
                types.UINT8: "uint8",
                types.INT8: "int8",
                types.INT32: "int32",
                types.FLOAT32: "float32",
            }[tensor.type],
            initial=int(zero),
        )

    def finish(self) -> bytes:
        """Returns the flatbuffer, its operators in an order that runs."""
        graph, signature = self._graph, self._signature
        for ends, side, first in (
            (self.inputs, "inputs", manifest_lib.FRAME),
            (self.outputs, "outputs", manifest_lib.SCORES),
        ):
            ends = {first: ends[first], **ends}
            setattr(graph, side, list(ends.values()))
            setattr(signature, side, [self._end(*end) for end in ends.items()])
        graph.operators = self._in_order(graph.operators)
        self._content.metadata = self._content.metadataBuffer = None
        return compact.pack(self._content)

    def _end(self, name, number):
        end = self._tables.TensorMapT()
        end.name, end.tensorIndex = name.encode(), number
        return end

    def _in_order(self, operators):
        made = {i for operator in operators for i in operator.outputs}
        ready, ordered, waiting = set(), [], list(operators)
        while waiting:
            blocked = []
            for operator in waiting:
                needs = {i for i in operator.inputs if i in made}
                if needs <= ready:
                    ordered.append(operator)
                    ready.update(operator.outputs)
                else:
                    blocked.append(operator)
            assert len(blocked) < len(waiting), "the graph has a loop"
            waiting = blocked
        return ordered
