"""The demo ends by itself, says that it is a recording, and leaves the post-mortem."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from responder.demo import play


async def test_the_recorded_outage_goes_its_whole_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert await play(speed=20, as_json=True, keep=tmp_path) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    done = lines[-1]
    assert (done["event"], done["status"]) == ("done", "resolved")
    assert "orders pool" in Path(done["postmortem"]).read_text("utf-8")
    said = [line["body"] for line in lines[:-1]]
    assert any("50 of 50 connections" in body for body in said)
    assert any(dict(line["facts"]).get("Checked", "").startswith("9 of 9") for line in lines[:-1])
    assert lines[0]["kind"] == "head"


async def test_the_thread_grows_on_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert await play(speed=20, as_json=False, keep=tmp_path) == 0
    out = capsys.readouterr().out
    assert "are a recording" in out
    order = [
        "First look",
        "Phase triage",
        "Acknowledged by anna",
        "Phase investigate",
        "All alerts ended",
        "Resolved after",
    ]
    assert [out.index(words) for words in order] == sorted(out.index(words) for words in order)
    assert str(tmp_path / "INC-1-postmortem.md") in out
