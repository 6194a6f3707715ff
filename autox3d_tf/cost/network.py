"""The cost of a whole network, as a table."""

import dataclasses

from autox3d_tf.base import text as text_lib
from autox3d_tf.cost import parts as parts_lib
from autox3d_tf.space import arch as arch_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cost:
    """What a network costs on one clip.

    Attributes:
        clip_size, num_classes: What it was counted for.
        macs: Multiply-adds.
        params: Trainable parameters (a batch norm's statistics excluded).
        peak_activation_bytes: Largest activation memory inside one part, in
            float32; a quarter of it in int8.
        layers: The parts in order.
    """

    clip_size: tuple[int, int, int]
    num_classes: int
    macs: int
    params: int
    peak_activation_bytes: int
    layers: tuple[parts_lib.Part, ...]


def cost_of(
    arch: arch_lib.ArchSpec,
    clip_size: tuple[int, int, int] | None = None,
    num_classes: int = 400,
) -> Cost:
    """Counts a network.

    Args:
        arch: The network.
        clip_size: `(frames, height, width)`; the architecture's by default.
        num_classes: Outputs.
    """
    clip_size = clip_size or arch.clip_size
    layers = tuple(parts_lib.parts_of(arch, clip_size, num_classes))
    return Cost(
        clip_size=clip_size,
        num_classes=num_classes,
        macs=sum(part.macs for part in layers),
        params=sum(part.params for part in layers),
        peak_activation_bytes=max(part.peak_bytes for part in layers),
        layers=layers,
    )


def format_cost(arch: arch_lib.ArchSpec, cost: Cost) -> str:
    """Returns a table for people, one line per part."""
    lines = [
        f"{arch.name}: clip {text_lib.times(cost.clip_size)}, "
        f"{cost.num_classes} classes, fingerprint {arch.fingerprint[:12]}",
        f"{'part':<18}{'what':<26}{'in':>16}{'channels':>14}"
        f"{'MACs':>15}{'params':>11}",
    ]
    for part in cost.layers:
        lines.append(
            f"{part.name:<18}{_describe(part):<26}"
            f"{text_lib.times(part.in_size):>16}"
            f"{f'{part.in_channels}->{part.out_channels}':>14}"
            f"{part.macs:>15,}{part.params:>11,}"
        )
    lines.append(
        f"{'total':<18}{'':<26}{'':>16}{'':>14}{cost.macs:>15,}"
        f"{cost.params:>11,}"
    )
    lines.append(
        "peak activations of one part: "
        f"{cost.peak_activation_bytes / 2**20:.2f} MiB (float32)"
    )
    return "\n".join(lines)


def _describe(part: parts_lib.Part) -> str:
    if part.block is None:
        return text_lib.times(part.operations[0].kernel)
    spec = part.block.spec
    text = f"{spec.block_type} inner {spec.inner_filters}"
    return text + (" se" if spec.attention == "se" else "")
