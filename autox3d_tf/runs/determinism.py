"""One seed for everything, and operations that give the same bits again."""

import tensorflow as tf


def set_seed(seed: int, *, deterministic: bool = True) -> None:
    """Seeds Python, NumPy and TensorFlow; call before building anything.

    Args:
        seed: Not negative.
        deterministic: Also let TensorFlow use deterministic kernels only.
            The same bits come back only on the same machine, with the same
            number of threads and the same versions.
    """
    if seed < 0:
        raise ValueError(f"`seed` must not be negative. Received: {seed=}.")
    tf.keras.utils.set_random_seed(seed)
    if deterministic:
        tf.config.experimental.enable_op_determinism()
