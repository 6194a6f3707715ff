"""Names and shapes of a network's weights: what stem, block and head hold.

The same in the derived network and (at the widest size) in the supernet.
Importing, inheriting and lowering move weights by these names.
"""

from collections.abc import Mapping

from autox3d_tf.space import arch as arch_lib

Shape = tuple[int, ...]
NORM_SUFFIXES = ("gamma", "beta", "mean", "variance")
NORM_EPSILON = 1e-5  # of batch normalisation


def weight_shapes(
    arch: arch_lib.ArchSpec, num_classes: int
) -> dict[str, Shape]:
    """Names and shapes of all weights, such as "stem/spatial_kernel"."""
    stem, head = arch.stem, arch.head
    parts = {
        "stem": stem_shapes(stem.filters, stem.temporal_kernel),
        **{block.name: placed_shapes(block) for block in arch.blocks()},
        "head": head_shapes(
            arch.out_filters, head.filters, head.features, num_classes
        ),
    }
    return {
        f"{part}/{name}": shape
        for part, shapes in parts.items()
        for name, shape in shapes.items()
    }


def stem_shapes(filters: int, temporal_kernel: int) -> dict[str, Shape]:
    """Names and shapes of a stem's weights."""
    return {
        "spatial_kernel": (3, 3, 3, filters),
        "temporal_kernel": (temporal_kernel, 1, 1, filters),
        **norm_shapes("norm", filters),
    }


def placed_shapes(block: arch_lib.PlacedBlock) -> dict[str, Shape]:
    """Names and shapes of the weights of a derived network's block."""
    spec = block.spec
    return block_shapes(
        block.in_filters,
        spec.inner_filters,
        spec.filters,
        dict(zip(kernel_names(spec), spec.kernels, strict=True)),
        spec.se_filters,
        block.projects,
    )


def kernel_names(spec: arch_lib.BlockSpec) -> tuple[str, ...]:
    """Names of a block's depthwise kernels, in order."""
    return tuple(
        f"depthwise{index}_kernel" for index, _ in enumerate(spec.kernels, 1)
    )


def block_shapes(
    in_filters: int,
    inner_filters: int,
    filters: int,
    kernels: Mapping[str, Shape],
    se_filters: int,
    projects: bool,
) -> dict[str, Shape]:
    """Names and shapes of a block's weights.

    Args:
        in_filters, inner_filters, filters: Channels.
        kernels: Weight name -> `(t, h, w)` of each depthwise kernel.
        se_filters: Inner width of the squeeze-excite, 0 for none.
        projects: Whether the shortcut is a convolution.
    """
    shapes = {
        "expand_kernel": (in_filters, inner_filters),
        **norm_shapes("expand_norm", inner_filters),
    }
    for name, size in kernels.items():
        shapes[name] = (*size, inner_filters)
    shapes |= norm_shapes("depthwise_norm", inner_filters)
    if se_filters:
        shapes |= {
            "se_reduce_kernel": (inner_filters, se_filters),
            "se_reduce_bias": (se_filters,),
            "se_expand_kernel": (se_filters, inner_filters),
            "se_expand_bias": (inner_filters,),
        }
    shapes["project_kernel"] = (inner_filters, filters)
    shapes |= norm_shapes("project_norm", filters)
    if projects:
        shapes["shortcut_kernel"] = (in_filters, filters)
        shapes |= norm_shapes("shortcut_norm", filters)
    return shapes


def head_shapes(
    in_filters: int, filters: int, features: int, num_classes: int
) -> dict[str, Shape]:
    """Names and shapes of a head's weights."""
    return {
        "conv_kernel": (in_filters, filters),
        **norm_shapes("conv_norm", filters),
        "hidden_kernel": (filters, features),
        "logits_kernel": (features, num_classes),
        "logits_bias": (num_classes,),
    }


def norm_shapes(name: str, channels: int) -> dict[str, Shape]:
    """The four vectors of a batch normalisation."""
    return {f"{name}_{suffix}": (channels,) for suffix in NORM_SUFFIXES}


# The same table, with names of channels in place of their numbers.
_CHANNEL_AXES = block_shapes("in", "inner", "out", {}, "se", projects=True)


def channel_axes(name: str) -> tuple[str, ...]:
    """Returns which window slices each channel axis of a block's weight.

    Depthwise kernels `(t, h, w, C)` have one channel axis, the last.

    >>> channel_axes("project_kernel"), channel_axes("depthwise1_kernel")
    (('inner', 'out'), ('inner',))
    """
    if name.startswith("depthwise") and name.endswith("_kernel"):
        return ("inner",)
    return _CHANNEL_AXES[name]


def inner_axis(name: str) -> int | None:
    """Axis of a block's weight that counts inner channels, None for none.

    Counted from the last, as the first ones of a kernel are no channels.
    """
    axes = channel_axes(name)
    return axes.index("inner") - len(axes) if "inner" in axes else None


def is_statistic(name: str) -> bool:
    """Whether a weight is a moving statistic, not trained."""
    return name.endswith(("_mean", "_variance"))


def decays(name: str) -> bool:
    """Whether weight decay acts on it: kernels yes, norms and biases no."""
    return name.endswith("_kernel")
