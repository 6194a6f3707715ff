"""Fair channel windows: which channels a candidate width uses.

With nested prefixes the first channels are trained by every candidate and the
last by one only. Here each candidate width owns a window `[start, start +
width)` of the widest, placed so that every channel is in equally many
candidates (fair channel selection, Auto-X3D supplement, section 3). For N
candidates where the partial ones form complementary pairs (w_i + w_{N-i} = W)
this gives every channel the update probability (N + 1) / 2N under uniform
choice.
"""

import dataclasses
import itertools
from collections.abc import Sequence

Window = tuple[int, int]  # (start, width)


@dataclasses.dataclass(frozen=True)
class Fairness:
    """Smallest and largest update probability of a channel."""

    minimum: float
    maximum: float

    @property
    def exact(self) -> bool:
        """Whether all channels are updated equally often."""
        return self.minimum == self.maximum


def place_windows(widths: Sequence[int]) -> tuple[Window, ...]:
    """Places one window per width, channels used as evenly as possible.

    From the widest to the narrowest, each goes where the channels are least
    used by those before. Complementary pairs then end up side by side, and
    lists without partners as even as this greedy order gets.

    Args:
        widths: Candidate widths, in the order of the candidates.

    Returns:
        `(start, width)` per candidate, in the same order.

    Raises:
        ValueError: If there is no width, or one is not positive.

    >>> place_windows((12, 20, 28, 36, 48))
    ((36, 12), (0, 20), (20, 28), (0, 36), (0, 48))
    """
    if not widths or any(width < 1 for width in widths):
        raise ValueError(
            f"`widths` must be positive. Received: widths={tuple(widths)}."
        )
    total = max(widths)
    uses = [0] * total
    placed: dict[int, Window] = {}
    for index in sorted(range(len(widths)), key=lambda i: (-widths[i], i)):
        width = widths[index]
        below = [0, *itertools.accumulate(uses)]
        start = min(
            range(total - width + 1),
            key=lambda first: below[first + width] - below[first],
        )
        for channel in range(start, start + width):
            uses[channel] += 1
        placed[index] = (start, width)
    return tuple(placed[index] for index in range(len(widths)))


def fairness(windows: Sequence[Window]) -> Fairness:
    """Returns the spread of update probabilities under uniform choice.

    >>> fairness(place_windows((12, 20, 28, 36, 48)))
    Fairness(minimum=0.6, maximum=0.6)
    """
    total = max(start + width for start, width in windows)
    uses = [0] * total
    for start, width in windows:
        for channel in range(start, start + width):
            uses[channel] += 1
    return Fairness(min(uses) / len(windows), max(uses) / len(windows))
