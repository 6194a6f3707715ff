import dataclasses
import json
import pathlib
import types

import pytest

from autox3d_tf import space as space_lib
from autox3d_tf.data import parts, pipeline
from autox3d_tf.search import choose, derive, engine, finalists, run
from autox3d_tf.search import options as options_lib
from autox3d_tf.training import run as training_run
from tests.search import search_driver
from tests.training import tiny

SEARCH = options_lib.SearchOptions(
    steps=3,
    warmup_steps=2,
    warmup_samples=1,
    weights_samples=1,
    batch_size=4,
    rerank=4,
    refine=search_driver.SHORT.size,  # all widths, if within budget
    finalists=3,
    children=0,
    top_k=2,
    norm_batches=1,
    save_steps=3,
)


def train(**arguments):
    return training_run.run_training(
        training=tiny.training(epochs=1),
        optimizer=tiny.optimizer(),
        **arguments,
    )


@pytest.mark.large
def test_the_finalist_best_when_trained_alone_is_chosen(clips, tmp_path):
    trained = []

    def train_fn(**arguments):
        record = train(**arguments)
        if "check_only" in arguments:
            return record
        trained.append(arguments["arch"])
        # The third is said to be the best, by likelihood and not accuracy.
        record["validation"]["accuracy"] = 0.4 - 0.1 * len(trained)
        record["validation"]["log_likelihood"] = len(trained) - 4.0
        return record

    record = search_driver.search(
        clips, tmp_path, search=SEARCH, finalist_fn=train_fn,
        target_macs=200_000.0, deterministic=False, space=search_driver.SHORT,
    )  # fmt: skip
    raced = record["finalists"][::-1]
    widths = {arch.stages[0][0].filters for arch in trained}
    assert widths == {4, 8, 12}
    assert [one["log_likelihoods"] for one in raced] == [[-3], [-2], [-1]]
    assert [one["accuracies"] for one in raced] == [
        [pytest.approx(accuracy)] for accuracy in (0.3, 0.2, 0.1)
    ]
    assert record["indices"] == raced[2]["indices"]
    chosen = space_lib.load_arch(tmp_path / "arch.json")
    assert chosen.fingerprint == trained[2].fingerprint
    # The likeliest is still listed, after the chosen one.
    assert [one["indices"] for one in record["top"]] == [
        raced[2]["indices"],
        raced[0]["indices"],
    ]
    likelihoods = [one["judged"]["log_likelihood"] for one in record["top"]]
    assert likelihoods[0] < likelihoods[1]
    # An epoch of the five clips of the weights' half is two steps of 4.
    for arch, one in zip(trained, raced, strict=True):
        name = arch.fingerprint[:12]
        path = tmp_path / "finalists" / name / "training.json"
        own = json.loads(path.read_text())
        assert own["train_clips"] == own["validation"]["clips"] == 5
        # A batch of 4 is for the norms of the weights it starts from.
        assert (one["clips_trained"], one["clips_judged"]) == (8, 4 + 5)
        start = own["config"]["init_from"]["path"]
        assert start.endswith(f"finalists/{name}_inherited.npz")


def test_the_best_are_trained_from_scratch_and_decide(
    clips, tmp_path, monkeypatch
):
    calls, inherited, inherit = [], [], engine.Engine.inherited
    # By filters of the only stage; the leader is second from scratch.
    trained_on = {4: 0.6, 8: 0.5, 12: 0.55}
    from_scratch = {4: 0.8, 12: 0.9}

    def counted(self, indices):
        inherited.append(indices)
        return inherit(self, indices)

    monkeypatch.setattr(engine.Engine, "inherited", counted)

    halves = parts.halve(
        pipeline.open_source(search_driver.data_of(clips), "train"), 1
    )

    def finalist_fn(
        *, arch, init_from, run_dir, sources, seed, data, check_only=False
    ):
        if check_only:
            return {}
        filters = arch.stages[0][0].filters
        assert init_from == f"{run_dir}_inherited.npz" and seed == 1
        for source, half in zip(sources, halves, strict=True):
            assert [row.sha256 for row in source.manifest.rows] == [
                row.sha256 for row in half.manifest.rows
            ]
        calls.append((filters, *map(len, sources)))
        return as_record(100, 5, trained_on[filters])

    def retrain_fn(*, arch, init_from, sources, seed, **others):
        paths = [
            {row.path for row in source.manifest.rows} for source in sources
        ]
        assert not paths[0] & paths[1] and [*map(len, paths)] == [8, 2]
        if "check_only" in others:
            return {}
        filters = arch.stages[0][0].filters
        assert init_from is None and seed == 1
        calls.append((filters, *map(len, paths)))
        return as_record(700, 2, from_scratch[filters])

    record = search_driver.search(
        clips, tmp_path, finalist_fn=finalist_fn, retrain_fn=retrain_fn,
        search=dataclasses.replace(SEARCH, retrained=2),
        target_macs=200_000.0, space=search_driver.SHORT,
    )  # fmt: skip
    assert sorted(calls[:3]) == [(filters, 5, 5) for filters in (4, 8, 12)]
    # In the order of the race; one of the five clips of a class is held out.
    assert calls[3:] == [(4, 8, 2), (12, 8, 2)]
    raced = record["finalists"]
    assert [one["accuracies"] for one in raced] == [
        [0.55, 0.9],
        [0.6, 0.8],
        [0.5],
    ]
    assert record["indices"] == raced[0]["indices"]
    assert [one["clips_trained"] for one in raced] == [800, 800, 100]
    # The norms of what is inherited take a batch of 4.
    assert [one["clips_judged"] for one in raced] == [11, 11, 9]
    # What the chosen one inherits is what it began with, made once.
    assert len(inherited) == 3
    name = space_lib.load_arch(tmp_path / "arch.json").fingerprint[:12]
    began = tmp_path / "finalists" / f"{name}_inherited.npz"
    assert (tmp_path / "inherited.npz").read_bytes() == began.read_bytes()


