import json

import pytest

from autox3d_tf import cost
from autox3d_tf import space as space_lib
from autox3d_tf.search import files as search_files
from autox3d_tf.search import run
from autox3d_tf.studies import rank, trial
from tests.search import search_driver

SPACE = search_driver.SPACE
BETTER = (0.9, 0.5, 0.8, 0.4, 0.7)  # inherited, of five architectures


@pytest.fixture
def search_dir(tmp_path, monkeypatch):
    """A finished search, as far as ranking looks at it."""
    folder = tmp_path / "search"
    folder.mkdir()
    SPACE.save(folder / "space.json")
    record = {
        "format": search_files.FORMAT,
        "schema_version": search_files.SCHEMA_VERSION,
        "config": {
            "data": {"source": "clips", "short_side_range": [64, 80]},
            "search": {"steps": 6, "warmup_steps": 2, "batch_size": 4},
            "weights": {"name": "adamw"},
            "budgets": [
                {"metric": "macs", "target": 6e4},
                {"metric": "joules", "target": 9e9},  # a cost of one's own
            ],
            "seed": 3,
        },
    }
    (folder / "search.json").write_text(json.dumps(record))
    monkeypatch.setattr(trial, "forget", lambda: None)
    monkeypatch.setattr(trial, "clips_of", lambda *_: ("manifest", 2))
    return folder


@pytest.fixture
def searches(monkeypatch):
    """Calls of `run_search`, which judges five architectures."""
    calls = []

    def run_search(**arguments):
        calls.append(arguments)
        top = [
            {
                "indices": [number % 3, 0, 0, 0, 0, 0, 0],
                "judged": {"accuracy": value, "log_likelihood": value - 1},
            }
            for number, value in enumerate(sorted(BETTER, reverse=True))
        ]
        return {"top": top}

    monkeypatch.setattr(run, "run_search", run_search)
    return calls


def train(*, arch, data, run_dir, seed):
    """The wider the first stage, the better: 4, 8 or 12 filters."""
    assert seed == 0  # of all: only the architectures differ
    spec = space_lib.load_arch(arch)
    config = {"data": {"source": "", "cache_dir": None}, "training": {}}
    config["data"] |= {f"{p}_folds": () for p in ("train", "val", "test")}
    return {
        "labels": ["a", "b"],
        "validation": {"accuracy": spec.out_filters / 20, "clips": 20},
        "config": {**config, "optimizer": {}},
    }


def rank_five(search_dir, tmp_path, **changes):
    return rank.rank_correlation(
        search_dir,
        **{
            "train_fn": train,
            "run_dir": tmp_path / "runs",
            "results_dir": tmp_path / "results",
            "count": 5,
            "candidates": 5,
            **changes,
        },
    )


def test_tau_of_five_by_hand(search_dir, searches, tmp_path):
    _, summary = rank_five(search_dir, tmp_path)
    # filters 4 8 12 4 8 from the best inherited down. Of 10 pairs two are
    # ties; of the others (4,8), (4,12), (8,12), (4,8), (4,8) are the wrong
    # way round, (8,4), (12,4), (12,8) the right one: -2 / sqrt(10 x 8).
    tau = summary["inherited_accuracy"]
    assert tau["tau_b"] == pytest.approx(-2 / 80**0.5)
    assert tau["low"] < tau["tau_b"] < tau["high"]
    assert summary["inherited_log_likelihood"]["tau_b"] == tau["tau_b"]
    (call,) = searches
    assert call["search"].method == "random"
    assert call["search"].candidates == call["search"].top_k == 5
    assert call["supernet_from"] == str(search_dir)
    assert call["seed"] == 3
    assert call["targets"] == {"macs": 6e4, "joules": 9e9}
    assert call["data"].short_side_range == (64, 80)


def test_rankings_are_printed_and_kept(search_dir, searches, tmp_path):
    records, summary = rank_five(search_dir, tmp_path)
    paths = sorted((tmp_path / "results").glob("arch_*.json"))
    assert records == [json.loads(path.read_text()) for path in paths]
    first = cost.cost_of(SPACE.decode(records[0]["indices"]), num_classes=2)
    assert records[0]["macs"] == first.macs
    assert records[0]["params"] == first.params
    text = rank.format_rankings(records, summary)
    assert "| 1 | -0.1000 | 90.00 | 20.00 | 4 |" in text
    assert "tau-b, inherited accuracy against accuracy trained alone, 5" in text
    kept = json.loads((tmp_path / "results" / rank.SUMMARY).read_text())
    assert kept == summary


