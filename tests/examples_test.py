"""The examples in docstrings are right."""

import doctest
import importlib
import pathlib

import pytest

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
