"""Spaces that a user writes, in gin or in JSON."""

import gin
import pytest

from autox3d_tf import cost, search
from autox3d_tf import space as space_lib
from autox3d_tf.runs import gin_app
from autox3d_tf.search import cost_table, derive, distribution, run
from autox3d_tf.space import spaces
from tests.search import search_driver

OWN, TINY = "gin/search/own_space.gin", "gin/search/tiny_synthetic.gin"


def space_of(gin_file, *overrides):
    """The space that a search would get; it is not started."""
    overrides = ["DATA=clips", *overrides]
    with gin_app.configured(run.run_search, [gin_file], overrides, "run"):
        found = gin.query_parameter("SPACE/gin.macro.value")
        if not isinstance(found, str):
            found = found.scoped_configurable_fn()
    return spaces.get_space(found)


def test_space_written_in_gin():
    found = space_of(OWN)
    assert [stage.filters for stage in found.stages] == [
        (4, 12, 16),
        (8, 12, 20, 24, 32),
    ]
    assert [stage.depth for stage in found.stages] == [1, 3]
    assert found.stages[1].types_of_block(2)[-1] == "skip"
    assert all(
        fair.exact
        for name, fair in found.fairness().items()
        if name.endswith("/filters")
    )


def test_the_same_space_in_json(tmp_path):
    found = space_of(OWN)
    found.save(tmp_path / "space.json")
    again = space_of(TINY, f"SPACE={tmp_path}/space.json")
    assert again == found and again.fingerprint == found.fingerprint


def test_stages_may_be_changed_on_the_command_line():
    name = "second/search_space.StageSpace"
    found = space_of(OWN, f"{name}.filters=(8, 24, 32)")
    assert found.stages[1].filters == (8, 24, 32)
    assert found.stages[0] == space_of(OWN).stages[0]


def test_a_cost_of_ones_own_is_a_budget(monkeypatch):
    space = search_driver.SPACE
    monkeypatch.setitem(
        cost.METRICS, "joules", (lambda part: part.params / 8, sum)
    )
    one, other = run.make_budgets(
        space, 2, macs=150e3, others={"joules": 150.0}
    )
    assert (one.metric, other.metric) == ("macs", "joules")
    tables = [cost_table.CostTable(space, budget) for budget in (one, other)]
    found = derive.top_k(space, distribution.factorized(space), tables, 1)
    arch = space.decode(found[0].indices)
    assert sum(p.params for p in cost.parts_of(arch, (4, 16, 16), 2)) <= 1200
    with pytest.raises(ValueError, match="No architecture.*joules <= 1.000"):
        run.make_budgets(space, 2, others={"joules": 1.0})
    with pytest.raises(ValueError, match="again what is given.*macs <= 5"):
        run.make_budgets(space, 2, macs=150e3, others={"macs": 5.0})
    before = run._plain_budget(other, space)
    monkeypatch.setitem(cost.METRICS, "joules", (lambda part: 1.0, sum))
    assert run._plain_budget(other, space) != before


def test_search_has_a_face_of_its_own():
    for name in search.__all__:
        assert getattr(search, name).__name__ == name
    assert search.run_search is run.run_search
    with pytest.raises(AttributeError, match="no attribute 'run_serch'"):
        _ = search.run_serch


@pytest.mark.parametrize(
    ("binding", "message"),
    [
        ("filters=(8, 'wide')", r"filters must be tuple\[int, \.\.\.\]"),
        ("colours=3", "doesn't have a parameter named 'colours'"),
    ],
)
def test_what_is_no_stage_is_refused_before_the_search(binding, message):
    with pytest.raises(gin_app.UsageError, match=message):
        space_of(OWN, f"second/search_space.StageSpace.{binding}")


def test_unknown_block_type_is_refused_with_the_known_ones():
    binding = "second/search_space.StageSpace.block_types=('7x7x7',)"
    with pytest.raises(ValueError, match="`block_types` must be one of 3x3x3"):
        space_of(OWN, binding)


def test_json_of_something_else_is_refused(tmp_path):
    path = tmp_path / "space.json"
    space_lib.get_arch("x3d_s").save(path)
    with pytest.raises(
        ValueError, match=f"Cannot read {path}: unknown SearchS"
    ):
        space_of(TINY, f"SPACE={path}")
