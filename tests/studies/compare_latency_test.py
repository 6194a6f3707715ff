"""Two searches at equal latency, with fakes for search and training."""

import dataclasses
import json
import pathlib

import gin
import pytest

from autox3d_tf import cost, space
from autox3d_tf.data import options as data_options
from autox3d_tf.runs import gin_app
from autox3d_tf.runs import run_dir as run_dir_lib
from autox3d_tf.search import options, run
from autox3d_tf.studies import compare_latency, trial
from tests.cost import latency_test
from tests.search import search_driver

SPACE = latency_test.SPACE
TABLE = latency_test.TABLE
SEARCH = options.SearchOptions(steps=9, warmup_steps=6, batch_size=8)
# Choice indices of the two networks that the fake searches find.
FOUND = {"macs": 1, "latency": 0}


def data_of(clips, **changes):
    folds = {"train_folds": (0, 1, 2), "val_folds": (3,), **changes}
    return data_options.DataOptions(source=clips, **folds)


@pytest.fixture
def compare_fakes(clips, tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "forget", lambda: None)
    monkeypatch.setattr(run_dir_lib, "git_commit", lambda: None)
    calls, epochs = [], [1]

    def search(*, run_dir, **arguments):
        calls.append(arguments)
        pathlib.Path(run_dir, "search.json").touch()
        if "supernet_from" not in arguments:
            return
        kind = "macs" if arguments["target_macs"] else "latency"
        indices = [FOUND[kind]] * len(SPACE.choices)
        SPACE.decode(indices).save(f"{run_dir}/arch.json")

    def train(*, arch, data, run_dir, seed):
        compare_fakes.trained.append((seed, data))
        better = 0.1 * ("/latency_" in arch)
        return {
            "labels": ["a", "b", "c"],
            "validation": {"accuracy": 0.8 + better, "clips": 40},
            "config": {
                "data": dataclasses.asdict(data),
                "training": {"epochs": epochs[0]},
                "optimizer": {},
            },
        }

    def compare_fakes(**changes):
        return compare_latency.compare_latency(
            **{
                "search_fn": search,
                "train_fn": train,
                "space": "tiny",
                "data": data_of(clips),
                "search": SEARCH,
                "latency_table": TABLE,
                "target_macs": 2e6,
                "run_dir": str(tmp_path / "runs"),
                "results_dir": str(tmp_path / "results"),
                "seeds": (0, 1),
                **changes,
            }
        )

    compare_fakes.epochs, compare_fakes.trained = epochs, []
    return compare_fakes, calls


def test_the_second_search_may_take_what_the_first_network_takes(
    compare_fakes,
):
    run, calls = compare_fakes
    text = run()
    first = SPACE.decode([1] * len(SPACE.choices))
    ms = TABLE.network_ms(first, 3)
    searches = [call for call in calls if "supernet_from" in call]
    assert [call["target_macs"] for call in searches] == [2e6, None] * 2
    assert [c.get("target_latency_ms") for c in searches] == [None, ms] * 2
    assert searches[1]["latency_table"] is TABLE
    macs = cost.cost_of(first, num_classes=3).macs / 1e6
    assert f"{'macs':10}{'80.0%':>10}{ms:>8.3f}{macs:>8.2f}" in text
    assert "latency - macs: +10.0 points" in text and "2 pairs" in text


def test_the_interval_is_of_the_gains_of_pairs():
    pairs = [
        {
            "macs": {"accuracy": accuracy, "ms": 2.0, "macs": 3e6},
            "latency": {"accuracy": accuracy + gain, "ms": 1.0, "macs": 4e6},
        }
        for accuracy, gain in ((0.2, 0.1), (0.5, 0.3))
    ]
    # Deviation 20 / sqrt(2), times Student's 12.71 over sqrt(2).
    assert compare_latency.format_pairs(pairs).endswith(
        "latency - macs: +20.0 points, 95 % interval +-127.1; 2 pairs"
    )
    assert compare_latency.format_pairs(pairs[:1]).endswith("points; 1 pair")


