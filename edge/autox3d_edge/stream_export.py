"""Trained causal network -> audited .tflite that takes one frame at a time."""

import dataclasses
import functools
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from autox3d_edge import (
    export,
    lowering,
    parity,
    quantize,
    recipes,
    remedies,
    stream_convert,
    stream_lowering,
    streaming,
)
from autox3d_edge import manifest as manifest_lib
from autox3d_tf.space import arch as arch_lib

SUFFIX = "_stream"  # of a precision, in a table and a file's name
_RECIPE = recipes.Recipe(equalize=True, clip_ranges=True)  # of int8 streams


def export_stream(
    model,
    arch: arch_lib.ArchSpec,
    path: str | os.PathLike,
    *,
    precision: str = "int8",
    calibration: Sequence[np.ndarray] | None = None,
    **how,
) -> dict[str, Any]:
    """Writes `path` and `path`.report.json, if the audit passes.

    Args:
        model, arch, calibration: As of `Exporter`.
        path, precision: As of `Exporter.export`.
        **how: More of it.

    Returns:
        The report: precision, bytes, audit, parity with the clip network.

    Raises:
        TypeError, ValueError: As of both.
    """
    exporter = Exporter(model, arch, calibration)
    return exporter.export(path, precision, **how)


class Exporter:
    """Writes one network as streams of several precisions.

    Means over time begin to forget after as many frames as the clips have that
    the network was trained on: up to there a stream says what it says of one.

    Args:
        model: A trained Keras model, or its weights by name.
        arch: Its architecture, causal.
        calibration: uint8 clips `(T, H, W, 3)`, for int8.
        references: `export.references_of` of the network, if it has them.

    Raises:
        ValueError: Weights are bad.
    """

    def __init__(
        self,
        model,
        arch: arch_lib.ArchSpec,
        calibration: Sequence[np.ndarray] | None = None,
        references: Mapping[str, parity.Scorer] | None = None,
    ):
        self._model, self._arch, self._given = model, arch, references
        self._calibration, self._memory = calibration, arch.clip_size[0]
        by_name = isinstance(model, Mapping)
        self._weights = model if by_name else export.weights_of(model)

    def export(
        self,
        path: str | os.PathLike,
        precision: str = "int8",
        *,
        parity_clips: Sequence[np.ndarray] | None = None,
        stride: int = 1,
        fps: float = 0.0,
        about: export.About | None = None,
        **changes,
    ) -> dict[str, Any]:
        """Writes `path` and `path`.report.json, if the audit passes.

        Args:
            path: The .tflite to write.
            precision: One of `stream_convert.PRECISIONS`.
            parity_clips: uint8 clips to compare on; the calibration clips by
                default.
            stride, fps: As in `manifest.Stream`.
            about: What the file says of itself, and the runtime it is for.
            **changes: Fields of `export.About` to take in place of its own.

        Returns:
            The report: precision, bytes, audit, parity with the clip network.

        Raises:
            TypeError: `export.About` has no such field.
            ValueError: Bad arguments, a network that is not causal or clips
                standardized as a whole, or the audit failed; see
                `export.write_model`.
        """
        about = dataclasses.replace(about or export.About(), **changes)
        check_streams(self._arch, about.preprocessing)
        export.check_unconverted(self._weights, self._arch, about, parity_clips)
        integer = precision in stream_convert.INTEGER
        converter = self._int8 if integer else self._float
        content, states = converter.convert(precision)
        native = precision == stream_convert.NATIVE
        return export.write_model(
            content,
            path,
            arch=self._arch,
            precision="int8" if native else precision,
            references=self._references,
            recipe=_RECIPE if integer else None,
            parity_clips=self._calibration
            if parity_clips is None
            else parity_clips,
            stream=manifest_lib.Stream(
                states=states, memory=self._memory, stride=stride, fps=fps
            ),
            about=about,
        )

    @functools.cached_property
    def _references(self) -> Mapping[str, parity.Scorer]:
        if self._given is not None:
            return self._given
        lowered = lowering.lower(self._arch, self._weights)
        return export.references_of(self._model, lowered)

    @functools.cached_property
    def _float(self) -> stream_convert.Converter:
        return self._converter(self._weights)

    @functools.cached_property
    def _int8(self) -> stream_convert.Converter:
        size = (*self._arch.clip_size, 3)
        clips = quantize.check_calibration(self._calibration, size)
        return self._converter(
            remedies.equalize(self._arch, self._weights, clips)
        )

    def _converter(self, weights) -> stream_convert.Converter:
        return stream_convert.Converter(
            stream_lowering.lower_stream(self._arch, weights),
            self._calibration,
            self._memory,
        )


def check_streams(
    arch: arch_lib.ArchSpec,
    preprocessing: manifest_lib.Preprocessing | None = None,
) -> None:
    """Raises ValueError if a network cannot take one frame at a time."""
    stream_lowering.check_causal(arch)
    if preprocessing is not None and preprocessing.standardize is True:
        raise ValueError(
            "`standardize` must be 'frame' or False for a stream, which does "
            "not know the whole clip. Received: standardize=True. Train with "
            "DataOptions.standardize = 'frame'."
        )


def drifts(
    paths: Mapping[str, str | os.PathLike], clips: Sequence[np.ndarray]
) -> dict[str, dict[str, float]]:
    """How far streams leave the float one on one long video; see `drift`.

    Args:
        paths: Precision -> exported file; only streams are looked at.
        clips: uint8 clips `(T, H, W, 3)`, shown one after the other.

    Returns:
        Precision -> what `streaming.drift` found; empty without a float one.
    """
    exact = f"fp32{SUFFIX}"
    if exact not in paths or not clips:
        return {}
    enough = math.ceil(streaming.DRIFT_FRAMES / 2 / len(clips[0]))
    video = np.concatenate(
        [clip for clip, _ in zip(clips, range(enough), strict=False)]
    )
    found = {}
    for name, path in paths.items():
        if not name.endswith(SUFFIX) or name == exact:
            continue
        runs = []
        for file in (paths[exact], path):
            model, manifest = manifest_lib.read_model(file)
            runs.append(streaming.StreamRunner(model, manifest.stream))
        found[name] = streaming.drift(*runs, video)
    return found


def format_drifts(found: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Returns a line for each stream, for people."""
    return [
        f"{name} against fp32{SUFFIX}, mean largest error of a score (same "
        f"label): {drift['start_error']:.4f} ({drift['start_same']:.1%}) from "
        f"frame 50, {drift['end_error']:.4f} ({drift['end_same']:.1%}) of the "
        f"same frames up to frame {drift['frames']:,}"
        for name, drift in found.items()
    ]
