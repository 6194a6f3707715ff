"""The exact constrained mode against brute force."""

import dataclasses
import functools
import itertools

import numpy as np
import pytest

from autox3d_tf import cost
from autox3d_tf import space as space_lib
from autox3d_tf.search import chain as chain_lib
from autox3d_tf.search import cost_table as cost_table_lib
from autox3d_tf.search import derive, files
from autox3d_tf.search import distribution as distribution_lib

# 3 * 12 * 3 * 12 * 18 = 23,328 index vectors. Expansions 1.5 and 1.6 round to
# the same inner channels at 8 filters.
SPACE = space_lib.SearchSpace(
    name="toy",
    version=1,
    clip_size=(4, 32, 32),
    frame_stride=1,
    stem=space_lib.StemSpec(filters=8),
    stages=tuple(
        space_lib.StageSpace(
            filters=filters,
            depth=depth,
            block_types=("3x3x3", "1x5x5"),
            expansions=(1.5, 1.6, 3.0),
        )
        for filters, depth in (((8, 12, 16), 1), ((8, 20, 28), 2))
    ),
    head=space_lib.HeadSpec(filters=16, features=16),
)
# One stage of up to 6 blocks: 2 * 2 * 3 ** 5 = 972 vectors, and 2 * (2 + 4 +
# ... + 64) = 252 networks, as it makes none which blocks are skipped.
DEEP = dataclasses.replace(
    SPACE,
    name="deep",
    stages=(
        space_lib.StageSpace(
            filters=(8, 12),
            depth=6,
            block_types=("3x3x3", "1x5x5"),
            expansions=(1.5,),
            attentions=("none",),
        ),
    ),
)


@functools.cache
def vectors_of(space):
    """All of them, `(size, choices)`."""
    indices = itertools.product(*(range(len(c)) for c in space.choices))
    return np.array(list(indices), "int32")


VECTORS = vectors_of(SPACE)
KINDS = pytest.mark.parametrize(
    "kind", [distribution_lib.factorized, distribution_lib.joint]
)


def make_budget(metric="macs", share=0.3, space=SPACE):
    """A budget that about `share` of the vectors are within."""
    budget = cost.Budget(metric=metric, target=1.0, num_classes=5)
    costs = cost_table_lib.CostTable(space, budget)(vectors_of(space))
    return cost.Budget(
        metric=metric, target=float(np.quantile(costs, share)), num_classes=5
    )


def make_distribution(
    kind=distribution_lib.factorized, seed=0, scale=1.0, space=SPACE
):
    distribution = kind(space)
    rng = np.random.default_rng(seed)
    for vector in distribution.logits:
        vector.assign(scale * rng.normal(size=vector.shape))
    return distribution


def tables_of(space, budgets):
    return [cost_table_lib.CostTable(space, budget) for budget in budgets]


def top_k(space, distribution, budgets, k):
    return derive.top_k(space, distribution, tables_of(space, budgets), k)


def most_probable(space, distribution, budgets):
    return top_k(space, distribution, budgets, 1)[0]


def brute_force(distribution, budgets, space=SPACE):
    """All vectors within the budgets, from the most probable downwards."""
    vectors = vectors_of(space)
    fits = np.ones(len(vectors), bool)
    for table in tables_of(space, budgets):
        fits &= table(vectors) <= table.budget.target
    vectors = vectors[fits]
    log_probs = distribution.log_prob(vectors).numpy()
    order = np.argsort(-log_probs, kind="stable")
    ordered = map(tuple, vectors[order].tolist())
    return list(zip(ordered, log_probs[order], strict=True))


def first_of_each_network(pairs, count=30, space=SPACE):
    """Drops later vectors that decode to a network already seen."""
    seen, kept = set(), []
    for vector, log_prob in pairs:
        fingerprint = space.decode(vector).fingerprint
        if fingerprint not in seen:
            seen.add(fingerprint)
            kept.append((vector, log_prob))
        if len(kept) == count:
            break
    return kept


