"""A lowered stream -> .tflite bytes and the states that it carries."""

import functools
import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import tf_keras

from autox3d_edge import (
    compact,
    flatbuffer,
    input_zero_point,
    quantize,
    ranges,
    stream_means,
    streaming,
)
from autox3d_edge import manifest as manifest_lib
from autox3d_edge import stream_lowering as names
from autox3d_tf.base import checks

NATIVE = "int8_native"
_LEFT_RUNNING = 8  # one clip in so many shows a stream that is left running
INTEGER = ("int8", NATIVE)
PRECISIONS = ("fp32", "fp16", "dynamic", *INTEGER)


class Converter:
    """Converts one lowered stream to any precision; calibrates it once.

    Args:
        model: From `stream_lowering.lower_stream`.
        calibration: uint8 clips `(T, H, W, 3)`, whose frames an int8 network
            is shown one after the other.
        memory: Frames after which means begin to forget.
    """

    def __init__(
        self,
        model: tf_keras.Model,
        calibration: Sequence[np.ndarray] | None,
        memory: int,
    ):
        self._model, self._memory = model, memory
        self._calibration = calibration

    def convert(
        self, precision: str
    ) -> tuple[bytes, tuple[manifest_lib.StreamState, ...]]:
        """Returns the flatbuffer and its states.

        Args:
            precision: One of `PRECISIONS`. The frames that an "int8" stream
                carries over are uint8 at the border, since LiteRT.js takes no
                int8 there; "int8_native" leaves them int8, which spares a
                copy of each on every frame.

        Raises:
            ValueError: Unknown precision, or calibration clips that are
                missing, of another shape or dtype, or constant.
        """
        checks.check_choice("precision", precision, PRECISIONS)
        if precision in INTEGER:
            return self._close(self._int8, native=precision == NATIVE)
        content = quantize.convert_on(self._frozen, precision)
        return self._close(compact.compact(content))

    @functools.cached_property
    def _frozen(self):
        return quantize.freeze(self._model)

    @functools.cached_property
    def _int8(self) -> bytes:
        """The int8 flatbuffer, its means still open."""
        frame = self._model.input_shape[names.FRAME]
        given = self._calibration
        frames = len(given[0]) if given is not None and len(given) else 0
        clips = quantize.check_calibration(given, (frames, *frame[1:]))
        exact, states = self._close(
            quantize.convert_on(self._frozen, "fp32"), keep_means=True
        )
        stream = manifest_lib.Stream(states=states, memory=self._memory)
        run = streaming.StreamRunner(exact, stream)
        samples = functools.partial(_samples, run, states, clips)
        calibrated = _name_results(
            quantize.calibrate_on(
                self._frozen,
                # What is inside of layers; `Watch` sees all between them.
                lambda: itertools.islice(
                    samples(), frames * quantize.INSIDE_LAYERS
                ),
            ),
            self._model.output_names,
        )
        found = ranges.Watch(self._model, samples).clipped
        return input_zero_point.absorb(
            quantize.quantize_calibrated(ranges.set_ranges(calibrated, found))
        )

    def _close(self, content: bytes, **how):
        return stream_means.close_means(
            content, self._model.output_names, self._memory, **how
        )


def _name_results(calibrated: bytes, results: Sequence[str]) -> bytes:
    """Calls outputs by their layers, as the converter does all else.

    The quantizer gives the frames that a stream holds, from the input to the
    output, one range: where one of them had its own, its would be taken.
    """
    content = flatbuffer.unpack(calibrated)
    (signature,) = content.signatureDefs
    for end in signature.outputs:
        name = results[int(end.name.rsplit(b"_", 1)[1])]
        content.subgraphs[0].tensors[end.tensorIndex].name = name.encode()
    _put_last(content.subgraphs[0], [e.tensorIndex for e in signature.outputs])
    return compact.pack(content)


def _put_last(graph, results: Sequence[int]) -> None:
    """Puts what only makes results behind all other operators.

    Frames that are held and taken apart again, in that order, the quantizer
    leaves in float.
    """
    read = {i for operator in graph.operators for i in operator.inputs}
    unread = set(results) - read
    graph.operators.sort(key=lambda operator: operator.outputs[0] in unread)


def _samples(run, states, clips) -> Iterator[dict[str, np.ndarray]]:
    """All inputs of the open network, frame by frame, as float32.

    Every clip once from a reset, then some in one go: a stream that is left
    running holds means that no single clip has. Only some, since where one
    clip follows another there are values that nothing else has.
    """
    past = [s.input for s in states if s.input.endswith(names.PAST)]
    sums = [s.input for s in states if s.input.endswith(stream_means.SUM)]
    means = [s.removesuffix(stream_means.SUM) + names.SO_FAR for s in sums]
    left_running = clips[: math.ceil(len(clips) / _LEFT_RUNNING)]
    for number, clip in enumerate([*clips, *left_running]):
        if number < len(clips):  # those in one go follow the last of these
            run.reset()
        for frame in clip:
            sample = {name: run.state(name) for name in past}
            run.push(frame[None])
            sample |= {name: run.output(name) for name in means}
            yield {names.FRAME: frame[None].astype(np.float32), **sample}
