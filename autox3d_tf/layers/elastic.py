"""Searchable layers: shared weights, and the logits of their own choices.

A stage holds its blocks at their widest. Which of them run, and how wide, is
an argument of the call: a slice of the vector of choice indices. The child's
windows of the shared weights are cut first, then its blocks run on them: one
trace serves every architecture and each runs at its own cost.
"""

import dataclasses
import zlib
from collections.abc import Mapping

import keras
import tensorflow as tf

from autox3d_tf.base import files as files_lib
from autox3d_tf.layers import blocks, elastic_ops, ops
from autox3d_tf.layers import elastic_windows as elastic_windows_lib
from autox3d_tf.layers import weights as weights_lib
from autox3d_tf.space import arch as arch_lib
from autox3d_tf.space import search_space, weight_names
from autox3d_tf.space import windows as windows_lib

Spans = Mapping[str, elastic_windows_lib.Span]


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
        shapes = weight_names.block_shapes(
            self.in_channels,
            inner,
            max(self.stage.filters),
            elastic_windows_lib.kernel_shapes(self.block_types),
            se,
            projects=self.index == 1,
        )
        self.add_weights(shapes)
        self.block_type_logits = self._logits("block_type", self.block_types)
        self.expansion_logits = self._logits("expansion", self.stage.expansions)
        self.attention_logits = self._logits("attention", self.stage.attentions)

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

    def take(self, spans: Spans) -> dict[str, tf.Tensor]:
        """Cuts a child's windows of the weights."""
        return {
            name: elastic_windows_lib.take(
                name, tf.convert_to_tensor(variable), spans[name]
            )
            for name, variable in self.named_weights()
        }


def run_block(
    images, time, block_type, attention, weights, gate=None, *, block_types,
    attentions, strides, activation, causal,
):  # fmt: skip
    """Runs one child of an elastic block.

    Args:
        images: `(B * T, H, W, C)`, C the width of the input window.
        time: T.
        block_type, attention: int32 scalars, indices of the candidates.
        weights: Name -> the child's window.
        gate: Scales the branch before the shortcut is added; None for 1.
        block_types, attentions: Candidates, static.
        strides, activation, causal: Static, as of `BottleneckBlock3D`.
    """
    inputs = dict(weights)
    if gate is not None:
        inputs["gate"] = gate

    def run(images, *values):
        child = _Child(
            dict(zip(inputs, values, strict=True)),
            time=time,
            block_type=block_type,
            attention=attention,
            block_types=block_types,
            attentions=attentions,
            strides=strides,
            causal=causal,
        )
        return blocks.bottleneck(
            images,
            child.weights.get,
            child.norm,
            child.depthwise,
            attention=child.attend,
            activation=ops.ACTIVATIONS[activation],
            strides=strides,
        )

    if search_space.SKIP not in block_types:
        return run(images, *inputs.values())
    runs = [int(name != search_space.SKIP) for name in block_types]
    return elastic_ops.run_if(
        ops.pick(tf.constant(runs), block_type), run, images, *inputs.values()
    )


