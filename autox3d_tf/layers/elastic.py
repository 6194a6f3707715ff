"""Searchable layers: shared weights, and the logits of their own choices.

A stage holds its blocks at their widest. Which of them run, and how wide, is
an argument of the call: a slice of the vector of choice indices. Channels are
windows of the shared weights, kernels are the centre of the largest kernel,
and the kinds of block branch in the graph, so one trace serves every
architecture and each runs at its own cost.
"""

import dataclasses
import zlib

import keras
import tensorflow as tf

from autox3d_tf.layers import blocks, ops
from autox3d_tf.layers import weights as weights_lib
from autox3d_tf.space import arch as arch_lib
from autox3d_tf.space import search_space
from autox3d_tf.space import windows as windows_lib

# The kernels a block may have: centres of one, and one over time behind it.
SHARED_KERNEL = "depthwise_shared_kernel"
TEMPORAL_KERNEL = "depthwise_temporal_kernel"
# Weight name -> axes of input, inner and output channels.
_CHANNEL_AXES = {
    "expand_kernel": ("in", "inner"),
    "project_kernel": ("inner", "out"),
    "shortcut_kernel": ("in", "out"),
    "se_reduce_kernel": ("inner", "se"),
    "se_reduce_bias": ("se",),
    "se_expand_kernel": ("se", "inner"),
    "se_expand_bias": ("inner",),
}
_NORM_CHANNELS = {
    "expand_norm": "inner",
    "depthwise_norm": "inner",
    "project_norm": "out",
    "shortcut_norm": "out",
}


def channel_axes(name: str) -> tuple[str, ...]:
    """Returns which window slices each channel axis of a block's weight.

    Depthwise kernels `(t, h, w, C)` have one channel axis, the last.
    """
    if name in _CHANNEL_AXES:
        return _CHANNEL_AXES[name]
    if name.startswith("depthwise") and name.endswith("_kernel"):
        return ("inner",)
    return (_NORM_CHANNELS[name.rsplit("_", 1)[0]],)


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


