"""What the probabilistic search is measured against, in the same harness.

- `random`: the best of random architectures within budget,
- `evolution`: regularised evolution (Real et al., 2019),

both judged with weights inherited from the supernet after the warm-up, which
all methods share. PARSEC is the probabilistic search with `fixed_samples`;
`gumbel` is in relaxation.py. studies/equal_cost.py gives each the same number
of clips processed.
"""

import collections
import functools
from collections.abc import Callable, Sequence

import numpy as np

from autox3d_tf.search import cost_table
from autox3d_tf.space import search_space

Vector = tuple[int, ...]
Fits = Callable[[np.ndarray], np.ndarray]  # (N, choices) -> bool (N,)
_DRAWS = 1_000_000  # uniform draws before a budget is called too tight for them
_AT_ONCE = 1_000


def random_within(
    sizes: Sequence[int], fits: Fits, rng: np.random.Generator
) -> Vector:
    """Draws uniformly until an index vector is within budget."""
    for _ in range(_DRAWS // _AT_ONCE):
        vectors = rng.integers(sizes, size=(_AT_ONCE, len(sizes)))
        found = vectors[fits(vectors)]
        if len(found):
            return tuple(found[0].tolist())
    raise ValueError(
        f"None of {_DRAWS:,} random architectures is within the budget. "
        "Raise the target; a probabilistic search copes with less."
    )


def check_reachable(
    space: search_space.SearchSpace, tables: Sequence[cost_table.CostTable]
) -> None:
    """Raises ValueError if budgets are too tight for random architectures."""
    fits = functools.partial(cost_table.fits, tables)
    random_within(space.sizes, fits, np.random.default_rng(0))


def random_search(
    sizes: Sequence[int],
    fits: Fits,
    score: Callable[[Vector], float],
    *,
    count: int,
    seed: int,
    canonical: Callable[[Vector], Vector] = tuple,
) -> list[tuple[float, Vector]]:
    """Scores `count` different random vectors; returns them, best first.

    Arguments are those of `evolve`.
    """
    rng = np.random.default_rng([seed, 0x12A4D])
    scored: dict[Vector, float] = {}
    for _ in range(10 * count):  # a small space has no more than so many
        if len(scored) == count:
            break
        vector = canonical(random_within(sizes, fits, rng))
        if vector not in scored:
            scored[vector] = score(vector)
    return best_first(scored)


def evolve(
    sizes: Sequence[int],
    fits: Fits,
    score: Callable[[Vector], float],
    *,
    count: int,
    seed: int,
    first: Sequence[Vector] = (),
    canonical: Callable[[Vector], Vector] = tuple,
    population: int = 20,
    tournament: int = 5,
) -> list[tuple[float, Vector]]:
    """Regularised evolution: the oldest dies, whatever its score.

    Args:
        sizes: Candidates per choice.
        fits: Which of index vectors `(N, choices)` are within budget.
        score: Higher is better; called once per vector.
        count: How many vectors are scored in all.
        seed: Of everything random.
        first: Vectors within budget that the population starts with; it is
            filled up at random, unless none is found within the budget.
        canonical: Makes vectors equal that mean the same, so that none is
            scored twice.
        population: Vectors alive at once.
        tournament: Of these, how many compete to be the parent.

    Returns:
        All that were scored, best first.
    """
    rng = np.random.default_rng([seed, 0xE7017E])
    scored: dict[Vector, float] = {}
    alive: collections.deque[Vector] = collections.deque()
    waiting = list(first)[::-1]
    for _ in range(20 * count):
        if len(scored) == count:
            break
        parent = None
        if waiting:
            vector = waiting.pop()
        elif len(alive) < min(population, count):
            try:
                vector = random_within(sizes, fits, rng)
            except ValueError:
                if not alive:
                    raise
                population = len(alive)  # then with those that are there
                continue
        else:
            places = rng.integers(len(alive), size=tournament)
            parent = max((alive[i] for i in places), key=scored.__getitem__)
            vector = mutate(parent, sizes, rng)
            if not fits(np.array([vector])).all():
                continue
        vector = canonical(vector)
        if parent is not None:
            if vector == parent:  # which would live on as new
                continue
            alive.popleft()
        if vector not in scored:
            scored[vector] = score(vector)
        alive.append(vector)
    return best_first(scored)


def mutate(
    vector: Vector, sizes: Sequence[int], rng: np.random.Generator
) -> Vector:
    """Changes one choice to another candidate, if there is one."""
    open_places = [i for i, size in enumerate(sizes) if size > 1]
    if not open_places:
        return vector
    place = open_places[rng.integers(len(open_places))]
    step = 1 + int(rng.integers(sizes[place] - 1))
    changed = (vector[place] + step) % sizes[place]
    return (*vector[:place], changed, *vector[place + 1 :])


def best_first(scored: dict[Vector, float]) -> list[tuple[float, Vector]]:
    """Returns `(score, vector)` pairs."""
    pairs = ((value, vector) for vector, value in scored.items())
    return sorted(pairs, key=lambda pair: -pair[0])


# How each of `options.JUDGED` picks.
PICKERS = {"random": random_search, "evolution": evolve}
