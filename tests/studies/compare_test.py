import dataclasses
import functools
import json
import pathlib
import sys
import time

import gin
import pytest

from autox3d_tf import cost
from autox3d_tf import space as space_lib
from autox3d_tf.base import files as files_lib
from autox3d_tf.data import options as data_options
from autox3d_tf.runs import gin_app
from autox3d_tf.runs import run_dir as run_dir_lib
from autox3d_tf.search import baselines, run
from autox3d_tf.search import files as search_files
from autox3d_tf.search import options as options_lib
from autox3d_tf.studies import compare, page, plan, rank, tables, trial
from autox3d_tf.training import run as training_run
from tests.search import search_driver
from tests.training import tiny

SPACE = search_driver.SPACE
SEARCH = options_lib.SearchOptions(
    steps=100, warmup_steps=20, batch_size=10, warmup_samples=2, rerank=3
)
ESTIMATOR = options_lib.EstimatorOptions()
SEARCHED = [method for method in plan.COMPARED if method not in plan.BY_HAND]


class FakeSearch:
    """Counts clips as the real one would, and finds the first architecture."""

    def __init__(self, rate=0.1):
        self.calls, self.rate = {}, rate

    def __call__(self, *, search, estimator, run_dir, seed, space, **others):
        config = {
            "search": dataclasses.asdict(search),
            "estimator": dataclasses.asdict(estimator),
            "space": {"fingerprint": space_lib.get_space(space).fingerprint},
            "seed": seed,
            "weights": {"learning_rate": self.rate},
            "logits": {},
            "budgets": [{"metric": "macs", "target": others["target_macs"]}],
        }
        run_dir_lib.RunDir(run_dir, config)
        if search_files.is_finished(run_dir):
            return search_files.read_record(run_dir)
        name = run_dir.rsplit("/", 1)[1]
        others |= {"space": space, "seed": seed}
        self.calls[name] = {"search": search, "estimator": estimator, **others}
        k, later = (
            estimator.fixed_samples or 5,
            search.steps - search.warmup_steps,
        )
        trained = 10 * (search.warmup_steps * search.warmup_samples + later * k)
        chosen_among = max(search.rerank, search.refine)
        judged = 10 * later * k + 40 * chosen_among
        if search.method in options_lib.JUDGED:
            judged = search.candidates * 40
        sum(range(200_000))  # takes some time, which is a divisor
        SPACE.decode([0] * len(SPACE.choices)).save(f"{run_dir}/arch.json")
        record = {
            "format": search_files.FORMAT,
            "schema_version": search_files.SCHEMA_VERSION,
            "counts": {
                "architectures": trained // 10,
                "clips_trained": trained,
                "clips_judged": judged,
            },
            "chosen_among": {"clips": 40 * chosen_among},
            "judged_on": {"clips": 40},
            "inherited_accuracy": 0.5,
            "first_samples": 9,
            "config": config,
        }
        with open(f"{run_dir}/search.json", "w") as file:
            json.dump(record, file)
        return record


class FakeTrain:
    """Networks of the search are better than others by a tenth."""

    def __init__(self, epochs=1):
        self.calls, self.epochs, self.data = [], epochs, []

    def __call__(self, *, arch, data, run_dir, seed):
        assert arch.endswith("arch.json")
        self.calls.append((run_dir, seed))
        self.data.append(data)
        better = "/probabilistic_" in run_dir
        data = {**dataclasses.asdict(data), "source": run_dir}
        return {
            "labels": ["a", "b"],
            "validation": {"accuracy": 0.8 + 0.1 * better, "clips": 40},
            "config": {
                "data": data,
                "training": {"epochs": self.epochs},
                "optimizer": {},
            },
        }


