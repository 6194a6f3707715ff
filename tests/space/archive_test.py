"""X3D scaled by hand into the skeleton of a space."""

import dataclasses

import pytest

from autox3d_tf import cost
from autox3d_tf import space as space_lib


def fits_under(target):
    return cost.Budget(target=target, num_classes=10).allows


@pytest.mark.parametrize("name", ["tiny", "egogestar", "x3d_s"])
def test_scaled_x3d_follows_the_rules_of_x3d(name):
    space = space_lib.get_space(name)
    target = 3 * cost.cheapest(space, cost.Budget(target=1, num_classes=10))
    arch = space_lib.scaled_x3d(space, fits_under(target))
    assert 0.9 * target < cost.cost_of(arch, num_classes=10).macs <= target
    assert (arch.stem, arch.head) == (space.stem, space.head)
    assert arch.clip_size == space.clip_size
    depths = [len(blocks) for blocks in arch.stages]
    assert depths == [stage.depth for stage in space.stages]
    widths = [blocks[0].filters for blocks in arch.stages]
    for narrow, wide in zip(widths, widths[1:], strict=False):
        assert wide == pytest.approx(2 * narrow, abs=1)  # rounded
    for blocks, stage in zip(arch.stages, space.stages, strict=True):
        assert blocks[0].strides == stage.strides
        for index, block in enumerate(blocks):
            assert block.block_type == "3x3x3"
            assert block.inner_filters == int(2.25 * block.filters)
            assert block.attention == ("none" if index % 2 else "se")


def test_scaled_x3d_is_for_what_the_space_is_for():
    space = dataclasses.replace(
        space_lib.get_space("tiny"),
        frame_stride=3, activation="hard_swish", causal=True,
    )  # fmt: skip
    arch = space_lib.scaled_x3d(space, fits_under(2e6))
    assert arch.frame_stride == 3
    assert arch.activation == "hard_swish" and arch.causal


def test_scaled_x3d_is_the_widest_that_fits():
    space = space_lib.get_space("egogestar")
    seen = []

    def fits(arch):
        seen.append(arch)
        return fits_under(2e7)(arch)

    arch = space_lib.scaled_x3d(space, fits)
    multiplier = arch.provenance["scaled_by"]
    wider = min(
        (a for a in seen if a.provenance["scaled_by"] > multiplier),
        key=lambda a: a.provenance["scaled_by"],
    )
    assert wider.provenance["scaled_by"] - multiplier < 2e-4
    assert cost.cost_of(wider, num_classes=10).macs > 2e7


def test_the_published_x3d_s_is_found_again():
    # Its own skeleton, its own cost: the multiplier is 1.
    space = space_lib.get_space("x3d_s")
    published = space_lib.get_arch("x3d_s")
    target = cost.cost_of(published, (13, 160, 160), 10).macs
    found = space_lib.scaled_x3d(space, fits_under(target))
    assert found.stages == published.stages


def test_a_share_of_the_blocks_is_rounded_up():
    space = space_lib.get_space("x3d_s")
    arch = space_lib.scaled_x3d(space, fits_under(1e9), depth=0.5)
    # of 3, 5, 11 and 7
    assert [len(blocks) for blocks in arch.stages] == [2, 3, 6, 4]


def test_a_budget_that_no_x3d_meets_is_refused():
    space = space_lib.get_space("egogestar")
    with pytest.raises(ValueError, match="not even with one channel per stage"):
        space_lib.scaled_x3d(space, lambda arch: False)
