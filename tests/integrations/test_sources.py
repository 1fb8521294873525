"""What holds for every source of alerts: all entries come out, hostile ones too, and what resolves there ends here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from responder.model import Decoded, Severity
from responder.rules import load
from tests.given import NOW, after, house
from tests.integrations.sources import receivers, recorded

SOURCES = receivers()
SHIPPED = Path(__file__).resolve().parents[2] / "rules"
RUNBOOKS = {path.stem for path in (SHIPPED.parent / "runbooks").glob("*.md")}
RULES = load([SHIPPED], runbooks=RUNBOOKS)
P1, P2 = Severity.P1, Severity.P2
AT = datetime.fromisoformat("2026-11-20T09:14:02Z")
LATER = AT + timedelta(minutes=10)


def decode(source: str, raw: bytes) -> Decoded:
    """Decode, and demand what must hold of every body: no exception, and nothing that the store could not keep."""
    found = SOURCES[source].decode(raw, NOW)
    for each in found.alerts:
        assert each.source == source
        assert all(isinstance(key, str) and isinstance(value, str) for key, value in each.labels.items())
        assert all(isinstance(key, str) and isinstance(value, str) for key, value in each.annotations.items())
        orjson.dumps([dict(each.labels), dict(each.annotations), each.generator_url, each.identity])
        assert "\0" not in "".join(
            [*each.labels, *each.labels.values(), *each.annotations.values(), each.generator_url]
        )
        for at in (each.started_at, each.ended_at):
            assert at is None or at.utcoffset() == timedelta(0)
        assert RULES.classify(each).severity
    for said in found.news:
        orjson.dumps([said.identity, said.person, said.text])
    for bad in found.bad:
        bad.reason.encode()
    return found


# --- recorded bodies ---

RECORDED: dict[tuple[str, str], tuple[int, int, int, int]] = {  # firing, resolved, kept quietly, news
    ("grafana", "firing"): (1, 0, 0, 0),
    ("grafana", "no_values"): (1, 0, 0, 0),
    ("grafana", "legacy"): (1, 0, 0, 0),
    ("sns", "alarm"): (1, 0, 0, 0),
    ("sns", "eventbridge_alarm"): (1, 0, 0, 0),
    ("sns", "metric_math"): (1, 0, 0, 0),
    ("sns", "composite"): (1, 0, 0, 0),
    ("sns", "budget"): (1, 0, 0, 0),
    ("sns", "health"): (1, 0, 0, 0),
    ("sns", "records"): (0, 1, 0, 0),
    ("sns", "subscription"): (0, 1, 0, 0),
    ("sentry", "event_alert"): (1, 0, 0, 0),
    ("sentry", "metric_alert"): (1, 0, 0, 0),
    ("sentry", "issue_created"): (1, 0, 0, 0),
    ("sentry", "issue_resolved"): (0, 1, 0, 0),
    ("sentry", "legacy"): (1, 0, 0, 0),
    ("sentry", "comment"): (0, 0, 0, 1),
    ("sentry", "installation"): (0, 0, 1, 0),
    ("datadog", "triggered"): (1, 0, 0, 0),
    ("datadog", "recovered"): (0, 1, 0, 0),
    ("opsgenie", "create"): (1, 0, 0, 0),
    ("opsgenie", "close"): (0, 1, 0, 0),
    ("opsgenie", "acknowledge"): (0, 0, 0, 1),
    ("opsgenie", "add_note"): (0, 0, 0, 1),
    ("opsgenie", "add_tags"): (0, 0, 1, 0),
}


@pytest.mark.parametrize(("which", "counts"), RECORDED.items(), ids=lambda value: "/".join(map(str, value)))
def test_recorded_bodies_are_read(which: tuple[str, str], counts: tuple[int, int, int, int]) -> None:
    found = decode(which[0], recorded(*which))
    firing = sum(each.firing for each in found.alerts)
    quiet = [bad for bad in found.bad if bad.quiet]
    assert (firing, len(found.alerts) - firing, len(quiet), len(found.news)) == counts
    assert found.bad == tuple(quiet)
    assert all(each.labels["alertname"] for each in found.alerts)


@pytest.mark.parametrize(
    ("source", "name", "severity", "started_at"),
    [
        ("grafana", "firing", P2, datetime.fromisoformat("2026-11-20T08:20:00Z")),
        ("grafana", "no_values", P2, datetime.fromisoformat("2026-11-20T09:20:00Z")),
        ("sns", "alarm", P2, AT + timedelta(milliseconds=433)),
        ("sns", "eventbridge_alarm", P2, AT + timedelta(milliseconds=433)),
        ("sns", "budget", P2, AT + timedelta(milliseconds=500)),
        ("sentry", "event_alert", P2, AT),
        ("sentry", "metric_alert", P1, AT),
        ("sentry", "issue_created", P2, AT),
        ("datadog", "triggered", P1, AT),  # Datadog's own P1: its highest, and no complete outage
        ("opsgenie", "create", P1, AT),
    ],
)
def test_severity_and_time_are_ours(source: str, name: str, severity: Severity, started_at: datetime) -> None:
    [alert] = decode(source, recorded(source, name)).alerts
    assert RULES.classify(alert).severity is severity
    assert alert.started_at == started_at


# --- what resolves there ends here ---


def alarm(state: str, before: str) -> bytes:
    """Give the recorded alarm in another state, ten minutes later."""
    text = recorded("sns", "alarm").decode().replace('NewStateValue\\": \\"ALARM', f'NewStateValue\\": \\"{state}')
    return (
        text.replace('OldStateValue\\": \\"OK', f'OldStateValue\\": \\"{before}').replace("T09:14", "T09:24").encode()
    )


def grafana_resolved() -> bytes:
    """Give the recorded notification resolved; the body's own status still says firing."""
    found = json.loads(recorded("grafana", "firing"))
    found["alerts"][0] |= {"status": "resolved", "endsAt": "2026-11-20T09:24:02Z", "values": None}
    return json.dumps(found).encode()


