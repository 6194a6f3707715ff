"""The recognizer: videos and frames in, labels out, no TensorFlow."""

import concurrent.futures
import dataclasses
import fractions
import os
import subprocess
import sys

import numpy as np
import pytest

from autox3d_edge import Recognizer, compact, flatbuffer, interpreters
from autox3d_edge import manifest as manifest_lib
from autox3d_tf.data import decoding, synthetic
from tests.edge import networks, ports


@pytest.fixture(scope="module")
def recognizer(exported):
    return Recognizer(exported.path)


def test_classify_sorts_labels(recognizer, exported):
    clip = exported.clips[0]
    pairs = recognizer.classify(clip)
    assert len(pairs) == networks.CLASSES
    values = [value for _, value in pairs]
    assert values == sorted(values, reverse=True)
    assert sum(values) == pytest.approx(1.0, abs=0.02)
    best = int(recognizer.scores(clip).argmax())
    assert pairs[0][0] == f"gesture {best}"
    assert recognizer.classify(clip, top=2) == pairs[:2]


def test_threads_may_share_a_recognizer(recognizer, exported):
    clips = exported.clips[:3]
    alone = [recognizer.scores(clip) for clip in clips]
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        found = list(pool.map(recognizer.scores, [*clips] * 100))
    for number, scores in enumerate(found):
        np.testing.assert_array_equal(scores, alone[number % 3])


def test_frames_of_any_size_become_a_clip(recognizer):
    frames = np.random.default_rng(0).integers(0, 256, (11, 60, 90, 3))
    clip = recognizer.make_clip(frames.astype(np.uint8))
    assert clip.shape == recognizer.clip_shape and clip.dtype == np.uint8


@pytest.mark.parametrize("rates", [{"stride_fps": 30.0}, {"fps": 30.0}])
def test_frames_are_cut_at_the_rate_that_is_told(exported, rates):
    frames = np.arange(40, dtype=np.uint8)[:, None, None, None]
    frames = np.tile(frames, (1, 24, 24, 3))
    preprocessing = dataclasses.replace(
        manifest_lib.read_manifest(exported.path).preprocessing,
        sampling="dense", stride=6, **rates,
    )  # fmt: skip
    for fps, apart in ((None, 6), (30.0, 6), (15.0, 3)):
        recognizer = Recognizer(exported.path, fps=fps)
        recognizer.manifest = dataclasses.replace(
            recognizer.manifest, preprocessing=preprocessing
        )
        clip = recognizer.make_clip(frames)
        assert np.diff(clip.mean((1, 2, 3))).tolist() == [apart] * 3


def test_a_video_file(tmp_path, recognizer):
    path = str(tmp_path / "video.mp4")
    frames = np.zeros((12, 48, 64, 3), np.uint8)
    frames[:] = np.arange(12)[:, None, None, None] * 20
    synthetic.write_video(path, frames, fps=10)
    clip = recognizer.read_clip(path)
    assert clip.shape == (4, 24, 24, 3)
    # Segments of 3 frames, so brightness rises by about 60 per frame.
    steps = np.diff(clip.mean((1, 2, 3)))
    assert (abs(steps - 60) < 8).all()
    assert len(recognizer.classify(path)) == networks.CLASSES


def test_a_video_file_of_another_rate(tmp_path, exported):
    path = ports.write_dense_model(
        tmp_path / "dense.tflite", exported, fps=12.0, stride_fps=0.0
    )
    frames = np.zeros((40, 28, 28, 3), np.uint8)
    frames[:] = np.arange(40)[:, None, None, None] * 6
    recognizer = Recognizer(path)
    recognizer.manifest = dataclasses.replace(
        recognizer.manifest,
        preprocessing=dataclasses.replace(
            recognizer.manifest.preprocessing, standardize=False
        ),
    )
    for fps, apart in ((12, 2), (60, 10)):
        video = tmp_path / f"{fps}.mp4"
        synthetic.write_video(str(video), frames, fps=fps)
        steps = np.diff(recognizer.read_clip(video).mean((1, 2, 3)))
        assert (abs(steps - 6 * apart) < 5).all()


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((4, 24, 24, 3), np.float32),
        np.zeros((24, 24, 3), np.uint8),
        np.zeros((4, 24, 24, 1), np.uint8),
        np.zeros((4, 24, 24, 4), np.uint8),
        np.zeros((0, 24, 24, 3), np.uint8),
    ],
)
def test_frames_of_another_kind_are_refused(recognizer, frames):
    with pytest.raises(ValueError, match="uint8 RGB frames") as info:
        recognizer.classify(frames)
    assert f"{frames.dtype} {frames.shape}" in str(info.value)


