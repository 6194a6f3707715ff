"""From an `ArchSpec` to a Keras model."""

import keras
import numpy as np

from autox3d_tf.base import checks
from autox3d_tf.layers import blocks
from autox3d_tf.space import arch as arch_lib


def build_model(
    arch: arch_lib.ArchSpec,
    num_classes: int,
    *,
    dropout: float = 0.0,
    zero_init: bool = False,
    seed: int = 0,
) -> keras.Model:
    """Builds the network of an architecture, with fresh weights.

    Args:
        arch: The network.
        num_classes: Outputs.
        dropout: Rate before the last layer, in training.
        zero_init: Whether each residual block starts as the identity.
        seed: Of initialisation and dropout.

    Returns:
        A functional model `(B, T, H, W, 3)` float32 -> logits `(B, classes)`
        float32. Clips are RGB in [0, 1], normalised with mean 0.45 and
        deviation 0.225; any number of frames and any size are accepted. The
        specification is its attribute `arch`.
    """
    checks.check_positive_int("num_classes", num_classes)
    clip = keras.Input((None, None, None, 3), name="clip")
    x = blocks.Stem3D(
        arch.stem.filters,
        arch.stem.temporal_kernel,
        arch.stem.strides,
        arch.causal,
        seed=seed,
        name="stem",
    )(clip)
    for block in arch.blocks():
        spec = block.spec
        x = blocks.BottleneckBlock3D(
            spec.block_type,
            spec.filters,
            spec.inner_filters,
            spec.strides,
            spec.attention,
            activation=arch.activation,
            causal=arch.causal,
            zero_init=zero_init,
            seed=seed,
            name=block.name,
        )(x)
    logits = blocks.Head3D(
        arch.head.filters,
        arch.head.features,
        num_classes,
        dropout,
        seed,
        name="head",
    )(x)
    # Keras allows hyphens and spaces in names, TensorFlow scopes do not.
    model = keras.Model(clip, logits, name=arch_lib.scope_name(arch.name))
    model.arch = arch
    return model


def weight_values(model: keras.Model) -> dict[str, np.ndarray]:
    """Returns all weights as arrays, named "layer/weight"."""
    return {
        f"{layer.name}/{name}": value
        for layer in parts(model)
        for name, value in layer.weight_values().items()
    }


def assign_weights(model: keras.Model, values: dict[str, np.ndarray]) -> None:
    """Sets all weights by name. Raises ValueError naming what differs."""
    known = {layer.name for layer in parts(model)}
    strangers = sorted({k for k in values if k.split("/")[0] not in known})
    if strangers:
        raise ValueError(f"The model has no weights {strangers}.")
    for layer in parts(model):
        prefix = f"{layer.name}/"
        layer.assign_weights(
            {
                name.removeprefix(prefix): value
                for name, value in values.items()
                if name.startswith(prefix)
            }
        )


def parts(model: keras.Model) -> list[keras.layers.Layer]:
    """Stem, blocks and head in order."""
    return [x for x in model.layers if hasattr(x, "weight_values")]
