"""What a camera shows is named whenever the network has looked."""

import types

import numpy as np

import autox3d_edge
from autox3d_tf.data import decoding
from tools import classify


class EverySecond:
    """Looks at every second frame, from the third on."""

    fps = 30.0

    def __init__(self):
        self.frames, self.scores, self.seconds = [], None, []

    def push(self, frame, seconds):
        self.frames.append(frame)
        self.seconds.append(seconds)
        if len(self.frames) >= 3 and len(self.frames) % 2:
            self.scores = np.array([0.25, float(len(self.frames))])
        return self.scores

    def named(self, scores, top):
        return [("seen", scores[1])][:top]


def test_one_line_each(capsys):
    classify._print("a.mp4", [("two\nlines", 0.75), ("b", 0.25)])
    assert capsys.readouterr().out == "a.mp4: two lines 75.0%  b 25.0%\n"


def test_camera(monkeypatch, capsys):
    frames = [(np.full((2, 2, 3), i, np.uint8), i / 15) for i in range(20)]
    monkeypatch.setattr(decoding, "watch", lambda path: iter(frames))
    recognizer = EverySecond()
    classify._classify_camera(recognizer, "camera", 1, 3)
    # Looks at frames 3, 5, 7; then enough.
    assert capsys.readouterr().out.splitlines() == [
        f"camera: seen {100 * count:.1f}%" for count in (3, 5, 7)
    ]
    assert len(recognizer.frames) == 7
    assert recognizer.seconds == [i / 15 for i in range(7)]
    unknown = EverySecond()
    unknown.fps = 0.0  # nor does the model know it: times tell nothing
    classify._classify_camera(unknown, "camera", 1, 1)
    assert unknown.seconds == [None] * 3


class Opened(EverySecond):
    """Counts how often a model is opened, and at which rate."""

    rates, options = [], []

    def __init__(self, *_, fps=None, **others):
        super().__init__()
        self.rates.append(fps)
        self.options.append(others)

    def classify(self, path, top):
        if path.name == "broken.mp4":
            raise decoding.VideoError("broken.mp4: no frames")
        return [("seen", 1.0), ("not", 0.0), ("nor", 0.0)][:top]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


FLAGS = {
    "model": "m", "top": 1, "camera_clips": 1, "camera_hop": 0,
    "camera_frames": 0, "interpreter_threads": 1, "runtime": None,
}  # fmt: skip


def test_a_camera_opens_the_model_once(monkeypatch, capsys):
    given = types.SimpleNamespace(**FLAGS)
    frames = [(np.zeros((2, 2, 3), np.uint8), None)] * 3
    monkeypatch.setattr(autox3d_edge, "Recognizer", Opened)
    monkeypatch.setattr(classify, "FLAGS", given)
    monkeypatch.setattr(Opened, "rates", [])
    monkeypatch.setattr(decoding, "is_camera", lambda path: path.name == "c")
    monkeypatch.setattr(decoding, "frame_rate", lambda path: 0.0)  # unknown
    monkeypatch.setattr(decoding, "watch", lambda path: iter(frames))
    assert classify._main(["c"]) == 0
    assert Opened.rates == [None]
    assert classify._main(["a.mp4", "b.mp4"]) == 0
    assert Opened.rates == [None, None]
    monkeypatch.setattr(decoding, "frame_rate", lambda path: 15.0)
    assert classify._main(["c"]) == 0
    assert Opened.rates == [None, None, 15.0]
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_a_video_that_cannot_be_read_is_named_and_the_others_go_on(
    monkeypatch, capsys
):
    given = {**FLAGS, "top": 2, "camera_hop": 5, "camera_frames": 9}
    monkeypatch.setattr(autox3d_edge, "Recognizer", Opened)
    monkeypatch.setattr(classify, "FLAGS", types.SimpleNamespace(**given))
    monkeypatch.setattr(Opened, "options", [])
    assert classify._main(["broken.mp4", "b.mp4"]) == 1
    (options,) = Opened.options
    assert (options["hop"], options["window"]) == (5, 9)
    said = capsys.readouterr()
    assert said.out == "b.mp4: seen 100.0%  not 0.0%\n"
    assert "broken.mp4: no frames" in said.err
    assert "1 of the videos could not be read" in said.err
