"""What is said about networks and search spaces."""

import dataclasses
import re

import numpy as np
import pytest

from autox3d_tf import cost, space
from autox3d_tf.cost import describe
from tests.cost import latency_test


def test_other_crop_and_classes():
    text = describe.describe("x3d_s", (13, 182, 182), 400)
    assert "2,721,933,356" in text
    arch = space.get_arch("x3d_s")
    assert f"{cost.cost_of(arch, num_classes=174).params:,}" in (
        describe.describe("x3d_s", num_classes=174)
    )


def test_a_searched_network_has_the_classes_of_its_search(tmp_path):
    arch = space.get_arch("x3d_xs")
    searched = dataclasses.replace(arch, provenance={"num_classes": 3})
    searched.save(tmp_path / "arch.json")
    found = describe.describe(str(tmp_path))
    assert found == describe.describe(str(tmp_path), num_classes=3)
    assert describe.describe("x3d_xs") == describe.describe(
        "x3d_xs", num_classes=400
    )


def test_space_shows_choices_fairness_and_costs():
    text = describe.describe("tiny", num_classes=10)
    found = space.get_space("tiny")
    for choice in found.choices:
        assert choice.name in text
    budget = cost.Budget(target=1.0, num_classes=10)
    assert f"at least {cost.cheapest(found, budget):,.0f}; of 501" in text
    few, half = re.search(
        r"MACs: .* twentieth below ([\d,]+), half below ([\d,]+)", text
    ).groups()
    few, half = (int(number.replace(",", "")) for number in (few, half))
    rng = np.random.default_rng(0)
    drawn = rng.integers(found.sizes, size=(2000, len(found.sizes)))
    costs = np.array([*map(cost.SpaceCost(found, budget), drawn.tolist())])
    for value, share in ((few, 0.05), (half, 0.5)):
        assert (costs < value).mean() == pytest.approx(share, abs=0.06)
    # Three filter candidates, 8 | 16 and 24 of 24: each channel in two.
    assert "stage1/filters                 0.667, all alike" in text
    assert describe.describe("tiny", num_classes=10) == text


def test_space_and_network_of_the_same_name():
    assert "choices" in describe.describe("space:x3d_s")
    assert "total" in describe.describe("x3d_s")


def test_a_latency_table_predicts_networks_and_spaces(monkeypatch):
    monkeypatch.setattr(describe, "_SAMPLES_NEAR", 300)
    found = space.get_space("tiny")
    arch = found.decode([0] * len(found.choices))
    arch = dataclasses.replace(arch, name="first")
    monkeypatch.setitem(space.ARCHIVE, "first", arch)
    table = latency_test.make_table()
    text = describe.describe("first", None, 3, table)
    ms = table.network_ms(arch, 3)
    assert f"predicted: {ms:.3f} ms per clip, int8, 1 thread, " in text
    text = describe.describe("tiny", None, 3, table)
    assert "networks within 5% of the same multiply-adds, of 300" in text
    near = re.findall(r"^ +[\d.]+ M +(\d+)", text, re.MULTILINE)
    assert len(near) == 3  # few are so near to a quartile of so wide a space
    assert all(0 < int(count) < 100 for count in near)


def test_files_of_either_kind(tmp_path):
    space.get_arch("x3d_ego").save(tmp_path / "arch.json")
    space.get_space("tiny").save(tmp_path / "space.json")
    for name, wanted in (("arch", "total"), ("space", "choices")):
        path = str(tmp_path / f"{name}.json")
        assert wanted in describe.describe(path, num_classes=10)
    (tmp_path / "arch.json").write_text('{"schema_version": 1, "na')
    with pytest.raises(ValueError, match="not valid JSON"):
        describe.describe(str(tmp_path / "arch.json"))
