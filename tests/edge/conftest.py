"""Exported files for all tests that only read them."""

import types

import pytest

from tests.edge import networks, ports, reference

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


@pytest.fixture(scope="session")
def streams():
    """The same network as a float and an int8 stream."""
    from autox3d_edge import manifest, stream_convert, stream_lowering

    arch = networks.stream_arch()
    weights = networks.random_weights(arch)
    clips = reference.random_clips(12, arch.clip_size)
    model = stream_lowering.lower_stream(arch, weights)
    made = types.SimpleNamespace(arch=arch, weights=weights, clips=clips[6:])
    converter = stream_convert.Converter(
        model, clips[:6], memory=networks.STREAM_FRAMES
    )
    for precision in ("fp32", "int8", "int8_native"):
        content, states = converter.convert(precision)
        stream = manifest.Stream(states=states, memory=networks.STREAM_FRAMES)
        made.__dict__[precision] = (content, stream)
    return made


@pytest.fixture(scope="session")
def node():
    """Path of Node.js."""
    return ports.find_node()


@pytest.fixture(scope="session")
def android(tmp_path_factory):
    """Class path of edge/android and what runs it for tests."""
    return ports.build_android(tmp_path_factory.mktemp("android"))


@pytest.fixture
def ask_web(node, tmp_path):
    """A function that has calls of ports.py answered in Node.js."""
    return lambda *calls: ports.ask_web(node, tmp_path, calls)


@pytest.fixture
def ask_android(android, tmp_path):
    """A function that has calls of ports.py answered on a JVM."""
    return lambda *calls: ports.ask_android(android, tmp_path, calls)


@pytest.fixture
def video(tmp_path):
    """A function that writes frames for the calls of ports.py."""
    return lambda frames: ports.write_frames(tmp_path, frames)
