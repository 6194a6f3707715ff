"""The best network of each niche: of each set of filters per stage.

An architecture search that only climbs ends with neighbours. Networks of other
widths are further apart than single changes reach, most of all close to a
budget, where one choice must give what another takes.
"""

from collections.abc import Callable, Sequence

import numpy as np

from autox3d_tf.search import baselines

Vector = tuple[int, ...]
_MOST_CHANGES = 3


def evolve_elites(
    sizes: Sequence[int],
    fits: baselines.Fits,
    score: Callable[[Vector], float],
    *,
    niche: Callable[[Vector], tuple],
    count: int,
    seed: int,
    first: Sequence[Vector] = (),
    canonical: Callable[[Vector], Vector] = tuple,
    tournament: int = 3,
) -> list[tuple[float, Vector]]:
    """MAP-Elites (Mouret and Clune, 2015): each niche keeps its best.

    Args:
        sizes, fits, score, count, seed, canonical: as in `baselines.evolve`.
        niche: What a vector competes in.
        first: Vectors within budget that are scored first; one at least.
        tournament: How many elites compete to be the parent; 1 spends as much
            on poor niches as on good ones.

    Returns:
        All that were scored, best first.
    """
    rng = np.random.default_rng([seed, 0xE117E5])
    scored: dict[Vector, float] = {}
    elites: dict[tuple, Vector] = {}
    waiting = list(first)[::-1]
    for _ in range(200 * count):  # most changes leave the budget
        if len(scored) == count:
            break
        if waiting:
            vector = waiting.pop()
        else:
            alive = list(elites.values())
            places = rng.integers(len(alive), size=tournament)
            vector = max((alive[i] for i in places), key=scored.__getitem__)
            for _ in range(int(rng.integers(1, _MOST_CHANGES + 1))):
                vector = baselines.mutate(vector, sizes, rng)
        if not fits(np.array([vector])).all():
            continue
        vector = canonical(vector)
        if vector in scored:
            continue
        scored[vector] = score(vector)
        kept = elites.setdefault(niche(vector), vector)
        if scored[vector] > scored[kept]:
            elites[niche(vector)] = vector
    return baselines.best_first(scored)


def one_of_each(vectors: Sequence, niche: Callable) -> list:
    """Returns the first of each niche, in the order given."""
    kept: dict = {}
    for vector in vectors:
        kept.setdefault(niche(vector), vector)
    return list(kept.values())
