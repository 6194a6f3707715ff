"""What a network costs, or what a search space holds, for people."""

import pathlib
import random
import statistics

from autox3d_tf import space
from autox3d_tf.base import files as files_lib
from autox3d_tf.base import text as text_lib
from autox3d_tf.cost import budget as budget_lib
from autox3d_tf.cost import latency as latency_lib
from autox3d_tf.cost import network

_SPACE = "space:"
_CLASSES = 400  # of Kinetics
_SAMPLES = 501
_NEAR, _SAMPLES_NEAR = 0.05, 20_000  # how near multiply-adds are equal


def describe(
    name: str,
    clip_size: tuple[int, int, int] | None = None,
    num_classes: int | None = None,
    table: latency_lib.LatencyTable | None = None,
) -> str:
    """Returns the text for a network, a space, or a file of either.

    Args:
        name: Of one, or an arch.json, a directory with one or a space.json.
        clip_size: `(frames, height, width)`; None for what it is meant for.
        num_classes: None for those of its search, or 400.
        table: Predicts milliseconds; None for none.
    """
    found = _find(name)
    if num_classes is None:
        made = getattr(found, "provenance", {})
        num_classes = made.get("num_classes", _CLASSES)
    if isinstance(found, space.ArchSpec):
        costs = network.cost_of(found, clip_size, num_classes)
        text = network.format_cost(found, costs)
        if table is not None:
            total = table.network_ms(found, num_classes, clip_size)
            text += f"\npredicted: {total:.3f} {table}"
        return text
    text = describe_space(found, clip_size, num_classes)
    if table is not None:
        text += "\n" + describe_latency(found, clip_size, num_classes, table)
    return text


def describe_latency(
    found: space.SearchSpace,
    clip_size: tuple[int, int, int] | None,
    num_classes: int,
    table: latency_lib.LatencyTable,
) -> str:
    """Returns how milliseconds spread among networks of equal MACs."""
    size = {"num_classes": num_classes, "clip_size": clip_size}
    macs = budget_lib.SpaceCost(found, budget_lib.Budget(target=1, **size))
    budget = budget_lib.Budget(
        metric=latency_lib.METRIC, target=1, table=table, **size
    )
    latency = budget_lib.SpaceCost(found, budget)
    drawn = [
        (macs(indices), latency(indices))
        for indices in _random_indices(found, _SAMPLES_NEAR)
    ]
    least = budget_lib.cheapest(found, budget)
    lines = [
        f"latency: at least {least:.3f} {table}",
        f"networks within {_NEAR:.0%} of the same multiply-adds, of "
        f"{len(drawn):,} chosen uniformly:",
        f"  {'MACs':>8}{'networks':>10}{'ms least':>10}{'median':>9}"
        f"{'most':>9}{'most/least':>12}",
    ]
    for centre in statistics.quantiles([m for m, _ in drawn], n=4):
        near = [t for m, t in drawn if abs(m / centre - 1) <= _NEAR]
        lines.append(
            f"  {centre / 1e6:6.1f} M{len(near):>10,}{min(near):>10.3f}"
            f"{statistics.median(near):>9.3f}{max(near):>9.3f}"
            f"{max(near) / min(near):>12.2f}"
        )
    return "\n".join(lines)


def describe_space(
    found: space.SearchSpace,
    clip_size: tuple[int, int, int] | None,
    num_classes: int,
) -> str:
    """Returns choices, size, fairness and costs of a search space."""
    lines = [
        f"{found.name}: clip {text_lib.times(clip_size or found.clip_size)}, "
        f"{num_classes} classes, {len(found.choices)} choices, "
        f"{found.size:.3g} architectures, fingerprint "
        f"{found.fingerprint[:12]}"
    ]
    for choice in found.choices:
        candidates = ", ".join(map(str, choice.candidates))
        lines.append(f"  {choice.name:<30} {candidates}")
    lines.append("probability that an architecture updates a channel:")
    for name, fair in found.fairness().items():
        lines.append(f"  {name:<30} {_fairness(fair)}")
    for metric, unit in (("macs", "MACs"), ("params", "parameters")):
        budget = budget_lib.Budget(
            metric=metric,
            target=1.0,
            num_classes=num_classes,
            clip_size=clip_size,
        )
        cost_of = budget_lib.SpaceCost(found, budget)
        costs = [cost_of(indices) for indices in _random_indices(found)]
        least = budget_lib.cheapest(found, budget)
        few, *_ = statistics.quantiles(costs, n=20)
        lines.append(
            f"{unit}: at least {least:,.0f}; of {len(costs)} architectures "
            f"chosen uniformly a twentieth below {few:,.0f}, half below "
            f"{statistics.median(costs):,.0f}"
        )
    return "\n".join(lines)


def known() -> str:
    """Returns the names that `describe` knows."""
    return (
        f"networks: {', '.join(space.ARCHIVE)}\n"
        f"search spaces: {', '.join(space.SPACES)}"
    )


def _find(name):
    if name.startswith(_SPACE):
        return space.get_space(name.removeprefix(_SPACE))
    if name.endswith(".json"):
        data = files_lib.read_json(name, "a network or a search space")
        if isinstance(data, dict) and "version" in data:
            return space.load_space(name)
    elif name in space.SPACES and name not in space.ARCHIVE:
        return space.get_space(name)
    elif name not in space.ARCHIVE and not pathlib.Path(name).is_dir():
        raise ValueError(
            f"There is no network or search space {name!r}. Known "
            + known().replace("\n", "; ")
            + "; or a JSON file of one, or the folder of a run."
        )
    return space.get_arch(name)


def _random_indices(found, count=_SAMPLES) -> list[list[int]]:
    rng = random.Random(0)  # the same ones each time
    return [
        [rng.randrange(len(choice)) for choice in found.choices]
        for _ in range(count)
    ]


def _fairness(fair) -> str:
    if fair.exact:
        return f"{fair.minimum:.3f}, all alike"
    return f"{fair.minimum:.3f} to {fair.maximum:.3f}"
