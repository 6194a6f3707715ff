"""Rounding in the loop: trains, and ends as a clean int8 file."""

import numpy as np
import pytest

from autox3d_edge import (
    audit,
    interpreters,
    lowering,
    quantization_aware,
)
from tests.edge import networks, reference

pytestmark = pytest.mark.large  # wraps and trains a network

CLIP = (4, 16, 16)


@pytest.fixture(scope="module")
def lowered():
    arch = networks.small_arch(clip_size=CLIP)
    return lowering.lower(arch, networks.random_weights(arch))


def test_trains_and_exports_a_clean_int8_file(lowered):
    clips = reference.random_clips(8, CLIP)
    labels = np.arange(8) % networks.CLASSES
    model = quantization_aware.quantization_aware(lowered, clips)
    # Before training it is the float network with rounding.
    for clip in clips[:3]:
        floats = clip.astype(np.float32)
        np.testing.assert_allclose(model(floats), lowered(floats), atol=0.15)
    losses = []
    quantization_aware.fine_tune(
        model,
        clips,
        labels,
        steps=4,
        seed=0,
        learning_rate=3e-3,
        batch_size=8,
        on_step=lambda step, loss: losses.append(loss),
    )
    assert len(losses) == 4 and losses[-1] < losses[0]
    content = quantization_aware.convert(model)
    report = audit.audit_model(content, "int8")
    assert report.passed, report.findings
    run = interpreters.ClipRunner(content)
    for clip in clips[:3]:
        trained = model(clip.astype(np.float32)).numpy()[0]
        np.testing.assert_allclose(run(clip), trained, atol=0.1)


def test_norms_must_be_folded():
    arch = networks.small_arch(clip_size=CLIP)
    options = lowering.LoweringOptions(fold_norms=False)
    model = lowering.lower(arch, networks.random_weights(arch), options)
    with pytest.raises(ValueError, match="Lower with fold_norms=True"):
        quantization_aware.quantization_aware(model, [])
