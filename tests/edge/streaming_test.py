"""A causal network frame by frame: as the whole clip, and without an end."""

import dataclasses
import types

import numpy as np
import pytest

from autox3d_edge import (
    Recognizer,
    audit,
    flatbuffer,
    ranges,
    stream_convert,
    stream_lowering,
    stream_means,
    streaming,
)
from autox3d_edge import manifest as manifest_lib
from autox3d_tf.data import decoding, synthetic
from tests.edge import networks, ports, reference

FRAMES = networks.STREAM_FRAMES
_FINE = 64  # parts of a step that sums count in


def test_every_frame_gets_the_scores_of_the_clip_up_to_it(streams):
    run = streaming.StreamRunner(*streams.fp32)
    for clip in streams.clips[:2]:
        run.reset()
        for last, frame in enumerate(clip):
            expected = reference.probabilities(
                streams.arch, streams.weights, clip[: last + 1]
            )
            np.testing.assert_allclose(
                run.push(frame[None]), expected, atol=1e-5
            )
        np.testing.assert_allclose(run(clip), expected, atol=1e-5)


def test_int8_says_the_same(streams):
    exact, run = (
        streaming.StreamRunner(*files) for files in (streams.fp32, streams.int8)
    )
    for clip in streams.clips:
        expected = exact(clip)
        np.testing.assert_allclose(run(clip), expected, atol=0.1)
        assert run(clip).argmax() == expected.argmax()


def test_native_states_are_those_of_int8(streams):
    content, stream = streams.int8_native
    assert audit.audit_model(content, "int8", stream=stream).passed
    assert {s.dtype for s in stream.states} == {"int8", "int32"}
    run, native = (
        streaming.StreamRunner(*files)
        for files in (streams.int8, streams.int8_native)
    )
    for frame in streams.clips[0]:
        np.testing.assert_array_equal(
            native.push(frame[None]), run.push(frame[None])
        )
    for state in stream.states:
        found, expected = native.state(state.input), run.state(state.input)
        if state.dtype == "int8":  # the same values, 128 lower
            expected = expected.astype(int) - 128
        np.testing.assert_array_equal(found, expected)


def test_int8_is_integer_to_the_last_tensor(streams):
    content, stream = streams.int8
    report = audit.audit_model(content, "int8", stream=stream)
    assert report.passed, report.findings
    assert report.loaded_in
    types_found = {t.dtype for t in flatbuffer.read_graph(content).tensors}
    assert types_found == {"INT8", "INT32", "UINT8"}
    assert {s.dtype for s in stream.states} == {"uint8", "int32"}
    # Kernels over time: stem, separable, 3x3x3, 5x3x3. Means: two
    # squeeze-excites and the head. And the number of frames.
    assert len(stream.states) == 4 + 3 + 1
    assert max(len(state.shape) for state in stream.states) == 4


@pytest.mark.parametrize(
    ("silence", "first"),
    [
        (networks.silent_squeeze, "separable"),
        (networks.silent_expansion, "separable"),
        (networks.silent_expansion, "3x3x3"),  # which holds frames of it
    ],
)
def test_what_is_silent_on_the_calibration_clips_can_be_run(silence, first):
    arch = networks.stream_arch()
    (block, *others), *stages = arch.stages
    block = dataclasses.replace(block, block_type=first)
    arch = dataclasses.replace(arch, stages=((block, *others), *stages))
    weights = {k: v.copy() for k, v in networks.random_weights(arch).items()}
    silence(weights)
    clips = reference.random_clips(6, arch.clip_size)
    model = stream_lowering.lower_stream(arch, weights)
    converter = stream_convert.Converter(model, clips, FRAMES)
    content, states = converter.convert("int8")
    stream = manifest_lib.Stream(states=states, memory=FRAMES)
    # An interpreter sees it only if the audit finds nothing.
    audit.audit_model(content, "int8", stream=stream).check()
    scores = streaming.StreamRunner(content, stream)(clips[0])
    expected = reference.probabilities(arch, weights, clips[0])
    np.testing.assert_allclose(scores, expected, atol=0.1)


