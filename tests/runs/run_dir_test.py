import dataclasses
import hashlib
import json
import os
import pathlib
import sys

import numpy as np
import pytest

from autox3d_tf.base import files as files_lib
from autox3d_tf.runs import run_dir


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    rate: float = 0.1
    sizes: tuple[int, ...] = (1, 2)


def test_same_run_enters_again(tmp_path):
    config = {"kind": "train", "options": Options()}
    first = run_dir.RunDir(tmp_path / "a", config)
    again = run_dir.RunDir(tmp_path / "a", config)
    assert not first.resumed and again.resumed
    assert again.checkpoints.is_dir() and again.summaries.is_dir()
    assert first.fingerprint == again.fingerprint


def test_another_run_is_refused_and_named(tmp_path):
    run_dir.RunDir(tmp_path, {"seed": 0, "options": Options()})
    with pytest.raises(ValueError, match=r"options.rate=0.1 there, 0.5 here"):
        run_dir.RunDir(tmp_path, {"seed": 0, "options": Options(rate=0.5)})
    kept = json.loads((tmp_path / "run.json").read_text())
    assert kept["options"]["rate"] == 0.1


def test_clips_may_be_spelled_otherwise(tmp_path):
    data = {"source": "rec", "stride": 2, "memory_mib": 1500}
    first = run_dir.RunDir(tmp_path, {"data": data, "manifest": "a"})
    for spelled in ("./rec", os.path.abspath("rec")):
        changes = {"source": spelled, "memory_mib": 0}
        other = {"data": {**data, **changes}, "manifest": "a"}
        again = run_dir.RunDir(tmp_path, other)
        assert again.resumed and again.fingerprint == first.fingerprint
        with pytest.raises(ValueError, match="manifest='a' there, 'b' here"):
            run_dir.RunDir(tmp_path, {**other, "manifest": "b"})
    for moved in ("../rec", "elsewhere/rec"):
        here = {"data": {**data, "source": moved}, "manifest": "a"}
        with pytest.raises(ValueError, match="data.source='rec' there, "):
            run_dir.RunDir(tmp_path, here)
    other = {"data": {**data, "source": "rec144"}, "manifest": "a"}
    with pytest.raises(ValueError, match="data.source='rec' there, 'rec144'"):
        run_dir.RunDir(tmp_path, other)


def test_a_run_goes_on_where_its_clips_have_moved(tmp_path, monkeypatch):
    (tmp_path / "rec").mkdir()
    monkeypatch.chdir(tmp_path)
    clips = {"manifest": "a", "order": "b"}
    run_dir.RunDir("run", {"data": {"source": "rec"}, **clips})
    (tmp_path / "other/rec").mkdir(parents=True)
    moved = {"data": {"source": "other/rec"}, **clips}
    with pytest.raises(ValueError, match="data.source='rec' there, 'other/r"):
        run_dir.RunDir("run", moved)  # both are there
    (tmp_path / "rec").rmdir()
    assert run_dir.RunDir("run", moved).resumed
    for changes in ({"order": "c"}, {"data": {"source": "other/rec144"}}):
        with pytest.raises(ValueError, match="belongs to another run"):
            run_dir.RunDir("run", {**moved, **changes})


def test_the_same_weights_may_lie_elsewhere(tmp_path):
    start = {"path": "a/weights.npz", "sha256": "1"}
    first = run_dir.RunDir(tmp_path, {"init_from": start})
    moved = {"path": "/b/weights.npz", "sha256": "1"}
    again = run_dir.RunDir(tmp_path, {"init_from": moved})
    assert again.resumed and again.fingerprint == first.fingerprint
    for other in ({**start, "sha256": "2"}, None):
        with pytest.raises(ValueError, match="belongs to another run"):
            run_dir.RunDir(tmp_path, {"init_from": other})


def test_a_run_of_another_kind_is_told_in_a_line(tmp_path):
    run_dir.RunDir(tmp_path / "a", {"kind": "search", "steps": 1})
    with pytest.raises(ValueError, match="kind, 'search' there and 'train' he"):
        run_dir.RunDir(tmp_path / "a", {"kind": "train", "epochs": 3})


def test_a_run_from_before_an_option_goes_on_as_it_was(tmp_path):
    before = run_dir.RunDir(tmp_path, {"data": {"stride": 2}})
    config = {"data": {"stride": 2, "stride_fps": None}}
    resumed = run_dir.RunDir(tmp_path, config)
    assert resumed.resumed and resumed.fingerprint == before.fingerprint
    assert run_dir.RunDir(tmp_path, {"data": {"stride": 2}}).resumed
    config["data"]["stride_fps"] = 30.0
    with pytest.raises(ValueError, match="stride_fps='nothing' there, 30.0"):
        run_dir.RunDir(tmp_path, config)


