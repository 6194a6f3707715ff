"""Search spaces: choices, decoding, windows."""

import dataclasses
import random

import numpy as np
import pytest

from autox3d_tf import space
from autox3d_tf.space import windows


@pytest.mark.parametrize("name", sorted(space.SPACES))
def test_every_named_space(name, tmp_path):
    named = space.get_space(name)
    named.save(tmp_path / "space.json")
    assert space.get_space(str(tmp_path / "space.json")) == named
    rng = random.Random(0)
    for _ in range(20):
        indices = [rng.randrange(len(c)) for c in named.choices]
        arch = named.decode(indices)
        assert arch.provenance["indices"] == indices
        chosen = {
            c.name: c.candidates[i]
            for c, i in zip(named.choices, indices, strict=True)
        }
        for number, blocks in enumerate(arch.stages, 1):
            kept = [
                i
                for i in range(1, named.stages[number - 1].depth + 1)
                if chosen[f"stage{number}/block{i}/block_type"] != space.SKIP
            ]
            assert len(blocks) == len(kept)
            for block, i in zip(blocks, kept, strict=True):
                prefix = f"stage{number}/block{i}"
                assert block.filters == chosen[f"stage{number}/filters"]
                assert block.block_type == chosen[f"{prefix}/block_type"]
                assert block.attention == chosen[f"{prefix}/attention"]


def test_places_are_those_of_the_choices():
    for named in space.SPACES.values():
        names = {}
        for number, stage in enumerate(named.places, 1):
            names[f"stage{number}/filters"] = stage.filters
            for block, own in enumerate(stage.blocks, 1):
                for kind, place in zip(
                    ("block_type", "expansion", "attention"), own, strict=True
                ):
                    names[f"stage{number}/block{block}/{kind}"] = place
        assert names == named.positions


def test_networks_keep_what_their_space_decides():
    tiny = space.get_space("tiny")
    stages = tuple(
        dataclasses.replace(stage, strides=strides)
        for stage, strides in zip(
            tiny.stages, ((1, 4, 4), (1, 2, 2)), strict=True
        )
    )
    named = dataclasses.replace(
        tiny, stages=stages, frame_stride=5, activation="relu", causal=True
    )
    arch = named.decode(named.largest)
    for name in ("clip_size", "frame_stride", "stem", "head", "activation",
                 "causal"):  # fmt: skip
        assert getattr(arch, name) == getattr(named, name), name
    assert [[block.strides for block in blocks] for blocks in arch.stages] == [
        [(1, 4, 4)],
        [(1, 2, 2), (1, 1, 1)],
    ]


def test_only_later_blocks_can_be_skipped():
    for named in space.SPACES.values():
        for choice in named.choices:
            if choice.name.endswith("block_type"):
                first = choice.name.endswith("block1/block_type")
                assert (space.SKIP in choice.candidates) != first


def test_inner_filters_by_hand():
    stage = space.get_space("x3d_s").stages[0]  # multiples of 8
    # 54 is nearer to 56; 12 to 16, half way; no less than 8
    assert [stage.inner_filters(f, e) for f, e in
            ((24, 2.25), (8, 1.5), (2, 1.5))] == [56, 16, 8]  # fmt: skip
    other = dataclasses.replace(stage, channel_multiple=2)
    assert other.inner_filters(6, 2.25) == 14  # 13.5
    assert other.inner_filters(1, 0.5) == 2  # one of its own multiples at least


def test_size_of_tiny_by_hand():
    # Stage 1: 3 filters, one block of 3 x 3 x 2. Stage 2: 3 filters, blocks
    # of 3 x 3 x 2 and (3 + skip) x 3 x 2.
    assert space.get_space("tiny").size == 3 * 18 * 3 * 18 * 24


def test_fingerprint_follows_the_definition():
    tiny = space.get_space("tiny")
    other = dataclasses.replace(tiny, version=2)
    assert other.fingerprint != tiny.fingerprint


@pytest.mark.parametrize(
    ("count", "probability"), [(3, 2 / 3), (5, 3 / 5), (7, 4 / 7)]
)
def test_complementary_widths_are_exactly_fair(count, probability):
    # Published: M / N with M = (N + 1) / 2.
    partial = [8 * i for i in range(1, count)]
    widths = (*partial, 8 * count)
    found = windows.fairness(windows.place_windows(widths))
    assert found.exact
    assert found.minimum == pytest.approx(probability)


def test_a_window_of_one_channel_lies_beside_its_partner():
    assert windows.place_windows((1, 3, 4)) == ((3, 1), (0, 3), (0, 4))


def test_windows_match_a_count_per_channel():
    placed = windows.place_windows((12, 20, 28, 36, 48))
    uses = [
        sum(start <= channel < start + width for start, width in placed)
        for channel in range(48)
    ]
    assert uses == [3] * 48


def test_uneven_widths_report_their_unfairness():
    widths = (10, 16, 31, 48)
    found = windows.fairness(windows.place_windows(widths))
    prefixes = windows.fairness([(0, w) for w in widths])
    assert found.maximum - found.minimum < prefixes.maximum - prefixes.minimum
    # The mean is fixed by the widths: (10 + 16 + 31 + 48) / 48 / 4.
    assert found.minimum <= 105 / 192 <= found.maximum


@pytest.mark.parametrize(
    ("filters", "reason"),
    [
        ((8, 16, 24, 32), "there are 4 widths, an even number"),
        ((8, 16, 32), "the widths do not pair up to the widest"),
    ],
)
def test_space_says_why_updates_are_unequal(filters, reason):
    tiny = space.get_space("tiny")
    stage = dataclasses.replace(tiny.stages[0], filters=filters)
    changed = dataclasses.replace(tiny, stages=(stage, *tiny.stages[1:]))
    lines = changed.unfairness()
    (line,) = [line for line in lines if line.startswith("stage1/filters")]
    fair = changed.fairness()["stage1/filters"]
    assert line == (
        "stage1/filters: channels are updated with probability "
        f"{fair.minimum:.3f} to {fair.maximum:.3f}, for {reason}: {filters}."
    )
    assert not any("filters" in line for line in tiny.unfairness())


