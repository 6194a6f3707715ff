"""The steps against gradients computed the plain way, on a tiny space."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from autox3d_tf import cost, models
from autox3d_tf.search import (
    cost_table,
    optimizers,
    search_step,
    steps,
)
from autox3d_tf.search import distribution as distribution_lib
from autox3d_tf.search import estimator as estimator_lib
from autox3d_tf.search import options as options_lib
from tests.search import search_driver

SPACE = dataclasses.replace(search_driver.SPACE, clip_size=(3, 16, 16))
CLASSES = 3


def make_batch(seed, size=6):
    rng = np.random.default_rng(seed)
    clips = rng.normal(size=(size, 3, 16, 16, 3)).astype("float32")
    labels = rng.integers(0, CLASSES, size).astype("int32")
    return tf.constant(clips), tf.constant(labels)


class Parts:
    """A supernet and what steps on it."""

    def __init__(self, target=None, weights=None, estimator=None, **search):
        self.supernet = models.Supernet(SPACE, CLASSES, seed=1)
        self.distributions = [
            distribution_lib.factorized(SPACE, self.supernet.logits)
        ]
        search = {"steps": 10, "warmup_steps": 0, "batch_size": 6, **search}
        self.search = options_lib.SearchOptions(**search)
        if self.search.joint_step:
            self.distributions.append(distribution_lib.joint(SPACE))
        self.estimator = options_lib.EstimatorOptions(
            **{"samples_per_nat": 1.0, "temperature": 0.2, **(estimator or {})}
        )
        budget = cost.Budget(target=target or 1e5, num_classes=CLASSES)
        self.optimizers = optimizers.Optimizers(
            self.supernet,
            weights or options_lib.WeightsOptions(clip_norm=None),
            self.distributions,
            options_lib.LogitsOptions(),
            batch_size=6,
            steps=10,
        )
        self.counters = tf.Variable(tf.zeros([3], tf.int64))
        self.step = search_step.SearchStep(
            self.supernet,
            self.distributions,
            [cost_table.CostTable(SPACE, budget)],
            self.optimizers,
            self.search,
            self.estimator,
            counters=self.counters,
            seed=3,
        )

    def logits(self, i=0):
        return [np.array(v) for v in self.distributions[i].logits]

    def variables(self):
        """All that a step changes."""
        optimizers = [self.optimizers.weights, *self.optimizers.logits]
        owners = [self.supernet, *optimizers]
        return [v.value for owner in owners for v in owner.variables]

    def weights(self):
        return [np.array(v) for v in self.supernet.shared_weights]


def changed(before, after):
    return [
        not np.array_equal(a, b) for a, b in zip(before, after, strict=True)
    ]


def test_weights_gradient_is_the_weighted_sum_of_the_childrens():
    supernet = models.Supernet(SPACE, CLASSES, seed=1)
    clips, labels = make_batch(0)
    indices = distribution_lib.factorized(SPACE).sample(4, (1, 2))
    gradients, metrics = tf.function(
        lambda i: steps.weights_gradient(
            supernet, i, clips, labels, temperature=0.2
        )
    )(indices)
    likelihoods, rows, right = [], [], []
    for vector in indices:
        with tf.GradientTape() as tape:
            logits = supernet(clips, vector, training=True)
            loss = tf.reduce_mean(
                tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            )
        likelihoods.append(-loss)
        right.append(np.mean(np.argmax(logits, -1) == labels))
        rows.append(
            tape.gradient(
                loss,
                [v.value for v in supernet.shared_weights],
                unconnected_gradients="zero",
            )
        )
    m = estimator_lib.importance_weights(tf.stack(likelihoods), 0.2).numpy()
    for number, gradient in enumerate(gradients):
        expected = sum(m[k] * row[number].numpy() for k, row in enumerate(rows))
        np.testing.assert_allclose(gradient, expected, atol=2e-5)
    loss = -(m * np.array(likelihoods)).sum()
    assert float(metrics["loss"]) == pytest.approx(loss, rel=1e-4)
    assert float(metrics["train_accuracy"]) == pytest.approx(np.mean(right))
    assert float(metrics["train_effective_samples"]) == pytest.approx(
        1 / (m**2).sum(), rel=1e-3
    )
    # Smoothed labels are what is learned, and not what is weighed by.
    apart = abs(float(likelihoods[0] - likelihoods[1]))
    _, smoothed = steps.weights_gradient(
        supernet, indices[:2], clips, labels,
        temperature=apart, label_smoothing=0.9,
    )  # fmt: skip
    m = 1 / (1 + np.exp([1, -1]))  # of two that are a temperature apart
    assert float(smoothed["train_effective_samples"]) == pytest.approx(
        1 / (m**2).sum(), rel=1e-3
    )


def test_smoothed_labels_share_a_part_among_all_classes():
    logits = tf.constant([[2.0, 0.0, -1.0], [0.5, 0.0, 1.0]])
    labels = tf.constant([0, 1])
    targets = 0.7 * tf.one_hot(labels, 3) + 0.3 / 3
    loss = tf.nn.softmax_cross_entropy_with_logits(targets, logits)
    found = steps.mean_log_likelihood(logits, labels, label_smoothing=0.3)
    assert float(found) == pytest.approx(-float(tf.reduce_mean(loss)))


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_weight_decay_shrinks_kernels_only(name):
    options = options_lib.WeightsOptions(
        name=name, clip_norm=None, momentum=0.0, weight_decay=0.25,
        learning_rate_per_sample=1 / 6, warmup_steps=0,
    )  # fmt: skip
    parts = Parts(weights=options)
    variables = parts.supernet.shared_weights
    for variable in variables:
        variable.assign(tf.ones_like(variable.value))
    zeros = [tf.zeros_like(variable.value) for variable in variables]
    parts.optimizers.update_weights(variables, zeros)
    kernels = [v.name.endswith("_kernel") for v in variables]
    assert 0 < sum(kernels) < len(kernels)
    for variable, decays in zip(variables, kernels, strict=True):
        # the rate is 1: what is lost is a quarter
        np.testing.assert_allclose(variable, 0.75 if decays else 1.0, rtol=1e-6)


def test_the_rate_of_the_weights_rises_then_falls_as_a_cosine():
    options = options_lib.WeightsOptions(
        clip_norm=None, learning_rate_per_sample=0.5 / 6, warmup_steps=4
    )
    optimizer = Parts(weights=options).optimizers.weights
    rates = []
    for step in (0, 2, 4, 7, 10):
        optimizer.iterations.assign(step)
        rates.append(float(optimizer.learning_rate))
    # From 0.5 / 4, so that the first step learns; half way up lies half way
    # between that and 0.5; then 6 steps are a cosine, at its middle after 3.
    expected = [0.125, 0.3125, 0.5, 0.25, 0]
    np.testing.assert_allclose(rates, expected, atol=1e-6)


def test_log_likelihoods_are_those_of_the_inherited_children():
    # trap 7: the supernet uses the batch's statistics, as a child in training
    supernet = models.Supernet(SPACE, CLASSES, seed=1)
    clips, labels = make_batch(0)
    indices = distribution_lib.factorized(SPACE).sample(3, (5, 6))
    likelihoods, accuracies = steps.log_likelihoods(
        supernet, indices, clips, labels
    )
    for k, vector in enumerate(indices.numpy()):
        child = models.inherit(supernet, vector)
        logits = child(clips, training=True)
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        assert float(likelihoods[k]) == pytest.approx(
            -float(tf.reduce_mean(loss)), abs=1e-4
        )
        right = np.argmax(logits, -1) == labels
        assert float(accuracies[k]) == pytest.approx(np.mean(right), abs=1e-6)


def test_warm_up_leaves_the_logits_and_moves_the_weights():
    parts = Parts(warmup_steps=2, warmup_samples=3)
    logits, weights = parts.logits(), parts.weights()
    metrics = parts.step(tf.constant(1), *make_batch(0), *make_batch(1))
    assert not any(changed(logits, parts.logits()))
    assert any(changed(weights, parts.weights()))
    # three architectures of 6 clips, none judged
    assert parts.counters.numpy().tolist() == [3, 18, 0]
    assert float(metrics["weights_samples"]) == 3
    metrics = parts.step(tf.constant(2), *make_batch(0), *make_batch(1, size=4))
    assert any(changed(logits, parts.logits()))
    # entropy log(3) + log(8) + log(12) = 5.66, one sample per nat
    assert float(metrics["samples"]) == 6
    assert parts.counters.numpy().tolist() == [15, 54, 6 * 4]


def test_the_warm_up_is_uniform_wherever_the_logits_start(monkeypatch):
    parts, drawn = Parts(warmup_steps=2, warmup_samples=30), []
    parts.distributions[0].logits[0].assign([50.0, 0.0, 0.0])

    def weights_step(indices, *_):
        drawn.extend(indices.numpy()[:, 0].tolist())
        return {}

    monkeypatch.setattr(parts.step, "_weights_step", weights_step)
    parts.step(tf.constant(1), *make_batch(0), *make_batch(1))
    assert len(drawn) == 30 and set(drawn) == {0, 1, 2}


def test_samples_of_the_warm_up_follow_what_they_are_drawn_from(monkeypatch):
    parts = Parts(warmup_steps=2, warmup_samples=0)
    for logits in parts.distributions[0].logits:
        logits.assign(tf.one_hot(0, logits.shape[0], on_value=50.0))
    drawn = []

    def weights_step(indices, *_):
        drawn.append(indices)
        return {}

    monkeypatch.setattr(parts.step, "_weights_step", weights_step)
    parts.step(tf.constant(1), *make_batch(0), *make_batch(1))
    # log(3) + log(8) + log(12) = 5.66 nats, of which the logits know nothing
    assert drawn[0].shape[0] == 6


def test_a_warm_up_for_others_traces_no_step_of_the_logits(monkeypatch):
    parts = Parts(steps=2, warmup_steps=2)
    monkeypatch.setattr(parts.step, "_weights_step", lambda *_: {})
    monkeypatch.setattr(parts.step, "_logits_step", None)  # is not called
    metrics = tf.function(parts.step)(
        tf.constant(0), *make_batch(0), *make_batch(1)
    )
    parts.step.omit_zeros(1, metrics)
    assert "log_likelihood" not in metrics


class Recorder:
    """An optimizer that keeps gradients instead of applying them."""

    def apply_gradients(self, pairs):
        self.gradients = [tf.convert_to_tensor(g).numpy() for g, _ in pairs]


@pytest.mark.parametrize("two_sided", [False, True])
@pytest.mark.parametrize("control_variate", [False, True])
def test_a_step_gives_the_logits_the_gradient_of_the_equations(
    monkeypatch, two_sided, control_variate
):
    target, beta, temperature, drawn = 8e4, 0.7, 0.001, {}
    parts = Parts(
        target=target,
        estimator={
            "beta": beta,
            "temperature": temperature,
            "two_sided": two_sided,
            "control_variate": control_variate,
        },
    )
    parts.optimizers.logits = [Recorder()]
    learn, judge = steps.weights_gradient, steps.log_likelihoods

    def weights_gradient(supernet, indices, clips, labels, **options):
        drawn["weights"] = (indices.numpy(), clips.numpy(), options)
        return learn(supernet, indices, clips, labels, **options)

    def log_likelihoods(supernet, indices, clips, labels):
        drawn["logits"] = (indices.numpy(), clips.numpy())
        drawn["likelihoods"], _ = judge(supernet, indices, clips, labels)
        drawn["accuracies"] = tf.linspace(0.25, 0.75, len(indices))
        return drawn["likelihoods"], drawn["accuracies"]

    monkeypatch.setattr(steps, "weights_gradient", weights_gradient)
    monkeypatch.setattr(steps, "log_likelihoods", log_likelihoods)
    first, second = make_batch(0), make_batch(1)
    metrics = parts.step(tf.constant(4), *first, *second)

    # Each half has its clips and its samples.
    indices, clips, options = drawn["weights"]
    assert np.array_equal(clips, first[0])
    assert options["temperature"] == temperature
    assert not np.array_equal(indices, drawn["logits"][0])
    indices, clips = drawn["logits"]
    assert np.array_equal(clips, second[0])

    # The rest by hand: importance weights, costs, scores.
    likelihoods = drawn["likelihoods"].numpy().astype("float64")
    num = len(likelihoods)
    m = np.exp((likelihoods - likelihoods.max()) / temperature)
    m /= m.sum()
    assert 1 / (m**2).sum() < num - 0.5
    costs = np.array(
        [
            cost.cost_of(SPACE.decode(vector), num_classes=CLASSES).macs
            for vector in indices
        ]
    )
    over = costs / target - 1
    assert over.min() < 0 < over.max()
    c = np.abs(over) / num if two_sided else np.maximum(over, 0)
    c = c if two_sided else c / c.sum()
    if control_variate:
        m_used, c = m - 1 / num, c - c.mean()
    else:
        m_used = m
    factors = parts.distributions[0].factors
    expected = []
    for factor, logits in zip(factors, parts.logits(), strict=True):
        (position,), probs = factor.positions, np.exp(logits)
        scores = np.eye(len(factor))[indices[:, position]]
        scores = scores - probs / probs.sum()
        expected.append((beta * c - m_used) @ scores)
    found = parts.optimizers.logits[0].gradients
    for gradient, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(gradient, wanted, atol=5e-5)
    assert max(np.abs(wanted).max() for wanted in expected) > 0.01
    for name, value in {
        "log_likelihood": likelihoods.mean(),
        "sample_accuracy": 0.5,
        "best_sample_accuracy": 0.75,
        "effective_samples": 1 / (m**2).sum(),
        "within_budget": (over <= 0).mean(),
        "cost_macs": costs.mean(),
        "logits_gradient_norm": np.linalg.norm(np.concatenate(expected)),
        "samples": num,
    }.items():
        assert float(metrics[name]) == pytest.approx(value, rel=1e-4), name


def test_each_seed_step_and_half_has_samples_of_its_own():
    parts, drawn = Parts(), set()
    for parts.step.seed in (3, 4):
        for number in (0, 1):
            for purpose in (0, 1):
                found = parts.step._draw(tf.constant(number), 20, purpose)
                drawn.add(found.numpy().tobytes())
    assert len(drawn) == 8


def test_all_budgets_move_the_logits_whose_step_is_clipped():
    parts = Parts(target=1e9)
    ((loose,), kept) = parts.step.cost_tables, Recorder()
    budget = cost.Budget(metric="params", target=500, num_classes=CLASSES)
    tight = cost_table.CostTable(SPACE, budget)
    found = []
    for tables, limit in (
        ([loose], None), ([loose, tight], None), ([tight], None),
        ([loose], 1e-3),
    ):  # fmt: skip
        parts.optimizers.logits = [kept]
        parts.optimizers.logits_clip_norm = limit
        parts.step.cost_tables = tables
        metrics = parts.step._logits_step(tf.constant(0), 6, *make_batch(1))
        found.append(np.concatenate(kept.gradients))
    np.testing.assert_allclose(found[1], found[2], atol=1e-5)
    assert np.abs(found[1] - found[0]).max() > 0.01
    norm = np.linalg.norm(found[0])
    np.testing.assert_allclose(found[3], found[0] * 1e-3 / norm, rtol=1e-3)
    assert float(metrics["logits_gradient_norm"]) == pytest.approx(norm)


def test_what_no_step_of_the_logits_reported_is_left_out():
    parts = Parts(warmup_steps=1)
    batches = (*make_batch(0), *make_batch(1))
    warm, first = (parts.step(tf.constant(step), *batches) for step in (0, 1))
    assert warm.keys() == first.keys()
    parts.step.omit_zeros(1, warm)
    parts.step.omit_zeros(2, first)
    assert first.keys() - warm.keys() == {
        "logits_gradient_norm", "log_likelihood", "sample_accuracy",
        "best_sample_accuracy", "effective_samples", "within_budget",
        "cost_macs",
    }  # fmt: skip


def test_without_a_number_the_warm_up_follows_the_entropy():
    parts = Parts(warmup_steps=2, warmup_samples=0, weights_samples=1)
    batches = (*make_batch(0), *make_batch(1))
    metrics = parts.step(tf.constant(1), *batches)
    assert float(metrics["weights_samples"]) == float(metrics["samples"]) == 6
    metrics = parts.step(tf.constant(2), *batches)
    assert float(metrics["weights_samples"]) == 1


def test_the_largest_trains_alone_in_the_first_steps():
    parts = Parts(
        warmup_steps=3, warmup_samples=3, largest_steps=2, label_smoothing=0.3
    )
    clips, labels = make_batch(0)
    largest = tf.constant(SPACE.largest)
    logits = parts.supernet(clips, largest, training=True)
    metrics = parts.step(tf.constant(0), clips, labels, *make_batch(1))
    loss = -float(steps.mean_log_likelihood(logits, labels, 0.3))
    assert float(metrics["loss"]) == pytest.approx(loss, rel=1e-5)
    assert parts.counters.numpy().tolist() == [1, 6, 0]
    parts.step(tf.constant(1), clips, labels, *make_batch(1))
    assert parts.counters.numpy().tolist() == [2, 12, 0]
    parts.step(tf.constant(2), clips, labels, *make_batch(1))
    assert parts.counters.numpy().tolist() == [5, 30, 0]


def test_each_half_moves_only_its_own_variables():
    """The weights' batch decides the weights, the other the logits."""
    parts = Parts()
    variables = parts.variables()
    start, step = [v.numpy() for v in variables], tf.function(parts.step)
    results = []
    for first, second in ((0, 1), (0, 2), (3, 1)):
        for variable, value in zip(variables, start, strict=True):
            variable.assign(value)
        step(tf.constant(0), *make_batch(first), *make_batch(second))
        results.append((parts.weights(), parts.logits()))
    (weights, logits), other_second, other_first = results
    assert not any(changed(weights, other_second[0]))
    assert any(changed(logits, other_second[1]))
    assert any(changed(weights, other_first[0]))


