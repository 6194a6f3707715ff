"""What runtimes and accelerators can do with an operator: data, on paper.

The versions of `RUNTIMES` are checked; `ACCELERATORS` repeats operator lists
that vendors document. Drivers differ: what falls back on a device is seen on
the device.
"""

import collections
import dataclasses
from collections.abc import Mapping

from autox3d_edge import flatbuffer

# Newest version of each operator that a runtime knows, from its registration
# of builtin operators (tensorflow/lite/core/kernels/register.cc).
RUNTIMES: dict[str, dict[str, int]] = {
    "tflite-runtime 2.14": {
        "ADD": 5,
        "AVERAGE_POOL_2D": 3,
        "BATCH_MATMUL": 4,
        "CAST": 4,
        "CONCATENATION": 3,
        "CONV_2D": 7,
        "DEPTHWISE_CONV_2D": 7,
        "DEQUANTIZE": 5,
        "DIV": 2,
        "EXPAND_DIMS": 1,
        "FULLY_CONNECTED": 10,
        "HARD_SWISH": 1,
        "LOGISTIC": 3,
        "MAXIMUM": 4,
        "MEAN": 3,
        "MINIMUM": 4,
        "MUL": 7,
        "PAD": 4,
        "PADV2": 4,
        "QUANTIZE": 3,
        "RELU": 3,
        "RELU6": 3,
        "RESHAPE": 1,
        "SLICE": 5,
        "SOFTMAX": 3,
        "SPLIT": 4,
        "SQUEEZE": 2,
        "STRIDED_SLICE": 6,
        "SUB": 5,
        "SUM": 2,
        "TRANSPOSE": 6,
    },
}
# Operator -> the first runtimes with its versions 1, 2, ... (FindMinimum-
# RuntimeVersionForOp, tensorflow/lite/tools/versioning/runtime_version.cc).
# What is not here came with a later one.
_FIRST = {
    "ADD": "1.5 1.14 2.4 2.6",
    "AVERAGE_POOL_2D": "1.5 1.14 2.3",
    "BATCH_MATMUL": "2.3 2.3 2.4 2.5",
    "CAST": "1.5 2.7 2.8 2.9",
    "CONCATENATION": "1.5 1.14 2.3",
    "CONV_2D": "1.5 1.14 1.14 2.3 2.4 2.9",
    "DEPTHWISE_CONV_2D": "1.5 1.12 1.14 2.2 2.3 2.3",
    "DEQUANTIZE": "1.13 1.14 1.15 2.2 2.7",
    "DIV": "1.6 2.3",
    "EXPAND_DIMS": "1.10",
    "FULLY_CONNECTED": "1.5 1.10 1.14 1.14 2.0 2.1 2.3 2.3 2.3",
    "HARD_SWISH": "1.15",
    "LOGISTIC": "1.14 1.14 2.3",
    "MAXIMUM": "1.14 1.14 2.3 2.3",
    "MEAN": "1.6 1.14 2.4",
    "MINIMUM": "1.14 1.14 2.3 2.3",
    "MUL": "1.5 1.14 1.15 2.3 2.6",
    "PAD": "1.5 1.14 2.4 2.6",
    "PADV2": "1.9 1.14 2.4 2.6",
    "QUANTIZE": "1.14 1.15 2.7",
    "RELU": "1.5 2.1 2.5",
    "RELU6": "1.5 1.14 2.5",
    "RESHAPE": "1.5",
    "SLICE": "1.14 1.14 1.14 2.4 2.5",
    "SOFTMAX": "1.5 1.14 2.3",
    "SPLIT": "1.5 1.14 1.14 2.3",
    "SQUEEZE": "1.6 2.5",
    "STRIDED_SLICE": "1.6 1.14 2.1 2.2 2.5 2.6",
    "SUB": "1.6 1.14 2.3 2.4 2.4",
    "SUM": "1.10 1.15",
    "TRANSPOSE": "1.6 1.14 1.15 2.3 2.4",
}
NEWEST = "2.14"
# The version of each operator that first takes int16 (GetBuiltinOperator-
# Version, tensorflow/lite/tools/versioning/op_version.cc). Kernels of int8 came
# with it; the versions that name the type of biases are for other than int64.
INT16 = {
    "ADD": 3,
    "AVERAGE_POOL_2D": 3,
    "BATCH_MATMUL": 3,
    "CONCATENATION": 3,
    "CONV_2D": 4,
    "DEPTHWISE_CONV_2D": 5,
    "DEQUANTIZE": 3,
    "FULLY_CONNECTED": 7,
    "LOGISTIC": 3,
    "MAXIMUM": 4,
    "MEAN": 3,
    "MINIMUM": 4,
    "MUL": 4,
    "PAD": 3,
    "PADV2": 3,
    "QUANTIZE": 2,
    "RELU": 3,
    "RELU6": 3,
    "SLICE": 4,
    "SOFTMAX": 3,
    "SPLIT": 4,
    "SUB": 5,
    "TRANSPOSE": 5,
}


def first_runtime(operator: str, version: int) -> str:
    """Returns the release of tflite-runtime that first has an operator.

    At the latest `NEWEST`, for what it has: see `RUNTIMES`.

    >>> first_runtime("ADD", 2), first_runtime("ADD", 5)
    ('1.14', '2.14')
    """
    releases = _FIRST[operator].split()
    return releases[version - 1] if version <= len(releases) else NEWEST


