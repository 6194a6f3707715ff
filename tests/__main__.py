"""Runs all tests: `python -m tests`, and the main of the BUILD target."""

import pathlib
import sys

import pytest

sys.exit(pytest.main([str(pathlib.Path(__file__).parent)]))
