"""Latency tables: terms by hand, budgets in milliseconds, refusals."""

import dataclasses
import json
import random

import numpy as np
import pytest

from autox3d_tf import cost, space
from autox3d_tf.cost import latency
from autox3d_tf.search import cost_table, derive

SPACE = space.get_space("tiny")
CLASSES = 3


def all_terms(named, tile=1):
    """Every term of a space."""
    found = set()
    rng = random.Random(0)
    for _ in range(60):
        arch = named.decode([rng.randrange(len(c)) for c in named.choices])
        for part in cost.parts_of(arch, arch.clip_size, CLASSES):
            found |= set(latency.terms(part, tile))
    return sorted(found)


def make_table(named=SPACE, tile=4):
    """A table with random coefficients."""
    rng = random.Random(1)
    return cost.LatencyTable(
        coefficients={t: rng.random() / 100 for t in all_terms(named, tile)},
        tile=tile,
        precision="int8",
        threads=1,
        runtime="ai-edge-litert 2.3.0",
        device="a processor",
        space_name=named.name,
        space_fingerprint=named.fingerprint,
        activation=named.activation,
        causal=named.causal,
    )


TABLE = make_table()


def budget(target=1e9, **changes):
    return cost.Budget(
        metric="latency_ms",
        target=target,
        num_classes=CLASSES,
        **{"table": TABLE, **changes},
    )


COLUMN = {
    "precision": "int8",
    "threads": 1,
    "tile": TABLE.tile,
    "coefficients": dict(TABLE.coefficients),
}


def write(tmp_path, **changes):
    data = {
        "kind": "latency_table",
        "schema_version": 1,
        "device": {"processor": "a processor", "runtime": TABLE.runtime},
        "space": {"name": "tiny", "fingerprint": SPACE.fingerprint},
        "archs": [{"activation": "swish", "causal": False}],
        "columns": [COLUMN],
    }
    path = tmp_path / "table.json"
    path.write_text(json.dumps({**data, **changes}))
    return path


def test_terms_of_a_block_by_hand():
    # 6 channels in, 20 inside (24 in vectors of 8), 10 out (16): the first
    # block of a stage on 4x8x8, with squeeze-excite.
    block = space.PlacedBlock(
        name="stage1_block1",
        stage=1,
        index=1,
        in_filters=6,
        spec=space.BlockSpec(
            block_type="1x3x3",
            filters=10,
            inner_filters=20,
            strides=(1, 2, 2),
            attention="se",
        ),
    )
    part = cost.parts.block_part(block, (4, 8, 8))
    assert latency.terms(part, tile=8) == {
        "pointwise 4x8x8 macs": 6 * 24,
        "pointwise 4x8x8 in": 6,
        "pointwise 4x8x8 out": 24,
        "pointwise 4x4x4 macs": 20 * 16,
        "pointwise 4x4x4 in": 20,
        "pointwise 4x4x4 out": 16,
        "shortcut 4x8x8 4x4x4 macs": 6 * 16,
        "shortcut 4x8x8 4x4x4 in": 6,
        "shortcut 4x8x8 4x4x4 out": 16,
        "1x3x3 4x8x8 4x4x4": 24,
        "1x3x3": 1,
        "se 4x4x4": 24,
        "se": 1,
    }


def test_both_pointwise_kernels_count_where_they_are_of_one_size():
    spec = space.BlockSpec(block_type="3x3x3", filters=6, inner_filters=20)
    placed = space.PlacedBlock(
        name="stage1_block2", stage=1, index=2, in_filters=6, spec=spec
    )
    part = cost.parts.block_part(placed, (4, 8, 8))
    assert latency.terms(part, tile=8) == {
        "pointwise 4x8x8 macs": 6 * 24 + 20 * 8,
        "pointwise 4x8x8 in": 6 + 20,
        "pointwise 4x8x8 out": 24 + 8,
        "3x3x3 4x8x8 4x8x8": 24,
        "3x3x3": 1,
    }


def test_terms_of_stem_and_head_by_hand():
    stem = cost.parts.stem_part(space.StemSpec(filters=4), (2, 8, 8))
    assert latency.terms(stem, tile=8) == {"stem 2x8x8": 1}
    head = cost.parts.head_part(
        space.HeadSpec(filters=7, features=9), (2, 4, 4), 5, 3
    )
    assert latency.terms(head, tile=8) == {"head 2x4x4": 1, "head 2x4x4 in": 5}


def test_a_space_and_its_networks_take_the_same_time():
    counted = cost.SpaceCost(SPACE, budget())
    table = cost_table.CostTable(SPACE, budget())
    rng = random.Random(2)
    for _ in range(20):
        indices = [rng.randrange(len(c)) for c in SPACE.choices]
        arch = SPACE.decode(indices)
        whole = TABLE.network_ms(arch, CLASSES)
        assert counted(indices) == pytest.approx(whole)
        assert budget().cost(arch) == whole
        assert table([indices])[0] == pytest.approx(whole)
    assert table.sums


