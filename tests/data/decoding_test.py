import fractions
import subprocess
import sys

import av
import numpy as np
import pytest

from autox3d_tf.data import decoding, sampling, synthetic


@pytest.fixture(scope="module")
def grey_ramp(tmp_path_factory):
    """A video whose frame i is grey level 10 * i: 12 frames of 64x48."""
    path = tmp_path_factory.mktemp("ramp") / "ramp.mp4"
    levels = np.arange(12, dtype=np.uint8)[:, None, None, None] * 10
    synthetic.write_video(path, np.broadcast_to(levels, (12, 48, 64, 3)), 10)
    return path


def test_probe_finds_what_was_written(grey_ramp):
    info = decoding.probe(grey_ramp)
    assert (info.frames, info.width, info.height) == (12, 64, 48)
    assert info.fps == 10
    assert info.duration == pytest.approx(1.2)
    assert info.error == ""


def cut_without_encoding(video, path):
    """Writes a video from half a second on, with frames that do not show."""
    with av.open(str(video)) as whole, av.open(str(path), "w") as cut:
        stream = whole.streams.video[0]
        copy = cut.add_stream_from_template(stream)
        for packet in whole.demux(stream):
            if packet.dts is not None:
                for name in ("pts", "dts"):  # half a second earlier
                    early = getattr(packet, name) - 0.5 / stream.time_base
                    setattr(packet, name, int(early))
                packet.stream = copy
                cut.mux(packet)
    return path


def test_a_video_cut_without_encoding_again_is_whole(grey_ramp, tmp_path):
    path = cut_without_encoding(grey_ramp, tmp_path / "cut.mp4")
    info = decoding.probe(path)
    assert info.declared_frames == 12 and info.frames < 9
    assert info.lacking == ""


def write_timed(path, times, rate, codec="mpeg4", sound=0.0):
    """Writes a frame at each of `times`, in parts of `rate` a second.

    Beside `sound` seconds of silence, if any.
    """

    def mux(stream, frames, rate):
        for frame, time in frames:
            frame.pts, frame.time_base = time, fractions.Fraction(1, rate)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())

    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        stream.codec_context.time_base = fractions.Fraction(1, rate)
        silence = file.add_stream("mp2", rate=32000) if sound else None
        rng = np.random.default_rng(0)
        pictures = rng.integers(0, 256, (len(times), 32, 32, 3), np.uint8)
        frames = [
            av.VideoFrame.from_ndarray(picture, format="rgb24")
            for picture in pictures
        ]
        mux(stream, zip(frames, times, strict=True), rate)
        if sound:
            starts = range(0, int(32000 * sound), 1152)
            mux(silence, ((quiet(1152), start) for start in starts), 32000)


def quiet(samples):
    silence = np.zeros((1, 2 * samples), np.int16)
    frame = av.AudioFrame.from_ndarray(silence, format="s16", layout="stereo")
    frame.sample_rate = 32000
    return frame


