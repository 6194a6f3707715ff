"""How TensorFlow computes on CPUs."""

import os
import platform


def tune() -> None:
    """Makes TensorFlow fast on x86; call it before TensorFlow is imported.

    It takes the kernels of oneDNN on every processor, not only on those with
    instructions for int8, and with them an allocator that keeps the memory of
    tensors from one step to the next, up to all that the machine has. Without,
    large tensors come from the kernel and go back to it in each step, and up
    to three tenths of a step are spent on filling new pages with zeros. What
    the environment says of `TF_ENABLE_ONEDNN_OPTS` goes first.
    """
    if platform.machine().lower() in ("x86_64", "amd64"):
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