@pytest.mark.parametrize("metric", sorted(cost.METRICS))
@pytest.mark.parametrize("name", sorted(space_lib.SPACES))
def test_cost_table_equals_the_cost_of_the_decoded_network(name, metric):
    space = space_lib.get_space(name)
    budget = cost.Budget(metric=metric, target=1e9, num_classes=7)
    table = cost_table_lib.CostTable(space, budget)
    rng = np.random.default_rng(0)
    sizes = [len(choice) for choice in space.choices]
    vectors = rng.integers(0, sizes, size=(10, len(sizes)), dtype="int32")
    expected = [budget.cost(space.decode(vector)) for vector in vectors]
    np.testing.assert_array_equal(table(vectors), expected)
    np.testing.assert_array_equal(table.in_graph(vectors), expected)


def test_excess_is_the_hinge_summed_over_budgets():
    budgets = [make_budget("macs"), make_budget("params")]
    tables = tables_of(SPACE, budgets)
    expected = [
        sum(max(0, b.cost(SPACE.decode(v)) / b.target - 1) for b in budgets)
        for v in VECTORS[::3000]
    ]
    excess = cost_table_lib.excess(tables, VECTORS[::3000])
    np.testing.assert_allclose(excess, expected, rtol=1e-5, atol=1e-7)
    assert 0 in expected and max(expected) > 0


def test_two_sided_excess_is_the_distance_from_the_tightest_budget():
    budgets = [make_budget("macs"), make_budget("params")]
    tables = tables_of(SPACE, budgets)
    vectors = VECTORS[::3000]
    over = [
        max(b.cost(SPACE.decode(v)) / b.target - 1 for b in budgets)
        for v in vectors
    ]
    excess = cost_table_lib.excess(tables, vectors, two_sided=True)
    np.testing.assert_allclose(excess, np.abs(over), rtol=1e-5, atol=1e-6)
    assert min(over) < 0 < max(over)
    share = np.mean([value <= 0 for value in over])
    assert cost_table_lib.within(tables, vectors) == np.float32(share)
    fits = cost_table_lib.fits(tables, vectors)
    np.testing.assert_array_equal(fits, np.array(over) <= 0)
    alone = [cost_table_lib.fits([table], vectors).sum() for table in tables]
    assert fits.sum() < max(alone)  # not what any of the budgets allows


@KINDS
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.003, 0.1, 0.6])
def test_most_probable_within_budget_equals_brute_force(kind, seed, share):
    distribution = make_distribution(kind, seed)
    budget = make_budget(share=share)
    derived = most_probable(SPACE, distribution, [budget])
    vector, log_prob = brute_force(distribution, [budget])[0]
    assert derived.indices == vector
    assert derived.log_prob == pytest.approx(log_prob, abs=1e-4)
    arch = SPACE.decode(derived.indices)
    assert derived.costs == (budget.cost(arch),)
    assert budget.allows(arch)


@KINDS
@pytest.mark.parametrize(
    "metrics",
    [
        ("macs",),
        ("peak_activation_bytes",),
        ("macs", "params", "peak_activation_bytes"),
    ],
)
def test_top_k_equals_brute_force(kind, metrics):
    distribution = make_distribution(kind, seed=3)
    budgets = [make_budget(metric, 0.4) for metric in metrics]
    found = top_k(SPACE, distribution, budgets, 20)
    expected = first_of_each_network(brute_force(distribution, budgets))[:20]
    np.testing.assert_allclose(
        [one.log_prob for one in found], [p for _, p in expected], atol=1e-4
    )
    assert [one.indices for one in found] == [v for v, _ in expected]


