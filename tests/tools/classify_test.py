"""What a camera shows is named whenever the network has looked."""

import numpy as np

from autox3d_tf.data import decoding
from tools import classify


class EverySecond:
    """Looks at every second frame, from the third on."""

    def __init__(self):
        self.frames, self.scores = [], None

    def push(self, frame):
        self.frames.append(frame)
        if len(self.frames) >= 3 and len(self.frames) % 2:
            self.scores = np.array([0.25, float(len(self.frames))])
        return self.scores

    def named(self, scores, top):
        return [("seen", scores[1])][:top]


def test_one_line_each(capsys):
    classify._print("a.mp4", [("two\nlines", 0.75), ("b", 0.25)])
    assert capsys.readouterr().out == "a.mp4: two lines 75.0%  b 25.0%\n"


def test_camera(monkeypatch, capsys):
    frames = [np.full((2, 2, 3), i, np.uint8) for i in range(20)]
    monkeypatch.setattr(decoding, "iter_frames", lambda path: iter(frames))
    recognizer = EverySecond()
    classify._classify_camera(recognizer, "camera", 1, 3)
    # Looks at frames 3, 5, 7; then enough.
    assert capsys.readouterr().out.splitlines() == [
        f"camera: seen {100 * count:.1f}%" for count in (3, 5, 7)
    ]
    assert len(recognizer.frames) == 7
