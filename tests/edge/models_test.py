"""The lowered graph equals the trained Keras model, whatever the search picks.

`lowering_test` compares with a definition in numpy; here are the models that
users really train, for random architectures of a space.
"""

import dataclasses

import keras
import numpy as np
import pytest

from autox3d_edge import export, lowering, parity
from autox3d_tf import models, space
from autox3d_tf.space import weight_names
from tests.edge import networks, reference


def trained(arch):
    """A Keras model with weights of a plausible trained network."""
    model = models.build_model(arch, num_classes=networks.CLASSES)
    models.assign_weights(model, networks.random_weights(arch))
    return model


def random_arch(name, seed):
    search_space = space.get_space(name)
    rng = np.random.default_rng(seed)
    indices = [rng.integers(len(choice)) for choice in search_space.choices]
    return search_space.decode(indices)


def test_weight_names_and_shapes_are_those_of_the_models():
    arch = random_arch("tiny", 0)
    values = models.weight_values(models.build_model(arch, num_classes=3))
    assert weight_names.weight_shapes(arch, 3) == {
        name: value.shape for name, value in values.items()
    }


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_random_architectures_are_equal(seed, causal):
    arch = random_arch("egogestar", seed)
    arch = dataclasses.replace(arch, causal=causal, clip_size=(6, 32, 32))
    model = trained(arch)
    lowered = lowering.lower(arch, models.weight_values(model))
    report = parity.compare(
        {
            "keras": parity.keras_scorer(model),
            "lowered": parity.lowered_scorer(lowered),
        },
        reference.random_clips(3, arch.clip_size),
    )
    assert report["lowered"]["max_error"] < 1e-5
    assert report["lowered"]["top1_agreement"] == 1.0


def test_a_keras_model_is_exported(tmp_path):
    arch = random_arch("tiny", 1)
    clips = reference.random_clips(12, arch.clip_size)
    report = export.export_model(
        trained(arch),
        arch,
        tmp_path / "model.tflite",
        calibration=clips[:8],
        parity_clips=clips[8:],
    )
    assert report["parity"]["reference"] == "keras"
    assert report["parity"]["lowered"]["max_error"] < 1e-5
    assert report["parity"]["tflite"]["max_error"] < 0.15


def test_arch_must_be_that_of_the_model(tmp_path):
    with pytest.raises(ValueError, match="`weights` must be those of"):
        export.export_model(
            trained(random_arch("tiny", 2)),
            random_arch("egogestar", 3),
            tmp_path / "model.tflite",
            precision="fp32",
        )


def test_layers_that_the_lowering_does_not_know_are_named(tmp_path):
    arch = random_arch("tiny", 0)
    inside = models.build_model(arch, num_classes=3)
    scaled = keras.layers.Rescaling(2.0, name="louder")(inside.output)
    foreign = keras.Model(inside.input, scaled)
    with pytest.raises(ValueError, match="layer 'louder' of Rescaling"):
        export.export_model(
            foreign, arch, tmp_path / "model.tflite", precision="fp32"
        )
