"""What an export prints."""

from autox3d_edge import export_table


def names(*files):
    """Which of the files, `(name, precision)`, have their operators said."""
    audit = {
        "fall_back_on_paper": {"GPU": {"MEAN": 1}},
        "operators": {"ADD": 2},
    }
    lines = export_table.format_fall_back(
        {name: {"precision": how, "audit": audit} for name, how in files}
    )
    assert all("GPU: 1 of 2: MEAN 1" in line for line in lines)
    return [line.split(":")[0] for line in lines]


def test_operators_that_fall_back_are_those_of_what_a_device_gets():
    clips = ("fp32", "fp32"), ("int8", "int8"), ("qat", "qat")
    streams = (
        ("fp32_stream", "fp32"),
        ("int8_stream", "int8"),
        ("int8_native_stream", "int8"),
        ("dynamic_stream", "dynamic"),
    )
    assert names(*clips, *streams) == ["int8", "int8_stream"]
    assert names(*streams, ("fp16", "fp16")) == ["fp16", "int8_stream"]
    assert names(("qat", "qat")) == ["qat"]
