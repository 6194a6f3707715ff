"""From an `ArchSpec` to a Keras model."""

import keras
import numpy as np

from autox3d_tf.base import checks
from autox3d_tf.layers import blocks
from autox3d_tf.space import arch as arch_lib


@keras.saving.register_keras_serializable("autox3d_tf")
class X3D(keras.Model):
    """The network of an architecture, a functional model.

    It expects clips that are normalised already, RGB as (x / 255 - 0.45) /
    0.225; any number of frames and any size are accepted. What Keras saves and
    loads again still knows its architecture.

    Args:
        arch: An `ArchSpec`, or its dict. Also an attribute.
        num_classes: Outputs.
        dropout: Rate before the last layer, in training.
        zero_init: Whether each residual block starts as the identity.
        freeze_batch_norm: Whether batch norms use and keep their moving
            statistics in training, too. Their scales and offsets are still
            trained, as in SlowFast.
        frozen: Names of the stem, blocks or head that do not train at all.
        seed: Of initialisation and dropout.
        dtype: Policy of the layers; None for Keras' global one.
        **kwargs: Base model arguments.

    Input shape: `(batch, time, height, width, 3)`, float32.
    Output shape: `(batch, num_classes)`, float32 logits.
    """

    def __init__(
        self,
        arch,
        num_classes,
        *,
        dropout=0.0,
        zero_init=False,
        freeze_batch_norm=False,
        frozen=(),
        seed=0,
        dtype=None,
        **kwargs,
    ):
        if not isinstance(arch, arch_lib.ArchSpec):
            arch = arch_lib.ArchSpec.from_dict(arch)
        checks.check_positive_int("num_classes", num_classes)
        of_all = {
            "frozen_statistics": freeze_batch_norm,
            "seed": seed,
            "dtype": dtype,
        }
        clip = keras.Input((None, None, None, 3), name="clip")
        x = blocks.Stem3D(
            arch.stem.filters,
            arch.stem.temporal_kernel,
            arch.stem.strides,
            arch.causal,
            name="stem",
            **of_all,
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
                name=block.name,
                **of_all,
            )(x)
        logits = blocks.Head3D(
            arch.head.filters,
            arch.head.features,
            num_classes,
            dropout,
            name="head",
            **of_all,
        )(x)
        # Keras allows hyphens and spaces in names, TensorFlow scopes do not.
        kwargs.setdefault("name", arch_lib.scope_name(arch.name))
        super().__init__(clip, logits, **kwargs)
        self.arch = arch
        self.num_classes = num_classes
        self.dropout_rate = dropout
        self.zero_init = zero_init
        self.freeze_batch_norm = freeze_batch_norm
        self.seed = seed
        for name in frozen:
            self.get_layer(name).trainable = False

    def get_config(self):
        policy = self.get_layer("head").dtype_policy
        return {
            "arch": self.arch.to_dict(),
            "num_classes": self.num_classes,
            "dropout": self.dropout_rate,
            "zero_init": self.zero_init,
            "freeze_batch_norm": self.freeze_batch_norm,
            "frozen": [p.name for p in parts(self) if not p.trainable],
            "seed": self.seed,
            "dtype": keras.dtype_policies.serialize(policy),
            "name": self.name,
            "trainable": self.trainable,
        }


def build_model(arch: arch_lib.ArchSpec, num_classes: int, **options) -> X3D:
    """Builds the network of an architecture, with fresh weights.

    Args:
        arch: The network.
        num_classes: Outputs.
        **options: Others of `X3D`.

    Returns:
        A model `(B, T, H, W, 3)` float32 -> logits `(B, num_classes)` float32.
    """
    return X3D(arch, num_classes, **options)


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
