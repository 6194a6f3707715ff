"""The most probable architectures within budget, exactly.

A space is a chain (chain.py). For every place in it the Pareto frontier of
(cost, log probability) of all that can follow is computed from the end,
without binning. A best-first search from the front, guided by these
frontiers, then never takes a wrong turn and meets the architectures within
budget from the most probable downwards.

Index vectors that decode to the same blocks are one entry. Entries that skip
different blocks of a stage may also decode to the same network, but inherit
different weights. `top_k` lists such a network once, at its most probable
vector; `rank` counts entries. Of entries that have built the same blocks so
far, the search follows the most probable only: all that can follow is the
same, and a deep stage has far more ways to skip than networks.
"""

import dataclasses
import heapq
import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from absl import logging

from autox3d_tf.cost import budget as budget_lib
from autox3d_tf.search import chain as chain_lib
from autox3d_tf.search import cost_table as cost_table_lib
from autox3d_tf.search import files
from autox3d_tf.space import search_space

SEARCH_LIMIT = 200_000
TIE = 1e-9  # nats; what differs by less is taken as equally probable
_GRID = 1e-11  # rounding noise between equal sums, far below a tie


class LimitReached(ValueError):
    """Too many partial architectures were looked at."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Derived:
    """An architecture of the space, as an index vector.

    Attributes:
        indices: One entry per choice.
        log_prob: Of this index vector, in nats.
        costs: One per budget.
    """

    indices: tuple[int, ...]
    log_prob: float
    costs: tuple[float, ...]

    @property
    def probability(self) -> float:
        """Of this index vector."""
        return float(np.exp(self.log_prob))


def pareto(costs: np.ndarray, values: np.ndarray):
    """Returns the points no other beats: cheaper, or of higher value.

    >>> pareto(np.array([3.0, 1.0, 2.0]), np.array([5.0, 2.0, 1.0]))
    (array([1., 3.]), array([2., 5.]))
    """
    order = np.lexsort((-values, costs))
    costs, values = costs[order], values[order]
    level = np.floor(values / _GRID)
    before = np.concatenate([[-np.inf], np.maximum.accumulate(level)[:-1]])
    keep = level > before
    return costs[keep], values[keep]


class _Frontiers:
    """Per layer and state, the best that can follow within a cost.

    Args:
        chain: The chain.
        metric: Column of the summed cost that guides, or None for no budget.
    """

    def __init__(self, chain: chain_lib.Chain, metric: int | None):
        self.metric = metric
        last = chain.head
        fits = _within_maxima(chain, last)
        spent = _least_before(chain, metric)
        limit = np.inf if metric is None else chain.limits[metric]
        following = [  # of each head one entry, or none if it is too large
            (np.full(n, 0.0 if metric is None else row[metric]), np.zeros(n))
            for row, n in zip(last, fits.astype(int), strict=True)
        ]
        self.layers = [following]
        for number in reversed(range(len(chain.layers))):
            following = [
                self._before(chain, transitions, following, limit - least)
                for transitions, least in zip(
                    chain.layers[number], spent[number], strict=True
                )
            ]
            self.layers.insert(0, following)

    def _before(self, chain, transitions, following, limit):
        costs, values = [np.zeros(0)], [np.zeros(0)]
        allowed = _within_maxima(chain, transitions.costs)
        for state in np.unique(transitions.next_states):
            here = allowed & (transitions.next_states == state)
            if self.metric is None:
                own = np.zeros(here.sum())
            else:
                own = transitions.costs[here, self.metric]
            own, gain = pareto(own, transitions.log_probs[here])
            after_costs, after_values = following[state]
            total = np.add.outer(own, after_costs).ravel()
            value = np.add.outer(gain, after_values).ravel()
            fits = total <= limit
            costs.append(total[fits])
            values.append(value[fits])
        return pareto(np.concatenate(costs), np.concatenate(values))

    def best(self, layer: int, state: int, room: np.ndarray) -> np.ndarray:
        """Highest log probability of what follows, -inf if nothing fits."""
        costs, values = self.layers[layer][state]
        if not len(costs):
            return np.full(np.shape(room), -np.inf)
        place = np.searchsorted(costs, room, side="right") - 1
        return np.where(place >= 0, values[place], -np.inf)


def _within_maxima(chain, costs):
    """Which costs respect the budgets that take the maximum of the parts."""
    peak = ~chain.sums
    return (costs[:, peak] <= chain.limits[peak]).all(axis=1)


def _least_before(chain, metric):
    """Least summed cost of what precedes each layer, by state."""
    if metric is None:
        return [np.zeros(len(layer)) for layer in chain.layers]
    least = [np.array([chain.start_costs()[metric]])]
    for number, layer in enumerate(chain.layers[:-1]):
        after = np.full(len(chain.layers[number + 1]), np.inf)
        for state, transitions in enumerate(layer):
            total = least[-1][state] + transitions.costs[:, metric]
            np.minimum.at(after, transitions.next_states, total)
        least.append(after)
    return least


@dataclasses.dataclass(frozen=True)
class _Partial:
    """The first blocks of an architecture.

    Attributes:
        layer: How many.
        state: After them.
        costs: Theirs and the stem's, one per budget.
        log_prob: Theirs.
        path: State before each, and number of its transition.
        network: Number of what they build, whichever of them are skipped.
    """

    layer: int
    state: int
    costs: np.ndarray
    log_prob: float
    path: tuple[tuple[int, int], ...] = ()
    network: int = 0


class _Guide:
    """Says how probable a partial architecture can become within budget."""

    def __init__(self, chain: chain_lib.Chain):
        self._chain = chain
        self._networks: dict[tuple[int, int], int] = {}  # by (before, block)
        # All summed budgets bound the search, the first one sharply.
        metrics = [int(m) for m in np.flatnonzero(chain.sums)] or [None]
        self._frontiers = [_Frontiers(chain, metric) for metric in metrics]

    def start(self) -> Iterator[tuple[float, _Partial]]:
        """Yields the architecture of no blocks, if any fits."""
        costs = self._chain.start_costs()
        bounds = self._bounds(0, 0, costs[None], np.zeros(1))
        if bounds[0] > -np.inf:
            yield bounds[0], _Partial(0, 0, costs, 0.0)

    def extend(self, partial: _Partial) -> Iterator[tuple[float, _Partial]]:
        """Yields those of one block more that fit, with upper bounds."""
        layer, chain = partial.layer, self._chain
        transitions = chain.layers[layer][partial.state]
        costs = chain.add(partial.costs, transitions.costs)
        log_probs = partial.log_prob + transitions.log_probs
        bounds = np.empty(len(log_probs))
        for state in np.unique(transitions.next_states):
            here = transitions.next_states == state
            bounds[here] = self._bounds(
                layer + 1, state, costs[here], log_probs[here]
            )
        for number in np.flatnonzero(bounds > -np.inf):
            block = int(transitions.blocks[number])
            yield (
                bounds[number],
                _Partial(
                    layer + 1,
                    int(transitions.next_states[number]),
                    costs[number],
                    log_probs[number],
                    (*partial.path, (partial.state, int(number))),
                    self._network(partial.network, block),
                ),
            )

    def _network(self, before, block) -> int:
        """Number of a network and one block more."""
        if block < 0:  # skipped
            return before
        count = len(self._networks)
        return self._networks.setdefault((before, block), count + 1)

    def complete(self, partial: _Partial) -> Derived | None:
        """Returns the architecture of all blocks, None if it costs too much."""
        chain = self._chain
        costs = chain.add(partial.costs, chain.head[partial.state])
        if not (costs <= chain.limits).all():
            return None
        return Derived(
            indices=chain.vector(partial.path),
            log_prob=float(partial.log_prob),
            costs=tuple(costs.tolist()),
        )

    def _bounds(self, layer, state, costs, log_probs):
        """Most that partial paths become, -inf for those that do not fit."""
        bounds = np.full(len(log_probs), np.inf)
        for frontiers in self._frontiers:
            room = np.zeros(len(log_probs))
            if frontiers.metric is not None:
                limit = self._chain.limits[frontiers.metric]
                room = limit - costs[:, frontiers.metric]
            bounds = np.minimum(bounds, frontiers.best(layer, state, room))
        bounds[~_within_maxima(self._chain, costs)] = -np.inf
        return log_probs + bounds


def enumerate_networks(
    chain: chain_lib.Chain,
    limit: int = SEARCH_LIMIT,
) -> Iterator[Derived]:
    """Yields networks within all budgets, from the most probable downwards.

    Each is yielded once, at its most probable vector.

    Args:
        chain: Space, probabilities and costs.
        limit: Most partial networks to look at.

    Raises:
        LimitReached: With one summed budget the search makes no detours, and
            this is far away.
    """
    guide, queue = _Guide(chain), []
    pushed, seen, looked_at = itertools.count(), set(), 0

    def push(found):
        for bound, partial in found:
            # Among equals the longest path goes first, or all would be
            # followed.
            order = (-np.round(bound / TIE), -partial.layer, next(pushed))
            heapq.heappush(queue, (*order, partial))

    push(guide.start())
    while queue:
        *_, partial = heapq.heappop(queue)
        built = partial.layer, partial.network
        if built in seen:  # at least as probable with other blocks skipped
            continue
        seen.add(built)
        if partial.layer == len(chain.layers):
            derived = guide.complete(partial)
            if derived:
                yield derived
            continue
        looked_at += 1
        if looked_at > limit:
            raise LimitReached(
                "`budgets` must admit networks that can be found among "
                f"{limit:,} partial ones. Received: budgets that may admit "
                "none, or few. Search with larger budgets or fewer of them."
            )
        push(guide.extend(partial))


def top_k(
    space: search_space.SearchSpace,
    distribution,
    tables: Sequence[cost_table_lib.CostTable],
    k: int,
) -> list[Derived]:
    """Returns the `k` most probable different networks within all budgets.

    Fewer if there are no more, or, with a warning, if no more are found.

    Args:
        space, distribution: Whose networks.
        tables: Costs of the space, one per budget.
        k: How many.

    Raises:
        LimitReached: If none is found.
        ValueError: If there is none, with the space's minimum.
    """
    chain = chain_lib.Chain.of(space, distribution, tables)
    found: list[Derived] = []
    try:
        for derived in itertools.islice(enumerate_networks(chain), k):
            found.append(derived)
    except LimitReached:
        if not found:
            raise
        logging.warning(
            "Found %d of the %d networks asked for by `top_k` or `rerank`: no "
            "more within budget among %s partial ones.",
            len(found), k, f"{SEARCH_LIMIT:,}",
        )  # fmt: skip
    if not found:
        budgets = [table.budget for table in tables]
        for budget in budgets:
            budget_lib.check_feasible(space, budget)
        raise ValueError(
            f"No architecture of space {space.name!r} is within all budgets "
            f"together: {', '.join(map(str, budgets))}."
        )
    return found


class Rank(NamedTuple):
    """Where an architecture stands among all, whatever they cost.

    Attributes:
        place: 1 for the most probable; None if it was not reached.
        above: Then how many more probable ones were counted; else None.
        ties: How many others are as probable, `files.RANK_LIMIT` at most; None
            without a place.
    """

    place: int | None
    above: int | None
    ties: int | None


def rank(
    space: search_space.SearchSpace,
    distribution,
    derived: Derived,
    limit: int = files.RANK_LIMIT,
) -> Rank:
    """Counts the entries that are more probable, and those as probable.

    Vectors that decode to the same blocks count once.

    Args:
        space, distribution: Whose entries.
        derived: The architecture.
        limit: Most entries of either kind to count.
    """
    chain = chain_lib.Chain.of(space, distribution)
    above = _count_above(chain, derived.log_prob + TIE, limit)
    if above == limit:
        return Rank(None, above, None)
    place = above + 1
    ties = _count_above(chain, derived.log_prob - TIE, place + limit) - place
    return Rank(place, None, ties)


def _count_above(chain, log_prob, limit) -> int:
    """Counts the entries of higher probability, up to `limit`.

    After each layer there is a partial entry per way to begin such an entry:
    as many as `limit` of them are enough to stop.
    """
    frontiers = _Frontiers(chain, None)
    states, log_probs = np.zeros(1, int), np.zeros(1)
    for number, layer in enumerate(chain.layers, 1):
        best = np.array([values[-1] for _, values in frontiers.layers[number]])
        next_states, total = [], []
        for state in np.unique(states):
            transitions = layer[state]
            before = log_probs[states == state]
            after = np.add.outer(before, transitions.log_probs)
            most = after + best[transitions.next_states]
            _, chosen = kept = np.nonzero(most > log_prob)
            next_states.append(transitions.next_states[chosen])
            total.append(after[kept])
        states, log_probs = np.concatenate(next_states), np.concatenate(total)
        if not 0 < len(states) < limit:
            break
    return min(len(states), limit)
