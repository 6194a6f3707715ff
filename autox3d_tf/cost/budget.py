"""Budgets: which cost is limited, and to how much."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence

from autox3d_tf.base import checks
from autox3d_tf.cost import latency, primitives
from autox3d_tf.cost import parts as parts_lib
from autox3d_tf.space import arch as arch_lib
from autox3d_tf.space import search_space

# Cost of one part, at least 0, and how the parts combine, `sum` or `max`. One
# of your own is put here too: METRICS["millijoules"] = (of_part, sum).
# Milliseconds, the sum of the parts', need a table besides.
METRICS: dict[str, tuple[Callable[[parts_lib.Part], float], Callable]] = {
    "macs": (lambda part: part.macs, sum),
    "params": (lambda part: part.params, sum),
    "peak_activation_bytes": (lambda part: part.peak_bytes, max),
}
COUNTS = tuple(METRICS)  # whole numbers; others may be fractions
_ROUNDING = 1e-12  # sums of milliseconds depend on the order of the parts


@dataclasses.dataclass(frozen=True, kw_only=True)
class Budget:
    """A limit on one cost of the network.

    Attributes:
        metric: A key of `METRICS`, or `latency_ms`.
        target: Largest cost allowed; multiply-adds, parameters, bytes,
            milliseconds or what the metric counts.
        num_classes: The network's outputs, part of the cost.
        clip_size: `(frames, height, width)`; that of the architecture, or of
            the space, if None.
        table: What parts take on the device, for `latency_ms`.
    """

    metric: str = "macs"
    target: float
    num_classes: int
    clip_size: tuple[int, int, int] | None = None
    table: latency.LatencyTable | None = None

    def __post_init__(self):
        known = (*METRICS, latency.METRIC)
        checks.check_choice("metric", self.metric, known)
        if (self.metric == latency.METRIC) != (self.table is not None):
            raise ValueError(
                f"`table` must be given with metric={latency.METRIC!r}, and "
                f"only then. Received: metric={self.metric!r}, "
                f"table={self.table}. Read one with load_latency_table."
            )
        if self.table is None and METRICS[self.metric][1] not in (sum, max):
            raise ValueError(
                "`METRICS` must combine the parts of a network by sum or max. "
                f"Received: {METRICS[self.metric][1]!r} for {self.metric!r}."
            )
        if not self.target > 0 or not math.isfinite(self.target):
            raise ValueError(
                "`target` must be a positive number. "
                f"Received: target={self.target!r}."
            )
        checks.check_positive_int("num_classes", self.num_classes)
        if self.clip_size is not None:
            checks.check_triple("clip_size", self.clip_size)

    @property
    def limit(self) -> float:
        """What costs are compared with: the target, but for rounding."""
        return self.target * (1 + _ROUNDING)

    @property
    def sums(self) -> bool:
        """Whether parts add up, or else the largest counts."""
        return self.table is not None or METRICS[self.metric][1] is sum

    def part_cost(self, part: parts_lib.Part) -> float:
        """Returns the limited cost of one part."""
        if self.table is not None:
            return self.table.part_ms(part)
        cost = METRICS[self.metric][0](part)
        if not 0 <= cost < math.inf:
            raise ValueError(
                f"`METRICS` must give costs of at least 0. Received: {cost} "
                f"for {self.metric!r} of {part.name}."
            )
        return cost

    def combine(self, costs: Iterable[float]) -> float:
        """Returns the cost of a network from those of its parts."""
        return sum(costs) if self.sums else max(costs)

    def cost(self, arch: arch_lib.ArchSpec) -> float:
        """Returns the limited cost of `arch`.

        Raises:
            ValueError: The table is not for networks of this kind.
        """
        if self.table is not None:
            return self.table.network_ms(arch, self.num_classes, self.clip_size)
        parts = parts_lib.parts_of(
            arch, self.clip_size or arch.clip_size, self.num_classes
        )
        return self.combine(map(self.part_cost, parts))

    def allows(self, arch: arch_lib.ArchSpec) -> bool:
        """Whether `arch` is within the budget, but for rounding."""
        return self.cost(arch) <= self.limit

    def format(self, cost: float) -> str:
        """Returns a cost with as many digits as its unit needs."""
        return format_amount(self.metric, cost)

    def __str__(self) -> str:
        return f"{self.metric} <= {self.format(self.target)}"


def format_amount(metric: str, amount: float) -> str:
    """Returns a cost with as many digits as its unit needs.

    >>> format_amount("macs", 40e6), format_amount("latency_ms", 0.75)
    ('40,000,000', '0.750')
    """
    return f"{amount:,.{0 if metric in COUNTS else 3}f}"


class SpaceCost:
    """Costs of index vectors of one space, from a table of its parts.

    The blocks of a space are few, its architectures are many: each distinct
    part is counted once.

    Args:
        space: The search space.
        budget: Which cost to count.
    """

    def __init__(self, space: search_space.SearchSpace, budget: Budget):
        self.space = space
        self.budget = budget
        if budget.table is not None:
            budget.table.check_space(space)
        self.clip_size = budget.clip_size or space.clip_size
        stem = parts_lib.stem_part(space.stem, self.clip_size)
        self.stem_cost = self.budget.part_cost(stem)
        self._sizes = [stem.out_size]  # (time, height, width) into each stage
        for stage in space.stages:
            self._sizes.append(
                primitives.out_size(self._sizes[-1], stage.strides)
            )
        self._blocks: dict[tuple, float] = {}
        self._heads: dict[int, float] = {}  # by the channels they receive

    def block_cost(
        self,
        stage: int,
        first: bool,
        in_filters: int,
        filters: int,
        block_type: str,
        expansion: float,
        attention: str,
    ) -> float:
        """Cost of one block; `stage` counts from 0. A skipped one is 0."""
        if block_type == search_space.SKIP:
            return 0
        key = (
            stage, first, in_filters, filters, block_type, expansion, attention
        )  # fmt: skip
        if key not in self._blocks:
            stage_space = self.space.stages[stage]
            spec = arch_lib.BlockSpec(
                block_type=block_type,
                filters=filters,
                inner_filters=stage_space.inner_filters(filters, expansion),
                strides=stage_space.strides if first else (1, 1, 1),
                attention=attention,
            )
            index = 1 if first else 2  # the second stands for all later ones
            block = arch_lib.PlacedBlock(
                name=f"stage{stage + 1}_block{index}", stage=stage + 1,
                index=index, in_filters=in_filters, spec=spec,
            )  # fmt: skip
            in_size = self._sizes[stage if first else stage + 1]
            self._blocks[key] = self.budget.part_cost(
                parts_lib.block_part(block, in_size, self.space.causal)
            )
        return self._blocks[key]

    def head_cost(self, in_filters: int) -> float:
        """Cost of the head behind `in_filters` channels."""
        if in_filters not in self._heads:
            self._heads[in_filters] = self.budget.part_cost(
                parts_lib.head_part(
                    self.space.head,
                    self._sizes[-1],
                    in_filters,
                    self.budget.num_classes,
                )
            )
        return self._heads[in_filters]

    def __call__(self, indices: Sequence[int]) -> float:
        """Returns the cost of an index vector."""
        chosen = [
            choice.candidates[index]
            for choice, index in zip(self.space.choices, indices, strict=True)
        ]
        costs, in_filters = [self.stem_cost], self.space.stem.filters
        for number, places in enumerate(self.space.places):
            filters = chosen[places.filters]
            for index, block in enumerate(places.blocks):
                own = [chosen[place] for place in block]
                costs.append(
                    self.block_cost(
                        number, index == 0, in_filters, filters, *own
                    )
                )
                in_filters = filters
        return self.budget.combine([*costs, self.head_cost(in_filters)])


def cheapest(space: search_space.SearchSpace, budget: Budget) -> float:
    """Returns the smallest cost in a space, of the kind that `budget` limits.

    A block depends on the filters of its stage and, if it is the first, of the
    stage before: for each number of filters the least cost so far is kept.
    """
    space_cost = SpaceCost(space, budget)

    def least_block(number, index, in_filters, filters):
        return min(
            space_cost.block_cost(
                number, index == 1, in_filters, filters, *block
            )
            for block in _block_candidates(space.stages[number], index)
        )

    least = {space.stem.filters: space_cost.stem_cost}
    for number, stage in enumerate(space.stages):
        before, least = least, {}
        for filters in stage.filters:
            rest = [
                least_block(number, index, filters, filters)
                for index in range(2, stage.depth + 1)
            ]
            least[filters] = min(
                budget.combine(
                    [so_far, least_block(number, 1, in_filters, filters), *rest]
                )
                for in_filters, so_far in before.items()
            )
    return min(
        budget.combine([so_far, space_cost.head_cost(filters)])
        for filters, so_far in least.items()
    )


def check_feasible(space: search_space.SearchSpace, budget: Budget) -> None:
    """Raises ValueError with the space's minimum if nothing is in budget."""
    least = cheapest(space, budget)
    if least > budget.limit:
        raise ValueError(
            f"No architecture of space {space.name!r} is within the budget. "
            f"Expected: {budget}. The smallest has {budget.format(least)}; "
            "raise the target or choose a smaller space."
        )


def _block_candidates(stage, index):
    for block_type in stage.types_of_block(index):
        for expansion in stage.expansions:
            for attention in stage.attentions:
                yield block_type, expansion, attention
