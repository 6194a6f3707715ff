"""Search spaces and architectures as data. Standard library only."""

from autox3d_tf.space.arch import (
    ACTIVATIONS,
    ATTENTIONS,
    BLOCK_TYPES,
    ArchSpec,
    BlockSpec,
    HeadSpec,
    PlacedBlock,
    StemSpec,
    load_arch,
    round_width,
)
from autox3d_tf.space.archive import ARCHIVE, get_arch, scaled_x3d, x3d
from autox3d_tf.space.search_space import (
    SKIP,
    Choice,
    SearchSpace,
    StageSpace,
    load_space,
)
from autox3d_tf.space.spaces import SPACES, get_space
from autox3d_tf.space.windows import Fairness, fairness, place_windows

__all__ = [
    "ACTIVATIONS",
    "ARCHIVE",
    "ATTENTIONS",
    "BLOCK_TYPES",
    "SKIP",
    "SPACES",
    "ArchSpec",
    "BlockSpec",
    "Choice",
    "Fairness",
    "HeadSpec",
    "PlacedBlock",
    "SearchSpace",
    "StageSpace",
    "StemSpec",
    "fairness",
    "get_arch",
    "get_space",
    "load_arch",
    "load_space",
    "place_windows",
    "round_width",
    "scaled_x3d",
    "x3d",
]
