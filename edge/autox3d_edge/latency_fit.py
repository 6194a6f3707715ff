"""From measured parts and networks to the coefficients of a latency table.

Coefficients are those of `cost.latency.terms`, found by non-negative least
squares on relative errors: a block of 0.1 ms counts as much as one of 10 ms.
How channels are rounded is chosen by cross-validation. A scale and a constant
then map the sum of the parts of whole networks to what they were measured to
take, because a part inside a network finds other caches than alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from autox3d_tf.cost import latency
from autox3d_tf.cost import parts as parts_lib

TILES = (1, 8, 16, 32)  # no vectors; 4, 8 or 16 floats, or int8 lanes
FOLDS = 5
_SWEEPS = 3_000


def fit_column(
    parts: Sequence[tuple[parts_lib.Part, float]],
    networks: Sequence[tuple[Sequence[parts_lib.Part], float]],
) -> dict[str, Any]:
    """Returns a column of the table: coefficients, tile and how good.

    Args:
        parts: Measured parts with their milliseconds.
        networks: The parts of measured whole networks, with milliseconds.
    """
    found = [_fit_parts(parts, tile) for tile in TILES]
    best = min(found, key=lambda column: column["part_error"])
    scale, constant = _calibrate(best, networks)
    coefficients = {t: scale * c for t, c in best["coefficients"].items()}
    for term in coefficients:
        if term.startswith("stem "):
            coefficients[term] += constant
    return {
        **best,
        "coefficients": coefficients,
        "scale": scale,
        "constant": constant,
    }


def nonnegative_least_squares(
    matrix: np.ndarray, target: np.ndarray, tolerance: float = 1e-9
) -> np.ndarray:
    """Returns x >= 0 that minimises |matrix x - target|, by coordinates.

    >>> nonnegative_least_squares(np.eye(2), np.array([3.0, -1.0]))
    array([3., 0.])
    """
    scales = np.sqrt((matrix**2).sum(0))
    matrix = matrix / scales
    gram, wanted = matrix.T @ matrix, matrix.T @ target
    solution = np.zeros(len(wanted))
    for _ in range(_SWEEPS):
        largest = 0.0
        for i in range(len(solution)):
            value = max(0.0, solution[i] + wanted[i] - gram[i] @ solution)
            largest = max(largest, abs(value - solution[i]))
            solution[i] = value
        if largest < tolerance * max(1.0, solution.max()):
            break
    return solution / scales


def _fit_parts(parts, tile):
    """Coefficients and cross-validated median error of one rounding."""
    rows = [latency.terms(part, tile) for part, _ in parts]
    names = sorted({name for row in rows for name in row})
    measured = np.array([ms for _, ms in parts])
    matrix = np.array([[row.get(n, 0.0) for n in names] for row in rows])
    relative = matrix / measured[:, None]
    ones = np.ones(len(measured))
    errors = []
    order = np.random.default_rng(0).permutation(len(measured))
    for fold in range(FOLDS):
        held = order[fold::FOLDS]
        kept = np.setdiff1d(order, held)
        used = relative[kept].any(0)
        solution = np.zeros(len(names))
        solution[used] = nonnegative_least_squares(
            relative[kept][:, used], ones[kept]
        )
        known = ~relative[held][:, ~used].any(1)  # no term never seen
        errors.append(np.abs(relative[held] @ solution - 1.0)[known])
    solution = nonnegative_least_squares(relative, ones)
    errors = np.concatenate(errors)
    if not len(errors):  # too few parts to leave any out
        errors = np.ones(1)
    return {
        "tile": tile,
        "coefficients": dict(zip(names, solution.tolist(), strict=True)),
        "part_error": float(np.median(errors)),
        "parts": len(parts),
    }


def _calibrate(column, networks) -> tuple[float, float]:
    """Scale and constant between the sum of the parts and the whole."""
    if not networks:
        return 1.0, 0.0
    measured = np.array([ms for _, ms in networks])
    predicted = np.array(
        [sum(predict(column, part) for part in parts) for parts, _ in networks]
    )
    columns = np.stack([predicted, np.ones_like(predicted)], 1)
    scale, constant = nonnegative_least_squares(
        columns / measured[:, None], np.ones_like(measured)
    )
    return float(scale), float(constant)


def predict(column: Mapping[str, Any], part: parts_lib.Part) -> float:
    """Milliseconds of a part by a column that is not yet in a table."""
    return sum(
        column["coefficients"][term] * amount
        for term, amount in latency.terms(part, column["tile"]).items()
    )
