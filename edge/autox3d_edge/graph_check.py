"""Refuses graphs with which an interpreter would end the process.

Files that were exported hold few kinds of operators, on tensors of few types:
what else a file holds was put into it, and of much of that LiteRT 2.3 crashes
rather than say so. So it does of scales: an operator multiplies what it summed
up by (scale of the input * scale of the weights / scale of the output), which
beyond what a runtime can represent ends the process, too.
"""

import importlib.util
import re
import sys
from collections.abc import Iterator

import numpy as np

from autox3d_edge import flatbuffer

WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_FLOWING = "(FLOAT32|INT8|INT16)"  # types of what a clip becomes
_COUNTED = "(FLOAT32|INT8|INT16|INT32)"  # and of how many frames a stream saw
_SHAPED = rf"{_FLOWING}( INT32)+ > \1"
_SUMMED = (
    r"FLOAT32 (FLOAT32|INT8)( FLOAT32)? > FLOAT32"
    r"|INT8 INT8( INT32)? > INT8|INT16 INT8( INT64)? > INT16"
)
# Operators that exports hold -> the table of their options, and the types of
# what they take and make.
_KINDS = {
    "ADD": ("AddOptions", rf"{_COUNTED} \1 > \1"),
    "CAST": ("CastOptions", "UINT8 > INT32|INT32 > UINT8"),
    "CONCATENATION": ("ConcatenationOptions", rf"{_FLOWING}( \1)* > \1"),
    "CONV_2D": ("Conv2DOptions", _SUMMED),
    "DEPTHWISE_CONV_2D": ("DepthwiseConv2DOptions", _SUMMED),
    "DEQUANTIZE": ("(DequantizeOptions)?", "(FLOAT16|INT8|INT16) > FLOAT32"),
    "DIV": ("DivOptions", r"(FLOAT32|INT32) \1 > \1"),
    "FULLY_CONNECTED": ("FullyConnectedOptions", _SUMMED),
    "HARD_SWISH": ("(HardSwishOptions)?", r"(FLOAT32|INT8) > \1"),
    "LOGISTIC": ("", rf"{_FLOWING} > \1"),
    "MAXIMUM": ("MaximumMinimumOptions", r"(FLOAT32|INT32) \1 > \1"),
    "MEAN": ("ReducerOptions", _SHAPED),
    "MINIMUM": ("MaximumMinimumOptions", r"(FLOAT32|INT32) \1 > \1"),
    "MUL": ("MulOptions", rf"{_COUNTED} \1 > \1"),
    "PAD": ("PadOptions", _SHAPED),
    "PADV2": ("PadV2Options", rf"{_FLOWING} INT32 \1 > \1"),
    "QUANTIZE": (
        "(QuantizeOptions)?",
        "(UINT8|INT16|FLOAT32) > INT8|FLOAT32 > INT16|INT8 > UINT8",
    ),
    "RESHAPE": ("(ReshapeOptions)?", rf"{_FLOWING}( INT32)? > \1"),
    "SOFTMAX": ("SoftmaxOptions", rf"{_FLOWING} > \1"),
    "STRIDED_SLICE": ("StridedSliceOptions", _SHAPED),
    "SUB": ("SubOptions", r"(FLOAT32|INT32) \1 > \1"),
    "TRANSPOSE": ("(TransposeOptions)?", _SHAPED),
}
# XNNPACK takes no multiplier of a convolution from here on.
_WEIGHTED_LIMIT = 256.0
# An addition shifts its inputs by so many bits; twice the larger scale, over
# the scale of the output, must be below. From TFLite's add.cc.
_ADD_LIMITS = {"INT8": 2.0**20, "UINT8": 2.0**20, "INT16": 2.0**15}
# Of what a scale may be; up to 3 in networks, and of 1e37 all operators fail.
_SMALLEST, _LARGEST = float(np.finfo(np.float32).tiny), 1e10


