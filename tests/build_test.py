"""BUILD is the map of the house: floors, their order, what they import."""

import ast
import subprocess
import sys

import pytest

from tests.conftest import REPO

PACKAGES = {
    "autox3d_edge": "edge",
    "autox3d_tools": "tools",
}


def _targets():
    """Name -> (source files, deps) of each py_library, in BUILD's order."""
    targets = {}
    for node in ast.parse((REPO / "BUILD").read_text()).body:
        call = node.value
        if not isinstance(call, ast.Call) or call.func.id != "py_library":
            continue
        fields = {k.arg: k.value for k in call.keywords}
        patterns = ast.literal_eval(fields["srcs"].args[0])
        deps = ast.literal_eval(fields["deps"]) if "deps" in fields else []
        targets[ast.literal_eval(fields["name"])] = (
            sorted(p for pattern in patterns for p in REPO.glob(pattern)),
            [dep.removeprefix(":") for dep in deps],
        )
    return targets


TARGETS = _targets()


def _floor_of(module):
    first, *rest = module.split(".")
    if first == "autox3d_tf":
        return rest[0] if rest else None
    return PACKAGES.get(first)


def _imported_floors(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "autox3d_tf":
                yield from (alias.name for alias in node.names)
            else:
                yield _floor_of(node.module)
        elif isinstance(node, ast.Import):
            yield from (_floor_of(alias.name) for alias in node.names)


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_a_floor_imports_its_deps_and_they_are_below(name):
    sources, deps = TARGETS[name]
    order = list(TARGETS)
    assert sources
    assert all(order.index(dep) < order.index(name) for dep in deps)
    for path in sources:
        found = {f for f in _imported_floors(path) if f in TARGETS}
        extra = found - {name} - set(deps)
        assert not extra, f"{path.relative_to(REPO)} imports {extra}"


def test_every_source_file_is_in_one_target():
    listed = [path for sources, _ in TARGETS.values() for path in sources]
    assert len(listed) == len(set(listed))
    on_disk = {
        path
        for folder in ("autox3d_tf", "edge/autox3d_edge", "tools")
        for path in (REPO / folder).rglob("*.py")
    }
    assert set(listed) == on_disk


def test_no_tool_imports_another():
    for path in (REPO / "tools").glob("*.py"):
        assert "tools" not in set(_imported_floors(path)), path


def test_gin_is_no_package():
    """An __init__.py there would hide gin-config."""
    assert not list((REPO / "gin").rglob("*.py"))


@pytest.mark.parametrize(
    "statement",
    [
        "import autox3d_tf",
        "from autox3d_tf import space, cost",
        "from autox3d_tf.search import report",
        "from autox3d_edge import Recognizer",
    ],
)
def test_light_imports_do_not_load_tensorflow(statement):
    code = (
        f"import sys; {statement}; heavy = {{'tensorflow', 'keras', "
        "'tf_keras', 'av', 'gin'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_importing_all_tools_defines_no_flag():
    names = [
        path.stem
        for path in sorted((REPO / "tools").glob("*.py"))
        if path.stem != "__init__"
    ]
    code = (
        "from absl import app, flags, logging; before = set(flags.FLAGS); "
        f"from autox3d_tools import {', '.join(names)}; "
        "assert set(flags.FLAGS) == before, set(flags.FLAGS) - before"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
