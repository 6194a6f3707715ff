"""Costs against the published tables and against brute force."""

import dataclasses
import itertools
import math
import random

import numpy as np
import pytest

from autox3d_tf import cost, space
from autox3d_tf.search import cost_table, derive, distribution

# Name: parameters; multiply-adds at the training crop; clip and multiply-adds
# at the testing crop. 400 classes.
PUBLISHED = {
    "x3d_xs": (3_794_322, 605_256_512, (4, 182, 182), 838_807_664),
    "x3d_s": (3_794_322, 1_962_892_112, (13, 182, 182), 2_721_933_356),
    "x3d_m": (3_794_322, 4_732_468_736, (16, 256, 256), 6_180_613_376),
    "x3d_l": (6_153_432, 18_367_710_176, (16, 356, 356), 24_764_017_280),
    "x3d_xl": (11_095_904, 35_837_627_616, (16, 356, 356), 48_406_849_600),
}


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_x3d_equals_the_table(name):
    params, train_macs, test_clip, test_macs = PUBLISHED[name]
    arch = space.get_arch(name)
    at_train = cost.cost_of(arch)
    at_test = cost.cost_of(arch, clip_size=test_clip)
    assert at_train.params == at_test.params == params
    assert at_train.macs == train_macs
    assert at_test.macs == test_macs


def test_fewer_classes_cost_a_smaller_last_layer():
    # 226 classes fewer: 226 * (2048 + 1) parameters, published as 3.331 M.
    found = cost.cost_of(space.get_arch("x3d_s"), num_classes=174)
    assert found.params == 3_794_322 - 226 * 2049
    assert found.params == pytest.approx(3.331e6, rel=1e-4)


def test_peak_activations_by_hand():
    # Largest part of x3d_s at 160x160: stage1_block1 keeps its 24-channel
    # input at 13x80x80 beside the 54 inner channels at 80x80 and at 40x40.
    found = cost.cost_of(space.get_arch("x3d_s"))
    values = 13 * (80 * 80 * (24 + 54) + 40 * 40 * 54)
    assert found.peak_activation_bytes == 4 * values


def test_peaks_of_stem_narrow_block_and_head_by_hand():
    # At 2x4x4: what goes in and what comes out; the norm of a wide stem has
    # its input and output alive, more than the clip of 2x8x8 beside either.
    narrow, wide = (
        cost.parts.stem_part(space.StemSpec(filters=n), (2, 8, 8))
        for n in (4, 16)
    )
    assert narrow.peak_values == 2 * 8 * 8 * 3 + 32 * 4
    assert wide.peak_values == 2 * 32 * 16
    whole = space.StemSpec(filters=4, strides=(1, 1, 1))
    assert cost.parts.stem_part(whole, (2, 8, 8)).out_size == (2, 8, 8)
    # 5 channels kept for the shortcut, 3 inner and 8 out
    spec = space.BlockSpec(block_type="3x3x3", filters=8, inner_filters=3)
    placed = space.PlacedBlock(
        name="b", stage=1, index=1, in_filters=5, spec=spec
    )
    block = cost.parts.block_part(placed, (2, 4, 4))
    assert block.peak_values == 32 * (5 + 3 + 8)
    head = cost.parts.head_part(
        space.HeadSpec(filters=7, features=9), (2, 4, 4), 5, 3
    )
    assert head.peak_values == 32 * (5 + 7)
    assert head.peak_bytes == 4 * 32 * 12


@pytest.mark.parametrize("metric", sorted(cost.METRICS))
@pytest.mark.parametrize("name", sorted(space.SPACES))
def test_the_table_of_a_space_equals_the_count(name, metric):
    named = space.get_space(name)
    budget = cost.Budget(metric=metric, target=1e9, num_classes=7)
    table = cost.SpaceCost(named, budget)
    rng = random.Random(1)
    for _ in range(10):
        indices = [rng.randrange(len(c)) for c in named.choices]
        arch = named.decode(indices)
        assert table(indices) == budget.cost(arch)
        whole = cost.cost_of(arch, num_classes=7)
        assert budget.cost(arch) == getattr(whole, metric)


def test_a_space_is_counted_with_its_strides_for_any_clip():
    tiny = space.get_space("tiny")
    first, second = tiny.stages
    first = dataclasses.replace(first, strides=(1, 4, 4))
    named = dataclasses.replace(tiny, stages=(first, second))
    size = (4, 40, 24)
    budget = cost.Budget(target=1e9, num_classes=7, clip_size=size)
    arch = named.decode(named.largest)
    whole = cost.cost_of(arch, clip_size=size, num_classes=7)
    assert budget.cost(arch) == whole.macs
    assert cost.SpaceCost(named, budget)(named.largest) == whole.macs


@pytest.mark.parametrize("metric", sorted(cost.METRICS))
def test_cheapest_against_enumeration(metric):
    check_cheapest(space.get_space("tiny"), metric)


@pytest.mark.parametrize("metric", sorted(cost.METRICS))
def test_cheapest_where_no_block_can_be_skipped(metric):
    tiny = space.get_space("tiny")
    stages = tuple(
        dataclasses.replace(stage, optional=False, attentions=("se",))
        for stage in tiny.stages
    )
    check_cheapest(dataclasses.replace(tiny, stages=stages), metric)


