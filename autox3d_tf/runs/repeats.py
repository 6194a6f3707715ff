"""One measurement repeated with several seeds; standard library only."""

import math
import statistics
from collections.abc import Sequence

# 97.5 % quantile of Student's t by degrees of freedom, then the normal's.
_STUDENT = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26)


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Returns the standard deviation and half a 95 % interval of the mean.

    Both are NaN for a single value.

    >>> [round(x, 3) for x in spread([0.8, 0.9])]
    [0.071, 0.635]
    """
    count = len(values)
    if count < 2:
        return math.nan, math.nan
    deviation = statistics.stdev(values)
    quantile = _STUDENT[count - 2] if count < 11 else 1.96
    return deviation, quantile * deviation / math.sqrt(count)