def check(model: bytes) -> None:
    """Raises ValueError if an interpreter might crash on a flatbuffer.

    Or if it would reserve 2 GiB for one tensor.

    It takes ai-edge-litert, or a TensorFlow that is there anyway: nothing else
    has the schema, and beside tflite-runtime alone nothing is checked.
    """
    if not (
        importlib.util.find_spec("ai_edge_litert")
        or sys.modules.get("tensorflow")
    ):
        return
    problem = next(_problems(flatbuffer.unpack(model)), None)
    if problem:
        raise ValueError(
            "`model` must hold only what an export makes. Received: "
            f"{problem}. Copy or export it again."
        )


def _problems(content) -> Iterator[str]:
    if len(content.subgraphs) > 1:
        yield f"{len(content.subgraphs)} graphs in one file"
    graph = flatbuffer.graph_of(content)
    for number, operator in enumerate(graph.operators):
        what = f"operator {number}, {operator.code}"
        if operator.code not in _KINDS:
            yield what
            continue
        given = content.subgraphs[0].operators[number]
        options, types = _KINDS[operator.code]
        if not re.fullmatch(options, _kind_of(given)):
            yield f"{what}, with {_kind_of(given)}"
        found = _types(graph, operator)
        if not re.fullmatch(types, found):
            yield f"{what}, of types {found}"
        if operator.code == "CONCATENATION" and not _joins(
            graph, operator, given.builtinOptions.axis
        ):
            yield f"{what}, whose shapes do not fit"
    for name, message in scale_problems(graph):
        yield f"tensor {name}, which {message}"


def _kind_of(operator) -> str:
    """Returns the table that an operator's options are in, "" if in none."""
    options = operator.builtinOptions
    return "" if options is None else type(options).__name__.removesuffix("T")


def _joins(graph, operator, axis) -> bool:
    """Whether what an operator makes is as long as what it joins."""
    *joined, made = (
        graph.tensors[number].shape
        for number in (*operator.inputs, *operator.outputs)
    )
    if not -len(made) <= axis < len(made):
        return False
    total = sum(shape[axis] for shape in joined if len(shape) == len(made))
    axis %= len(made)
    return all(
        (*shape[:axis], total, *shape[axis + 1 :]) == made for shape in joined
    )


def _types(graph, operator) -> str:
    """Writes "INT8 INT32 > INT8" of what an operator takes and makes."""
    taken, made = (
        " ".join(graph.tensors[number].dtype for number in numbers)
        for numbers in (operator.inputs, operator.outputs)
    )
    return f"{taken} > {made}"


def scale_problems(graph: flatbuffer.Graph) -> Iterator[tuple[str, str]]:
    """Yields tensors whose scale no runtime can use, and what is wrong."""
    scales = {}  # the largest of each tensor that has usable ones
    for tensor in graph.tensors:
        bad = [s for s in tensor.scale if not _SMALLEST <= s <= _LARGEST]
        if bad:
            yield (
                tensor.name,
                f"has scale {bad[0]:g}, must be above 0, up to {_LARGEST:g}",
            )
        elif tensor.scale:
            scales[tensor.index] = max(tensor.scale)
    for operator in graph.operators:
        made = graph.tensors[operator.outputs[0]]
        multiplier, limit = _multiplier(operator, made, scales)
        if multiplier >= limit:
            yield (
                made.name,
                f"has scale {made.scale[0]:.3g}, so that {operator.code} would "
                f"multiply by {multiplier:.3g}, must be below {limit:g}",
            )


def _multiplier(operator, made, scales) -> tuple[float, float]:
    """What an operator multiplies by, and from where on that fails."""
    ends = (*operator.inputs[:2], made.index)
    if operator.code not in (*WEIGHTED, "ADD") or not scales.keys() >= {*ends}:
        return 0.0, np.inf  # Float, or reported already.
    first, second, scale = (scales[number] for number in ends)
    if operator.code == "ADD":
        limit = _ADD_LIMITS.get(made.dtype, np.inf)
        return 2 * max(first, second) / scale, limit
    limit = np.inf if made.dtype == "INT16" else _WEIGHTED_LIMIT
    return first * second / scale, limit