@KINDS
@pytest.mark.parametrize("share", [0.05, 0.4, 1.0])
@pytest.mark.parametrize(
    "metrics", [("macs",), ("macs", "params"), ("peak_activation_bytes",)]
)
def test_all_networks_of_a_deep_stage_equal_brute_force(kind, share, metrics):
    distribution = make_distribution(kind, seed=8, space=DEEP)
    budgets = [make_budget(metric, share, DEEP) for metric in metrics]
    pairs = brute_force(distribution, budgets, space=DEEP)
    expected = first_of_each_network(pairs, len(pairs), DEEP)
    assert len(expected) < len(pairs)
    found = top_k(DEEP, distribution, budgets, len(pairs))
    assert [one.indices for one in found] == [v for v, _ in expected]
    np.testing.assert_allclose(
        [one.log_prob for one in found], [p for _, p in expected], atol=1e-4
    )
    rank = derive.rank(DEEP, distribution, found[0], limit=len(pairs) + 1)
    # Here all vectors are of different blocks, skipped ones included.
    every = brute_force(distribution, [], space=DEEP)
    more = sum(p > found[0].log_prob + 1e-5 for _, p in every)
    assert rank[0] == more + 1


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_fewer_networks_than_asked_for_are_found_at_once(scale):
    # Up to 6 of 30 equal blocks: 6 networks, of 29 over 5 and more placings.
    stage = dataclasses.replace(
        DEEP.stages[0], filters=(8,), depth=30, block_types=("3x3x3",)
    )
    space = dataclasses.replace(DEEP, name="deeper", stages=(stage,))
    six_blocks = [0, *[0, 0, 0] * 6, *[1, 0, 0] * 24]  # 1 is `skip`
    budget = cost.Budget(target=1.0, num_classes=5)
    target = float(budget.cost(space.decode(six_blocks)))
    budget = dataclasses.replace(budget, target=target)
    distribution = make_distribution(scale=scale, space=space)
    found = top_k(space, distribution, [budget], 10)
    kinds = np.array([t for t in distribution.log_tables() if len(t) == 2])
    gains = np.sort(kinds[:, 0] - kinds[:, 1])[::-1]  # of not skipping
    expected = {  # at the likeliest placing of each
        1 + built: kinds[:, 1].sum() + gains[:built].sum() for built in range(6)
    }
    assert {
        len(space.decode(one.indices).stages[0]): one.log_prob for one in found
    } == pytest.approx(expected, abs=1e-9)
    log_probs = [one.log_prob for one in found]
    assert log_probs == pytest.approx(sorted(log_probs)[::-1], abs=1e-9)


def test_what_is_found_before_giving_up_is_kept(monkeypatch, caplog):
    search = SPACE, make_distribution(seed=4), [make_budget()], 10
    all_ten = top_k(*search)
    few = functools.partial(derive.enumerate_networks, limit=6)
    monkeypatch.setattr(derive, "enumerate_networks", few)
    found = top_k(*search)
    assert found == all_ten[:3]
    assert "Found 3 of the 10 networks asked for" in caplog.text


def test_without_budget_it_is_the_mode_and_of_rank_one():
    distribution = make_distribution(seed=5)
    generous = cost.Budget(target=1e12, num_classes=5)
    derived = most_probable(SPACE, distribution, [generous])
    assert derived.indices == distribution.mode()
    assert derive.rank(SPACE, distribution, derived) == (1, None, 0)


def test_rank_counts_the_more_probable_of_different_blocks():
    distribution, budget = make_distribution(seed=6), make_budget(share=0.05)
    derived = most_probable(SPACE, distribution, [budget])
    blocks = set()
    for vector, log_prob in brute_force(distribution, []):
        if log_prob > derived.log_prob + 1e-5:
            blocks.add(blocks_of(vector))
    assert len(blocks) > 5
    rank = functools.partial(derive.rank, SPACE, distribution, derived)
    assert rank() == (len(blocks) + 1, None, 0)
    assert rank(limit=5) == (None, 5, None)


@KINDS
def test_rank_says_how_many_are_as_probable(kind):
    # All 972 vectors of DEEP are of different blocks, skipped ones included.
    flat = make_distribution(kind, scale=0.0, space=DEEP)
    mode = most_probable(DEEP, flat, [make_budget(share=1, space=DEEP)])
    assert derive.rank(DEEP, flat, mode) == (1, None, 971)
    assert derive.rank(DEEP, flat, mode, limit=971) == (1, None, 971)
    assert derive.rank(DEEP, flat, mode, limit=900) == (1, None, 900)
    # Skipping the last block is better: a third of all, 324, come first.
    position = DEEP.positions["stage1/block6/block_type"]
    place = next(
        number
        for number, factor in enumerate(flat.factors)
        if position in factor.positions
    )
    flat.logits[place].assign([0.0, 0.0, 1.0])
    indices = list(mode.indices)
    indices[position] = 0
    second = chain_lib.Chain.of(DEEP, flat).likeliest(indices)
    second = derive.Derived(indices=second[0], log_prob=second[1], costs=())
    assert derive.rank(DEEP, flat, second) == (325, None, 647)


