"""An incident as JSON, and how people name one."""

import json
from dataclasses import replace

import pytest

from responder import incidents
from responder.model import Status
from responder.record import brief_json, full_json, moment, number
from tests.given import NOW, RULES, after, alert

ONE = replace(incidents.new(RULES.classify(alert()), alert(), "#api", {"rule": "api"}, NOW), id=12)


def test_the_brief_is_json_and_holds_what_is_promised() -> None:
    found = json.loads(json.dumps(brief_json(ONE)))
    promised = {
        "id", "severity", "status", "title", "rule", "runbook", "systems", "channel", "opened_at", "acknowledged_at",
        "resolved_at", "commander", "detected_by", "impact", "cost_usd", "phase",
    }  # fmt: skip
    assert promised <= set(found)
    assert (found["id"], found["opened_at"], found["acknowledged_at"]) == ("INC-12", "2026-11-20T09:00:00.000Z", None)


def test_the_whole_holds_the_rest_even_when_nothing_is_kept() -> None:
    found = full_json(ONE, {})
    promised = {
        "participants",
        "episodes",
        "decision",
        "findings",
        "evidence",
        "approvals",
        "follow_ups",
        "timeline",
        "permalink",
    }
    assert promised <= set(found)
    assert (found["permalink"], found["postmortem"], found["episodes"]) == (None, None, [])


def test_who_took_part_is_named_once() -> None:
    busy = replace(ONE, commander="anna", acknowledged_by="anna", resolved_by="bert", status=Status.RESOLVED)
    assert full_json(busy, {})["participants"] == ["anna", "bert"]


def test_times_and_links_of_rows_become_text() -> None:
    episode = {
        "source": "am", "labels": {"a": "b"}, "annotations": {}, "firing": 0, "started_at": NOW, "ended_at": after(1.5),
        "generator_url": "", "rule": "api", "severity": "P2", "muted": "silence", "muted_why": "by ada", "reason": "h1",
    }  # fmt: skip
    threads = [{"chat": "a", "permalink": ""}, {"chat": "b", "permalink": "https://b"}]
    found = full_json(
        ONE,
        {
            "episodes": [episode],
            "threads": threads,
            "reasons": [{"hash": "h1", "body": {"rule": "api"}}],
            "timeline": [{"at": NOW, "kind": "k", "text": "t"}],
            "postmortem": [{"text": "# x"}],
        },
    )  # fmt: skip
    assert (found["episodes"][0]["status"], found["episodes"][0]["ended_at"]) == (
        "resolved",
        "2026-11-20T09:00:01.500Z",
    )
    assert found["episodes"][0]["muted"] == {"kind": "silence", "why": "by ada"}
    assert found["reasons"][found["episodes"][0]["reason"]] == {"rule": "api"}
    assert found["timeline"] == [{"at": "2026-11-20T09:00:00.000Z", "kind": "k", "text": "t"}]
    assert (found["permalink"], found["postmortem"]) == ("https://b", "# x")
    json.dumps(found)


def test_no_time_is_none() -> None:
    assert moment(None) is None


@pytest.mark.parametrize("name", ["INC-12", "inc-12", "12", "012"])
def test_an_incident_is_named_as_people_do(name: str) -> None:
    assert number(name) == 12


@pytest.mark.parametrize(
    "name", ["", "INC-", "INC-x", "-1", "1.5", "1e3", "²", "१२", "9" * 16, "INC-INC-1", "12 ", "0x1"]
)
def test_what_is_no_incident_is_said_so(name: str) -> None:
    with pytest.raises(ValueError, match="is not an incident"):
        number(name)
