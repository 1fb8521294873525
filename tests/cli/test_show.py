"""What a terminal is shown cannot drive it, whatever an alert says."""

from __future__ import annotations

import io
import json

import pytest

from responder.cli import show

HOSTILE = {"title": "a\u009b2J\u202eb", "n": [1, None, {"x": "ü"}]}


class Stream(io.StringIO):
    """A stream that says what it is."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "pipe"])
def test_json_is_the_same_document_and_plain_ascii_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    out = Stream(terminal=terminal)
    monkeypatch.setattr("sys.stdout", out)
    show.as_json(HOSTILE)
    assert json.loads(out.getvalue()) == HOSTILE
    assert out.getvalue().isascii() is terminal
