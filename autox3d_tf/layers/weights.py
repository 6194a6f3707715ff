"""Named weights of the layers: what a stem, a block and a head hold.

Layers keep plain variables under fixed names, the same in the derived network
and (at the widest size) in the supernet. Importing, inheriting and lowering
move weights by these names.
"""

import math
import zlib
from collections.abc import Iterator, Mapping

import keras
import numpy as np

Shape = tuple[int, ...]
NORM_SUFFIXES = ("gamma", "beta", "mean", "variance")


def stem_shapes(filters: int, temporal_kernel: int) -> dict[str, Shape]:
    """Names and shapes of a stem's weights."""
    return {
        "spatial_kernel": (3, 3, 3, filters),
        "temporal_kernel": (temporal_kernel, 1, 1, filters),
        **norm_shapes("norm", filters),
    }


def block_shapes(
    in_filters: int,
    inner_filters: int,
    filters: int,
    kernels: Mapping[str, Shape],
    se_filters: int,
    projects: bool,
) -> dict[str, Shape]:
    """Names and shapes of a block's weights.

    Args:
        in_filters, inner_filters, filters: Channels.
        kernels: Weight name -> `(t, h, w)` of each depthwise kernel.
        se_filters: Inner width of the squeeze-excite, 0 for none.
        projects: Whether the shortcut is a convolution.
    """
    shapes = {
        "expand_kernel": (in_filters, inner_filters),
        **norm_shapes("expand_norm", inner_filters),
    }
    for name, size in kernels.items():
        shapes[name] = (*size, inner_filters)
    shapes |= norm_shapes("depthwise_norm", inner_filters)
    if se_filters:
        shapes |= {
            "se_reduce_kernel": (inner_filters, se_filters),
            "se_reduce_bias": (se_filters,),
            "se_expand_kernel": (se_filters, inner_filters),
            "se_expand_bias": (inner_filters,),
        }
    shapes["project_kernel"] = (inner_filters, filters)
    shapes |= norm_shapes("project_norm", filters)
    if projects:
        shapes["shortcut_kernel"] = (in_filters, filters)
        shapes |= norm_shapes("shortcut_norm", filters)
    return shapes


def head_shapes(
    in_filters: int, filters: int, features: int, num_classes: int
) -> dict[str, Shape]:
    """Names and shapes of a head's weights."""
    return {
        "conv_kernel": (in_filters, filters),
        **norm_shapes("conv_norm", filters),
        "hidden_kernel": (filters, features),
        "logits_kernel": (features, num_classes),
        "logits_bias": (num_classes,),
    }


def norm_shapes(name: str, channels: int) -> dict[str, Shape]:
    """The four vectors of a batch normalisation."""
    return {f"{name}_{suffix}": (channels,) for suffix in NORM_SUFFIXES}


def inner_axis(name: str) -> int | None:
    """Axis of a block's weight that counts inner channels, None for none."""
    if name in ("project_kernel", "se_reduce_kernel"):
        return 0
    if name.startswith(("depthwise", "expand_", "se_expand_")):
        return -1
    return None


def is_statistic(name: str) -> bool:
    """Whether a weight is a moving statistic, not trained."""
    return name.endswith(("_mean", "_variance"))


class WeightedLayer(keras.layers.Layer):
    """A layer whose weights have fixed names and plain shapes.

    He initialisation for kernels by their fan-in; the last layer of the head
    is small, as X3D's.

    Args:
        seed: Of the initialisation; layers of other names draw other values.
        **kwargs: Base layer arguments, such as `name` and `dtype`.
    """

    # Without them, batch norm uses the batch's statistics, always.
    moving_statistics = True

    def __init__(self, seed: int = 0, **kwargs):
        super().__init__(**kwargs)
        self.seed = seed

    def add_weights(self, shapes: Mapping[str, Shape]) -> None:
        """Creates one variable per entry, as an attribute of that name."""
        if not self.moving_statistics:
            shapes = {k: v for k, v in shapes.items() if not is_statistic(k)}
        self.weight_names = tuple(shapes)
        for name, shape in shapes.items():
            norm, statistic = "norm_" in name, is_statistic(name)
            variable = self.add_weight(
                name=name,
                shape=shape,
                initializer=self._initializer(name, shape),
                trainable=not statistic,
                autocast=not norm,
                dtype="float32" if norm else None,
                # Each replica moves them by its own clips; all keep the mean.
                aggregation="mean" if statistic else "none",
            )
            setattr(self, name, variable)

    def named_weights(self) -> Iterator[tuple[str, keras.Variable]]:
        """Yields `(name, variable)`."""
        for name in self.weight_names:
            yield name, getattr(self, name)

    def weight_values(self) -> dict[str, np.ndarray]:
        """Returns all weights as arrays, by name."""
        return {
            name: np.array(keras.ops.convert_to_numpy(variable))
            for name, variable in self.named_weights()
        }

    def assign_weights(self, values: Mapping[str, np.ndarray]) -> None:
        """Sets all weights. Raises ValueError naming what does not fit."""
        expected, given = set(self.weight_names), set(values)
        if expected != given:
            raise ValueError(
                f"Weights of {self.name!r} do not fit. Missing: "
                f"{sorted(expected - given)}. Unexpected: "
                f"{sorted(given - expected)}."
            )
        for name, variable in self.named_weights():
            shape = tuple(np.shape(values[name]))
            if shape != tuple(variable.shape):
                raise ValueError(
                    f"Weight {self.name}/{name} must have shape "
                    f"{tuple(variable.shape)}. Received: shape={shape}."
                )
        for name, variable in self.named_weights():
            variable.assign(values[name])

    def _initializer(self, name: str, shape: Shape):
        if name.endswith(("_gamma", "_variance")):
            return "ones"
        if name.endswith(("_beta", "_mean", "_bias")):
            return "zeros"
        # Dense (h, w, in, out), (in, out) and depthwise (t, h, w, C) alike.
        deviation = math.sqrt(2.0 / math.prod(shape[:-1]))
        if name == "logits_kernel":
            deviation = 0.01
        seed = zlib.crc32(f"{self.seed}/{self.path}/{name}".encode())
        return keras.initializers.RandomNormal(stddev=deviation, seed=seed)

    def get_config(self):
        return {**super().get_config(), "seed": self.seed}