@pytest.fixture
def compare_fakes(clips, tmp_path, monkeypatch):
    SPACE.save(tmp_path / "space.json")
    monkeypatch.setattr(trial, "forget", lambda: None)  # seconds of nothing
    monkeypatch.setattr(run_dir_lib, "git_commit", lambda: None)

    def compare_fakes(**changes):
        return compare.compare_searches(
            **{
                "search_fn": FakeSearch(),
                "train_fn": FakeTrain(),
                "space": str(tmp_path / "space.json"),
                "data": data_options.DataOptions(
                    source=clips, train_folds=(0, 1, 2, 3)
                ),
                "search": SEARCH,
                "estimator": ESTIMATOR,
                "budgets": (60_000.0, 100_000.0),
                "run_dir": str(tmp_path / "runs"),
                "results_dir": str(tmp_path / "results"),
                "seeds": (0, 1),
                "folds": (3,),
                **changes,
            }
        )

    return compare_fakes


def test_all_methods_get_the_same_number_of_clips(compare_fakes, capsys):
    fake = FakeSearch()
    found = compare_fakes(search_fn=fake)
    printed = capsys.readouterr().out
    assert printed == page.format_tables(found)
    assert printed.count("## ") == len(tables.sections(found)) > 2
    assert len(found) == len(plan.COMPARED) * 2 * 2
    assert len(fake.calls) == len(SEARCHED) * 2 * 2 + 2  # with the warm-ups
    # 20 steps of 2 x 10 clips, 80 steps of 5 x 10, twice, and 3 times 40
    clips = 20 * 20 + 80 * 100 + 3 * 40
    for record in found:
        if record["method"] in plan.BY_HAND:
            assert record["search"] is None
        elif record["method"] != "parsec_equal_steps":
            assert record["search"]["clips"] == pytest.approx(clips, rel=0.03)
    fixed = fake.calls["parsec_0.06M_seed0_fold3"]
    assert fixed["estimator"].fixed_samples == 9
    # Of 9 architectures, each of 10 clips of both halves; to choose costs 120.
    assert fixed["search"].steps == 20 + round(80 * 100 / (9 * 20))
    same = fake.calls["parsec_equal_steps_0.06M_seed0_fold3"]
    assert same["search"] == SEARCH and same["estimator"].fixed_samples == 9
    # without those that choose, of 80 steps of 10 clips
    assert found[0]["search"]["mean_samples"] == 5


def test_a_run_is_measured_by_the_search_of_its_budget_seed_and_fold():
    run = plan.Run(method="random", target_macs=2e5, seed=3, fold=1)
    reference = dataclasses.replace(run, method=plan.REFERENCE)
    assert plan.Plan.measured_by(run) == reference
    assert plan.Plan.measured_by(reference) is None


def test_all_methods_share_one_warm_up_per_seed(compare_fakes):
    fake = FakeSearch()
    found = compare_fakes(search_fn=fake)
    for name, call in fake.calls.items():
        supernet = f"supernet_{name[name.index('seed') :]}"
        assert name.endswith(f"seed{call['seed']}_fold3")
        if name == supernet:
            assert "supernet_from" not in call
            assert call["search"].steps == SEARCH.warmup_steps
        else:
            assert call["supernet_from"].endswith(f"/{supernet}")
    searched = [r["search"] for r in found if r["search"]]
    assert {s["warm_up_clips"] for s in searched} == {20 * 20}
    for record in searched:
        assert record["cpu_seconds"] >= record["warm_up_cpu_seconds"] > 0


def test_the_held_out_fold_is_never_seen_by_a_search_or_a_training(
    compare_fakes,
):
    fake, train = FakeSearch(), FakeTrain()
    compare_fakes(search_fn=fake, train_fn=train, folds=(1, 2), seeds=(0,))
    seen = [(name, call["data"]) for name, call in fake.calls.items()]
    for (run_dir, _), data in zip(train.calls, train.data, strict=True):
        seen.append((run_dir.split("/")[-2], data))
    assert len(seen) == 2 * (1 + 2 * (len(SEARCHED) + len(plan.COMPARED)))
    for name, data in seen:
        fold = int(name[-1])
        assert data.val_folds == (fold,)
        assert data.train_folds == tuple(f for f in range(4) if f != fold)
        assert data.test_folds == ()