def test_missing_key_is_a_difference(tmp_path):
    run_dir.RunDir(tmp_path, {"seed": 0})
    with pytest.raises(ValueError, match="arch='nothing' there, 'x' here"):
        run_dir.RunDir(tmp_path, {"seed": 0, "arch": "x"})
    with pytest.raises(ValueError, match="seed=0 there, 'nothing' here"):
        run_dir.RunDir(tmp_path, {})


def test_directory_of_somebody_else_is_refused(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(ValueError, match="has checkpoints but no run.json"):
        run_dir.RunDir(tmp_path, {})


def test_a_directory_that_was_killed_while_it_was_made_is_entered(
    tmp_path, monkeypatch
):
    def killed(*arguments, **options):
        raise SystemExit(137)

    with monkeypatch.context() as patch:
        patch.setattr(run_dir.pathlib.Path, "mkdir", killed)
        with pytest.raises(SystemExit):
            run_dir.RunDir(tmp_path, {"seed": 0})
    assert run_dir.RunDir(tmp_path, {"seed": 0}).checkpoints.is_dir()


def test_file_is_refused(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(ValueError, match="`path` must be a directory"):
        run_dir.RunDir(tmp_path / "a", {})


def test_damaged_run_file_is_one_line(tmp_path):
    run_dir.RunDir(tmp_path, {"seed": 0})
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(ValueError, match="run.json is not the config of"):
        run_dir.RunDir(tmp_path, {"seed": 0})


def test_json_values_round_trip(tmp_path):
    value = {
        "options": Options(),
        "path": pathlib.Path("a/b"),
        "array": np.array([1, 2]),
        "number": np.float32(0.5),
        "set": {2, 1},
    }
    path = files_lib.write_json(tmp_path / "deep" / "x.json", value)
    assert json.loads(path.read_text()) == {
        "options": {"rate": 0.1, "sizes": [1, 2]},
        "path": "a/b",
        "array": [1, 2],
        "number": 0.5,
        "set": [1, 2],
    }
    assert [p.name for p in path.parent.iterdir()] == ["x.json"]


def test_what_is_no_json_is_refused():
    with pytest.raises(ValueError, match="Received: value=.*object"):
        files_lib.to_json({"a": object()})


def test_failed_write_keeps_the_old_file(tmp_path):
    path = files_lib.write_json(tmp_path / "x.json", {"a": 1})
    with pytest.raises(ValueError):
        files_lib.write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}


def test_provenance_hashes_the_inputs(tmp_path):
    file = tmp_path / "manifest.csv"
    file.write_bytes(b"path,label\n")
    made = run_dir.provenance(seed=3, manifest=file)
    digest = hashlib.sha256(b"path,label\n").hexdigest()
    assert made["inputs"] == {
        "seed": 3,
        "manifest": {"path": str(file), "sha256": digest},
    }
    assert made["versions"]["numpy"] == np.__version__


def test_config_text_is_of_the_process_that_is_at_work(tmp_path, monkeypatch):
    monkeypatch.setattr(run_dir, "config_text", lambda: "SEED = 1\n")
    run_dir.RunDir(tmp_path, {}).write_provenance()
    monkeypatch.setattr(run_dir, "config_text", lambda: "SEED = 2\n")
    run_dir.RunDir(tmp_path, {})  # and is refused by a lock
    assert (tmp_path / "config.gin").read_text() == "SEED = 1\n"


def test_provenance_keeps_who_was_at_work_before(tmp_path, monkeypatch, caplog):
    def work(commit, words):
        monkeypatch.setattr(run_dir, "git_commit", lambda: commit)
        monkeypatch.setattr(sys, "argv", words)
        run = run_dir.RunDir(tmp_path, {"seed": 0})
        run.write_provenance(seed=0)
        there = json.loads((tmp_path / "provenance.json").read_text())
        assert there["earlier"] == run.provenance()["earlier"]
        return [(one["git_commit"], one["command"]) for one in there["earlier"]]

    assert work("a", ["search"]) == []
    assert work("a", ["search"]) == []  # the same, interrupted
    assert work("a", ["search", "-v"]) == [("a", ["search"])]
    assert not caplog.records
    earlier = [("a", ["search"]), ("a", ["search", "-v"])]
    assert work("b", ["search", "-v"]) == earlier
    assert "(git_commit='a' there, 'b' here): it may end" in caplog.text
    assert work("b", ["search", "-v"]) == earlier


def test_the_directory_of_another_kind_is_told_before_it_gets_files(tmp_path):
    run_dir.check_kind(tmp_path / "none", "training")
    run_dir.RunDir(tmp_path, {"kind": "search"})
    run_dir.check_kind(tmp_path, "search")
    with pytest.raises(ValueError, match="another kind, 'search' there and"):
        run_dir.check_kind(tmp_path, "training")