def test_one_trace_serves_every_number_of_samples():
    parts = Parts(warmup_steps=2)
    traces = []

    @tf.function
    def step(number, *batch):
        traces.append(1)
        return parts.step(number, *batch)

    seen = set()
    for number in range(4):
        metrics = step(tf.constant(number), *make_batch(0), *make_batch(1))
        seen.add(float(metrics["weights_samples"]))
        # a sharper distribution is sampled less
        parts.distributions[0].logits[number].assign(
            [9.0, 0.0, 0.0] if number == 0 else [9.0, 0.0]
        )
    assert len(seen) >= 3
    assert len(traces) == 1


def test_over_budget_samples_push_towards_cheaper_architectures():
    parts = Parts(target=parts_cost_quantile(0.2))
    table = cost_table.CostTable(
        SPACE, cost.Budget(target=1e5, num_classes=CLASSES)
    )

    def expected_cost():
        drawn = parts.distributions[0].sample(4000, (9, 9)).numpy()
        return table(drawn).mean()

    before, step = expected_cost(), tf.function(parts.step)
    for number in range(60):
        step(tf.constant(number), *make_batch(0), *make_batch(1))
    assert expected_cost() < 0.9 * before


def parts_cost_quantile(share):
    budget = cost.Budget(target=1e5, num_classes=CLASSES)
    drawn = distribution_lib.factorized(SPACE).sample(2000, (0, 0)).numpy()
    return float(np.quantile(cost_table.CostTable(SPACE, budget)(drawn), share))