def test_all_other_folds_that_are_named_are_trained_on():
    data = data_options.DataOptions(
        source="clips", train_folds=(3, 0), val_folds=(1,), test_folds=(2,)
    )
    held_out = trial.data_of_fold(data, 0)
    assert (held_out.train_folds, held_out.val_folds) == ((1, 2, 3), (0,))
    assert held_out.test_folds == ()
    assert trial.data_of_fold(data, None) is data


def test_finished_runs_are_not_repeated(compare_fakes):
    first = compare_fakes()
    search, train = FakeSearch(), FakeTrain()
    assert compare_fakes(search_fn=search, train_fn=train) == first
    assert not search.calls and not train.calls


def test_other_budgets_may_follow(compare_fakes):
    compare_fakes(budgets=(60_000.0,))
    fake = FakeSearch()
    results = compare_fakes(search_fn=fake)
    assert {result["target_macs"] for result in results} == {60_000, 100_000}
    # On the supernets that are there.
    assert fake.calls and not any("supernet" in name for name in fake.calls)


def test_a_run_that_was_interrupted_goes_on_after_its_search(
    compare_fakes, tmp_path
):
    def broken(**arguments):
        raise SystemExit(130)

    search = FakeSearch()
    with pytest.raises(SystemExit):
        compare_fakes(search_fn=search, train_fn=broken)
    assert list(search.calls) == [
        "supernet_seed0_fold3", "probabilistic_0.06M_seed0_fold3",
    ]  # fmt: skip

    def seconds():
        paths = (tmp_path / "runs" / n / trial.SECONDS for n in search.calls)
        return [json.loads(path.read_text()) for path in paths]

    took = seconds()
    again = FakeSearch()
    found = compare_fakes(search_fn=again)
    assert not search.calls.keys() & again.calls.keys()
    assert seconds() == took  # to look at what has ended costs nothing
    for one in ("cpu", "wall"):
        total = sum(each[one] for each in took)
        assert found[0]["search"][f"{one}_seconds"] == round(total, 3)


def test_seconds_of_a_finished_training_stay(tmp_path):
    def train_fn(*, run_dir, **_):
        path = pathlib.Path(run_dir, "training.json")
        if not path.exists():
            time.sleep(0.01)
            files_lib.write_json(path, {})
        return {"validation": {"accuracy": 0.5, "clips": 4}}

    def seconds():
        data = data_options.DataOptions(source="unread")
        (test,), _ = trial.train_and_test(train_fn, tmp_path, data=data, seed=1)
        return test["cpu_seconds"], test["wall_seconds"]

    first = seconds()
    assert first[1] >= 0.01
    assert (tmp_path / "train1" / "seconds.json").exists()
    assert seconds() == first


def test_a_process_starts_anew_after_some_runs(compare_fakes, monkeypatch):
    def execv(*arguments):
        commands.append(arguments)
        raise SystemExit(0)  # a real one would not come back

    commands, search = [], FakeSearch()
    monkeypatch.setattr(compare.os, "execv", execv)
    with pytest.raises(SystemExit):
        compare_fakes(search_fn=search, restart_after=3)
    assert len(search.calls) == 4  # one of them is the warm-up
    command = [sys.executable, *sys.orig_argv[1:]]
    assert commands == [(sys.executable, command)]


def test_a_search_that_is_gone_is_not_waited_for(compare_fakes, tmp_path):
    methods = {"budgets": (1e5,), "seeds": (0,)}
    compare_fakes(methods=("probabilistic",), **methods)
    search = FakeSearch()
    again = {
        "methods": ("probabilistic", "random"),
        "run_dir": str(tmp_path / "elsewhere"),
        "search_fn": search,
    }
    with pytest.raises(
        ValueError, match="must have the search probabilistic_0"
    ):
        compare_fakes(**again, **methods)
    assert not search.calls
    compare_fakes(**{**again, "run_dir": str(tmp_path / "runs")}, **methods)
    assert search.calls
    # With all results there, nothing is needed of the run_dir.
    assert len(compare_fakes(**again, **methods)) == 2