def test_frames_of_the_size_of_a_clip_are_standardized(exported, tmp_path):
    model, manifest = manifest_lib.read_model(exported.path)
    standardized = dataclasses.replace(
        manifest.preprocessing, standardize="frame"
    )
    manifest = dataclasses.replace(manifest, preprocessing=standardized)
    recognizer = Recognizer(manifest_lib.pack(model, manifest))
    clip = recognizer.make_clip(exported.clips[0] // 4)
    np.testing.assert_allclose(clip.mean((1, 2)), 255 * 0.45, atol=1)


def test_what_is_no_frame(recognizer):
    with pytest.raises(ValueError, match="`frame` must be .*: NoneType"):
        recognizer.push(None)
    with pytest.raises(ValueError, match="`source` must be .*: dict"):
        recognizer.classify({})


def test_frames_that_numpy_cannot_stack(recognizer):
    sizes = [np.zeros((24, 24, 3), np.uint8), np.zeros((24, 20, 3), np.uint8)]
    for given in (sizes, [[1, 2], [3]], [sizes[0], None]):
        for take, name in (
            (recognizer.push, "frame"),
            (recognizer.classify, "source"),
            (recognizer.clip_of, "sampled"),
            (recognizer.scores, "clip"),
            (recognizer.named, "scores"),
        ):
            with pytest.raises(ValueError, match=f"`{name}` .* of several sh"):
                take(given)


def test_a_frame_that_fails_does_not_count(exported, monkeypatch):
    recognizer = Recognizer(exported.path, window=5, hop=2)
    frames = ports.moving_frames(5, 24, 24)
    scale = recognizer._scale

    def fail(frame):
        monkeypatch.setattr(recognizer, "_scale", scale)
        raise MemoryError

    for frame in frames[:4]:
        assert recognizer.push(frame) is None
    monkeypatch.setattr(recognizer, "_scale", fail)
    with pytest.raises(MemoryError):
        recognizer.push(frames[4])
    assert recognizer.push(frames[4]) is not None


def test_scores_wants_a_clip(recognizer):
    with pytest.raises(ValueError, match=r"uint8 \(4, 24, 24, 3\)"):
        recognizer.scores(np.zeros((5, 24, 24, 3), np.uint8))


def test_a_video_cut_short_is_not_classified(tmp_path, recognizer):
    """The frames of its beginning are not those of the whole."""
    frames = np.zeros((60, 48, 64, 3), np.uint8)
    frames[:] = np.random.default_rng(0).integers(0, 256, frames.shape[1:])
    path = tmp_path / "video.mkv"
    synthetic.write_video(str(path), frames, fps=10)
    assert len(recognizer.classify(path)) == networks.CLASSES
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(decoding.VideoError, match="video.mkv: is cut short"):
        recognizer.classify(path)


@pytest.mark.parametrize(
    "name, value",
    [
        ("fps", -5),
        ("fps", float("nan")),
        ("fps", float("inf")),
        ("fps", 29_970),
        ("fps", True),
        ("hop", True),
        ("hop", 2.5),
        ("hop", "2"),
        ("window", 24.0),
    ],
)
def test_a_pace_that_makes_no_sense_is_refused_unread(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be a positive"):
        Recognizer("absent.tflite", **{name: value})


@pytest.mark.parametrize("name", ["hop", "window"])
def test_a_pace_of_hours_is_refused(exported, name):
    with pytest.raises(ValueError, match=f"`{name}` must be at most 1000000"):
        Recognizer(exported.path, **{name: 1 << 63})


def test_a_stride_of_hours_is_refused(tmp_path, exported):
    path = ports.write_dense_model(
        tmp_path / "dense.tflite", exported, fps=30.0, stride_fps=1e-300
    )
    with pytest.raises(ValueError, match="`stride` must be at most 1000000"):
        Recognizer(path)


def test_the_rate_of_a_video_is_a_number(recognizer):
    with pytest.raises(ValueError, match="`fps` must be a positive"):
        recognizer.frame_numbers(9, "")


def test_numbers_of_any_kind(exported):
    recognizer = Recognizer(
        exported.path,
        num_threads=np.int64(1),
        hop=np.int64(2),
        window=np.uint8(8),
        fps=fractions.Fraction(30_000, 1001),
    )
    assert (recognizer.hop, recognizer.window) == (2, 8)
    Recognizer(exported.path, fps=np.float32(29.97))


def test_integers_mean_what_their_scale_and_zero_point_say():
    values = np.array([0, 3, 255], np.uint8)
    found = interpreters.to_float(values, {"quantization": (0.5, 10)})
    assert found.dtype == np.float32
    assert found.tolist() == [-5.0, -3.5, 122.5]
    found = interpreters.to_float(values / 4, {"quantization": (0.0, 0)})
    assert found.dtype == np.float32
    assert found.tolist() == [0.0, 0.75, 63.75]


def test_the_thread_count_reaches_the_interpreter(exported, monkeypatch):
    seen = {}
    real = interpreters.load_class()

    def spy(**arguments):
        seen.update(arguments)
        return real(**arguments)

    monkeypatch.setattr(interpreters, "load_class", lambda name: spy)
    Recognizer(exported.path, num_threads=2)
    assert seen["num_threads"] == 2
    for value in (0, True, 2.0):
        with pytest.raises(ValueError, match="`num_threads` must be an int"):
            Recognizer(exported.path, num_threads=value)


def test_a_closed_recognizer_says_so(exported):
    with Recognizer(exported.path) as recognizer:
        clip_shape = recognizer.clip_shape
    frame = np.zeros(clip_shape[1:], np.uint8)
    for call in (recognizer.push, recognizer.scores):
        with pytest.raises(ValueError, match="recognizer is closed"):
            call(frame if call == recognizer.push else np.stack([frame] * 4))
    recognizer.close()


def test_unknown_runtime_lists_the_known(exported):
    with pytest.raises(ValueError, match="ai-edge-litert, tflite-runtime"):
        Recognizer(exported.path, runtime="coreml")


def test_damage_is_noticed_before_the_interpreter(
    tmp_path, exported, monkeypatch
):
    def forbidden(name):
        raise AssertionError("an interpreter saw a damaged file")

    monkeypatch.setattr(interpreters, "load_class", forbidden)
    data = bytearray(exported.path.read_bytes())
    data[1000] ^= 0xFF
    path = tmp_path / "damaged.tflite"
    path.write_bytes(data)
    with pytest.raises(ValueError, match="is damaged"):
        Recognizer(path)


def test_a_graph_that_would_end_the_process_is_refused(tmp_path, exported):
    model, manifest = manifest_lib.read_model(exported.path)
    content = flatbuffer.unpack(model)
    first, second = content.subgraphs[0].operators[:2]
    second.outputs = first.outputs
    path = tmp_path / "twice.tflite"
    path.write_bytes(manifest_lib.pack(compact.pack(content), manifest))
    with pytest.raises(ValueError, match="operator 1 makes tensor"):
        Recognizer(path)


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["classify", "--model={path}", "{video}"], "gesture"),
        (["benchmark", "{path}", "--repeats=1"], "ms median"),
    ],
)
def test_a_device_needs_neither_tensorflow_nor_gin(
    exported, tmp_path, arguments, says
):
    video = tmp_path / "video.mp4"
    frames = np.zeros((9, 48, 40, 3), np.uint8)
    synthetic.write_video(video, frames, fps=10)
    lacking = ("tensorflow", "keras", "tf_keras", "gin", "matplotlib")
    arguments = [
        one.format(path=exported.path, video=video) for one in arguments
    ]
    program = f"""
import sys
sys.modules.update(dict.fromkeys({lacking!r}))
sys.argv = {arguments!r}
from autox3d_tools import {arguments[0]}
{arguments[0]}.main()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert says in done.stdout


def test_who_reads_may_have_enough(exported, tmp_path):
    videos = [tmp_path / f"{number}.mp4" for number in range(2)]
    for video in videos:
        synthetic.write_video(video, ports.moving_frames(4, 24, 24), fps=10)
    program = (
        f"import sys; sys.argv = {['classify', f'--model={exported.path}']!r}"
        f" + {[*map(str, videos)]!r}; "
        "from autox3d_tools import classify; classify.main()"
    )
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=write, stderr=subprocess.PIPE
    )
    os.close(write)
    assert (done.returncode, b"pipe" in done.stderr) == (1, False)
