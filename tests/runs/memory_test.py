import gc
import weakref

import tensorflow as tf

from autox3d_tf.runs import memory


def traced_graph():
    """Weakly, the graph of a function with a gradient of its own."""
    found = []

    @tf.function
    def step(x):
        found.append(weakref.ref(tf.compat.v1.get_default_graph()))
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.nn.silu(x)
        return tape.gradient(y, x)

    step(tf.ones(3))
    return found[0]


def test_graphs_of_a_block_are_freed():
    before = traced_graph()
    gc.collect()
    assert before() is not None  # TensorFlow keeps it: else no block is needed
    with memory.freed_at_end():
        inside = traced_graph()
    gc.collect()
    assert inside() is None and before() is not None


def test_a_function_that_lives_on_may_be_called():
    with memory.freed_at_end():
        silu = tf.function(tf.nn.silu)
        expected = silu(tf.ones(3))
    assert (silu(tf.ones(3)) == expected).numpy().all()
    assert silu(tf.ones(4)).shape == 4  # traced anew