def elastic_depthwise(
    clip, kind, kernel, temporal_kernel, *, block_types, strides, causal
):
    """The depthwise kernels of a child, those of `block_types[kind]`.

    Every kind uses some of the same taps over time, in a part of the same
    size in space: the taps a kind does without are branches not taken. That
    keeps the graph several times smaller than a branch per kind.

    Args:
        clip: `(B, T, H, W, C)`.
        kind: int32 scalar.
        kernel: Shared kernel `(t, h, w, C)`, static but for C.
        temporal_kernel: `(t, 1, 1, C)` of the second kernels, or None.
        block_types: Candidates, without `skip`.
        strides, causal: Static, as in `ops.depthwise_conv3d`.
    """
    kernels = [arch_lib.BLOCK_TYPES[block_type] for block_type in block_types]
    sizes = [first for first, *_ in kernels]
    table = tf.constant(
        [(t // 2, h, w, len(k) - 1) for k, (t, h, w) in zip(
            kernels, sizes, strict=True)]
    )  # fmt: skip
    reach, rows, columns, second = tf.unstack(table[kind])
    taps, full_rows, full_columns = kernel.shape[:3]
    kernel = tf.slice(
        kernel,
        [0, (full_rows - rows) // 2, (full_columns - columns) // 2, 0],
        [taps, rows, columns, tf.shape(kernel)[3]],
    )
    images, padding = ops.pad_if_strided(ops.fold_time(clip), kernel, strides)
    time = tf.shape(clip)[1]
    flat = tf.unstack(kernel[..., tf.newaxis], taps)  # per tap, for 2-D

    def tap(index, offset):
        out = tf.nn.depthwise_conv2d(
            images, flat[index], (1, *strides[1:], 1), padding
        )
        return ops.shift_time(ops.unfold_time(out, time), offset)

    newest = taps - 1 if causal else taps // 2
    total = tap(newest, 0)
    for step in range(1, taps // 2 + 1):
        # The two taps that a kernel longer by 2 has more.
        offsets = (1 - 2 * step, -2 * step) if causal else (-step, step)

        def longer(total=total, offsets=offsets):
            return total + tf.add_n([tap(newest + o, o) for o in offsets])

        if all(size[0] // 2 >= step for size in sizes):
            total = longer()
        else:
            total = tf.cond(
                reach >= step, longer, lambda total=total: tf.identity(total)
            )
    if temporal_kernel is None:
        return total
    return tf.cond(
        second > 0,
        lambda: ops.depthwise_conv3d(total, temporal_kernel, causal=causal),
        lambda: tf.identity(total),
    )


class ElasticBlock3D(weights_lib.WeightedLayer):
    """One searchable block of a stage: widest weights and three logits.

    Args:
        stage: The `StageSpace`.
        index: Place in the stage, counted from 1.
        in_channels: Widest input.
        **kwargs: Base layer arguments, such as `name` and `dtype`.
    """

    moving_statistics = False  # children differ

    def __init__(self, stage, index, in_channels, **kwargs):
        super().__init__(**kwargs)
        self.stage = stage
        self.index = index
        self.in_channels = in_channels
        self.block_types = stage.types_of_block(index)
        self.strides = stage.strides if index == 1 else (1, 1, 1)

    def build(self, input_shape=None):
        inner = max(
            start + width
            for row in self.stage.inner_windows
            for start, width in row
        )
        se = 0
        if "se" in self.stage.attentions:
            se = arch_lib.round_width(inner, arch_lib.SE_RATIO)
        shapes = weights_lib.block_shapes(
            self.in_channels,
            inner,
            max(self.stage.filters),
            kernel_shapes(self.block_types),
            se,
            projects=self.index == 1,
        )
        self.add_weights(shapes)
        self.block_type_logits = self._logits("block_type", self.block_types)
        self.expansion_logits = self._logits("expansion", self.stage.expansions)
        self.attention_logits = self._logits("attention", self.stage.attentions)
        self.built = True

    def _logits(self, name, candidates):
        return self.add_weight(
            name=f"{name}_logits",
            shape=(len(candidates),),
            initializer="zeros",
            dtype="float32",
            autocast=False,
        )

    @property
    def logits(self):
        """Logits of block type, expansion and attention, in this order."""
        return [
            self.block_type_logits,
            self.expansion_logits,
            self.attention_logits,
        ]


def run_block(
    clip, choice, windows, weights, gate=None, *, block_types, attentions,
    strides, activation, causal,
):  # fmt: skip
    """Runs one child of an elastic block.

    Args:
        clip: `(B, T, H, W, C)`, C the width of the input window.
        choice: int32 `(2,)`: indices of block type and attention.
        windows: int32 `(4, 2)`: `(start, width)` of in, inner, out, se.
        weights: Name -> shared weight at its widest.
        gate: Scales the branch before the shortcut is added; None for 1.
        block_types, attentions: Candidates, static.
        strides, activation, causal: Static, as in `bottleneck`.
    """
    names = ("in", "inner", "out", "se")
    window = dict(zip(names, tf.unstack(windows), strict=True))

    def get(name):
        if name not in weights:
            return None
        weight, axes = weights[name], channel_axes(name)
        starts = tf.stack([window[axis][0] for axis in axes])
        widths = tf.stack([window[axis][1] for axis in axes])
        return tf.slice(weight, starts, widths)

    def norm(name, x):
        x = ops.batch_norm_training(
            x, get(f"{name}_gamma"), get(f"{name}_beta")
        )[0]
        if gate is not None and name == "project_norm":
            x *= tf.cast(gate, x.dtype)
        return x

    def get_kernel(name):
        if name not in weights:
            return None
        kernel = weights[name]
        start, width = window["inner"][0], window["inner"][1]
        size = kernel.shape[:3]
        kernel = tf.slice(kernel, [0, 0, 0, start], [*size, width])
        kernel.set_shape((*size, None))  # taps are static, channels are not
        return kernel

    def depthwise(x):
        return elastic_depthwise(
            x,
            choice[0],
            get_kernel(SHARED_KERNEL),
            get_kernel(TEMPORAL_KERNEL),
            block_types=[t for t in block_types if t != search_space.SKIP],
            strides=strides,
            causal=causal,
        )

    def attend(x):
        return ops.squeeze_excite(
            x,
            get("se_reduce_kernel"),
            get("se_reduce_bias"),
            get("se_expand_kernel"),
            get("se_expand_bias"),
            causal,
        )

    def attention(x):
        if attentions == ("none",):
            return x
        if attentions == ("se",):
            return attend(x)
        return tf.cond(
            tf.equal(choice[1], attentions.index("se")),
            lambda: attend(x),
            lambda: tf.identity(x),
        )

    def whole():
        return blocks.bottleneck(
            clip,
            get,
            norm,
            depthwise,
            attention=attention,
            activation=ops.ACTIVATIONS[activation],
            strides=strides,
            causal=causal,
        )

    if search_space.SKIP not in block_types:
        return whole()
    skip = block_types.index(search_space.SKIP)
    return tf.cond(tf.equal(choice[0], skip), lambda: tf.identity(clip), whole)


@keras.saving.register_keras_serializable("autox3d_tf")
class ElasticStage3D(keras.layers.Layer):
    """A stage whose filters, and whose blocks' choices, are call arguments.

    Args:
        stage: A `StageSpace`, or its dict.
        previous_filters: Candidate widths of the input; one for a stem.
        activation: After the depthwise kernels.
        causal: Whether a frame sees the past only.
        seed: Of the initialisation.
        **kwargs: Base layer arguments, such as `name` and `dtype`.

    Call arguments:
        clip: `(batch, time, height, width, channels)`, as many channels as
            the previous stage's chosen filters.
        previous: int32 scalar, index of the previous stage's filters.
        indices: int32 `(1 + 3 * depth,)`: filters, then per block its type,
            expansion and attention.
        gates: float32, as many, or None: each choice scales, by its own, the
            branches it decides on, before the shortcuts are added.

    Output shape: `(batch, time, ..., chosen filters)`.
    """

    def __init__(
        self, stage, previous_filters, activation="swish", causal=False,
        seed=0, **kwargs,
    ):  # fmt: skip
        super().__init__(**kwargs)
        if not isinstance(stage, search_space.StageSpace):
            stage = arch_lib.read_fields(search_space.StageSpace, stage)
        self.stage = stage
        self.previous_filters = tuple(previous_filters)
        self.activation = activation
        self.causal = causal
        self.seed = seed
        self.blocks = [
            ElasticBlock3D(
                stage,
                index,
                max(self.previous_filters)
                if index == 1
                else max(stage.filters),
                seed=zlib.crc32(f"{seed}/{self.name}".encode()),
                name=f"block{index}",
                dtype=self.dtype_policy,
            )
            for index in range(1, stage.depth + 1)
        ]
        # Blocks after the first are alike: they share one traced function.
        self._shared = tf.function(self._run, autograph=False)

    def build(self, input_shape=None):
        self.filters_logits = self.add_weight(
            name="filters_logits",
            shape=(len(self.stage.filters),),
            initializer="zeros",
            dtype="float32",
            autocast=False,
        )
        for block in self.blocks:
            block.build()
        self.built = True

    @property
    def logits(self):
        """Logits in the order of the space's choices."""
        return [self.filters_logits] + [
            logits for block in self.blocks for logits in block.logits
        ]

    def call(self, clip, previous, indices, gates=None):
        stage = self.stage
        in_table = tf.constant(
            windows_lib.place_windows(self.previous_filters), tf.int32
        )
        out_table = tf.constant(stage.filter_windows, tf.int32)
        inner_table = tf.constant(stage.inner_windows, tf.int32)
        se_table = tf.constant(
            [
                [
                    (0, arch_lib.round_width(width, arch_lib.SE_RATIO))
                    for _, width in row
                ]
                for row in stage.inner_windows
            ],
            tf.int32,
        )
        out_window = out_table[indices[0]]
        in_window = in_table[previous]
        for position, block in enumerate(self.blocks):
            choice = indices[1 + 3 * position : 4 + 3 * position]
            windows = tf.stack(
                [
                    in_window,
                    inner_table[indices[0], choice[1]],
                    out_window,
                    se_table[indices[0], choice[1]],
                ]
            )
            weights = {
                name: tf.convert_to_tensor(variable)
                for name, variable in block.named_weights()
            }
            choice = tf.stack([choice[0], choice[2]])
            gate = None
            if gates is not None:
                own = gates[1 + 3 * position : 4 + 3 * position]
                gate = gates[0] * tf.reduce_prod(own)
            if position == 0:
                clip = self._run_first(clip, choice, windows, weights, gate)
            else:
                clip = self._shared(clip, choice, windows, weights, gate)
            in_window = out_window
        return clip

    def _run_first(self, *arguments):
        return self._run_block(self.blocks[0], *arguments)

    def _run(self, *arguments):
        return self._run_block(self.blocks[1], *arguments)

    def _run_block(self, block, clip, choice, windows, weights, gate):
        return run_block(
            clip,
            choice,
            windows,
            weights,
            gate,
            block_types=block.block_types,
            attentions=self.stage.attentions,
            strides=block.strides,
            activation=self.activation,
            causal=self.causal,
        )

    def get_config(self):
        return {
            **super().get_config(),
            "stage": dataclasses.asdict(self.stage),
            "previous_filters": self.previous_filters,
            "activation": self.activation,
            "causal": self.causal,
            "seed": self.seed,
        }


@keras.saving.register_keras_serializable("autox3d_tf")
class ElasticStem3D(blocks.Stem3D):
    """The stem of a supernet: batch statistics only."""

    moving_statistics = False


@keras.saving.register_keras_serializable("autox3d_tf")
class ElasticHead3D(blocks.Head3D):
    """The head of a supernet: takes any chosen width of the last stage.

    Args:
        in_filters: Candidate widths of the input.
        filters, features, num_classes, **kwargs: As `Head3D`.

    Call arguments:
        clip: `(batch, time, height, width, channels)`.
        previous: int32 scalar, index of the last stage's filters.
    """

    moving_statistics = False

    def __init__(self, in_filters, filters, features, num_classes, **kwargs):
        super().__init__(filters, features, num_classes, **kwargs)
        self.in_filters = tuple(in_filters)

    def build(self, input_shape=None):
        super().build((None, None, None, None, max(self.in_filters)))
        self.built = True

    def call(self, clip, previous, training=False):
        table = tf.constant(windows_lib.place_windows(self.in_filters))
        start, width = tf.unstack(table[previous])
        kernel = tf.slice(
            self.get("conv_kernel"), [start, 0], [width, self.filters]
        )
        return self.run(clip, kernel, training)

    def get_config(self):
        return {**super().get_config(), "in_filters": self.in_filters}
