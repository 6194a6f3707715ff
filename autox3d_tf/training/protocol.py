"""What an accuracy was measured with: no number without it."""

from collections.abc import Mapping
from typing import Any

from autox3d_tf import cost
from autox3d_tf.data import options as data_options
from autox3d_tf.space import arch as arch_lib


def protocol_of(
    arch: arch_lib.ArchSpec,
    source,
    data: data_options.DataOptions,
    num_classes: int,
    temporal_views: int = 1,
    spatial_crops: int = 1,
) -> dict[str, Any]:
    """Returns the protocol of a test, JSON types.

    Args:
        arch: The network.
        source: Clips, from `data.pipeline.open_source`.
        data: How they are cut.
        num_classes: Outputs of the network.
        temporal_views, spatial_crops: Views of each clip.
    """
    macs = cost.cost_of(arch, data.eval_clip_size, num_classes).macs
    return {
        "temporal_views": temporal_views,
        "spatial_crops": spatial_crops,
        **protocol_of_clips(source, data),
        "macs_per_view": macs,
        "macs_all_views": macs * temporal_views * spatial_crops,
    }


def protocol_of_clips(source, data: data_options.DataOptions) -> dict[str, Any]:
    """Returns what of a protocol depends on neither network nor views."""
    return {
        "clip_size": data.eval_clip_size,
        "short_side": data.eval_size[0],
        "squash": data.squash,
        "standardize": data.standardize,
        "sampling": data.sampling,
        "stride": data.stride,
        "stride_fps": data.stride_fps,
        "manifest": source.manifest.fingerprint,
    }


def protocol_line(
    protocol: Mapping[str, Any], clips: int, annotated: int | None = None
) -> str:
    """Returns a protocol on one line.

    Args:
        protocol: Of `protocol_of`.
        clips: How many were tested.
        annotated: How many should have been; None if that is not known.
    """
    frames, height, width = protocol["clip_size"]
    of = "" if annotated is None else f" of {annotated} annotated"
    return (
        f"{protocol['temporal_views']} clips x {protocol['spatial_crops']} "
        f"crops of {frames}x{height}x{width} ({protocol['sampling']} "
        f"sampling), {protocol['macs_per_view'] / 1e6:,.1f} M MACs per view, "
        f"{protocol['macs_all_views'] / 1e6:,.1f} M in all; "
        f"{clips}{of} clips, manifest {protocol['manifest'][:12]}"
    )
