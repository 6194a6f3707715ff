"""The supernet: all architectures of a space in one traced graph."""

import keras
import tensorflow as tf

from autox3d_tf.base import checks
from autox3d_tf.layers import elastic
from autox3d_tf.space import search_space


@keras.saving.register_keras_serializable("autox3d_tf")
class Supernet(keras.Model):
    """Every architecture of a space, sharing weights.

    Batch norm uses the statistics of the batch, in training and out of it,
    because children differ.

    Args:
        space: A `SearchSpace`, or its dict.
        num_classes: Outputs.
        seed: Of the initialisation.
        **kwargs: Base model arguments.

    Call arguments:
        clip: `(batch, time, height, width, 3)` float32, normalised.
        indices: int32 `(choices,)`, one entry per choice of the space. A
            tensor: another architecture does not trace again.
        gates: float32 `(choices,)` or None: see `ElasticStage3D`.

    Output shape: `(batch, num_classes)`, float32 logits.
    """

    def __init__(self, space, num_classes, seed=0, **kwargs):
        super().__init__(**kwargs)
        if not isinstance(space, search_space.SearchSpace):
            space = search_space.SearchSpace.from_dict(space)
        checks.check_positive_int("num_classes", num_classes)
        self.space = space
        self.num_classes = num_classes
        self.seed = seed
        of_all = {"dtype": self.dtype_policy}
        self.stem = elastic.ElasticStem3D(
            space.stem.filters,
            space.stem.temporal_kernel,
            space.stem.strides,
            space.causal,
            seed=seed,
            name="stem",
            **of_all,
        )
        self.stages, previous = [], (space.stem.filters,)
        for index, stage in enumerate(space.stages, 1):
            self.stages.append(
                elastic.ElasticStage3D(
                    stage,
                    previous,
                    space.activation,
                    space.causal,
                    seed,
                    name=f"stage{index}",
                    **of_all,
                )
            )
            previous = stage.filters
        self.head = elastic.ElasticHead3D(
            previous,
            space.head.filters,
            space.head.features,
            num_classes,
            seed=seed,
            name="head",
            **of_all,
        )
        self.stem.build((None, None, None, None, 3))
        for layer in (*self.stages, self.head):
            layer.build()
        self.built = True

    def call(self, clip, indices, training=False, gates=None):
        x = self.stem(clip)
        previous = tf.constant(0)
        for stage, places in zip(self.stages, self.space.places, strict=True):
            own = slice(places.filters, places.stop)
            own_gates = None if gates is None else gates[own]
            x = stage(x, previous, indices[own], own_gates)
            previous = indices[places.filters]
        return self.head(x, previous, training=training)

    @property
    def logits(self) -> list[keras.Variable]:
        """Architecture logits, one vector per choice of the space."""
        return [logits for stage in self.stages for logits in stage.logits]

    @property
    def shared_weights(self) -> list[keras.Variable]:
        """Trainable variables that are not architecture logits."""
        logits = {id(variable) for variable in self.logits}
        return [v for v in self.trainable_variables if id(v) not in logits]

    def get_config(self):
        return {
            **super().get_config(),
            "space": self.space.to_dict(),
            "num_classes": self.num_classes,
            "seed": self.seed,
        }