def derived(width):
    """Of a width of the only stage, the narrowest the likeliest."""
    return derive.Derived(
        indices=(width, 0, 0, 0, 0, 0, 0), log_prob=-1.0 - width, costs=(1e5,)
    )


def test_fewer_sets_of_filters_than_finalists_are_said(caplog):
    chooser = choose.Chooser(search_driver.SPACE, (), SEARCH, 0, None)
    all_three = [derived(width) for width in (0, 1, 0, 2)]
    assert len(chooser.finalists(all_three)) == 3
    assert not caplog.messages
    assert chooser.finalists(all_three[:3]) == all_three[:2]
    assert "2 of the 3 `finalists` asked for" in caplog.text


def test_of_equal_finalists_the_likeliest_is_first(tmp_path, monkeypatch):
    found = [derived(width) for width in (1, 2, 0)]

    def train_on(folder, engine, finalist, train_fn):
        likelihood = -1.0 if finalist.indices[0] else -2.0
        return finalist.after(as_record(8, 4, 1 + likelihood))

    monkeypatch.setattr(finalists, "_train_on", train_on)
    raced = finalists.race(
        types.SimpleNamespace(file=tmp_path.joinpath),
        types.SimpleNamespace(search=SEARCH),
        found,
        pytest.fail,
    )
    assert [one.indices for one in raced] == [one.indices for one in found]
    ordered, _ = finalists.decide(found[::-1], found, lambda _: raced)
    assert ordered == [found[0], found[2], found[1]]


def test_a_finalist_alone_is_not_trained():
    found = [derived(2), derived(1)]
    ordered, raced = finalists.decide(found, [derived(1)], pytest.fail)
    assert raced == [] and ordered[0] == derived(1)


def as_record(trained, judged, accuracy):
    """Like that of `run_training`, as far as the race reads it."""
    return {
        "clips_trained": trained,
        "validation": {
            "clips": judged,
            "accuracy": accuracy,
            "log_likelihood": accuracy - 1,
        },
    }


@pytest.mark.large
def test_an_interrupted_race_goes_on(clips, tmp_path):
    calls, written = [], []

    def interrupted(**arguments):
        if "check_only" in arguments:
            return train(**arguments)
        calls.append(arguments["arch"].fingerprint)
        if len(calls) == 2:
            raise KeyboardInterrupt
        record = train(**arguments)
        (saved,) = pathlib.Path(arguments["run_dir"], "checkpoints").iterdir()
        written.append(saved.stat().st_mtime_ns)
        return record

    def search(folder, finalist_fn):
        return search_driver.search(
            clips, folder, search=SEARCH, finalist_fn=finalist_fn,
            space=search_driver.SHORT,
        )  # fmt: skip

    with pytest.raises(KeyboardInterrupt):
        search(tmp_path / "in_two", interrupted)
    assert not (tmp_path / "in_two" / "search.json").exists()
    resumed = search(tmp_path / "in_two", interrupted)
    assert calls[2:4] == calls[:2]  # the same, in the same order
    assert written[0] == written[1]  # the first was not trained again
    whole = search(tmp_path / "at_once", train)
    assert resumed["finalists"] == whole["finalists"]
    assert resumed["indices"] == whole["indices"]


@pytest.mark.parametrize("name", ["finalist_fn", "retrain_fn"])
def test_a_recipe_that_cannot_be_is_refused_before_the_search(
    clips, tmp_path, monkeypatch, name
):
    def too_short(**arguments):
        return training_run.run_training(
            training=tiny.training(epochs=1),
            optimizer=tiny.optimizer(warmup_epochs=1.0),
            **arguments,
        )

    def steps(*_, **__):
        raise AssertionError("the search has begun")

    monkeypatch.setattr(engine.loop, "run_steps", steps)
    recipes = {"finalist_fn": train, "retrain_fn": train, name: too_short}
    with pytest.raises(ValueError, match="`warmup_epochs` must be fewer"):
        search_driver.search(
            clips, tmp_path, search=dataclasses.replace(SEARCH, retrained=2),
            space=search_driver.SHORT, **recipes,
        )  # fmt: skip
    assert not (tmp_path / "finalists").exists()


@pytest.mark.parametrize("name", ["finalist_fn", "retrain_fn"])
def test_finalists_need_recipes(name, tmp_path):
    recipes = {"finalist_fn": train, "retrain_fn": train, name: None}
    with pytest.raises(ValueError, match=f"`{name}` must be given"):
        run.run_search(
            space=search_driver.SPACE,
            data=search_driver.data_of(tmp_path),
            search=dataclasses.replace(SEARCH, retrained=2),
            run_dir=str(tmp_path),
            **recipes,
        )


def test_more_finalists_than_are_judged_are_refused():
    with pytest.raises(ValueError, match="`finalists` must be at most 3"):
        options_lib.SearchOptions(
            steps=3, warmup_steps=2, rerank=3, finalists=4
        )


@pytest.mark.parametrize("finalists, most", [(1, 0), (3, 3)])
def test_more_retrained_than_finalists_are_refused(finalists, most):
    with pytest.raises(ValueError, match=f"`retrained` must be at most {most}"):
        options_lib.SearchOptions(
            steps=3, warmup_steps=2, rerank=3, finalists=finalists, retrained=4
        )
