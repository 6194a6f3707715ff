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


def test_each_number_stands_under_its_name():
    def file(size, activations, test):
        audit = {"fall_back_on_paper": {}, "operators": {"ADD": 2}}
        return {
            "precision": "int8",
            "bytes": size * 1024,
            "activation_bytes": activations * 1024,
            "test": test,
            "audit": audit,
        }

    def timing(name, median):
        return {"name": name, "median": median}

    table = export_table.format_export(
        {
            "keras": {"right": 7, "clips": 8, "top1": 0.875},
            "files": {
                "int8": file(
                    20, 300, {"right": 6, "clips": 8, "top1": 0.75, "agrees": 5}
                ),
                "fp32": file(50, 900, None),
            },
            "timings": [
                timing("int8, 1 thread", 4.5),
                timing("int8, 2 threads", 2.5),
                timing("fp32, 1 thread", 9.25),
                timing("fp32, 2 threads", 5.75),
            ],
            "test_part": "test",
            "protocol": None,
            "device": {"processor": "abacus", "runtime": "hand"},
            "drifts": {},
            "left_running": None,
            "calibration": {
                "clips": 5,
                "per_class": {"a": 1, "b": 4},
                "manifest": "0123456789abcdef",
                "seed": 3,
                "sha256": "fedcba9876543210",
            },
        },
        threads=(1, 2),
    )
    lines = table.split("\n")
    assert [" ".join(line.split()) for line in lines[:4]] == [
        "top-1 as Keras size activations ms, 1 thread ms, 2 threads",
        "Keras 7/8 = 87.5%",
        "int8 6/8 = 75.0% 5/8 20 KiB 300 KiB 4.50 2.50",
        "fp32 - - 50 KiB 900 KiB 9.25 5.75",
    ]
    assert lines[5] == (
        "calibrated on 5 clips of part 'train' of manifest 0123456789ab, "
        "1 to 4 of each class, seed 3, sha256 fedcba987654"
    )
