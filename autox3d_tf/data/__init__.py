"""Manifests, decoding, sampling, records and input pipelines of clips."""
