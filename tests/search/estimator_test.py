"""The estimator against exact enumeration of 1,024 architectures."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from autox3d_tf import space as space_lib
from autox3d_tf.search import distribution as distribution_lib
from autox3d_tf.search import estimator
from autox3d_tf.search import options as options_lib

SIZES = (4, 4, 4, 4, 4)
VECTORS = np.array(list(itertools.product(*map(range, SIZES))), "int32")
FACTORS = [
    distribution_lib.Factor(f"choice{i}", (i,), (size,))
    for i, size in enumerate(SIZES)
]
PLACE = np.array([256, 64, 16, 4, 1])  # of a vector in VECTORS
MILD = 0.2  # deviation of the log likelihoods over the temperature


def make_distribution(scale=0.5, seed=0):
    rng = np.random.default_rng(seed)
    logits = [tf.Variable(scale * rng.normal(size=n), dtype="float32")
              for n in SIZES]  # fmt: skip
    return distribution_lib.ArchitectureDistribution(FACTORS, logits)


def make_log_likelihoods(scale=MILD, seed=1):
    """Every architecture has its own; choices matter and interact."""
    rng = np.random.default_rng(seed)
    effects = [rng.normal(size=n) for n in SIZES]
    main = sum(effect[VECTORS[:, i]] for i, effect in enumerate(effects))
    return (scale * (main / 5**0.5 + 0.3 * rng.normal(size=1024))).astype("f")


def make_excess(seed=2, share_over=0.5):
    costs = np.random.default_rng(seed).uniform(size=1024)
    return np.maximum(0, costs / (1 - share_over) - 1).astype("float32")


def score_matrix(distribution):
    """d log P(A|a) / da of all architectures, `(1024, 20)`, by hand."""
    one_hot = np.concatenate(
        [np.eye(n)[VECTORS[:, i]] for i, n in enumerate(SIZES)], axis=1
    )
    return one_hot - np.concatenate(distribution.probabilities())


def exact_gradients(distribution, log_likelihoods, excess, temperature):
    """Gradients of -log E[P^(1/T)] and of the normalised expected excess."""
    scores = score_matrix(distribution)
    probs = np.exp(distribution.log_prob(VECTORS).numpy().astype("float64"))
    likely = probs * np.exp(log_likelihoods / temperature)
    data = -(likely / likely.sum()) @ scores
    costly = probs * excess
    cost = (costly / costly.sum()) @ scores if excess.any() else 0 * data
    return data, cost


def draw_estimates(num, draws, options, log_likelihoods, excess, seed=0):
    """`draws` estimates from `num` samples each, `(draws, 20)`."""
    distribution = make_distribution()
    sampled = distribution.sample(num * draws, seed=(seed, num)).numpy() @ PLACE

    places = sampled.reshape(draws, num)
    weights = estimator.coefficients(
        tf.constant(log_likelihoods[places]),
        tf.constant(excess[places]),
        options,
    )
    scores = score_matrix(distribution)
    return np.einsum("dk,dkp->dp", weights, scores[places], optimize=True)


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def options(**kwargs):
    defaults = {"temperature": 1.0, "beta": 0.0, "control_variate": False}
    return options_lib.EstimatorOptions(**{**defaults, **kwargs})


@pytest.mark.parametrize("control_variate", [False, True])
def test_mean_estimate_points_along_the_exact_gradient(control_variate):
    log_likelihoods, excess = make_log_likelihoods(), make_excess()
    data, cost = exact_gradients(
        make_distribution(), log_likelihoods, excess, 1
    )
    chosen = options(control_variate=control_variate)
    mean = draw_estimates(14, 20_000, chosen, log_likelihoods, excess).mean(0)
    assert cosine(mean, data) > 0.99
    # the term of the cost is what beta adds
    both = options(control_variate=control_variate, beta=0.5)
    added = draw_estimates(14, 20_000, both, log_likelihoods, excess).mean(0)
    assert cosine(added - mean, cost) > 0.99
    assert cosine(added, data + 0.5 * cost) > 0.99


def test_surrogate_has_the_gradient_of_the_coefficients():
    distribution = make_distribution()
    log_likelihoods, excess = make_log_likelihoods(), make_excess()
    chosen = options(beta=0.7, control_variate=True)
    indices = distribution.sample(9, (5, 6))
    places = indices.numpy() @ PLACE
    with tf.GradientTape() as tape:
        surrogate = estimator.logits_surrogate(
            distribution.log_prob(indices),
            log_likelihoods[places],
            excess[places],
            chosen,
        )
    gradient = tf.concat(tape.gradient(surrogate, distribution.logits), 0)
    m = np.exp(log_likelihoods[places])
    m, c = m / m.sum(), excess[places] / excess[places].sum()
    expected = (0.7 * (c - 1 / 9) - (m - 1 / 9)) @ score_matrix(distribution)[
        places
    ]
    np.testing.assert_allclose(gradient, expected, atol=1e-5)


def test_likelihoods_and_costs_are_constants_of_the_surrogate():
    # also where they were found under the same tape
    distribution, scale = make_distribution(), tf.Variable(1.0)
    with tf.GradientTape() as tape:
        surrogate = estimator.logits_surrogate(
            distribution.log_prob(VECTORS[:9]),
            scale * make_log_likelihoods()[:9],
            scale * make_excess()[:9],
            options(beta=0.7),
        )
    assert tape.gradient(surrogate, scale) is None


@pytest.mark.parametrize("num", [2, 4, 14])
def test_self_normalised_weights_shrink_the_gradient_by_one_minus_1_over_k(num):
    # trap 1: expected value of method.md, exact to first order in MILD
    log_likelihoods, excess = make_log_likelihoods(), make_excess()
    data, _ = exact_gradients(make_distribution(), log_likelihoods, excess, 1)
    mean = draw_estimates(
        num, 20_000, options(control_variate=True), log_likelihoods, excess
    ).mean(0)
    along = mean @ data / (data @ data)
    assert along == pytest.approx(1 - 1 / num, abs=0.03)


def test_one_sample_carries_no_signal():
    # trap 1: m = c = 1, and the expectation of the score is zero
    log_likelihoods, excess = (
        make_log_likelihoods(),
        make_excess(share_over=0.9),
    )
    data, _ = exact_gradients(make_distribution(), log_likelihoods, excess, 1)
    raw = draw_estimates(1, 50_000, options(), log_likelihoods, excess)
    noise = raw.std(0).mean() / 50_000**0.5
    assert abs(raw.mean(0)).max() < 5 * noise < abs(data).max()
    centred = options(control_variate=True, beta=0.5)
    assert not draw_estimates(1, 5, centred, log_likelihoods, excess + 1).any()


@pytest.mark.parametrize(("num", "expected"), [(14, 0.35), (2, 0.57)])
def test_control_variate_keeps_the_mean_and_cuts_the_noise(num, expected):
    # trap 2: -35 % at K = 14, -57 % at K = 2, figures of method.md
    log_likelihoods = make_log_likelihoods(scale=1.6)
    excess = make_excess(share_over=0)
    plain = draw_estimates(num, 20_000, options(), log_likelihoods, excess)
    centred = draw_estimates(
        num, 20_000, options(control_variate=True), log_likelihoods, excess
    )
    noise = plain.std(0).mean() / 20_000**0.5
    np.testing.assert_allclose(centred.mean(0), plain.mean(0), atol=6 * noise)
    cut = 1 - centred.std(0).mean() / plain.std(0).mean()
    assert cut == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("control_variate", [False, True])
def test_all_within_budget_has_no_cost_term_and_nothing_that_is_not_finite(
    control_variate,
):
    # trap 3
    np.testing.assert_array_equal(estimator.cost_weights(tf.zeros(5)), 0)
    with_cost = options(beta=3.0, control_variate=control_variate)
    without = options(beta=0.0, control_variate=control_variate)
    log_likelihoods = tf.constant([-1.0, -2.0, -3.0])
    np.testing.assert_array_equal(
        estimator.coefficients(log_likelihoods, tf.zeros(3), with_cost),
        estimator.coefficients(log_likelihoods, tf.zeros(3), without),
    )


def test_all_over_budget_still_points_to_the_cheaper():
    log_likelihoods = make_log_likelihoods(scale=0.0)
    excess = make_excess(share_over=0.5) + 1.0
    _, cost = exact_gradients(make_distribution(), log_likelihoods, excess, 1)
    for control_variate in (False, True):
        chosen = options(beta=1.0, control_variate=control_variate)
        mean = draw_estimates(14, 20_000, chosen, log_likelihoods, excess)
        assert cosine(mean.mean(0), cost) > 0.99


@pytest.mark.parametrize("control_variate", [False, True])
def test_two_sided_cost_is_the_gradient_of_the_expected_distance(
    control_variate,
):
    log_likelihoods = make_log_likelihoods(scale=0.0)  # no gradient of its own
    distance = make_excess(share_over=0.5) + 1.0  # all far above the budget
    distribution = make_distribution()
    probs = np.exp(distribution.log_prob(VECTORS).numpy().astype("float64"))
    expected = 2.0 * (probs * distance) @ score_matrix(distribution)
    chosen = options(beta=2.0, two_sided=True, control_variate=control_variate)
    num = 14
    estimates = draw_estimates(num, 20_000, chosen, log_likelihoods, distance)
    if control_variate:  # the mean of the samples takes its share
        expected *= 1 - 1 / num
    noise = estimates.std(0) / np.sqrt(len(estimates))
    assert (np.abs(estimates.mean(0) - expected) < 5 * noise).all()
    assert np.linalg.norm(expected) > 20 * noise.max()


def test_temperature_sets_the_effective_sample_size():
    # trap 4: 192 clips, a difference of 0.1 nats per clip between two children
    per_clip = tf.constant([-2.0, -2.1, -2.2])

    def size(temperature):
        weights = estimator.importance_weights(per_clip, temperature)
        return float(estimator.effective_sample_size(weights))

    assert size(1 / 192) == pytest.approx(1, abs=1e-3)  # the sum: one-hot
    assert size(1.0) == pytest.approx(3, abs=0.05)  # the mean: near uniform
    assert 1.5 < size(0.1) < 2.7


def test_effective_sample_size_by_hand():
    assert estimator.effective_sample_size(tf.fill([8], 1 / 8)) == 8
    # 1 / (0.25 + 0.25)
    assert estimator.effective_sample_size([0.5, 0.5, 0.0]) == 2


def test_number_of_samples_follows_the_entropy_in_nats():
    # traps 1 and 5
    chosen = options_lib.EstimatorOptions(max_samples=20)
    wanted = {0.0: 2, 4.0: 2, 40.0: 10, 43.0: 11, 45.0: 11, 56.0: 14, 400.0: 20}
    for entropy, num in wanted.items():
        assert estimator.num_samples(tf.constant(entropy), chosen) == num
    fixed = options_lib.EstimatorOptions(fixed_samples=6)
    assert estimator.num_samples(tf.constant(40.0), fixed) == 6
    many = options_lib.EstimatorOptions(samples_per_nat=1e9)  # 4e10 > int32
    assert estimator.num_samples(tf.constant(40.0), many) == 64


@pytest.mark.parametrize("space", space_lib.SPACES)
def test_default_lambda_gives_a_sensible_k_on_each_space(space):
    # trap 5
    low, high = {"tiny": (2, 6), "motion": (4, 8), "x3d": (20, 40)}.get(
        space.split("_")[0], (8, 14)
    )
    entropy = distribution_lib.factorized(space_lib.get_space(space)).entropy()
    num = estimator.num_samples(entropy, options_lib.EstimatorOptions())
    assert low <= int(num) <= high


def test_streaming_sum_equals_the_sum_of_all_at_once():
    rng = np.random.default_rng(0)
    # spread of hundreds of nats: exp would overflow without the peak
    log_weights = rng.normal(scale=200, size=12).astype("float32")
    log_weights[5] = log_weights.max() - 0.5
    gradients = [rng.normal(size=(12, 3, 2)), rng.normal(size=(12, 4))]
    running = estimator.StreamingSum.zeros([tf.zeros((3, 2)), tf.zeros(4)])
    for k in range(12):
        running = running.add(log_weights[k], [g[k] for g in gradients])
    m = estimator.importance_weights(log_weights, 1.0)
    for mean, gradient in zip(running.mean(), gradients, strict=True):
        np.testing.assert_allclose(
            mean, np.tensordot(m, gradient, 1), rtol=1e-4, atol=1e-6
        )
    assert float(running.effective_sample_size()) == pytest.approx(
        float(estimator.effective_sample_size(m)), rel=1e-4
    )


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"fixed_samples": 1}, "`fixed_samples` must be at least 2"),
        ({"max_samples": 1}, "`max_samples` must be at least 2"),
        ({"temperature": 0.0}, "`temperature` must be positive"),
        ({"samples_per_nat": -1.0}, "`samples_per_nat` must be positive"),
        ({"beta": -0.1}, "`beta` must be at least 0"),
        ({"beta": None}, "`beta` must be at least 0. Received: beta=None"),
    ],
)
def test_nonsense_is_refused(argument, message):
    with pytest.raises(ValueError, match=message):
        options_lib.EstimatorOptions(**argument)


@pytest.mark.parametrize("seed", range(10))
def test_search_finds_a_planted_optimum(seed):
    """Likelihoods peak at one architecture of those within budget."""
    rng = np.random.default_rng(seed)
    planted = rng.integers(0, 4, size=5)
    hits = (planted == VECTORS).sum(1)
    log_likelihoods = (0.15 * hits).astype("float32")
    costs = rng.uniform(0.5, 1.5, size=(5, 4))
    costs[np.arange(5), planted] = 0.9  # 4.5 in all, the target is 5
    total = sum(costs[i, VECTORS[:, i]] for i in range(5))
    excess = np.maximum(0, total / 5 - 1).astype("float32")
    distribution = make_distribution(scale=0.0)
    optimizer = keras.optimizers.Adam(0.05)
    chosen = options_lib.EstimatorOptions(samples_per_nat=1.0, temperature=0.1)

    @tf.function
    def step(number):
        num = estimator.num_samples(distribution.entropy(), chosen)
        indices = distribution.sample(num, tf.stack([seed, number]))
        places = tf.linalg.matvec(indices, PLACE.astype("int32"))
        with tf.GradientTape() as tape:
            surrogate = estimator.logits_surrogate(
                distribution.log_prob(indices),
                tf.gather(log_likelihoods, places),
                tf.gather(excess, places),
                chosen,
            )
        optimizer.apply_gradients(
            zip(tape.gradient(surrogate, distribution.logits),
                distribution.logits, strict=True)
        )  # fmt: skip

    for number in range(600):
        step(tf.constant(number))
    assert distribution.mode() == tuple(planted)
