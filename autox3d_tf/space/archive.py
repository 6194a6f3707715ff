"""Published networks in the language of the search space.

X3D (Feichtenhofer, CVPR 2020) as trained by SlowFast: squeeze-excite on every
other block, counted from the first of each stage.
"""

import dataclasses

from autox3d_tf.space import arch as arch_lib


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


_XS = x3d(name="x3d_xs", clip_size=(4, 160, 160), frame_stride=12)
_SMALL_16 = x3d(
    name="x3d_ego",
    clip_size=(16, 64, 64),
    frame_stride=1,
    stage_filters=(12, 20, 40, 64),
    depths=(1, 2, 4, 2),
    head_features=128,
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
    )
}


def get_arch(name: str) -> arch_lib.ArchSpec:
    """Returns a named network. Raises ValueError listing the known ones."""
    arch_lib.check_choice("name", name, ARCHIVE)
    return ARCHIVE[name]