def check_cheapest(named, metric):
    budget = cost.Budget(metric=metric, target=1.0, num_classes=3)
    table = cost.SpaceCost(named, budget)
    ranges = [range(len(choice)) for choice in named.choices]
    least = min(table(i) for i in itertools.product(*ranges))
    assert cost.cheapest(named, budget) == least


@pytest.fixture
def odd_widths(monkeypatch):
    """A cost of one's own that does not grow with the width."""

    def millijoules(part):
        return 1e-6 * part.macs * (3.0 if part.out_channels % 16 else 0.5)

    monkeypatch.setitem(cost.METRICS, "millijoules", (millijoules, sum))
    return "millijoules"


@pytest.mark.parametrize(
    ("of_part", "combine", "message"),
    [
        (lambda part: 1.0, math.fsum, "by sum or max. Received: .*fsum"),
        (lambda part: math.nan, sum, "at least 0. Received: nan for 'own' of"),
        (
            lambda part: -1.0,
            max,
            "at least 0. Received: -1.0 for 'own' of",
        ),
    ],
)
def test_costs_that_cannot_be_are_refused(
    monkeypatch, of_part, combine, message
):
    monkeypatch.setitem(cost.METRICS, "own", (of_part, combine))
    with pytest.raises(ValueError, match=message):
        cost.cheapest(
            space.get_space("tiny"),
            cost.Budget(metric="own", target=1.0, num_classes=3),
        )


def test_a_budget_is_of_a_clip_that_can_be():
    with pytest.raises(ValueError, match="`clip_size` must be a positive"):
        cost.Budget(target=1.0, num_classes=4, clip_size=(8, -32, 32))


def test_cheapest_of_a_cost_that_does_not_grow_with_width(odd_widths):
    test_cheapest_against_enumeration(odd_widths)
    tiny = space.get_space("tiny")
    budget = cost.Budget(metric=odd_widths, target=1.0, num_classes=3)
    narrowest = cost.SpaceCost(tiny, budget)([0] * len(tiny.choices))
    assert cost.cheapest(tiny, budget) < narrowest
    assert budget.format(12.3456) == "12.346"
    assert str(cost.Budget(target=40e6, num_classes=3)) == "macs <= 40,000,000"


def test_no_part_of_a_space_is_counted_twice(monkeypatch):
    counted = []

    def one(part):
        counted.append(part.kind)
        return 1

    monkeypatch.setitem(cost.METRICS, "parts", (one, sum))
    tiny = space.get_space("tiny")
    budget = cost.Budget(metric="parts", target=9.0, num_classes=3)
    table = cost.SpaceCost(tiny, budget)
    indices = [0] * len(tiny.choices)
    assert table(indices) == table(indices) == 5
    assert counted == ["stem", "block", "block", "block", "head"]


def test_a_budget_nothing_meets_names_the_minimum():
    tiny = space.get_space("tiny")
    budget = cost.Budget(target=1000.0, num_classes=3)
    least = cost.cheapest(tiny, budget)
    with pytest.raises(ValueError, match=f"smallest has {least:,}"):
        cost.check_feasible(tiny, budget)
    cost.check_feasible(tiny, cost.Budget(target=least, num_classes=3))
    with pytest.raises(ValueError, match=f"smallest has {least:,}"):
        cost.check_feasible(tiny, cost.Budget(target=least - 1, num_classes=3))


def test_the_last_bit_of_a_sum_is_not_beyond_the_budget(monkeypatch):
    monkeypatch.setitem(cost.METRICS, "tenths", (lambda part: 0.1, sum))
    tenths = cost.Budget(metric="tenths", target=0.3, num_classes=3)
    tiny = space.get_space("tiny")
    one = dataclasses.replace(tiny, stages=tiny.stages[:1])  # of three parts
    cost.check_feasible(one, tenths)
    assert tenths.allows(one.decode(one.largest))
    table = cost_table.CostTable(one, tenths)
    assert cost_table.fits([table], np.array([one.largest])).all()
    flat = distribution.factorized(one)
    assert derive.top_k(one, flat, [table], 1)[0].costs[0] > 0.3


@pytest.mark.parametrize("target", [0, -1.0, float("nan"), float("inf")])
def test_a_budget_refuses_nonsense(target):
    with pytest.raises(ValueError, match="`target` must be a positive"):
        cost.Budget(target=target, num_classes=3)


def test_an_unknown_metric_lists_the_known():
    with pytest.raises(ValueError, match="macs.*metric='flops'"):
        cost.Budget(metric="flops", target=1.0, num_classes=3)


def test_the_printed_table_ends_with_the_totals():
    arch = space.get_arch("x3d_xs")
    text = cost.format_cost(arch, cost.cost_of(arch))
    total = next(x for x in text.splitlines() if x.startswith("total"))
    assert "605,256,512" in total
    assert "3,794,322" in total


def test_causal_attention_is_counted_at_each_frame():
    # Of 15 more of 16 frames, both ways: 8 hidden channels for the inner 27;
    # 45; 90, 90, and 16 for 144 (8 would round 9 down by more than 10 %).
    clip, stream = (
        cost.cost_of(space.get_arch(name), num_classes=10).macs
        for name in ("x3d_ego", "x3d_ego_stream")
    )
    hidden = 8 * (27 + 45 + 90 + 90) + 16 * 144
    assert stream - clip == 15 * 2 * hidden