def test_frames_that_are_held_have_clipped_ranges(streams, monkeypatch):
    watch, asked = ranges.Watch, {}

    class Half(watch):
        @property
        def clipped(self):
            assert not asked  # both kinds of int8 take what was found once
            for name, (low, high) in super().clipped.items():
                asked[name] = low / 2, high / 2
            return asked

    monkeypatch.setattr(ranges, "Watch", Half)
    model = stream_lowering.lower_stream(streams.arch, streams.weights)
    converter = stream_convert.Converter(model, streams.clips[:2], FRAMES)
    converter.convert("int8")
    content, states = converter.convert("int8_native")
    tensors = {t.name: t for t in flatbuffer.read_graph(content).tensors}
    held = [state for state in states if state.dtype == "int8"]
    assert len(held) == 4
    for state in held:
        low, high = asked[state.output]
        (scale,) = tensors[state.output].scale
        assert scale == pytest.approx((high - low) / 255, rel=0.1)
        assert tensors[state.input].scale == (scale,)


def test_streams_begin_with_what_clips_are_padded_with(streams):
    content, stream = streams.int8
    tensors = {t.name: t for t in flatbuffer.read_graph(content).tensors}
    for state in stream.states:
        # Zero of a kernel's own input, or an empty sum.
        kernel = state.dtype == "uint8"
        wanted = tensors[state.input].zero_point if kernel else (0,)
        assert (state.initial,) == wanted


def test_nothing_drifts_in_two_thousand_frames(streams):
    """As far from the float stream at the end as near the start."""
    exact, run = (
        streaming.StreamRunner(*files) for files in (streams.fp32, streams.int8)
    )
    found = streaming.drift(exact, run, np.concatenate(streams.clips))
    assert found["frames"] == 2000
    assert found["end_error"] < 1.1 * found["start_error"] + 0.002
    assert found["end_error"] < 0.05
    assert found["end_same"] >= found["start_same"] - 0.05


def test_drift_by_hand(monkeypatch):
    """Frames 50 to 54 against the last five, of a video of seven."""
    monkeypatch.setattr(streaming, "DRIFT_FRAMES", 60)
    off = [0.9] * 50 + [0.1, 0.5, 0.1, 0.1, 0.1] + [0.6, 0.6, 0.2, 0.6, 0.6]
    shown = []

    def push(frame):
        shown.append(frame.item())
        error = off[len(shown) - 1]
        return np.array([0.7 - error, 0.3 + error / 2])

    exact = types.SimpleNamespace(push=lambda frame: np.array([0.7, 0.3]))
    video = np.arange(7, dtype=np.uint8).reshape(7, 1, 1, 1)
    run = types.SimpleNamespace(push=push)
    found = streaming.drift(exact, run, video)
    # So much of the video that the two do not overlap, again and again.
    assert shown == 12 * [0, 1, 2, 3, 4]
    # The label is another where the error is 0.5 or 0.6.
    assert found == {
        "frames": 60,
        "start_error": pytest.approx((4 * 0.1 + 0.5) / 5),
        "start_same": 4 / 5,
        "end_error": pytest.approx((4 * 0.6 + 0.2) / 5),
        "end_same": 1 / 5,
    }


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_stream_forgets(streams, precision):
    """What was seen 60 memories ago counts e^-60 of what is seen now."""
    run = streaming.StreamRunner(*getattr(streams, precision))
    before, after = streams.clips[0][0][None], streams.clips[1][0][None]
    for _ in range(60 * FRAMES):
        alone = run.push(after)
    for _ in range(60):
        run.push(before)
    for _ in range(60 * FRAMES):
        found = run.push(after)
    # A step of each sum may differ: half a step of 8 bits, in the mean.
    atol = 1e-5 if precision == "fp32" else 0.02
    np.testing.assert_allclose(found, alone, atol=atol)


