"""The probabilistic search: distribution, estimator, derivation, run.

from autox3d_tf import search

found = search.run_search(
    space="motion", data=..., search=search.SearchOptions(steps=3000),
    target_macs=1e6, run_dir="runs/search",
)
"""

import importlib

# What is imported at its first use: options alone need no TensorFlow.
_HOMES = {
    "run_search": "run",
    "EstimatorOptions": "options",
    "LogitsOptions": "options",
    "SearchOptions": "options",
    "WeightsOptions": "options",
}
__all__ = list(_HOMES)


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
