"""Timings: taken in turns, summarised by median and middle half."""

from importlib import metadata

import pytest

from autox3d_edge import benchmark, interpreters


def test_candidates_take_turns():
    calls = []
    candidates = {
        "a": lambda: calls.append("a"),
        "b": lambda: calls.append("b"),
    }
    timings = benchmark.time_in_turns(candidates, repeats=3, warmup=1)
    assert calls == ["a", "b"] * 4
    assert [t.name for t in timings] == ["a", "b"]
    assert [t.repeats for t in timings] == [3, 3]
    assert timings[0].ratio == 1.0


def test_median_and_middle_half(monkeypatch):
    # Each call reads the clock twice; the durations are 1, 2, 3, 4 and 10 ms.
    clock = iter([0.0, 0.001, 1, 1.002, 2, 2.003, 3, 3.004, 4, 4.010])
    monkeypatch.setattr(benchmark.time, "perf_counter", lambda: next(clock))
    (timing,) = benchmark.time_in_turns(
        {"a": lambda: None}, repeats=5, warmup=0
    )
    assert timing.median == pytest.approx(3.0)
    assert (timing.low, timing.high) == pytest.approx((2.0, 4.0))


def test_a_machine_at_two_speeds_does_not_change_the_ratio(monkeypatch):
    # "b" takes twice as long as "a", and either speed may last for a round or
    # change within it: medians alone would say 4 / 1.
    times = [1, 2, 2, 4, 1, 2, 2, 4, 1, 4]
    clock = iter([c for ms in times for c in (0.0, ms / 1e3)])
    monkeypatch.setattr(benchmark.time, "perf_counter", lambda: next(clock))
    a, b = benchmark.time_in_turns(
        {"a": lambda: None, "b": lambda: None}, repeats=5, warmup=0
    )
    assert (a.median, b.median) == pytest.approx((1.0, 4.0))
    assert b.ratio == pytest.approx(2.0)


def test_files_on_one_and_two_threads(exported, monkeypatch):
    make, asked = benchmark.streaming.make_runner, []

    def make_runner(model, stream, threads, runtime):
        asked.append((threads, runtime))
        return make(model, stream, threads, runtime)

    monkeypatch.setattr(benchmark.streaming, "make_runner", make_runner)
    timings = benchmark.benchmark_files({"int8": exported.path}, repeats=3)
    names = [timing.name for timing in timings]
    assert names == ["int8, 1 thread", "int8, 2 threads"]
    assert asked == [(1, None), (2, None)]
    assert all(0 < t.low <= t.median <= t.high for t in timings)
    table = benchmark.format_table(timings)
    assert len(table.splitlines()) == 3 and "int8, 2 threads" in table


def test_the_device_is_named():
    device = benchmark.device_description()
    assert device["processor"] and device["cores"] >= 1
    assert device["runtime"].startswith(interpreters.available()[0])


def test_nothing_to_time_is_refused():
    with pytest.raises(ValueError, match="must not be empty"):
        benchmark.time_in_turns({})


def test_a_runtime_that_cannot_be_imported_gives_no_name(monkeypatch):
    real = interpreters.importlib.import_module

    def import_module(name):
        if name.startswith("ai_edge_litert"):
            raise ImportError("GLIBC_2.38 not found")
        return real(name)

    monkeypatch.setattr(interpreters.importlib, "import_module", import_module)
    with pytest.warns(UserWarning, match="ai-edge-litert cannot be used: GLI"):
        name = interpreters.describe()
    assert not name.startswith("ai-edge-litert")
    assert name.split()[0] in interpreters.available()


def test_a_runtime_that_is_not_here_is_named_with_a_way_out(monkeypatch):
    def import_module(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(interpreters.importlib, "import_module", import_module)
    monkeypatch.setattr(interpreters, "available", lambda: ["tf.lite"])
    for name, said in (
        ("tflite-runtime", "pip install tflite-runtime. .* here: tf.lite"),
        ("tf.lite", "pip install tensorflow. Others that are here: none"),
    ):
        with pytest.raises(ImportError, match=f"Runtime {name} .*{said}"):
            interpreters.load_class(name)


def test_a_runtime_of_unknown_version_is_no_error(monkeypatch):
    def version(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    name = interpreters.available()[0]
    assert interpreters.describe(name) == f"{name} of unknown version"
