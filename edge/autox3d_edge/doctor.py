"""The int8 doctor: what int8 costs, why, and what helps.

Every remedy is measured on clips that were not used for calibration, each of a
video of its own, and the cheapest that keeps the bound is chosen.
"""

import collections
import dataclasses
from collections.abc import Sequence

import numpy as np
from absl import logging

from autox3d_edge import (
    benchmark,
    diagnosis,
    flatbuffer,
    interpreters,
    layer_noise,
    lowering,
    mixed,
    recipes,
)
from autox3d_edge import weights as weights_lib
from autox3d_tf.base import checks, progress
from autox3d_tf.space import arch as arch_lib

_REMEDIES = ("equalize", "clip_ranges", "correct_biases")
_AS_FAST = 1.1  # timings of one network differ by so much
_AS_SMALL = 1.01  # and files of one precision by less
_ROUNDING = 1e-9  # of shares that are equal
_MEASURED_CLIPS = 64  # for the noise of layers and the gain of parts


@dataclasses.dataclass(frozen=True, kw_only=True)
class DoctorOptions:
    """What the doctor tries.

    Attributes:
        bound: Largest loss of accuracy allowed, as a share of the clips, with
            its standard error; see `diagnosis.Treatment.loss`. The fewer clips
            it is judged on, the more must keep their label.
        kept_parts: How many of the worst parts to widen, in turns.
        repeats: Timed runs of each candidate.
        int8_only_if_enough: Try nothing wider if int8 is within the bound.
    """

    bound: float = 0.003
    kept_parts: tuple[int, ...] = (1, 2, 4)
    repeats: int = 10
    int8_only_if_enough: bool = False

    def __post_init__(self):
        checks.check_field(self, "bound", lambda v: 0 <= v < 1, "in [0, 1)")
        checks.check_field(self, "repeats", lambda v: v >= 1, "at least 1")
        checks.check_field(
            self,
            "kept_parts",
            lambda counts: all(n >= 1 for n in counts),
            "numbers of at least 1",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judged:
    """Clips with labels that candidates are judged on.

    Attributes:
        clips: uint8 `(T, H, W, 3)`, each of a video of its own: the error of
            a loss takes them as independent.
        labels: Class numbers.
        part: Part of the data they are of, for the report.
        calibrated_on: How many are of videos that were calibrated on.
    """

    clips: Sequence[np.ndarray]
    labels: Sequence[int]
    part: str | None = None
    calibrated_on: int = 0

    def __post_init__(self):
        if len(self.clips) != len(self.labels) or not len(self.clips):
            raise ValueError(
                "`clips` and `labels` must be as many, and not none. Received: "
                f"{len(self.clips)} clips, {len(self.labels)} labels."
            )


def diagnose(
    arch: arch_lib.ArchSpec,
    weights: weights_lib.Weights,
    calibration: Sequence[np.ndarray],
    judged: Judged,
    options: DoctorOptions | None = None,
    *,
    test: Judged | None = None,
    fine_tuned: bytes | None = None,
    model=None,
) -> diagnosis.Diagnosis:
    """Measures int8, finds the worst layers, tries the remedies, chooses.

    Args:
        arch, weights: The trained network.
        calibration: uint8 clips for ranges and corrections.
        judged: Clips that the choice is made on; none of `calibration`.
        options: The bound and what is tried.
        test: Clips that only the table shows; nothing is chosen by them.
        fine_tuned: The int8 flatbuffer after quantization-aware training.
        model: The trained Keras model, to compare the lowered one with.
    """
    options = options or DoctorOptions()
    converter = recipes.NetworkConverter(arch, weights, calibration)
    candidates = Candidates(converter, judged, test)
    gains = _gains_of_parts(converter, judged, mixed.part_names(arch))
    base = _try_int8(converter, candidates, fine_tuned)
    if not (options.int8_only_if_enough and candidates.within(options.bound)):
        worst = sorted(gains, key=lambda part: -gains[part])
        _try_wider(converter, candidates, base, worst, options)
    rows = candidates.measure(options.repeats)
    plain = converter.convert(recipes.Recipe())
    clips = judged.clips[:_MEASURED_CLIPS]
    noise = layer_noise.measure(converter.lowered(), plain, clips)
    return diagnosis.Diagnosis(
        noise=tuple(noise),
        parts=_parts(arch, gains, noise, converter, judged, model),
        treatments=rows,
        chosen=cheapest(rows, options.bound),
        bound=options.bound,
        judged_clips=len(judged.clips),
        judged_part=judged.part,
        judged_calibrated_on=judged.calibrated_on,
    )


def _try_int8(converter, candidates, fine_tuned) -> recipes.Recipe:
    """Tries what runs as fast as plain int8; returns the best recipe."""
    for changes in ({}, *({remedy: True} for remedy in _REMEDIES)):
        recipe = recipes.Recipe(**changes)
        candidates.add(recipe.name, converter.convert(recipe), recipe)
    together = candidates.helpful_remedies()
    candidates.add(together.name, converter.convert(together), together)
    best = candidates.best()
    if fine_tuned is not None:
        candidates.add(diagnosis.FINE_TUNED, fine_tuned, recipes.Recipe())
    return best


def _try_wider(converter, candidates, base, worst, options) -> None:
    """Tries wider parts, the worst first, and the whole network wider."""
    for precision in mixed.KEPT:
        for count in options.kept_parts:
            kept = dict.fromkeys(worst[:count], precision)
            recipe = dataclasses.replace(base, kept=kept)
            candidates.add(recipe.name, converter.convert(recipe), recipe)
    for precision in ("int16x8", "dynamic", "fp16"):
        candidates.add(precision, converter.convert_whole(precision), None)


class Candidates:
    """Candidates, with their scores on the clips; first the float network.

    Args:
        converter: Of the network.
        judged: Clips that they are judged on.
        test: Clips that only the table shows; None for none.
    """

    def __init__(
        self,
        converter: recipes.NetworkConverter,
        judged: Judged,
        test: Judged | None = None,
    ):
        self._judged, self._test = judged, test
        fp32 = converter.convert_whole("fp32")
        self._expected = _scores(fp32, judged.clips)
        self._models: dict[str, bytes] = {"fp32": fp32}
        self._recipes: dict[str, recipes.Recipe | None] = {"fp32": None}
        self._scores: dict[str, np.ndarray] = {"fp32": self._expected}

    def add(
        self, name: str, model: bytes, recipe: recipes.Recipe | None
    ) -> None:
        """Scores a flatbuffer, unless one of that name is there."""
        if name not in self._models:
            self._models[name], self._recipes[name] = model, recipe
            self._scores[name] = _scores(model, self._judged.clips)
            logging.info(
                "%s: loss %.4f, %s bytes.",
                name,
                self.loss(name),
                f"{len(model):,}",
            )

    def within(self, bound: float) -> bool:
        """Whether an int8 candidate is within the bound."""
        return any(
            self.loss(name) <= bound + _ROUNDING
            for name, recipe in self._recipes.items()
            if recipe is not None
        )

    def helpful_remedies(self) -> recipes.Recipe:
        """All remedies that help alone."""
        plain = self._error(recipes.Recipe().name)
        helpful = {
            remedy: True
            for remedy in _REMEDIES
            if self._error(recipes.Recipe(**{remedy: True}).name) < plain
        }
        return recipes.Recipe(**helpful)

    def best(self) -> recipes.Recipe:
        """The recipe with the least error so far."""
        from_recipes = [n for n, recipe in self._recipes.items() if recipe]
        return self._recipes[min(from_recipes, key=self._error)]

    def measure(self, repeats: int) -> tuple[diagnosis.Treatment, ...]:
        """Returns what was measured of each, milliseconds last."""
        tested = self._test_accuracies()
        times = benchmark.benchmark_files(self._models, (1,), repeats)
        return tuple(
            diagnosis.Treatment(
                name=name,
                model=model,
                recipe=self._recipes[name],
                accuracy=_share(self._scores[name], self._judged.labels),
                agreement=self.agreement(name),
                loss=self.loss(name),
                mean_error=self._error(name),
                test_accuracy=tested.get(name),
                size=len(model),
                activation_bytes=flatbuffer.activation_bytes(model),
                milliseconds=time.median,
            )
            for (name, model), time in zip(
                self._models.items(), times, strict=True
            )
        )

    def agreement(self, name: str) -> float:
        """See `diagnosis.Treatment.agreement`."""
        return _share(self._scores[name], self._expected.argmax(1))

    def loss(self, name: str) -> float:
        """See `diagnosis.Treatment.loss`."""
        labels = np.asarray(self._judged.labels)
        before, after = (
            scores.argmax(1) == labels
            for scores in (self._expected, self._scores[name])
        )
        lost = before.mean() - after.mean()
        return float(lost + np.sqrt((before != after).sum()) / len(labels))

    def _error(self, name) -> float:
        return float(np.abs(self._scores[name] - self._expected).mean())

    def _test_accuracies(self) -> dict[str, float]:
        """Accuracy of each; every clip is read once."""
        if self._test is None:
            return {}
        right = collections.Counter()
        runs = {
            name: interpreters.ClipRunner(model)
            for name, model in self._models.items()
        }
        clips, labels = self._test.clips, self._test.labels
        for clip, label in progress.bar(
            zip(clips, labels, strict=True),
            title=f"test of {len(runs)} files",
            unit="clip",
            total=len(clips),
        ):
            for name, run in runs.items():
                right[name] += int(run(np.asarray(clip)).argmax() == label)
        return {name: right[name] / len(clips) for name in runs}


def _gains_of_parts(converter, judged, parts) -> dict[str, float]:
    """How much of the mean error goes when one part alone is in float."""
    clips = judged.clips[:_MEASURED_CLIPS]
    expected = _scores(converter.convert_whole("fp32"), clips)

    def error(kept):
        scores = _scores(converter.convert(recipes.Recipe(kept=kept)), clips)
        return float(np.abs(scores - expected).mean())

    plain = error({})
    each = progress.bar(parts, title="parts in float", unit="part")
    return {part: plain - error({part: "fp32"}) for part in each}


def _parts(arch, gains, noise, converter, judged, model):
    """One line per part: noise of lowering, noise of int8, gain in float."""
    last = {layer.layer: layer.snr for layer in noise}
    lowered = {}
    if model is not None:
        clips = judged.clips[:_MEASURED_CLIPS]
        lowered = layer_noise.measure_keras(model, converter.lowered(), clips)
    return tuple(
        diagnosis.PartNoise(
            part=part,
            keras=lowered.get(part),
            int8=last.get(lowering.last_layer(part)),
            gain=gains[part],
        )
        for part in mixed.part_names(arch)
    )


def cheapest(
    rows: Sequence[diagnosis.Treatment], bound: float
) -> diagnosis.Treatment | None:
    """int8 if it is within the bound, else mostly int8; see `chosen`.

    Of equal size it is what took the fewest remedies, then the one with the
    least error. Float itself is no remedy.
    """
    (float32,) = (row for row in rows if row.name == "fp32")
    within = [
        row
        for row in rows
        if row is not float32 and row.loss <= bound + _ROUNDING
    ]
    # All in int8 run equally fast.
    int8 = [row for row in within if row.recipe and not row.recipe.kept]
    simple = [row for row in int8 if row.name != diagnosis.FINE_TUNED]
    wider_parts = [
        row
        for row in within
        if row.recipe
        and row.recipe.kept
        and row.milliseconds <= _AS_FAST * float32.milliseconds
    ]
    fast = simple or int8 or _fast(wider_parts) or _fast(within)
    least = min((row.size for row in fast), default=0)
    small = [row for row in fast if row.size <= _AS_SMALL * least]
    return min(
        small, key=lambda row: (row.num_remedies, row.mean_error), default=None
    )


def _fast(rows) -> list[diagnosis.Treatment]:
    """Those about as fast as the fastest."""
    least = min((row.milliseconds for row in rows), default=0.0)
    return [row for row in rows if row.milliseconds <= _AS_FAST * least]


def _scores(model: bytes, clips) -> np.ndarray:
    run = interpreters.ClipRunner(model)
    return np.stack([run(np.asarray(clip)) for clip in clips])


def _share(scores, labels) -> float:
    return float((scores.argmax(1) == np.asarray(labels)).mean())
