"""Gives back what TensorFlow would keep of a run that is over."""

import contextlib
import gc
from collections.abc import Iterator

from tensorflow.python.framework import ops

_PREFIX = "CustomGradient-"


@contextlib.contextmanager
def freed_at_end() -> Iterator[None]:
    """Frees the graphs that a block has traced, if nothing else holds them.

    Every function with a gradient of its own, as `tf.nn.silu` is, registers
    that for good, and with it the graph it was traced in: 0.1 GiB for the
    training of a small network, more for a supernet. TensorFlow has no public
    name for taking it back. The block's functions must not be differentiated
    again afterwards; called, they may be.
    """
    registry = getattr(ops.gradient_registry, "_registry", {})
    before = set(registry)
    try:
        yield
    finally:
        for name in registry.keys() - before:
            if name.startswith(_PREFIX):
                del registry[name]
        gc.collect()
