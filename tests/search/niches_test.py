import itertools

import numpy as np
import pytest

from autox3d_tf.search import baselines, niches

SIZES = (3, 9, 3, 9)  # two niches' choices and two others
BUDGET = 14


def fits(vectors):
    return np.sum(vectors, axis=-1) <= BUDGET


def niche(vector):
    return vector[0], vector[2]


def score(vector):
    """The best of a niche is where its other two choices are (2, 1)."""
    wide = 10.0 * (vector[0] + vector[2])
    return wide - abs(vector[1] - 2) - abs(vector[3] - 1)


def best_of_each():
    """By enumeration: `niche -> score`."""
    best = {}
    for vector in itertools.product(*map(range, SIZES)):
        if fits(vector):
            there = best.get(niche(vector), -1e9)
            best[niche(vector)] = max(there, score(vector))
    return best


@pytest.mark.parametrize("seed", range(5))
def test_the_best_of_each_niche_is_found(seed):
    calls = []

    def counted(vector):
        calls.append(vector)
        return score(vector)

    scored = niches.evolve_elites(
        SIZES, fits, counted, niche=niche, count=250, seed=seed,
        first=[(0, 0, 0, 0)], tournament=1,
    )  # fmt: skip
    assert len(calls) == len(set(calls)) == len(scored) == 250
    assert all(fits(vector) for vector in calls)
    values = [value for value, _ in scored]
    assert values == sorted(values, reverse=True)
    elites = niches.one_of_each([vector for _, vector in scored], niche)
    assert {niche(v): score(v) for v in elites} == best_of_each()


def test_climbing_alone_stays_with_the_neighbours():
    """What niches are for: as many candidates, but fewer sets of filters."""
    sizes, first = (6, 9, 9, 9), [(0, 8, 8, 8)]

    def tight(vectors):  # a step of the first takes two of the others
        cost = np.sum(vectors * [6, *[1] * (len(sizes) - 1)], axis=-1)
        return (cost >= 24 - 2) & (cost <= 24)

    def flat(vector):  # all widths are about as good
        return 0.01 * sum(vector[1:])

    def width(vector):
        return vector[:1]

    arguments = {"count": 60, "seed": 0, "first": first}
    climbed = baselines.evolve(sizes, tight, flat, population=1, **arguments)
    spread = niches.evolve_elites(
        sizes, tight, flat, niche=width, tournament=1, **arguments
    )
    assert len({width(vector) for _, vector in climbed}) == 1
    assert len({width(vector) for _, vector in spread}) >= 2


@pytest.mark.parametrize("seed", range(4))
def test_a_tournament_spends_more_on_good_niches(seed):
    def mean_score(tournament):
        scored = niches.evolve_elites(
            SIZES, fits, score, niche=niche, count=60, seed=seed,
            first=[(0, 0, 0, 0)], tournament=tournament,
        )  # fmt: skip
        return np.mean([value for value, _ in scored])

    assert mean_score(9) > mean_score(1) + 2


def test_same_seed_same_answer():
    def run(seed):
        return niches.evolve_elites(
            SIZES, fits, score, niche=niche, count=20, seed=seed,
            first=[(0, 0, 0, 0)],
        )  # fmt: skip

    assert run(3) == run(3)
    assert run(3) != run(4)


def test_vectors_that_mean_the_same_are_scored_once():
    calls = []

    def count(vector):
        calls.append(vector)
        return score(vector)

    niches.evolve_elites(
        SIZES, fits, count, niche=niche, count=200, seed=0,
        first=[(0, 0, 0, 0), (0, 0, 0, 3)],
        canonical=lambda vector: (*vector[:3], 0),
    )  # fmt: skip
    assert len(calls) == len(set(calls))
    assert all(vector[3] == 0 for vector in calls)


def test_one_of_each_keeps_the_order():
    assert niches.one_of_each([30, 11, 31, 42, 12], lambda n: n % 10) == [
        30, 11, 42,
    ]  # fmt: skip