@pytest.mark.parametrize(
    "change, said",
    [
        ({"search": dataclasses.replace(SEARCH, steps=500)}, "steps=100 there"),
        (
            {"estimator": dataclasses.replace(ESTIMATOR, beta=7.0)},
            "estimator.beta=",
        ),
        ({"space": "tiny"}, "space.fingerprint="),
    ],
)
def test_a_search_of_other_options_is_not_taken_for_this_one(
    compare_fakes, tmp_path, change, said
):
    one = {"methods": ("probabilistic",), "budgets": (1e5,), "seeds": (0,)}
    compare_fakes(**one)
    search = FakeSearch()
    compare_fakes(**one, results_dir=str(tmp_path / "same"), search_fn=search)
    assert not search.calls
    with pytest.raises(ValueError, match="belongs to another run .*" + said):
        compare_fakes(**one, results_dir=str(tmp_path / "other"), **change)


def test_a_network_may_be_trained_more_than_once(compare_fakes):
    train = FakeTrain()

    def train_fn(**arguments):
        """The second gets 23 of 43 right: times 43 a little less than 23."""
        record = train(**arguments)
        if arguments["seed"] > 1000:
            record["validation"] = {"accuracy": 23 / 43, "clips": 43}
        return record

    found = compare_fakes(
        train_fn=train_fn, trainings=2, seeds=(1,), methods=("probabilistic",)
    )
    assert [seed for _, seed in train.calls] == [1, 1001] * 2
    assert [t["seed"] for t in found[0]["tests"]] == [1, 1001]
    assert [t["correct"] for t in found[0]["tests"]] == [36, 23]  # 90 % of 40
    assert found[0]["accuracy"] == pytest.approx((0.9 + 23 / 43) / 2)


def test_networks_of_an_earlier_comparison_are_trained_anew(
    compare_fakes, tmp_path
):
    earlier = compare_fakes(seeds=(0,))
    fake = FakeTrain()
    again = {
        "networks_from": str(tmp_path / "results"),
        "results_dir": str(tmp_path / "again"),
        "run_dir": str(tmp_path / "runs_again"),
        "methods": ("probabilistic", "evolution", "hand_scaled"),
        "search_fn": None,
        "train_fn": fake,
        "trainings": 2,
    }
    found = compare_fakes(seeds=(0,), **again)
    assert len(found) == 6 and len(fake.calls) == 12
    by_name = {(r["method"], r["target_macs"]): r for r in earlier}
    for record in found:
        before = by_name[record["method"], record["target_macs"]]
        assert record["arch"] == before["arch"]
        assert record["search"] == before["search"]
    fake.calls.clear()
    with pytest.raises(ValueError, match="seed1_fold3.json"):
        compare_fakes(seeds=(0, 1), **again)
    with pytest.raises(ValueError, match="must be another folder"):
        compare_fakes(**{**again, "results_dir": again["networks_from"]})
    assert not fake.calls


def test_a_small_file_says_how_its_result_came_about(compare_fakes, tmp_path):
    compare_fakes(seeds=(0,), methods=("probabilistic", "hand_scaled"))
    path = tmp_path / "results" / "hand_scaled_0.06M_seed0_fold3.json"
    record = plan.read_result(path)
    arch = space_lib.ArchSpec.from_dict(record["arch"])
    assert record["macs"] <= 60_000 and record["params"] > 0
    assert arch.stem == SPACE.stem and arch.head == SPACE.head
    assert record["provenance"]["command"]
    assert "tensorflow" in record["provenance"]["versions"]
    assert path.stat().st_size < 8_000


