import dataclasses
import itertools
import logging

import numpy as np
import pytest
import tensorflow as tf

from autox3d_tf import cost
from autox3d_tf import space as space_lib
from autox3d_tf.data import parts, pipeline
from autox3d_tf.runs import run_dir
from autox3d_tf.search import (
    batches,
    children,
    choose,
    cost_table,
    distribution,
    engine,
)
from autox3d_tf.search import options as options_lib
from tests.search import search_driver


@pytest.mark.large
@pytest.mark.parametrize("method", ["evolution", "random"])
def test_baseline_in_the_same_harness_ends_within_budget(
    clips, tmp_path, method
):
    record = search_driver.search(
        clips,
        tmp_path / "run",
        search=options_lib.SearchOptions(
            method=method,
            steps=3,
            warmup_steps=3,
            warmup_samples=1,
            batch_size=4,
            candidates=5,
            children=0,
            top_k=3,
            norm_batches=1,
            save_steps=3,
        ),
        space=search_driver.SHORT,
        deterministic=False,
    )
    arch = space_lib.load_arch(tmp_path / "run" / "arch.json")
    budget = cost.Budget(target=search_driver.TARGET_MACS, num_classes=2)
    assert budget.allows(arch)
    assert record["method"] == method and record["rank"] is None
    # 3 steps of one architecture and 4 clips, then 5 architectures judged on
    # the 6 clips of a half, filled up to two batches of 4
    assert record["counts"] == {
        "architectures": 8,
        "clips_trained": 12,
        "clips_judged": 40,
    }
    assert record["judged_on"]["clips"] == 8
    likelihoods = [one["judged"]["log_likelihood"] for one in record["top"]]
    assert likelihoods == sorted(likelihoods, reverse=True)
    assert record["indices"] == record["top"][0]["indices"]


@pytest.mark.large
@pytest.mark.parametrize("refine", [0, 7])
def test_reranking_takes_the_likeliest_of_the_most_probable(
    clips, tmp_path, refine
):
    search = options_lib.SearchOptions(
        steps=3,
        warmup_steps=2,
        warmup_samples=1,
        weights_samples=1,
        batch_size=4,
        rerank=4,
        refine=refine,
        children=0,
        top_k=3,
        norm_batches=1,
        save_steps=3,
    )
    record = search_driver.search(
        clips, tmp_path / "run", search=search, deterministic=False
    )
    likelihoods = [one["judged"]["log_likelihood"] for one in record["top"]]
    assert likelihoods == sorted(likelihoods, reverse=True)
    assert len(likelihoods) == 3
    assert record["indices"] == record["top"][0]["indices"]
    # architectures on 6 clips, filled up to two batches of 4, and one step
    samples, judged = record["first_samples"], refine or 4
    assert record["counts"]["clips_judged"] == judged * 8 + 4 * samples
    assert record["counts"]["architectures"] == judged + samples + 3
    # All of them are kept, and these say the same as those that are listed.
    scored = {tuple(one["indices"]): one for one in record["candidates"]}
    assert len(scored) == len(record["candidates"]) == judged
    for one in record["top"]:
        vector = tuple(one["indices"])
        assert scored[vector]["costs"] == one["costs"]
        assert scored[vector]["log_likelihood"] == pytest.approx(
            one["judged"]["log_likelihood"], abs=1e-6
        )
    best = max(record["candidates"], key=lambda one: one["log_likelihood"])
    assert best["log_likelihood"] == pytest.approx(likelihoods[0], abs=1e-6)
    arch = space_lib.load_arch(tmp_path / "run" / "arch.json")
    budget = cost.Budget(target=search_driver.TARGET_MACS, num_classes=2)
    assert budget.allows(arch)


