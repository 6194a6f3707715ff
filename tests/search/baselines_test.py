import numpy as np
import pytest

from autox3d_tf.search import baselines
from autox3d_tf.search import options as options_lib

SIZES = (5, 3, 1, 7, 4)
BEST = (4, 0, 0, 6, 2)


def score(vector):
    return -sum(abs(a - b) for a, b in zip(vector, BEST, strict=True))


def fits(vectors):
    return np.sum(vectors, axis=-1) <= 13  # BEST has 12


def recording(calls):
    """`score`, which notes in `calls` what it is called with."""

    def recorded(vector):
        calls.append(vector)
        return score(vector)

    return recorded


@pytest.mark.parametrize("method", sorted(baselines.PICKERS))
def test_all_scored_vectors_are_different_and_within_budget(method):
    calls = []
    found = baselines.PICKERS[method](
        SIZES, fits, recording(calls), count=60, seed=1
    )
    assert len(calls) == len(set(calls)) == len(found) == 60
    assert all(fits(vector) for vector in calls)
    values = [value for value, _ in found]
    assert values == sorted(values, reverse=True)
    assert found[0] == (max(map(score, calls)), found[0][1])


def test_evolution_finds_the_best_sooner_than_random_search():
    places = {"random": [], "evolution": []}
    for method, found in places.items():
        for seed in range(20):
            scored = []

            def counted(vector, scored=scored):
                scored.append(score(vector))
                return scored[-1]

            baselines.PICKERS[method](SIZES, fits, counted, count=80, seed=seed)
            found.append(scored.index(max(scored)) - 100 * (max(scored) == 0))
    hits = {m: sum(p < 0 for p in found) for m, found in places.items()}
    assert hits["evolution"] > 15 > hits["random"]


def test_the_same_seed_repeats_the_search():
    runs = [
        baselines.evolve(SIZES, fits, score, count=30, seed=seed)
        for seed in (1, 1, 2)
    ]
    assert runs[0] == runs[1] != runs[2]


def test_mutation_changes_one_open_choice():
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(300):
        changed = baselines.mutate(BEST, SIZES, rng)
        different = [i for i in range(5) if changed[i] != BEST[i]]
        assert len(different) == 1
        assert 0 <= changed[different[0]] < SIZES[different[0]]
        seen.add(changed)
    assert len(seen) == 4 + 2 + 6 + 3  # the third choice has one candidate


def test_evolution_starts_from_given_vectors():
    calls = []
    first = [(4, 0, 0, 6, 1), (4, 0, 0, 5, 2), (0, 0, 0, 0, 0)]
    found = baselines.evolve(
        SIZES, fits, recording(calls), count=3, seed=0, first=first
    )
    assert calls == first and [v for _, v in found] == first
    found = baselines.evolve(
        SIZES, fits, score, count=40, seed=0, first=first, population=3
    )
    assert found[0] == (0, BEST)  # a step away, of 420


def test_a_change_that_changes_nothing_makes_nobody_younger(monkeypatch):
    """By hand: the best of two dies at the first real change."""
    parents = []
    changes = [(9, 1), (9, 2), (9, 3), (1, 0), (2, 0)]

    def mutate(vector, sizes, rng):
        parents.append(vector)
        return changes[len(parents) - 1]

    monkeypatch.setattr(baselines, "mutate", mutate)
    baselines.evolve(
        (10, 5),
        lambda vectors: np.ones(len(vectors), bool),
        lambda vector: vector[0],
        count=4,
        seed=0,
        first=[(9, 0), (5, 0)],
        canonical=lambda vector: (vector[0], 0),
        population=2,
        tournament=50,  # both are among them
    )
    assert parents == [(9, 0)] * 4 + [(5, 0)]


@pytest.mark.parametrize("method", sorted(baselines.PICKERS))
def test_what_means_the_same_is_scored_once(method):
    calls = []

    def canonical(vector):  # the last choice makes no difference
        return (*vector[:-1], 0)

    baselines.PICKERS[method](
        SIZES, fits, recording(calls), count=30, seed=0, canonical=canonical
    )
    assert len(set(calls)) == len(calls) == 30
    assert {vector[-1] for vector in calls} == {0}


def test_a_small_space_ends_the_search():
    found = baselines.evolve(
        (2, 2), lambda v: np.ones(len(v), bool), sum, count=50, seed=0
    )
    assert sorted(v for _, v in found) == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_a_budget_that_random_draws_never_meet_is_reported():
    with pytest.raises(ValueError, match="None of 1,000,000 random archit"):
        baselines.random_search(
            SIZES, lambda v: np.zeros(len(v), bool), score, count=2, seed=0
        )


def test_evolution_goes_on_from_given_vectors_where_random_ones_never_fit(
    monkeypatch,
):
    monkeypatch.setattr(baselines, "_DRAWS", 2000)

    def nearly_zero(vectors):  # 73 of 100 million
        return np.count_nonzero(vectors, axis=-1) <= 1

    found = baselines.evolve(
        (10,) * 8, nearly_zero, sum, count=20, seed=0, first=[(0,) * 8]
    )
    assert len(found) == 20
    assert nearly_zero([vector for _, vector in found]).all()


def test_a_tight_budget_is_met_by_enough_draws():
    sizes = (10,) * 5

    def rare(vectors):  # one of 100,000
        return np.sum(vectors, axis=-1) == 0

    rng = np.random.default_rng(0)
    assert baselines.random_within(sizes, rare, rng) == (0,) * 5


def test_a_space_of_one_architecture_is_no_trap():
    for method in baselines.PICKERS.values():
        found = method(
            (1, 1), lambda v: v[:, 0] == 0, lambda v: 0.5, count=9, seed=0
        )
        assert found == [(0.5, (0, 0))]


def test_refining_takes_all_that_are_reranked():
    with pytest.raises(ValueError, match="`refine` must be 0 or at least rer"):
        options_lib.SearchOptions(steps=5, warmup_steps=2, rerank=10, refine=9)


def test_a_baseline_has_no_steps_of_the_logits():
    with pytest.raises(ValueError, match="equal to steps=5 for 'evolution'"):
        options_lib.SearchOptions(steps=5, warmup_steps=2, method="evolution")


def test_what_never_happens_is_refused():
    with pytest.raises(ValueError, match="`steps` must be at least 1. Receiv"):
        options_lib.SearchOptions(steps=None, warmup_steps=0)
    with pytest.raises(ValueError, match=r"`joint_step` must be in \[0, 5\]"):
        options_lib.SearchOptions(steps=5, warmup_steps=2, joint_step=6)
    with pytest.raises(ValueError, match="at most max_samples=64"):
        options_lib.EstimatorOptions(fixed_samples=100)


@pytest.mark.parametrize("method", ["gumbel", "random", "evolution"])
def test_only_the_probabilistic_search_is_ever_joint(method):
    warmup_steps = 2 if method == "gumbel" else 5
    with pytest.raises(
        ValueError, match=f"`joint_step` must be 0 for '{method}'"
    ):
        options_lib.SearchOptions(
            steps=5, warmup_steps=warmup_steps, method=method, joint_step=3
        )
