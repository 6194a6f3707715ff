"""Gradients of the relaxation, against differences and enumeration."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from autox3d_tf import cost, models
from autox3d_tf.search import cost_table, relaxation
from autox3d_tf.search import distribution as distribution_lib
from autox3d_tf.search import options as options_lib
from tests.search import search_driver

SPACE = search_driver.SPACE
ALL = list(itertools.product(*(range(len(c)) for c in SPACE.choices)))


def uneven_distribution():
    distribution = distribution_lib.factorized(SPACE)
    rng = np.random.default_rng(0)
    for variable in distribution.logits:
        variable.assign(rng.normal(size=variable.shape))
    return distribution


@pytest.fixture(scope="module")
def supernet():
    return models.Supernet(SPACE, 3, seed=0)


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(1)
    clips = rng.normal(size=(4, 4, 16, 16, 3)).astype("float32")
    return tf.constant(clips), tf.constant([0, 1, 2, 0])


def test_gates_of_one_change_nothing_and_others_scale_branches(supernet, batch):
    indices = tf.constant([2, 0, 1, 1, 1, 1, 0])
    assert len(indices) == len(SPACE.choices)
    plain = supernet(batch[0], indices)
    ones = tf.ones(len(indices))
    same = supernet(batch[0], indices, gates=ones)
    np.testing.assert_allclose(same, plain, atol=1e-6)
    # a branch scaled by 0 is a skipped block; the second may be skipped
    gates = tf.tensor_scatter_nd_update(ones, [[4]], [0.0])
    skipped = tf.tensor_scatter_nd_update(indices, [[4]], [2])
    assert SPACE.choices[4].candidates[2] == "skip"
    np.testing.assert_allclose(
        supernet(batch[0], indices, gates=gates),
        supernet(batch[0], skipped),
        atol=1e-6,
    )


def test_gradient_by_a_gate_is_the_difference_quotient(supernet, batch):
    indices = tf.constant([1, 0, 1, 1, 1, 0, 0])
    gates = tf.Variable(tf.ones(len(indices)))

    def loss():
        logits = supernet(batch[0], indices, training=True, gates=gates)
        return tf.reduce_sum(logits * [1.0, -2.0, 3.0])

    with tf.GradientTape() as tape:
        value = loss()
    found = tape.gradient(value, gates).numpy()
    step = np.eye(len(indices), dtype="float32") * 5e-3
    for place in (0, 1, 4):
        gates.assign(1 + step[place])
        above = loss()
        gates.assign(1 - step[place])
        expected = float((above - loss()) / 1e-2)
        assert found[place] == pytest.approx(expected, rel=0.05, abs=1e-4)
    assert abs(found[0]) > 1e-3 * abs(value)  # batch norm does not undo it
    for own in (found[1:4], found[4:7]):  # all of a block scale its branch
        np.testing.assert_allclose(own, own[0], rtol=1e-4)


def test_relaxed_draws_are_those_of_the_distribution():
    distribution = uneven_distribution()
    draws = [distribution.relax((0, k), 1.0) for k in range(400)]
    for _, gates in draws[:5]:
        np.testing.assert_array_equal(gates, np.ones(len(SPACE.choices)))
    drawn = np.array([indices for indices, _ in draws])
    for place, probabilities in enumerate(distribution.probabilities()):
        shares = [np.mean(drawn[:, place] == i)
                  for i in range(len(probabilities))]  # fmt: skip
        # 4 standard errors of 400 draws
        np.testing.assert_allclose(shares, probabilities, atol=0.1)


def test_gradient_of_a_gate_raises_what_was_drawn():
    distribution = uneven_distribution()
    with tf.GradientTape() as tape:
        indices, gates = distribution.relax((3, 4), 1.0)
        total = tf.reduce_sum(gates)
    gradients = tape.gradient(total, distribution.logits)
    gradients = [tf.convert_to_tensor(g).numpy() for g in gradients]
    for index, gradient in zip(indices.numpy(), gradients, strict=True):
        assert np.argmax(gradient) == index and gradient[index] > 0
        relaxed = np.eye(len(gradient))[index] - gradient
        assert np.argmax(relaxed) == index  # with the noise it was drawn with
        assert float(tf.reduce_sum(gradient)) == pytest.approx(0, abs=1e-6)


def test_a_high_temperature_makes_all_candidates_alike():
    distribution, temperature = uneven_distribution(), 1_000.0
    with tf.GradientTape() as tape:
        indices, gates = distribution.relax((3, 4), temperature)
        total = tf.reduce_sum(gates)
    gradients = tape.gradient(total, distribution.logits)
    for index, gradient in zip(indices.numpy(), gradients, strict=True):
        found = tf.convert_to_tensor(gradient).numpy()
        # of the logarithm of 1 / n: (1 - 1 / n) / temperature for what was
        # drawn, -1 / n / temperature for others
        expected = np.eye(len(found))[index] - 1 / len(found)
        np.testing.assert_allclose(temperature * found, expected, atol=0.01)


def tables_of(target):
    budget = cost.Budget(target=target, num_classes=2)
    return [cost_table.CostTable(SPACE, budget)]


TABLES = tables_of(search_driver.TARGET_MACS)


def exact_cost_gradient(distribution, tables=TABLES, two_sided=False):
    everything = tf.constant(ALL)
    excess = cost_table.excess(tables, everything, two_sided=two_sided)
    with tf.GradientTape() as tape:
        log_probs = distribution.log_prob(everything)
        expected = tf.reduce_sum(tf.exp(log_probs) * excess)
    exact = tape.gradient(expected, distribution.logits)
    return [tf.convert_to_tensor(gradient).numpy() for gradient in exact]


def test_cost_gradient_agrees_with_enumeration():
    distribution = uneven_distribution()
    exact = exact_cost_gradient(distribution)
    found = [np.zeros(g.shape) for g in exact]
    for k in range(50):
        drawn = distribution.sample(200, (1, k))
        estimate = relaxation.cost_gradient(
            distribution, drawn, cost_table.excess(TABLES, drawn)
        )
        found = [a + b / 50 for a, b in zip(found, estimate, strict=True)]
    a, b = (np.concatenate(list(map(np.ravel, x))) for x in (exact, found))
    assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) > 0.99
    assert np.linalg.norm(b) == pytest.approx(np.linalg.norm(a), rel=0.05)


def test_the_cost_of_a_draw_is_compared_with_that_of_the_others():
    distribution, excess = uneven_distribution(), np.array([0.5, 0.0, 1.6])
    indices = distribution.sample(3, (2, 1))
    found = relaxation.cost_gradient(
        distribution, indices, tf.constant(excess, tf.float32)
    )
    others = [0.8, 1.05, 0.25]  # means of the other two
    for place, probabilities in enumerate(distribution.probabilities()):
        drawn = np.eye(len(probabilities))[indices[:, place]]
        expected = (excess - others) @ (drawn - probabilities) / 3
        np.testing.assert_allclose(found[place], expected, atol=1e-6)


class Recorder:
    """Optimizers that keep gradients instead of applying them."""

    logits = (None,)

    def update_logits(self, optimizer, logits, gradients):
        self.gradients = [tf.convert_to_tensor(g).numpy() for g in gradients]
        return tf.linalg.global_norm(gradients)


@pytest.mark.parametrize(
    ("two_sided", "target"),
    [(False, search_driver.TARGET_MACS), (True, 150_000.0)],  # most are below
)
def test_a_step_adds_the_cost_to_what_the_likelihood_says(
    monkeypatch, supernet, batch, two_sided, target
):
    tables = tables_of(target)
    distribution, recorder = uneven_distribution(), Recorder()
    likely = [tf.fill(vector.shape, 0.25) for vector in distribution.logits]
    monkeypatch.setattr(
        relaxation,
        "relaxed_gradient",
        lambda *_: (tf.constant(-1.0), tf.constant(0.5), likely),
    )
    step = relaxation.RelaxedStep(
        supernet,
        [distribution],
        tables,
        recorder,
        options_lib.SearchOptions(steps=1, warmup_steps=0, method="gumbel"),
        options_lib.EstimatorOptions(beta=10.0, two_sided=two_sided),
        counters=tf.Variable(tf.zeros([3], tf.int64)),
    )
    metrics = step._logits_step(tf.constant(0), 2, *batch)
    whole = np.concatenate(recorder.gradients)
    norm = np.linalg.norm(whole)
    assert float(metrics["logits_gradient_norm"]) == pytest.approx(norm)
    found = (whole - 0.25) / 10
    exact = np.concatenate(exact_cost_gradient(distribution, tables, two_sided))
    # 256 draws
    assert found @ exact > 0.9 * np.linalg.norm(found) * np.linalg.norm(exact)
    assert np.linalg.norm(found) == pytest.approx(
        np.linalg.norm(exact), rel=0.2
    )
    assert float(metrics["log_likelihood"]) == -1.0


class PlantedSupernet:
    """Every choice adds what its candidate is worth to the right answer."""

    def __init__(self, best):
        self.best = tf.constant(best)

    def __call__(self, clips, indices, training=False, gates=None):
        worth = tf.cast(tf.equal(indices, self.best), tf.float32)
        right = tf.reduce_mean(worth if gates is None else worth * gates)
        return tf.stack([right * clips, -right * clips], axis=-1)


def test_paths_differ_and_are_averaged():
    drawn = []

    class Recording(PlantedSupernet):
        def __call__(self, clips, indices, **others):
            drawn.append(tuple(indices.numpy()))
            return super().__call__(clips, indices, **others)

    best = [1, 0, 1, 0, 1, 0, 1]
    likelihood, right, gradients = relaxation.relaxed_gradient(
        Recording(best), uneven_distribution(), 16,
        tf.ones([4]), tf.zeros([4], tf.int32), tf.constant([0, 1]),
    )  # fmt: skip
    assert len(drawn) == 16 and len(set(drawn)) > 8
    hits = np.mean(np.array(drawn) == best, axis=1)
    # of logits (hits, -hits)
    expected = -np.log1p(np.exp(-2 * hits)).mean()
    assert float(likelihood) == pytest.approx(expected, rel=1e-5)
    assert float(right) == np.mean(hits >= 0) == 1
    # Of a path it falls by 1 at most where the share of hits rises by 1, to
    # which a choice gives a seventh; so does a mean of paths.
    assert max(float(tf.reduce_max(tf.abs(g))) for g in gradients) < 1 / 7


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_planted_optimum_is_found(seed):
    best = [1, 0, 1, 0, 1, 0, 1]
    distribution = distribution_lib.factorized(SPACE)
    net = PlantedSupernet(best)
    clips, labels = tf.ones([4]), tf.zeros([4], tf.int32)
    adam = keras.optimizers.Adam(0.1)
    adam.build(distribution.logits)

    @tf.function
    def step(number):
        *_, gradients = relaxation.relaxed_gradient(
            net, distribution, 16, clips, labels, tf.stack([seed, number])
        )
        adam.apply_gradients(zip(gradients, distribution.logits, strict=True))

    for number in range(100):
        step(tf.constant(number))
    assert list(distribution.mode()) == best
