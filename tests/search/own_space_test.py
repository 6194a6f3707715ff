"""Spaces that a user writes, in gin or in JSON."""

import gin
import pytest

from autox3d_tf import space as space_lib
from autox3d_tf.runs import gin_app
from autox3d_tf.search import run
from autox3d_tf.space import spaces

OWN, TINY = "gin/search/own_space.gin", "gin/search/tiny_synthetic.gin"


def space_of(gin_file, *overrides):
    """The space that a search would get; it is not started."""
    overrides = ["DATA=clips", *overrides]
    with gin_app.configured(run.run_search, [gin_file], overrides, "run"):
        found = gin.query_parameter("SPACE/gin.macro.value")
        if not isinstance(found, str):
            found = found.scoped_configurable_fn()
    return spaces.get_space(found) if isinstance(found, str) else found


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
