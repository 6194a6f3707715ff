"""The doctor finds planted damage, and its remedies change nothing in float."""

import numpy as np
import pytest

from autox3d_edge import doctor, layer_noise, lowering, quantize, remedies
from tests.edge import networks, reference

CLIP = (4, 16, 16)


pytestmark = pytest.mark.large  # a dozen conversions


@pytest.fixture(scope="module")
def sick():
    """A network whose first block has channels of very unlike range."""
    arch = networks.small_arch(attention="none", clip_size=CLIP)
    weights = networks.random_weights(arch)
    gain = np.ones(12, np.float32)
    gain[0] = 300.0
    for part in ("gamma", "beta"):
        weights[f"stage1_block1/expand_norm_{part}"] *= gain
    weights["stage1_block1/depthwise1_kernel"] /= gain
    return arch, weights, reference.random_clips(12, CLIP)


@pytest.fixture(scope="module")
def diagnosis(sick):
    arch, weights, clips = sick
    return doctor.diagnose(
        arch,
        weights,
        clips[:6],
        clips[6:],
        bound=0.0,
        treatments=("int8", "equalized", "fp32"),
        repeats=2,
    )


def test_planted_damage_is_the_first_culprit(sick, diagnosis):
    # One channel 300 times larger leaves the others under one step of 256.
    # The tensor's own ratio hardly shows it, that channel's energy dominates;
    # the depthwise convolution that scales it back does.
    inner = [
        noise
        for noise in layer_noise.culprits(diagnosis.noise)
        if noise.layer.startswith("stage")
    ]
    assert inner[0].layer.startswith("stage1_block1_depthwise_tap")
    assert inner[0].lost > 10


def test_equalizing_heals_it(diagnosis):
    int8, equalized, fp32 = diagnosis.treatments
    assert equalized.mean_error < 0.6 * int8.mean_error
    assert fp32.agreement == 1.0 and fp32.mean_error < 1e-6


def test_the_cheapest_within_the_bound_is_chosen(diagnosis):
    best = [row for row in diagnosis.treatments if row.agreement == 1.0]
    assert diagnosis.chosen is best[0]
    table = diagnosis.format()
    assert f"{best[0].name}*" in table and "lost dB" in table
    assert diagnosis.to_dict()["chosen"] == best[0].name


def test_equalized_weights_compute_the_same_in_float(sick):
    arch, weights, clips = sick
    equal = remedies.equalize(arch, weights, clips[:6])
    np.testing.assert_allclose(
        reference.logits(arch, equal, clips[7]),
        reference.logits(arch, weights, clips[7]),
        rtol=1e-4,
        atol=1e-4,
    )
    changed = equal["stage1_block1/expand_norm_gamma"]
    assert not np.allclose(changed, weights["stage1_block1/expand_norm_gamma"])


def test_corrected_biases_take_the_mean_error_away(sick):
    arch, weights, clips = sick
    lowered = lowering.lower(arch, weights)
    kernel = lowered.get_layer("stage1_block1_project").get_weights()[0][0, 0]

    def own_error(network):
        model = quantize.convert(network, "int8", clips[:6])
        noise = layer_noise.measure(lowered, model, clips[:6])
        bias = {layer.layer: layer.bias for layer in noise}
        passed_on = bias["stage1_block1_activation"] @ kernel
        own = bias["stage1_block1_project"] - passed_on
        return model, np.abs(own).mean()

    model, before = own_error(lowered)
    corrected = remedies.correct_biases(lowered, model, clips[:6])
    _, after = own_error(corrected)
    assert after < 0.7 * before


def test_unknown_treatments_are_listed(sick):
    arch, weights, clips = sick
    with pytest.raises(ValueError, match=r"\['leeches'\]"):
        doctor.diagnose(
            arch, weights, clips, clips, treatments=("int8", "leeches")
        )