def test_what_cannot_be_compared_is_refused(compare_fakes, clips, tmp_path):
    with pytest.raises(ValueError, match="`methods` must have 'probabilistic'"):
        compare_fakes(methods=("random",))
    with pytest.raises(ValueError, match="`methods` must be one of probabil"):
        compare_fakes(methods=("probabilistic", "darts"))
    with pytest.raises(ValueError, match="`seeds` must be different values"):
        compare_fakes(seeds=(1, 1))
    with pytest.raises(ValueError, match=r"`folds` must be among .*: \[0, 1,"):
        compare_fakes(folds=(7,))
    with pytest.raises(ValueError, match="`data` must name clips to test on"):
        compare_fakes(
            train_fn=lambda **_: {"labels": ["a", "b"]},
            methods=("probabilistic",),
        )
    with pytest.raises(ValueError, match="`data` must name clips to test on"):
        compare_fakes(folds=(), search_fn=None)  # before any search
    with pytest.raises(ValueError, match="Received: fold=7"):
        compare_fakes(
            folds=(),
            search_fn=None,
            data=data_options.DataOptions(
                source=clips, train_folds=(0, 1), val_folds=(7,)
            ),
        )
    with pytest.raises(ValueError, match="`trainings` must be a positive inte"):
        compare_fakes(trainings=0)
    with pytest.raises(ValueError, match="holds no results"):
        plan.read_results(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"search": dataclasses.replace(SEARCH, method="gumbel")},
        {"estimator": dataclasses.replace(ESTIMATOR, fixed_samples=8)},
    ],
)
def test_another_search_is_not_called_the_probabilistic_one(
    compare_fakes, changes
):
    with pytest.raises(ValueError, match="must be of the probabilistic search"):
        compare_fakes(search_fn=None, **changes)


def test_networks_are_not_tested_on_clips_that_their_search_saw(
    compare_fakes, tmp_path
):
    compare_fakes(seeds=(0,), methods=("probabilistic", "hand_scaled"))
    path = tmp_path / "results/probabilistic_0.06M_seed0_fold3.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "manifest": "0" * 64}))
    again = {
        "networks_from": str(tmp_path / "results"),
        "results_dir": str(tmp_path / "again"),
        "run_dir": str(tmp_path / "runs_again"),
        "seeds": (0,),
    }
    with pytest.raises(ValueError, match="may have seen what is held out here"):
        compare_fakes(methods=("probabilistic",), **again)
    compare_fakes(methods=("hand_scaled",), **again)  # searched by nobody


def test_a_budget_that_no_random_network_meets_is_refused_first(
    compare_fakes, monkeypatch
):
    monkeypatch.setattr(baselines, "_DRAWS", 0)
    with pytest.raises(ValueError, match="None of 0 random architectures is"):
        compare_fakes(search_fn=None)


def test_a_finished_run_of_other_options_is_refused(
    compare_fakes, clips, tmp_path
):
    methods = {"methods": ("probabilistic",)}
    compare_fakes(seeds=(0,), **methods)
    train = FakeTrain()
    other = dataclasses.replace(SPACE, name="other")
    other.save(tmp_path / "other.json")
    data = data_options.DataOptions(source=clips, train_folds=(0, 1, 2, 3))
    for change, said in (
        ({"trainings": 2}, "trainings=1 there, 2 here"),
        ({"estimator": options_lib.EstimatorOptions(beta=9.0)}, "beta=0.5 th"),
        (
            {"search": dataclasses.replace(SEARCH, rerank=4)},
            "options.rerank=3 there, 4 here",
        ),
        ({"space": str(tmp_path / "other.json")}, "space.name='toy' there, 'o"),
        (
            {"data": dataclasses.replace(data, val_fraction=0.4)},
            "data.val_fraction=0.2 there, 0.4 here",
        ),
        (
            {"data": dataclasses.replace(data, train_folds=(0, 1, 3))},
            "manifest='.*' there",
        ),
        ({"search_fn": FakeSearch(rate=0.2)}, "learning_rate=0.1 there, 0.2"),
    ):
        with pytest.raises(ValueError, match=said):
            compare_fakes(train_fn=train, **methods, **change)
    assert not train.calls
    for path in (tmp_path / "results").iterdir():
        path.unlink()  # as the message says
    search = FakeSearch()
    found = compare_fakes(
        train_fn=train, trainings=2, seeds=(0,), search_fn=search, **methods
    )
    assert [len(record["tests"]) for record in found] == [2, 2]
    assert not search.calls


