"""The same as the generated readers make of a file, damaged or not."""

import flatbuffers
import numpy as np
import pytest

from autox3d_edge import compact, flatbuffer, manifest, table_reader


def content_of(read):
    """Plain types of what was read, or None if it could not be."""
    try:
        return plain(read())
    except Exception:
        return None


def plain(value):
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.tobytes()
    if isinstance(value, list):
        return [plain(one) for one in value]
    if hasattr(value, "__dict__"):
        return type(value), plain(sorted(vars(value).items()))
    if isinstance(value, tuple):
        return tuple(map(plain, value))
    return value if value == value else "nan"


def both(model):
    schema = flatbuffer.schema()
    generated, model_class = schema.ModelT, schema.Model
    return (
        content_of(lambda: table_reader.read(model, schema)),
        content_of(
            lambda: generated.InitFromObj(model_class.GetRootAs(model, 0))
        ),
    )


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_streams_are_read_as_they_are(streams, precision):
    found, expected = both(getattr(streams, precision)[0])
    assert found == expected is not None


def test_damaged_files_are_read_or_refused_alike(exported):
    model, _ = manifest.read_model(exported.path)
    rng, refused = np.random.default_rng(0), 0
    for number in range(40):
        damaged = bytearray(model)
        for place in rng.integers(0, len(model), rng.integers(1, 4)):
            damaged[place] = rng.choice((0, 1, 127, 128, 255))
        if number % 10 == 0:
            damaged = damaged[: rng.integers(8, len(model))]
        found, expected = both(bytes(damaged))
        assert found == expected
        refused += expected is None
    assert 10 < refused < 30


class Once:
    """A table that is written once, however often it is referred to."""

    def __init__(self, table):
        self.table, self.at = table, None

    def Pack(self, builder):
        self.at = self.table.Pack(builder) if self.at is None else self.at
        return self.at


def test_a_small_file_is_no_endless_graph(exported):
    content = flatbuffer.unpack(manifest.read_model(exported.path)[0])
    content.subgraphs = 2000 * [Once(content.subgraphs[0])]
    builder = flatbuffers.Builder(0)
    builder.Finish(content.Pack(builder), flatbuffer.IDENTIFIER)
    with pytest.raises(ValueError, match="in each other many times over"):
        flatbuffer.unpack(bytes(builder.Output()))


def test_a_name_of_many_tensors_is_read_once(exported):
    content = flatbuffer.unpack(manifest.read_model(exported.path)[0])
    for tensor in content.subgraphs[0].tensors:
        tensor.name = b"stem"
    tensors = flatbuffer.unpack(compact.pack(content)).subgraphs[0].tensors
    assert {tensor.name for tensor in tensors} == {b"stem"}
    assert len({id(tensor.name) for tensor in tensors}) == 1


def test_fields_that_are_rare_are_kept(exported):
    schema = flatbuffer.schema()
    content = flatbuffer.unpack(manifest.read_model(exported.path)[0])
    graph = content.subgraphs[0]
    graph.operators[0].customOptions = np.array([1, 2], np.uint8)
    graph.tensors[0].sparsity = schema.SparsityParametersT()
    content.buffers[1].offset = 7
    builder = flatbuffers.Builder(0)
    builder.Finish(content.Pack(builder), flatbuffer.IDENTIFIER)
    model = bytes(builder.Output())
    found, expected = both(model)
    assert found == expected is not None
    read = table_reader.read(model, schema)
    assert read.subgraphs[0].operators[0].customOptions.tolist() == [1, 2]
    assert read.subgraphs[0].tensors[0].sparsity is not None
    assert read.buffers[1].offset == 7
