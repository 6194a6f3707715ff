"""The peers compute our network, and each of them is optional."""

import dataclasses
import sys

import numpy as np
import pytest

from autox3d_tf import cost, models, space
from autox3d_tools import benchmark_peers

# Odd sizes show the padding of strides.
ARCH = space.x3d(
    name="tiny",
    clip_size=(3, 17, 20),
    frame_stride=1,
    stage_filters=(8, 12),
    depths=(1, 2),
    head_features=16,
)
CLASSES = 5


@pytest.fixture(scope="module")
def network():
    model = models.build_model(ARCH, CLASSES, seed=1)
    clip = np.random.default_rng(0).integers(
        0, 256, (*ARCH.clip_size, 3), np.uint8
    )
    return model, models.weight_values(model), clip


def test_all_that_are_installed_give_the_same_logits(network):
    model, weights, clip = network
    runs, sizes = benchmark_peers.our_runs(ARCH, weights, clip)
    assert sizes[benchmark_peers.OURS_INT8] < sizes[benchmark_peers.OURS]
    others, missing = benchmark_peers.peers(ARCH, model, weights, clip)
    if not others:
        pytest.skip(f"no peer is installed: {missing}")
    assert benchmark_peers.check_same_logits(runs | others) < 1e-3


def test_a_network_that_the_peers_cannot_be_is_refused(network):
    pytest.importorskip("onnx")
    from autox3d_tf.models import onnx_x3d

    arch = dataclasses.replace(ARCH, causal=True)
    with pytest.raises(ValueError, match="not be causal.*causal=True"):
        onnx_x3d.build_onnx(arch, network[1])


def test_without_a_peer_it_says_why(network, monkeypatch):
    model, weights, clip = network
    for name in ("openvino", "onnxruntime", "onnx", "torch"):
        monkeypatch.setitem(sys.modules, name, None)  # importing it fails
    runs, missing = benchmark_peers.peers(ARCH, model, weights, clip)
    assert not runs
    assert set(missing) == {
        "OpenVINO fp32",
        "onnxruntime fp32",
        "PyTorch eager",
    }
    assert "pip install -e '.[peers]'" in missing["OpenVINO fp32"]


def test_other_networks_are_refused():
    runs = {
        benchmark_peers.OURS: lambda: np.array([1.0, 2.0]),
        "other": lambda: np.array([1.0, 2.1]),
    }
    with pytest.raises(ValueError, match="other gives other logits"):
        benchmark_peers.check_same_logits(runs)


def test_other_networks_of_ours_are_timed_beside(network, tmp_path):
    _, _, clip = network
    path = str(tmp_path / "arch.json")
    ARCH.save(path)
    also = benchmark_peers.load_others([path], ARCH.clip_size)
    runs, macs = benchmark_peers.also_runs(also, CLASSES, clip)
    assert list(runs) == list(macs) == [f"{path}, fp32", f"{path}, int8"]
    total = cost.cost_of(ARCH, num_classes=CLASSES).macs
    for name, run in runs.items():
        assert run().shape == (CLASSES,) and macs[name] == total


def test_networks_for_other_clips_are_refused_by_name(tmp_path):
    path = str(tmp_path / "arch.json")
    ARCH.save(path)
    with pytest.raises(ValueError, match="arch.json for .*Give --clip_size"):
        benchmark_peers.load_others([path], (13, 160, 160))
