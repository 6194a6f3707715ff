"""Scales of int8 tensors that a runtime can compute with.

An operator multiplies what it summed up by (scale of the input * scale of the
weights / scale of the output). Beyond what the runtime can represent LiteRT
2.3 does not refuse the file: it ends the process. It happens where a tensor
has no range on the calibration clips, such as the inner layer of a
squeeze-and-excite block whose relu lets nothing through.
"""

import collections
from collections.abc import Iterator

import numpy as np

from autox3d_edge import compact, flatbuffer, tap_scales

_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
# XNNPACK takes no multiplier of a convolution from here on.
_WEIGHTED_LIMIT = 256.0
# An addition shifts its inputs by so many bits; twice the larger scale, over
# the scale of the output, must be below. From TFLite's add.cc.
_ADD_LIMITS = {"INT8": 2.0**20, "UINT8": 2.0**20, "INT16": 2.0**15}
# No output is rounded more finely than to this share of the step in which its
# operator adds up: nothing is lost, and it is far from the limits.
_FINEST = 1 / 16
_SMALLEST = float(np.finfo(np.float32).tiny)


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
    if kind in _WEIGHTED:
        return [made], widths[0] * weight_steps[ends[1]] * _FINEST
    if kind == "ADD":
        return [made], max(widths) * _FINEST
    if kind in flatbuffer.SAME_SCALE and ends[0] in widened:
        return [made], widths[0]
    if kind == "CONCATENATION" and widened.intersection(ends):
        return [*ends, made], max(widths)
    return [], 0.0


def problems(graph: flatbuffer.Graph) -> Iterator[tuple[str, str]]:
    """Yields tensors whose scale no runtime can use, and what is wrong."""
    for tensor in graph.tensors:
        bad = _unusable(tensor)
        if bad:
            yield (
                tensor.name,
                f"has scale {bad[0]:g}, must be finite and above 0",
            )
    for operator in graph.operators:
        ends = [graph.tensors[i] for i in operator.inputs]
        made = graph.tensors[operator.outputs[0]]
        multiplier, limit = _multiplier(operator.code, ends, made)
        if multiplier >= limit:
            yield (
                made.name,
                f"has scale {made.scale[0]:.3g}, so that {operator.code} would "
                f"multiply by {multiplier:.3g}, must be below {limit:g}",
            )


def _unusable(tensor) -> list[float]:
    return [s for s in tensor.scale if not _SMALLEST <= s < np.inf]


def _multiplier(code, ends, made) -> tuple[float, float]:
    """What an operator multiplies by, and from where on that fails."""
    activations = ends[:2] if code == "ADD" else ends[:1]
    if code not in (*_WEIGHTED, "ADD") or not all(
        tensor.scale and not _unusable(tensor) for tensor in (*ends[:2], made)
    ):
        return 0.0, np.inf  # Float, or reported already.
    scale = max(tensor.scale[0] for tensor in activations)
    if code == "ADD":
        return 2 * scale / made.scale[0], _ADD_LIMITS.get(made.dtype, np.inf)
    limit = np.inf if made.dtype == "INT16" else _WEIGHTED_LIMIT
    return scale * max(ends[1].scale) / made.scale[0], limit


def _weight_steps(content, kinds) -> dict[int, float]:
    """Tensor of a kernel -> its coarsest step; taps share theirs."""
    graph = content.subgraphs[0]
    steps, groups = {}, collections.defaultdict(float)
    for operator, kind in zip(graph.operators, kinds, strict=True):
        if kind in _WEIGHTED:
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
