"""Sentry's webhooks: an issue is one thing whoever speaks of it, and only Sentry may."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import SecretStr

from responder.integrations.sentry import Sentry, Settings, plugin
from responder.model import Alert
from tests.given import NOW
from tests.integrations.sources import recorded

SIGNATURE = "178d3228b8ce277ad036d109f15c8bb5b97e15a2def349b964c52db76a003918"
BODY = recorded("sentry", "metric_alert")
OURS = Sentry(Settings(secret=SecretStr("sentry-client-secret")), "sentry")


def read(name: str, **changed: Any) -> Alert:
    [alert] = OURS.decode(json.dumps(json.loads(recorded("sentry", name)) | changed).encode(), NOW).alerts
    return alert


def issue(action: str, **changed: Any) -> Alert:
    found = json.loads(recorded("sentry", "issue_created"))
    found["data"]["issue"] |= changed
    return read("issue_created", action=action, data=found["data"])


def test_an_issue_is_the_same_whoever_speaks_of_it() -> None:
    names = ("event_alert", "issue_created", "issue_resolved", "legacy")
    assert len({read(name).identity for name in names}) == 1
    assert read("metric_alert").identity != read("event_alert").identity


def test_the_labels_say_what_and_where() -> None:
    assert read("event_alert").labels == {
        "alertname": "TimeoutError: upstream", "project": "1", "rule": "High priority errors", "level": "error",
        "severity": "error", "platform": "python", "environment": "production", "release": "checkout@842",
        "sentry": "issue",
    }  # fmt: skip
    assert read("metric_alert").labels == {
        "alertname": "Too many errors", "projects": "checkout", "environment": "production", "severity": "critical",
        "sentry": "metric_alert",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("action", "changed", "firing"),
    [
        ("created", {}, True),
        ("resolved", {"status": "resolved"}, False),
        ("ignored", {"status": "ignored"}, False),
        ("archived", {"status": "ignored", "substatus": "archived_until_escalating"}, False),
        ("unresolved", {"status": "unresolved", "substatus": "regressed"}, True),
        ("unresolved", {"status": "resolved"}, True),
        ("triggered", {"status": "unresolved"}, True),
        ("triggered", {"status": "resolved"}, False),
        ("something new", {}, True),
    ],
)
def test_an_issue_ends_when_sentry_says_so(action: str, changed: dict[str, Any], firing: bool) -> None:
    assert issue(action, **changed).firing is firing


@pytest.mark.parametrize(("action", "firing"), [("critical", True), ("warning", True), ("resolved", False)])
def test_a_metric_alert_goes_up_and_down_as_one(action: str, firing: bool) -> None:
    alert = read("metric_alert", action=action)
    assert alert.firing is firing
    assert alert.identity == read("metric_alert").identity
    assert alert.labels.get("severity") == (action if firing else None)


def test_a_comment_is_a_note_on_its_issue() -> None:
    [said] = OURS.decode(recorded("sentry", "comment"), NOW).news
    assert (said.kind, said.person, said.text) == ("note", "Jane", "restarting upstream")
    assert said.identity == read("event_alert").identity


def test_an_assignment_is_a_note_and_fires_nothing() -> None:
    found = json.loads(recorded("sentry", "issue_created")) | {"action": "assigned", "actor": {"name": "Jane"}}
    decoded = OURS.decode(json.dumps(found).encode(), NOW)
    assert decoded.alerts == ()
    assert [said.person for said in decoded.news] == ["Jane"]


def test_what_is_none_of_it_is_loud() -> None:
    [bad] = OURS.decode(b'{"action": "created", "data": {"seer": {}}, "installation": {"uuid": "a"}}', NOW).bad
    assert not bad.quiet


# --- who may send ---


@pytest.mark.parametrize(
    ("signature", "genuine"),
    [(SIGNATURE, True), ("0" * 64, False), ("", False), ("é", False), ("\udcff", False), (f"v1={SIGNATURE}", False)],
)
async def test_only_a_good_signature_may_send(signature: str, genuine: bool) -> None:
    assert await OURS.verify({"Sentry-Hook-Signature": signature}, BODY) is genuine


async def test_while_the_secret_changes_both_are_good() -> None:
    both = Sentry(Settings(secret=SecretStr("new"), secrets=(SecretStr("sentry-client-secret"),)), "sentry")
    assert await both.verify({"Sentry-Hook-Signature": SIGNATURE}, BODY)
    assert not await both.verify({"Sentry-Hook-Signature": SIGNATURE}, BODY + b"\n")


def test_an_unsigned_request_is_refused_by_its_headers() -> None:
    assert not OURS.authorize({})
    assert OURS.authorize({"Sentry-Hook-Signature": "x"})


async def test_without_a_secret_nothing_is_judged() -> None:
    bare = Sentry(Settings(), "sentry-shop")
    assert bare.unready == "receivers.sentry-shop.secret is not set"
    assert not await bare.verify({"Sentry-Hook-Signature": SIGNATURE}, BODY)
    assert OURS.unready == ""
    assert OURS.alarms


def test_the_snippet_names_our_door() -> None:
    assert plugin.snippet is not None
    assert "https://r/webhooks/sentry" in plugin.snippet(Settings(), "https://r")
