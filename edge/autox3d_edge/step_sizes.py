"""Scales of int8 tensors that a runtime can compute with.

A tensor that has no range on the calibration clips, such as the inner layer of
a squeeze-and-excite block whose relu lets nothing through, would get a scale
beyond them; see `graph_check`.
"""

import collections

import numpy as np

from autox3d_edge import compact, flatbuffer, graph_check, tap_scales

# No output is rounded more finely than to this share of the step in which its
# operator adds up: nothing is lost, and it is far from the limits.
_FINEST = 1 / 16


def widen(calibrated: bytes) -> bytes:
    """Returns a calibrated graph without ranges too narrow for a runtime.

    Args:
        calibrated: From `quantize.calibrate`; it is returned as it is if its
            ranges are wide enough.
    """
    content = flatbuffer.unpack(calibrated)
    graph = content.subgraphs[0]
    kinds = flatbuffer.kinds(content)
    weight_steps, widened = _weight_steps(content, kinds), set()
    known = -1
    # Frames that a stream holds are read before it is seen what joins them.
    while known < len(widened):
        known = len(widened)
        for operator, kind in zip(graph.operators, kinds, strict=True):
            numbers, wanted = _least_width(
                graph, operator, kind, weight_steps, widened
            )
            for number in numbers:
                if 0 <= _width(graph.tensors[number]) < wanted:
                    # Of no range at all the quantizer makes a scale of 8e-9.
                    _set_width(graph.tensors[number], wanted)
                    widened.add(number)
    return compact.pack(content) if widened else calibrated


def _least_width(
    graph, operator, kind, weight_steps, widened
) -> tuple[list[int], float]:
    """Tensors of an operator, and the least width that their ranges need."""
    ends = [int(i) for i in operator.inputs if i >= 0]
    made = int(operator.outputs[0])
    widths = [_width(graph.tensors[i]) for i in ends]
    if kind in graph_check.WEIGHTED:
        return [made], widths[0] * weight_steps[ends[1]] * _FINEST
    if kind == "ADD":
        return [made], max(widths) * _FINEST
    if kind in flatbuffer.SAME_SCALE and ends[0] in widened:
        return [made], widths[0]
    if kind == "CONCATENATION" and widened.intersection(ends):
        return [*ends, made], max(widths)
    return [], 0.0


def _weight_steps(content, kinds) -> dict[int, float]:
    """Tensor of a kernel -> its coarsest step; taps share theirs."""
    graph = content.subgraphs[0]
    steps, groups = {}, collections.defaultdict(float)
    for operator, kind in zip(graph.operators, kinds, strict=True):
        if kind in graph_check.WEIGHTED:
            number = int(operator.inputs[1])
            tensor = graph.tensors[number]
            data = content.buffers[tensor.buffer].data.view(np.float32)
            steps[number] = float(np.abs(data).max()) / tap_scales.LEVELS
            group = tap_scales.kernel_name(tensor.name) or number
            groups[group] = max(groups[group], steps[number])
    return {
        number: groups[
            tap_scales.kernel_name(graph.tensors[number].name) or number
        ]
        for number in steps
    }


def _ends(tensor) -> tuple[float, float] | None:
    found = tensor.quantization
    if found is None or found.max is None or not len(found.max):
        return None
    return min(float(found.min[0]), 0.0), max(float(found.max[0]), 0.0)


def _width(tensor) -> float:
    """Width of a tensor's range; negative if it has none."""
    ends = _ends(tensor)
    return -1.0 if ends is None else ends[1] - ends[0]


def _set_width(tensor, width: float) -> None:
    low, _ = _ends(tensor)
    tensor.quantization.min = np.array([low], np.float32)
    tensor.quantization.max = np.array([low + width], np.float32)
