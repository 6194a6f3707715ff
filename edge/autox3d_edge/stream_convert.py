"""A lowered stream -> .tflite bytes and the states that it carries."""

import functools
from collections.abc import Iterator, Sequence

import numpy as np
import tf_keras

from autox3d_edge import compact, quantize, stream_means, streaming
from autox3d_edge import manifest as manifest_lib
from autox3d_edge import stream_lowering as names

PRECISIONS = ("fp32", "fp16", "dynamic", "int8")


def convert(
    model: tf_keras.Model,
    precision: str,
    calibration: Sequence[np.ndarray] | None,
    memory: int,
) -> tuple[bytes, tuple[manifest_lib.StreamState, ...]]:
    """Returns the flatbuffer and its states.

    Args:
        model: From `stream_lowering.lower_stream`.
        precision: One of `PRECISIONS`.
        calibration: uint8 clips `(T, H, W, 3)`, whose frames an int8 network
            is shown one after the other.
        memory: Frames after which means begin to forget.

    Raises:
        ValueError: Unknown precision, or calibration clips that are missing,
            of another shape or dtype, or constant.
    """
    if precision not in PRECISIONS:
        raise ValueError(
            f"`precision` of a stream must be one of {', '.join(PRECISIONS)}. "
            f"Received: precision={precision!r}."
        )
    samples = None
    if precision == "int8":
        frame = model.input_shape[names.FRAME]
        frames = 0 if calibration is None else len(calibration[0])
        clips = quantize.check_calibration(calibration, (frames, *frame[1:]))
        exact = quantize.convert_on(model, "fp32")
        samples = functools.partial(_samples, exact, clips, memory)
    content = compact.compact(quantize.convert_on(model, precision, samples))
    return stream_means.close_means(content, memory)


def _samples(exact, clips, memory) -> Iterator[dict[str, np.ndarray]]:
    """All inputs of the open network, frame by frame, as float32."""
    content, states = stream_means.close_means(exact, memory, keep_means=True)
    stream = manifest_lib.Stream(states=states, memory=memory)
    run = streaming.StreamRunner(content, stream)
    past = [s.input for s in states if s.input.endswith(names.PAST)]
    sums = [s.input for s in states if s.input.endswith(stream_means.SUM)]
    means = [s.removesuffix(stream_means.SUM) + names.SO_FAR for s in sums]
    for clip in clips:
        run.reset()
        for frame in clip:
            sample = {name: run.state(name) for name in past}
            run.push(frame[None])
            sample |= {name: run.output(name) for name in means}
            yield {names.FRAME: frame[None].astype(np.float32), **sample}
