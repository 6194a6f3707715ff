"""Costs of a space's parts as one flat array, for NumPy and for the graph.

What a part costs depends on five indices at most: the filters before it, its
filters, type, expansion and attention. All parts of all architectures are
therefore one short array, and the cost of an index vector is a few look-ups.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from autox3d_tf.cost import budget as budget_lib
from autox3d_tf.space import search_space

_DRAWS = 8192  # for a share to a percent


class CostTable:
    """All costs of a space under one budget.

    Args:
        space: The search space.
        budget: Which cost, and the limit on it.

    Attributes:
        sums: Whether the cost is the sum of the parts' (multiply-adds,
            parameters, milliseconds), or else their maximum (peak memory).
        stem: Cost of the stem.
        blocks: Per stage and block an array with the axes (filters before,
            filters, types, expansions, attentions). The first axis of a
            block that is not the first of its stage has length 1.
        head: Cost of the head by the filters of the last stage.
    """

    def __init__(
        self, space: search_space.SearchSpace, budget: budget_lib.Budget
    ):
        self.space, self.budget = space, budget
        self.sums = budget.sums
        counted = budget_lib.SpaceCost(space, budget)
        self.stem = float(counted.stem_cost)
        self.blocks: list[list[np.ndarray]] = []
        before = (space.stem.filters,)
        for index, stage in enumerate(space.stages):
            tables = [
                _block_table(counted, index, block, before)
                for block in range(min(2, stage.depth))
            ]  # all further ones cost what the second does
            self.blocks.append(tables[:1] + tables[1:] * (stage.depth - 1))
            before = stage.filters
        self.head = np.array([float(counted.head_cost(f)) for f in before])
        self._flatten()

    def _flatten(self):
        """Lays the tables end to end, with the positions that address them."""
        tables, addresses = [], []
        before = 0  # the stem's filters are fixed: any position, stride 0
        for places, stage in zip(self.space.places, self.blocks, strict=True):
            tables += stage
            addresses += [
                [before, places.filters, *block] for block in places.blocks
            ]
            before = places.filters
        tables.append(self.head.reshape(1, -1, 1, 1, 1))
        addresses.append([0, before, 0, 0, 0])
        starts = np.cumsum([0, *(table.size for table in tables)])
        self._flat = np.concatenate([table.ravel() for table in tables])
        self._starts = starts[:-1].astype("int32")
        self._addresses = np.array(addresses, "int32")
        self._strides = np.array([_strides(t.shape) for t in tables], "int32")

    def __call__(self, indices) -> np.ndarray:
        """Costs of index vectors `(K, choices)`; float64 `(K,)`."""
        indices = np.asarray(indices)
        read = indices[:, self._addresses] * self._strides
        parts = self._flat[self._starts + read.sum(-1)]  # (K, parts)
        if self.sums:
            return self.stem + parts.sum(-1)
        return np.maximum(self.stem, parts.max(-1))

    def in_graph(self, indices: tf.Tensor) -> tf.Tensor:
        """The same as TensorFlow operations."""
        read = tf.gather(indices, self._addresses, axis=1) * self._strides
        places = self._starts + tf.reduce_sum(read, axis=-1)
        parts = tf.gather(tf.constant(self._flat), places)
        if self.sums:
            return self.stem + tf.reduce_sum(parts, axis=-1)
        return tf.maximum(
            tf.constant(self.stem, parts.dtype), tf.reduce_max(parts, axis=-1)
        )


def excess(
    tables: Sequence[CostTable], indices: tf.Tensor, *, two_sided: bool = False
) -> tf.Tensor:
    """What the cost term counts against index vectors; float32 `(K,)`.

    Args:
        tables: One per budget.
        indices: Int32 `(K, choices)`.
        two_sided: Return the distance `|cost / target - 1|` from the budget
            that is exceeded most, or least far away, instead of the hinge
            over all budgets, `sum max(0, cost / target - 1)` (FP-NAS).
    """
    over = _relative_costs(tables, indices) - 1.0
    if two_sided:
        return tf.abs(tf.reduce_max(over, axis=0))
    return tf.reduce_sum(tf.nn.relu(over), axis=0)


def costs_of(
    tables: Sequence[CostTable], indices: Sequence[int]
) -> tuple[float, ...]:
    """Returns what one index vector costs, by each table."""
    return tuple(float(table([indices])[0]) for table in tables)


def fits(tables: Sequence[CostTable], indices: np.ndarray) -> np.ndarray:
    """Which index vectors `(K, choices)` fit all budgets; bool `(K,)`."""
    return np.all([t(indices) <= t.budget.limit for t in tables], axis=0)


def share_within(tables: Sequence[CostTable], sizes: Sequence[int]) -> float:
    """Share of uniformly drawn index vectors within all budgets, about.

    Args:
        tables: One per budget.
        sizes: Candidates per choice.
    """
    rng = np.random.default_rng(0)
    return float(
        fits(tables, rng.integers(sizes, size=(_DRAWS, len(sizes)))).mean()
    )


def within(tables: Sequence[CostTable], indices: tf.Tensor) -> tf.Tensor:
    """Share of index vectors within all budgets, a float32 scalar."""
    allowed = tf.reduce_all(_relative_costs(tables, indices) <= 1.0, axis=0)
    return tf.reduce_mean(tf.cast(allowed, tf.float32))


def _relative_costs(tables, indices):
    """Costs in units of their targets; float32 `(budgets, K)`."""
    return tf.stack(
        [
            tf.cast(table.in_graph(indices) / table.budget.target, tf.float32)
            for table in tables
        ]
    )


def _block_table(counted, stage_index, block, before):
    stage = counted.space.stages[stage_index]
    types = stage.types_of_block(block + 1)
    first = block == 0
    widths_in = before if first else (None,)
    table = np.zeros(
        (len(widths_in), len(stage.filters), len(types),
         len(stage.expansions), len(stage.attentions))
    )  # fmt: skip
    for place in np.ndindex(table.shape):
        i, f, t, e, a = place
        filters = stage.filters[f]
        table[place] = counted.block_cost(
            stage_index,
            first,
            widths_in[i] if first else filters,
            filters,
            types[t],
            stage.expansions[e],
            stage.attentions[a],
        )
    return table


def _strides(shape):
    """Row-major strides in elements; 0 along axes of length 1."""
    strides = np.cumprod([1, *shape[:0:-1]])[::-1]
    return [0 if n == 1 else s for n, s in zip(shape, strides, strict=True)]
