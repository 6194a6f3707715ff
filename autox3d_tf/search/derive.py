"""The most probable architectures within budget, exactly.

A space is a chain: what a block costs, and how probable it is, depends on its
own choices and on the filters of its stage and of the one before. For every
place in the chain the Pareto frontier of (cost, log probability) of all that
can follow is computed from the end, without binning. A best-first search from
the front, guided by these frontiers, then never takes a wrong turn and meets
the architectures within budget from the most probable downwards.

Index vectors that decode to the same blocks are one entry of the list: the
expansion and attention of a skipped block make no difference, nor do two
expansions that round to the same inner channels. Such an entry stands for its
most probable vector and has that vector's probability. (The sum over its
vectors is not used for ranking: skipping a block gathers the probability of
all its expansions and attentions, so that while a distribution is still flat
the sum would favour skipping everything.) Vectors that skip different blocks
of a stage may also decode to the same network, but inherit different weights;
`top_k` lists such a network once, at its most probable vector.
"""

import dataclasses
import heapq
import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from autox3d_tf.cost import budget as budget_lib
from autox3d_tf.search import cost_table as cost_table_lib
from autox3d_tf.space import search_space

RANK_LIMIT = 1_000
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


@dataclasses.dataclass(frozen=True)
class _Options:
    """The ways from one state of the chain to the next.

    Attributes:
        costs: `(n, budgets)`.
        log_probs: `(n,)`.
        indices: `(n, 3)`: type, expansion and attention.
        arrive: `(n,)` state after it: the filters' index.
    """

    costs: np.ndarray
    log_probs: np.ndarray
    indices: np.ndarray
    arrive: np.ndarray


class Chain:
    """A space with probabilities and costs, as a chain of blocks.

    Args:
        space: The search space.
        tables: Log probabilities by the positions they are over, such as
            `dict(zip((f.positions for f in d.factors), d.log_tables()))`.
        cost_tables: One per budget; may be empty.
    """

    def __init__(
        self,
        space: search_space.SearchSpace,
        tables: dict[tuple[int, ...], np.ndarray],
        cost_tables: Sequence[cost_table_lib.CostTable] = (),
    ):
        self.space, self.cost_tables = space, tuple(cost_tables)
        self.targets = np.array([t.budget.target for t in self.cost_tables])
        self.sums = np.array([t.sums for t in self.cost_tables], bool)
        self.layers: list[list[_Options]] = []
        self.starts: list[bool] = []  # whether a layer starts a stage
        states = 1  # the stem's filters
        for index, stage in enumerate(space.stages):
            for block in range(stage.depth):
                self.layers.append(
                    self._block_layer(tables, index, block, states)
                )
                self.starts.append(block == 0)
                states = len(stage.filters)
        heads = [t.head for t in self.cost_tables]
        self.head = np.stack(heads, -1) if heads else np.zeros((states, 0))

    @classmethod
    def of(cls, space, distribution, cost_tables=()) -> "Chain":
        """From an `ArchitectureDistribution`."""
        positions = (factor.positions for factor in distribution.factors)
        tables = dict(zip(positions, distribution.log_tables(), strict=True))
        return cls(space, tables, cost_tables)

    def _block_layer(self, tables, stage_index, block, states):
        """Options of one block, by the state before it."""
        stage = self.space.stages[stage_index]
        position = self.space.positions
        name = f"stage{stage_index + 1}"
        filters_log_probs = tables[(position[f"{name}/filters"],)]
        first = position[f"{name}/block{block + 1}/block_type"]
        joint = _joint_table(tables, (first, first + 1, first + 2))
        layer = []
        for state in range(states):
            arrive = range(len(stage.filters)) if block == 0 else [state]
            parts = []
            for filters in arrive:
                costs = [
                    t.blocks[stage_index][block][
                        state if block == 0 else 0, filters
                    ]
                    for t in self.cost_tables
                ]
                extra = filters_log_probs[filters] if block == 0 else 0.0
                parts.append(
                    _merge_equal(stage, block, filters, joint + extra, costs)
                )
            columns = zip(*parts, strict=True)
            layer.append(_Options(*map(np.concatenate, columns)))
        return layer

    def start_costs(self) -> np.ndarray:
        """Costs of the stem."""
        return np.array([t.stem for t in self.cost_tables], float)

    def add(self, costs, more) -> np.ndarray:
        """Combines costs: sums, or maxima where the budget says so."""
        return np.where(self.sums, costs + more, np.maximum(costs, more))

    def vector(self, path: Sequence[tuple[int, int]]) -> tuple[int, ...]:
        """Index vector of a path of (state before, option) per block."""
        indices = []
        for layer, starts, (state, option) in zip(
            self.layers, self.starts, path, strict=True
        ):
            options = layer[state]
            if starts:
                indices.append(int(options.arrive[option]))
            indices += [int(i) for i in options.indices[option]]
        return tuple(indices)