def test_sums_stay_within_the_memory(streams):
    run = streaming.StreamRunner(*streams.int8)
    white = np.full(run.clip_shape, 255, np.uint8)
    for _ in range(50):
        run.push(white)
    assert run.state("frame_count").item() == FRAMES
    kept = run.state("head_sum")
    assert 0 < kept.max() <= 255 * _FINE * (FRAMES - 1)


def test_sums_are_more_exact_than_a_mean_in_eight_bits(streams):
    """A 128th of a step, where a mean in 8 bits loses whole ones."""
    run = streaming.StreamRunner(*streams.int8)
    exact, coarse = 0.0, 0.0
    errors = {"sum": [], "coarse": []}
    for number in range(400):
        before = run.state("head_sum").astype(int)
        clip = streams.clips[number // FRAMES % len(streams.clips)]
        run.push(clip[number % FRAMES][None])
        after, n = run.state("head_sum").astype(int), min(number + 1, FRAMES)
        full = number + 1 >= FRAMES
        totals = before + _FINE * np.arange(256)[:, None, None, None, None]
        kept = totals - full * ((totals + n // 2) // n)
        assert ((kept == after).sum(0) == 1).all()
        frame = (kept == after).argmax(0)  # the mean of this frame, in steps
        exact = exact + (frame - exact) / n
        coarse = np.rint(coarse + (frame - coarse) / n)
        mean = (before + _FINE * frame) / _FINE / n
        errors["sum"].append(np.abs(mean - exact).max())
        errors["coarse"].append(np.abs(coarse - exact).max())
    assert max(errors["sum"]) <= 1 / (2 * _FINE)
    assert max(errors["coarse"]) > 1.0


class FakeGraph:
    """Computes at once, with numpy, what is added to it."""

    _CODES = {
        "ADD": np.add,
        "DIV": lambda a, b: np.trunc(a / b).astype(int),  # as C++ divides
        "MAXIMUM": np.maximum,
        "MINIMUM": np.minimum,
    }

    def __init__(self, **scales_and_zeros):
        self.known = scales_and_zeros

    def quantization(self, name):
        return self.known[name]

    def set_quantization(self, name, scale, zero):
        self.known[name] = scale, zero

    def constant(self, value):
        return np.asarray(value)

    def shape_of(self, value):
        return np.shape(value)

    def tensor(self, name, shape, dtype):
        return np.zeros(shape, dtype)

    def operator(self, code, inputs, result):
        if code == "CAST":
            (self.made,) = inputs
        else:
            result[...] = self._CODES[code](*inputs)


@pytest.mark.parametrize("scales", [(1.0, 0.21), (1.0, 1.0), (0.5, 0.9)])
@pytest.mark.parametrize("zeros", [(0, 0), (100, 128), (31, 7)])
def test_means_so_far_are_requantized_to_half_a_step(scales, zeros):
    """Integers against the same in floating point."""
    graph = FakeGraph(mean=(scales[0], zeros[0]), so_far=(scales[1], zeros[1]))
    means = object.__new__(stream_means._Means)
    means._graph, means._dtype = graph, np.int32
    fine = np.arange(0, 256 * _FINE, 7)
    means._requantize(fine, "mean", "so_far")
    step, first = graph.known["so_far"]
    assert scales[1] <= step <= scales[1] + scales[0] / _FINE
    value = scales[0] * (fine / _FINE - zeros[0])
    low, high = step * (0 - first), step * (255 - first)
    error = np.abs(step * (graph.made - first) - np.clip(value, low, high))
    assert error.max() <= 1.01 * step / 2


def test_other_precisions_are_named():
    with pytest.raises(
        ValueError, match="fp32, fp16, dynamic, int8, int8_native.*'int4'"
    ):
        stream_convert.Converter(None, None, FRAMES).convert("int4")


def test_int8_needs_clips(streams):
    model = stream_lowering.lower_stream(streams.arch, streams.weights)
    short = [streams.clips[0], streams.clips[1][:3]]
    for calibration, message in (
        (None, "must hold uint8 clips"),
        ([], "must hold uint8 clips"),
        (short, "clip 1 is uint8 .3, 16, 16, 3"),
    ):
        converter = stream_convert.Converter(model, calibration, FRAMES)
        with pytest.raises(ValueError, match=message):
            converter.convert("int8")


def test_only_causal_networks_stream():
    arch = networks.small_arch()
    with pytest.raises(ValueError, match="`arch` must be causal"):
        stream_lowering.lower_stream(arch, networks.random_weights(arch))


def test_frames_of_another_kind_are_refused(streams):
    run = streaming.StreamRunner(*streams.int8)
    with pytest.raises(ValueError, match=r"uint8 \(1, 16, 16, 3\).*float32"):
        run.push(np.zeros((1, 16, 16, 3), np.float32))


def test_states_that_do_not_fit_are_found(streams):
    content, stream = streams.int8
    first, second, *others = stream.states
    crossed = (
        dataclasses.replace(first, output=second.output),
        dataclasses.replace(second, output="nowhere"),
        *others,
    )
    report = audit.audit_model(
        content, "int8", stream=dataclasses.replace(stream, states=crossed)
    )
    found = {finding.where: finding.message for finding in report.findings}
    assert "comes out as" in found[first.input]
    assert "not both an input and an output" in found[second.input]


@pytest.fixture(scope="module")
def recognizer(streams, tmp_path_factory):
    content, stream = streams.int8
    manifest = manifest_lib.ModelManifest(
        labels=tuple("abcdefg"),
        preprocessing=manifest_lib.Preprocessing(
            clip_frames=FRAMES,
            short_side=16,
            crop_size=16,
            standardize="frame",
        ),
        precision="int8",
        stream=dataclasses.replace(stream, stride=2, fps=7.5),
    )
    path = tmp_path_factory.mktemp("stream") / "stream.tflite"
    path.write_bytes(manifest_lib.pack(content, manifest))
    assert manifest_lib.read_manifest(path) == manifest
    return Recognizer(path)


def test_pushing_a_video_is_classifying_it(recognizer, streams):
    """At every second frame, as the file says; scores stay in between."""
    rng = np.random.default_rng(0)
    video = rng.integers(0, 256, (2 * FRAMES, 40, 30, 3), dtype=np.uint8)
    pushed = [recognizer.push(frame) for frame in video]
    for even, odd in zip(pushed[::2], pushed[1::2], strict=True):
        np.testing.assert_array_equal(even, odd)
    clip = recognizer.make_clip(video[::2])
    np.testing.assert_array_equal(recognizer.scores(clip), pushed[-1])
    # Looking at a clip has forgotten what was pushed.
    np.testing.assert_array_equal(recognizer.push(video[0]), pushed[0])
    recognizer.reset()
    np.testing.assert_array_equal(recognizer.push(video[0]), pushed[0])
    best = recognizer.named(pushed[0], top=1)
    assert best[0][0] == "abcdefg"[pushed[0].argmax()]
    recognizer.reset()


def test_a_failure_within_a_clip_leaves_nothing_behind(
    recognizer, streams, monkeypatch
):
    clip = np.full(recognizer.clip_shape, 200, np.uint8)
    first = recognizer.push(clip[0])
    push, pushed = streaming.StreamRunner.push, []

    def fail_at_third(self, frame):
        pushed.append(frame)
        if len(pushed) == 3:
            raise RuntimeError("no memory")
        return push(self, frame)

    with monkeypatch.context() as patch:
        patch.setattr(streaming.StreamRunner, "push", fail_at_third)
        with pytest.raises(RuntimeError, match="no memory"):
            recognizer.scores(clip)
    np.testing.assert_array_equal(recognizer.push(clip[0]), first)
    recognizer.reset()


def test_networks_of_clips_look_back_on_a_window(exported):
    recognizer = Recognizer(exported.path, window=6, hop=2)
    video = reference.random_clips(1, (11, 24, 24))[0]
    pushed = [recognizer.push(frame) for frame in video]
    assert pushed[:5] == [None] * 5
    for last in (5, 7, 9):
        clip = recognizer.make_clip(video[last - 5 : last + 1])
        expected = recognizer.scores(clip)
        np.testing.assert_array_equal(pushed[last], expected)
        np.testing.assert_array_equal(pushed[last + 1], expected)


def test_a_window_lasts_as_long_as_in_training(exported, tmp_path):
    model, manifest = manifest_lib.read_model(exported.path)
    known = dataclasses.replace(manifest.preprocessing, stride=5, fps=30.0)
    path = tmp_path / "model.tflite"
    manifest = dataclasses.replace(manifest, preprocessing=known)
    path.write_bytes(manifest_lib.pack(model, manifest))
    for fps, window, hop in ((None, 20, 5), (60.0, 40, 10), (2.0, 4, 1)):
        recognizer = Recognizer(path, fps=fps)
        assert (recognizer.window, recognizer.hop) == (window, hop)


def test_a_window_of_a_stride_at_another_rate_than_the_videos(
    exported, tmp_path
):
    model, manifest = manifest_lib.read_model(exported.path)
    known = dataclasses.replace(
        manifest.preprocessing,
        sampling="dense", stride=4, stride_fps=30.0, fps=15.0,
    )  # fmt: skip
    path = tmp_path / "model.tflite"
    manifest = dataclasses.replace(manifest, preprocessing=known)
    path.write_bytes(manifest_lib.pack(model, manifest))
    frames = np.arange(40, dtype=np.uint8)[:, None, None, None]
    frames = np.tile(frames, (1, 24, 24, 3))
    for fps, apart in ((None, 2), (15.0, 2), (30.0, 4)):
        recognizer = Recognizer(path, fps=fps)
        assert (recognizer.window, recognizer.hop) == (4 * apart, apart)
        clip = recognizer.make_clip(frames)
        assert np.diff(clip.mean((1, 2, 3))).tolist() == [apart] * 3


@pytest.mark.parametrize("fps, apart", [(None, 3), (60.0, 6), (10.0, 1)])
def test_a_dense_clip_in_a_window_spans_the_same_time(
    exported, tmp_path, fps, apart
):
    model, manifest = manifest_lib.read_model(exported.path)
    dense = dataclasses.replace(
        manifest.preprocessing, sampling="dense", stride=3, stride_fps=30.0
    )
    path = tmp_path / "model.tflite"
    manifest = dataclasses.replace(manifest, preprocessing=dense)
    path.write_bytes(manifest_lib.pack(model, manifest))
    recognizer = Recognizer(path, fps=fps, hop=1)
    assert recognizer.window == 4 * apart
    video = reference.random_clips(1, (30, 24, 24))[0]
    pushed = [recognizer.push(frame) for frame in video]
    spare = (recognizer.window - 3 * apart - 1) // 2
    first = len(video) - recognizer.window + spare
    clip = video[first : first + 3 * apart + 1 : apart]
    np.testing.assert_array_equal(pushed[-1], recognizer.scores(clip))
    # The same of a whole video whose rate is known.
    if fps:
        synthetic.write_video(tmp_path / "video.mp4", video, fps=int(fps))
        middle = (30 - 3 * apart - 1) // 2
        numbers = range(middle, middle + 3 * apart + 1, apart)
        np.testing.assert_array_equal(
            recognizer.read_clip(tmp_path / "video.mp4"),
            decoding.decode_frames(tmp_path / "video.mp4", list(numbers)),
        )


def test_a_dense_clip_spreads_over_a_window_of_any_length(exported, tmp_path):
    path = ports.write_dense_model(tmp_path / "model.tflite", exported, 30.0)
    recognizer = Recognizer(path, window=10)
    video = ports.moving_frames(10, 24, 24)
    for frame in video:
        scores = recognizer.push(frame)
    # In the middle of each of four parts of 2.5 frames.
    clip = recognizer.clip_of(video[[1, 3, 6, 8]])
    np.testing.assert_array_equal(scores, recognizer.scores(clip))


def test_looks_stay_a_hop_apart_when_frames_are_missing(exported):
    recognizer = Recognizer(exported.path, fps=10.0, window=4, hop=3)
    frame, before, looks = np.zeros((24, 24, 3), np.uint8), None, []
    for number in (0, 3, 5, 7, 9, 10, 12, 21, 23, 24):
        found = recognizer.push(frame, number / 10)
        if found is not before:
            looks.append(number)
        before = found
    # Due are 3, 6, 9, ...; each is made up for by the next frame that comes.
    assert looks == [3, 7, 9, 12, 21, 24]


def test_frames_at_once_count_once(exported):
    recognizer = Recognizer(exported.path, fps=10.0, window=4, hop=1)
    frame = np.zeros((24, 24, 3), np.uint8)
    for _ in range(9):
        assert recognizer.push(frame, 5.0) is None
    assert recognizer.push(frame, 5.2) is None
    assert recognizer.push(frame, 5.3) is not None


def test_seconds_may_begin_behind_frames_without(exported):
    recognizer = Recognizer(exported.path, fps=10.0, window=4, hop=1)
    frame = np.zeros((24, 24, 3), np.uint8)
    for _ in range(2):
        recognizer.push(frame)
    assert recognizer.push(frame, 1e9) is None  # the third
    assert recognizer.push(frame, 1e9 + 0.04) is None  # not yet the fourth
    assert recognizer.push(frame, 1e9 + 0.06) is not None


def test_push_says_what_it_takes(exported):
    recognizer = Recognizer(exported.path)
    assert (recognizer.window, recognizer.hop) == (4, 1)
    with pytest.raises(ValueError, match=r"`frame` must be .*uint8 \(3, 24"):
        recognizer.push(np.zeros((3, 24), np.uint8))
    with pytest.raises(ValueError, match="`hop` must be a positive integer"):
        Recognizer(exported.path, hop=0)


def test_a_camera_may_reuse_the_memory_of_its_frames(exported):
    """Frames of the size that the network takes are not scaled, so not new."""
    rng = np.random.default_rng(0)
    video = rng.integers(0, 256, (8, 24, 24, 3), dtype=np.uint8)
    one, other = (Recognizer(exported.path) for _ in range(2))
    buffer = np.empty_like(video[0])
    for frame in video:
        buffer[:] = frame
        found, expected = other.push(buffer), one.push(frame)
        if expected is not None:
            np.testing.assert_array_equal(found, expected)
    with pytest.raises(ValueError, match="read-only"):
        found[:] = 0


def test_a_state_that_nobody_feeds_is_refused(recognizer, streams, tmp_path):
    content, stream = streams.int8
    fewer = dataclasses.replace(stream, states=stream.states[1:])
    report = audit.audit_model(content, "int8", stream=fewer)
    left_out = {stream.states[0].input, stream.states[0].output}
    assert {finding.where for finding in report.findings} == left_out
    manifest = dataclasses.replace(recognizer.manifest, stream=fewer)
    path = tmp_path / "stream.tflite"
    path.write_bytes(manifest_lib.pack(content, manifest))
    with pytest.raises(ValueError, match="must name the tensors of the model"):
        Recognizer(path)


def test_clips_of_a_stream_have_all_their_frames(recognizer):
    with pytest.raises(ValueError, match="`clip` must be uint8"):
        recognizer.scores(np.zeros((1, 16, 16, 3), np.uint8))
