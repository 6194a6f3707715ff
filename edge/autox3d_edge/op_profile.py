"""What the operators of a file take, by kind: each is cut out and timed.

Python's interpreter does not profile. An operator alone finds other caches
than in its file, and each call of it costs microseconds besides: the shares
are what to look at, and the sum stands beside the time of the whole.
"""

import collections
import dataclasses

from autox3d_edge import benchmark, cut, flatbuffer, interpreters

_AT_ONCE = 32  # pieces in turns; each holds its inputs and outputs


@dataclasses.dataclass(frozen=True, kw_only=True)
class Profile:
    """Milliseconds by kind of operator.

    Attributes:
        whole: Median milliseconds of the file.
        kinds: Kind -> (operators, sum of their medians), most time first.
    """

    whole: float
    kinds: dict[str, tuple[int, float]]


def profile(
    model: bytes,
    threads: int = 1,
    repeats: int = 20,
    runtime: str | None = None,
) -> Profile:
    """Times a file and each of its operators alone, on random values.

    Those of constants only, which run once, are not counted.

    Args:
        model: The flatbuffer, of a clip or of a frame.
        threads, runtime: As in `interpreters.load`.
        repeats: As in `benchmark.time_in_turns`.
    """
    operators = flatbuffer.read_graph(model).operators
    numbers, pieces = zip(*cut.Cutter(model).operators(), strict=True)

    def time_all(models):
        ready = {
            str(place): interpreters.prepare(one, threads, runtime)
            for place, one in enumerate(models)
        }
        return benchmark.time_in_turns(ready, repeats)

    (whole,), alone = time_all([model]), []
    for start in range(0, len(pieces), _AT_ONCE):
        alone += time_all(pieces[start : start + _AT_ONCE])
    times = collections.defaultdict(list)
    for number, timing in zip(numbers, alone, strict=True):
        times[operators[number].code].append(timing.median)
    kinds = {name: (len(found), sum(found)) for name, found in times.items()}
    order = sorted(kinds, key=lambda name: -kinds[name][1])
    return Profile(
        whole=whole.median, kinds={name: kinds[name] for name in order}
    )


def format_profile(found: Profile) -> str:
    """Returns a line per kind, for people."""
    count, total = map(sum, zip(*found.kinds.values(), strict=True))
    lines = [f"{'operators, each alone':28}{'number':>8}{'ms':>9}{'share':>8}"]
    for name, (number, ms) in found.kinds.items():
        lines.append(f"{name:28}{number:>8}{ms:>9.3f}{ms / total:>8.1%}")
    lines.append(f"{'all of them':28}{count:>8}{total:>9.3f}")
    lines.append(f"{'the file in one go':36}{found.whole:>9.3f}")
    return "\n".join(lines)
