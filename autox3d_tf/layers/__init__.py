"""Keras layers for clips `(batch, time, height, width, channels)`."""

from autox3d_tf.layers.blocks import (
    BottleneckBlock3D,
    Head3D,
    Stem3D,
)
from autox3d_tf.layers.elastic import (
    ElasticHead3D,
    ElasticStage3D,
    ElasticStem3D,
)

__all__ = [
    "BottleneckBlock3D",
    "ElasticHead3D",
    "ElasticStage3D",
    "ElasticStem3D",
    "Head3D",
    "Stem3D",
]
