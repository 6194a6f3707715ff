"""The weights of a trained network by name, checked against its ArchSpec.

Names and shapes are those of `space.weight_names`: "stem/spatial_kernel",
"stage1_block1/expand_kernel", ..., "head/logits_bias".
"""

from collections.abc import Mapping

import numpy as np

from autox3d_tf.space import arch as arch_lib
from autox3d_tf.space import weight_names

Weights = Mapping[str, np.ndarray]


def check_weights(
    arch: arch_lib.ArchSpec, weights: Weights
) -> dict[str, np.ndarray]:
    """Returns float32 copies of the weights the network needs.

    Raises:
        ValueError: A weight is missing, left over, of another shape, not
            finite, or a variance below 0; the message names it.
    """
    if "head/logits_bias" not in weights:
        raise ValueError(
            "`weights` must have 'head/logits_bias'. Received: "
            f"{len(weights)} weights, first {sorted(weights)[:3]}."
        )
    shapes = weight_names.weight_shapes(arch, len(weights["head/logits_bias"]))
    for what, names in (
        ("missing", sorted(set(shapes) - set(weights))),
        ("not of this network", sorted(set(weights) - set(shapes))),
    ):
        if names:
            raise ValueError(
                f"`weights` must be those of {arch.name!r}. Received: "
                f"{len(names)} {what}, first {names[:3]}."
            )
    checked = {}
    for name, shape in shapes.items():
        value = np.array(weights[name], np.float32)
        if value.shape != shape:
            raise ValueError(
                f"`weights` of {arch.name!r}: {name!r} must have shape "
                f"{shape}. Received: {value.shape}."
            )
        if not np.isfinite(value).all():
            bad = int(np.size(value) - np.isfinite(value).sum())
            raise ValueError(
                f"`weights` must be finite. Received: {name!r} with {bad} NaN "
                "or infinite values. Export the last good checkpoint."
            )
        if name.endswith("_variance") and value.min() < 0:
            raise ValueError(
                f"`weights` of {arch.name!r}: {name!r} must be at least 0. "
                f"Received: {value.min():g}. Export the last good checkpoint."
            )
        checked[name] = value
    return checked


def norm_scale_and_shift(
    weights: Weights, prefix: str
) -> tuple[np.ndarray, np.ndarray]:
    """Returns `(scale, shift)` of the batch norm as `y = scale * x + shift`."""
    gamma, beta, mean, variance = (
        weights[f"{prefix}_{part}"].astype(np.float64)
        for part in weight_names.NORM_SUFFIXES
    )
    scale = gamma / np.sqrt(variance + weight_names.NORM_EPSILON)
    return scale, beta - mean * scale