@pytest.mark.parametrize("first_step", [1, 3])
def test_batches_go_on_where_they_stopped(clips, first_step):
    data = search_driver.data_of(clips)
    halves = parts.halve(pipeline.open_source(data, "train"), 1)
    search = options_lib.SearchOptions(
        steps=5, warmup_steps=2, batch_size=3, logits_batch_size=2
    )
    both = [
        batches.make_batches(halves, data, search, seed=1, first_step=n)
        for n in (0, first_step)
    ]
    assert not both[0].options().autotune.enabled  # see `pipeline._settled`
    whole, rest = map(list, both)
    assert [(len(b[1]), len(b[3])) for b in whole] == [(3, 2)] * 5
    # nobody looks at the second half in the warm-up
    assert [bool(tf.reduce_any(b[2] != 0)) for b in whole] == [
        False, False, True, True, True,
    ]  # fmt: skip
    for given, expected in zip(rest, whole[first_step:], strict=True):
        for ours, theirs in zip(given, expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def build(clips, search, **weights):
    data = search_driver.data_of(clips)
    return engine.Engine(
        space=search_driver.SPACE,
        source=pipeline.open_source(data, "train"),
        data=data,
        budgets=[cost.Budget(target=search_driver.TARGET_MACS, num_classes=2)],
        search=search,
        estimator=options_lib.EstimatorOptions(),
        weights=options_lib.WeightsOptions(**weights),
        logits=options_lib.LogitsOptions(),
        seed=1,
    )


def test_a_share_of_the_stem_starts_with_motion(clips):
    search = options_lib.SearchOptions(steps=3, warmup_steps=1)
    built = build(clips, search, motion_init=0.5)
    kernel = built.supernet.stem.weight_values()["temporal_kernel"]
    moves = np.abs(kernel.sum(0).ravel()) < 1e-6  # no answer to what stands
    assert moves.tolist() == [True, True, False, False]


def test_replicas_with_nothing_to_do_are_said(clips, monkeypatch, caplog):
    search = options_lib.SearchOptions(
        steps=3, warmup_steps=1, warmup_samples=2, weights_samples=1
    )
    built = build(clips, search)
    monkeypatch.setattr(engine.distribute, "num_replicas", lambda _: 2)
    built.first_samples = 2
    built._log_start(0)
    assert "with 1 architectures leave some of the 2" in caplog.text
    assert "Raise weights_samples." in caplog.text
    assert "Raise warmup_samples." not in caplog.text


def test_a_budget_that_leaves_little_to_choose_from_is_said(
    clips, monkeypatch, caplog
):
    caplog.set_level(logging.INFO, logger="absl")
    search = options_lib.SearchOptions(steps=3, warmup_steps=1)
    built = build(clips, search)
    space, (table,) = built.space, built.tables
    everything = itertools.product(*map(range, space.sizes))
    costs = table(np.array(list(everything)))
    share = (costs <= search_driver.TARGET_MACS).mean()
    found = cost_table.share_within(built.tables, space.sizes)
    assert found == pytest.approx(share, abs=0.02) and 0.05 < share < 0.95
    built._log_start(0)
    assert f"{100 * found:.1f} % of the space, drawn uniformly" in caplog.text
    assert "little is left to choose" not in caplog.text
    tight = cost.Budget(target=float(np.quantile(costs, 0.03)), num_classes=2)
    built.tables = [cost_table.CostTable(space, tight)]
    built._log_start(0)
    assert "little is left to choose from, of filters above" in caplog.text


def test_a_checkpoint_holds_all_that_steps_change(clips):
    search = options_lib.SearchOptions(
        steps=3, warmup_steps=1, batch_size=3, joint_step=2
    )
    built = build(clips, search)
    saved = list(built.saved().values())
    joint = built.distributions[1].logits
    assert len(built.optimizers.logits) == 2 and len(joint) > 1
    for one in (
        built.supernet, built.optimizers.weights, *built.optimizers.logits,
        built.counters, *joint,
    ):  # fmt: skip
        assert any(one is other for other in saved)
    own = {id(v) for v in built.supernet.variables}
    assert own >= {id(v) for v in built.distributions[0].logits}
    # So does what a search takes of one that has done its warm-up, but for
    # what no step of a warm-up changes.
    names = [n for n in built.saved() if n[:5] not in ("joint", "logit")]
    assert sorted(engine._WARMED_UP) == sorted(names)


def test_the_architecture_has_a_half_of_its_own(clips, monkeypatch):
    """Its steps, and who judges in the end, see no clip of the weights."""
    data = search_driver.data_of(clips)
    search = options_lib.SearchOptions(
        steps=2, warmup_steps=0, batch_size=3, logits_batch_size=2
    )
    built = build(clips, search)
    weights, logits = built.halves
    paths = [{row.path for row in half.manifest.rows} for half in built.halves]
    assert len(paths[0]) == len(paths[1]) == 5 and not paths[0] & paths[1]
    for number, half in enumerate((weights, logits)):
        expected = pipeline.make_train_dataset(
            half,
            data,
            batch_size=(3, 2)[number],
            seed=2 * 1 + number,
            total_steps=2,
        )
        given = batches.make_batches(built.halves, data, search, seed=1)
        for batch, (alone, labels) in zip(given, expected, strict=True):
            np.testing.assert_array_equal(batch[2 * number], alone)
            np.testing.assert_array_equal(batch[2 * number + 1], labels)
    judged = []
    monkeypatch.setattr(
        children,
        "Judge",
        lambda _, half, *rest: judged.append((half, rest[-1])),
    )
    assert built.chooser.judge is None
    assert judged == [(logits, 2)]


def test_a_warm_up_that_ended_at_the_joint_step_is_gone_on_with_jointly(
    clips, tmp_path, monkeypatch
):
    search = options_lib.SearchOptions(
        steps=3, warmup_steps=2, batch_size=3, joint_step=2
    )
    built = build(clips, search)
    built.distributions[0].logits[0].assign([3.0, 0.0, 0.0])
    monkeypatch.setattr(built, "adopt", lambda _: 2)
    monkeypatch.setattr(engine.loop, "run_steps", lambda *_, **__: {})
    built.train(run_dir.RunDir(tmp_path / "run", {}), "warm")
    factors, joint = (one.probabilities() for one in built.distributions)
    assert factors[0][0] > 0.9
    for one, other in zip(factors, joint, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_checkpoint_of_the_joint_step_is_joint(clips, tmp_path, monkeypatch):
    search = options_lib.SearchOptions(
        steps=3, warmup_steps=1, batch_size=3, joint_step=2, save_steps=1
    )
    built = build(clips, search)
    built.distributions[0].logits[0].assign([3.0, 0.0, 0.0])
    run = run_dir.RunDir(tmp_path / "run", {})

    def two_steps(*_, triggers, **__):
        for trigger in triggers:
            getattr(trigger, "begin", lambda *_: None)(0, 3)
        for step, trigger in itertools.product((1, 2), triggers[1:]):
            trigger(step, {})

    monkeypatch.setattr(engine.loop, "run_steps", two_steps)
    built.train(run)
    factors, joint = built.distributions
    for logits in joint.logits:
        logits.assign(tf.zeros(logits.shape))
    assert built.distribution(1) is factors
    assert built.distribution(2) is built.distribution() is joint
    assert built.probabilities(1)[0][0] > 0.9 > built.probabilities(2)[0][0]
    assert built._saver(run).restore_latest() == 2
    assert factors.probabilities()[0][0] > 0.9
    for one, other in zip(
        factors.probabilities(), joint.probabilities(), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_samples_cost_the_target_at_first_if_so_asked(clips):
    search = options_lib.SearchOptions(
        steps=3, warmup_steps=1, start_at_budget=True
    )
    built = build(clips, search)
    (table,), (tilted,) = built.tables, built.distributions
    mean = table(tilted.sample(4000, (3, 4)).numpy()).mean()
    assert mean == pytest.approx(search_driver.TARGET_MACS, rel=0.03)


@pytest.mark.parametrize("steps", [2, 3])
def test_a_supernet_is_taken_as_it_is_at_the_end_of_its_search(
    clips, tmp_path, steps
):
    search = options_lib.SearchOptions(steps=3, warmup_steps=3)
    warm, folder = build(clips, search), tmp_path / "warm"
    kernel = warm.supernet.stem.temporal_kernel
    kernel.assign(7.0 * tf.ones_like(kernel.value))
    run = run_dir.RunDir(folder, {"search": {"steps": 3}})
    warm._saver(run).save(steps)
    built = build(
        clips,
        dataclasses.replace(search, steps=9, start_at_budget=True),
    )
    before = [np.array(vector) for vector in built.supernet.logits]
    assert before[0].any()
    if steps < 3:
        with pytest.raises(ValueError, match="come to its end, step 3. Recei"):
            built.adopt(str(folder))
        return
    (logits,) = built.optimizers.logits
    logits.learning_rate = 0.5  # each search has its own
    assert built.adopt(str(folder)) == 3
    assert float(logits.learning_rate) == 0.5
    assert (built.supernet.stem.temporal_kernel.numpy() == 7.0).all()
    for vector, value in zip(built.supernet.logits, before, strict=True):
        np.testing.assert_array_equal(vector, value)


def test_norms_of_what_is_inherited_see_as_many_batches_as_asked(
    clips, monkeypatch
):
    search = options_lib.SearchOptions(
        steps=3, warmup_steps=1, batch_size=4, norm_batches=3
    )
    built, seen = build(clips, search), []

    def reestimate(model, batches, num_batches):
        seen.extend([num_batches, [len(labels) for _, labels in batches]])

    monkeypatch.setattr(engine.models, "reestimate_batch_norm", reestimate)
    built.inherited(built.space.largest)
    assert seen == [3, [4, 4, 4]]


def test_a_search_that_has_begun_takes_no_supernet_again(
    clips, tmp_path, monkeypatch
):
    search = options_lib.SearchOptions(steps=3, warmup_steps=1, batch_size=3)
    built, given = build(clips, search), []
    run = run_dir.RunDir(tmp_path / "run", {})
    built._saver(run).save(2)
    monkeypatch.setattr(built, "adopt", pytest.fail)
    monkeypatch.setattr(
        engine.loop,
        "run_steps",
        lambda step, _, first_step, **__: given.append((step, first_step)),
    )
    built.train(run, "warm")
    ((step, first_step),) = given
    assert first_step == 2
    assert step.seed == built.supernet.seed == built.seed == 1


class Judge:
    """Finds the first candidates best."""

    clips = 0

    def __call__(self, vector):
        self.clips += 8
        return children.Child(
            indices=vector, costs=(), accuracy=0.5,
            log_likelihood=-float(sum(vector)),
        )  # fmt: skip


@pytest.mark.parametrize("finalists", [1, 3])
def test_what_is_listed_is_what_was_judged(finalists):
    """Not other windows of the same width, which other weights lie in."""
    space = dataclasses.replace(
        search_driver.SPACE,
        stages=(
            dataclasses.replace(
                search_driver.SPACE.stages[0],
                channel_multiple=8,  # 4 filters: both expansions give 8
            ),
        ),
    )
    narrow, wide = (space.decode((0, 0, e, 0, 0, e, 0)) for e in (0, 1))
    assert narrow.fingerprint == wide.fingerprint
    logits = [tf.Variable(tf.zeros(size)) for size in space.sizes]
    for place in (2, 5):
        logits[place].assign([0.0, 1.0])  # the second is more probable
    tables = [
        cost_table.CostTable(space, cost.Budget(target=1e9, num_classes=2))
    ]
    search = options_lib.SearchOptions(
        steps=1, warmup_steps=0, rerank=4, refine=60, finalists=finalists
    )
    chooser = choose.Chooser(space, tables, search, 5, Judge)
    found = chooser.choose(distribution.factorized(space, logits))
    judged = [child.indices for child in chooser.candidates]
    assert sorted(one.indices for one in found) == sorted(judged)
    assert len(found) == 60
    for one in found:
        filters, *blocks = one.indices
        for kind, expansion, _ in (blocks[:3], blocks[3:]):
            if filters == 0 or kind == 2:  # alike, or skipped
                assert expansion == 1
    keys = {
        (one.indices[0], *(b if b[0] != 2 else () for b in (
            one.indices[1:4], one.indices[4:]
        )))
        for one in found
    }  # fmt: skip
    assert len(keys) == 60


def choose_loosely(**search):
    """Returns a chooser and what it has chosen, whatever that costs."""
    space = search_driver.SPACE
    budget = cost.Budget(target=1e9, num_classes=2)
    chooser = choose.Chooser(
        space,
        [cost_table.CostTable(space, budget)],
        options_lib.SearchOptions(steps=1, warmup_steps=0, **search),
        5,
        Judge,
    )
    return chooser, chooser.choose(distribution.factorized(space))


@pytest.mark.parametrize(
    ("rerank", "refine", "judged"), [(1, 0, 0), (2, 0, 2), (1, 2, 2), (3, 9, 9)]
)
def test_as_many_are_judged_as_asked_for(rerank, refine, judged):
    chooser, found = choose_loosely(rerank=rerank, refine=refine, top_k=5)
    assert len(chooser.candidates) == judged
    clips = 8 * judged
    assert chooser.chosen_among == {"architectures": judged, "clips": clips}
    assert len(found) == (judged or 5)


@pytest.mark.parametrize("finalists", [1, 2])
def test_sets_of_filters_are_looked_for_where_finalists_are_to_differ(
    monkeypatch, finalists
):
    methods = {choose.baselines: "evolve", choose.niches: "evolve_elites"}
    called = []
    for module, name in methods.items():
        monkeypatch.setattr(
            module, name, lambda *_, name=name, **__: called.append(name) or []
        )
    choose_loosely(rerank=2, refine=3, finalists=finalists)
    assert called == [list(methods.values())[finalists - 1]]


def test_candidates_are_within_all_budgets_and_the_likeliest_is_first():
    space = search_driver.SPACE
    drawn = np.random.default_rng(0).integers(space.sizes, size=(99, 7))
    tables = [
        cost_table.CostTable(space, cost.Budget(target=1e9, num_classes=2))
    ]
    params = cost.Budget(metric="params", target=1e9, num_classes=2)
    few = float(np.median(cost_table.CostTable(space, params)(drawn)))
    params = cost.Budget(metric="params", target=few, num_classes=2)
    tables.append(cost_table.CostTable(space, params))

    search = options_lib.SearchOptions(
        method="random", steps=1, warmup_steps=1, candidates=20
    )
    chooser = choose.Chooser(space, tables, search, 5, Judge)
    found = chooser.choose(None)
    assert chooser.chosen_among == {"architectures": 20, "clips": 160}
    for one in found:
        assert one.indices == space.canonical(one.indices)
    assert found[0].probability == pytest.approx(1 / space.size)
    sums = [sum(one.indices) for one in found]
    assert sums == sorted(sums) and len(sums) == 20
    for one in found:
        arch = space.decode(one.indices)
        counted = cost.cost_of(arch, num_classes=2)
        assert one.costs == (counted.macs, counted.params)
        assert counted.params <= few