def test_joint_logits_take_over_at_their_step():
    parts = Parts(joint_step=1)
    factorized, joint = parts.logits(0), parts.logits(1)
    parts.step(tf.constant(0), *make_batch(0), *make_batch(1))
    assert any(changed(factorized, parts.logits(0)))
    assert not any(changed(joint, parts.logits(1)))
    distribution_lib.convert(*parts.distributions)
    factorized, joint = parts.logits(0), parts.logits(1)
    parts.step(tf.constant(1), *make_batch(0), *make_batch(1))
    assert not any(changed(factorized, parts.logits(0)))
    moved = [
        np.abs(a - b).max() for a, b in zip(joint, parts.logits(1), strict=True)
    ]
    # the first step of a fresh Adam moves by its rate at most, 0.025
    assert 0 < max(moved) <= 0.0251


def test_optimizers_are_what_their_options_say():
    parts = Parts()
    made = optimizers.Optimizers(
        parts.supernet,
        options_lib.WeightsOptions(momentum=0.25),
        parts.distributions,
        options_lib.LogitsOptions(beta_1=0.5, beta_2=0.75),
        batch_size=6,
        steps=10,
    )
    (adam,) = made.logits
    assert (adam.beta_1, adam.beta_2) == (0.5, 0.75)
    assert made.weights.momentum == 0.25