def _joint_table(tables, positions):
    """Log probabilities over three positions, of one table or of three."""
    if positions in tables:
        return tables[positions]
    first, second, third = (tables[(position,)] for position in positions)
    return first[:, None, None] + second[:, None] + third


def _merge_equal(stage, block, filters, log_probs, costs):
    """Options of a block at given filters; equal ones by their best."""
    types = stage.types_of_block(block + 1)
    groups: dict[tuple, list[tuple[int, int, int]]] = {}
    for place in itertools.product(*map(range, log_probs.shape)):
        kind = types[place[0]]
        inner = stage.inner_filters(
            stage.filters[filters], stage.expansions[place[1]]
        )
        skipped = kind == search_space.SKIP
        key = (kind,) if skipped else (kind, inner, place[2])
        groups.setdefault(key, []).append(place)
    merged_costs, merged_log_probs, indices = [], [], []
    for members in groups.values():
        values = np.array([log_probs[place] for place in members])
        best = members[int(values.argmax())]
        merged_log_probs.append(values.max())
        merged_costs.append([table[best] for table in costs])
        indices.append(best)
    shape = (len(indices), len(costs))
    return (
        np.array(merged_costs, float).reshape(shape),
        np.array(merged_log_probs),
        np.array(indices),
        np.full(len(indices), filters),
    )


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

    def __init__(self, chain: Chain, metric: int | None):
        self.metric = metric
        last = chain.head
        spent = _least_before(chain, metric)
        limit = np.inf if metric is None else chain.targets[metric]
        following = [
            (np.array([0.0 if metric is None else row[metric]]), np.zeros(1))
            for row in last
        ]
        self.layers = [following]
        for number in reversed(range(len(chain.layers))):
            following = [
                self._before(chain, options, following, limit - least)
                for options, least in zip(
                    chain.layers[number], spent[number], strict=True
                )
            ]
            self.layers.insert(0, following)

    def _before(self, chain, options, following, limit):
        costs, values = [np.zeros(0)], [np.zeros(0)]
        allowed = _within_maxima(chain, options.costs)
        for state in np.unique(options.arrive):
            here = allowed & (options.arrive == state)
            if self.metric is None:
                own = np.zeros(here.sum())
            else:
                own = options.costs[here, self.metric]
            own, gain = pareto(own, options.log_probs[here])
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
    """Which options respect the budgets that take the maximum of the parts."""
    peak = ~chain.sums
    return (costs[:, peak] <= chain.targets[peak]).all(axis=1)


def _least_before(chain, metric):
    """Least summed cost of what precedes each layer, by state."""
    if metric is None:
        return [np.zeros(len(layer)) for layer in chain.layers]
    least = [np.array([chain.start_costs()[metric]])]
    for number, layer in enumerate(chain.layers[:-1]):
        after = np.full(len(chain.layers[number + 1]), np.inf)
        for state, options in enumerate(layer):
            total = least[-1][state] + options.costs[:, metric]
            np.minimum.at(after, options.arrive, total)
        least.append(after)
    return least