def metric_resolved() -> bytes:
    """Give the recorded metric alert resolved."""
    text = recorded("sentry", "metric_alert").decode().replace('"action":"critical"', '"action":"resolved"')
    return text.replace('"date_closed":null', '"date_closed":"2026-11-20T09:24:02Z"').encode()


ENDS: dict[str, tuple[str, bytes, bytes]] = {
    "grafana": ("grafana", recorded("grafana", "firing"), grafana_resolved()),
    "grafana legacy": (
        "grafana",
        recorded("grafana", "legacy"),
        recorded("grafana", "legacy").replace(b'"state": "alerting"', b'"state": "ok"').replace(b"[Alert", b"[OK"),
    ),
    "cloudwatch": ("sns", recorded("sns", "alarm"), alarm("OK", "ALARM")),
    "cloudwatch by another way": ("sns", recorded("sns", "eventbridge_alarm"), alarm("OK", "ALARM")),
    "health": (
        "sns",
        recorded("sns", "health"),
        recorded("sns", "health").replace(rb"statusCode\": \"open", rb"statusCode\": \"closed"),
    ),
    "sentry issue": ("sentry", recorded("sentry", "event_alert"), recorded("sentry", "issue_resolved")),
    "sentry plug-in": ("sentry", recorded("sentry", "legacy"), recorded("sentry", "issue_resolved")),
    "sentry metric": ("sentry", recorded("sentry", "metric_alert"), metric_resolved()),
    "datadog": ("datadog", recorded("datadog", "triggered"), recorded("datadog", "recovered")),
    "opsgenie": ("opsgenie", recorded("opsgenie", "create"), recorded("opsgenie", "close")),
    "generic": (
        "generic-uptime",
        b'{"checks": [{"monitor": {"id": 7, "name": "api"}, "state": "down"}]}',
        b'{"checks": [{"monitor": {"id": "7", "name": "api, renamed"}, "state": "UP"}]}',
    ),
}


@pytest.mark.parametrize(("source", "fires", "ends"), ENDS.values(), ids=ENDS.keys())
async def test_what_resolves_there_ends_here(source: str, fires: bytes, ends: bytes, tmp_path: Path) -> None:
    async with house(tmp_path, rules=RULES, more=receivers()) as at:
        at.clock.turn(minutes=20)
        assert await at.accept(fires, source)
        await at.settle()
        at.clock.turn(minutes=10)
        assert await at.accept(ends, source)
        await at.settle()
        [incident] = await at.all_incidents()
        assert (incident.episodes, incident.firing) == (1, 0)
        assert await at.unaccounted() == 0


async def test_what_people_say_there_is_told_here(tmp_path: Path) -> None:
    async with house(tmp_path, rules=RULES, more=receivers()) as at:
        for source, name in (("opsgenie", "create"), ("opsgenie", "acknowledge"), ("opsgenie", "add_note")):
            assert await at.accept(recorded(source, name), source)
            await at.settle()
        incident = await at.incident()
        told = [entry["text"] for entry in (await at.store.record(1))["timeline"]]
        assert incident.acknowledged_by.startswith("jane@example.com")
        assert any("looking" in text for text in told)
        assert await at.unaccounted() == 0


async def test_what_says_nothing_about_alerts_is_kept_and_nobody_is_told(tmp_path: Path) -> None:
    async with house(tmp_path, rules=RULES, more=receivers()) as at:
        for source, name in (("sentry", "installation"), ("opsgenie", "add_tags")):
            assert await at.accept(recorded(source, name), source)
        assert await at.accept(alarm("INSUFFICIENT_DATA", "OK"), "sns")
        await at.settle()
        assert await at.all_incidents() == []
        assert len(at.sql("SELECT 1 FROM quarantine")) == 3
        assert await at.unaccounted() == 0


async def test_what_cannot_be_read_pages(tmp_path: Path) -> None:
    async with house(tmp_path, rules=RULES, more=receivers()) as at:
        assert await at.accept(b'{"text": "{{ .CommonLabels }}"}', "grafana")
        assert await at.accept(recorded("sentry", "installation"), "grafana")
        await at.settle()
        [incident] = await at.all_incidents()
        assert incident.rule == "responder-unreadable-alert"


