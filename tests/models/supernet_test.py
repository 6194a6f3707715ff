"""The supernet against the children it holds."""

import collections
import dataclasses
import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from autox3d_tf import cost, models, space


def _random_indices(named, seed):
    rng = random.Random(seed)
    return [rng.randrange(len(choice)) for choice in named.choices]


def _clip(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def _randomise(variables):
    rng = np.random.default_rng(5)
    for variable in variables:
        noise = rng.normal(size=variable.shape).astype("float32")
        variable.assign(variable + 0.1 * noise)


@pytest.fixture(scope="module")
def supernet():
    net = models.Supernet(space.get_space("tiny"), num_classes=5)
    _randomise(net.shared_weights)
    return net


@pytest.fixture(scope="module")
def traced(supernet):
    traces = []

    @tf.function
    def run(clip, indices):
        traces.append(1)
        return supernet(clip, indices)

    return run, traces


def test_logits_equal_those_of_the_inheriting_child(supernet, traced):
    run, _ = traced
    clip = _clip(2, 8, 32, 32, 3)
    for seed in range(6):
        indices = _random_indices(supernet.space, seed)
        child = models.inherit(supernet, indices)
        expected = child(clip, training=True)  # batch statistics, as here
        found = run(clip, tf.constant(indices))
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_candidates_in_any_order_and_other_strides_equal_the_child():
    tiny = space.get_space("tiny")
    for attentions in (("se", "none"), ("se",)):
        stage = dataclasses.replace(
            tiny.stages[0], attentions=attentions, strides=(1, 4, 4)
        )
        stem = dataclasses.replace(tiny.stem, strides=(1, 1, 1))
        net = models.Supernet(
            dataclasses.replace(tiny, stem=stem, stages=(stage,)), num_classes=5
        )
        _randomise(net.shared_weights)
        clip = _clip(2, 4, 16, 16, 3)
        for attention in range(len(attentions)):
            indices = (1, 0, 1, attention)
            child = models.inherit(net, indices)
            found = net(clip, tf.constant(indices))
            np.testing.assert_allclose(
                found, child(clip, training=True), atol=1e-4
            )


def test_children_of_a_causal_supernet_inherit_the_latest_taps():
    tiny = space.get_space("tiny")
    stage = dataclasses.replace(
        tiny.stages[0], block_types=("5x3x3", "3x3x3", "1x3x3")
    )
    causal = dataclasses.replace(tiny, causal=True, stages=(stage,))
    net = models.Supernet(causal, num_classes=5)
    _randomise(net.shared_weights)
    clip = _clip(2, 6, 16, 16, 3)
    for block_type in range(3):
        indices = (1, block_type, 1, 0)
        child = models.inherit(net, indices)
        np.testing.assert_allclose(
            net(clip, tf.constant(indices)),
            child(clip, training=True),
            atol=1e-4,
        )


def test_twenty_architectures_are_one_trace(supernet, traced):
    run, traces = traced
    outputs = {
        tuple(run(_clip(2, 8, 32, 32, 3), tf.constant(
            _random_indices(supernet.space, seed))).numpy()[0].tolist())
        for seed in range(20)
    }  # fmt: skip
    assert len(traces) == 1
    assert len(outputs) >= 19  # different architectures differ


@pytest.mark.large
def test_every_kind_of_block_equals_its_child():
    """The large space's block types and widths, in a two-block stage."""
    big = space.get_space("egogestar")
    named = space.SearchSpace(
        name="kinds", version=1, clip_size=(6, 16, 16), frame_stride=1,
        stem=big.stem, stages=big.stages[1:2], head=big.head,
        activation="hard_swish", causal=True,
    )  # fmt: skip
    net = models.Supernet(named, num_classes=3)
    _randomise(net.shared_weights)
    run = tf.function(lambda clip, indices: net(clip, indices))
    clip = _clip(2, 6, 16, 16, 3)
    first, second = named.stages[0].block_types, named.choices[4].candidates
    for kind in range(max(len(first), len(second))):
        indices = _random_indices(named, kind)
        indices[1] = kind % len(first)
        indices[4] = kind % len(second)
        child = models.inherit(net, indices)
        np.testing.assert_allclose(
            run(clip, tf.constant(indices)),
            child(clip, training=True),
            atol=1e-4,
        )


def test_gradients_reach_the_window_of_the_child_only(supernet):
    named = supernet.space
    indices = _random_indices(named, 3)
    weights = [v.value for v in supernet.shared_weights]
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(
            supernet(_clip(2, 8, 16, 16, 3), tf.constant(indices)) ** 2
        )
    gradients = tape.gradient(
        loss, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO
    )
    by_path = {
        v.path: g.numpy()
        for v, g in zip(supernet.shared_weights, gradients, strict=True)
    }
    start, width = named.stages[0].inner_windows[indices[0]][indices[2]]
    (path,) = [p for p in by_path if "stage1/block1/expand_kernel" in p]
    touched = np.abs(by_path[path]).sum(0) > 0
    expected = np.zeros(touched.shape, bool)
    expected[start : start + width] = True
    np.testing.assert_array_equal(touched, expected)


def _norms_of_gradients(model, variables, *arguments):
    """Norm of the gradient by all weights of a name, such as a gamma."""
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(*arguments, training=True) ** 2)
    gradients = tape.gradient(
        loss,
        [variable.value for variable in variables],
        unconnected_gradients=tf.UnconnectedGradients.ZERO,
    )
    squares = collections.Counter()
    for variable, gradient in zip(variables, gradients, strict=True):
        # One shared kernel stands for a child's first, another for its second.
        name = variable.name.replace("_shared", "1").replace("_temporal", "2")
        squares[name] += float(tf.reduce_sum(gradient**2))
    return squares


