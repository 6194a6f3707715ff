"""A search space: the skeleton of X3D with open choices, as data.

Per stage the number of filters is open, per block the type, the expansion
ratio and the attention. An architecture of the space is a vector of choice
indices, one per `Choice`, in the order of `SearchSpace.choices`.
"""

import dataclasses
import functools
import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from autox3d_tf.base import checks
from autox3d_tf.base import files as files_lib
from autox3d_tf.space import arch as arch_lib
from autox3d_tf.space import windows as windows_lib

SKIP = "skip"


@dataclasses.dataclass(frozen=True)
class Choice:
    """One open decision: its name and what can be chosen."""

    name: str
    candidates: tuple

    def __len__(self) -> int:
        return len(self.candidates)


class StagePlaces(NamedTuple):
    """Where in an index vector the choices of a stage are.

    Attributes:
        filters: Of the stage's filters, the first of its places.
        blocks: Per block of its type, expansion and attention, which follow
            each other.
    """

    filters: int
    blocks: tuple[tuple[int, int, int], ...]

    @property
    def stop(self) -> int:
        """The place after the stage's last."""
        return self.blocks[-1][-1] + 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageSpace:
    """What is open in one stage.

    Attributes:
        filters: Candidate output channels of all blocks of the stage.
        depth: Largest number of blocks.
        block_types: Candidates, keys of `arch.BLOCK_TYPES`.
        expansions: Candidate ratios of inner channels to filters.
        attentions: Candidates, of `arch.ATTENTIONS`.
        strides: Of the first block.
        optional: Whether blocks after the first may be left out (`skip`).
        channel_multiple: Inner channels are rounded to a multiple of it.
    """

    filters: tuple[int, ...]
    depth: int
    block_types: tuple[str, ...]
    expansions: tuple[float, ...]
    attentions: tuple[str, ...] = ("none", "se")
    strides: tuple[int, int, int] = (1, 2, 2)
    optional: bool = True
    channel_multiple: int = 8

    def __post_init__(self):
        checks.check_positive_int("depth", self.depth)
        checks.check_positive_int("channel_multiple", self.channel_multiple)
        checks.check_bool("optional", self.optional)
        arch_lib.check_block_strides(self.strides)
        if self.strides == (1, 1, 1):
            raise ValueError(
                "`strides` of a stage must keep all frames and halve the "
                f"image, such as (1, 2, 2). Received: strides={self.strides}."
            )
        for name in ("filters", "block_types", "expansions", "attentions"):
            checks.check_list(name, getattr(self, name))
            candidates = tuple(getattr(self, name))
            object.__setattr__(self, name, candidates)
            for candidate in candidates:  # none that cannot be compared
                if not isinstance(candidate, (int, float, str)):
                    raise ValueError(
                        f"`{name}` must be numbers or names. "
                        f"Received: {name}={candidates!r}."
                    )
            if not candidates or len(set(candidates)) != len(candidates):
                raise ValueError(
                    f"`{name}` must be distinct candidates, at least one. "
                    f"Received: {name}={candidates!r}."
                )
        for filters in self.filters:
            checks.check_positive_int("filters", filters)
        for block_type in self.block_types:
            checks.check_choice("block_types", block_type, arch_lib.BLOCK_TYPES)
        for attention in self.attentions:
            checks.check_choice("attentions", attention, arch_lib.ATTENTIONS)
        for expansion in self.expansions:
            number = type(expansion) in (int, float)
            if not number or not 0 < expansion <= 16:
                raise ValueError(
                    "`expansions` must be numbers in (0, 16]. Received: "
                    f"expansions={self.expansions}."
                )

    def places(self, first: int = 0) -> StagePlaces:
        """Where its choices are, from the place `first` on."""
        blocks = range(first + 1, first + 1 + 3 * self.depth, 3)
        return StagePlaces(first, tuple((b, b + 1, b + 2) for b in blocks))

    def types_of_block(self, index: int) -> tuple[str, ...]:
        """Candidates of the block at `index`, counted from 1."""
        can_skip = self.optional and index > 1
        return self.block_types + ((SKIP,) if can_skip else ())

    def inner_filters(self, filters: int, expansion: float) -> int:
        """Inner channels of a block of this stage."""
        return arch_lib.round_width(
            filters,
            expansion,
            divisor=self.channel_multiple,
            minimum=self.channel_multiple,
        )

    @functools.cached_property
    def filter_windows(self) -> tuple[windows_lib.Window, ...]:
        """`(start, width)` per filter candidate."""
        return windows_lib.place_windows(self.filters)

    @functools.cached_property
    def inner_windows(self) -> tuple[tuple[windows_lib.Window, ...], ...]:
        """`(start, width)` per filter candidate and expansion candidate."""
        widths = [
            self.inner_filters(filters, expansion)
            for filters in self.filters
            for expansion in self.expansions
        ]
        placed = windows_lib.place_windows(widths)
        columns = len(self.expansions)
        return tuple(
            placed[row * columns : (row + 1) * columns]
            for row in range(len(self.filters))
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """A skeleton and its open choices.

    Attributes:
        name, version: A changed space gets a new version.
        clip_size: `(frames, height, width)` searched for.
        frame_stride: Frames of the video per frame of the clip.
        stem, head: Fixed parts.
        stages: What is open, stage by stage.
        activation, causal: As in `ArchSpec`.
    """

    name: str
    version: int
    clip_size: tuple[int, int, int]
    frame_stride: int
    stem: arch_lib.StemSpec
    stages: tuple[StageSpace, ...]
    head: arch_lib.HeadSpec
    activation: str = "swish"
    causal: bool = False

    def __post_init__(self):
        checks.check_text("name", self.name)
        checks.check_bool("causal", self.causal)
        checks.check_triple("clip_size", self.clip_size)
        for name in ("version", "frame_stride"):
            checks.check_positive_int(name, getattr(self, name))
        checks.check_choice("activation", self.activation, arch_lib.ACTIVATIONS)
        checks.check_list("stages", self.stages)
        object.__setattr__(self, "stages", tuple(self.stages))
        if not self.stages:
            raise ValueError("`stages` must not be empty. Received: stages=().")
        for name, parts, kind in (
            ("stem", (self.stem,), arch_lib.StemSpec),
            ("head", (self.head,), arch_lib.HeadSpec),
            ("stages", self.stages, StageSpace),
        ):
            for part in parts:
                if not isinstance(part, kind):
                    raise ValueError(
                        f"`{name}` must be of {kind.__name__}. "
                        f"Received: {name}={part!r}."
                    )

    @functools.cached_property
    def choices(self) -> tuple[Choice, ...]:
        """All open choices, in the order of an index vector."""
        choices = []
        for stage_index, stage in enumerate(self.stages, 1):
            prefix = f"stage{stage_index}"
            choices.append(Choice(f"{prefix}/filters", stage.filters))
            for index in range(1, stage.depth + 1):
                block = f"{prefix}/block{index}"
                choices += [
                    Choice(f"{block}/block_type", stage.types_of_block(index)),
                    Choice(f"{block}/expansion", stage.expansions),
                    Choice(f"{block}/attention", stage.attentions),
                ]
        return tuple(choices)

    @functools.cached_property
    def places(self) -> tuple[StagePlaces, ...]:
        """Where in an index vector the choices of each stage are."""
        places, first = [], 0
        for stage in self.stages:
            places.append(stage.places(first))
            first = places[-1].stop
        return tuple(places)

    @functools.cached_property
    def positions(self) -> dict[str, int]:
        """Choice name -> position in an index vector."""
        return {choice.name: i for i, choice in enumerate(self.choices)}

    @functools.cached_property
    def largest(self) -> tuple[int, ...]:
        """Indices of the architecture that uses the most shared weights.

        Of block types, the one with the largest kernels.
        """

        def extent(candidate):
            if isinstance(candidate, (int, float)):
                return candidate
            if candidate in arch_lib.ATTENTIONS:
                return arch_lib.ATTENTIONS.index(candidate)
            kernels = arch_lib.BLOCK_TYPES.get(candidate, ())  # none of `skip`
            return sum(map(math.prod, kernels))

        return tuple(
            max(range(len(choice)), key=lambda i: extent(choice.candidates[i]))
            for choice in self.choices
        )

    @property
    def size(self) -> int:
        """Number of index vectors."""
        return math.prod(self.sizes)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Candidates of each choice."""
        return tuple(len(choice) for choice in self.choices)

    def check_indices(self, indices: Sequence[int]) -> tuple[int, ...]:
        """Returns `indices` as ints. Raises ValueError if out of range."""
        indices = tuple(int(i) for i in indices)
        if len(indices) != len(self.choices):
            raise ValueError(
                f"`indices` must have {len(self.choices)} entries, one per "
                f"choice of space {self.name!r}. Received: {len(indices)}."
            )
        for choice, index in zip(self.choices, indices, strict=True):
            if not 0 <= index < len(choice):
                raise ValueError(
                    f"`indices` at {choice.name} must be in [0, {len(choice)})."
                    f" Received: {index}."
                )
        return indices

    def canonical(self, indices: Sequence[int]) -> tuple[int, ...]:
        """Returns indices with 0 for what a skipped block does not have."""
        indices = list(indices)
        for stage in self.places:
            for place, expansion, attention in stage.blocks:
                if self.choices[place].candidates[indices[place]] == SKIP:
                    indices[expansion] = indices[attention] = 0
        return tuple(indices)

    def decode(
        self, indices: Sequence[int], name: str = ""
    ) -> "arch_lib.ArchSpec":
        """Returns the architecture of an index vector."""
        indices = self.check_indices(indices)
        chosen = [
            choice.candidates[index]
            for choice, index in zip(self.choices, indices, strict=True)
        ]
        stages = []
        for stage, places in zip(self.stages, self.places, strict=True):
            filters, blocks = chosen[places.filters], []
            for index, block in enumerate(places.blocks):
                block_type, expansion, attention = (chosen[p] for p in block)
                if block_type == SKIP:
                    continue
                blocks.append(
                    arch_lib.BlockSpec(
                        block_type=block_type,
                        filters=filters,
                        inner_filters=stage.inner_filters(filters, expansion),
                        strides=stage.strides if index == 0 else (1, 1, 1),
                        attention=attention,
                    )
                )
            stages.append(tuple(blocks))
        return arch_lib.ArchSpec(
            name=name or f"{self.name}-child",
            clip_size=self.clip_size,
            frame_stride=self.frame_stride,
            stem=self.stem,
            stages=tuple(stages),
            head=self.head,
            activation=self.activation,
            causal=self.causal,
            provenance={
                "space": self.name,
                "space_fingerprint": self.fingerprint,
                "indices": list(indices),
            },
        )

    def fairness(self) -> dict[str, windows_lib.Fairness]:
        """Update probabilities per stage, for filters and inner channels."""
        report = {}
        for index, stage in enumerate(self.stages, 1):
            report[f"stage{index}/filters"] = windows_lib.fairness(
                stage.filter_windows
            )
            report[f"stage{index}/inner"] = windows_lib.fairness(
                [window for row in stage.inner_windows for window in row]
            )
        return report

    def unfairness(self) -> list[str]:
        """Says where channels are not updated equally often, and why."""
        lines = []
        for name, fair in self.fairness().items():
            if fair.exact:
                continue
            line = (
                f"{name}: channels are updated with probability "
                f"{fair.minimum:.3f} to {fair.maximum:.3f}"
            )
            if name.endswith("/filters"):
                line += f", for {self._why_unfair(name)}"
            lines.append(line + ".")
        return lines

    def _why_unfair(self, name: str) -> str:
        widths = self.choices[self.positions[name]].candidates
        if len(widths) % 2 == 0:
            return f"there are {len(widths)} widths, an even number: {widths}"
        return f"the widths do not pair up to the widest: {widths}"

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the definition."""
        canonical = json.dumps(
            dataclasses.asdict(self), sort_keys=True, separators=(",", ":")
        )
        return hashlib.sha256(canonical.encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Returns the definition as JSON types, with schema version."""
        return {
            "schema_version": arch_lib.SCHEMA_VERSION,
            **dataclasses.asdict(self),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "SearchSpace":
        """Inverse of `to_dict`. Raises ValueError naming what is wrong."""
        data = arch_lib.fields_of(cls, data, "a search space")
        for name in ("clip_size", "stages"):
            checks.check_list(name, data[name])
        read = files_lib.read_fields
        return cls(
            **{
                **data,
                "clip_size": tuple(data["clip_size"]),
                "stem": read(arch_lib.StemSpec, data["stem"]),
                "stages": tuple(read(StageSpace, s) for s in data["stages"]),
                "head": read(arch_lib.HeadSpec, data["head"]),
            }
        )

    def save(self, path: str | os.PathLike) -> None:
        """Writes the definition as JSON, atomically."""
        files_lib.write_json(path, self.to_dict())


def load_space(path: str | os.PathLike) -> SearchSpace:
    """Reads a space.json. Raises ValueError naming what is wrong."""
    data = files_lib.read_json(path, "a search space")
    try:
        return SearchSpace.from_dict(data)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"Cannot read {path}: {error}") from error
