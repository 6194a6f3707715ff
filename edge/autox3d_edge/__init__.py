"""From a trained network to a device: lowering, int8, audit, runtime.

`Recognizer` imports numpy and an interpreter only.
"""

from autox3d_tf.base import lazy

_HOMES = {
    "Preprocessing": "manifest",
    "Recognizer": "runtime",
    "audit_file": "audit",
    "diagnose": "doctor",
    "export_model": "export",
    "export_stream": "stream_export",
    "lower": "lowering",
    "read_manifest": "manifest",
}
__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy.exports(__name__, _HOMES)