def test_clipping_bounds_what_decay_adds():
    parts = Parts(
        weights=options_lib.WeightsOptions(
            clip_norm=1e-3, momentum=0.0, weight_decay=0.5,
            learning_rate_per_sample=1 / 6,
        )
    )  # fmt: skip
    variables, before = parts.supernet.shared_weights, parts.weights()
    zeros = [tf.zeros_like(variable.value) for variable in variables]
    norm = parts.optimizers.update_weights(variables, zeros)
    moved = np.concatenate(
        [np.ravel(a - b) for a, b in zip(before, parts.weights(), strict=True)]
    )
    assert np.linalg.norm(moved) == pytest.approx(1e-3, rel=1e-3)
    assert float(norm) > 1  # half of that of the kernels


def test_clipping_bounds_the_step_of_the_weights():
    for limit, expected in ((None, False), (1e-3, True)):
        parts = Parts(
            weights=options_lib.WeightsOptions(
                clip_norm=limit, momentum=0.0, weight_decay=0.0,
                learning_rate_per_sample=1 / 6,
            )
        )  # fmt: skip
        before = parts.weights()
        parts.step(tf.constant(0), *make_batch(0), *make_batch(1))
        moved = np.sqrt(
            sum(
                ((a - b) ** 2).sum()
                for a, b in zip(before, parts.weights(), strict=True)
            )
        )
        assert (moved < 1.01e-3) == expected  # rate 1 times the norm


@pytest.mark.parametrize(
    ("options", "arguments", "message"),
    [
        ("SearchOptions", {"steps": 0, "warmup_steps": 0}, "`steps` must be"),
        (
            "SearchOptions",
            {"steps": 5, "warmup_steps": 6},
            r"`warmup_steps` must be in \[0, 5\], the steps",
        ),
        ("WeightsOptions", {"name": "rmsprop"}, "`name` must be one of"),
        ("WeightsOptions", {"clip_norm": 0.0}, "`clip_norm` must be positive"),
        ("LogitsOptions", {"learning_rate": 0.0}, "`learning_rate` must be"),
    ],
)
def test_nonsense_is_refused(options, arguments, message):
    with pytest.raises(ValueError, match=message):
        getattr(options_lib, options)(**arguments)
