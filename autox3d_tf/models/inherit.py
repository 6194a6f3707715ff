"""From the supernet to a derived network: weights and batch statistics."""

from collections.abc import Iterable, Sequence

import keras
import numpy as np
import tensorflow as tf

from autox3d_tf.layers import blocks, elastic_windows
from autox3d_tf.models import supernet as supernet_lib
from autox3d_tf.models import x3d
from autox3d_tf.space import arch as arch_lib
from autox3d_tf.space import search_space, weight_names


def inherit(
    supernet: supernet_lib.Supernet, indices: Sequence[int]
) -> keras.Model:
    """Builds the network of `indices` with its windows of the shared weights.

    Its moving statistics are fresh (0 and 1): call `reestimate_batch_norm`
    before it is used for inference.
    """
    space = supernet.space
    arch = space.decode(indices)
    model = x3d.build_model(arch, supernet.num_classes)
    stem = {"stem": supernet.stem.weight_values()}
    values = stem | _stage_values(supernet, space.check_indices(indices))
    for layer in x3d.parts(model):
        layer.assign_weights({**layer.weight_values(), **values[layer.name]})
    return model


def _stage_values(supernet, indices):
    """Layer name -> weight name -> array, for blocks and head."""
    values, space = {}, supernet.space
    in_window = (0, space.stem.filters)
    for number, (layer, places) in enumerate(
        zip(supernet.stages, space.places, strict=True), 1
    ):
        stage, kept = layer.stage, 0
        filters = indices[places.filters]
        for block, own in zip(layer.blocks, places.blocks, strict=True):
            kind, expansion, attention = (indices[place] for place in own)
            block_type = block.block_types[kind]
            if block_type == search_space.SKIP:
                continue
            kept += 1
            inner = stage.inner_windows[filters][expansion]
            se = (0, arch_lib.round_width(inner[1], arch_lib.SE_RATIO))
            windows = {
                "in": in_window,
                "inner": inner,
                "out": stage.filter_windows[filters],
                "se": se,
            }
            values[f"stage{number}_block{kept}"] = _block_values(
                block.weight_values(),
                windows,
                block_type,
                stage.attentions[attention] == "se",
                layer.causal,
            )
            in_window = windows["out"]
    head = supernet.head.weight_values()
    begin, width = in_window
    head["conv_kernel"] = head["conv_kernel"][begin : begin + width]
    return {**values, "head": head}


def _block_values(shared, windows, block_type, has_se, causal):
    values = {}
    for name, array in shared.items():
        if name.startswith("depthwise") and name.endswith("_kernel"):
            continue
        if name.startswith("se_") and not has_se:
            continue
        values[name] = _slice(array, weight_names.channel_axes(name), windows)
    for index, size in enumerate(arch_lib.BLOCK_TYPES[block_type], 1):
        source = elastic_windows.kernel_source(index)
        middle = elastic_windows.centre(shared[source], size, causal)
        values[f"depthwise{index}_kernel"] = _slice(
            middle, weight_names.channel_axes(source), windows
        )
    return values


def _slice(array, axes, windows):
    """Cuts the last axes of `array` to their windows."""
    cuts = [slice(w[0], w[0] + w[1]) for w in (windows[axis] for axis in axes)]
    return array[(..., *cuts)]


def reestimate_batch_norm(
    model: keras.Model, batches: Iterable, num_batches: int = 200
) -> int:
    """Sets moving statistics to their mean over batches (precise batch norm).

    Wu and Johnson, arXiv 2105.07576; of variances it is the mean of those
    within batches.

    Args:
        model: A derived network.
        batches: Yields clips `(B, T, H, W, 3)`, or tuples that start with
            them, as in training.
        num_batches: At most so many are used.

    Returns:
        Number of batches used.

    Raises:
        ValueError: No batch, or a part of the network that is not trainable
            or whose statistics are frozen: it would not learn any.
    """
    fixed = [
        part.name
        for part in x3d.parts(model)
        if not part.trainable or part.frozen_statistics
    ]
    if fixed:
        raise ValueError(
            "`model` must learn batch-norm statistics. Received: "
            f"{', '.join(fixed)} not trainable or with frozen statistics."
        )
    moving = [v for v in model.variables if weight_names.is_statistic(v.name)]
    sums = [np.zeros(v.shape, np.float64) for v in moving]
    used = 0

    @tf.function(reduce_retracing=True, autograph=False)
    def observe(clips):
        # From zero, one update leaves (1 - momentum) times the batch's value.
        for variable in moving:
            variable.assign(tf.zeros_like(variable.value))
        model(clips, training=True)
        return [tf.convert_to_tensor(v) for v in moving]

    for batch in batches:
        if used == num_batches:
            break
        clips = batch[0] if isinstance(batch, (tuple, list)) else batch
        for total, value in zip(sums, observe(clips), strict=True):
            total += value.numpy() / (1 - blocks.MOMENTUM)
        used += 1
    if used == 0:
        raise ValueError("`batches` must yield at least one batch.")
    for variable, total in zip(moving, sums, strict=True):
        variable.assign((total / used).astype("float32"))
    return used
