"""Ways to make an int8 network: which remedies, which parts stay wider."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import tf_keras

from autox3d_edge import (
    audit,
    float_lowering,
    input_zero_point,
    interpreters,
    lowering,
    mixed,
    parity,
    quantize,
    ranges,
    remedies,
)
from autox3d_edge import weights as weights_lib
from autox3d_tf.space import arch as arch_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How an int8 file is made from a trained network.

    Attributes:
        equalize: Even out the ranges of channels; `remedies.equalize`.
        clip_ranges: Cut off rare large values; `ranges.Watch.clipped`.
        correct_biases: Take the mean error out; `remedies.correct_biases`.
        kept: Parts that are "int16x8" or "fp32"; `mixed.assemble`.
    """

    equalize: bool = False
    clip_ranges: bool = False
    correct_biases: bool = False
    kept: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def num_remedies(self) -> int:
        """How many there are."""
        return self.equalize + self.clip_ranges + self.correct_biases

    @property
    def name(self) -> str:
        """For tables.

        >>> Recipe(equalize=True, kept={"stem": "fp32"}).name
        'int8, equalized, fp32: stem'
        """
        words = ["int8"]
        words += ["equalized"] * self.equalize
        words += ["clipped"] * self.clip_ranges
        words += ["bias corrected"] * self.correct_biases
        for precision in mixed.KEPT:
            parts = [p for p, kind in self.kept.items() if kind == precision]
            if parts:
                words.append(f"{precision}: {' '.join(parts)}")
        return ", ".join(words)

    @property
    def precision(self) -> str:
        """What the file claims to be."""
        return "mixed" if self.kept else "int8"


# Ranges are clipped for few clips, and fit those best: this share of the
# squared error must be gone on them before others are trusted to gain, too.
_WORTH = 0.5


class NetworkConverter:
    """Converts one trained network by any recipe; nothing is done twice.

    Args:
        arch, weights: The network.
        calibration: uint8 clips for ranges and corrections; None if no integer
            precision is asked for.
    """

    def __init__(
        self,
        arch: arch_lib.ArchSpec,
        weights: weights_lib.Weights,
        calibration: Sequence[np.ndarray] | None = None,
    ):
        self._arch, self._weights = arch, weights
        self._given = calibration
        self._done = {}

    @property
    def calibration(self) -> list[np.ndarray]:
        """The calibration clips.

        Raises:
            ValueError: See `quantize.check_calibration`.
        """
        shape = (*self._arch.clip_size, 3)
        return self._once(
            "calibration",
            lambda: quantize.check_calibration(self._given, shape),
        )

    def lowered(self, equalize: bool = False) -> tf_keras.Model:
        """Returns the float network."""
        return self._once(("lowered", equalize), lambda: self._lower(equalize))

    def convert_whole(self, precision: str) -> bytes:
        """Returns the network in one of `quantize.PRECISIONS`."""
        return self._once(
            ("whole", precision), lambda: self._convert_whole(precision)
        )

    def convert(self, recipe: Recipe) -> bytes:
        """Returns the flatbuffer that a recipe makes."""
        return self._once(
            ("recipe", recipe.name),
            lambda: input_zero_point.absorb(self._raw(recipe)),
        )

    def choose_recipe(self, kept: Mapping[str, str] | None = None) -> Recipe:
        """Returns how an int8 file comes close to float without labels.

        With channels equalized and ranges clipped if its scores of the
        calibration clips then are much closer to those of the float network,
        without remedies if not.

        Args:
            kept: Parts that are wider, for the recipe.
        """
        choice = self._once("choice", self._choose_recipe)
        return dataclasses.replace(choice, kept=kept or {})

    def _choose_recipe(self):
        plain, treated = Recipe(), Recipe(equalize=True, clip_ranges=True)
        worth = self._error(treated) < _WORTH * self._error(plain)
        return treated if worth else plain

    def _error(self, recipe) -> float:
        """Mean squared error of the scores of the calibration clips."""
        content = self.convert(recipe)
        if not audit.audit_model(content, "int8").passed:
            return np.inf  # an interpreter might not survive it
        rounded = interpreters.ClipRunner(content)
        exact = self._once("exact", lambda: self._score(self.lowered()))
        errors = [
            np.square(rounded(clip) - scores)
            for clip, scores in zip(self.calibration, exact, strict=True)
        ]
        return float(np.mean(errors))

    def _score(self, network) -> list[np.ndarray]:
        score = parity.lowered_scorer(network)
        return [score(clip) for clip in self.calibration]

    def _once(self, key, make):
        if key not in self._done:
            self._done[key] = make()
        return self._done[key]

    def _lower(self, equalize):
        weights = self._weights
        if equalize:
            weights = remedies.equalize(self._arch, weights, self.calibration)
        return lowering.lower(self._arch, weights)

    def _convert_whole(self, precision):
        if precision == "int8":
            return self.convert(Recipe())
        if precision == "int16x8":
            return quantize.quantize_calibrated(self._calibrated(), precision)
        network = self._once(
            "float",
            lambda: float_lowering.lower_float(self._arch, self._weights),
        )
        return quantize.convert(network, precision)

    def _parts(self, precision):
        """The network in a precision, laid out as in int8."""
        if precision != "fp32":
            return self.convert_whole(precision)
        return self._once(
            "parts", lambda: quantize.convert(self.lowered(), precision)
        )

    def _raw(self, recipe):
        """What a recipe makes, the mean pixel still to be subtracted.

        So that its parts fit to those of other precisions.
        """
        return self._once(("raw", recipe.name), lambda: self._make_raw(recipe))

    def _make_raw(self, recipe):
        if recipe.kept:
            plain = dataclasses.replace(recipe, kept={})
            models = {p: self._parts(p) for p in set(recipe.kept.values())}
            models["int8"] = self._raw(plain)
            parts = mixed.part_names(self._arch)
            return mixed.assemble(models, recipe.kept, parts)
        network = self.lowered(recipe.equalize)
        if recipe.correct_biases:
            before = dataclasses.replace(recipe, correct_biases=False)
            network = remedies.correct_biases(
                network, self.convert(before), self.calibration
            )
            calibrated = quantize.calibrate(network, self.calibration)
        else:
            calibrated = self._calibrated(recipe.equalize)
        if recipe.clip_ranges:
            watch = self._watch(recipe.equalize)
            calibrated = ranges.set_ranges(calibrated, watch.clipped)
        return quantize.quantize_calibrated(calibrated)

    def _calibrated(self, equalize=False) -> bytes:
        return self._once(
            ("calibrated", equalize),
            lambda: quantize.calibrate(
                self.lowered(equalize), self.calibration, self._watch(equalize)
            ),
        )

    def _watch(self, equalize) -> ranges.Watch:
        return self._once(
            ("watch", equalize),
            lambda: ranges.Watch(
                self.lowered(equalize), quantize.samples_of(self.calibration)
            ),
        )