@pytest.mark.parametrize("seed", range(3))
def test_gradients_are_those_of_the_child(supernet, seed):
    indices = _random_indices(supernet.space, seed)
    child = models.inherit(supernet, indices)
    clip = _clip(2, 8, 16, 16, 3)
    expected = _norms_of_gradients(child, child.trainable_variables, clip)
    found = _norms_of_gradients(
        supernet, supernet.shared_weights, clip, tf.constant(indices)
    )
    for name, square in found.items():
        assert square == pytest.approx(expected[name], rel=1e-3, abs=1e-6), name


def test_no_size_is_found_out_on_a_gpu():
    """Of these operations the results lie in its memory: the host would wait
    for them, several times in each block."""
    big = space.get_space("egogestar")
    named = space.SearchSpace(
        name="kinds", version=1, clip_size=(6, 16, 16), frame_stride=1,
        stem=big.stem, stages=big.stages[1:2], head=big.head,
        activation="swish",
    )  # fmt: skip
    net = models.Supernet(named, num_classes=3)
    weights = [v.value for v in net.shared_weights]

    @tf.function(autograph=False)
    def step(clip, indices):
        with tf.GradientTape() as tape:
            loss = tf.nn.l2_loss(net(clip, indices, training=True))
        return tape.gradient(loss, weights)

    indices = tf.TensorSpec((len(named.choices),), tf.int32)
    clip = tf.TensorSpec((2, *named.clip_size, 3))
    traced = step.get_concrete_function(clip, indices).graph.as_graph_def()
    functions = [function.node_def for function in traced.library.function]
    kinds = {node.op for part in (traced.node, *functions) for node in part}
    assert {"Slice", "Pack"} <= kinds and {"If", "StatelessIf"} & kinds
    assert not kinds & {"Gather", "GatherV2", "Where"}
    sizes = {
        node.op
        for part in (traced.node, *functions)
        for node in part
        if tf.int32.as_datatype_enum
        in (node.attr["T"].type, node.attr["DstT"].type)
    }
    assert not sizes & {"Select", "SelectV2", "Cast", "Mean"}


def test_every_part_starts_from_the_seed():
    one, same, other = (
        models.Supernet(space.get_space("tiny"), num_classes=3, seed=seed)
        for seed in (1, 1, 2)
    )
    for weights in zip(
        *(net.shared_weights for net in (one, same, other)), strict=True
    ):
        first, again, differs = map(np.array, weights)
        np.testing.assert_array_equal(first, again)
        kernel = weights[0].name.endswith("_kernel")
        assert (first != differs).all() == kernel, weights[0].path


def test_logits_follow_the_choices_and_are_apart(supernet):
    named = supernet.space
    assert [tuple(v.shape) for v in supernet.logits] == [
        (len(choice),) for choice in named.choices
    ]
    shared = {id(v) for v in supernet.shared_weights}
    assert not any(id(v) in shared for v in supernet.logits)
    total = len(supernet.logits) + len(supernet.shared_weights)
    assert total == len(supernet.trainable_variables)


def test_batches_do_not_mix_with_the_order_of_calls(supernet):
    """No state selects a path: a call does not depend on the one before."""
    clip = _clip(2, 8, 16, 16, 3)
    one, other = (
        tf.constant(_random_indices(supernet.space, s)) for s in (1, 2)
    )
    before = supernet(clip, one).numpy()
    supernet(clip, other)
    np.testing.assert_array_equal(supernet(clip, one), before)


