"""Evaluation: several views of each clip in one pass, numbers with protocol."""

from autox3d_tf.base import lazy

_HOMES = {"run_evaluation": "run"}
__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy.exports(__name__, _HOMES)
