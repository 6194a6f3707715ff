"""Labels of test clips: kept while they are found."""

import json

import numpy as np
import pytest

from autox3d_edge import label_cache

CLIPS = [np.full((1, 2, 2, 3), value, np.uint8) for value in range(6)]
LABELS = [0, 1, 2, 0, 1, 2]


class Network:
    """Says which class a clip is of; may be stopped at one."""

    def __init__(self, stop=None):
        self.seen, self.stop = [], stop

    def __call__(self, clip):
        value = int(clip.max())
        if value == self.stop:
            raise KeyboardInterrupt
        self.seen.append(value)
        return np.eye(3)[value % 3]


def begin(folder, protocol="one view"):
    return label_cache.LabelCache(CLIPS, {"protocol": protocol}, folder)


def stopped_at_3(folder):
    cache = begin(folder)
    with pytest.raises(KeyboardInterrupt):
        cache.labels(Network(stop=3), "weights", "a network")
    return cache


def test_one_that_stopped_goes_on(tmp_path):
    stopped_at_3(tmp_path)
    network = Network()
    found = begin(tmp_path).labels(network, "weights", "a network")
    assert found.tolist() == LABELS
    assert network.seen == [3, 4, 5]
    network = Network()  # nor is what is whole tested anew
    found = begin(tmp_path).labels(network, "weights", "a network")
    assert found.tolist() == LABELS and not network.seen


@pytest.mark.parametrize(
    ("network", "protocol"), [("others", "one view"), ("weights", "ten views")]
)
def test_of_another_network_or_other_clips_it_begins_anew(
    tmp_path, network, protocol
):
    stopped_at_3(tmp_path)
    run = Network()
    begin(tmp_path, protocol).labels(run, network, "a network")
    assert run.seen == [0, 1, 2, 3, 4, 5]


def test_it_is_kept_while_it_runs(tmp_path, monkeypatch):
    """What no `finally` can save: the process is killed."""
    monkeypatch.setattr(label_cache, "_SAVE_SECONDS", -1.0)
    kept = []

    def run(clip):
        files = list(tmp_path.glob("tested/*.json"))
        kept.append([json.loads(file.read_text()) for file in files])
        return np.eye(3)[int(clip.max()) % 3]

    begin(tmp_path).labels(run, "weights", "a network")
    assert kept[:3] == [[], [[0]], [[0, 1]]]


@pytest.mark.parametrize("damage", ["[0, 1", "{}", "[0, 0, 0, 0, 0, 0, 0]"])
def test_what_is_damaged_is_not_gone_on_with(tmp_path, damage):
    cache = stopped_at_3(tmp_path)
    (file,) = tmp_path.glob("tested/*.json")
    file.write_text(damage)
    assert cache.labels(Network(), "weights", "").tolist() == LABELS


def test_forgotten_nothing_is_left(tmp_path):
    cache = stopped_at_3(tmp_path)
    cache.forget()
    cache.forget()
    assert not list(tmp_path.iterdir())