def test_rank_of_sixty_blocks_is_counted_without_a_search(monkeypatch):
    # A best-first search took half a minute for the same answer.
    monkeypatch.setattr(derive, "enumerate_networks", None)
    stage = dataclasses.replace(SPACE.stages[1], depth=30)
    space = dataclasses.replace(SPACE, name="sixty", stages=(stage, stage))
    flat = distribution_lib.factorized(space)
    each = np.log([len(choice) for choice in space.choices]).sum()
    one = derive.Derived(indices=(), log_prob=-float(each), costs=())
    assert derive.rank(space, flat, one) == (1, None, files.RANK_LIMIT)
    less = dataclasses.replace(one, log_prob=one.log_prob - 1e-6)
    assert derive.rank(space, flat, less) == (None, files.RANK_LIMIT, None)


@KINDS
def test_the_likeliest_vector_of_given_blocks_equals_brute_force(kind):
    distribution = make_distribution(kind, seed=7)
    chain = chain_lib.Chain.of(SPACE, distribution)
    best = {}  # the first is the most probable
    for vector, log_prob in brute_force(distribution, []):
        best.setdefault(blocks_of(vector), (vector, log_prob))
    skips = 0
    for vector in map(tuple, VECTORS[::501].tolist()):
        expected, log_prob = best[blocks_of(vector)]
        found, found_log_prob = chain.likeliest(vector)
        assert found == expected
        assert found_log_prob == pytest.approx(log_prob, abs=1e-5)
        skips += "skip" in blocks_of(vector) and found != vector
    assert skips > 5


def blocks_of(vector):
    """What the vector builds, block by block, independent of derive.py."""
    built = []
    for position, (choice, index) in enumerate(
        zip(SPACE.choices, vector, strict=True)
    ):
        if choice.name.endswith("filters"):
            filters, stage = choice.candidates[index], int(choice.name[5])
            built.append(filters)
        elif choice.name.endswith("block_type"):
            kind, rest = choice.candidates[index], vector[position + 1 :][:2]
            ratio = SPACE.stages[stage - 1].expansions[rest[0]]
            inner = SPACE.stages[stage - 1].inner_filters(filters, ratio)
            built.append("skip" if kind == "skip" else (kind, inner, rest[1]))
    return tuple(built)


def test_a_flat_distribution_does_not_favour_skipping():
    # block2 of stage2: skip 0.2, the two others 0.4 each. Summed over what a
    # skipped block leaves open, skip would have 0.2 against 0.4 / 6.
    distribution = make_distribution(scale=0.0)
    position = SPACE.positions["stage2/block2/block_type"]
    distribution.logits[position].assign(np.log([0.4, 0.4, 0.2]))
    generous = cost.Budget(target=1e12, num_classes=5)
    derived = most_probable(SPACE, distribution, [generous])
    assert derived.indices[position] != 2


def test_equal_networks_are_listed_once():
    distribution = make_distribution(scale=0.0)
    generous = cost.Budget(target=1e12, num_classes=5)
    found = top_k(SPACE, distribution, [generous], 40)
    prints = {SPACE.decode(one.indices).fingerprint for one in found}
    assert len(prints) == len(found) == 40


