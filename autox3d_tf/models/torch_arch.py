"""Reads an architecture off the shapes of a PyTorch X3D's tensors."""

from collections.abc import Mapping

from autox3d_tf.models import torch_names
from autox3d_tf.space import arch as arch_lib


def infer_arch(
    dialect: torch_names.Dialect,
    shapes: Mapping[str, tuple[int, ...]],
    *,
    name: str,
    clip_size: tuple[int, int, int],
    frame_stride: int,
) -> arch_lib.ArchSpec:
    """Reads the architecture off the shapes of the tensors.

    What shapes do not show is as in all X3Ds: the stem and each stage's first
    block halve height and width, swish, no causal time.
    """
    depths: dict[int, set[int]] = {}
    for tensor in shapes:
        if match := dialect.block_pattern.match(tensor):
            stage = int(match[1]) - dialect.first_stage + 1
            depths.setdefault(stage, set()).add(int(match[2]) + 1)
    for number, stage in enumerate(sorted(depths), 1):
        if stage != number or depths[stage] != set(
            range(1, len(depths[stage]) + 1)
        ):
            raise ValueError(
                f"of stage {stage} it has only blocks {sorted(depths[stage])}."
            )
    get = _Shapes(dialect, shapes)
    return arch_lib.ArchSpec(
        name=name,
        clip_size=clip_size,
        frame_stride=frame_stride,
        stem=arch_lib.StemSpec(
            filters=get("stem/spatial_kernel", 0),
            temporal_kernel=get("stem/temporal_kernel", 2),
        ),
        stages=tuple(
            tuple(_block(get, stage, block) for block in sorted(depths[stage]))
            for stage in sorted(depths)
        ),
        head=arch_lib.HeadSpec(
            filters=get("head/conv_kernel", 0),
            features=get("head/hidden_kernel", 0),
        ),
        provenance={"source": f"{dialect.name} checkpoint"},
    )


class _Shapes:
    """Sizes of tensors, by the names of our weights."""

    def __init__(self, dialect, shapes):
        self.dialect = dialect
        self.shapes = shapes

    def __contains__(self, weight):
        return torch_names.tensor_name(self.dialect, weight) in self.shapes

    def __call__(self, weight, axis=None):
        name = torch_names.tensor_name(self.dialect, weight)
        shape, axes = self.shapes.get(name), torch_names.kind_of(weight).ndim
        if shape is None:
            raise ValueError(f"it has no tensor {name}.")
        if len(shape) != axes:
            raise ValueError(
                f"its tensor {name} must have {axes} axes. Received: "
                f"shape={shape}."
            )
        return shape if axis is None else shape[axis]


def _block(get: _Shapes, stage: int, block: int) -> arch_lib.BlockSpec:
    prefix = f"stage{stage}_block{block}/"
    inner, _, *kernel = get(prefix + "depthwise1_kernel")
    types = {v: k for k, v in arch_lib.BLOCK_TYPES.items()}
    block_type = types.get((tuple(kernel),))
    if block_type is None:
        raise ValueError(
            f"the depthwise kernel of stage {stage}, block {block} must be "
            f"one of {sorted(k[0] for k in types if len(k) == 1)}. "
            f"Received: {tuple(kernel)}."
        )
    return arch_lib.BlockSpec(
        block_type=block_type,
        filters=get(prefix + "project_kernel", 0),
        inner_filters=inner,
        strides=(1, 2, 2) if block == 1 else (1, 1, 1),
        attention="se" if prefix + "se_reduce_kernel" in get else "none",
    )
