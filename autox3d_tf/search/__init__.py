"""The probabilistic search: distribution, estimator, derivation, run.

from autox3d_tf import search

found = search.run_search(
    space="motion", data=..., search=search.SearchOptions(steps=3000),
    target_macs=1e6, run_dir="runs/search",
)
"""

from autox3d_tf.base import lazy

_HOMES = {
    "EstimatorOptions": "options",
    "LogitsOptions": "options",
    "SearchOptions": "options",
    "WeightsOptions": "options",
    "run_search": "run",
}
__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy.exports(__name__, _HOMES)
