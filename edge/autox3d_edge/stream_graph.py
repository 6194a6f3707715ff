"""Adds operators and states to the graph of a converted stream."""

from collections.abc import Sequence

import numpy as np

from autox3d_edge import compact, flatbuffer
from autox3d_edge import manifest as manifest_lib
from autox3d_edge import stream_lowering as names


class StreamGraph:
    """The graph of a converted stream, to which operators are added.

    Args:
        model: The flatbuffer.
        results: What its outputs are, in order.

    Attributes:
        inputs, outputs: Name -> number of a tensor; the border, as it will be.
    """

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
        """Returns the type of a tensor, of the schema's `TensorType`."""
        return self._graph.tensors[number].type

    def shape_of(self, number) -> tuple[int, ...]:
        """Returns the shape of a tensor."""
        return tuple(int(size) for size in self._graph.tensors[number].shape)

    def quantization(self, number) -> tuple[float, int]:
        """Returns the scale and zero point of a tensor with one of each."""
        found = self._graph.tensors[number].quantization
        return float(found.scale[0]), int(found.zeroPoint[0])

    def set_quantization(self, number, scale: float, zero: int) -> None:
        """Gives a tensor another scale and zero point."""
        found = self._graph.tensors[number].quantization
        found.scale = np.array([scale], np.float32)
        found.zeroPoint = np.array([zero], np.int64)

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
        """Adds a tensor of one value; returns its number."""
        number = self.tensor("constant", (1,), type(value))
        buffer = self._tables.BufferT()
        buffer.data = np.frombuffer(value.tobytes(), np.uint8)
        self._graph.tensors[number].buffer = len(self._content.buffers)
        self._content.buffers.append(buffer)
        return number

    def state(self, name, shape, dtype) -> int:
        """Adds an input; returns its number."""
        self.inputs[name] = self.tensor(name, shape, dtype)
        return self.inputs[name]

    def operator(self, code, inputs, result) -> None:
        """Adds an operator of a builtin kind."""
        kind = getattr(self._tables.BuiltinOperator, code)
        added = self._tables.OperatorT()
        added.opcodeIndex = self._code(kind)
        added.inputs, added.outputs = list(inputs), [result]
        name = {"MAXIMUM": "MaximumMinimum", "MINIMUM": "MaximumMinimum"}.get(
            code, code.capitalize()
        )
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
            name: name.removesuffix(names.PAST) + names.NEXT
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
            dtype=flatbuffer.type_name(tensor).lower(),
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
