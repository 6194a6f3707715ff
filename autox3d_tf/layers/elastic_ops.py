"""Operations of which a child of a supernet does a part.

TensorFlow differentiates `tf.cond` by wrapping each intermediate tensor of a
branch, which took half of the time of a small child's step. These branches
are not differentiated: their gradients are branches of their own.
"""

import functools
from collections.abc import Callable, Sequence

import tensorflow as tf

from autox3d_tf.layers import ops
from autox3d_tf.space import arch as arch_lib


def run_if(
    active: tf.Tensor, function: Callable, clip: tf.Tensor, *weights: tf.Tensor
) -> tf.Tensor:
    """`function(clip, *weights)` if `active`, else the clip as it is.

    What is not active runs on an empty batch: that costs next to nothing, and
    there is no branch around it. Gradients of an empty batch are zero, but
    those of TensorFlow's depthwise kernels are whatever memory held (2.21):
    from nothing to not-a-number, by machine and by what ran before. They are
    set to zero here; no other weight has four axes.

    Args:
        active: int32 scalar, 0 or 1; not bool, see `ops.pick`.
        function: Keeps the shape of the clip; uses no other tensors that need
            a gradient.
        clip: Clips or images, the batch first.
        *weights: Further arguments.
    """

    @tf.custom_gradient
    def run(clip, *weights):
        kept = [active * tf.shape(clip)[0]]
        start, size = [0] * clip.shape.rank, [-1] * (clip.shape.rank - 1)
        size = tf.concat([kept, size], 0)
        clips = tf.slice(clip, start, size)
        clips.set_shape([None, *clip.shape[1:]])
        with tf.GradientTape() as tape:
            tape.watch([clips, *weights])
            result = function(clips, *weights)

        def gradient(upstream):
            below, *gradients = tape.gradient(
                result,
                [clips, *weights],
                tf.slice(upstream, start, size),
                unconnected_gradients=tf.UnconnectedGradients.ZERO,
            )
            gradients = [
                tf.where(active > 0, one, tf.zeros_like(one))
                if one.shape.rank == 4
                else one
                for one in gradients
            ]
            return [_choose(active > 0, below, upstream), *gradients]

        out = _choose(active > 0, result, clip)
        out.set_shape(clip.shape)
        return out, gradient

    return run(clip, *weights)


def _choose(condition, one, other):
    return tf.cond(
        condition, lambda: tf.identity(one), lambda: tf.identity(other)
    )


