"""Opsgenie's webhooks: its alerts, and what people do with them there."""

from __future__ import annotations

import json
from datetime import datetime

import pytest

from responder.integrations.opsgenie import plugin
from responder.mapping.door import MappedSettings
from responder.model import Decoded
from tests.given import NOW
from tests.integrations.sources import receivers, recorded

OPSGENIE = receivers()["opsgenie"]


def read(action: str) -> Decoded:
    return OPSGENIE.decode(json.dumps(json.loads(recorded("opsgenie", "create")) | {"action": action}).encode(), NOW)


@pytest.mark.parametrize(
    ("action", "becomes"),
    [
        ("Create", "firing"),
        ("UnAcknowledge", "firing"),
        ("UpdatePriority", "firing"),
        ("Something new", "firing"),
        ("Close", "resolved"),
        ("Delete", "resolved"),
        ("Acknowledge", "news"),
        ("AddNote", "news"),
        ("AddTags", "quiet"),
        ("AssignOwnership", "quiet"),
        ("Snooze", "quiet"),
    ],
)
def test_each_action_says_what_it_means(action: str, becomes: str) -> None:
    found = read(action)
    said = ["firing" if each.firing else "resolved" for each in found.alerts]
    assert [*said, *("news" for _ in found.news), *("quiet" for bad in found.bad if bad.quiet)] == [becomes]


def test_milliseconds_and_nanoseconds_are_times() -> None:
    [alert] = OPSGENIE.decode(recorded("opsgenie", "close"), NOW).alerts
    assert alert.started_at == datetime.fromisoformat("2026-11-20T09:14:02Z")
    assert alert.ended_at == datetime.fromisoformat("2026-11-20T09:24:02.004Z")


def test_the_labels_are_its_own_words() -> None:
    [alert] = OPSGENIE.decode(recorded("opsgenie", "create"), NOW).alerts
    assert alert.labels == {
        "alertname": "Checkout error rate", "origin": "prometheus", "priority": "P1", "tags": "prod",
        "responders": "t1",
    }  # fmt: skip


def test_who_acknowledged_is_named() -> None:
    [said] = OPSGENIE.decode(recorded("opsgenie", "acknowledge"), NOW).news
    [alert] = OPSGENIE.decode(recorded("opsgenie", "create"), NOW).alerts
    assert (said.kind, said.person, said.identity) == ("acknowledged", "jane@example.com", alert.identity)
    [note] = OPSGENIE.decode(recorded("opsgenie", "add_note"), NOW).news
    assert (note.kind, note.text) == ("note", "looking")


def test_the_snippet_names_our_door() -> None:
    assert plugin.snippet is not None
    assert "https://r/webhooks/opsgenie" in plugin.snippet(MappedSettings(), "https://r")
