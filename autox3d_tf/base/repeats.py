"""One measurement repeated with several seeds; standard library only."""

import math
import statistics
from collections.abc import Sequence

# 97.5 % quantiles of Student's t, of 1 to 9 degrees of freedom.
_STUDENT = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262,
)  # fmt: skip


def student_quantile(freedom: int) -> float:
    """Returns the 97.5 % quantile of Student's t.

    Beyond 9 degrees of freedom it is the normal's with the first terms of
    Cornish and Fisher's expansion, which are right to three digits there.

    >>> round(student_quantile(11), 3)
    2.201
    """
    if freedom <= len(_STUDENT):
        return _STUDENT[freedom - 1]
    z = statistics.NormalDist().inv_cdf(0.975)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


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
    margin = student_quantile(count - 1) * deviation / math.sqrt(count)
    return deviation, margin
