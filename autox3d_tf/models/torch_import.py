"""X3D checkpoints of SlowFast and PyTorchVideo, in and out.

Both are files {"model_state": tensors by name}. They are read without
PyTorch, and nothing in them is run (see `torch_file`).
"""

import collections
import dataclasses
import os
from collections.abc import Mapping

import keras
import numpy as np

from autox3d_tf.base import text as text_lib
from autox3d_tf.models import (
    torch_checkpoint,
    torch_names,
    torch_write,
    x3d,
)
from autox3d_tf.space import weight_names

_LOGITS = ("head/logits_kernel", "head/logits_bias")
_WAY_OUT = (
    "Build the model from models.architecture_of_checkpoint(path), or choose "
    "the checkpoint of this architecture."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImportReport:
    """What became of a checkpoint.

    Attributes:
        source: "SlowFast" or "PyTorchVideo".
        loaded: Weights of the model that the file gave.
        left: Tensors and entries of the file that were not used.
        missing: Weights of the model that the file does not have.
        identity: Of these, batch norms set to change nothing.
        converted: dtype in the file -> number of tensors made float32.
    """

    source: str
    loaded: tuple[str, ...]
    left: tuple[str, ...]
    missing: tuple[str, ...]
    identity: tuple[str, ...]
    converted: Mapping[str, int]

    def __str__(self):
        counters = [n for n in self.left if n.endswith(torch_names.COUNTER)]
        others = [n for n in self.left if n not in set(counters)]
        fresh = [n for n in self.missing if n not in set(self.identity)]
        lines = [f"Loaded {len(self.loaded)} weights from {self.source}."]
        for dtype, count in self.converted.items():
            lines.append(f"Converted {count} tensors from {dtype} to float32.")
        if counters:
            lines.append(f"Left {len(counters)} step counters of batch norms.")
        for text, names in (
            ("Left, as no weights of the model", others),
            ("Absent and set to change nothing in inference", self.identity),
            ("Kept as they were in the model", fresh),
        ):
            if names:
                lines.append(f"{text}: {text_lib.some(names, 4)}.")
        return "\n".join(lines)


def load_torch_checkpoint(
    model: keras.Model,
    path: str | os.PathLike,
    *,
    replace_head: bool = False,
) -> ImportReport:
    """Loads a SlowFast or PyTorchVideo X3D checkpoint into a model.

    The two projects' names are told apart by themselves. PyTorchVideo's
    networks have no batch norm on the first shortcut: it becomes one that
    changes nothing in inference (training with batch statistics adapts it).
    Nothing is assigned unless all fits.

    Args:
        model: From `build_model`.
        path: Of the .pyth file.
        replace_head: Keeps the model's own last layer, for other classes.

    Returns:
        A report of what was loaded, left and missing.

    Raises:
        ValueError: In one line: the file cannot be read, or a tensor and the
            model differ (naming the tensor and both shapes).
    """
    checkpoint = torch_checkpoint.open_torch_checkpoint(path)
    current = x3d.weight_values(model)
    kept = _LOGITS if replace_head else ()
    values, used, converted = {}, {}, collections.Counter()
    identity = []
    for weight, array in current.items():
        name = torch_names.tensor_name(checkpoint.dialect, weight)
        if name is not None:
            used[name] = weight
        if weight in kept:
            values[weight] = array
        elif name in checkpoint.tensors:
            _check_shape(checkpoint, name, weight, array)
            tensor = checkpoint.read(name)
            values[weight] = torch_names.from_torch(weight, tensor)
            converted[checkpoint.tensors[name].dtype] += 1
        elif _may_lack(checkpoint, weight):
            values[weight] = identity_norm(weight, array.shape)
            identity.append(weight)
        else:
            raise ValueError(_lacks(checkpoint, name, weight, array.shape))
    _check_all_used(checkpoint, used)
    x3d.assign_weights(model, values)
    missing = (*identity, *kept)
    left = [k for k in checkpoint.tensors if k not in used or used[k] in kept]
    return ImportReport(
        source=checkpoint.dialect.name,
        loaded=tuple(w for w in current if w not in set(missing)),
        left=(*left, *checkpoint.others),
        missing=missing,
        identity=tuple(identity),
        converted={k: n for k, n in converted.items() if k != "float32"},
    )


def save_torch_checkpoint(model: keras.Model, path: str | os.PathLike) -> None:
    """Writes a model as a checkpoint in SlowFast's format.

    `torch.load(path, weights_only=True)` reads it, and so does
    `load_torch_checkpoint`.

    Args:
        model: Of X3D's kind: one depthwise kernel per block, swish, each
            stage's first block strided by (1, 2, 2), not causal.
        path: Of the .pyth file to write.

    Raises:
        ValueError: SlowFast's tensors cannot express the network.
    """
    dialect = torch_names.SLOWFAST
    check_expressible(model.arch)
    state = {}
    for weight, array in x3d.weight_values(model).items():
        name = torch_names.tensor_name(dialect, weight)
        state[name] = torch_names.to_torch(weight, array)
        if weight.endswith("norm_variance"):
            counter = name.rpartition(".")[0] + "." + torch_names.COUNTER
            state[counter] = np.zeros((), np.int64)
    torch_write.write(path, {"model_state": state})


def identity_norm(weight: str, shape: tuple[int, ...]) -> np.ndarray:
    """Returns a batch norm's vector such that nothing is changed.

    The variance makes up for epsilon: gamma / sqrt(variance + epsilon) is 1.
    """
    value = {
        "gamma": 1.0,
        "beta": 0.0,
        "mean": 0.0,
        "variance": 1.0 - weight_names.NORM_EPSILON,
    }[weight.rsplit("_", 1)[1]]
    return np.full(shape, value, np.float32)


def _check_shape(checkpoint, name, weight, array):
    """Raises ValueError if a tensor does not fit the model's weight."""
    shape = checkpoint.tensors[name].shape
    expected = torch_names.to_torch(weight, array).shape
    if shape == expected:
        return
    if weight in _LOGITS and shape[1:] == expected[1:]:
        raise ValueError(
            f"Tensor {name} of {checkpoint.path} has {shape[0]} classes, the "
            f"model has {expected[0]}. Build the model with num_classes="
            f"{shape[0]}, or pass replace_head=True to load all but the last "
            "layer and train that one for your classes."
        )
    raise ValueError(
        f"Tensor {name} must have shape {expected} for the model's {weight}. "
        f"Received: shape={shape} in {checkpoint.path}. {_WAY_OUT}"
    )


def _may_lack(checkpoint, weight):
    """PyTorchVideo normalises a shortcut only where the width changes."""
    if checkpoint.dialect is not torch_names.PYTORCHVIDEO:
        return False
    part, _, name = weight.partition("/")
    kernel = torch_names.tensor_name(
        checkpoint.dialect, f"{part}/shortcut_kernel"
    )
    if not name.startswith("shortcut_norm_"):
        return False
    tensor = checkpoint.tensors.get(kernel)
    return tensor is not None and tensor.shape[0] == tensor.shape[1]


def _lacks(checkpoint, name, weight, shape):
    if name is None:
        return (
            f"The model's {weight} of shape {shape} has no counterpart in "
            f"{checkpoint.dialect.name}'s X3D. {_WAY_OUT}"
        )
    expected = torch_names.to_torch(weight, np.empty(shape)).shape
    return (
        f"Tensor {name} must have shape {expected} for the model's {weight}. "
        f"Received: no such tensor in {checkpoint.path}. {_WAY_OUT}"
    )


def _check_all_used(checkpoint, used):
    """Raises ValueError for a tensor that no weight of the model takes."""
    for name, tensor in checkpoint.tensors.items():
        if name not in used and not name.endswith(torch_names.COUNTER):
            raise ValueError(
                f"Tensor {name} of shape {tensor.shape} in {checkpoint.path} "
                f"has no weight of shape {tensor.shape} in the model to go "
                f"to. {_WAY_OUT}"
            )


def check_expressible(arch):
    """Raises ValueError if SlowFast's X3D cannot be that network."""
    problem = None
    if arch.activation != "swish" or arch.causal:
        problem = f"activation={arch.activation!r}, causal={arch.causal}"
    if arch.stem.strides != (1, 2, 2):
        problem = f"stem strides={arch.stem.strides}"
    for block in arch.blocks():
        strides = (1, 2, 2) if block.index == 1 else (1, 1, 1)
        if len(block.spec.kernels) > 1 or block.spec.strides != strides:
            problem = (
                f"{block.name} of type {block.spec.block_type!r} with "
                f"strides={block.spec.strides}"
            )
    if problem:
        raise ValueError(
            "`model` must be of X3D's kind (one depthwise kernel per block, "
            "swish, first blocks strided by (1, 2, 2), not causal) to be "
            f"written in SlowFast's format. Received: {problem}."
        )
