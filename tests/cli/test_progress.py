"""A long work says how far it is, a short one says nothing, and what goes through is left alone."""

import pytest

from responder.cli import progress
from responder.cli.progress import LOOK_EVERY, counted


def test_a_short_work_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(counted(range(5 * LOOK_EVERY), "alerts")) == list(range(5 * LOOK_EVERY))
    assert capsys.readouterr().err == ""


def test_a_long_work_says_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    times = iter(float(second) for second in range(100))
    assert len(list(progress.lines(range(6 * LOOK_EVERY), "alerts", clock=lambda: next(times)))) == 6 * LOOK_EVERY
    told = capsys.readouterr().err.splitlines()
    assert told
    assert all("alerts, " in line and line.endswith("/s") for line in told)
