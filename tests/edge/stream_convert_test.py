import types

import numpy as np

from autox3d_edge import (
    flatbuffer,
    input_zero_point,
    quantize,
    ranges,
    stream_convert,
    stream_lowering,
)


class FakeRun:
    """Counts frames and resets."""

    def __init__(self):
        self.log = []

    def reset(self):
        self.log.append("reset")

    def push(self, frame):
        self.log.append(int(frame.ravel()[0]))

    def state(self, name):
        """What was done before."""
        return name, tuple(self.log)

    output = state


def test_calibration_sees_clips_from_a_reset_and_a_stream_left_running():
    run = FakeRun()
    clips = [np.full((2, 4, 4, 3), n, np.uint8) for n in range(1, 11)]
    samples = list(stream_convert._samples(run, [], clips))
    each = [entry for n in range(1, 11) for entry in ("reset", n, n)]
    # Two of ten once more, without a reset before them.
    assert run.log == [*each, 1, 1, 2, 2]
    assert len(samples) == 2 * 12


def test_a_sample_is_what_one_frame_meets():
    states = [
        types.SimpleNamespace(input=name)
        for name in ("stem_past", "head_sum", "frame_count")
    ]
    clip = np.array([5, 6], np.uint8).reshape(2, 1, 1, 1)
    first, second, *_ = stream_convert._samples(FakeRun(), states, [clip])
    assert list(second) == ["frame", "stem_past", "head_mean_so_far"]
    assert second["frame"].dtype == np.float32
    assert second["frame"].shape == (1, 1, 1, 1)
    assert (first["frame"].item(), second["frame"].item()) == (5, 6)
    # Frames before this one, and the mean with it.
    assert second["stem_past"] == ("stem_past", ("reset", 5))
    assert second["head_mean_so_far"] == (
        "head_mean_so_far", ("reset", 5, 6),
    )  # fmt: skip


def test_all_clips_show_ranges_and_some_of_them_what_lies_inside(
    streams, monkeypatch
):
    seen = []

    def count(model, samples):
        frames = [sample["frame"] for sample in samples()]
        seen.append((len(frames), np.min(frames), np.max(frames)))
        return types.SimpleNamespace(clipped={})

    def same(found, *_):
        return found

    monkeypatch.setattr(quantize, "INSIDE_LAYERS", 2)
    monkeypatch.setattr(quantize, "calibrate_on", count)
    monkeypatch.setattr(ranges, "Watch", count)
    monkeypatch.setattr(stream_convert, "_name_results", same)
    monkeypatch.setattr(ranges, "set_ranges", same)
    monkeypatch.setattr(quantize, "quantize_calibrated", same)
    monkeypatch.setattr(input_zero_point, "absorb", same)
    model = stream_lowering.lower_stream(streams.arch, streams.weights)
    grey = streams.clips // 2 + 10
    converter = stream_convert.Converter(model, grey, memory=6)
    assert converter._int8
    # Clips of 6 frames: two, and six of which one is shown again. The range
    # of the pixels does not depend on them.
    assert seen == [(2 * 6, 0.0, 255.0), (7 * 6, 0.0, 255.0)]


def test_names_of_a_float_stream_keep_the_layer(streams):
    tensors = flatbuffer.read_graph(streams.fp32[0]).tensors
    assert "head_conv_relu" in {tensor.name for tensor in tensors}
    assert not any(";" in tensor.name for tensor in tensors)