def test_budgets_that_share_a_name_are_refused(compare_fakes):
    with pytest.raises(ValueError, match="differ in the first six digits"):
        compare_fakes(budgets=(100_000.0, 100_000.04))


@pytest.mark.parametrize(
    ("budgets", "methods", "said"),
    [
        ((1e5, 0.0), SEARCHED, r"positive numbers .*: budgets=\(100000.0, 0.0"),
        ((float("nan"),), SEARCHED, "`budgets` must be positive numbers"),
        ((float("inf"),), SEARCHED, "`budgets` must be positive numbers"),
        ((1e5, 1e3), SEARCHED, "Expected: macs <= 1,000. The smallest has 41,"),
        ((1e5, 1e3), ("hand_scaled",), "hand_scaled_0.001M_.*: No X3D in the"),
    ],
)
def test_impossible_budgets_are_refused_before_the_first_search(
    compare_fakes, tmp_path, budgets, methods, said
):
    search = FakeSearch()
    with pytest.raises(ValueError, match=said):
        compare_fakes(search_fn=search, budgets=budgets, methods=methods)
    assert not search.calls and not list(tmp_path.glob("r*/*"))


def test_searches_of_other_options_are_named(compare_fakes, tmp_path):
    compare_fakes(methods=("probabilistic",), budgets=(1e5,))
    assert "other options" not in page.write_page(tmp_path / "results")
    path = tmp_path / "results" / "probabilistic_0.1M_seed1_fold3.json"
    record = json.loads(path.read_text())
    record["search"]["options"]["rerank"] = 30
    path.write_text(json.dumps(record))
    text = page.write_page(tmp_path / "results")
    assert "- 0.1 M, seed 1: options.rerank=3 there, 30 here" in text


def test_page_names_no_folders_of_one_machine(compare_fakes, tmp_path):
    compare_fakes(methods=("probabilistic",), budgets=(1e5,), seeds=(0,))
    (path,) = (tmp_path / "results").glob("*.json")
    record = json.loads(path.read_text())
    record["provenance"]["command"] = [
        "/opt/bin/tool.py",
        "--gin_file=gin/search/own.gin",
        "--gin=DATA='/data/a-b/manifest.csv'",
        "--run_dir=/tmp/out",
    ]
    path.write_text(json.dumps(record))
    said = (
        "made by `tool.py --gin_file=gin/search/own.gin "
        "\"--gin=DATA='.../manifest.csv'\" --run_dir=.../out`"
    )
    assert said in page.write_page(tmp_path / "results")


def test_a_result_of_another_recipe_is_not_put_beside_others(
    compare_fakes, tmp_path
):
    methods = {"methods": ("hand_scaled",), "budgets": (1e5,)}
    compare_fakes(seeds=(0,), **methods)
    with pytest.raises(ValueError, match="training.epochs=1 there, 3 here"):
        compare_fakes(train_fn=FakeTrain(epochs=3), seeds=(0, 1), **methods)
    assert len(list((tmp_path / "results").iterdir())) == 1


