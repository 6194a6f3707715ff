"""Small networks and weights for the tests of the edge floor."""

import dataclasses

from autox3d_tf import space
from autox3d_tf.space import weight_names
from tests.edge import reference

CLASSES = 7
STREAM_FRAMES = 6


def _block(block_type, filters, strides, attention):
    return space.BlockSpec(
        block_type=block_type,
        filters=filters,
        inner_filters=2 * filters,
        strides=strides,
        attention=attention,
    )


def small_arch(
    block_type="3x3x3",
    attention="se",
    activation="swish",
    causal=False,
    clip_size=(5, 18, 22),
):
    """Two stages; widths and strides change, so shortcuts project."""

    def block(filters, strides):
        return _block(block_type, filters, strides, attention)

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


def stream_arch():
    """Every kind of kernel over time: a pair, taps, strided taps; and none."""
    return dataclasses.replace(
        small_arch(causal=True, clip_size=(STREAM_FRAMES, 16, 16)),
        stages=(
            (
                _block("separable", 6, (1, 1, 1), "se"),
                _block("3x3x3", 6, (1, 1, 1), "none"),
            ),
            (
                _block("5x3x3", 10, (1, 2, 2), "se"),
                _block("1x3x3", 10, (1, 1, 1), "none"),
            ),
        ),
    )


def random_weights(arch, seed=0):
    """Weights of a plausible trained network of this architecture."""
    shapes = weight_names.weight_shapes(arch, CLASSES)
    return reference.random_weights(shapes, seed)


def silent_squeeze(weights):
    """The relu inside the first squeeze-and-excite lets nothing through."""
    weights["stage1_block1/se_reduce_bias"] -= 100.0


def silent_taps(weights):
    """All taps but one are next to 0, as in a kernel grown from pictures."""
    for tap in (0, 2):
        weights["stage1_block1/depthwise1_kernel"][tap] *= 1e-7


def silent_expansion(weights):
    """Neither the first expansion nor what follows it sees anything."""
    weights["stage1_block1/expand_norm_beta"] -= 100.0
