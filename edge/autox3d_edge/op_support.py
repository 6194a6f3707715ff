"""What runtimes and accelerators can do with an operator: data, on paper.

The versions of `RUNTIMES` are checked; `ACCELERATORS` repeats operator lists
that vendors document. Drivers differ: what falls back on a device is seen on
the device.
"""

import collections
import dataclasses

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Accelerator:
    """What an accelerator takes from a graph.

    Attributes:
        name: With the document that the list is from.
        operators: Builtin operators it runs.
        batch: Whether it takes tensors of more than one picture; here the
            frames of a clip are the batch.
        integer_only: Whether float tensors stay on the CPU.
    """

    name: str
    operators: frozenset[str]
    batch: bool = True
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
ACCELERATORS = (
    Accelerator(
        name="GPU delegate (LiteRT GPU guide)",
        # QUANTIZE and DEQUANTIZE: the guide's support for quantized models.
        operators=_ARITHMETIC | {"EXP", "LSTM", "QUANTIZE", "DEQUANTIZE"},
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
    return {
        accelerator.name: dict(
            collections.Counter(
                operator.code
                for operator in graph.operators
                if not _takes(accelerator, operator, graph)
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
        lines.append(f"  {name}: {total} of {operators}: {which or 'none'}")
    return "\n".join(lines)


def _takes(accelerator, operator, graph) -> bool:
    tensors = [
        graph.tensors[number]
        for number in (*operator.inputs, *operator.outputs)
        if not graph.tensors[number].constant
    ]
    if accelerator.integer_only and any("FLOAT" in t.dtype for t in tensors):
        return False
    if not accelerator.batch and any(
        len(t.shape) == 4 and t.shape[0] > 1 for t in tensors
    ):
        return False
    return operator.code in accelerator.operators
