"""Layers with plain variables, under the names of `space.weight_names`."""

import math
import zlib
from collections.abc import Iterator, Mapping

import keras
import numpy as np

from autox3d_tf.space import weight_names


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

    def add_weights(self, shapes: Mapping[str, weight_names.Shape]) -> None:
        """Creates one variable per entry, as an attribute of that name."""
        if not self.moving_statistics:
            shapes = {
                k: v
                for k, v in shapes.items()
                if not weight_names.is_statistic(k)
            }
        self.weight_names = tuple(shapes)
        for name, shape in shapes.items():
            norm, statistic = "norm_" in name, weight_names.is_statistic(name)
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

    def _initializer(self, name: str, shape: weight_names.Shape):
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
