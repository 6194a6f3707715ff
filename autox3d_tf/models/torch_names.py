"""Which tensor of a PyTorch X3D is which weight of ours, in both dialects.

SlowFast and PyTorchVideo name the same network differently. A table per
dialect gives their names; how an array is laid out follows from what it is.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping

import numpy as np

NORM_SUFFIXES = {
    "gamma": "weight",
    "beta": "bias",
    "mean": "running_mean",
    "variance": "running_var",
}
COUNTER = "num_batches_tracked"  # of each batch norm; ours has none


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dialect:
    """Names of one project.

    Attributes:
        name: Of the project.
        mark: A tensor that only its X3Ds have.
        stem, head: Weight of ours -> tensor; norms without suffix.
        block: The same within a block.
        block_prefix: Format with `stage` and `block`, both counted from 1
            and 0.
        block_pattern: Finds stage and block in the name of a tensor.
        first_stage: What the first stage is called.
    """

    name: str
    mark: str
    stem: Mapping[str, str]
    block: Mapping[str, str]
    head: Mapping[str, str]
    block_prefix: str
    block_pattern: re.Pattern
    first_stage: int


SLOWFAST = Dialect(
    name="SlowFast",
    mark="s1.pathway0_stem.conv_xy.weight",
    stem={
        "spatial_kernel": "s1.pathway0_stem.conv_xy.weight",
        "temporal_kernel": "s1.pathway0_stem.conv.weight",
        "norm": "s1.pathway0_stem.bn",
    },
    block={
        "shortcut_kernel": "branch1.weight",
        "shortcut_norm": "branch1_bn",
        "expand_kernel": "branch2.a.weight",
        "expand_norm": "branch2.a_bn",
        "depthwise1_kernel": "branch2.b.weight",
        "depthwise_norm": "branch2.b_bn",
        "se_reduce_kernel": "branch2.se.fc1.weight",
        "se_reduce_bias": "branch2.se.fc1.bias",
        "se_expand_kernel": "branch2.se.fc2.weight",
        "se_expand_bias": "branch2.se.fc2.bias",
        "project_kernel": "branch2.c.weight",
        "project_norm": "branch2.c_bn",
    },
    head={
        "conv_kernel": "head.conv_5.weight",
        "conv_norm": "head.conv_5_bn",
        "hidden_kernel": "head.lin_5.weight",
        "logits_kernel": "head.projection.weight",
        "logits_bias": "head.projection.bias",
    },
    block_prefix="s{stage}.pathway0_res{block}.",
    block_pattern=re.compile(r"s(\d+)\.pathway0_res(\d+)\."),
    first_stage=2,
)

PYTORCHVIDEO = Dialect(
    name="PyTorchVideo",
    mark="blocks.0.conv.conv_t.weight",
    stem={
        # Its names are exchanged: conv_t is 1x3x3, conv_xy is 5x1x1.
        "spatial_kernel": "blocks.0.conv.conv_t.weight",
        "temporal_kernel": "blocks.0.conv.conv_xy.weight",
        "norm": "blocks.0.norm",
    },
    block={
        "shortcut_kernel": "branch1_conv.weight",
        "shortcut_norm": "branch1_norm",
        "expand_kernel": "branch2.conv_a.weight",
        "expand_norm": "branch2.norm_a",
        "depthwise1_kernel": "branch2.conv_b.weight",
        "depthwise_norm": "branch2.norm_b.0",
        "se_reduce_kernel": "branch2.norm_b.1.block.0.weight",
        "se_reduce_bias": "branch2.norm_b.1.block.0.bias",
        "se_expand_kernel": "branch2.norm_b.1.block.2.weight",
        "se_expand_bias": "branch2.norm_b.1.block.2.bias",
        "project_kernel": "branch2.conv_c.weight",
        "project_norm": "branch2.norm_c",
    },
    head={
        "conv_kernel": "blocks.5.pool.pre_conv.weight",
        "conv_norm": "blocks.5.pool.pre_norm",
        "hidden_kernel": "blocks.5.pool.post_conv.weight",
        "logits_kernel": "blocks.5.proj.weight",
        "logits_bias": "blocks.5.proj.bias",
    },
    block_prefix="blocks.{stage}.res_blocks.{block}.",
    block_pattern=re.compile(r"blocks\.(\d+)\.res_blocks\.(\d+)\."),
    first_stage=1,
)

DIALECTS = (SLOWFAST, PYTORCHVIDEO)


def dialect_of(tensor_names: Iterable[str]) -> Dialect | None:
    """Returns whose X3D has tensors of these names, if any has."""
    names = set(tensor_names)
    return next((d for d in DIALECTS if d.mark in names), None)


def tensor_name(dialect: Dialect, weight: str) -> str | None:
    """Returns the tensor of a weight such as "stage1_block2/expand_kernel".

    None if the dialect has no such tensor.
    """
    part, name = weight.split("/")
    table = getattr(dialect, part if part in ("stem", "head") else "block")
    stem, _, suffix = name.rpartition("_")
    if stem in table and suffix in NORM_SUFFIXES:
        local = f"{table[stem]}.{NORM_SUFFIXES[suffix]}"
    elif name in table:
        local = table[name]
    else:
        return None
    if table is not dialect.block:
        return local
    return block_prefix(dialect, *map(int, re.findall(r"\d+", part))) + local


def block_prefix(dialect: Dialect, stage: int, block: int) -> str:
    """Prefix of the tensors of a block; both numbers count from 1."""
    return dialect.block_prefix.format(
        stage=stage + dialect.first_stage - 1, block=block - 1
    )


def from_torch(weight: str, tensor: np.ndarray) -> np.ndarray:
    """Lays a tensor, whose shape must fit, out as our weight of that name."""
    return kind_of(weight).ours(tensor)


def to_torch(weight: str, array: np.ndarray) -> np.ndarray:
    """Lays our weight out as PyTorch has it; inverse of `from_torch`."""
    return kind_of(weight).theirs(array)


@dataclasses.dataclass(frozen=True)
class Kind:
    """A layout: PyTorch's number of axes, and both ways."""

    ndim: int
    ours: Callable[[np.ndarray], np.ndarray]
    theirs: Callable[[np.ndarray], np.ndarray]


_VECTOR = Kind(1, lambda x: x, lambda x: x)
_MATRIX = Kind(2, np.transpose, np.transpose)
_POINTWISE = Kind(  # (out, in, 1, 1, 1)
    5,
    lambda x: x[:, :, 0, 0, 0].T,
    lambda x: x.T[:, :, None, None, None],
)
_DEPTHWISE = Kind(  # (C, 1, t, h, w)
    5,
    lambda x: x[:, 0].transpose(1, 2, 3, 0),
    lambda x: x.transpose(3, 0, 1, 2)[:, None],
)
_SPATIAL = Kind(  # (out, in, 1, h, w)
    5,
    lambda x: x[:, :, 0].transpose(2, 3, 1, 0),
    lambda x: x.transpose(3, 2, 0, 1)[:, :, None],
)


def kind_of(weight: str) -> Kind:
    """Returns the layout of our weight of that name."""
    name = weight.split("/")[-1]
    if not name.endswith("_kernel"):
        return _VECTOR
    if name == "logits_kernel":
        return _MATRIX
    if name == "spatial_kernel":
        return _SPATIAL
    if name == "temporal_kernel" or name.startswith("depthwise"):
        return _DEPTHWISE
    return _POINTWISE
