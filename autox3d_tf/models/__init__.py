"""Networks: derived ones from an `ArchSpec`, and the supernet of a space."""

from autox3d_tf.models.inherit import inherit, reestimate_batch_norm
from autox3d_tf.models.supernet import Supernet
from autox3d_tf.models.x3d import (
    assign_weights,
    build_model,
    parts,
    weight_values,
)

__all__ = [
    "Supernet",
    "assign_weights",
    "build_model",
    "inherit",
    "parts",
    "reestimate_batch_norm",
    "weight_values",
]
