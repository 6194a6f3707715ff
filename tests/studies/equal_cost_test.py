import dataclasses

import pytest

from autox3d_tf.search import options as options_lib
from autox3d_tf.studies import equal_cost


def test_the_warm_up_is_the_same_for_all_or_refused():
    search = options_lib.SearchOptions(
        steps=9, warmup_steps=3, batch_size=4, warmup_samples=0
    )
    with pytest.raises(ValueError, match="`warmup_samples` must be at least 1"):
        equal_cost.warm_up(search)


def test_equal_steps_processes_as_many_clips():
    search = options_lib.SearchOptions(
        steps=500, warmup_steps=200, batch_size=16, warmup_samples=2
    )
    clips = 60_000  # after the warm-up
    evolution = equal_cost.equal_steps(
        "evolution", search, clips=clips, judged_on=68, to_choose=100 * 68
    )
    assert evolution.warmup_steps == evolution.steps == 200
    assert evolution.candidates * 68 == pytest.approx(clips, rel=0.01)
    parsec = equal_cost.equal_steps(
        "parsec", search, clips=clips, judged_on=68, samples=6
    )
    # 6 x 16 forward and back and 6 x 16 forward
    used = (parsec.steps - 200) * (96 + 96)
    assert used == pytest.approx(clips, rel=0.01)
    reranked = equal_cost.equal_steps(
        "parsec",
        dataclasses.replace(search, rerank=100, joint_step=350),
        clips=clips,
        judged_on=68,
        to_choose=100 * 68,
        samples=6,
    )
    half = (reranked.steps - 200) / (reranked.joint_step - 200)
    assert half == pytest.approx(2, rel=0.01)  # as 350 is between 200 and 500
    used += (reranked.steps - parsec.steps) * (96 + 96) + 100 * 68
    assert used == pytest.approx(clips, rel=0.01)
    uneven = equal_cost.equal_steps(
        "parsec",
        dataclasses.replace(search, weights_samples=3, logits_batch_size=10),
        clips=clips,
        judged_on=68,
        samples=6,
    )
    # 3 x 16 forward and back and 6 x 10 forward
    used = (uneven.steps - 200) * (48 + 60)
    assert used == pytest.approx(clips, rel=0.01)
    at_once = equal_cost.equal_steps(
        "parsec",
        dataclasses.replace(search, joint_step=150),  # within the warm-up
        clips=clips,
        judged_on=68,
        samples=6,
    )
    assert at_once.joint_step == 150
    gumbel = equal_cost.equal_steps(
        "gumbel", search, clips=clips, judged_on=68, samples=2
    )
    used = (gumbel.steps - 200) * (32 + 32)
    assert used == pytest.approx(clips, rel=0.01)
    assert gumbel.method == "gumbel" and gumbel.warmup_steps == 200
    assert equal_cost.fixed_samples("gumbel", 9) == 2
    assert equal_cost.fixed_samples("random", 9) == 0
    same = equal_cost.equal_steps(
        "parsec_equal_steps", search, clips=1, judged_on=68, samples=6
    )
    assert same == search
    with pytest.raises(ValueError, match="`method` must be one of parsec"):
        equal_cost.equal_steps("darts", search, clips=clips, judged_on=68)


def test_there_is_a_warm_up_to_share():
    search = options_lib.SearchOptions(steps=5, warmup_steps=0, rerank=3)
    with pytest.raises(ValueError, match="`warmup_steps` must be at least 1"):
        equal_cost.warm_up(search)
