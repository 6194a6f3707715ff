"""From a trained network to a device: lowering, int8, audit, runtime.

Names are imported on first use, so that `Recognizer` needs numpy and an
interpreter only.
"""

import importlib

_HOMES = {
    "Recognizer": "runtime",
    "export_model": "export",
    "export_stream": "stream_export",
    "lower": "lowering",
    "Preprocessing": "manifest",
    "audit_file": "audit",
    "diagnose": "doctor",
    "read_manifest": "manifest",
}

__all__ = sorted(_HOMES)


def __getattr__(name):
    if name in _HOMES:
        module = importlib.import_module(f"{__name__}.{_HOMES[name]}")
        return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *_HOMES])
