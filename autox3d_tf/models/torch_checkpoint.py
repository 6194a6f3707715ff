"""An X3D checkpoint of SlowFast or PyTorchVideo, opened."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from autox3d_tf.base import text as text_lib
from autox3d_tf.models import torch_arch, torch_file, torch_names
from autox3d_tf.space import arch as arch_lib

_STATE_KEYS = ("model_state", "state_dict", "model_state_dict")
# Of a network within another object, which may be within another.
_PREFIXES = ("module.", "model.", "module.")
_FLOATS = ("float32", "float16", "bfloat16", "float64")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TorchCheckpoint:
    """An X3D checkpoint that was opened; its numbers are read on demand."""

    path: str
    dialect: torch_names.Dialect
    tensors: Mapping[str, torch_file.Tensor]
    others: tuple[str, ...]  # further entries of the file

    @property
    def num_classes(self) -> int:
        """Outputs of its last layer."""
        name = torch_names.tensor_name(self.dialect, "head/logits_kernel")
        if name not in self.tensors:
            raise ValueError(f"Checkpoint {self.path} has no tensor {name}.")
        return self.tensors[name].shape[0]

    def architecture(
        self,
        *,
        name: str = "imported",
        clip_size: tuple[int, int, int] = (13, 160, 160),
        frame_stride: int = 6,
    ) -> arch_lib.ArchSpec:
        """Returns its architecture; tensors do not tell these arguments."""
        try:
            return torch_arch.infer_arch(
                self.dialect,
                {key: tensor.shape for key, tensor in self.tensors.items()},
                name=name,
                clip_size=clip_size,
                frame_stride=frame_stride,
            )
        except ValueError as error:
            raise ValueError(
                f"Cannot tell the architecture of {self.path}: {error}"
            ) from error

    def read(self, name: str) -> np.ndarray:
        """Returns a tensor as float32. Raises ValueError if not finite."""
        tensor = self.tensors[name]
        if tensor.dtype not in _FLOATS:
            raise ValueError(
                f"Tensor {name} of {self.path} must be one of "
                f"{', '.join(_FLOATS)}. Received: {tensor.dtype}."
            )
        try:
            values = tensor.read()
        except ValueError as error:
            raise ValueError(
                f"Cannot read tensor {name} of {self.path}: {error}."
            ) from error
        with np.errstate(over="ignore"):
            values = values.astype(np.float32)
        bad = values.size - int(np.isfinite(values).sum())
        if bad:
            raise ValueError(
                f"Tensor {name} of {self.path} must be finite. Received: "
                f"{bad} of {values.size} values are NaN or infinite. Use a "
                "checkpoint from before the training diverged."
            )
        return values


def open_torch_checkpoint(path: str | os.PathLike) -> TorchCheckpoint:
    """Opens a checkpoint of SlowFast or PyTorchVideo.

    Raises:
        ValueError: In one line: no checkpoint, truncated, unsafe, or no X3D.
    """
    content = torch_file.read(path)
    state, others = _find_state(content)
    tensors = {
        key: value
        for key, value in state.items()
        if isinstance(key, str) and isinstance(value, torch_file.Tensor)
    }
    for prefix in _PREFIXES:
        if tensors and all(key.startswith(prefix) for key in tensors):
            tensors = {k.removeprefix(prefix): v for k, v in tensors.items()}
    dialect = torch_names.dialect_of(tensors)
    if dialect is None:
        names = list(tensors) or list(map(str, state))
        raise ValueError(
            f"Checkpoint {path} is no X3D of SlowFast or PyTorchVideo: none "
            f"of the tensors {[d.mark for d in torch_names.DIALECTS]} is in "
            f"it. It has {text_lib.some(names, 4)}."
        )
    return TorchCheckpoint(
        path=str(path), dialect=dialect, tensors=tensors, others=others
    )


def architecture_of_checkpoint(
    path: str | os.PathLike, **kwargs: Any
) -> arch_lib.ArchSpec:
    """Returns the architecture that a checkpoint's tensors show.

    Args:
        path: Of the checkpoint.
        **kwargs: As `TorchCheckpoint.architecture`: name, clip_size and
            frame_stride, which tensors do not tell.
    """
    return open_torch_checkpoint(path).architecture(**kwargs)


def _find_state(content):
    """Returns the state dict and the names of what lies beside it."""
    if not isinstance(content, dict):
        return {}, ()
    for key in _STATE_KEYS:
        if isinstance(content.get(key), dict):
            others = tuple(str(k) for k in content if k != key)
            return content[key], others
    return content, ()
