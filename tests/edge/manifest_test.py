"""A model file knows itself, and a damaged one is refused in a line."""

import dataclasses
import hashlib
import io
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest

from autox3d_edge import Preprocessing
from autox3d_edge import manifest as manifest_lib
from autox3d_edge.manifest import Stream, StreamState
from autox3d_tf import space
from autox3d_tf.training import card
from tests.edge import networks


def test_round_trip(exported):
    model, manifest = manifest_lib.read_model(exported.path)
    assert exported.path.read_bytes().startswith(model)
    assert manifest.labels == tuple(
        f"gesture {i}" for i in range(networks.CLASSES)
    )
    assert manifest.preprocessing == Preprocessing(
        clip_frames=4, short_side=24, crop_size=24
    )
    assert manifest.arch["fingerprint"] == exported.arch.fingerprint
    assert manifest.provenance["run"] == "test"
    assert manifest.accuracy == {"top1": 0.5, "protocol": "1 view"}
    assert manifest.precision == "int8"


def test_the_arch_inside_rebuilds_the_network(exported):
    data = dict(manifest_lib.read_manifest(exported.path).arch)
    del data["fingerprint"]
    assert type(exported.arch).from_dict(data) == exported.arch


def test_any_unzip_reads_the_labels(exported):
    with zipfile.ZipFile(exported.path) as archive:
        lines = archive.read("labels.txt").decode().splitlines()
    assert lines[3] == "gesture 3"
    # Others than Python's complain if offsets do not count from the start.
    data = exported.path.read_bytes()
    size, offset = struct.unpack("<2I", data[-10:-2])  # of the directory
    assert offset + size == len(data) - 22  # where the last record begins


def test_a_label_takes_one_line_whatever_is_in_it():
    labels = ("up,\ndown", 'ok "so"', "\r\n", "Händeklatschen 👏", "")
    manifest = manifest_lib.ModelManifest(
        labels=labels,
        preprocessing=Preprocessing(clip_frames=4, short_side=8, crop_size=8),
        precision="int8",
    )
    packed = manifest_lib.pack(b"0000TFL3", manifest)
    assert manifest_lib.read_manifest(packed).labels == labels
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        text = archive.read("labels.txt").decode()
    lines = ["up, down", 'ok "so"', "", "Händeklatschen 👏", ""]
    assert text == "".join(f"{line}\n" for line in lines)


def test_the_card_is_inside(exported):
    text = manifest_lib.read_card(exported.path)
    assert f"fingerprint {exported.arch.fingerprint[:12]}" in text
    assert "gesture 3" in text
    assert "Weights: not stated." in text


def test_a_file_without_card(tmp_path, exported):
    model, manifest = manifest_lib.read_model(exported.path)
    path = tmp_path / "model.tflite"
    path.write_bytes(manifest_lib.pack(model, manifest))
    assert manifest_lib.read_card(path) == ""


def test_card_and_manifest_of_the_largest_x3d_are_small():
    arch = space.get_arch("x3d_xl")
    labels = tuple(f"doing the thing number {i}" for i in range(400))
    manifest = manifest_lib.ModelManifest(
        labels=labels,
        preprocessing=Preprocessing(clip_frames=4, short_side=8, crop_size=8),
        precision="int8",
        arch=arch.to_dict(),
    )
    model = b"\x00\x00\x00\x00TFL3"
    text = card.model_card(arch, {"labels": labels})
    packed = manifest_lib.pack(model, manifest, text)
    assert len(packed) < manifest_lib.MAX_BYTES


def test_any_number_of_classes_has_a_place():
    manifest = manifest_lib.ModelManifest(
        labels=tuple(hashlib.md5(b"%d" % i).hexdigest() for i in range(2000)),
        preprocessing=Preprocessing(clip_frames=4, short_side=8, crop_size=8),
        precision="int8",
    )
    model = b"\x00\x00\x00\x00TFL3"
    assert len(manifest_lib.pack(model, manifest)) > manifest_lib.MAX_BYTES
    noise = np.random.default_rng(0).bytes(300_000).hex()
    wordy = dataclasses.replace(manifest, provenance={"noise": noise})
    with pytest.raises(ValueError, match="Shorten `provenance`"):
        manifest_lib.pack(model, wordy)


def test_the_same_content_gives_the_same_bytes():
    manifest = manifest_lib.ModelManifest(
        labels=("a",),
        preprocessing=Preprocessing(clip_frames=4, short_side=8, crop_size=8),
        precision="int8",
    )
    model = b"\x00\x00\x00\x00TFL3" + bytes(100)
    assert manifest_lib.pack(model, manifest) == manifest_lib.pack(
        model, manifest
    )


