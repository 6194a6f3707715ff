"""One exported int8 file for all tests that only read it."""

import types

import pytest

from tests.edge import networks, reference

SMALL_CLIP = (4, 24, 24)


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """A small network exported to int8, with all that went into it."""
    from autox3d_edge import export, lowering

    arch = networks.small_arch(clip_size=SMALL_CLIP)
    weights = networks.random_weights(arch)
    path = tmp_path_factory.mktemp("exported") / "small.tflite"
    clips = reference.random_clips(16, arch.clip_size)
    report = export.export_model(
        weights,
        arch,
        path,
        calibration=clips[:8],
        parity_clips=clips[8:],
        labels=[f"gesture {i}" for i in range(networks.CLASSES)],
        provenance={"run": "test"},
        accuracy={"top1": 0.5, "protocol": "1 view"},
    )
    return types.SimpleNamespace(
        arch=arch,
        weights=weights,
        path=path,
        clips=clips,
        report=report,
        lowered=lowering.lower(arch, weights),
    )