def test_results_of_two_spaces_or_optimizers_are_not_put_into_one_table(
    compare_fakes, tmp_path
):
    compare_fakes(methods=("probabilistic",), budgets=(1e5,))
    folder = tmp_path / "results"
    path = folder / "probabilistic_0.1M_seed1_fold3.json"
    made = path.read_text()
    for place, value, said in (
        (("space", "fingerprint"), "0", "different spaces"),
        (("search", "weights", "learning_rate"), 9.0, "optimizers of weights"),
        (("manifest",), "0", "different clips"),
    ):
        record = json.loads(made)
        inner = functools.reduce(dict.get, place[:-1], record)
        inner[place[-1]] = value
        path.write_text(json.dumps(record))
        with pytest.raises(ValueError, match=said):
            plan.read_results(folder)
    # of another fold, whose clips are others
    path.write_text(json.dumps({**json.loads(made), "fold": 2, "manifest": 0}))
    assert len(plan.read_results(folder)) == 2


def test_results_of_before_are_gone_on_with(compare_fakes, tmp_path):
    methods = {"methods": ("probabilistic",), "budgets": (1e5,)}
    compare_fakes(seeds=(0,), **methods)
    (path,) = (tmp_path / "results").iterdir()
    record = json.loads(path.read_text())
    for name in ("space", "manifest"):
        del record[name]
    for name in ("weights", "logits"):
        del record["search"][name]
    path.write_text(json.dumps(record))
    assert len(compare_fakes(**methods)) == 2
    assert len(plan.read_results(tmp_path / "results")) == 2


def test_results_of_two_recipes_are_not_put_into_one_table(
    compare_fakes, tmp_path
):
    compare_fakes(seeds=(0,), methods=("probabilistic",))
    path = next((tmp_path / "results").iterdir())
    record = json.loads(path.read_text())
    record["recipe"]["training"] = {"epochs": 3}
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match="different recipes"):
        plan.read_results(tmp_path / "results")
    path.write_text(json.dumps({**record, "schema_version": 9}))
    with pytest.raises(ValueError, match="must have schema_version=1"):
        plan.read_result(path)
    path.write_text("{}")
    with pytest.raises(ValueError, match="was not written by a comparison"):
        plan.read_result(path)


def test_tables_by_hand(compare_fakes, tmp_path):
    compare_fakes()
    text = page.write_page(tmp_path / "results")
    assert (tmp_path / "results" / page.PAGE).read_text() == text
    assert (tmp_path / "results" / page.PLOT).stat().st_size > 5_000
    assert "| probabilistic | 2 | 90.00 | 0.00 | 90.00 to 90.00 |" in text
    assert "| probabilistic - random | 2 | +10.00 | 0.00 |" in text
    # 80 steps of 5 samples or of 9 after 20 of 2; 400 / 720 and 440 / 760
    cells = "0.556 (0.556 to 0.556) | 0.579 (0.579 to 0.579)"
    assert f"| mean (95 % interval) |  |  | {cells} |" in text
    assert "| more than 1.00 | 0 of 2 (2 above, 0 below) | - |" in text


