"""Published networks in the language of the search space.

X3D (Feichtenhofer, CVPR 2020) as trained by SlowFast: squeeze-excite on every
other block, counted from the first of each stage.
"""

import dataclasses
import math
import os
import pathlib
from collections.abc import Callable

from autox3d_tf.space import arch as arch_lib
from autox3d_tf.space import search_space


def x3d(
    *,
    name: str,
    clip_size: tuple[int, int, int],
    frame_stride: int,
    stage_filters: tuple[int, ...] = (24, 48, 96, 192),
    depths: tuple[int, ...] = (3, 5, 11, 7),
    stem_filters: int | None = None,
    expansion: float = 2.25,
    head_filters: int | None = None,
    head_features: int = 2048,
) -> arch_lib.ArchSpec:
    """Returns an X3D of any size, also the hand-scaled small ones.

    Args:
        name: For people.
        clip_size: `(frames, height, width)`.
        frame_stride: Frames of the video per frame of the clip.
        stage_filters, depths: One entry per stage.
        stem_filters: The first stage's filters when not given.
        expansion: Inner channels over filters, rounded down.
        head_filters: Inner channels of the last stage when not given.
        head_features: Width of the hidden layer of the head.
    """
    stages = tuple(
        tuple(
            arch_lib.BlockSpec(
                block_type="3x3x3",
                filters=filters,
                inner_filters=int(expansion * filters),
                strides=(1, 2, 2) if index == 0 else (1, 1, 1),
                attention="se" if index % 2 == 0 else "none",
            )
            for index in range(depth)
        )
        for filters, depth in zip(stage_filters, depths, strict=True)
    )
    return arch_lib.ArchSpec(
        name=name,
        clip_size=clip_size,
        frame_stride=frame_stride,
        stem=arch_lib.StemSpec(filters=stem_filters or stage_filters[0]),
        stages=stages,
        head=arch_lib.HeadSpec(
            filters=head_filters or int(expansion * stage_filters[-1]),
            features=head_features,
        ),
        provenance={"source": "X3D, Feichtenhofer, CVPR 2020"},
    )


def scaled_x3d(
    space: search_space.SearchSpace,
    fits: Callable[[arch_lib.ArchSpec], bool],
    name: str = "x3d_scaled",
    depth: float = 1.0,
) -> arch_lib.ArchSpec:
    """Returns the widest X3D that fits, inside the skeleton of a space.

    X3D scaled by hand, which a search has to beat: stem, head and clip size
    are the space's; blocks are 3x3x3 with expansion 2.25 and squeeze-excite on
    every other one; widths double from stage to stage, all times one
    multiplier.

    Args:
        space: Gives the skeleton.
        fits: Whether a network is within budget. Must be true of narrower
            ones where it is of wider.
        name: For people.
        depth: Share of the space's blocks in every stage, rounded up.

    Raises:
        ValueError: If not even stages of a single channel fit.
    """

    def scaled(multiplier):
        widths = tuple(
            max(1, round(multiplier * space.stem.filters * 2**place))
            for place in range(len(space.stages))
        )
        depths = tuple(math.ceil(depth * s.depth) for s in space.stages)
        arch = x3d(
            name=name,
            clip_size=space.clip_size,
            frame_stride=space.frame_stride,
            stage_filters=widths,
            depths=depths,
        )
        stages = tuple(
            (dataclasses.replace(blocks[0], strides=stage.strides), *blocks[1:])
            for blocks, stage in zip(arch.stages, space.stages, strict=True)
        )
        return dataclasses.replace(
            arch,
            stem=space.stem,
            head=space.head,
            stages=stages,
            activation=space.activation,
            causal=space.causal,
            provenance={
                "scaled_by": multiplier,
                "depth": depth,
                "skeleton": space.name,
            },
        )

    low, high = 0.0, 1.0
    if not fits(scaled(low)):
        raise ValueError(
            f"No X3D in the skeleton of space {space.name!r} is within the "
            "budget, not even with one channel per stage. Raise the target."
        )
    while fits(scaled(high)):
        low, high = high, 2 * high
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (middle, high) if fits(scaled(middle)) else (low, middle)
    return scaled(low)


_XS = x3d(name="x3d_xs", clip_size=(4, 160, 160), frame_stride=12)
_SMALL_16 = x3d(
    name="x3d_ego",
    clip_size=(16, 64, 64),
    frame_stride=1,
    stage_filters=(12, 20, 40, 64),
    depths=(1, 2, 4, 2),
    head_features=128,
)
_SMALL_8 = x3d(
    name="x3d_motion",
    clip_size=(8, 32, 32),
    frame_stride=1,
    stage_filters=(5, 10, 19),
    depths=(1, 1, 2),
    stem_filters=4,
    head_filters=96,
    head_features=96,
)

ARCHIVE: dict[str, arch_lib.ArchSpec] = {
    arch.name: arch
    for arch in (
        _XS,
        dataclasses.replace(
            _XS, name="x3d_s", clip_size=(13, 160, 160), frame_stride=6
        ),
        dataclasses.replace(
            _XS, name="x3d_m", clip_size=(16, 224, 224), frame_stride=5
        ),
        x3d(
            name="x3d_l",
            clip_size=(16, 312, 312),
            frame_stride=5,
            depths=(5, 10, 25, 15),
        ),
        x3d(
            name="x3d_xl",
            clip_size=(16, 312, 312),
            frame_stride=5,
            stage_filters=(32, 72, 136, 280),
            depths=(5, 10, 25, 15),
        ),
        _SMALL_16,
        dataclasses.replace(_SMALL_16, name="x3d_ego_stream", causal=True),
        _SMALL_8,
        dataclasses.replace(_SMALL_8, name="x3d_motion_stream", causal=True),
    )
}


def get_arch(
    arch: str | os.PathLike | arch_lib.ArchSpec,
) -> arch_lib.ArchSpec:
    """Returns a named network, that of a file or directory, or the one given.

    Args:
        arch: A name, an arch.json or a directory with one. Names come first,
            whatever directories are called.

    Raises:
        ValueError: There is no such network (the named ones are listed) or
            the file is damaged.
    """
    if isinstance(arch, arch_lib.ArchSpec):
        return arch
    name = os.fspath(arch)
    if name in ARCHIVE:
        return ARCHIVE[name]
    path = pathlib.Path(name)
    if path.is_dir():
        return arch_lib.load_arch(path / "arch.json")
    if path.suffix == ".json" or path.is_file():
        return arch_lib.load_arch(path)
    raise ValueError(
        f"`arch` must be an arch.json, a directory with one or one of "
        f"{', '.join(ARCHIVE)}. Received: arch={name!r}."
    )
