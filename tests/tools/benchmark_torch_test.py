"""The peer of the benchmark is the same network, and it is optional."""

import dataclasses
import sys

import numpy as np
import pytest

from autox3d_tf import models, space
from autox3d_tf.models import torch_x3d
from autox3d_tools import benchmark_torch


@pytest.mark.parametrize("memory", torch_x3d.FORMATS)
def test_the_peer_computes_the_same(memory):
    torch = pytest.importorskip("torch")
    arch = space.x3d(
        name="tiny",
        clip_size=(3, 17, 20),  # odd sizes show the padding of strides
        frame_stride=1,
        stage_filters=(8, 12),
        depths=(1, 2),
        head_features=16,
    )
    model = models.build_model(arch, 5, seed=1)
    peer = torch_x3d.peers_of(model)[memory]
    rng = np.random.default_rng(0)
    clips = rng.normal(size=(2, *arch.clip_size, 3)).astype("float32")
    with torch.no_grad():
        inputs = torch.from_numpy(clips).permute(0, 4, 1, 2, 3)
        expected = peer.eval()(inputs).numpy()
    scale = np.abs(expected).max()
    np.testing.assert_allclose(
        model(clips) / scale, expected / scale, atol=1e-4
    )


def test_a_network_that_the_peer_cannot_be_is_refused():
    arch = dataclasses.replace(space.get_arch("x3d_xs"), activation="relu")
    with pytest.raises(ValueError, match="X3D's kind.*activation='relu'"):
        torch_x3d.build_torch(arch, 5)


def test_without_pytorch_it_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it fails
    with pytest.raises(ValueError, match="pip install"):
        benchmark_torch._run([])
