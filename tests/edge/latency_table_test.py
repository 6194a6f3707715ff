"""A bundle is timed without TensorFlow; a table predicts what made it."""

import dataclasses
import json
import random
import shutil
import subprocess
import sys

import numpy as np
import pytest

from autox3d_edge import (
    flatbuffer,
    interpreters,
    latency_bundle,
    latency_fit,
    latency_table,
)
from autox3d_tf import cost, space
from autox3d_tf.cost import latency
from autox3d_tf.runs import claim, run_dir

SPACE = dataclasses.replace(
    space.get_space("tiny"),
    clip_size=(3, 16, 16),
    head=space.HeadSpec(filters=16, features=8),
)
CLASSES = 3


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return latency_bundle.make_bundle(
        SPACE,
        tmp_path_factory.mktemp("latency") / "bundle",
        num_classes=CLASSES,
        precisions=("int8",),
        samples=3,
        check=1,
    )


def test_networks_of_a_causal_space_are_timed_per_frame(tmp_path, monkeypatch):
    stage = dataclasses.replace(
        SPACE.stages[0],
        block_types=("separable", "1x3x3"),
        filters=(8,),
        expansions=(2.0,),
        attentions=("se",),
    )
    causal = dataclasses.replace(SPACE, stages=(stage,), causal=True)
    folder = latency_bundle.make_bundle(
        causal,
        tmp_path,
        num_classes=CLASSES,
        precisions=("int8",),
        samples=2,
        check=0,
    )
    index = latency_table.read_index(folder)
    moved = {}
    for model in index["models"]:
        states = index["states"][model["arch"]]
        content = (folder / model["files"]["int8"]).read_bytes()
        run = interpreters.load(content)
        names = {detail["name"] for detail in run.get_input_details()}
        moved.setdefault(model["part"], []).append(
            len(names & set(states.values()))
        )
    # Past frames of the stem and of a separable block, none of a 1x3x3 one;
    # the means of squeeze-excite and head, each with the count.
    assert moved["stem"] == [1] and moved["head"] == [2]
    assert sorted(moved["stage1_block1"]) == [2, 3]
    assert sorted(moved[None]) == [4, 5]
    monkeypatch.setattr(latency_table, "_VISIT_MS", 0.1)
    table = latency_table.measure_bundle(folder, rounds=1)
    assert table["per"] == "frame"
    assert "ms per frame" in latency_table.format_report(table)


def test_what_is_timed_moves_states_to_the_next_frame(streams, monkeypatch):
    model, stream = streams.fp32
    states = {state.output: state.input for state in stream.states}
    run = interpreters.load(model)
    monkeypatch.setattr(interpreters, "load", lambda *_: run)
    interpreters.prepare(model, states={**states, "of another piece": "x"})()
    values = {
        detail["name"]: run.get_tensor(detail["index"])
        for detail in (*run.get_input_details(), *run.get_output_details())
    }
    for output, given in states.items():
        np.testing.assert_array_equal(values[output], values[given])


def test_too_few_networks_for_all_candidates_are_refused(tmp_path):
    with pytest.raises(ValueError, match="`samples` must be at least 3"):
        latency_bundle.make_bundle(SPACE, tmp_path, samples=2)


