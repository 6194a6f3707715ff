import numpy as np

from autox3d_edge import stream_convert


class FakeRun:
    """Counts frames and resets."""

    def __init__(self):
        self.log = []

    def reset(self):
        self.log.append("reset")

    def push(self, frame):
        self.log.append(int(frame.ravel()[0]))


def test_calibration_sees_clips_from_a_reset_and_a_stream_left_running():
    run = FakeRun()
    clips = [np.full((2, 4, 4, 3), n, np.uint8) for n in range(1, 11)]
    samples = list(stream_convert._samples(run, [], clips))
    each = [entry for n in range(1, 11) for entry in ("reset", n, n)]
    # Two of ten once more, without a reset before them.
    assert run.log == [*each, 1, 1, 2, 2]
    assert len(samples) == 2 * 12
