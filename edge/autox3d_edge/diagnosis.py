"""What the int8 doctor found, as data and as tables."""

import dataclasses
from typing import Any

from autox3d_edge import layer_noise, recipes

FINE_TUNED = "qat"  # int8 after quantization-aware training
_CHEAPEST = """\
Cheapest: int8 with the fewest remedies, without fine-tuning if possible; else
int8 with wider parts, if no slower than fp32; else the whole network wider. Of
the wider the smallest of what is about as fast as the fastest."""
# The layer that adds most need not be in the part that gains most: of noise
# only what reaches the scores is counted there.
_COLUMNS = """\
added: noise over signal (energies) that the layer itself adds, by which layers
are ranked. gain: error of the scores that goes if the part alone is in float,
by which parts are. loss: accuracy lost to fp32, and one standard error of it on
top. act.: most memory of activations at once, as planned."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Treatment:
    """One way to export, measured.

    Attributes:
        name: A recipe's, "qat", or a precision of the whole network.
        model: The flatbuffer.
        recipe: How it was made; None for a whole precision other than int8.
        accuracy: Share of the judged clips with the right label.
        agreement: Share of them with the label of the float network.
        loss: Accuracy lost to the float network and, on top, one standard
            error of that: the root of the number of clips that became right
            or wrong (McNemar), as a share of all.
        mean_error: Of the probabilities, against float.
        test_accuracy: Share of the test clips with the right label; None
            without test clips.
        size: Bytes of the flatbuffer.
        activation_bytes: Planned; see `flatbuffer.activation_bytes`.
        milliseconds: Per clip, 1 thread, all treatments in turns.
    """

    name: str
    model: bytes = dataclasses.field(repr=False)
    recipe: recipes.Recipe | None
    accuracy: float
    agreement: float
    loss: float
    mean_error: float
    test_accuracy: float | None
    size: int
    activation_bytes: int
    milliseconds: float

    @property
    def num_remedies(self) -> int:
        """How many made it."""
        return self.recipe.num_remedies if self.recipe else 0

    @property
    def precision(self) -> str:
        """What an exported file of it claims to be."""
        if self.recipe is None or self.name == FINE_TUNED:
            return self.name
        return self.recipe.precision


@dataclasses.dataclass(frozen=True, kw_only=True)
class PartNoise:
    """What is lost in one part of the network.

    Attributes:
        part: "stem", a block, or "head".
        keras: Decibels between its output in Keras and in the lowered float
            network; None if there was no Keras model.
        int8: The same between lowered float and int8.
        gain: Mean error of the probabilities that goes away if this part
            alone is in float.
    """

    part: str
    keras: float | None
    int8: float | None
    gain: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What the doctor found.

    Attributes:
        noise: Per layer of the plain int8 network.
        parts: Per part, in order.
        treatments: All that was tried.
        chosen: The cheapest within the bound; None if none is. In int8 that
            is what took the fewest remedies, fine-tuning last; only if none
            is within the bound, the smallest of the fast among those with
            wider parts that are no slower than float, or among all.
        bound: Largest `Treatment.loss` allowed.
        judged_clips: On how many it was measured.
        judged_part: Part of the data they are of; None if that is not known.
        judged_calibrated_on: How many are of videos that were calibrated on.
    """

    noise: tuple[layer_noise.LayerNoise, ...]
    parts: tuple[PartNoise, ...]
    treatments: tuple[Treatment, ...]
    chosen: Treatment | None
    bound: float
    judged_clips: int
    judged_part: str | None = None
    judged_calibrated_on: int = 0

    def format(self) -> str:
        """Returns the tables for people."""
        lines = [layer_noise.format_table(self.noise), ""]
        lines += [f"{'part':20} {'Keras dB':>9} {'int8 dB':>8} {'gain':>9}"]
        lines += [_part_line(p) for p in sorted(self.parts, key=_by_gain)]
        width = max(len(row.name) for row in self.treatments) + 1
        lines.append("")
        lines.append(
            f"{'':{width}} {'judged':>7} {'as fp32':>8} {'loss':>7} "
            f"{'error':>8} {'test':>6} {'KB':>8} {'ms':>8} {'act. KB':>8}"
        )
        for row in self.treatments:
            mark = "*" if row is self.chosen else ""
            test = row.test_accuracy
            lines.append(
                f"{row.name + mark:{width}} {row.accuracy:7.3f} "
                f"{row.agreement:8.3f} {row.loss:7.4f} {row.mean_error:8.4f} "
                f"{'-' if test is None else format(test, '.3f'):>6} "
                f"{row.size / 1e3:8.1f} {row.milliseconds:8.2f} "
                f"{row.activation_bytes / 1e3:8.1f}"
            )
        found = "* the cheapest" if self.chosen else "Nothing is"
        judged = f"{self.judged_clips} clips"
        lines.append(
            f"{found} within a loss of {self.bound} on {judged}"
            f"{self._of_part()}."
        )
        one = 2 / self.judged_clips  # and as much again for its error
        if self.bound < one:
            lines.append(
                f"None of {judged} may be lost: a single one is a loss of "
                f"{one:.2g}, its standard error included."
            )
        if self.chosen:
            lines.append(_CHEAPEST)
        lines.append(_COLUMNS)
        return "\n".join(lines)

    def _of_part(self) -> str:
        """Says what the judged clips are of, if that is known."""
        if self.judged_part is None:
            return ""
        used = self.judged_calibrated_on or "none"
        return (
            f" of part {self.judged_part!r}, each of another video, {used} of "
            "them calibrated on"
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns JSON types, without the models."""
        rows = [dataclasses.asdict(row) for row in self.treatments]
        for row in rows:
            del row["model"]
        return {
            "bound": self.bound,
            "judged_clips": self.judged_clips,
            "judged_part": self.judged_part,
            "judged_calibrated_on": self.judged_calibrated_on,
            "chosen": self.chosen.name if self.chosen else None,
            "treatments": rows,
            "parts": [dataclasses.asdict(part) for part in self.parts],
            "culprits": [
                {
                    "layer": n.layer,
                    "snr": n.snr,
                    "lost": n.lost,
                    "added": n.added,
                }
                for n in layer_noise.worst_layers(self.noise)[:10]
            ],
        }


def _by_gain(part: PartNoise) -> float:
    return -part.gain


def _part_line(part: PartNoise) -> str:
    keras, int8 = (
        "-" if value is None else format(value, ".1f")
        for value in (part.keras, part.int8)
    )
    return f"{part.part:20} {keras:>9} {int8:>8} {part.gain:9.5f}"