def test_a_bundle_that_is_not_whole_is_refused(bundle, tmp_path):
    folder = tmp_path / "bundle"
    shutil.copytree(bundle, folder)
    index = json.loads((folder / "index.json").read_text())
    (name,) = index["models"][-1]["files"].values()
    (folder / name).unlink()
    with pytest.raises(ValueError, match=f"not whole: it lacks {name}"):
        latency_table.read_index(folder)
    shutil.copy(bundle / name, folder / name)
    latency_table.read_index(folder)
    changed = bytearray((bundle / name).read_bytes())
    changed[len(changed) // 2] ^= 1  # an interpreter might end the process
    (folder / name).write_bytes(changed)
    with pytest.raises(ValueError, match=f"{name}, or that was changed"):
        latency_table.read_index(folder)
    del index["precisions"]
    (folder / "index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match="not whole: it lacks precisions"):
        latency_table.read_index(folder)
    index["models"] = [3]
    (folder / "index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match="the files' names in index.json"):
        latency_table.read_index(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"precisions": ["fp16"]},
        {"per": "second"},
        {"num_classes": None},
        {"space": {}},
        {"states": []},
        {"states": [3] * 4},
        {"archs": []},
        {"archs": [{}] * 4},
        {"models": {"arch": 99}},
        {"models": {"role": "none"}},
        {"models": {"role": "part", "part": "stage9_block1"}},
    ],
)
def test_a_changed_index_is_refused(bundle, tmp_path, capsys, change):
    for path in bundle.iterdir():
        (tmp_path / path.name).symlink_to(path)
    path = tmp_path / "index.json"
    index = json.loads(path.read_text())
    for key, value in change.items():
        if key == "models":  # of the last one
            index["models"][-1].update(value)
        else:
            index[key] = value
    path.unlink()
    path.write_text(json.dumps(index))
    with pytest.raises(SystemExit, match="1"):
        latency_table.main([str(tmp_path), f"--out={tmp_path / 'table.json'}"])
    (line,) = capsys.readouterr().err.splitlines()
    assert f"The index.json of the latency bundle {tmp_path} was chang" in line


def test_a_bundle_without_parts_makes_no_table(bundle, tmp_path, monkeypatch):
    index = latency_table.read_index(bundle)
    for model in index["models"]:
        model["role"] = "check"
    monkeypatch.setattr(latency_table, "read_index", lambda _: index)
    with pytest.raises(ValueError, match="has no parts to fit a table to"):
        latency_table.measure_bundle(bundle)


def test_a_state_that_is_no_input_is_refused(streams):
    model, stream = streams.fp32
    states = {state.output: "x" for state in stream.states}
    with pytest.raises(ValueError, match="must name inputs, .* Received: 'x'"):
        interpreters.prepare(model, states=states)


def random_parts(count=60):
    rng = random.Random(0)
    for _ in range(count):
        arch = SPACE.decode([rng.randrange(len(c)) for c in SPACE.choices])
        yield list(cost.parts_of(arch, arch.clip_size, CLASSES))


def test_a_device_needs_numpy_and_an_interpreter_only(bundle):
    # In the bundle's folder, with nothing of the project installed.
    code = (
        "import sys; sys.modules.update({name: None for name in "
        "('tensorflow', 'tf_keras', 'keras', 'absl', 'gin')}); "
        "sys.path.insert(0, '.'); "
        "from autox3d_edge import latency_table; "
        "latency_table.main(['.', '--rounds=2']); "
        # An editable installation would fill in what the bundle lacks.
        "elsewhere = [name for name, module in sys.modules.items() "
        "if name.startswith('autox3d_') and getattr(module, '__file__', None) "
        "and not module.__file__.startswith(sys.argv[1])]; "
        "assert not elsewhere, elsewhere"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(bundle)],
        cwd=bundle,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "distinct parts timed" in done.stdout
    table = json.loads((bundle / "latency_table.json").read_text())
    (column,) = table["columns"]
    assert len(column["timings"]) == len(table["models"])
    for timing in column["timings"]:
        assert list(timing) == ["least", "low", "median", "high"]
        assert list(timing.values()) == sorted(timing.values())
    assert set(table["device"]) >= {"processor", "cores", "system", "runtime"}
    assert table["space"]["fingerprint"] == SPACE.fingerprint
    definition = table["space"]["definition"]  # for a check of the table
    assert space.SearchSpace.from_dict(definition) == SPACE
    ((predicted, measured),) = column["check"]
    assert predicted > 0 and measured > 0
    loaded = cost.load_latency_table(bundle / "latency_table.json", "int8")
    arch = space.ArchSpec.from_dict(table["archs"][-1])
    assert loaded.network_ms(arch, CLASSES) == pytest.approx(predicted)


def test_a_disturbance_does_not_count(bundle, tmp_path, monkeypatch):
    # Another program slows down two rounds of three, whatever runs in them.
    folder = tmp_path / "bundle"
    shutil.copytree(bundle, folder)
    index = json.loads((folder / "index.json").read_text())
    index["precisions"] = ["int8", "fp32"]
    for number, model in enumerate(index["models"]):
        (name,) = model["files"].values()
        model["files"] = {"int8": name, "fp32": f"{number}_fp32.tflite"}
        shutil.copy(folder / name, folder / model["files"]["fp32"])
        index["sha256"][model["files"]["fp32"]] = index["sha256"][name]
    (folder / "index.json").write_text(json.dumps(index))
    alone = {
        name: (number + 1) * (1 if precision == "int8" else 2)
        for number, model in enumerate(index["models"])
        for precision, name in model["files"].items()
    }
    visits = {}

    def visit(path, *_):
        name = str(path.relative_to(folder))
        visits[name] = visits.get(name, 0) + 1
        return alone[name] * (1 if visits[name] == 2 else 1.7)

    monkeypatch.setattr(latency_table, "_visit", visit)
    table = latency_table.measure_bundle(folder, rounds=3)
    for column in table["columns"]:
        names = [m["files"][column["precision"]] for m in index["models"]]
        least = [timing["least"] for timing in column["timings"]]
        assert least == [alone[name] for name in names]
        assert column["timings"][0]["median"] == 1.7 * least[0]
        # Nor are predictions compared with a disturbed time.
        checked = [m["role"] for m in index["models"]].index("check")
        ((_, measured),) = column["check"]
        assert measured == alone[names[checked]]


def test_an_interrupted_table_goes_on_after_the_last_whole_round(
    bundle, tmp_path, monkeypatch, capsys
):
    files = len(json.loads((bundle / "index.json").read_text())["models"])
    path, kept = tmp_path / "t.json", tmp_path / "t.json.rounds"
    visits = []

    def visit(*_):
        visits.append(1.0 + len(visits) % 5 / 10)
        if len(visits) == stop:
            raise KeyboardInterrupt
        return visits[-1]

    def measure():
        visits.clear()
        latency_table.main([str(bundle), f"--out={path}", "--rounds=3"])

    monkeypatch.setattr(latency_table, "_visit", visit)
    stop = 2 * files + 2
    with pytest.raises(SystemExit) as stopped:
        measure()
    assert stopped.value.code == 130 and kept.is_file() and not path.exists()
    of_two = kept.read_text()
    stop = None
    measure()
    assert len(visits) == files  # the third round only
    assert "2 of 3 rounds are there" in capsys.readouterr().out
    assert not kept.exists()
    timings = json.loads(path.read_text())["columns"][0]["timings"]
    (first, second), third = json.loads(of_two)["rounds"]["1"], visits
    least = [min(three) for three in zip(first, second, third, strict=True)]
    assert [one["least"] for one in timings] == pytest.approx(least)
    for damaged in (
        of_two[:-9],
        of_two.replace('"bundle": "', '"bundle": "0'),
        json.dumps({"made_of": json.loads(of_two)["made_of"], "rounds": 1}),
        of_two.replace("1.1", "-1.1"),
    ):
        kept.write_text(damaged)
        measure()
        assert len(visits) == 3 * files, damaged


@pytest.mark.parametrize(("ms", "runs"), [(4.0, 4), (100.0, 2)])
def test_a_visit_takes_milliseconds_after_a_warm_up(
    tmp_path, monkeypatch, ms, runs
):
    clock, calls = [0.0], []

    def run():  # at first ten times as long
        clock[0] += ms / 1e3 * (1 if calls else 10)
        calls.append(ms)

    path = tmp_path / "model.tflite"
    path.write_bytes(b"model")
    monkeypatch.setattr(latency_table.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(interpreters, "prepare", lambda *_: run)
    assert latency_table._visit(path, {}, 1, None) == pytest.approx(ms)
    assert len(calls) == 1 + runs  # until 15 ms are over, but two at least


def test_a_visit_takes_the_median_of_its_runs(tmp_path, monkeypatch):
    clock, times = [0.0], iter([50.0, 1.0, 13.0, 2.0])  # a warm-up first

    def run():
        clock[0] += next(times) / 1e3

    path = tmp_path / "model.tflite"
    path.write_bytes(b"model")
    monkeypatch.setattr(latency_table.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(interpreters, "prepare", lambda *_: run)
    assert latency_table._visit(path, {}, 1, None) == pytest.approx(2.0)


def test_networks_are_measured_as_the_table_was(bundle, monkeypatch):
    index = json.loads((bundle / "index.json").read_text())
    wholes = [m for m in index["models"] if m["part"] is None]
    names = [m["files"]["int8"] for m in wholes]
    terms = {
        term
        for parts in random_parts()
        for part in parts
        for term in latency.terms(part)
    }
    table = cost.LatencyTable(
        coefficients={term: 0.01 for term in terms},
        tile=1,
        precision="int8",
        threads=3,
        runtime="a runtime 1.0",
        device="a processor",
        space_name=SPACE.name,
        space_fingerprint=SPACE.fingerprint,
        activation=SPACE.activation,
        causal=SPACE.causal,
    )
    visits = []

    def visit(path, states, threads, runtime):
        assert (threads, runtime) == (3, "a runtime")
        visits.append(str(path.relative_to(bundle)))
        disturbed = 7.0 if visits.count(visits[-1]) < 9 else 0.0
        return 1.0 + names.index(visits[-1]) + disturbed

    monkeypatch.setattr(latency_table, "_visit", visit)
    pairs = latency_table.predicted_and_measured(table, bundle, "a runtime")
    predicted, measured = zip(*pairs, strict=True)
    assert measured == (1.0, 2.0, 3.0, 4.0)
    archs = [
        space.ArchSpec.from_dict(index["archs"][m["arch"]]) for m in wholes
    ]
    assert list(predicted) == [table.network_ms(a, CLASSES) for a in archs]


def test_a_table_that_cannot_be_kept_is_not_measured(capsys, tmp_path):
    (tmp_path / "file").touch()
    for out in (tmp_path / "file/table.json", tmp_path):
        with pytest.raises(SystemExit):
            latency_table.main([str(tmp_path), f"--out={out}"])
        assert f"Cannot write {out}: " in capsys.readouterr().err


def test_what_is_timed_has_no_subtraction_of_the_mean_pixel(bundle):
    """As what is exported: see `input_zero_point`."""
    index = latency_table.read_index(bundle)
    for model in index["models"]:
        if model["part"] in (None, "stem"):
            content = (bundle / model["files"]["int8"]).read_bytes()
            graph = flatbuffer.read_graph(content)
            assert graph.tensors[graph.inputs[0]].zero_point == (115,)


def test_every_candidate_is_drawn_equally_often():
    rng = np.random.default_rng(0)
    archs = list(latency_bundle.balanced_networks(SPACE, 6, rng))
    # Three types, none of them skipped: twice each at every block.
    for stage, block in ((0, 0), (1, 0), (1, 1)):
        types = [arch.stages[stage][block].block_type for arch in archs]
        assert sorted(types) == sorted(
            2 * list(SPACE.stages[stage].block_types)
        )


def test_known_coefficients_are_found():
    rng = random.Random(1)
    networks = list(random_parts())
    names = {
        term
        for parts in networks
        for part in parts
        for term in latency.terms(part, 8)
    }
    # A network takes some ms, so that a half is a part of it.
    true = {name: 1e-3 * rng.random() for name in sorted(names)}

    def ms(part):
        found = latency.terms(part, 8)
        return sum(true[name] * amount for name, amount in found.items())

    # A network takes 1.25 times its parts and half a millisecond.
    column = latency_fit.fit_column(
        [(part, ms(part)) for parts in networks for part in parts],
        [(parts, 1.25 * sum(map(ms, parts)) + 0.5) for parts in networks],
    )
    assert column["tile"] == 8
    assert column["part_error"] < 1e-3
    assert column["scale"] == pytest.approx(1.25, rel=1e-2)
    assert column["constant"] == pytest.approx(0.5, rel=1e-2)
    for parts in networks[:5]:
        predicted = sum(latency_fit.predict(column, part) for part in parts)
        assert predicted == pytest.approx(
            1.25 * sum(map(ms, parts)) + 0.5, rel=1e-2
        )


def test_the_error_of_a_part_is_of_fits_without_it():
    stem, block, *_, head = next(random_parts())
    column = latency_fit.fit_column([(stem, ms) for ms in (1, 1, 1, 1, 2)], [])
    # Without one of 1 ms: (3 + 1/2) / (3 + 1/4) ms; without that of 2 ms: 1.
    assert column["part_error"] == pytest.approx(3.5 / 3.25 - 1)
    assert (column["scale"], column["constant"]) == (1.0, 0.0)
    # Of what nothing else is made of, no fit without it says anything.
    parts = [(stem, 3.0), (stem, 3.0), (block, 1.0), (head, 1.0)]
    assert latency_fit.fit_column(parts, [])["part_error"] < 1e-6
    assert latency_fit.fit_column(parts[1:], [])["part_error"] == 1.0


def test_no_coefficient_is_negative():
    # Without the limit the solution would be (4, -1).
    solution = latency_fit.nonnegative_least_squares(
        np.array([[1.0, 1.0], [1.0, 2.0]]), np.array([3.0, 2.0])
    )
    # Then x alone: (3 + 2) / 2.
    assert solution == pytest.approx([2.5, 0.0])


def test_a_report_by_hand():
    def timing(low, median, high):
        return {"least": 0.1, "low": low, "median": median, "high": high}

    table = {
        "space": {"name": "tiny"},
        "device": {
            "processor": "A7", "cores": 4, "system": "L 6", "runtime": "r 1",
        },
        "per": "clip",
        "columns": [
            {
                "precision": "int8", "threads": 2, "parts": 9, "tile": 8,
                "part_error": 0.031, "coefficients": {"a": 1.0, "b": 2.0},
                "timings": [timing(1, 2, 3), timing(4, 5, 5), timing(9, 9, 9)],
                "check": [(1.1, 1.0), (3.0, 4.0), (2.0, 2.0)],
            }
        ],
    }  # fmt: skip
    assert latency_table.format_report(table).splitlines() == [
        "space tiny on A7, 4 cores, L 6, r 1, ms per clip",
        "int8, threads 2: 9 distinct parts timed (spread of the middle half "
        "20.0%), 2 terms, tile 8; error of a part left out: median 3.1%",
        "  3 whole networks not used in the fit, 1.00-4.00 ms: absolute error "
        "median 10.0%, largest 25.0%; correlation 0.987",
    ]
    two = latency_table.format_check([(1.1, 1.0), (3.0, 4.0)])
    assert two.endswith("absolute error median 17.5%, largest 25.0%")


def test_a_folder_in_use_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="must be absent or empty"):
        latency_bundle.make_bundle(SPACE, tmp_path)
    with (
        claim.claim(tmp_path / "other" / ".unfinished"),
        pytest.raises(ValueError, match="no other process's.*/other'"),
    ):
        latency_bundle.make_bundle(SPACE, tmp_path / "other")
    assert [path.name for path in tmp_path.rglob("file")] == ["file"]


def test_a_bundle_that_was_left_unfinished_is_made_anew(tmp_path, monkeypatch):
    def make(progress=lambda line: None):
        return latency_bundle.make_bundle(
            SPACE, tmp_path, precisions=("fp32",), num_classes=CLASSES,
            samples=0, check=1, progress=progress,
        )  # fmt: skip

    def killed(*_):
        raise KeyboardInterrupt

    copy = latency_bundle._copy_modules

    def killed_when_copied(folder):
        assert not (folder / "index.json").exists()
        copy(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(killed)
    (tmp_path / "models" / "0001_fp32.tflite").touch()  # of another draw
    with pytest.raises(ValueError, match="Cannot read a latency bundle"):
        latency_table.read_index(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(latency_bundle, "_copy_modules", killed_when_copied)
        with pytest.raises(KeyboardInterrupt):
            make()
    assert latency_table.read_index(make())["models"]
    assert [path.name for path in (tmp_path / "models").iterdir()] == [
        "0000_fp32.tflite"
    ]
    assert not (tmp_path / ".unfinished").exists()
    lines = []
    make(lines.append)  # the same is not made again
    assert lines == [f"{tmp_path} is there"]
    with monkeypatch.context() as patched:
        versions = {"tensorflow": "0.0"}
        patched.setattr(run_dir, "_versions", lambda: versions)
        with pytest.raises(ValueError, match="absent or empty.*remove an old"):
            make()
    with pytest.raises(ValueError, match="absent or empty.*remove an old"):
        latency_bundle.make_bundle(SPACE, tmp_path)


def test_an_unknown_precision_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`precisions` must be one of"):
        latency_bundle.make_bundle(SPACE, tmp_path, precisions=["int16x8"])


def test_another_folder_is_no_bundle(tmp_path):
    (tmp_path / "index.json").write_text("{}")
    with pytest.raises(ValueError, match="is not a latency bundle"):
        latency_table.read_index(tmp_path)
