"""Budgets: which cost is limited, to how much, and the hinge on it."""

import dataclasses
import math
from collections.abc import Callable, Sequence

from autox3d_tf.cost import parts as parts_lib
from autox3d_tf.space import arch as arch_lib
from autox3d_tf.space import search_space

# Cost of one part, and how the parts combine.
METRICS: dict[str, tuple[Callable[[parts_lib.Part], float], Callable]] = {
    "macs": (lambda part: part.macs, sum),
    "params": (lambda part: part.params, sum),
    "peak_activation_bytes": (lambda part: 4 * part.peak_values, max),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Budget:
    """A limit on one cost of the network.

    Attributes:
        metric: A key of `METRICS`.
        target: Largest cost allowed; multiply-adds, parameters or bytes.
        num_classes: The network's outputs, part of the cost.
        clip_size: `(frames, height, width)`; the architecture's if None.
    """

    metric: str = "macs"
    target: float
    num_classes: int
    clip_size: tuple[int, int, int] | None = None

    def __post_init__(self):
        arch_lib.check_choice("metric", self.metric, METRICS)
        if not self.target > 0 or not math.isfinite(self.target):
            raise ValueError(
                "`target` must be a positive number. "
                f"Received: target={self.target!r}."
            )
        arch_lib.check_positive_int("num_classes", self.num_classes)

    def cost(self, arch: arch_lib.ArchSpec) -> float:
        """Returns the limited cost of `arch`."""
        part_cost, combine = METRICS[self.metric]
        parts = parts_lib.parts_of(
            arch, self.clip_size or arch.clip_size, self.num_classes
        )
        return combine(part_cost(part) for part in parts)

    def allows(self, arch: arch_lib.ArchSpec) -> bool:
        """Whether `arch` is within the budget."""
        return self.cost(arch) <= self.target

    def hinge(self, cost: float) -> float:
        """Relative excess max(0, cost / target - 1) (FP-NAS, section 3)."""
        return max(0.0, cost / self.target - 1.0)


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
        self.clip_size = budget.clip_size or space.clip_size
        self._part_cost, self._combine = METRICS[budget.metric]
        stem = parts_lib.stem_part(space.stem, self.clip_size)
        self.stem_cost = self._part_cost(stem)
        self._sizes = [stem.out_size]  # (time, height, width) into each stage
        for stage in space.stages:
            self._sizes.append(
                parts_lib.primitives.out_size(self._sizes[-1], stage.strides)
            )
        self._cache: dict[tuple, float] = {}

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
        if key not in self._cache:
            stage_space = self.space.stages[stage]
            spec = arch_lib.BlockSpec(
                block_type=block_type,
                filters=filters,
                inner_filters=stage_space.inner_filters(filters, expansion),
                strides=stage_space.strides if first else (1, 1, 1),
                attention=attention,
            )
            block = arch_lib.PlacedBlock(
                name="", stage=stage + 1, index=1 if first else 2,
                in_filters=in_filters, spec=spec,
            )  # fmt: skip
            in_size = self._sizes[stage if first else stage + 1]
            self._cache[key] = self._part_cost(
                parts_lib.block_part(block, in_size)
            )
        return self._cache[key]

    def head_cost(self, in_filters: int) -> float:
        """Cost of the head behind `in_filters` channels."""
        return self._part_cost(
            parts_lib.head_part(
                self.space.head,
                self._sizes[-1],
                in_filters,
                self.budget.num_classes,
            )
        )

    def __call__(self, indices: Sequence[int]) -> float:
        """Returns the cost of an index vector."""
        chosen = iter(
            choice.candidates[index]
            for choice, index in zip(self.space.choices, indices, strict=True)
        )
        costs, in_filters = [self.stem_cost], self.space.stem.filters
        for stage_index, stage in enumerate(self.space.stages):
            filters = next(chosen)
            for index in range(stage.depth):
                block = (next(chosen), next(chosen), next(chosen))
                costs.append(
                    self.block_cost(
                        stage_index, index == 0, in_filters, filters, *block
                    )
                )
                in_filters = filters
        return self._combine([*costs, self.head_cost(in_filters)])


def cheapest(space: search_space.SearchSpace, budget: Budget) -> float:
    """Smallest cost in a space: all choices at their cheapest.

    Every cost known here grows with each width, so the narrowest filters with
    each block's cheapest candidates are the minimum.
    """
    space_cost = SpaceCost(space, budget)
    parts, in_filters = [space_cost.stem_cost], space.stem.filters
    for stage_index, stage in enumerate(space.stages):
        filters = min(stage.filters)
        for index in range(1, stage.depth + 1):
            parts.append(
                min(
                    space_cost.block_cost(
                        stage_index, index == 1, in_filters, filters, *block
                    )
                    for block in _block_candidates(stage, index)
                )
            )
            in_filters = filters
    return METRICS[budget.metric][1]([*parts, space_cost.head_cost(in_filters)])


def check_feasible(space: search_space.SearchSpace, budget: Budget) -> None:
    """Raises ValueError with the space's minimum if nothing is in budget."""
    least = cheapest(space, budget)
    if least > budget.target:
        raise ValueError(
            f"No architecture of space {space.name!r} is within the budget. "
            f"Expected: {budget.metric} <= {budget.target:,.0f}. The smallest "
            f"has {least:,.0f}; raise the target or choose a smaller space."
        )


def _block_candidates(stage, index):
    for block_type in stage.types_of_block(index):
        for expansion in stage.expansions:
            for attention in stage.attentions:
                yield block_type, expansion, attention
