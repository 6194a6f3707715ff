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
def test_the_finalist_best_when_trained_alone_is_chosen(
    clips, tmp_path, monkeypatch
):
    trained, inherited, inherit = [], [], engine.Engine.inherited

    def counted(self, indices):
        inherited.append(indices)
        return inherit(self, indices)

    monkeypatch.setattr(engine.Engine, "inherited", counted)
    halves = parts.halve(
        pipeline.open_source(search_driver.data_of(clips), "train"), 1
    )

    def train_fn(**arguments):
        for source, half in zip(arguments["sources"], halves, strict=True):
            assert source.manifest.fingerprint == half.manifest.fingerprint
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
    assert [one["log_likelihood"] for one in raced] == [-3, -2, -1]
    accuracies = [one["accuracy"] for one in raced]
    assert accuracies == pytest.approx([0.3, 0.2, 0.1])
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
    # What the chosen one inherits is what it began with, made once.
    assert len(inherited) == 3
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

    def train_on(folder, engine, indices, train_fn):
        return finalists.Finalist(
            indices=indices,
            accuracy=0.5,
            log_likelihood=-1.0 if indices[0] else -2.0,
            clips_trained=8,
            clips_judged=4,
        )

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


def test_a_recipe_that_cannot_be_is_refused_before_the_search(
    clips, tmp_path, monkeypatch
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
    with pytest.raises(ValueError, match="`warmup_epochs` must be fewer"):
        search_driver.search(
            clips, tmp_path, search=SEARCH, space=search_driver.SHORT,
            finalist_fn=too_short,
        )  # fmt: skip
    assert not (tmp_path / "finalists").exists()


def test_finalists_need_a_recipe(tmp_path):
    with pytest.raises(ValueError, match="`finalist_fn` must be given"):
        run.run_search(
            space=search_driver.SPACE,
            data=search_driver.data_of(tmp_path),
            search=SEARCH,
            run_dir=str(tmp_path),
        )


def test_more_finalists_than_are_judged_are_refused():
    with pytest.raises(ValueError, match="`finalists` must be at most 3"):
        options_lib.SearchOptions(
            steps=3, warmup_steps=2, rerank=3, finalists=4
        )