class _Child:
    """What a child does between its pointwise kernels.

    Arguments are those of `run_block`, the gate one of the weights.
    """

    def __init__(
        self, weights, *, time, block_type, attention, block_types, attentions,
        strides, causal,
    ):  # fmt: skip
        self.weights, self.time, self.causal = weights, time, causal
        self.block_type, self.block_types = block_type, block_types
        self.attention, self.attentions = attention, attentions
        self.strides = strides

    def norm(self, name, images):
        """Batch normalisation, the last with the gate."""
        gamma, beta = self._get(f"{name}_gamma", f"{name}_beta")
        images = ops.batch_norm_training(images, gamma, beta)[0]
        if "gate" in self.weights and name == "project_norm":
            images *= tf.cast(self.weights["gate"], images.dtype)
        return images

    def depthwise(self, images):
        """The depthwise kernels."""
        return elastic_ops.elastic_depthwise(
            images,
            self.time,
            self.block_type,
            self.weights[elastic_windows_lib.SHARED_KERNEL],
            self.weights.get(elastic_windows_lib.TEMPORAL_KERNEL),
            block_types=self.block_types,
            strides=self.strides,
            causal=self.causal,
        )

    def attend(self, images):
        """Squeeze-excite, if chosen."""
        if "se" not in self.attentions:
            return images
        chosen = [int(name == "se") for name in self.attentions]
        return elastic_ops.run_if(
            ops.pick(tf.constant(chosen), self.attention),
            self._squeeze_excite,
            images,
            *self._get(
                "se_reduce_kernel",
                "se_reduce_bias",
                "se_expand_kernel",
                "se_expand_bias",
            ),
        )

    def _squeeze_excite(self, images, *weights):
        clip = ops.unfold_time(images, self.time)
        return ops.fold_time(ops.squeeze_excite(clip, *weights, self.causal))

    def _get(self, *names):
        return [self.weights[name] for name in names]


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
            stage = files_lib.read_fields(search_space.StageSpace, stage)
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

    @property
    def logits(self):
        """Logits in the order of the space's choices."""
        return [self.filters_logits] + [
            logits for block in self.blocks for logits in block.logits
        ]

    def spans(self, previous, indices) -> list[Spans]:
        """Where the child's windows are, per block; arguments as in `call`."""
        stage, filters = self.stage, indices[0]
        sizes = elastic_ops.kernel_table(
            (*stage.block_types, search_space.SKIP)
        )
        kernels = elastic_windows_lib.kernel_shapes(stage.block_types)
        _, rows, columns = kernels[elastic_windows_lib.SHARED_KERNEL]
        ins = tf.constant(windows_lib.place_windows(self.previous_filters))
        outs = tf.constant(stage.filter_windows)
        space = tf.constant(
            [
                [((rows - r) // 2, r), ((columns - c) // 2, c)]
                for _, r, c, _ in sizes
            ]
        )
        inner = tf.constant(stage.inner_windows)
        attention = tf.constant(
            [
                [
                    (0, arch_lib.round_width(width, arch_lib.SE_RATIO))
                    for _, width in row
                ]
                for row in stage.inner_windows
            ]
        )
        of_stage = ops.pick(tf.stack([inner, attention], 2), filters)
        fills_up = any(
            width % ops.LANES for row in stage.inner_windows for _, width in row
        )
        in_window = ops.pick(ins, previous)
        out_window = ops.pick(outs, filters)
        found = []
        for block, (first, _, last) in zip(
            self.blocks, stage.places().blocks, strict=True
        ):
            block_type, expansion = tf.unstack(indices[first:last], 2)
            inner_window, se_window = tf.unstack(ops.pick(of_stage, expansion))
            shared = [in_window, inner_window, out_window, se_window]
            windows = tf.concat(
                [tf.stack(shared), ops.pick(space, block_type)], 0
            )
            shapes = {n: v.shape for n, v in block.named_weights()}
            found.append(
                elastic_windows_lib.place_spans(shapes, windows, fills_up)
            )
            in_window = out_window
        return found

    def call(self, clip, previous, indices, gates=None):
        spans = self.spans(previous, indices)
        images, time = ops.fold_time(clip), ops.sizes(clip)[1]
        for block, own_spans, places in zip(
            self.blocks, spans, self.stage.places().blocks, strict=True
        ):
            own = slice(places[0], places[-1] + 1)
            block_type, _, attention = tf.unstack(indices[own], 3)
            gate = None
            if gates is not None:
                gate = gates[0] * tf.reduce_prod(gates[own])
            images = run_block(
                images,
                time,
                block_type,
                attention,
                block.take(own_spans),
                gate,
                block_types=block.block_types,
                attentions=self.stage.attentions,
                strides=block.strides,
                activation=self.activation,
                causal=self.causal,
            )
        return ops.unfold_time(images, time)

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

    def call(self, clip, previous, training=False):
        table = tf.constant(windows_lib.place_windows(self.in_filters))
        start, width = tf.unstack(ops.pick(table, previous))
        kernel = tf.slice(
            self.get("conv_kernel"), [start, 0], [width, self.filters]
        )
        return self.run(clip, kernel, training)

    def get_config(self):
        return {**super().get_config(), "in_filters": self.in_filters}
