"""Multiply-adds, parameters and memory of networks. Standard library only."""

from autox3d_tf.cost.budget import (
    METRICS,
    Budget,
    SpaceCost,
    cheapest,
    check_feasible,
)
from autox3d_tf.cost.network import Cost, cost_of, format_cost
from autox3d_tf.cost.parts import Operation, Part, parts_of

__all__ = [
    "METRICS",
    "Budget",
    "Cost",
    "Operation",
    "Part",
    "SpaceCost",
    "cheapest",
    "check_feasible",
    "cost_of",
    "format_cost",
    "parts_of",
]