def test_flipped_bytes_are_refused(tmp_path, exported):
    data = exported.path.read_bytes()
    model, _ = manifest_lib.read_model(exported.path)
    damaged = tmp_path / "damaged.tflite"
    for position in range(8, len(model), len(model) // 7):
        flipped = bytearray(data)
        flipped[position] ^= 0x10
        damaged.write_bytes(flipped)
        with pytest.raises(ValueError, match="is damaged: its model") as info:
            manifest_lib.read_model(damaged)
        assert "\n" not in str(info.value)


def test_a_manifest_with_flipped_bytes_is_refused_or_unchanged(
    tmp_path, exported
):
    # Some bytes of a zip mean nothing (dates); all others are noticed.
    data = exported.path.read_bytes()
    model, manifest = manifest_lib.read_model(exported.path)
    damaged = tmp_path / "damaged.tflite"
    refused = 0
    for position in range(len(model), len(data), 3):
        flipped = bytearray(data)
        flipped[position] ^= 0x55
        damaged.write_bytes(flipped)
        try:
            assert manifest_lib.read_model(damaged) == (model, manifest)
        except ValueError:
            refused += 1
    assert refused > 100


def test_a_card_with_flipped_bytes_is_refused_or_unchanged(exported):
    data = exported.path.read_bytes()
    card = manifest_lib.read_card(data)
    refused = 0
    start = data.index(b"model_card.md")
    for position in range(start, len(data), 3):
        flipped = bytearray(data)
        flipped[position] ^= 0x55
        try:
            assert manifest_lib.read_card(flipped) in (card, "")
        except ValueError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 100


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.999])
def test_a_file_cut_short_is_refused(tmp_path, exported, share):
    data = exported.path.read_bytes()
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ValueError, match="not a .tflite file|cut short"):
        manifest_lib.read_model(cut)


@pytest.mark.parametrize("size", [1.5, "9", None])
def test_the_length_of_a_model_is_a_whole_number(exported, monkeypatch, size):
    record = {"model_bytes": size, "model_sha256": "0" * 64}
    monkeypatch.setattr(manifest_lib, "_read_record", lambda *_: record)
    with pytest.raises(ValueError, match="it has no `model_bytes`"):
        manifest_lib.read_model(exported.path)


def test_foreign_files_are_refused(tmp_path, exported):
    model, _ = manifest_lib.read_model(exported.path)
    foreign = tmp_path / "foreign.tflite"
    foreign.write_bytes(model)
    with pytest.raises(ValueError, match="not exported by autox3d_edge"):
        manifest_lib.read_model(foreign)
    foreign.write_text("hello, this is text")
    with pytest.raises(ValueError, match="is not a .tflite file"):
        manifest_lib.read_model(foreign)
    with pytest.raises(ValueError, match="No such file"):
        manifest_lib.read_model(tmp_path / "absent.tflite")


def test_preprocessing_refuses_nonsense():
    with pytest.raises(ValueError, match="`sampling` must be"):
        Preprocessing(clip_frames=4, short_side=8, crop_size=8, sampling="rare")
    with pytest.raises(ValueError, match="`crop_size` must be at most"):
        Preprocessing(clip_frames=4, short_side=8, crop_size=9)
    with pytest.raises(ValueError, match="`clip_frames` must be a positive"):
        Preprocessing(clip_frames=0, short_side=8, crop_size=8)
    size = {"clip_frames": 4, "short_side": 8, "crop_size": 8}
    Preprocessing(**size, stride=1.5)  # of segments
    with pytest.raises(ValueError, match="`stride` must be a positive integer"):
        Preprocessing(**size, stride=1.5, sampling="dense")
    for name in ("stride", "fps", "stride_fps"):
        for value in ("30", float("nan"), float("inf"), 1e300):
            with pytest.raises(
                ValueError, match=f"`{name}` must be a number of"
            ):
                Preprocessing(**size, **{name: value})
    for name, value in (("standardize", "clip"), ("squash", 1)):
        with pytest.raises(ValueError, match=f"`{name}` must be one of"):
            Preprocessing(**size, **{name: value})


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"input": []}, "`input` must be the name of a tensor"),
        ({"shape": (1, "2")}, "`shape` must be a positive integer"),
        ({"dtype": "int16"}, "`dtype` must be one of uint8, int8"),
        ({"dtype": []}, "`dtype` must be one of uint8, int8"),
        ({"initial": 128}, "from -128 to 127. Received: initial=128"),
        ({"initial": None}, "from -128 to 127. Received: initial=None"),
    ],
)
def test_states_refuse_nonsense(changed, message):
    fields = {"input": "a", "output": "b", "shape": (1,), "dtype": "int8"}
    for initial in (-128, 0, 127):
        StreamState(**fields, initial=initial)
    with pytest.raises(ValueError, match=message):
        StreamState(**{"initial": 0, **fields, **changed})


