import json
import time

import pytest

from autox3d_tf.studies import stopwatch


def test_seconds_add_up_over_stops(tmp_path):
    path = tmp_path / "seconds.json"
    with pytest.raises(KeyboardInterrupt), stopwatch.Stopwatch(path):
        time.sleep(0.05)
        raise KeyboardInterrupt
    first = json.loads(path.read_text())["wall"]
    with stopwatch.Stopwatch(path) as watch:
        time.sleep(0.05)
    assert first >= 0.05 and watch.wall >= first + 0.05
    assert 0 <= watch.cpu < watch.wall + 1
