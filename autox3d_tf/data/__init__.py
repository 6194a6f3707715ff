"""Manifests, decoding, sampling, records and input pipelines of clips."""

from autox3d_tf.base import lazy

_HOMES = {
    "DataOptions": "options",
    "make_records": "records",
    "open_source": "opening",
    "read_manifest": "manifest",
    "write_synthetic": "synthetic",
}
__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy.exports(__name__, _HOMES)