def enumerate_paths(
    chain: Chain,
    *,
    within_budget: bool = True,
    accept: Callable[[tuple[int, ...]], bool] | None = None,
    limit: int = SEARCH_LIMIT,
) -> Iterator[Derived]:
    """Yields paths from the most probable downwards.

    Args:
        chain: Space, probabilities and costs.
        within_budget: Leave out those over a budget.
        accept: A further condition on the index vector, for costs that are
            neither sums nor maxima of the parts.
        limit: Most partial paths to look at.

    Raises:
        LimitReached: Without `accept` and with one summed budget the search
            makes no detours, and this is far away.
    """
    summed = np.flatnonzero(chain.sums) if within_budget else np.zeros(0, int)
    # All summed budgets bound the search, the first one sharply.
    guides = [_Frontiers(chain, int(m)) for m in summed] or [
        _Frontiers(chain, None)
    ]
    start = chain.start_costs()
    counter, looked_at = itertools.count(), 0
    first = _bound(guides, chain, 0, 0, start[None], np.zeros(1))[0]
    if within_budget and not (start <= chain.targets)[~chain.sums].all():
        return
    # Among equals the longest path goes first, or all would be followed.
    queue = [(-first, 0, next(counter), 0, start, 0.0, ())]
    if first == -np.inf:
        return
    while queue:
        _, depth, _, state, costs, log_prob, path = heapq.heappop(queue)
        layer = -depth
        if layer == len(chain.layers):
            derived = Derived(
                indices=chain.vector(path),
                log_prob=float(log_prob),
                costs=tuple(chain.add(costs, chain.head[state]).tolist()),
            )
            fits = np.array(derived.costs) <= chain.targets
            if (not within_budget or fits.all()) and (
                accept is None or accept(derived.indices)
            ):
                yield derived
            continue
        looked_at += 1
        if looked_at > limit:
            raise LimitReached(
                f"No further architecture found among {limit:,} partial ones. "
                "Raise the budget or the limit."
            )
        options = chain.layers[layer][state]
        totals = chain.add(costs, options.costs)
        gains = log_prob + options.log_probs
        bounds = np.full(len(gains), -np.inf)
        allowed = np.ones(len(gains), bool)
        if within_budget:
            allowed = _within_maxima(chain, totals)
        for after in np.unique(options.arrive):
            here = allowed & (options.arrive == after)
            bounds[here] = _bound(
                guides, chain, layer + 1, after, totals[here], gains[here]
            )
        for option in np.flatnonzero(bounds > -np.inf):
            heapq.heappush(
                queue,
                (
                    -np.round(bounds[option] / TIE),
                    -layer - 1,
                    next(counter),
                    int(options.arrive[option]),
                    totals[option],
                    gains[option],
                    (*path, (state, int(option))),
                ),
            )


def _bound(guides, chain, layer, state, costs, log_probs):
    """Upper bounds of the log probability of what partial paths become."""
    bounds = np.full(len(log_probs), np.inf)
    for guide in guides:
        room = np.zeros(len(log_probs))
        if guide.metric is not None:
            room = chain.targets[guide.metric] - costs[:, guide.metric]
        bounds = np.minimum(bounds, guide.best(layer, state, room))
    return log_probs + bounds


def most_probable(
    space: search_space.SearchSpace,
    distribution,
    budgets: Sequence[budget_lib.Budget],
    accept: Callable[[tuple[int, ...]], bool] | None = None,
) -> Derived:
    """Returns the most probable architecture within all budgets.

    Raises:
        ValueError: If there is none, with the space's minimum.
    """
    return top_k(space, distribution, budgets, 1, accept)[0]


def top_k(
    space: search_space.SearchSpace,
    distribution,
    budgets: Sequence[budget_lib.Budget],
    k: int,
    accept: Callable[[tuple[int, ...]], bool] | None = None,
) -> list[Derived]:
    """Returns the `k` most probable different networks within all budgets.

    Fewer if there are no more.

    Raises:
        ValueError: If there is none, with the space's minimum.
    """
    tables = [cost_table_lib.CostTable(space, budget) for budget in budgets]
    chain = Chain.of(space, distribution, tables)
    found, seen = [], set()
    for derived in enumerate_paths(chain, accept=accept):
        fingerprint = space.decode(derived.indices).fingerprint
        if fingerprint not in seen:
            seen.add(fingerprint)
            found.append(derived)
        if len(found) == k:
            break
    if not found:
        for budget in budgets:
            budget_lib.check_feasible(space, budget)
        wanted = ", ".join(
            f"{b.metric} <= {b.format(b.target)}" for b in budgets
        )
        raise ValueError(
            f"No architecture of space {space.name!r} is within all budgets "
            f"together: {wanted}."
        )
    return found


def rank(
    space: search_space.SearchSpace,
    distribution,
    derived: Derived,
    limit: int = RANK_LIMIT,
) -> int | None:
    """Returns 1 + the number of more probable entries, whatever they cost.

    Vectors that decode to the same blocks count once. None if the rank is
    above `limit`.
    """
    chain = Chain.of(space, distribution)
    paths = enumerate_paths(chain, within_budget=False, limit=30 * limit)
    try:
        for place, path in enumerate(itertools.islice(paths, limit), 1):
            if path.log_prob <= derived.log_prob + TIE:
                return place
    except LimitReached:
        pass
    return None
