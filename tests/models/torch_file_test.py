"""PyTorch's files: what they hold, and that nothing in them is run."""

import collections
import io
import os
import pickle
import zipfile

import numpy as np
import pytest

from autox3d_tf.models import torch_file, torch_write

ARRAYS = {
    "matrix": np.arange(6, dtype="float32").reshape(2, 3),
    "half": np.array([0.5, -2.0], "float16"),
    "double": np.array([1e-300], "float64"),
    "long": np.array(-7, "int64"),
    "flags": np.array([True, False]),
    "none": np.zeros((0, 3), "float32"),
}


def zip_with(path, pickle_bytes, **entries):
    """A torch archive around any pickle."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", pickle_bytes)
        for name, data in entries.items():
            archive.writestr(f"a/data/{name}", data)
    return path


def refusal(path):
    """Reads a file that must be refused; returns the one line."""
    with pytest.raises(ValueError, match="Cannot read checkpoint") as caught:
        torch_file.read(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_round_trip_of_our_own_files(tmp_path):
    path = tmp_path / "a.pyth"
    value = {
        "state": ARRAYS,
        "epoch": 3,
        "big": 2**40,
        "rate": 0.5,
        "note": "K\u00f6ln",
        "done": True,
        "nothing": None,
        "size": (1, 2),
    }
    torch_write.write(path, value)
    content = torch_file.read(path)
    state = content.pop("state")
    assert content == {k: v for k, v in value.items() if k != "state"}
    assert set(state) == set(ARRAYS)
    for name, array in ARRAYS.items():
        assert state[name].dtype == array.dtype.name
        assert state[name].shape == array.shape
        np.testing.assert_array_equal(state[name].read(), array)
    assert [file.name for file in tmp_path.iterdir()] == ["a.pyth"]


def test_equal_values_make_equal_files(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        torch_write.write(tmp_path / name / "a.pyth", ARRAYS)
    one, two = (tmp_path / n / "a.pyth" for n in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "before 1.6"])
def test_files_of_torch(tmp_path, is_zip):
    torch = pytest.importorskip("torch")
    state = collections.OrderedDict(
        {name: torch.from_numpy(array) for name, array in ARRAYS.items()}
    )
    state["turned"] = torch.arange(6.0).reshape(2, 3).T  # strides (1, 3)
    state["part"] = torch.arange(6.0)[2:4]  # offset 2 of a shared storage
    state["brain"] = torch.tensor([1.5, -3.0], dtype=torch.bfloat16)
    state["parameter"] = torch.nn.Parameter(torch.ones(2))
    module = torch.nn.Linear(2, 1)  # its state dict carries _metadata
    optimizer = torch.optim.SGD(module.parameters(), 0.1, momentum=0.9)
    module(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    path = tmp_path / "a.pyth"
    torch.save(
        {
            "state": state,
            "module": module.state_dict(),
            "optimizer": optimizer.state_dict(),
        },
        path,
        _use_new_zipfile_serialization=is_zip,
    )
    content = torch_file.read(path)
    for name, expected in state.items():
        np.testing.assert_array_equal(
            content["state"][name].read(), expected.detach().float().numpy()
            if name == "brain"
            else expected.detach().numpy(),
        )  # fmt: skip
    np.testing.assert_array_equal(
        content["module"]["weight"].read(), module.weight.detach().numpy()
    )
    momentum = content["optimizer"]["state"][0]["momentum_buffer"]
    np.testing.assert_array_equal(momentum.read(), np.ones((1, 2)))


def test_torch_reads_our_files(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "a.pyth"
    torch_write.write(path, {"state": ARRAYS, "epoch": 3})
    for options in ({}, {"mmap": True}):
        content = torch.load(path, weights_only=True, **options)
        assert content["epoch"] == 3
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(content["state"][name], array)


class Attack:
    """Unpickled, it would leave a file behind."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "before 1.6"])
def test_malicious_pickle_is_refused_and_not_run(tmp_path, protocol, is_zip):
    trace, path = tmp_path / "trace", tmp_path / "a.pyth"
    attack = pickle.dumps({"model_state": Attack(trace)}, protocol)
    if is_zip:
        zip_with(path, attack)
    else:
        start = b"".join(
            pickle.dumps(part, 2)
            for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
        )
        path.write_bytes(start + attack)
    message = refusal(path)
    assert f"{os.mkdir.__module__}.mkdir" in message
    assert "nothing of it was run" in message
    assert not trace.exists()
    pickle.loads(attack)  # it does work, elsewhere
    assert trace.exists()