def oldest_runtime(versions: Mapping[str, int]) -> str | None:
    """Returns the oldest release that has all operators; None if none does.

    >>> oldest_runtime({"ADD": 2, "MEAN": 3})
    '2.4'

    Args:
        versions: Operator -> version.
    """
    newest = RUNTIMES[f"tflite-runtime {NEWEST}"]
    if any(newest.get(name, 0) < version for name, version in versions.items()):
        return None
    firsts = [first_runtime(*item) for item in versions.items()]
    return max(firsts, key=_numbers, default=None)


def _numbers(release: str) -> list[int]:
    return [int(number) for number in release.split(".")]


def _of_release(release: str) -> dict[str, int]:
    """The newest version of each operator in an older release."""
    return {
        name: sum(
            _numbers(first) <= _numbers(release) for first in firsts.split()
        )
        for name, firsts in _FIRST.items()
    }


# Further ones that devices still have, such as Raspberry Pis with the Coral
# packages.
RUNTIMES |= {
    f"tflite-runtime {release}": _of_release(release)
    for release in ("2.5", "2.8", "2.11")
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Accelerator:
    """What an accelerator takes from a graph.

    Attributes:
        name: With the document that the list is from.
        operators: Builtin operators it runs.
        batch: Whether it takes tensors of more than one picture; here the
            frames of a clip are the batch.
        new_batch: Whether the batch of an operator's tensors may differ, as
            where a PAD adds frames.
        mixed_batches: Whether it takes anything of a graph whose tensors have
            batches of several sizes.
        integer_only: Whether float tensors stay on the CPU.
    """

    name: str
    operators: frozenset[str]
    batch: bool = True
    new_batch: bool = True
    mixed_batches: bool = True
    integer_only: bool = False


_ARITHMETIC = frozenset(
    {
        "ADD",
        "AVERAGE_POOL_2D",
        "CONCATENATION",
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "FULLY_CONNECTED",
        "LOGISTIC",
        "MAX_POOL_2D",
        "MAXIMUM",
        "MINIMUM",
        "MUL",
        "PAD",
        "PRELU",
        "RELU",
        "RELU6",
        "RESHAPE",
        "RESIZE_BILINEAR",
        "SOFTMAX",
        "STRIDED_SLICE",
        "SUB",
        "TRANSPOSE_CONV",
    }
)
# QUANTIZE and DEQUANTIZE: the guide's support for quantized models.
_GPU = _ARITHMETIC | {"EXP", "LSTM", "QUANTIZE", "DEQUANTIZE"}
ACCELERATORS = (
    Accelerator(
        name="GPU delegate, OpenCL (LiteRT GPU guide; up to the driver)",
        operators=_GPU,
        new_batch=False,
    ),
    # CheckBatchSizeForAllValues (tensorflow/lite/delegates/gpu/gl/api2.cc).
    Accelerator(
        name="GPU delegate, OpenGL (takes no graph of several batch sizes)",
        operators=_GPU,
        new_batch=False,
        mixed_batches=False,
    ),
    Accelerator(
        name="NNAPI delegate (deprecated from Android 15)",
        operators=_ARITHMETIC
        | {
            "DEQUANTIZE",
            "EXPAND_DIMS",
            "HARD_SWISH",
            "MEAN",
            "PADV2",
            "QUANTIZE",
            "SLICE",
            "SPLIT",
            "SQUEEZE",
            "TRANSPOSE",
        },
    ),
    Accelerator(
        name="Edge TPU (Coral: models on the Edge TPU)",
        operators=_ARITHMETIC
        | {
            "EXPAND_DIMS",
            "MEAN",
            "QUANTIZE",
            "SLICE",
            "SPLIT",
            "SQUEEZE",
            "SUM",
            "TRANSPOSE",
        },
        batch=False,
        integer_only=True,
    ),
)


def fall_back(graph: flatbuffer.Graph) -> dict[str, dict[str, int]]:
    """Returns, by accelerator, which operators would run on the CPU.

    On paper: see `ACCELERATORS`.
    """
    mixed = len(_batches(graph, *graph.operators)) > 1
    return {
        accelerator.name: dict(
            collections.Counter(
                operator.code
                for operator in graph.operators
                if (mixed and not accelerator.mixed_batches)
                or not _takes(accelerator, operator, graph)
            )
        )
        for accelerator in ACCELERATORS
    }


def format_fall_back(found: dict[str, dict[str, int]], operators: int) -> str:
    """Returns one line per accelerator.

    Args:
        found: From `fall_back`.
        operators: How many operators the graph has.
    """
    lines = ["on paper, operators that fall back to the CPU:"]
    for name, counts in found.items():
        which = ", ".join(f"{code} {n}" for code, n in sorted(counts.items()))
        total = sum(counts.values())
        if total in (0, operators):
            which = "all" if total else "none"
        lines.append(f"  {name}: {total} of {operators}: {which}")
    return "\n".join(lines)


def _takes(accelerator, operator, graph) -> bool:
    tensors = _activations(graph, operator)
    batches = _batches(graph, operator)
    return (
        operator.code in accelerator.operators
        and (accelerator.batch or batches <= {1})
        and (accelerator.new_batch or len(batches) < 2)
        and not (
            accelerator.integer_only
            and any("FLOAT" in tensor.dtype for tensor in tensors)
        )
    )


def _activations(graph, operator) -> list[flatbuffer.TensorInfo]:
    ends = (*operator.inputs, *operator.outputs)
    tensors = [graph.tensors[number] for number in ends]
    return [tensor for tensor in tensors if not tensor.constant]


def _batches(graph, *operators) -> set[int]:
    """Sizes of the first axis of all 4-D activations of operators."""
    return {
        tensor.shape[0]
        for operator in operators
        for tensor in _activations(graph, operator)
        if len(tensor.shape) == 4
    }