def test_both_searches_take_one_warm_up_per_seed(compare_fakes, tmp_path):
    run, calls = compare_fakes
    run()
    warm_ups = [call for call in calls if "supernet_from" not in call]
    assert [call["search"].steps for call in warm_ups] == [6, 6]
    assert [call["seed"] for call in warm_ups] == [0, 1]
    assert [call.get("supernet_from") for call in calls[:3]] == [
        None,
        *[str(tmp_path / "runs/supernet_seed0")] * 2,
    ]


def test_the_held_out_fold_is_never_seen_by_a_search_or_a_training(
    compare_fakes, tmp_path
):
    run, calls = compare_fakes
    run(folds=(1, 2), seeds=(4,))
    seen = [(call["seed"], call["data"]) for call in calls]
    assert len(seen) == 6 and len(run.trained) == 4
    for seed, data in seen[:3] + run.trained[:2]:
        assert (seed, data.val_folds) == (4, (1,))
        assert data.train_folds == (0, 2, 3)
    for seed, data in seen[3:] + run.trained[2:]:
        assert (seed, data.val_folds) == (4, (2,))
        assert data.train_folds == (0, 1, 3)
    for path in (tmp_path / "results").iterdir():
        pair = json.loads(path.read_text())
        assert path.stem.endswith(f"_seed{pair['seed']}_fold{pair['fold']}")


def test_what_is_done_is_not_repeated(compare_fakes):
    run, calls = compare_fakes
    first = run()
    assert len(calls) == 6
    assert run() == first
    assert len(calls) == 6


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"search": dataclasses.replace(SEARCH, steps=99)}, "search.steps=9 t"),
        ({"trainings": 3}, "trainings=1 there, 3 here"),
        ({"space": "motion"}, "space="),
        (
            {"latency_table": dataclasses.replace(TABLE, coefficients={})},
            "table=",
        ),
    ],
)
def test_a_result_of_other_options_is_refused(
    compare_fakes, tmp_path, changes, said
):
    run, calls = compare_fakes
    run()
    with pytest.raises(ValueError, match="made with other options .*" + said):
        run(**changes, run_dir=str(tmp_path / "other"))
    assert len(calls) == 6


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"target_macs": 1e3}, "Expected: macs <= 1,000. The smallest has"),
        ({"target_macs": 0.0}, "must be a positive number"),
        ({"space": "motion"}, "must be of space 'motion'"),
        (
            {"latency_table": dataclasses.replace(TABLE, coefficients={})},
            "has no measurement of",
        ),
    ],
)
def test_budgets_without_a_network_are_refused_before_the_warm_up(
    compare_fakes, tmp_path, changes, said
):
    run, calls = compare_fakes
    with pytest.raises(ValueError, match=said):
        run(**changes)
    assert not calls and not list(tmp_path.glob("r*/*"))


def test_a_result_of_other_clips_or_another_recipe_is_refused(
    clips, compare_fakes
):
    run, calls = compare_fakes
    run(seeds=(0,))
    with pytest.raises(ValueError, match=r"other options \(manifest="):
        run(data=data_of(clips, train_folds=(0, 1)))
    with pytest.raises(ValueError, match="data.clip_frames=16 there, 8 here"):
        run(data=data_of(clips, clip_frames=8))
    assert len(calls) == 3
    run.epochs[0] = 99
    with pytest.raises(
        ValueError, match="of different recipes.*epochs=1 there"
    ):
        run()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seeds": ()}, "`seeds` must be different values, at least one"),
        ({"seeds": (0, 0)}, "`seeds` must be different values"),
        ({"folds": (3, 3)}, "`folds` must be different values"),
        ({"trainings": 0}, "`trainings` must be a positive integer"),
    ],
)
def test_what_makes_no_comparison_is_refused_at_once(
    compare_fakes, changes, said
):
    run, calls = compare_fakes
    with pytest.raises(ValueError, match=said):
        run(**changes)
    assert not calls


def test_clips_without_any_held_out_are_refused_at_once(clips, compare_fakes):
    run, calls = compare_fakes
    with pytest.raises(ValueError, match="must name clips to test on"):
        run(data=data_of(clips, val_folds=()))
    assert not calls


