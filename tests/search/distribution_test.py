import itertools
import math

import numpy as np
import pytest
import tensorflow as tf

from autox3d_tf import space as space_lib
from autox3d_tf.search import distribution as distribution_lib

SPACE = space_lib.SearchSpace(
    name="toy",
    version=1,
    clip_size=(4, 16, 16),
    frame_stride=1,
    stem=space_lib.StemSpec(filters=8),
    stages=(
        space_lib.StageSpace(
            filters=(8, 16, 24),
            depth=2,
            block_types=("3x3x3", "1x3x3"),
            expansions=(1.5, 3.0),
        ),
    ),
    head=space_lib.HeadSpec(filters=16, features=16),
)  # 3 * (2*2*2) * (3*2*2) = 288 index vectors


def all_vectors(space):
    sizes = [range(len(choice)) for choice in space.choices]
    return np.array(list(itertools.product(*sizes)), "int32")


def random_distribution(kind=distribution_lib.factorized, seed=0):
    distribution = kind(SPACE)
    rng = np.random.default_rng(seed)
    for vector in distribution.logits:
        vector.assign(rng.normal(size=vector.shape))
    return distribution


KINDS = pytest.mark.parametrize(
    "kind", [distribution_lib.factorized, distribution_lib.joint]
)


@KINDS
def test_uniform_logits_have_the_entropy_of_the_space(kind):
    # log 3 + log(2*2*2) + log(3*2*2), however the choices are grouped
    assert float(kind(SPACE).entropy()) == pytest.approx(
        math.log(288), abs=1e-5
    )


@KINDS
def test_log_prob_sums_to_one_and_entropy_agrees_with_enumeration(kind):
    distribution = random_distribution(kind)
    log_probs = distribution.log_prob(all_vectors(SPACE)).numpy()
    assert np.exp(log_probs).sum() == pytest.approx(1, abs=1e-5)
    expected = -(np.exp(log_probs) * log_probs).sum()
    assert float(distribution.entropy()) == pytest.approx(expected, abs=1e-5)


@KINDS
def test_samples_follow_the_probabilities(kind):
    distribution = random_distribution(kind)
    vectors = all_vectors(SPACE)
    drawn = distribution.sample(200_000, seed=(1, 2)).numpy()
    strides = np.cumprod([1, *[len(c) for c in SPACE.choices][:0:-1]])[::-1]
    counts = np.bincount(drawn @ strides, minlength=len(vectors))
    expected = 200_000 * np.exp(distribution.log_prob(vectors))
    # chi-square with 287 degrees of freedom: mean 287, deviation 24
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert 287 - 5 * 24 < chi_square < 287 + 5 * 24


@KINDS
def test_marginals_and_mode_agree_with_enumeration(kind):
    distribution = random_distribution(kind)
    vectors = all_vectors(SPACE)
    probs = np.exp(distribution.log_prob(vectors).numpy())
    assert distribution.mode() == tuple(vectors[probs.argmax()])
    for position, marginal in enumerate(distribution.probabilities()):
        expected = np.bincount(vectors[:, position], weights=probs)
        np.testing.assert_allclose(marginal, expected, atol=1e-6)


def test_the_same_seed_draws_the_same_vectors_in_a_graph_with_tensor_k():
    distribution = random_distribution()
    traces = []

    @tf.function
    def draw(num, seed):
        traces.append(1)
        return distribution.sample(num, seed)

    for num in (2, 7, 30):
        eager = distribution.sample(num, (3, 4))
        graph = draw(tf.constant(num), tf.constant([3, 4]))
        np.testing.assert_array_equal(eager, graph)
    assert len(traces) == 1
    assert (distribution.sample(30, (3, 5)) != graph).numpy().any()


def test_gradient_of_log_prob_is_indicator_minus_probability():
    distribution = random_distribution()
    with tf.GradientTape() as tape:
        log_prob = distribution.log_prob([[2, 1, 0, 1, 0, 1, 0]])
    gradient = tf.convert_to_tensor(
        tape.gradient(log_prob, distribution.logits[0])
    )
    expected = np.array([0, 0, 1]) - distribution.probabilities()[0]
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


def test_conversion_to_joint_leaves_the_distribution_unchanged():
    source, target = random_distribution(), distribution_lib.joint(SPACE)
    distribution_lib.convert(source, target)
    vectors = all_vectors(SPACE)
    np.testing.assert_allclose(
        np.exp(source.log_prob(vectors)),
        np.exp(target.log_prob(vectors)),
        atol=1e-6,
    )
    np.testing.assert_allclose(
        source.log_prob(vectors), target.log_prob(vectors), atol=1e-5
    )
    assert float(target.entropy()) == pytest.approx(float(source.entropy()))


def test_conversion_of_the_largest_space_is_exact_too():
    space = space_lib.get_space("x3d_m")
    source, target = (
        distribution_lib.factorized(space),
        distribution_lib.joint(space),
    )
    rng = np.random.default_rng(0)
    for vector in source.logits:
        vector.assign(3 * rng.normal(size=vector.shape))
    distribution_lib.convert(source, target)
    for first, second in zip(
        source.probabilities(), target.probabilities(), strict=True
    ):
        np.testing.assert_allclose(first, second, atol=1e-6)


def test_conversion_sorts_the_choices_of_a_factor():
    factor = distribution_lib.Factor
    source, target = (
        distribution_lib.ArchitectureDistribution(
            factors, distribution_lib.make_logits(factors)
        )
        for factors in (
            [factor("a", (3, 0), (4, 2)), factor("b", (2, 1), (5, 3))],
            [factor("all", (0, 1, 2, 3), (2, 3, 5, 4))],
        )
    )
    rng = np.random.default_rng(0)
    for vector in source.logits:
        vector.assign(rng.normal(size=vector.shape))
    distribution_lib.convert(source, target)
    vectors = np.array(list(itertools.product(*map(range, (2, 3, 5, 4)))))
    np.testing.assert_allclose(
        source.log_prob(vectors), target.log_prob(vectors), atol=1e-5
    )


def test_joint_factors_of_a_block_are_type_expansion_and_attention():
    names = [factor.name for factor in distribution_lib.joint_factors(SPACE)]
    assert names == ["stage1/filters", "stage1/block1", "stage1/block2"]
    assert [len(f) for f in distribution_lib.joint_factors(SPACE)] == [3, 8, 12]


def test_extreme_logits_stay_finite():
    distribution = distribution_lib.factorized(SPACE)
    distribution.logits[0].assign([1000.0, 0.0, -1000.0])
    assert np.isfinite(distribution.entropy())
    assert set(distribution.sample(50, (0, 0)).numpy()[:, 0]) == {0}
    with tf.GradientTape() as tape:
        entropy = distribution.entropy()
    gradients = tape.gradient(entropy, distribution.logits)
    assert np.isfinite(tf.concat(gradients, 0)).all()


def test_logits_of_another_space_are_refused():
    factors = distribution_lib.factorized_factors(SPACE)
    with pytest.raises(ValueError, match=r"Expected sizes: \[3, 2, 2, 2, 3"):
        distribution_lib.ArchitectureDistribution(factors, [tf.zeros(3)])