def test_the_pick_keeps_to_milliseconds_and_multiply_adds_together():
    class Uniform:
        factors = [
            dataclasses.make_dataclass("Factor", ["positions"])((i,))
            for i in range(len(SPACE.choices))
        ]

        @staticmethod
        def log_tables():
            rng = random.Random(3)
            return [
                np.log([rng.random() for _ in choice.candidates])
                for choice in SPACE.choices
            ]

    least = cost.cheapest(SPACE, budget())
    macs = cost.Budget(target=1_500_000, num_classes=CLASSES)
    ms = budget(1.3 * least)
    tables = [cost_table.CostTable(SPACE, limit) for limit in (ms, macs)]
    (found,) = derive.top_k(SPACE, Uniform, tables, 1)
    arch = SPACE.decode(found.indices)
    assert ms.allows(arch) and macs.allows(arch)
    (free,) = derive.top_k(SPACE, Uniform, tables[1:], 1)
    assert not ms.allows(SPACE.decode(free.indices))  # it does limit


def test_too_few_milliseconds_are_refused_with_the_minimum():
    least = cost.cheapest(SPACE, budget())
    with pytest.raises(ValueError, match=f"smallest has {least:,.3f}"):
        cost.check_feasible(SPACE, budget(least / 2))


def test_a_budget_in_milliseconds_needs_a_table():
    with pytest.raises(ValueError, match="`table` must be given with metric"):
        budget(table=None)
    with pytest.raises(ValueError, match="only then"):
        cost.Budget(target=1.0, num_classes=CLASSES, table=TABLE)


def test_a_table_is_read_back(tmp_path):
    path = write(tmp_path)
    assert cost.load_latency_table(path) == TABLE
    assert cost.load_latency_table(path, runtime="ai-edge-litert") == TABLE
    assert str(TABLE) == (
        "ms per clip, int8, 1 thread, ai-edge-litert 2.3.0, a processor"
    )
    per_frame = cost.load_latency_table(write(tmp_path, per="frame"))
    assert str(per_frame).startswith("ms per frame, int8")
    with pytest.raises(ValueError, match="`per` must be one of"):
        cost.load_latency_table(write(tmp_path, per="second"))


def test_another_runtime_is_refused(tmp_path):
    path = write(tmp_path)
    with pytest.raises(ValueError, match="with runtime 'tflite-runtime'"):
        cost.load_latency_table(path, runtime="tflite-runtime")
    path = write(tmp_path, device={"processor": "a processor", "runtime": ""})
    with pytest.raises(ValueError, match="Received: ''"):
        cost.load_latency_table(path, runtime="tflite-runtime")


def test_another_number_of_threads_is_refused_with_the_way_to_it(tmp_path):
    said = "int8 at 2 threads. Received: int8 at 1. .* --threads_list=2"
    with pytest.raises(ValueError, match=said):
        cost.load_latency_table(write(tmp_path), threads=2)


def test_another_precision_is_refused(tmp_path):
    with pytest.raises(ValueError, match="Received: int8 at 1"):
        cost.load_latency_table(write(tmp_path), precision="fp32")


def test_another_space_is_refused():
    with pytest.raises(ValueError, match="must be of space 'egogestar'"):
        cost.SpaceCost(space.get_space("egogestar"), budget())


def test_a_part_that_was_not_measured_is_refused():
    arch = space.get_arch("x3d_xs")
    with pytest.raises(ValueError, match="no measurement of 'stem 4x160x160'"):
        TABLE.network_ms(arch, CLASSES)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activation": "relu"}, "with activation='swish'.*activation='relu'"),
        ({"causal": True}, "with causal=False. Received: 'tiny.*causal=True"),
    ],
)
def test_another_kind_of_network_is_refused(changes, message):
    arch = SPACE.decode([0] * len(SPACE.choices))
    assert TABLE.network_ms(arch, CLASSES) > 0
    other = dataclasses.replace(arch, **changes)
    with pytest.raises(ValueError, match=message):
        TABLE.network_ms(other, CLASSES)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "weights"}, "not a latency table"),
        ({"schema_version": 99}, "Received: schema_version=99"),
        ({"columns": None}, r"damaged latency table \(TypeError"),
        ({"device": {}}, r"damaged latency table \(KeyError: 'runtime'"),
        ({"columns": [dict(COLUMN, coefficients={"se": -1.0})]}, "is below 0"),
        ({"columns": [dict(COLUMN, coefficients={"se": "1"})]}, "damaged"),
        ({"columns": [dict(COLUMN, coefficients=[])]}, "damaged"),
    ],
)
def test_other_files_are_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        cost.load_latency_table(write(tmp_path, **changes))
