"""Named search spaces. The candidate lists are this project's own choice.

Filters come in complementary pairs around the width of X3D's stage, so that
their fair windows are exactly fair; those of inner channels are nearly so.
"""

import dataclasses
import os

from autox3d_tf.base import checks
from autox3d_tf.space import arch as arch_lib
from autox3d_tf.space import search_space

ALL_BLOCK_TYPES = ("3x3x3", "1x3x3", "5x3x3", "3x5x5", "1x5x5", "separable")
EXPANSIONS = (1.5, 2.0, 2.25, 3.0, 4.0)


def _stages(
    *stages,
    block_types=ALL_BLOCK_TYPES,
    expansions=EXPANSIONS,
    channel_multiple=8,
):
    """Stages of `(filters, depth)` that share their other candidates."""
    return tuple(
        search_space.StageSpace(
            filters=filters,
            depth=depth,
            block_types=block_types,
            expansions=expansions,
            channel_multiple=channel_multiple,
        )
        for filters, depth in stages
    )


_TINY = search_space.SearchSpace(
    name="tiny",
    version=1,
    clip_size=(8, 32, 32),
    frame_stride=1,
    stem=arch_lib.StemSpec(filters=8, temporal_kernel=3),
    stages=_stages(
        ((8, 16, 24), 1),
        ((12, 24, 36), 2),
        block_types=("3x3x3", "1x3x3", "separable"),
        expansions=(1.5, 2.0, 3.0),
        channel_multiple=4,
    ),
    head=arch_lib.HeadSpec(filters=48, features=64),
)

# For comparisons of searches: small networks, trained in minutes; budgets of
# 0.7 to 1.5 M multiply-adds admit from 7 % to two thirds of them.
_MOTION = search_space.SearchSpace(
    name="motion",
    version=6,
    clip_size=(8, 32, 32),
    frame_stride=1,
    stem=arch_lib.StemSpec(filters=4),
    stages=_stages(
        ((2, 4, 6, 8, 10), 1),
        ((4, 8, 12, 16, 20), 2),
        ((6, 12, 18, 24, 30), 3),
        block_types=("3x3x3", "1x3x3", "3x5x5", "1x5x5"),
        expansions=(1.0, 2.0, 3.0),
        channel_multiple=2,
    ),
    head=arch_lib.HeadSpec(filters=96, features=96),
)

_EGOGESTAR = search_space.SearchSpace(
    name="egogestar",
    version=1,
    clip_size=(16, 64, 64),
    frame_stride=1,
    stem=arch_lib.StemSpec(filters=12),
    stages=_stages(
        ((4, 8, 12, 16, 20), 1),
        ((8, 16, 20, 28, 36), 2),
        ((16, 24, 40, 48, 64), 4),
        ((32, 48, 64, 80, 112), 2),
    ),
    head=arch_lib.HeadSpec(filters=144, features=128),
)
# Gestures at a quarter of its multiply-adds: filters around what X3D has at
# 12 M, so that a budget near it leaves several to choose from in each stage.
_EGOGESTAR_SMALL = search_space.SearchSpace(
    name="egogestar_small",
    version=2,
    clip_size=(16, 64, 64),
    frame_stride=1,
    stem=arch_lib.StemSpec(filters=8),
    stages=_stages(
        ((4, 6, 8, 10, 14), 1),
        ((6, 8, 10, 12, 18), 2),
        ((12, 16, 20, 24, 36), 4),
        ((24, 32, 40, 48, 72), 2),
        channel_multiple=2,
    ),
    head=arch_lib.HeadSpec(filters=96, features=96),
)
# Gestures at half of egogestar_small's multiply-adds. The stem is no wider than
# X3D's first stage, so that most of the budget is left to choose about; each
# kernel reaches over time; 5 and 31 % of the networks are within 6 and 8 M.
_EGOGESTAR_TINY = search_space.SearchSpace(
    name="egogestar_tiny",
    version=1,
    clip_size=(16, 64, 64),
    frame_stride=1,
    stem=arch_lib.StemSpec(filters=4),
    stages=_stages(
        ((2, 3, 4, 5, 7), 1),
        ((4, 5, 7, 8, 12), 2),
        ((6, 9, 12, 15, 21), 4),
        ((12, 20, 28, 36, 48), 2),
        block_types=("3x3x3", "5x3x3", "3x5x5", "separable"),
        expansions=(1.5, 2.25, 3.0),
        channel_multiple=2,
    ),
    head=arch_lib.HeadSpec(filters=96, features=96),
)
# For streams: a frame sees itself and the past.
_MOTION_STREAM, _EGOGESTAR_STREAM = (
    dataclasses.replace(space, name=f"{space.name}_stream", causal=True)
    for space in (_MOTION, _EGOGESTAR)
)

# The skeleton of X3D-S and -M: 26 blocks.
_X3D_S = search_space.SearchSpace(
    name="x3d_s",
    version=1,
    clip_size=(13, 160, 160),
    frame_stride=6,
    stem=arch_lib.StemSpec(filters=24),
    stages=_stages(
        ((8, 16, 24, 32, 40), 3),
        ((16, 32, 48, 64, 80), 5),
        ((32, 64, 96, 128, 160), 11),
        ((64, 128, 192, 256, 320), 7),
    ),
    head=arch_lib.HeadSpec(filters=432, features=2048),
)
_X3D_M = dataclasses.replace(
    _X3D_S, name="x3d_m", clip_size=(16, 224, 224), frame_stride=5
)

SPACES: dict[str, search_space.SearchSpace] = {
    space.name: space
    for space in (
        _TINY,
        _MOTION,
        _MOTION_STREAM,
        _EGOGESTAR,
        _EGOGESTAR_SMALL,
        _EGOGESTAR_TINY,
        _EGOGESTAR_STREAM,
        _X3D_S,
        _X3D_M,
    )
}


def get_space(
    name: str | os.PathLike | search_space.SearchSpace,
) -> search_space.SearchSpace:
    """Returns a named space, the one in a .json file, or the one given.

    Raises:
        ValueError: The name is unknown (the known ones are listed) or the
            file is damaged.
    """
    if isinstance(name, search_space.SearchSpace):
        return name
    name = os.fspath(name)
    if name.endswith(".json") or os.sep in name:
        return search_space.load_space(name)
    checks.check_choice("name", name, SPACES)
    return SPACES[name]