@pytest.mark.large
def test_real_searches_and_trainings_from_clips_to_tables(clips, tmp_path):
    search_driver.SHORT.save(tmp_path / "space.json")
    budget = 100_000.0  # for two widths
    train_fn = functools.partial(
        training_run.run_training,
        training=tiny.training(epochs=1),
        optimizer=tiny.optimizer(),
    )
    found = compare.compare_searches(
        search_fn=functools.partial(run.run_search, finalist_fn=train_fn),
        train_fn=train_fn,
        space=str(tmp_path / "space.json"),
        data=dataclasses.replace(
            search_driver.data_of(clips),
            train_folds=(0, 1, 2, 3),
        ),
        search=options_lib.SearchOptions(
            steps=4, warmup_steps=2, batch_size=4, children=0, top_k=1,
            norm_batches=1, rerank=4, refine=12, finalists=2,
        ),
        estimator=ESTIMATOR,
        budgets=(budget,),
        run_dir=str(tmp_path / "runs"),
        results_dir=str(tmp_path / "results"),
        methods=("probabilistic", "evolution", "random", "hand_scaled"),
        seeds=(0,),
        folds=(3,),
    )  # fmt: skip
    assert [r["method"] for r in found] == [
        "probabilistic", "evolution", "random", "hand_scaled",
    ]  # fmt: skip
    for record in found:
        assert record["macs"] <= budget
        assert record["tests"][0]["clips"] == 4  # two of each class
    # The weights of the shared supernet were trained once, and count each time.
    first, one, two = (found[i]["search"] for i in (0, 1, 2))
    assert one["clips_trained"] == two["clips_trained"] > 0
    assert one["clips_trained"] == first["warm_up_clips"]
    # after it two steps of the probabilistic search
    assert first["clips_trained"] > first["warm_up_clips"]
    # Two finalists of each, trained on a half of the clips, tested on the other
    for own in (first, one, two):
        raced = own["clips"] - own["clips_trained"] - own["clips_judged"]
        assert raced == 2 * (8 + 4 + 6)
    assert "hand_scaled" in page.write_page(tmp_path / "results")
    # The same supernet judges others, for a ranking.
    _, summary = rank.rank_correlation(
        tmp_path / "runs" / "supernet_seed0_fold3",
        train_fn=FakeTrain(),
        run_dir=tmp_path / "rank",
        results_dir=tmp_path / "ranks",
        count=4,
        candidates=4,
    )
    assert summary["architectures"] == 4


@pytest.mark.parametrize(
    "name",
    [
        "compare_egogestar",
        "compare_egogestar_small",
        "compare_egogestar_tiny",
        "compare_synthetic",
    ],
)
def test_gin_files_are_complete_and_hold_clips_out(name, tmp_path):
    overrides = ["DATA=clips", f"RESULTS={tmp_path}"]
    with gin_app.configured(
        compare.compare_searches,
        [f"gin/search/{name}.gin"],
        overrides,
        str(tmp_path),
    ):
        data = gin.get_configurable(data_options.DataOptions)()
        seeds, folds = (
            gin.query_parameter(f"%{macro}") for macro in ("SEEDS", "FOLDS")
        )
        space = space_lib.get_space(gin.query_parameter("%SPACE"))
        assert min(gin.query_parameter("%BUDGETS")) > cost.cheapest(
            space, cost.Budget(target=1, num_classes=10)
        )
    assert len(seeds) >= 3
    for fold in folds:
        held_out = trial.data_of_fold(data, fold)
        assert held_out.val_folds == (fold,)
        assert len(held_out.train_folds) == 3
    assert (data.clip_frames, data.crop_size) == space.clip_size[:2]


def test_spaces_of_ones_own_may_be_compared(tmp_path):
    own = tmp_path / "own.gin"
    own.write_text(
        "include 'gin/search/motion.gin'\n"
        "include 'gin/search/own_space.gin'\n"
        "include 'gin/search/compare.gin'\n"
        "BUDGETS = (1e6,)\nFOLDS = (3,)\n"
        "STEPS = 800\nWARMUP_STEPS = 700\n"  # those of the largest, too
    )
    with (
        gin_app.configured(
            compare.compare_searches,
            [str(own)],
            ["DATA=clips", "RESULTS=results", "SEEDS=()"],
            "run",
        ) as compare_searches,
        pytest.raises(ValueError, match="`seeds`"),
    ):
        compare_searches()


def test_scaling_by_hand_in_depth_gives_fewer_and_wider_blocks(compare_fakes):
    found = {
        record["method"]: record
        for record in compare_fakes(
            methods=tuple(plan.BY_HAND), seeds=(0,), budgets=(100_000.0,)
        )
    }
    blocks = {
        method: [len(stage) for stage in record["arch"]["stages"]]
        for method, record in found.items()
    }
    depths = [stage.depth for stage in SPACE.stages]
    assert blocks["hand_scaled"] == depths
    assert blocks["hand_scaled_half"] == [-(-d // 2) for d in depths]
    assert max(depths) > 1
    assert found["hand_scaled_half"]["macs"] <= 100_000
