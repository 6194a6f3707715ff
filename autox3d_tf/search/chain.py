"""A search space as a chain of blocks, with probabilities and costs.

What a block costs, and how probable it is, depends on its own choices and on
the filters of its stage and of the one before: those are the states.

Index vectors that decode to the same blocks are one entry: the expansion and
attention of a skipped block make no difference, nor do two expansions that
round to the same inner channels. Such an entry stands for its most probable
vector and has that vector's probability. (The sum over its vectors is not
used for ranking: skipping a block gathers the probability of all its
expansions and attentions, so that while a distribution is still flat the sum
would favour skipping everything.)
"""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from autox3d_tf.search import cost_table as cost_table_lib
from autox3d_tf.space import search_space


@dataclasses.dataclass(frozen=True)
class Transitions:
    """The transitions from one state of the chain, n of them.

    Attributes:
        costs: `(n, budgets)`.
        log_probs: `(n,)`.
        indices: `(n, 3)`: type, expansion and attention.
        next_states: `(n,)` where they lead: the filters' index.
        blocks: `(n,)` number of the block that is built, the same wherever
            in its stage it stands; -1 for none.
    """

    costs: np.ndarray
    log_probs: np.ndarray
    indices: np.ndarray
    next_states: np.ndarray
    blocks: np.ndarray


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
        self.limits = np.array([t.budget.limit for t in self.cost_tables])
        self.sums = np.array([t.sums for t in self.cost_tables], bool)
        self.layers: list[list[Transitions]] = []
        self._blocks: list[tuple[int, int]] = []  # of layers: stage, number
        self._numbers: dict[tuple, int] = {}  # of all blocks there are
        states = 1  # the stem's filters
        for index, stage in enumerate(space.stages):
            for block in range(stage.depth):
                self.layers.append(
                    self._block_layer(tables, index, block, states)
                )
                self._blocks.append((index, block))
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
        """Transitions of one block, by the state before it."""
        stage = self.space.stages[stage_index]
        places = self.space.places[stage_index]
        filters_log_probs = tables[(places.filters,)]
        joint = _joint_table(tables, places.blocks[block])
        layer = []
        for state in range(states):
            next_states = range(len(stage.filters)) if block == 0 else [state]
            parts = []
            for filters in next_states:
                costs = [
                    t.blocks[stage_index][block][
                        state if block == 0 else 0, filters
                    ]
                    for t in self.cost_tables
                ]
                extra = filters_log_probs[filters] if block == 0 else 0.0
                keys, *part = _merge_equal(
                    stage, block, filters, joint + extra, costs
                )
                blocks = [self._number(stage_index, filters, k) for k in keys]
                parts.append((*part, np.array(blocks)))
            columns = zip(*parts, strict=True)
            layer.append(Transitions(*map(np.concatenate, columns)))
        return layer

    def _number(self, stage_index, filters, key) -> int:
        """Of a block of `key`, as in `Transitions.blocks`."""
        if key == (search_space.SKIP,):
            return -1
        block = (stage_index, filters, *key)
        return self._numbers.setdefault(block, len(self._numbers))

    def start_costs(self) -> np.ndarray:
        """Costs of the stem."""
        return np.array([t.stem for t in self.cost_tables], float)

    def add(self, costs, more) -> np.ndarray:
        """Combines costs: sums, or maxima where the budget says so."""
        return np.where(self.sums, costs + more, np.maximum(costs, more))

    def likeliest(self, vector: Sequence[int]) -> tuple[tuple[int, ...], float]:
        """Returns the most probable vector of the same blocks, and its log
        probability in nats."""
        path, log_prob, before = [], 0.0, 0
        for (stage_index, block), layer in zip(
            self._blocks, self.layers, strict=True
        ):
            stage = self.space.stages[stage_index]
            places = self.space.places[stage_index]
            filters = vector[places.filters]
            own = [vector[place] for place in places.blocks[block]]
            wanted = _block_key(stage, block, filters, own)
            transitions = layer[before]
            number = next(
                number
                for number in np.flatnonzero(transitions.next_states == filters)
                if wanted
                == _block_key(
                    stage, block, filters, transitions.indices[number]
                )
            )
            path.append((before, number))
            log_prob += transitions.log_probs[number]
            before = filters
        return self.vector(path), float(log_prob)

    def vector(self, path: Sequence[tuple[int, int]]) -> tuple[int, ...]:
        """Index vector of a path: per block a state and its transition."""
        indices = []
        for layer, (_, block), (state, number) in zip(
            self.layers, self._blocks, path, strict=True
        ):
            transitions = layer[state]
            if block == 0:
                indices.append(int(transitions.next_states[number]))
            indices += [int(i) for i in transitions.indices[number]]
        return tuple(indices)


def _joint_table(tables, positions):
    """Log probabilities over three positions, of one table or of three."""
    if positions in tables:
        return tables[positions]
    first, second, third = (tables[(position,)] for position in positions)
    return first[:, None, None] + second[:, None] + third


def _block_key(stage, block, filters, place) -> tuple:
    """What the block of type, expansion and attention `place` is made of."""
    block_type, expansion, attention = (int(index) for index in place)
    kind = stage.types_of_block(block + 1)[block_type]
    if kind == search_space.SKIP:
        return (kind,)
    inner = stage.inner_filters(
        stage.filters[filters], stage.expansions[expansion]
    )
    return kind, inner, attention


def _merge_equal(stage, block, filters, log_probs, costs):
    """Transitions of a block at given filters; equal ones by their best.

    Returns their keys and the first four attributes of `Transitions`.
    """
    groups: dict[tuple, list[tuple[int, int, int]]] = {}
    for place in itertools.product(*map(range, log_probs.shape)):
        key = _block_key(stage, block, filters, place)
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
        groups,
        np.array(merged_costs, float).reshape(shape),
        np.array(merged_log_probs),
        np.array(indices),
        np.full(len(indices), filters),
    )
