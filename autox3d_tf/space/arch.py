"""One decided network, as data: frozen dataclasses and their JSON file.

An `ArchSpec` holds all that is needed to build the network, to count its cost
and to lower it for a device. It is what a search writes and what training,
evaluation and export read. Sizes, kernels and strides are always
`(time, height, width)`.
"""

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from autox3d_tf.base import checks
from autox3d_tf.base import files as files_lib

SCHEMA_VERSION = 1

# Depthwise kernels applied one after the other inside a block.
BLOCK_TYPES: dict[str, tuple[tuple[int, int, int], ...]] = {
    "3x3x3": ((3, 3, 3),),
    "1x3x3": ((1, 3, 3),),
    "5x3x3": ((5, 3, 3),),
    "3x5x5": ((3, 5, 5),),
    "1x5x5": ((1, 5, 5),),
    "separable": ((1, 3, 3), (3, 1, 1)),
}
ATTENTIONS = ("none", "se")
ACTIVATIONS = ("swish", "hard_swish", "relu")
SE_RATIO = 1 / 16


def round_width(
    width: float, multiplier: float = 1.0, divisor: int = 8, minimum: int = 8
) -> int:
    """Rounds a channel count to a multiple, never down by more than 10 %.

    The rule of X3D (Feichtenhofer, CVPR 2020) for squeeze-excite widths:
    `width * multiplier` to a multiple of `divisor`, at least `minimum`.

    >>> round_width(54, 1 / 16), round_width(432, 1 / 16)
    (8, 32)
    """
    wanted = width * multiplier
    rounded = max(minimum, int(wanted + divisor / 2) // divisor * divisor)
    if rounded < 0.9 * wanted:
        rounded += divisor
    return rounded


def check_strides(strides: Any) -> None:
    """Raises ValueError unless `strides` are three that keep all frames."""
    checks.check_triple("strides", strides)
    if strides[0] != 1:
        raise ValueError(
            "`strides` must keep all frames (1, h, w). Received: "
            f"strides={strides}."
        )


def check_block_strides(strides: Any) -> None:
    """Raises ValueError if a depthwise kernel cannot take such strides.

    TensorFlow's have one for height and width.
    """
    check_strides(strides)
    if strides[1] != strides[2]:
        raise ValueError(
            "`strides` of a block must be equal in height and width, such as "
            f"(1, 2, 2). Received: strides={strides}."
        )


def scope_name(name: str) -> str:
    """Returns a name that TensorFlow takes for a scope.

    >>> scope_name("réseau x3d_s-7")
    'r_seau_x3d_s_7'
    """
    return re.sub(r"[^0-9A-Za-z]", "_", name)


@dataclasses.dataclass(frozen=True, kw_only=True)
class StemSpec:
    """A 1x3x3 convolution, then a depthwise one over time."""

    filters: int
    temporal_kernel: int = 5
    strides: tuple[int, int, int] = (1, 2, 2)

    def __post_init__(self):
        checks.check_positive_int("filters", self.filters)
        checks.check_positive_int("temporal_kernel", self.temporal_kernel)
        if self.temporal_kernel % 2 == 0:
            raise ValueError(
                "`temporal_kernel` must be odd. Received: "
                f"temporal_kernel={self.temporal_kernel}."
            )
        check_strides(self.strides)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BlockSpec:
    """One residual bottleneck block, fully decided.

    Attributes:
        block_type: Depthwise kernel(s), a key of `BLOCK_TYPES`.
        filters: Output channels.
        inner_filters: Channels between the two pointwise convolutions.
        strides: `(time, height, width)` of the first depthwise kernel.
        attention: One of `ATTENTIONS`.
    """

    block_type: str
    filters: int
    inner_filters: int
    strides: tuple[int, int, int] = (1, 1, 1)
    attention: str = "none"

    def __post_init__(self):
        checks.check_choice("block_type", self.block_type, BLOCK_TYPES)
        checks.check_positive_int("filters", self.filters)
        checks.check_positive_int("inner_filters", self.inner_filters)
        check_block_strides(self.strides)
        checks.check_choice("attention", self.attention, ATTENTIONS)

    @property
    def kernels(self) -> tuple[tuple[int, int, int], ...]:
        """Depthwise kernel sizes, in order."""
        return BLOCK_TYPES[self.block_type]

    @property
    def se_filters(self) -> int:
        """Inner width of the squeeze-excite, 0 without attention."""
        if self.attention == "none":
            return 0
        return round_width(self.inner_filters, SE_RATIO)


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeadSpec:
    """Pointwise convolution, mean over the clip, hidden layer, classes."""

    filters: int
    features: int

    def __post_init__(self):
        checks.check_positive_int("filters", self.filters)
        checks.check_positive_int("features", self.features)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlacedBlock:
    """A block where it stands in its network."""

    name: str
    stage: int
    index: int
    in_filters: int
    spec: BlockSpec

    @property
    def projects(self) -> bool:
        """Whether the shortcut is a convolution (stride or width changes)."""
        return (
            self.spec.strides != (1, 1, 1)
            or self.in_filters != self.spec.filters
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ArchSpec:
    """A whole network: stem, stages of residual blocks, head.

    Attributes:
        name: For people; not part of the fingerprint.
        clip_size: `(frames, height, width)` the network is meant for.
        frame_stride: Frames of the video per frame of the clip.
        stages: Per stage, its blocks.
        activation: After the depthwise convolution, one of `ACTIVATIONS`.
        causal: A frame sees itself and the past, so that the network can run
            frame by frame: time is padded in the past only, and the
            squeeze-excites of a frame take the mean over the frames so far.
            The head pools over the whole clip, which at its last frame is the
            same.
        provenance: What made it; not part of the fingerprint.
    """

    name: str
    clip_size: tuple[int, int, int]
    frame_stride: int
    stem: StemSpec
    stages: tuple[tuple[BlockSpec, ...], ...]
    head: HeadSpec
    activation: str = "swish"
    causal: bool = False
    provenance: Mapping[str, Any] = dataclasses.field(
        default_factory=dict, compare=False
    )

    def __post_init__(self):
        checks.check_text("name", self.name)
        checks.check_triple("clip_size", self.clip_size)
        checks.check_positive_int("frame_stride", self.frame_stride)
        checks.check_choice("activation", self.activation, ACTIVATIONS)
        checks.check_bool("causal", self.causal)
        if not isinstance(self.provenance, Mapping):
            raise ValueError(
                "`provenance` must be an object. Received: "
                f"provenance={self.provenance!r}."
            )
        if not self.stages or not all(self.stages):
            raise ValueError(
                "`stages` must be a tuple of stages of at least one block. "
                f"Received: depths={tuple(len(s) for s in self.stages)}."
            )

    def blocks(self) -> Iterator[PlacedBlock]:
        """Yields the blocks in order, with names and input channels."""
        in_filters = self.stem.filters
        for stage, blocks in enumerate(self.stages, 1):
            for index, block in enumerate(blocks, 1):
                yield PlacedBlock(
                    name=f"stage{stage}_block{index}",
                    stage=stage,
                    index=index,
                    in_filters=in_filters,
                    spec=block,
                )
                in_filters = block.filters

    @property
    def out_filters(self) -> int:
        """Channels that the head receives."""
        return self.stages[-1][-1].filters

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what the network is, whatever its name or origin."""
        data = self.to_dict()
        for key in ("name", "provenance"):
            del data[key]
        canonical = json.dumps(data, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Returns the specification as JSON types, with schema version."""
        data = dataclasses.asdict(self)
        data["provenance"] = dict(self.provenance)
        return {"schema_version": SCHEMA_VERSION, **data}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "ArchSpec":
        """Inverse of `to_dict`. Raises ValueError naming what is wrong."""
        data = fields_of(cls, data, "an architecture")
        checks.check_list("clip_size", data["clip_size"])
        checks.check_list("stages", data["stages"])
        for stage in data["stages"]:
            checks.check_list("stages", stage)
        stages = tuple(
            tuple(files_lib.read_fields(BlockSpec, block) for block in stage)
            for stage in data["stages"]
        )
        return cls(
            **{
                **data,
                "clip_size": tuple(data["clip_size"]),
                "stem": files_lib.read_fields(StemSpec, data["stem"]),
                "stages": stages,
                "head": files_lib.read_fields(HeadSpec, data["head"]),
            }
        )

    def save(self, path: str | os.PathLike) -> None:
        """Writes the specification as JSON, atomically."""
        files_lib.write_json(
            path, {**self.to_dict(), "fingerprint": self.fingerprint}
        )


def load_arch(path: str | os.PathLike) -> ArchSpec:
    """Reads an arch.json.

    Raises:
        ValueError: The file is missing, damaged, of another schema, or was
            edited by hand so that its fingerprint no longer matches.
    """
    data = files_lib.read_json(path, "an architecture")
    claimed = data.pop("fingerprint", None) if isinstance(data, dict) else None
    try:
        arch = ArchSpec.from_dict(data)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"Cannot read {path}: {error}") from error
    if claimed is not None and claimed != arch.fingerprint:
        raise ValueError(
            f"{path} was changed after it was written. Expected: fingerprint="
            f"{str(claimed)[:12]}. Received: {arch.fingerprint[:12]}. Delete "
            "its `fingerprint` line if the change is wanted."
        )
    return arch


def fields_of(cls: type, data: Any, what: str) -> dict[str, Any]:
    """Returns the fields of a dataclass from what its `to_dict` returned.

    Args:
        cls: The dataclass.
        data: Its fields, with schema version.
        what: What `data` should be, for messages, such as "a search space".

    Raises:
        ValueError: It is something else, of another schema, or has other
            fields.
    """
    if not isinstance(data, Mapping) or "schema_version" not in data:
        raise ValueError(
            f"not {what}: it must be a JSON object with a `schema_version`. "
            f"Write one with {cls.__name__}.save or autox3d-search."
        )
    fields = dict(data)
    version = fields.pop("schema_version")
    if version != SCHEMA_VERSION:
        raise ValueError(
            f"expected schema_version={SCHEMA_VERSION}, received "
            f"schema_version={version!r}. See 'Schema changes' in CHANGELOG.md."
        )
    files_lib.check_fields(cls, fields)
    return fields
