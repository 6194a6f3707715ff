"""One scale for all temporal taps of a channel, instead of one per tap.

A full 3-D depthwise kernel runs as one 2-D kernel per tap. Rounded with the
scale of the widest, taps share their tables of scales; rounding then costs
the others as much as it costs that one.
"""

import collections

import numpy as np

from autox3d_edge import compact, flatbuffer

LEVELS = 127  # steps on either side of 0


def share(content, calibrated) -> None:
    """Rounds the taps of each kernel anew, in place.

    Args:
        content: `ModelT` of the int8 network, each constant in a buffer of
            its own (`compact.separate_buffers`).
        calibrated: `ModelT` of the float network it was made from.
    """
    graph, floats = content.subgraphs[0], calibrated.subgraphs[0]
    kernels = {
        compact.short_name(tensor.name): calibrated.buffers[tensor.buffer].data
        for tensor in floats.tensors
        if kernel_name(tensor.name)
        and len(tensor.shape) == 4
        and flatbuffer.held(tensor, calibrated.buffers)
    }
    taps = collections.defaultdict(list)
    for operator in graph.operators:
        if len(operator.inputs) == 3 and operator.inputs[1] >= 0:
            kernel = graph.tensors[operator.inputs[1]]
            name = compact.short_name(kernel.name)
            if name in kernels and flatbuffer.held(kernel, content.buffers):
                taps[kernel_name(name)].append(
                    (operator, kernel, kernels[name])
                )
    for name, group in taps.items():
        if any(kernel.quantization.scale is None for _, kernel, _ in group):
            raise ValueError(
                f"The converter has left taps of {name.decode()} in float. "
                "Give the part another kernel, or take a float precision."
            )
        scales = [kernel.quantization.scale for _, kernel, _ in group]
        scale = np.max(scales, 0)
        for operator, kernel, data in group:
            _round_anew(content, operator, kernel, data, scale)


def _round_anew(content, operator, kernel, data, scale) -> None:
    graph = content.subgraphs[0]
    values = data.view(np.float32).reshape(kernel.shape)  # (1, h, w, C)
    steps = np.rint(values / scale).clip(-LEVELS, LEVELS).astype(np.int8)
    content.buffers[kernel.buffer].data = steps.reshape(-1).view(np.uint8)
    source = graph.tensors[operator.inputs[0]].quantization.scale[0]
    bias = graph.tensors[operator.inputs[2]]
    numbers = content.buffers[bias.buffer].data.view(np.int32)
    before, after = bias.quantization.scale, source * scale
    numbers = np.rint(numbers * (before / after)).astype(np.int32)
    content.buffers[bias.buffer].data = numbers.view(np.uint8)
    kernel.quantization.scale = scale
    bias.quantization.scale = after


def kernel_name(name: bytes) -> bytes | None:
    """Name of the kernel that a tap belongs to, None for other layers."""
    layer, found, number = compact.short_name(name).rpartition(b"_tap")
    return layer if found and number.isdigit() else None
