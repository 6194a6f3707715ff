"""Training of one network: from scratch, inherited or fine-tuned weights."""

from autox3d_tf.base import lazy

_HOMES = {
    "OptimizerOptions": "options",
    "TrainingOptions": "options",
    "load_trained": "files",
    "run_training": "run",
}
__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy.exports(__name__, _HOMES)
