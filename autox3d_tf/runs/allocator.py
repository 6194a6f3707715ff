"""Keeps the memory of one step's tensors for the next."""

import os


def keep_tensor_memory() -> None:
    """Has TensorFlow keep the memory of tensors on CPUs, as it does on GPUs.

    To be called before TensorFlow makes its first tensor. Otherwise it asks
    the C library for each, and that of Linux gets large blocks from the kernel
    and gives them back at once: up to three tenths of a training step are
    spent on filling new pages with zeros. What the environment says of
    `TF_CPU_ALLOCATOR_USE_BFC` goes first.

    Tensors may take all memory of the machine; more is an error of
    TensorFlow, not the end of the process.
    """
    os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # not on this system
        return
    if size > 0:
        os.environ.setdefault("TF_CPU_BFC_MEM_LIMIT_IN_MB", str(size >> 20))