def test_named_spaces_have_fair_filters_and_nearly_fair_inner_channels():
    for named in space.SPACES.values():
        for name, found in named.fairness().items():
            least = 1 if name.endswith("filters") else 0.79
            assert found.minimum >= least * found.maximum, (named.name, name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"filters": ()}, "`filters` must be distinct candidates"),
        ({"block_types": ("3x3x3", "3x3x3")}, "`block_types` must be distinct"),
        ({"block_types": ("9x9x9",)}, "block_types='9x9x9'"),
        ({"expansions": (0.0,)}, r"`expansions` must be numbers in \(0, 16\]"),
        ({"expansions": ("2",)}, r"expansions=\('2',\)"),
        ({"expansions": (True, 2)}, r"expansions=\(True, 2\)"),
        (
            {"expansions": None},
            "`expansions` must be a list. Received: expansions=None",
        ),
        ({"filters": 8}, "`filters` must be a list. Received: filters=8"),
        ({"filters": ((8,), (16,))}, "`filters` must be numbers or names"),
        ({"optional": "no"}, "`optional` must be true or false"),
        ({"strides": (1, 2, 1)}, "equal in height and width"),
        ({"attentions": ("se", "eca")}, "attentions='eca'"),
        ({"depth": 0}, "depth=0"),
        ({"depth": True}, "`depth` must be a positive integer"),
        ({"strides": (1, 1, 1)}, "halve the image"),
    ],
)
def test_a_stage_refuses_nonsense(change, message):
    stage = space.get_space("tiny").stages[0]
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(stage, **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frame_stride": 0}, "`frame_stride` must be a positive"),
        ({"version": "x"}, "`version` must be a positive"),
        ({"name": 5}, "`name` must be a non-empty string"),
        ({"name": ""}, "`name` must be a non-empty string"),
        ({"causal": "false"}, "`causal` must be true or false"),
        ({"stem": None}, "`stem` must be of StemSpec. Received: stem=None"),
        ({"stages": ("a",)}, "`stages` must be of StageSpace. Received: stage"),
        ({"stages": 3}, "`stages` must be a list. Received: stages=3"),
    ],
)
def test_a_space_refuses_nonsense(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(space.get_space("tiny"), **change)


def test_lists_become_tuples():
    tiny = space.get_space("tiny")
    stages = [
        dataclasses.replace(
            stage,
            filters=list(stage.filters),
            block_types=list(stage.block_types),
        )
        for stage in tiny.stages
    ]
    assert dataclasses.replace(tiny, stages=stages) == tiny
    assert space.get_space(tiny) is tiny


def test_stages_are_a_list():
    record = space.get_space("tiny").to_dict()
    with pytest.raises(
        ValueError, match="`stages` must be a list. Received: stages=N"
    ):
        space.SearchSpace.from_dict({**record, "stages": None})


def test_indices_are_checked():
    tiny = space.get_space("tiny")
    with pytest.raises(ValueError, match="must have 11 entries.*Received: 2"):
        tiny.decode([0, 0])
    with pytest.raises(ValueError, match=r"stage1/filters must be in \[0, 3\)"):
        tiny.decode([3] + [0] * 10)


def test_a_damaged_space_file_is_refused(tmp_path):
    path = tmp_path / "space.json"
    path.write_text('{"schema_version": 1, "name": "x"}')
    with pytest.raises(ValueError, match="missing SearchSpace fields"):
        space.get_space(str(path))
    path.write_text("{}")
    with pytest.raises(ValueError, match="not a search space.*SearchSpace.sa"):
        space.get_space(str(path))
    with pytest.raises(ValueError, match="egogestar.*name='none'"):
        space.get_space("none")


@pytest.mark.parametrize("name", ["tiny", "egogestar"])
def test_the_largest_has_all_blocks_at_their_widest(name):
    searched = space.get_space(name)
    arch = searched.decode(searched.largest)
    for blocks, stage in zip(arch.stages, searched.stages, strict=True):
        assert len(blocks) == stage.depth
        inner = stage.inner_filters(max(stage.filters), max(stage.expansions))
        for block in blocks:
            assert block.filters == max(stage.filters)
            assert block.inner_filters == inner
            assert block.attention == "se"
    kernel = {"tiny": "3x3x3", "egogestar": "3x5x5"}[name]
    assert {b.block_type for blocks in arch.stages for b in blocks} == {kernel}


def test_the_largest_has_all_kernels_of_a_block():
    tiny = space.get_space("tiny")
    stage = dataclasses.replace(
        tiny.stages[0], block_types=("1x3x3", "separable")
    )
    searched = dataclasses.replace(tiny, stages=(stage,))
    (block,) = searched.decode(searched.largest).stages[0]
    assert block.block_type == "separable"  # 9 weights and 3, not 9


def test_canonical_indices_mean_the_same_network():
    tiny = space.get_space("tiny")
    skip = tiny.positions["stage2/block2/block_type"]
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(200):
        indices = [int(rng.integers(len(choice))) for choice in tiny.choices]
        canonical = tiny.canonical(indices)
        assert tiny.decode(canonical).stages == tiny.decode(indices).stages
        skipped = tiny.choices[skip].candidates[indices[skip]] == space.SKIP
        seen.add(skipped)
        assert canonical == (
            (*indices[: skip + 1], 0, 0) if skipped else tuple(indices)
        )
    assert seen == {True, False}
