"""The probabilistic search: distribution, estimator, derivation, run."""
