"""Networks: derived ones from an `ArchSpec`, and the supernet of a space."""

from autox3d_tf.models.inherit import inherit, reestimate_batch_norm
from autox3d_tf.models.supernet import Supernet
from autox3d_tf.models.torch_checkpoint import (
    architecture_of_checkpoint,
    open_torch_checkpoint,
)
from autox3d_tf.models.torch_import import (
    ImportReport,
    load_torch_checkpoint,
    save_torch_checkpoint,
)
from autox3d_tf.models.weight_file import load_weights, save_weights
from autox3d_tf.models.x3d import (
    X3D,
    assign_weights,
    build_model,
    parts,
    weight_values,
)

__all__ = [
    "X3D",
    "ImportReport",
    "Supernet",
    "architecture_of_checkpoint",
    "assign_weights",
    "build_model",
    "inherit",
    "load_torch_checkpoint",
    "load_weights",
    "open_torch_checkpoint",
    "parts",
    "reestimate_batch_norm",
    "save_torch_checkpoint",
    "save_weights",
    "weight_values",
]
