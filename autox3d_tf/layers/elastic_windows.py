"""Where the weights of a child lie in the shared weights of a supernet."""

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import tensorflow as tf

from autox3d_tf.layers import ops
from autox3d_tf.space import arch as arch_lib
from autox3d_tf.space import search_space, weight_names

# The kernels a block may have: centres of one, and one over time behind it.
SHARED_KERNEL = "depthwise_shared_kernel"
TEMPORAL_KERNEL = "depthwise_temporal_kernel"
# Axes that have a window: channels, and the shared kernel's size in space.
AXES = ("in", "inner", "out", "se", "rows", "columns")
_LANES = [ops.LANES if axis == "inner" else 1 for axis in AXES]


class Span(NamedTuple):
    """A window of a weight: int32 vectors, one entry per axis."""

    begin: tf.Tensor
    size: tf.Tensor
    padding: tf.Tensor  # `(axes, 2)`: what lies before and behind
    filling: tf.Tensor | None  # `(axes, 2)`: zeros behind; see `ops.LANES`


def kernel_source(index: int) -> str:
    """Name of the shared weight behind a child's first or second kernel."""
    return (SHARED_KERNEL, TEMPORAL_KERNEL)[index - 1]


def kernel_shapes(block_types) -> dict[str, tuple[int, int, int]]:
    """Shared depthwise weights and their sizes for some block types."""
    shapes: dict[str, tuple[int, int, int]] = {}
    for block_type in block_types:
        if block_type == search_space.SKIP:
            continue
        for index, kernel in enumerate(arch_lib.BLOCK_TYPES[block_type], 1):
            name = kernel_source(index)
            before = shapes.get(name, (1, 1, 1))
            shapes[name] = tuple(map(max, before, kernel))
    return shapes


def centre(kernel, size, causal):
    """A child's `(t, h, w)` part of a shared kernel `(T, H, W, C)`.

    The centre in space; in time the centre, or the latest taps if causal.
    """
    t, h, w = (
        (full - wanted) // 2
        for full, wanted in zip(kernel.shape[:3], size, strict=True)
    )
    if causal:
        t = kernel.shape[0] - size[0]
    return kernel[t : t + size[0], h : h + size[1], w : w + size[2]]


def place_spans(
    shapes: Mapping[str, Sequence[int]], windows: tf.Tensor, fills_up: bool
) -> dict[str, Span]:
    """Returns the window of each weight of a block.

    Weights that are cut alike share their vectors: a graph of many small
    operations costs more time than a small child's convolutions.

    Args:
        shapes: Weight name -> shape at its widest.
        windows: int32 `(len(AXES), 2)`: start and width per axis.
        fills_up: Whether inner channels may need zeros to be filled up.
    """
    axes = {name: _axes(name, len(shape)) for name, shape in shapes.items()}
    kinds = list(dict.fromkeys(axes.values()))
    totals = [0] * (1 + len(AXES))
    for name, kind in axes.items():
        for axis, size in zip(kind, shapes[name], strict=True):
            totals[axis] = size
    start, width = tf.unstack(windows, axis=1)
    behind, filling = totals[1:] - start - width, -width % _LANES
    columns = tf.stack(
        [start, width, start, behind, tf.zeros_like(filling), filling], 1
    )
    # The first row is an axis kept whole.
    columns = tf.concat([[[0, -1, 0, 0, 0, 0]], columns], 0)
    rows = tf.unstack(columns)  # no gather: see `ops.pick`
    picked = tf.stack([rows[axis] for axis in itertools.chain(*kinds)])
    parts = (
        tf.split(part, [len(kind) for kind in kinds])
        for part in (
            picked[:, 0], picked[:, 1], picked[:, 2:4], picked[:, 4:]
        )
    )  # fmt: skip
    spans = dict(zip(kinds, map(Span, *parts), strict=True))
    return {
        name: spans[kind]
        if fills_up and 1 + AXES.index("inner") in kind
        else spans[kind]._replace(filling=None)
        for name, kind in axes.items()
    }


def _axes(name, rank):
    """Per axis of a weight 1 + its place in AXES, 0 for one kept whole."""
    axes = weight_names.channel_axes(name)
    if name == SHARED_KERNEL:
        axes = ("rows", "columns", *axes)
    return (0,) * (rank - len(axes)) + tuple(
        1 + AXES.index(axis) for axis in axes
    )


def take(name: str, weight: tf.Tensor, span: Span) -> tf.Tensor:
    """The window of a weight; the taps of a kernel stay static."""

    @tf.custom_gradient
    def cut(weight):
        def gradient(upstream):
            if span.filling is not None:
                upstream = tf.slice(
                    upstream, [0] * len(weight.shape), span.size
                )
            whole = tf.pad(upstream, span.padding)
            whole.set_shape(weight.shape)
            return whole

        window = tf.slice(weight, span.begin, span.size)
        if span.filling is not None:
            window = tf.pad(window, span.filling)
        return window, gradient

    window = cut(weight)
    if len(weight.shape) == 4:  # depthwise (t, h, w, C)
        space = (None, None) if name == SHARED_KERNEL else weight.shape[1:3]
        window.set_shape([weight.shape[0], *space, None])
    return window