def test_supernet_saves_and_loads_in_safe_mode(supernet, tmp_path):
    supernet.save(tmp_path / "net.keras")
    loaded = keras.models.load_model(tmp_path / "net.keras", safe_mode=True)
    clip = _clip(1, 8, 16, 16, 3)
    indices = tf.constant(_random_indices(supernet.space, 4))
    np.testing.assert_array_equal(
        loaded(clip, indices), supernet(clip, indices)
    )


def test_reestimated_statistics_are_those_of_the_data(supernet):
    child = models.inherit(supernet, _random_indices(supernet.space, 1))
    batches = [_clip(4, 8, 16, 16, 3, seed=s) for s in range(3)]
    used = models.reestimate_batch_norm(child, batches)
    assert used == 3
    # One batch only: inference then equals the batch's own normalisation,
    # up to n / (n - 1) between sample and population variance.
    models.reestimate_batch_norm(child, batches[:1])
    np.testing.assert_allclose(
        child(batches[0], training=False),
        child(batches[0], training=True),
        atol=2e-2,
    )
    moving = [v for v in child.non_trainable_variables if "norm" in v.name]
    each = []
    for batch in batches:
        models.reestimate_batch_norm(child, [batch])
        each.append([v.numpy() for v in moving])
    assert models.reestimate_batch_norm(child, batches, 2) == 2
    for variable, first, second, third in zip(moving, *each, strict=True):
        mean = (first + second) / 2
        np.testing.assert_allclose(variable, mean, rtol=1e-4, atol=1e-5)
        assert not np.allclose(first, third)
    with pytest.raises(ValueError, match="at least one batch"):
        models.reestimate_batch_norm(child, [])
    before = models.weight_values(child)
    child.trainable = False
    with pytest.raises(ValueError, match="Received: stem, .* not trainable"):
        models.reestimate_batch_norm(child, batches)
    after = models.weight_values(child)
    assert all((before[name] == after[name]).all() for name in before)


@pytest.mark.parametrize("name", sorted(space.SPACES))
def test_the_cost_model_counts_the_built_child(name):
    """Parameters by Keras; multiply-adds by the shapes of the graph's ops."""
    named = space.get_space(name)
    for seed in range(2 if name in ("tiny", "egogestar") else 1):
        arch = named.decode(_random_indices(named, seed))
        model = models.build_model(arch, num_classes=6)
        size = (4, 36, 44)
        expected = cost.cost_of(arch, clip_size=size, num_classes=6)
        trainable = sum(
            int(np.prod(v.shape)) for v in model.trainable_variables
        )
        assert trainable == expected.params
        moving = sum(
            int(np.prod(v.shape))
            for v in model.non_trainable_variables
            if v.dtype == "float32"
        )
        assert model.count_params() == pytest.approx(
            trainable + moving,
            abs=2,  # the seed state of the dropout
        )
        assert _graph_macs(model, size) == expected.macs


def _graph_macs(model, size):
    """Multiply-adds of all convolutions and products of the traced graph."""
    graph = (
        tf.function(lambda clip: model(clip))
        .get_concrete_function(tf.TensorSpec((1, *size, 3)))
        .graph
    )
    total = 0
    for op in graph.get_operations():
        out = op.outputs[0].shape if op.outputs else None
        if op.type in ("Conv2D", "DepthwiseConv2dNative"):
            kernel = op.inputs[1].shape  # (h, w, in, out or multiplier)
            taps = kernel[0] * kernel[1]
            taps *= kernel[2] if op.type == "Conv2D" else 1
            total += int(np.prod(out)) * taps
        elif op.type == "MatMul":
            total += int(np.prod(out)) * op.inputs[0].shape[1]
        else:
            assert "Conv" not in op.type, op.type
    return total


def test_a_supernet_keeps_the_precision_that_it_was_made_with():
    net = models.Supernet(
        space.get_space("tiny"), num_classes=3, dtype="mixed_bfloat16"
    )
    for layer in (net.stem, *net.stages, net.head):
        assert layer.dtype_policy.name == "mixed_bfloat16"
    again = models.Supernet.from_config(net.get_config())
    assert again.stem.dtype_policy.name == "mixed_bfloat16"
    clip = _clip(1, *net.space.clip_size, 3)
    logits = net(clip, tf.zeros(len(net.space.choices), tf.int32))
    assert logits.dtype == "float32" and np.isfinite(logits).all()
