"""The parts of a network in order, each with its size: what costs sum over.

A part is a stem, a block or a head with the feature map it receives. Every
cost of a network is made of the costs of its parts, so that a search can
tabulate parts once and a latency table needs to measure parts only.
"""

import dataclasses
from collections.abc import Iterator

from autox3d_tf.base import checks
from autox3d_tf.cost import primitives
from autox3d_tf.space import arch as arch_lib

Size = primitives.Size


@dataclasses.dataclass(frozen=True, kw_only=True)
class Operation:
    """One convolution or matrix product of a part.

    Attributes:
        name: Within the part.
        kernel, in_channels, filters, groups, bias: Of the convolution.
        size: `(time, height, width)` of its output.
        norm: Whether a batch normalisation follows.
    """

    name: str
    kernel: Size
    in_channels: int
    filters: int
    size: Size
    groups: int = 1
    bias: bool = False
    norm: bool = False

    @property
    def macs(self) -> int:
        """Multiply-adds."""
        return primitives.conv3d_macs(
            self.size, self.kernel, self.in_channels, self.filters, self.groups
        )

    @property
    def params(self) -> int:
        """Trainable parameters, those of the normalisation included."""
        return primitives.conv3d_params(
            self.kernel, self.in_channels, self.filters, self.groups, self.bias
        ) + (primitives.norm_params(self.filters) if self.norm else 0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """A stem, block or head at its place.

    Attributes:
        name: "stem", "stage2_block1", ..., "head".
        kind: "stem", "block" or "head".
        in_size, out_size: `(time, height, width)`.
        in_channels, out_channels: Of the feature maps at its ends.
        block: What it is made from; None for stem and head.
        operations: Its convolutions in order.
        peak_values: Most activation values alive at once inside it.
    """

    name: str
    kind: str
    in_size: Size
    out_size: Size
    in_channels: int
    out_channels: int
    block: arch_lib.PlacedBlock | None
    operations: tuple[Operation, ...]
    peak_values: int

    @property
    def macs(self) -> int:
        """Multiply-adds."""
        return sum(operation.macs for operation in self.operations)

    @property
    def params(self) -> int:
        """Trainable parameters."""
        return sum(operation.params for operation in self.operations)

    @property
    def peak_bytes(self) -> int:
        """Memory of `peak_values` in float32; int8 takes a quarter."""
        return 4 * self.peak_values


def _values(size: Size, channels: int) -> int:
    return size[0] * size[1] * size[2] * channels


def _pointwise(
    name: str, in_channels: int, filters: int, size: Size, **options
) -> Operation:
    return Operation(
        name=name,
        kernel=(1, 1, 1),
        in_channels=in_channels,
        filters=filters,
        size=size,
        **options,
    )


def stem_part(stem: arch_lib.StemSpec, clip_size: Size) -> Part:
    """The stem: 1x3x3 strided convolution, depthwise one over time."""
    size = primitives.out_size(clip_size, stem.strides)
    operations = (
        Operation(
            name="spatial",
            kernel=(1, 3, 3),
            in_channels=3,
            filters=stem.filters,
            size=size,
        ),
        Operation(
            name="temporal",
            kernel=(stem.temporal_kernel, 1, 1),
            in_channels=stem.filters,
            filters=stem.filters,
            groups=stem.filters,
            size=size,
            norm=True,
        ),
    )
    out = _values(size, stem.filters)
    return Part(
        name="stem",
        kind="stem",
        in_size=clip_size,
        out_size=size,
        in_channels=3,
        out_channels=stem.filters,
        block=None,
        operations=operations,
        peak_values=max(_values(clip_size, 3) + out, 2 * out),
    )


def block_part(
    block: arch_lib.PlacedBlock, in_size: Size, causal: bool = False
) -> Part:
    """A residual bottleneck block with its shortcut.

    In a causal network the squeeze-excite looks again at each frame.
    """
    spec, inner = block.spec, block.spec.inner_filters
    size = primitives.out_size(in_size, spec.strides)
    operations = [
        _pointwise("expand", block.in_filters, inner, in_size, norm=True)
    ]
    for index, kernel in enumerate(spec.kernels, 1):
        operations.append(
            Operation(
                name=f"depthwise{index}",
                kernel=kernel,
                in_channels=inner,
                filters=inner,
                groups=inner,
                size=size,
                norm=index == len(spec.kernels),
            )
        )
    if spec.se_filters:
        looks = (size[0] if causal else 1, 1, 1)
        operations += [
            _pointwise("se_reduce", inner, spec.se_filters, looks, bias=True),
            _pointwise("se_expand", spec.se_filters, inner, looks, bias=True),
        ]
    operations.append(
        _pointwise("project", inner, spec.filters, size, norm=True)
    )
    if block.projects:
        operations.append(
            _pointwise(
                "shortcut", block.in_filters, spec.filters, size, norm=True
            )
        )
    kept = _values(in_size, block.in_filters)  # alive for the shortcut
    wide, narrow = _values(in_size, inner), _values(size, inner)
    return Part(
        name=block.name,
        kind="block",
        in_size=in_size,
        out_size=size,
        in_channels=block.in_filters,
        out_channels=spec.filters,
        block=block,
        operations=tuple(operations),
        peak_values=kept
        + max(wide + narrow, 2 * narrow, narrow + _values(size, spec.filters)),
    )


def head_part(
    head: arch_lib.HeadSpec, in_size: Size, in_channels: int, num_classes: int
) -> Part:
    """Pointwise convolution, mean, hidden layer, classes."""
    one = (1, 1, 1)
    operations = (
        _pointwise("conv", in_channels, head.filters, in_size, norm=True),
        _pointwise("hidden", head.filters, head.features, one),
        _pointwise("logits", head.features, num_classes, one, bias=True),
    )
    return Part(
        name="head",
        kind="head",
        in_size=in_size,
        out_size=one,
        in_channels=in_channels,
        out_channels=num_classes,
        block=None,
        operations=operations,
        peak_values=_values(in_size, in_channels)
        + _values(in_size, head.filters),
    )


def parts_of(
    arch: arch_lib.ArchSpec, clip_size: Size, num_classes: int
) -> Iterator[Part]:
    """Yields stem, blocks and head for clips of `clip_size`."""
    checks.check_triple("clip_size", clip_size)
    checks.check_positive_int("num_classes", num_classes)
    part = stem_part(arch.stem, clip_size)
    yield part
    for block in arch.blocks():
        part = block_part(block, part.out_size, arch.causal)
        yield part
    yield head_part(arch.head, part.out_size, part.out_channels, num_classes)