@pytest.mark.parametrize(
    "name, value",
    [
        ("stride", -3),
        ("stride", "x"),
        ("stride", 10**400),
        ("memory", 0),
        ("fps", float("inf")),
    ],
)
def test_streams_refuse_nonsense(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be a"):
        Stream(**{"states": (), "memory": 4, name: value})


def test_what_json_cannot_hold_is_not_written(exported):
    """NaN is not JSON: Python reads it, browsers and Android do not."""
    model, manifest = manifest_lib.read_model(exported.path)
    for value in (float("nan"), np.float32(1)):
        changed = dataclasses.replace(manifest, accuracy={"loss": value})
        with pytest.raises(ValueError, match="JSON types and finite numbers"):
            manifest_lib.pack(model, changed)


@pytest.mark.parametrize("name", ["arch", "provenance", "accuracy"])
@pytest.mark.parametrize("value", [[], "x", None])
def test_what_is_known_of_a_model_are_objects(exported, name, value):
    model, manifest = manifest_lib.read_model(exported.path)
    packed = manifest_lib.pack(
        model, dataclasses.replace(manifest, **{name: value})
    )
    with pytest.raises(ValueError, match=f"`{name}` is no object"):
        manifest_lib.read_model(packed)


def test_a_manifest_that_would_fill_the_memory_is_refused(exported, tmp_path):
    model, _ = manifest_lib.read_model(exported.path)
    with zipfile.ZipFile(tmp_path / "zip", "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("manifest.json", b" " * (17 << 20))
    path = tmp_path / "model.tflite"
    path.write_bytes(model + (tmp_path / "zip").read_bytes())
    with pytest.raises(ValueError, match="of 17825792 bytes, more than"):
        manifest_lib.read_model(path)


@pytest.mark.parametrize(
    "method, message",
    [
        (zipfile.ZIP_DEFLATED, "it was cut short, damaged"),
        (zipfile.ZIP_BZIP2, "manifest.json is neither stored nor deflated"),
        (zipfile.ZIP_LZMA, "manifest.json is neither stored nor deflated"),
    ],
)
def test_no_more_is_unpacked_than_a_manifest_has(exported, method, message):
    """Of one that says to hold 100 bytes, but holds 32 MiB."""
    model, _ = manifest_lib.read_model(exported.path)
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", method, compresslevel=1) as archive:
        archive.writestr("manifest.json", bytes(32 << 20))
    content = bytearray(model + zipped.getvalue())
    entry = content.rindex(b"PK\x01\x02")  # of the directory
    struct.pack_into("<I", content, entry + 16, zlib.crc32(bytes(100)))
    struct.pack_into("<I", content, entry + 24, 100)
    content = bytes(content)
    tracemalloc.start()
    with pytest.raises(ValueError, match=message):
        manifest_lib.read_model(content)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 4 << 20


def test_of_what_is_no_model_the_start_is_read():
    message = "/dev/zero is not a .tflite file. Received: "
    with pytest.raises(ValueError, match=message):
        manifest_lib.read_model("/dev/zero")


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_content_is_read_as_a_file(exported, kind):
    content = kind(exported.path.read_bytes())
    for read in (manifest_lib.read_model, manifest_lib.read_card):
        assert read(content) == read(exported.path)
    with pytest.raises(ValueError, match="`path` is not a .tflite file"):
        manifest_lib.read_model(content[:3])


@pytest.mark.parametrize(
    "path, message",
    [
        (None, "`path` must be a file .* Received: None"),
        ("", "`path` must be a file .* Received: ''"),
        (3, "`path` must be a file .* Received: 3"),
        ("a\0b", "Cannot read a\0b: embedded null byte"),
        ("/", "Cannot read /: Is a directory"),
    ],
)
def test_what_is_no_file(path, message):
    with pytest.raises(ValueError, match=message):
        manifest_lib.read_model(path)