# --- hostile bodies ---

DEEP = 990
GARBAGE: Mapping[str, bytes] = {
    "nothing": b"",
    "space": b" \n",
    "noise": bytes(range(256)),
    "two documents": b"{}{}",
    "an empty object": b"{}",
    "a list": b"[]",
    "a list of lists": b"[[], [[]]]",
    "a text": b'"alerts"',
    "a number": b"1e999",
    "null": b"null",
    "nul": b"\0" * 100,
    "nul in a text": rb'{"alerts": [{"labels": {"a\u0000": "\u0000"}}], "title": "\u0000"}',
    "not a number": b'{"alerts": [{"values": {"A": NaN}}], "data": {"event": {"title": NaN}}, "checks": [NaN]}',
    "deep list": b"[" * 100_000 + b"]" * 100_000,
    "deep object": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "as deep as may be": b'{"alerts": [' + b"[" * DEEP + b"]" * DEEP + b"]}",
    "a form": b"payload=%7B%7D",
    "xml": b"<?xml version='1.0'?><alerts/>",
    "utf-16": '{"alerts": []}'.encode("utf-16"),
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("raw", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_is_kept_or_read_and_stops_nothing(source: str, raw: bytes) -> None:
    found = decode(source, raw)
    empty = (b"[]", '{"alerts": []}'.encode("utf-16"))
    assert found.alerts or found.bad or raw in empty


MANY: dict[str, Any] = {
    "grafana": {"alerts": [{"status": "firing", "labels": {"alertname": "A", "n": str(n)}} for n in range(10_000)]},
    "sns": {"Records": [{"Sns": {"Subject": f"s{n}", "Message": "m"}} for n in range(10_000)]},
    "datadog": [{"title": f"t{n}", "cycle_key": n} for n in range(10_000)],
    "generic-uptime": {"region": "eu", "checks": [{"name": "A", "monitor": {"id": n}} for n in range(10_000)]},
}


@pytest.mark.parametrize("source", MANY)
def test_ten_thousand_alerts_are_ten_thousand(source: str) -> None:
    found = decode(source, orjson.dumps(MANY[source]))
    assert len({each.identity for each in found.alerts}) == 10_000


NAMES = """
    alerts labels annotations status values startsAt endsAt orgId ruleName state tags evalMatches Type TopicArn Message
    Subject Records Sns AlarmName NewStateValue OldStateValue Trigger Metrics Dimensions MetricStat metricStat AlarmArn
    detail detail-type source resources alarmName data event issue metric_alert alert_rule error comment action actor
    project culprit id level title cycle_key transition alert_type priority alert alertId message details checks monitor
    name
"""
WORDS = NAMES.split()
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.sampled_from(
    ["firing", "resolved", "Notification", "ALARM", "OK", "INSUFFICIENT_DATA", "aws.cloudwatch", "up", "Close", "seen",
     "\ud800", "\0", "9" * 400, "$HOSTNAME", "UnsubscribeConfirmation", '{"AlarmName": [], "NewStateValue": {}}']
)  # fmt: skip
BODIES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=6),
    max_leaves=25,
)


@pytest.mark.parametrize("source", SOURCES)
@settings(derandomize=True, deadline=None, max_examples=300)
@given(BODIES)
@example({"Type": [], "TopicArn": "x"})
@example({"Type": "Notification", "TopicArn": "x", "Message": '{"AlarmName": null, "NewStateValue": []}'})
@example({"data": {"metric_alert": {"projects": {}, "alert_rule": []}}})
@example({"data": {"event": {"tags": [[1, 2], [[], {}], ["environment"]]}}})
@example({"ruleName": {}, "tags": [], "evalMatches": [None, {"metric": []}]})
def test_wrong_types_anywhere_stop_nothing(source: str, body: object) -> None:
    decode(source, json.dumps(body).encode())


@pytest.mark.parametrize(("source", "name"), RECORDED)
@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.binary(min_size=1, max_size=20), st.integers(0, 5000))
def test_damage_anywhere_in_a_good_body_stops_nothing(source: str, name: str, damage: bytes, at: int) -> None:
    good = recorded(source, name)
    decode(source, good[: at % len(good)] + damage + good[at % len(good) :])


@pytest.mark.parametrize("source", SOURCES)
def test_a_time_that_is_none_never_stops_an_alert(source: str) -> None:
    for name in ("firing", "alarm", "event_alert", "triggered", "create"):
        path = (source, name)
        if path in RECORDED:
            text = recorded(*path).decode()
            for time in ("2026-11-20T09:20:00+01:00", "2026-11-20T09:14:02.433+0000", "2026-11-20T09:14:02.000000Z"):
                text = text.replace(time, "0001-01-01T00:00:00-23:59")
            found = decode(source, text.replace("1795166042", "9" * 40).encode())
            assert [each.firing for each in found.alerts] == [True]
            assert found.alerts[0].started_at is None or found.alerts[0].started_at < after(hours=1)
