"""Leaves the subtraction of the mean pixel to the zero point of the input.

A network subtracts 114.75 from its pixels first. In int8 all steps before and
behind are of 1, so that this moves the zero point by 115 and no number: the
input can say so by itself. The operation takes runtimes without XNNPACK for
integers, such as tflite-runtime 2.14, a tenth of their time.
"""

import itertools

import numpy as np

from autox3d_edge import compact, flatbuffer

ZERO_POINTS = (0, 115)  # of an input that may be fed decoded frames
# How such a network begins; of odd sizes the convolution pads by itself.
_CHAINS = (
    ("QUANTIZE", "ADD", "PAD", "CONV_2D"),
    ("QUANTIZE", "ADD", "CONV_2D"),
)


def absorb(model: bytes) -> bytes:
    """Returns an int8 network without that subtraction.

    One that does not begin with it, as its first part is wider, stays as it
    is. What the mean is less than 115 becomes part of the first bias: pixels
    are as they were, what pads is 115, as 114.75 would be rounded to.
    """
    content = flatbuffer.unpack(model)
    graph = content.subgraphs[0]
    chain = _chain(graph, flatbuffer.kinds(content))
    if chain is None:
        return model
    entry, addition, *_, convolution = chain
    source, inside, shift, centred = (
        graph.tensors[number]
        for number in (
            *entry.inputs,
            *addition.inputs,
            *addition.outputs,
        )
    )
    types = [flatbuffer.type_name(t) for t in (source, inside, centred)]
    constant = flatbuffer.held(shift, content.buffers)
    if types != ["UINT8", "INT8", "INT8"] or not constant:
        return model
    steps = [tensor.quantization for tensor in (source, inside, centred)]
    if any(step.scale[0] != 1 for step in steps):
        return model
    value = -float(_real(shift, content))
    moved = int(steps[2].zeroPoint[0] - steps[1].zeroPoint[0])
    if moved != round(value):
        return model
    steps[0].zeroPoint = steps[0].zeroPoint + moved
    entry.outputs = addition.outputs
    graph.operators.remove(addition)
    _move_into_bias(content, convolution, moved - value)
    compact.drop_unused(content)
    return compact.compact(compact.pack(content))


def _move_into_bias(content, convolution, difference: float) -> None:
    """Makes a bias add `difference` to all that a convolution takes in."""
    graph = content.subgraphs[0]
    _, kernel, bias = (graph.tensors[i] for i in convolution.inputs)
    compact.separate_buffers(content)
    data = content.buffers[kernel.buffer].data.view(np.int8)
    sums = data.reshape(kernel.shape[0], -1).sum(1, dtype=np.int64)
    biases = content.buffers[bias.buffer]
    changed = biases.data.view(np.int32) + np.rint(difference * sums)
    biases.data = changed.astype(np.int32).view(np.uint8)


def _chain(graph, kinds):
    """The operators from an input to the first convolution, or None."""
    users = {}
    for operator, kind in zip(graph.operators, kinds, strict=True):
        for number in operator.inputs:
            users.setdefault((int(number), kind), []).append(operator)
    for start, wanted in itertools.product(map(int, graph.inputs), _CHAINS):
        chain, number = [], start
        for kind in wanted:
            found = users.get((number, kind), ())
            if len(found) != 1:
                break
            chain += found
            number = int(found[0].outputs[0])
        else:
            return chain
    return None


def _real(tensor, content):
    """The value of a constant of one int8 number."""
    (number,) = content.buffers[tensor.buffer].data.view(np.int8)
    step = tensor.quantization
    return (number - step.zeroPoint[0]) * step.scale[0]
