import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from autox3d_tf.runs import determinism


def draw(seed):
    determinism.set_seed(seed, deterministic=False)
    return (
        random.random(),
        np.random.rand(),
        float(tf.random.uniform(())),
        float(keras.random.uniform(())),
    )


def test_seed_fixes_every_source_of_random_numbers():
    first, again, other = draw(3), draw(3), draw(4)
    assert first == again
    assert all(a != b for a, b in zip(first, other, strict=True))


def test_negative_seed_is_refused():
    with pytest.raises(ValueError, match="Received: seed=-1"):
        determinism.set_seed(-1)


def test_threads_are_what_was_asked_for(monkeypatch):
    get = "get_intra_op_parallelism_threads"
    monkeypatch.setattr(tf.config.threading, get, lambda: 3)
    assert determinism.num_threads() == 3
    monkeypatch.setattr(tf.config.threading, get, lambda: 0)
    assert determinism.num_threads() >= 1
