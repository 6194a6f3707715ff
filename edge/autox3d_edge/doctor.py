"""The int8 doctor: what int8 costs, why, and what helps.

Every remedy is measured on clips that were not used for calibration, and the
cheapest that keeps the bound is chosen.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from autox3d_edge import (
    benchmark,
    interpreters,
    layer_noise,
    lowering,
    parity,
    quantize,
    remedies,
)
from autox3d_edge import weights as weights_lib
from autox3d_tf.space import arch as arch_lib

# What can be done, in the order of what it costs on the device. The first
# four run equally fast.
TREATMENTS = (
    "int8",
    "equalized",
    "bias corrected",
    "equalized, bias corrected",
    "int16x8",
    "dynamic",
    "fp16",
    "fp32",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Treatment:
    """One way to export, measured.

    Attributes:
        name: One of `TREATMENTS`.
        model: The flatbuffer.
        agreement: Share of clips with the label of the float network.
        accuracy: Share of clips with the right label; None without labels.
        mean_error: Of the probabilities, against float.
        size: Bytes.
        milliseconds: Per clip, 1 thread, all treatments in turns.
    """

    name: str
    model: bytes
    agreement: float
    accuracy: float | None
    mean_error: float
    size: int
    milliseconds: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What the doctor found.

    Attributes:
        noise: Per layer of the plain int8 network.
        treatments: All that was tried, in order of cost.
        chosen: The cheapest within the bound; None if none is.
        bound: Largest loss allowed.
    """

    noise: tuple[layer_noise.LayerNoise, ...]
    treatments: tuple[Treatment, ...]
    chosen: Treatment | None
    bound: float

    def format(self) -> str:
        """Returns both tables for people."""
        lines = [layer_noise.format_table(self.noise), ""]
        lines.append(
            f"{'':28} {'accuracy':>8} {'as fp32':>8} {'error':>8} "
            f"{'KB':>8} {'ms':>7}"
        )
        for row in self.treatments:
            accuracy = "" if row.accuracy is None else f"{row.accuracy:.3f}"
            mark = "*" if row is self.chosen else ""
            lines.append(
                f"{row.name + mark:28} {accuracy:>8} {row.agreement:8.3f} "
                f"{row.mean_error:8.4f} {row.size / 1e3:8.1f} "
                f"{row.milliseconds:7.2f}"
            )
        if self.chosen is None:
            lines.append(f"Nothing stays within a loss of {self.bound}.")
        else:
            lines.append(f"* the cheapest within a loss of {self.bound}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Returns JSON types, without the models."""
        rows = [dataclasses.asdict(row) for row in self.treatments]
        for row in rows:
            del row["model"]
        return {
            "bound": self.bound,
            "chosen": self.chosen.name if self.chosen else None,
            "treatments": rows,
            "culprits": [
                {"layer": n.layer, "snr": n.snr, "lost": n.lost}
                for n in layer_noise.culprits(self.noise)[:10]
            ],
        }


def diagnose(
    arch: arch_lib.ArchSpec,
    weights: weights_lib.Weights,
    calibration: Sequence[np.ndarray],
    clips: Sequence[np.ndarray],
    labels: Sequence[int] | None = None,
    *,
    bound: float = 0.003,
    treatments: Sequence[str] = TREATMENTS,
    repeats: int = 10,
) -> Diagnosis:
    """Measures int8, finds the culprits, tries the treatments.

    Args:
        arch, weights: The trained network.
        calibration: uint8 clips for ranges and corrections.
        clips: uint8 clips to judge on; none of `calibration`.
        labels: Class numbers of `clips`. Without them the loss is the share
            of clips whose label is not that of float.
        bound: Largest loss of accuracy allowed, as a share of clips.
        treatments: Which of `TREATMENTS` to try.
        repeats: Timed runs of each.
    """
    unknown = sorted(set(treatments) - set(TREATMENTS))
    if unknown:
        raise ValueError(
            f"`treatments` must be of {', '.join(TREATMENTS)}. "
            f"Received: {unknown}."
        )
    lowered = lowering.lower(arch, weights)
    models = _convert_all(arch, weights, lowered, calibration, treatments)
    scores = {
        name: np.stack([run(np.asarray(clip)) for clip in clips])
        for name, run in (
            (name, interpreters.ClipRunner(model))
            for name, model in models.items()
        )
    }
    score_float = parity.lowered_scorer(lowered)
    expected = np.stack([score_float(np.asarray(clip)) for clip in clips])
    times = benchmark.benchmark_files(models, (1,), repeats)
    rows = tuple(
        _judge(name, models[name], scores[name], expected, labels, time.median)
        for (name, time) in zip(models, times, strict=True)
    )
    target = 1.0 if labels is None else _share(expected, labels)
    chosen = next(
        (row for row in rows if target - _quality(row) <= bound + 1e-9),
        None,
    )
    plain = models.get("int8") or quantize.convert(lowered, "int8", calibration)
    return Diagnosis(
        noise=tuple(layer_noise.measure(lowered, plain, clips)),
        treatments=rows,
        chosen=chosen,
        bound=bound,
    )


def _convert_all(arch, weights, lowered, calibration, treatments):
    """Returns name -> flatbuffer, in the order of TREATMENTS."""
    models = {}
    for name in TREATMENTS:
        if name not in treatments:
            continue
        network = lowered
        precision = name if name in quantize.PRECISIONS else "int8"
        if "equalized" in name:
            equal = remedies.equalize(arch, weights, calibration)
            network = lowering.lower(arch, equal)
        if precision == "int16x8":
            centred = lowering.LoweringOptions(centre_input=True)
            network = lowering.lower(arch, weights, centred)
        model = quantize.convert(network, precision, calibration)
        if "bias corrected" in name:
            network = remedies.correct_biases(network, model, calibration)
            model = quantize.convert(network, precision, calibration)
        models[name] = model
    return models


def _judge(name, model, scores, expected, labels, milliseconds) -> Treatment:
    return Treatment(
        name=name,
        model=model,
        agreement=_share(scores, expected.argmax(1)),
        accuracy=None if labels is None else _share(scores, labels),
        mean_error=float(np.abs(scores - expected).mean()),
        size=len(model),
        milliseconds=milliseconds,
    )


def _share(scores, labels) -> float:
    return float((scores.argmax(1) == np.asarray(labels)).mean())


def _quality(row: Treatment) -> float:
    return row.agreement if row.accuracy is None else row.accuracy
