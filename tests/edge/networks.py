"""Small networks and weights for the tests of the edge floor."""

from autox3d_edge import weights
from autox3d_tf import space
from tests.edge import reference

CLASSES = 7


def small_arch(
    block_type="3x3x3",
    attention="se",
    activation="swish",
    causal=False,
    clip_size=(5, 18, 22),
):
    """Two stages; widths and strides change, so shortcuts project."""

    def block(filters, strides):
        return space.BlockSpec(
            block_type=block_type,
            filters=filters,
            inner_filters=2 * filters,
            strides=strides,
            attention=attention,
        )

    return space.ArchSpec(
        name="small",
        clip_size=clip_size,
        frame_stride=1,
        stem=space.StemSpec(filters=6, temporal_kernel=3),
        stages=(
            (block(6, (1, 1, 1)), block(6, (1, 1, 1))),
            (block(10, (1, 2, 2)),),
        ),
        head=space.HeadSpec(filters=20, features=12),
        activation=activation,
        causal=causal,
    )


def random_weights(arch, seed=0):
    """Weights of a plausible trained network of this architecture."""
    shapes = weights.weight_shapes(arch, CLASSES)
    return reference.random_weights(shapes, seed)