WHOLE = {
    "dropped.avi": dict(times=[*range(10), *range(10, 40, 3)]),
    "late.mkv": dict(times=range(100, 140)),
    "late.ts": dict(times=range(100, 140)),
    "sound.avi": dict(times=range(40), sound=8.0),
    "sound.mkv": dict(times=range(40), sound=8.0),
    "sound.ts": dict(times=range(40), sound=8.0),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_video_lacks_nothing(tmp_path, name):
    """Dropped frames of a webcam, a late start, sound that goes on."""
    write_timed(tmp_path / name, rate=20, **WHOLE[name])
    info = decoding.probe(tmp_path / name)
    assert info.frames == len(WHOLE[name]["times"])
    assert info.lacking == ""


@pytest.mark.parametrize("name", ["dropped.avi", "late.mkv", "sound.mkv"])
def test_cut_short_the_same_video_lacks_its_end(tmp_path, name):
    path = tmp_path / name
    write_timed(path, rate=20, **WHOLE[name])
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    assert "frames decode" in decoding.probe(path).lacking


def test_the_rate_of_varying_frames_is_that_of_their_times(tmp_path):
    """Matroska calls the finest step of the times their rate."""
    path = tmp_path / "varying.mkv"
    times = [0, 33, 66, 100, 300, 500, 700, 900]
    write_timed(path, times, rate=1000, codec="libx264")
    info = decoding.probe(path)
    assert info.fps == pytest.approx(7 / 0.9)
    assert info.duration == pytest.approx(8 * 0.9 / 7)


def test_frames_come_in_the_order_asked(grey_ramp):
    frames = decoding.decode_frames(grey_ramp, [7, 0, 11, 7])
    assert frames.shape == (4, 48, 64, 3)
    assert frames.dtype == np.uint8
    # The grey levels written, within what compression changes.
    levels = frames.mean(axis=(1, 2, 3))
    np.testing.assert_allclose(levels, [70, 0, 110, 70], atol=3)


def test_frames_by_the_length_of_a_video_are_decoded_once(
    grey_ramp, tmp_path, monkeypatch
):
    """But where the container promises none, or others than it has."""
    unknown = tmp_path / "late.mkv"
    write_timed(unknown, times=range(100, 140), rate=20)
    fewer = cut_without_encoding(grey_ramp, tmp_path / "cut.mp4")
    again = []
    decode = decoding.decode_frames

    def decode_frames(path, numbers):
        again.append(path)
        return decode(path, numbers)

    monkeypatch.setattr(decoding, "decode_frames", decode_frames)

    def ends(count, fps):
        return [0, count - 1, int(fps) % count]

    for path in (grey_ramp, unknown, fewer):
        info = decoding.probe(path)
        np.testing.assert_array_equal(
            decoding.decode_sampled(path, ends),
            decode(path, ends(info.frames, info.fps)),
        )
    assert again == [unknown, fewer]


def test_frames_of_a_video_cut_short_are_refused(tmp_path):
    path = tmp_path / "dropped.avi"
    write_timed(path, rate=20, **WHOLE["dropped.avi"])
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with pytest.raises(decoding.VideoError, match="cut short: only"):
        decoding.decode_sampled(path, lambda count, fps: [0])


def test_all_frames_scaled(grey_ramp):
    frames = decoding.decode_frames(grey_ramp, short_side=24)
    assert frames.shape == (12, 24, 32, 3)
    levels = frames.mean(axis=(1, 2, 3))
    np.testing.assert_allclose(levels, np.arange(12) * 10, atol=3)


def test_a_camera_tells_when_it_saw_what(grey_ramp):
    seen = list(decoding.watch(grey_ramp))
    assert [seconds for _, seconds in seen] == pytest.approx(
        [0.1 * i for i in range(12)]
    )
    frames = np.stack([frame for frame, _ in seen])
    np.testing.assert_array_equal(frames, decoding.decode_frames(grey_ramp))


def test_beyond_the_end_is_an_error_with_the_count(grey_ramp):
    with pytest.raises(
        decoding.VideoError, match="frame 12 was asked.*only 12 frames"
    ):
        decoding.decode_frames(grey_ramp, [3, 12])


def test_negative_numbers_are_refused(grey_ramp):
    with pytest.raises(ValueError, match=r"indices=\[-1\]"):
        decoding.decode_frames(grey_ramp, [-1])


@pytest.mark.parametrize("name", ["12:30.mp4", "data:x.mp4", "ü%03d?#.mp4"])
def test_names_of_files_are_no_addresses(
    grey_ramp, tmp_path, monkeypatch, name
):
    (tmp_path / name).symlink_to(grey_ramp)
    monkeypatch.chdir(tmp_path)
    for path in (name, tmp_path / name):
        assert decoding.probe(path).frames == 12


@pytest.mark.parametrize(
    "content, reason",
    [
        (None, "no such file"),
        (b"", "empty"),
        (b"this is no video\n" * 40, "not a video"),
        (b"\x00\x00\x00\x18ftypmp42" + b"\x00" * 200, "bad.mp4: "),
    ],
)
def test_bad_files_are_named_with_the_reason(tmp_path, content, reason):
    path = tmp_path / "bad.mp4"
    if content is not None:
        path.write_bytes(content)
    for read in (decoding.probe, decoding.decode_frames):
        with pytest.raises(decoding.VideoError, match=reason) as caught:
            read(path)
        assert "bad.mp4" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_an_unknown_codec_is_no_reason_to_fall(grey_ramp, tmp_path):
    content, path = grey_ramp.read_bytes(), tmp_path / "unknown.mp4"
    assert b"avc1" in content or b"mp4v" in content
    for name in (b"avc1", b"mp4v"):
        content = content.replace(name, b"zzzz")
    path.write_bytes(content)
    with pytest.raises(decoding.VideoError, match="cannot be decoded"):
        decoding.probe(path)


def test_sound_alone_is_no_video(tmp_path):
    import av

    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(decoding.VideoError, match="no video stream"):
        decoding.probe(path)


# Frames as counted once with PyAV's own loop over the first stream, sizes as in
# the files' headers: a change of either is a change of behaviour.
REAL_CLIPS = {
    "R6llTwEh07w.mp4": (303, 340, 256),
    "RATRACE_wave_f_nm_np1_fr_goo_37.avi": (72, 560, 240),
    "SOX5yA1l24A.mp4": (332, 340, 256),
    "SchoolRulesHowTheyHelpUs_wave_f_nm_np1_ba_med_0.avi": (74, 320, 240),
    "TrumanShow_wave_f_nm_np1_fr_med_26.avi": (48, 432, 240),
    "WUzgd7C1pWA.mp4": (327, 340, 256),
    "basketball.mp4": (333, 640, 360),
    "hmdb51_Turnk_r_Pippi_Michel_cartwheel_f_cm_np2_le_med_6.avi": (
        83,
        320,
        240,
    ),
    "v_SoccerJuggling_g23_c01.avi": (240, 320, 240),
    "v_SoccerJuggling_g24_c01.avi": (251, 320, 240),
}


@pytest.mark.parametrize("name", REAL_CLIPS)
def test_real_clips_decode_to_the_last_frame(shared_dir, name):
    path = shared_dir / "data/decode_clips" / name
    info = decoding.probe(path)
    frames, width, height = REAL_CLIPS[name]
    assert (info.frames, info.width, info.height) == (frames, width, height)
    assert info.error == ""
    last = decoding.decode_frames(path, [0, frames - 1])
    assert last.shape == (2, height, width, 3)
    assert last.std() > 5  # a picture, not one colour


def test_no_real_clip_is_left_untested(shared_dir):
    found = {
        path.name
        for path in (shared_dir / "data/decode_clips").iterdir()
        if path.suffix in (".mp4", ".avi")
    }
    assert found == set(REAL_CLIPS)


def test_decoding_and_sampling_need_no_tensorflow():
    code = (
        "import sys\n"
        "from autox3d_tf.data import decoding, manifest, sampling, scan\n"
        "from autox3d_tf.data import mirroring, options, parts, sources\n"
        "from autox3d_tf.data import synthetic\n"
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture(scope="module")
def corners(tmp_path_factory):
    """A video with a grey level in each quarter: 3 frames of 64x32."""
    path = tmp_path_factory.mktemp("corners") / "corners.mp4"
    clip = np.empty((3, 32, 64, 3), np.uint8)
    clip[:, :16, :32], clip[:, :16, 32:] = 0, 80
    clip[:, 16:, :32], clip[:, 16:, 32:] = 160, 240
    synthetic.write_video(path, clip, 10)
    return path


# What a pixel (x, y) is multiplied with, and where the quarters then are.
ORIENTATIONS = {
    "upright": ((1, 0, 0, 1), [[0, 80], [160, 240]]),
    "turned right": ((0, 1, -1, 0), [[160, 0], [240, 80]]),
    "upside down": ((-1, 0, 0, -1), [[240, 160], [80, 0]]),
    "turned left": ((0, -1, 1, 0), [[80, 240], [0, 160]]),
    "left to right": ((-1, 0, 0, 1), [[80, 0], [240, 160]]),
    "top to bottom": ((1, 0, 0, -1), [[160, 240], [0, 80]]),
    "diagonally": ((0, 1, 1, 0), [[0, 160], [80, 240]]),
    "other diagonal": ((0, -1, -1, 0), [[240, 80], [160, 0]]),
}


def test_pixels_twice_as_wide_as_high_become_square(corners, tmp_path):
    path, upright = tmp_path / "wide.mp4", tmp_path / "upright.mp4"
    with av.open(str(corners)) as video, av.open(str(path), "w") as wide:
        stream = video.streams.video[0]
        copy = wide.add_stream_from_template(stream)
        copy.codec_context.sample_aspect_ratio = fractions.Fraction(2, 1)
        for packet in video.demux(stream):
            if packet.dts is not None:
                packet.stream = copy
                wide.mux(packet)
    write_turned(path, upright, 0, 1, -1, 0)
    for video, shape in ((path, (32, 128)), (upright, (128, 32))):
        info = decoding.probe(video)
        assert (info.height, info.width) == shape
        assert decoding.decode_frames(video, [0]).shape == (1, *shape, 3)


def test_of_interlaced_frames_one_moment_is_shown(tmp_path):
    """A bar that moves on between the even lines and the odd ones."""
    path = str(tmp_path / "interlaced.mpg")
    picture = np.zeros((64, 96, 3), np.uint8)
    picture[::2, 16:32] = picture[1::2, 64:80] = 255
    with av.open(path, "w") as file:
        stream = file.add_stream(
            "mpeg2video", rate=25, options={"flags": "+ildct", "qscale": "2"}
        )
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    (frame,) = decoding.decode_frames(path, [0])
    assert frame.shape == picture.shape
    assert frame[:, 18:30].min() > 200 and frame[:, 66:78].max() < 50


def write_turned(video, path, a, b, c, d):
    """Copies an mp4 that no matrix turns, and has this one turn it."""
    content = bytearray(video.read_bytes())
    # The matrix of the track header, 44 bytes after its name (version 0), in
    # 16.16 fixed point: a pixel (x, y) is shown at (ax + cy, bx + dy).
    start = content.index(b"tkhd") + 4 + 40
    identity = [1, 0, 0, 0, 1, 0, 0, 0, 0x4000]
    assert content[start : start + 36] == matrix_bytes(identity)
    turned = [a, b, 0, c, d, 0, 0, 0, 0x4000]
    content[start : start + 36] = matrix_bytes(turned)
    path.write_bytes(content)


def matrix_bytes(values):
    return b"".join((v << 16).to_bytes(4, "big", signed=True) for v in values)


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_videos_show_as_they_are_meant_to_be_seen(corners, tmp_path, name):
    """Phones are held upright, and some cameras mirror who looks at them."""
    (a, b, c, d), quarters = ORIENTATIONS[name]
    path = tmp_path / "turned.mp4"
    write_turned(corners, path, a, b, c, d)
    info = decoding.probe(path)
    assert (info.height, info.width) == ((32, 64) if a else (64, 32))
    (frame,) = decoding.decode_frames(path, [0])
    assert frame.shape == (info.height, info.width, 3)
    centres = frame[info.height // 4 :: info.height // 2]
    centres = centres[:, info.width // 4 :: info.width // 2, 0]
    np.testing.assert_allclose(centres, quarters, atol=4)


def test_frames_are_turned_when_they_are_small(corners, tmp_path, monkeypatch):
    """Scaling takes twice as long or more where lines lie across memory."""
    path, resize, shapes = tmp_path / "t.mp4", sampling.resize_frames, []

    def noted(frames, *arguments):
        assert frames.flags.c_contiguous
        shapes.append(frames.shape[1:3])
        return resize(frames, *arguments)

    monkeypatch.setattr(sampling, "resize_frames", noted)
    write_turned(corners, path, 0, 1, -1, 0)
    turned = decoding.decode_frames(path, [0], short_side=11)
    upright = decoding.decode_frames(corners, [0], short_side=11)
    np.testing.assert_array_equal(turned[0], np.rot90(upright[0], -1))
    assert shapes == [(32, 64)] * 2
