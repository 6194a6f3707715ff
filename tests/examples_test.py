"""The examples in docstrings and guides are right."""

import doctest
import importlib
import pathlib
import re

import pytest

from autox3d_tf import cost

REPO = pathlib.Path(__file__).resolve().parents[1]
# Folder of a package -> what its name is relative to.
PACKAGES = {"autox3d_tf": REPO, "edge/autox3d_edge": REPO / "edge"}
MODULES = [
    ".".join(path.relative_to(root).with_suffix("").parts)
    for folder, root in PACKAGES.items()
    for path in sorted((REPO / folder).rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted > 0
    assert not found.failed  # which doctest has printed


GUIDES = [REPO / "README.md", REPO / "CONTRIBUTING.md"]
GUIDES += sorted((REPO / "docs").rglob("*.md"))


@pytest.fixture
def own_metrics():
    known = dict(cost.METRICS)
    yield
    cost.METRICS.clear()
    cost.METRICS.update(known)


@pytest.mark.parametrize("name", ["search.md"])
def test_guides(name, own_metrics):
    path = REPO / "docs" / name
    found = doctest.testfile(str(path), module_relative=False)
    assert found.attempted > 0
    assert not found.failed


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.name)
def test_guides_name_what_there_is(path):
    text = path.read_text(encoding="utf-8")
    commands = set(re.findall(r"\bautox3d-([a-z0-9]+(?:-[a-z0-9]+)*)", text))
    commands -= {"tf", "edge"}  # the package, and the jar
    for command in commands:
        tool = REPO / "tools" / f"{command.replace('-', '_')}.py"
        assert tool.is_file(), command
    files = re.findall(r"\b(?:gin|tools|edge|docs|autox3d_tf)/[\w/.]*\w", text)
    for file in {*files} - {"edge/web/dist"}:  # which `make web` writes
        assert (REPO / file).exists(), file
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (path.parent / link).exists(), link
