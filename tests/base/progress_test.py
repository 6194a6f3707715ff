"""Progress in a log and on a terminal."""

import io
import re

import pytest

from autox3d_tf.base import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def lines(monkeypatch):
    """What is logged, where there is no terminal and every item is late."""
    monkeypatch.setattr(progress, "_LOG_SECONDS", 0.0)
    monkeypatch.setattr(progress.sys, "stderr", io.StringIO())
    found = []
    monkeypatch.setattr(progress.logging, "info", lambda *a: found.append(a[1]))
    return found


def test_a_log_tells_what_how_many_and_the_time_left(lines):
    done = list(progress.bar("abc", title="scan", unit="clip", total=3))
    assert done == list("abc")
    assert re.fullmatch(r"scan: 2 of 3 clips, .*clip/s, 00:00 left", lines[2])
    assert lines[-1].startswith("scan: 3 of 3 clips")


def test_what_was_known_counts(lines):
    with progress.bar(title="t", unit="view", total=8, known=4) as shown:
        shown.update(3)
    assert lines[-1].startswith("t: 7 of 8 views")


def test_a_log_is_left_alone_by_what_is_quick(lines, monkeypatch):
    monkeypatch.setattr(progress, "_LOG_SECONDS", 10.0)
    assert list(progress.bar(range(9), title="scan", unit="clip"))
    assert lines == []


def test_a_terminal_has_a_bar(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(progress.sys, "stderr", terminal)
    list(progress.bar(range(9), title="scan", unit="clip"))
    assert "scan: 100%|" in terminal.getvalue()
