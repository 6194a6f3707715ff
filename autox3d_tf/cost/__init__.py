"""Multiply-adds, parameters, memory and time of networks, in plain Python."""

from autox3d_tf.cost.budget import (
    COUNTS,
    METRICS,
    Budget,
    SpaceCost,
    cheapest,
    check_feasible,
    format_amount,
)
from autox3d_tf.cost.latency import METRIC as LATENCY
from autox3d_tf.cost.latency import (
    LatencyTable,
    load_latency_table,
    load_latency_tables,
)
from autox3d_tf.cost.network import Cost, cost_of, format_cost
from autox3d_tf.cost.parts import Operation, Part, parts_of

__all__ = [
    "COUNTS",
    "LATENCY",
    "METRICS",
    "Budget",
    "Cost",
    "LatencyTable",
    "Operation",
    "Part",
    "SpaceCost",
    "cheapest",
    "check_feasible",
    "cost_of",
    "format_amount",
    "format_cost",
    "load_latency_table",
    "load_latency_tables",
    "parts_of",
]