def kernel_table(block_types: Sequence[str]) -> list[tuple[int, int, int, int]]:
    """Per type: steps in time from the centre, rows, columns, whether there
    is a second kernel; for `skip`, whose kernels do not run, the least."""
    kernels = [arch_lib.BLOCK_TYPES.get(name) for name in block_types]
    rows = [
        (k[0][0] // 2, k[0][1], k[0][2], len(k) - 1) if k else None
        for k in kernels
    ]
    least = min(row for row in rows if row)
    return [row or least for row in rows]


def elastic_depthwise(
    images, time, block_type, kernel, temporal_kernel, *, block_types, strides,
    causal,
):  # fmt: skip
    """The depthwise kernels of a child, those of a block type.

    Every type uses some of the same taps over time, in a part of the same
    size in space: the taps a type does without are branches not taken. That
    keeps the graph several times smaller than a branch per type.

    Args:
        images: `(B * T, H, W, C)`.
        time: T.
        block_type: int32 scalar, index of the candidate.
        kernel: Shared kernel `(t, h, w, C)`, static in t; h, w of this type.
        temporal_kernel: `(t, 1, 1, C)` of the second kernels, or None.
        block_types: Candidates.
        strides, causal: Static, as in `ops.depthwise_conv3d`.
    """
    table = kernel_table(block_types)
    reach, _, _, second = tf.unstack(ops.pick(tf.constant(table), block_type))
    padded, padding = ops.pad_images(images, kernel, strides)
    total = _run_taps(
        padded,
        kernel,
        time=time,
        reach=reach,
        always=min(row[0] for row in table),
        strides=(1, *strides[1:], 1),
        padding=padding,
        causal=causal,
    )
    if strides == (1, 1, 1) and padding == "VALID":
        # Of no images oneDNN makes images of the size that it got.
        total = tf.reshape(total, tf.shape(images))
    if temporal_kernel is None:
        return total
    return run_if(
        second,
        lambda images, kernel: _temporal(images, time, kernel, causal),
        total,
        temporal_kernel,
    )


def _run_taps(images, kernel, **arguments):
    """The sum of a kernel's taps over time; arguments as of `_Taps`."""

    @tf.custom_gradient
    def run(images, kernel):
        taps = _Taps(images, kernel, **arguments)
        return taps.forward(), taps.backward

    return run(images, kernel)


class _Taps:
    """The taps over time of a depthwise kernel, as many as a child reaches.

    Args:
        images: `(B * T, H, W, C)`, padded in space.
        kernel: `(t, h, w, C)`, static in t.
        time: T.
        reach: int32 scalar: steps in time from the centre that run.
        always: As many run in every child, without a branch.
        strides, padding: Of the convolutions in space.
        causal: Whether the last tap is at a frame itself, not the middle one.
    """

    def __init__(
        self, images, kernel, *, time, reach, always, strides, padding, causal
    ):
        count = kernel.shape[0]
        self.images, self.strides, self.padding = images, strides, padding
        self.reach, self.always, self.causal = reach, always, causal
        self.centre = count - 1 if causal else count // 2  # of a frame itself
        self.steps = range(1, count // 2 + 1)
        self.taps = tf.unstack(kernel[..., tf.newaxis], count)  # for 2-D
        self.first = self._convolve(0)
        # All taps share the vectors of shapes.
        self.shape = tf.shape(self.first)
        self.rows = tf.stack([-1, time, tf.reduce_prod(self.shape[1:])])
        self.size = tf.stack([-1, time, -1])

    def forward(self):
        """Returns the sum, `(B * T, rows, columns, C)`."""
        total = self.first
        for step in self.steps:
            total = self._if_reached(
                step,
                functools.partial(self._add, step, total),
                functools.partial(tf.identity, total),
            )
        return total

    def _add(self, step, total):
        more = [self._shift(self._convolve(o), o) for o in self._offsets(step)]
        return tf.add_n([total, *more])

    def backward(self, upstream):
        """Returns the gradients of images and kernel."""
        below, gradient = self._gradients(0, upstream)
        by_tap = {self.centre: gradient}
        for step in self.steps:
            below, *gradients = self._if_reached(
                step,
                functools.partial(self._add_gradients, step, upstream, below),
                functools.partial(self._no_gradients, below),
            )
            for offset, gradient in zip(
                self._offsets(step), gradients, strict=True
            ):
                by_tap[self.centre + offset] = gradient
        stacked = tf.stack([by_tap[tap] for tap in range(len(by_tap))])
        return below, stacked[..., 0]

    def _add_gradients(self, step, upstream, below):
        more, gradients = zip(
            *(
                self._gradients(offset, self._shift(upstream, -offset))
                for offset in self._offsets(step)
            ),
            strict=True,
        )
        return tf.add_n([below, *more]), *gradients

    def _no_gradients(self, below):
        zeros = tf.zeros_like(self.taps[0])
        return tf.identity(below), zeros, zeros

    def _if_reached(self, step, add, keep):
        if step <= self.always:
            return add()
        return tf.cond(self.reach >= step, add, keep)

    def _offsets(self, step):
        """Of the two taps that a kernel longer by 2 has more, in frames."""
        return (1 - 2 * step, -2 * step) if self.causal else (-step, step)

    def _convolve(self, offset):
        return tf.nn.depthwise_conv2d(
            self.images,
            self.taps[self.centre + offset],
            self.strides,
            self.padding,
        )

    def _gradients(self, offset, upstream):
        """Of the images and a tap."""
        return (
            tf.nn.depthwise_conv2d_backprop_input(
                tf.shape(self.images), self.taps[self.centre + offset],
                upstream, self.strides, self.padding,
            ),
            tf.nn.depthwise_conv2d_backprop_filter(
                self.images, tf.shape(self.taps[0]), upstream, self.strides,
                self.padding,
            ),
        )  # fmt: skip

    def _shift(self, images, offset):
        """As `ops.shift_time`."""
        past, future = max(-offset, 0), max(offset, 0)
        padded = tf.pad(
            tf.reshape(images, self.rows), [[0, 0], [past, future], [0, 0]]
        )
        shifted = tf.slice(padded, [0, future, 0], self.size)
        return tf.reshape(shifted, self.shape)


def _temporal(images, time, kernel, causal):
    """A depthwise kernel `(t, 1, 1, C)` over time; there may be no images."""
    shape, taps = tf.shape(images), kernel.shape[0]
    positions = shape[1] * shape[2]
    rows = tf.reshape(images, tf.stack([-1, time, positions, shape[3]]))
    if causal:
        rows = tf.pad(rows, [[0, 0], [taps - 1, 0], [0, 0], [0, 0]])
    out = tf.nn.depthwise_conv2d(
        rows,
        tf.reshape(kernel, [taps, 1, -1, 1]),
        (1, 1, 1, 1),
        "VALID" if causal else "SAME",
    )
    return tf.reshape(out, shape)
