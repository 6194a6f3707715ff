"""The weights of a trained network by name, checked against its ArchSpec.

Names and shapes are those of `autox3d_tf.models`: "stem/spatial_kernel",
"stage1_block1/expand_kernel", ..., "head/logits_bias".
"""

from collections.abc import Mapping

import numpy as np

from autox3d_tf.space import arch as arch_lib

NORM_EPSILON = 1e-5
_NORM_PARTS = ("gamma", "beta", "mean", "variance")

Weights = Mapping[str, np.ndarray]


def weight_shapes(
    arch: arch_lib.ArchSpec, num_classes: int
) -> dict[str, tuple[int, ...]]:
    """Returns the shape of every weight of the network, by name."""
    shapes = _stem_shapes(arch.stem)
    for block in arch.blocks():
        shapes.update(_block_shapes(block))
    shapes.update(_head_shapes(arch, num_classes))
    return shapes


def check_weights(
    arch: arch_lib.ArchSpec, weights: Weights
) -> dict[str, np.ndarray]:
    """Returns float32 copies of the weights the network needs.

    Raises:
        ValueError: A weight is missing, left over, of another shape, or not
            finite; the message names it.
    """
    if "head/logits_bias" not in weights:
        raise ValueError(
            "`weights` must have 'head/logits_bias'. Received: "
            f"{len(weights)} weights, first {sorted(weights)[:3]}."
        )
    shapes = weight_shapes(arch, len(weights["head/logits_bias"]))
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
        checked[name] = value
    return checked


def norm_scale_and_shift(
    weights: Weights, prefix: str
) -> tuple[np.ndarray, np.ndarray]:
    """Returns `(scale, shift)` of the batch norm as `y = scale * x + shift`."""
    gamma, beta, mean, variance = (
        weights[f"{prefix}_{part}"].astype(np.float64) for part in _NORM_PARTS
    )
    scale = gamma / np.sqrt(variance + NORM_EPSILON)
    return scale, beta - mean * scale


def norm_values(weights: Weights, prefix: str) -> list[np.ndarray]:
    """Returns gamma, beta, mean and variance, in the order of tf_keras."""
    return [weights[f"{prefix}_{part}"] for part in _NORM_PARTS]


def _norm_shapes(prefix: str, channels: int) -> dict[str, tuple[int, ...]]:
    return {f"{prefix}_{part}": (channels,) for part in _NORM_PARTS}


def _stem_shapes(stem: arch_lib.StemSpec) -> dict[str, tuple[int, ...]]:
    return {
        "stem/spatial_kernel": (3, 3, 3, stem.filters),
        "stem/temporal_kernel": (stem.temporal_kernel, 1, 1, stem.filters),
        **_norm_shapes("stem/norm", stem.filters),
    }


def _block_shapes(block: arch_lib.PlacedBlock) -> dict[str, tuple[int, ...]]:
    name, spec, inner = block.name, block.spec, block.spec.inner_filters
    shapes = {
        f"{name}/expand_kernel": (block.in_filters, inner),
        **_norm_shapes(f"{name}/expand_norm", inner),
    }
    for index, kernel in enumerate(spec.kernels, 1):
        shapes[f"{name}/depthwise{index}_kernel"] = (*kernel, inner)
    shapes.update(_norm_shapes(f"{name}/depthwise_norm", inner))
    if spec.se_filters:
        shapes[f"{name}/se_reduce_kernel"] = (inner, spec.se_filters)
        shapes[f"{name}/se_reduce_bias"] = (spec.se_filters,)
        shapes[f"{name}/se_expand_kernel"] = (spec.se_filters, inner)
        shapes[f"{name}/se_expand_bias"] = (inner,)
    shapes[f"{name}/project_kernel"] = (inner, spec.filters)
    shapes.update(_norm_shapes(f"{name}/project_norm", spec.filters))
    if block.projects:
        shapes[f"{name}/shortcut_kernel"] = (block.in_filters, spec.filters)
        shapes.update(_norm_shapes(f"{name}/shortcut_norm", spec.filters))
    return shapes


def _head_shapes(
    arch: arch_lib.ArchSpec, num_classes: int
) -> dict[str, tuple[int, ...]]:
    head = arch.head
    return {
        "head/conv_kernel": (arch.out_filters, head.filters),
        **_norm_shapes("head/conv_norm", head.filters),
        "head/hidden_kernel": (head.filters, head.features),
        "head/logits_kernel": (head.features, num_classes),
        "head/logits_bias": (num_classes,),
    }