@pytest.mark.large
def test_real_searches_within_both_budgets_from_one_supernet(clips, tmp_path):
    toy = search_driver.SHORT
    toy.save(tmp_path / "space.json")
    table = latency_test.make_table(toy)
    compare_latency.compare_latency(
        search_fn=run.run_search,
        train_fn=lambda *, data, **_: {
            "labels": ["left", "right"],
            "validation": {"accuracy": 0.5, "clips": 4},
            "config": {"data": {}, "training": {}, "optimizer": {}},
        },
        space=str(tmp_path / "space.json"),
        data=dataclasses.replace(
            search_driver.data_of(clips),
            train_folds=(0, 1, 2, 3),
        ),
        search=options.SearchOptions(
            steps=4, warmup_steps=2, batch_size=4, children=0, top_k=1,
            norm_batches=1,
        ),
        latency_table=table,
        target_macs=search_driver.TARGET_MACS,
        run_dir=str(tmp_path / "runs"),
        results_dir=str(tmp_path / "results"),
        seeds=(0,),
        folds=(3,),
    )  # fmt: skip
    (path,) = (tmp_path / "results").glob("*.json")
    found = json.loads(path.read_text())
    assert found["macs"]["macs"] <= search_driver.TARGET_MACS
    assert found["latency"]["ms"] <= found["macs"]["ms"]
    # The warm-up ran once: no search trained for its first two steps.
    assert len(list((tmp_path / "runs").glob("*/search.json"))) == 3
    for kind in ("macs", "latency"):
        (folder,) = (tmp_path / "runs").glob(f"{kind}_*")
        history = (folder / "search_history.jsonl").read_text().splitlines()
        assert min(json.loads(line)["step"] for line in history) > 2


@pytest.mark.parametrize(
    ("name", "run_fn", "overrides"),
    [
        ("egogestar_latency", run.run_search, []),
        ("latency", run.run_search, ["TARGET_MS=0.5"]),
        ("x3d_s_latency", run.run_search, []),
        *(
            (
                f"compare_latency_{clips}",
                compare_latency.compare_latency,
                ["RESULTS=results"],
            )
            for clips in ("egogestar", "synthetic")
        ),
    ],
)
def test_gin_files_are_complete(name, run_fn, overrides, tmp_path):
    path = latency_test.write(tmp_path)
    with gin_app.configured(
        run_fn,
        [f"gin/search/{name}.gin"],
        ["DATA=clips", f"LATENCY_TABLE={path}", *overrides],
        str(tmp_path / "run"),
    ):
        assert gin.get_configurable(cost.load_latency_table)() == TABLE
        if run_fn is run.run_search:
            assert gin.query_parameter("%TARGET_MS") > 0
            expected = {
                "egogestar_latency": None,
                "latency": None,
                "x3d_s_latency": cost.cost_of(space.get_arch("x3d_s")).macs,
            }
            assert gin.query_parameter("%TARGET_MACS") == expected[name]


def test_a_search_may_be_for_more_threads(tmp_path):
    two = {**latency_test.COLUMN, "threads": 2}
    path = latency_test.write(tmp_path, columns=[latency_test.COLUMN, two])
    with gin_app.configured(
        run.run_search,
        ["gin/search/egogestar_latency.gin"],
        ["DATA=clips", f"LATENCY_TABLE={path}", "THREADS=2"],
        str(tmp_path / "run"),
    ):
        assert gin.get_configurable(cost.load_latency_table)().threads == 2


def test_a_search_refuses_the_table_of_another_runtime(tmp_path):
    path = latency_test.write(tmp_path)
    with (
        gin_app.configured(
            run.run_search,
            ["gin/search/egogestar_latency.gin"],
            ["DATA=clips", f"LATENCY_TABLE={path}", "RUNTIME='tf.lite'"],
            str(tmp_path / "run"),
        ),
        pytest.raises(ValueError, match="with runtime 'tf.lite'. Received"),
    ):
        gin.get_configurable(cost.load_latency_table)()