@pytest.mark.parametrize(
    "attack, match",
    [
        # builtins.eval by name
        (b"\x80\x02cbuiltins\neval\nX\x03\x00\x00\x001+1\x85R.", "eval"),
        # a known name of another module
        (b"\x80\x02ctorch.hub\nload\n.", "torch.hub.load"),
        (b"\x80\x02ctorch\nload\n.", "torch.load"),
        # a dotted name under a known module (protocol 4)
        (
            b"\x80\x04\x8c\x0bcollections\x8c\x07abc.sys\x93.",
            "collections.abc.sys",
        ),
        # instructions that no state dict needs
        (b"(ios\nsystem\nX\x02\x00\x00\x00lso.", "INST"),
        (b"\x80\x02ccollections\nOrderedDict\n)\x81.", "NEWOBJ"),
        (b"\x80\x02\x82\x01.", "EXT1"),
        # setting attributes of our stand-ins
        (
            b"\x80\x02ccollections\nOrderedDict\n}X\x01\x00\x00\x00aK\x01sb.",
            "__setstate__",
        ),
        # calling a storage class
        (b"\x80\x02ctorch\nFloatStorage\nK\x05\x85R.", "a call of Float"),
        # a memo index that would take 64 GiB
        (b"\x80\x02}r\xff\xff\xff\xff.", "beyond its length"),
        (b"\x80\x02X\xff\xff\xff\x7fabc.", "truncated or damaged"),
        (b"", "truncated or damaged"),
    ],
)
def test_hand_made_attacks_are_refused(tmp_path, attack, match):
    assert match in refusal(zip_with(tmp_path / "a.pyth", attack))


def hostile_tensor(shape, strides, offset=0, size=4):
    """A file whose one tensor has impossible numbers, as read content."""
    writer = torch_write._Pickle()
    writer.parts.append(b"ctorch._utils\n_rebuild_tensor_v2\n((")
    writer.value("storage")
    writer.parts.append(b"ctorch\nFloatStorage\n")
    for value in ("0", "cpu", size):
        writer.value(value)
    writer.parts.append(b"tQ")
    for value in (offset, shape, strides, False, {}):
        writer.value(value)
    return b"\x80\x02" + b"".join(writer.parts) + b"tR."


@pytest.mark.parametrize(
    "numbers, match",
    [
        ({"shape": (5,), "strides": (1,)}, "larger than its 4"),
        ({"shape": (4,), "strides": (1,), "offset": 1}, "larger than its 4"),
        ({"shape": (2**40,), "strides": (0,)}, "larger than its 4"),
        ({"shape": (2, 2), "strides": (1,)}, "impossible shape"),
        ({"shape": (2,), "strides": (-1,), "offset": 3}, "impossible shape"),
        ({"shape": (8,), "strides": (1,), "size": 8}, "16 bytes instead of 32"),
    ],
)
def test_tensors_cannot_reach_beyond_their_storage(tmp_path, numbers, match):
    path = tmp_path / "a.pyth"
    zip_with(path, hostile_tensor(**numbers), **{"0": bytes(16)})
    tensor = torch_file.read(path)
    with pytest.raises(ValueError, match=match):
        tensor.read()


def test_a_view_of_a_storage_is_read_where_it_lies():
    data = np.arange(12, dtype="<f4").tobytes()
    storage = torch_file.Storage("float32", "<f4", "0", 12, {"0": data}.get)
    # three rows of two from the fourth number on, transposed
    view = torch_file.Tensor(storage, 3, (2, 3), (1, 2))
    np.testing.assert_array_equal(view.read(), [[3, 5, 7], [4, 6, 8]])


@pytest.mark.parametrize("order", ["<", ">"])
def test_bfloat16_is_the_upper_half_of_a_float32(order):
    # sign, 8 bits of exponent + 127, 7 of mantissa: 1, -2, 1.25 / 8
    data = np.array([0x3F80, 0xC000, 0x3E20], order + "u2").tobytes()
    storage = torch_file.Storage(
        "bfloat16", order + "u2", "0", 3, {"0": data}.get
    )
    np.testing.assert_array_equal(storage.read(), [1.0, -2.0, 0.15625])


def test_every_truncation_is_one_clear_line(tmp_path):
    path = tmp_path / "a.pyth"
    torch_write.write(path, {"model_state": ARRAYS})
    whole = path.read_bytes()
    for length in range(0, len(whole), 37):
        path.write_bytes(whole[:length])
        message = refusal(path)
        assert "truncated" in message or "no file of torch.save" in message


def test_truncation_of_the_old_format(tmp_path):
    torch = pytest.importorskip("torch")
    buffer = io.BytesIO()
    torch.save(
        {"w": torch.ones(64)}, buffer, _use_new_zipfile_serialization=False
    )
    path, whole = tmp_path / "a.pyth", buffer.getvalue()
    for length in range(20, len(whole), 23):
        path.write_bytes(whole[:length])
        assert "truncated" in refusal(path)


def test_flipped_bytes_are_noticed(tmp_path):
    path = tmp_path / "a.pyth"
    torch_write.write(path, {"w": np.ones(1000, "float32")})
    data = bytearray(path.read_bytes())
    data[data.find(np.ones(2, "float32").tobytes()) + 100] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(ValueError, match="damaged"):
        torch_file.read(path)["w"].read()


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "a.pyth"
    assert "No such file" in refusal(path)
    path.write_bytes(b"")
    assert "is empty" in refusal(path)
    path.write_text("<html>404</html>")
    assert "no file of torch.save" in refusal(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert "without data.pkl" in refusal(path)


def test_writer_refuses_other_values(tmp_path):
    path = tmp_path / "a.pyth"
    with pytest.raises(ValueError, match="a set"):
        torch_write.write(path, {"a": {1}})
    with pytest.raises(ValueError, match="complex64"):
        torch_write.write(path, {"a": np.ones(1, "complex64")})
    assert not list(tmp_path.iterdir())