@KINDS
def test_largest_space_is_quick_and_beats_local_changes(kind):
    space = space_lib.get_space("x3d_s")
    distribution = kind(space)
    rng = np.random.default_rng(0)
    for vector in distribution.logits:
        vector.assign(2 * rng.normal(size=vector.shape))
    budget = cost.Budget(target=1.0e9, num_classes=400)
    derived = most_probable(space, distribution, [budget])
    assert budget.allows(space.decode(derived.indices))
    table = cost_table_lib.CostTable(space, budget)
    best = np.array(derived.indices)
    sizes = np.array([len(choice) for choice in space.choices])
    changed = np.repeat(best[None], 4000, 0)
    for row in changed:  # two choices drawn anew
        for place in rng.integers(0, len(best), 2):
            row[place] = rng.integers(sizes[place])
    fits = table(changed) <= budget.target
    assert fits.sum() > 100
    others = distribution.log_prob(changed[fits]).numpy()
    assert others.max() <= derived.log_prob + 1e-3


def test_impossible_budget_is_refused_with_the_minimum():
    budget = cost.Budget(target=1000.0, num_classes=5)
    with pytest.raises(ValueError, match=r"macs <= 1,000. The smallest has"):
        most_probable(SPACE, make_distribution(), [budget])


def test_budgets_that_exclude_each_other_are_refused(monkeypatch):
    # each alone is met at its own minimum only: the narrowest, the widest
    narrow = (lambda part: 100 - part.out_channels, sum)
    monkeypatch.setitem(cost.METRICS, "narrow", narrow)
    budgets = [make_budget(metric, 0.0) for metric in ("macs", "narrow")]
    with pytest.raises(ValueError, match="is within all budgets together"):
        most_probable(SPACE, make_distribution(), budgets)


def test_a_head_beyond_a_maximum_is_not_searched_up_to():
    """Its network looks most probable until the last step."""
    space = dataclasses.replace(
        SPACE, head=space_lib.HeadSpec(filters=4096, features=16)
    )
    budget = cost.Budget(
        metric="peak_activation_bytes", target=1, num_classes=2
    )
    least = cost.cheapest(space, budget)
    budget = dataclasses.replace(budget, target=least)
    table = cost_table_lib.CostTable(space, budget)
    assert (table.head <= least).tolist() == [True, False, False]
    distribution = distribution_lib.factorized(space)
    last = [f.name for f in distribution.factors].index("stage2/filters")
    distribution.logits[last].assign([0.0, 3.0, 3.0])
    chain = chain_lib.Chain.of(space, distribution, [table])
    found = next(derive.enumerate_networks(chain, limit=20))
    assert found.costs == (least,)


def test_a_block_beyond_a_maximum_is_not_gone_on_from():
    """All that can follow it is within the budget, and most probable."""
    budget = cost.Budget(
        metric="peak_activation_bytes", target=4 * 33_000, num_classes=5
    )
    table = cost_table_lib.CostTable(SPACE, budget)
    first, *rest = (blocks for stage in table.blocks for blocks in stage)
    assert max(blocks.max() for blocks in rest) < budget.target
    fits = (first < budget.target).any(axis=(0, 2, 3, 4))
    assert fits.tolist() == [True, False, False]  # by filters
    distribution = distribution_lib.factorized(SPACE)
    distribution.logits[0].assign([0.0, 3.0, 3.0])
    chain = chain_lib.Chain.of(SPACE, distribution, [table])
    found = next(derive.enumerate_networks(chain, limit=20))
    assert found.indices[0] == 0


def test_each_of_several_sums_leads_the_search():
    """The first of them, which all networks fit, says nothing."""
    params = cost.Budget(metric="params", target=1.0, num_classes=5)
    least = cost.cheapest(SPACE, params)
    budgets = [
        cost.Budget(target=1e12, num_classes=5),
        dataclasses.replace(params, target=least),
    ]
    chain = chain_lib.Chain.of(
        SPACE, make_distribution(scale=0.1), tables_of(SPACE, budgets)
    )
    found = next(derive.enumerate_networks(chain, limit=20))
    assert found.costs[1] == least


def test_enumeration_says_when_it_gives_up():
    chain = chain_lib.Chain.of(SPACE, make_distribution(scale=0.0))
    with pytest.raises(derive.LimitReached, match="among 50 partial ones"):
        list(derive.enumerate_networks(chain, limit=50))