def test_what_is_trained_is_not_trained_again(search_dir, searches, tmp_path):
    first = rank_five(search_dir, tmp_path)
    assert rank_five(search_dir, tmp_path, train_fn=None) == first


def test_more_architectures_join_those_of_the_same_places(
    search_dir, searches, tmp_path
):
    four, _ = rank_five(search_dir, tmp_path, count=4)
    assert [record["place"] for record in four] == [0, 1, 3, 4]
    trained = []

    def counted(**arguments):
        trained.append(arguments["run_dir"])
        return train(**arguments)

    five, summary = rank_five(search_dir, tmp_path, train_fn=counted)
    assert [record["place"] for record in five] == [0, 1, 2, 3, 4]
    assert len(trained) == 1 and "arch_02_of_5" in trained[0]
    again, fewer = rank_five(search_dir, tmp_path, count=4, train_fn=None)
    assert again == four and fewer["architectures"] == 4 < len(five)


def test_files_of_another_ranking_are_refused(search_dir, searches, tmp_path):
    rank_five(search_dir, tmp_path)
    with pytest.raises(ValueError, match="another ranking .trainings=1 there"):
        rank_five(search_dir, tmp_path, trainings=2)
    path = search_dir / "search.json"
    path.write_text(path.read_text().replace('"seed": 3', '"seed": 4'))
    with pytest.raises(ValueError, match="another ranking .search="):
        rank_five(search_dir, tmp_path)


def test_a_budget_of_milliseconds_is_refused(search_dir, searches, tmp_path):
    path = search_dir / "search.json"
    path.write_text(path.read_text().replace('"joules"', '"latency_ms"'))
    with pytest.raises(ValueError, match="whose table is not kept with it"):
        rank_five(search_dir, tmp_path)


def test_places_cover_the_ranking():
    assert rank.even_places(48, 12)[0] == 0
    assert rank.even_places(48, 12)[-1] == 47
    assert len(set(rank.even_places(12, 12))) == 12
    with pytest.raises(ValueError, match="`count` must be at most 3"):
        rank.even_places(3, 4)


def test_too_few_architectures_are_refused(search_dir, tmp_path):
    with pytest.raises(ValueError, match=r"`count` must be in \[4, candid"):
        rank_five(search_dir, tmp_path, count=3)
    with pytest.raises(ValueError, match="`count` must be in"):
        rank_five(search_dir, tmp_path, count=6)
    with pytest.raises(ValueError, match="`trainings` must be a positive int"):
        rank_five(search_dir, tmp_path, trainings=0)


def test_networks_trained_by_two_recipes_are_not_ranked(
    search_dir, searches, tmp_path
):
    rank_five(search_dir, tmp_path, count=4)

    def longer(**arguments):
        record = train(**arguments)
        return {
            **record,
            "config": {**record["config"], "training": {"epochs": 99}},
        }

    with pytest.raises(
        ValueError, match="of different recipes.*epochs='nothing'"
    ):
        rank_five(search_dir, tmp_path, train_fn=longer)


def test_clips_to_test_on_are_looked_for_before_anything_is_judged(
    search_dir, searches, tmp_path, monkeypatch
):
    def clips_of(data, run_dir):
        assert (data.source, run_dir) == ("clips", tmp_path / "runs")
        raise ValueError("none are held out")

    monkeypatch.setattr(trial, "clips_of", clips_of)
    with pytest.raises(ValueError, match="none are held out"):
        rank_five(search_dir, tmp_path)
    assert not searches


def test_a_supernet_of_other_clips_or_seed_is_refused(tmp_path, monkeypatch):
    data = {"source": str(tmp_path / "clips"), "memory_mib": 0}
    config = {"kind": "search", "space": {}, "manifest": "a", "order": "b",
              "data": data, "weights": {}, "seed": 1,
              "search": {"method": "random"}}  # fmt: skip
    (tmp_path / "run.json").write_text(json.dumps({**config, "budgets": []}))
    assert len(run.check_supernet(str(tmp_path), config)) == 64
    with pytest.raises(ValueError, match="`supernet_from` must be .*seed=1 th"):
        run.check_supernet(str(tmp_path), {**config, "seed": 2})
    with pytest.raises(ValueError, match="`supernet_from` must be .*order='b'"):
        # The same clips, but in other halves.
        run.check_supernet(str(tmp_path), {**config, "order": "c"})
    monkeypatch.chdir(tmp_path)  # the same clips, spelled otherwise
    data = {"source": "clips", "memory_mib": 64}
    run.check_supernet(str(tmp_path), {**config, "data": data})
    with pytest.raises(ValueError, match="is no run's directory"):
        run.check_supernet(str(tmp_path / "nothing"), config)
