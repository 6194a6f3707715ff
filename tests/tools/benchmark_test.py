"""Mistakes on the command line, and the check of a table."""

import dataclasses

import pytest

from autox3d_edge import benchmark as benchmark_lib
from autox3d_edge import (
    interpreters,
    latency_bundle,
    latency_check,
    latency_table,
)
from autox3d_tf import space
from autox3d_tf.runs import binary
from autox3d_tools import benchmark
from tests.cost import latency_test


class Flags:
    """What the tool reads, at its defaults."""

    def __init__(self, **changes):
        self.threads_list = ["1"]
        self.bundle = self.table = self.space = None
        self.arch = self.variants = self.profile = self.json = None
        self.runtime = None
        self.__dict__.update(changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {},
            "Name .tflite files, or --table, --bundle or --variants",
        ),
        ({"bundle": "folder"}, "--bundle needs --space"),
        ({"arch": "x3d_s"}, "--arch and --variants go together"),
        ({"threads_list": ["two"]}, "must be numbers. Received: .'two'"),
        ({"space": "tiny"}, "--space needs --table or --bundle"),
        ({"profile": True, "json": "x"}, "--profile takes no --json; leave"),
        (
            {"profile": True, "variants": "x", "arch": "x3d_s"},
            "--profile takes files, without --variants",
        ),
        ({"table": "x", "json": "x"}, "--table takes no --json; leave it out"),
        (
            {"bundle": "x", "space": "tiny", "json": "x"},
            "--bundle takes no --json; leave it out",
        ),
        (
            {"bundle": "x", "space": "tiny", "table": "y"},
            "one of --table, --bundle and .* Received: --table, --bundle",
        ),
    ],
)
def test_mistakes_are_named(monkeypatch, changes, message):
    monkeypatch.setattr(benchmark, "FLAGS", Flags(**changes))
    with pytest.raises(binary.UsageError, match=message):
        benchmark._main([])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"runtime": "litert"}, "must be one of ai-edge-litert, tflite-runt"),
        ({"json": "/"}, "Cannot write /: it is a folder"),
    ],
)
def test_what_cannot_be_measured_or_kept_is_said_first(
    monkeypatch, changes, message
):
    flags = Flags(variants="x", arch="x3d_s", **changes)
    monkeypatch.setattr(benchmark, "FLAGS", flags)
    monkeypatch.setattr(benchmark, "_write_variants", None)
    with pytest.raises(ValueError, match=message):
        benchmark._main([])


def test_more_threads_than_any_device_has_are_refused_first(monkeypatch):
    flags = Flags(table="x", space="tiny", threads_list=["1", "1000"])
    monkeypatch.setattr(benchmark, "FLAGS", flags)
    with pytest.raises(ValueError, match="threads_list=1000"):
        benchmark._main([])


def test_a_table_that_is_there_is_not_measured_over(tmp_path, monkeypatch):
    path = latency_test.write(tmp_path)
    before = path.read_bytes()
    flags = Flags(table=str(path), space="tiny", check=20)  # meant to check it
    monkeypatch.setattr(benchmark, "FLAGS", flags)
    with pytest.raises(binary.UsageError, match="Leave out --space to check"):
        benchmark._main([])
    assert path.read_bytes() == before


def test_a_table_of_another_runtime_is_not_checked(tmp_path, monkeypatch):
    path = latency_test.write(tmp_path)
    monkeypatch.setattr(interpreters, "describe", lambda name: "other 1.0")
    with pytest.raises(ValueError, match="with runtime 'other 1.0'"):
        latency_check.check_table(path)


def test_files_are_timed_by_themselves(monkeypatch):
    monkeypatch.setattr(benchmark, "FLAGS", Flags(table="table.json"))
    with pytest.raises(binary.UsageError, match="Received: model.tflite"):
        benchmark._main(["model.tflite"])


@pytest.mark.parametrize(
    "changed",
    [{"processor": "Pi 5"}, {"machine": "arm"}, {"cores": 64}],
    ids=str,
)
def test_a_table_of_another_device_is_not_checked(
    tmp_path, monkeypatch, changed
):
    device = benchmark_lib.device_description()
    there = {**device, "runtime": latency_test.TABLE.runtime}
    path = latency_test.write(tmp_path, device=there)
    here = {**there, **changed}
    monkeypatch.setattr(benchmark_lib, "device_description", lambda _: here)
    (value,) = changed.values()
    with pytest.raises(ValueError, match=f"this device .*here {value!r}"):
        latency_check.check_table(path)


@pytest.fixture
def same_device(monkeypatch):
    """Makes this device the one of `latency_test.write`."""
    here = {
        "processor": "a processor",
        "machine": None,
        "cores": None,
        "runtime": latency_test.TABLE.runtime,
    }
    monkeypatch.setattr(benchmark_lib, "device_description", lambda _: here)


@pytest.fixture
def made_bundles(monkeypatch):
    """Keeps the arguments of bundles that are made; none is."""
    calls = []

    def make(search_space, folder, **arguments):
        calls.append((search_space, arguments))

    monkeypatch.setattr(latency_bundle, "make_bundle", make)
    return calls


def test_a_table_of_a_space_of_ones_own_is_checked(
    tmp_path, monkeypatch, same_device, made_bundles
):
    mine = dataclasses.replace(latency_test.SPACE, name="mine")
    about = {"name": "mine", "fingerprint": mine.fingerprint}
    monkeypatch.setattr(
        latency_table, "predicted_and_measured", lambda *_: [(1.0, 2.0)]
    )
    path = latency_test.write(
        tmp_path,
        space={**about, "definition": mine.to_dict()},
        num_classes=7,
    )
    text = latency_check.check_table(path, count=2)
    assert "1 whole networks" in text and "median 50.0%" in text
    ((made, arguments),) = made_bundles
    assert made == mine
    assert (arguments["num_classes"], arguments["check"]) == (7, 2)
    # Whole networks alone, others than those of the table: its seed is 0.
    assert arguments["samples"] == 0 and arguments["seed"] > 0
    path = latency_test.write(tmp_path, space=about, num_classes=7)
    with pytest.raises(ValueError, match="Received: the name 'mine' alone"):
        latency_check.check_table(path)


def test_a_table_has_as_many_classes_as_are_asked_for(
    monkeypatch, made_bundles
):
    given = {"bundle": "folder", "space": "tiny", "num_classes": 7}
    made = {"precisions": ["int8"], "samples": 3, "check": 0}
    monkeypatch.setattr(benchmark, "FLAGS", Flags(**given, **made))
    benchmark._main([])
    ((_, arguments),) = made_bundles
    assert arguments["num_classes"] == 7


def test_milliseconds_per_clip_are_not_checked_per_frame(tmp_path, same_device):
    causal = space.get_space("egogestar_stream")
    about = {"name": causal.name, "fingerprint": causal.fingerprint}
    path = latency_test.write(tmp_path, space=about, num_classes=3)
    with pytest.raises(ValueError, match="must hold ms per frame. Received"):
        latency_check.check_table(path)


def test_a_table_without_the_threads_is_not_checked(tmp_path):
    path = latency_test.write(tmp_path)
    said = r"no column at threads=.2, 4.. .*--space --threads_list=2,4\."
    with pytest.raises(ValueError, match=said):
        latency_check.check_table(path, threads=(2, 4))
