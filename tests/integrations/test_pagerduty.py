"""What PagerDuty sends: who may, what each event becomes, and that nothing of it is ever refused for its content."""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from responder.config import read_section
from responder.errors import ConfigError
from responder.integrations.pagerduty import Settings, plugin
from responder.integrations.pagerduty.details import details_of, from_blob
from responder.integrations.pagerduty.incident import identity_of
from responder.integrations.pagerduty.mirror import envelope
from responder.integrations.pagerduty.receiver import PagerDutyReceiver
from responder.model import Alert, Decoded, Severity
from responder.rules import load
from tests.given import House, house
from tests.rules.given import SHIPPED
from tests.web.given import Reply, Web, web

BODIES = Path(__file__).parent / "bodies" / "pagerduty"
ID = "Q1TRIG7CHK0001"
AT = datetime(2026, 11, 20, 11, 0, tzinfo=UTC)
A, B = "whsec-sample-A", "whsec-sample-B"
RECEIVER = PagerDutyReceiver([A])
RULES = load([SHIPPED], runbooks=[path.stem for path in (SHIPPED.parent / "runbooks").glob("*.md")])
P0, P1, P2, P3 = Severity


def recorded(name: str) -> bytes:
    return (BODIES / f"{name}.json").read_bytes()


def decode(raw: bytes) -> Decoded:
    """Decode, and demand what must hold of every body: no exception, and nothing that the store could not keep."""
    found = RECEIVER.decode(raw, AT)
    for each in found.alerts:
        assert all(isinstance(key, str) and isinstance(value, str) for key, value in each.labels.items())
        orjson.dumps([each.labels, each.annotations, each.generator_url, each.identity, each.ref, each.alias])
    orjson.dumps([[said.person, said.text] for said in found.news])
    return found


def event(name: str = "incident_triggered", /, *, kind: str = "", at: str = "", **data: Any) -> bytes:
    """Give a recorded event with fields of `data` changed."""
    body = json.loads(recorded(name))
    body["event"]["event_type"] = kind or body["event"]["event_type"]
    body["event"]["occurred_at"] = at or body["event"]["occurred_at"]
    body["event"]["data"] |= data
    return json.dumps(body).encode()


def one(raw: bytes) -> Alert:
    found = decode(raw)
    [alert] = found.alerts
    assert not found.bad
    return alert


def said(raw: bytes) -> tuple[str, str, str]:
    [news] = decode(raw).news
    return news.kind, news.person, news.text


def at(clock: str) -> datetime:
    return datetime.fromisoformat(f"2026-11-20T{clock}+00:00")


# --- recorded bodies ---


@pytest.mark.parametrize(
    ("name", "firing", "severity", "started", "ended", "kind", "text"),
    [
        ("incident_triggered", True, P2, "09:14:02", "", "", ""),
        ("incident_acknowledged", True, P2, "09:14:02", "", "acknowledged", ""),
        ("incident_unacknowledged", True, P2, "09:14:02", "", "note", "The acknowledgement has run out."),
        ("incident_escalated", True, P2, "09:14:02", "", "note", "Escalated to Bo Ek."),
        ("incident_reassigned", True, P2, "09:14:02", "", "note", "Reassigned to Bo Ek, Cy Roe."),
        ("incident_delegated", True, P2, "09:14:02", "", "note", "Handed to escalation policy Platform: Ana Lima."),
        ("incident_priority_updated", True, P1, "09:14:02", "", "note", "The priority is now P1."),
        ("incident_service_updated", True, P2, "09:14:02", "", "note", "Moved to service Payments API."),
        ("incident_reopened", True, P2, "10:01:40", "", "", ""),
        ("incident_resolved", False, None, "09:14:02", "09:23:02.519", "", ""),
        ("incident_resolved_merged", False, None, "09:14:02", "09:14:02.519", "note",
         "Merged into Parent incident: https://shop.pagerduty.com/incidents/Q1OTHER0000002"),
    ],
)  # fmt: skip
def test_an_event_with_an_incident_is_one_alert(
    name: str, firing: bool, severity: Severity | None, started: str, ended: str, kind: str, text: str
) -> None:
    alert = one(recorded(name))
    assert (alert.firing, alert.ref, alert.identity) == (firing, ID, identity_of(ID))
    assert alert.started_at == at(started)
    assert alert.ended_at == (at(ended) if ended else None)
    assert severity is None or RULES.classify(alert).severity is severity
    assert [(news.kind, news.text) for news in decode(recorded(name)).news] == ([(kind, text)] if kind else [])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("incident_annotated", "Rolled back checkout to v841 \N{EN DASH} watching <errors> & latency"),
        ("incident_status_update_published", "Status update: Error rate falling"),
        ("incident_responder_added", "Cy Roe was asked to help: please join"),
        ("incident_custom_field_values_updated", "environment: production"),
    ],
)
def test_what_is_told_about_an_incident_is_news_and_no_alert(name: str, text: str) -> None:
    found = decode(recorded(name))
    assert not found.alerts
    assert said(recorded(name)) == ("note", "Ana Lima", text)
    assert found.news[0].identity == identity_of(ID)


@pytest.mark.parametrize("name", ["service_updated", "unknown_future_event"])
def test_an_event_that_says_nothing_to_us_is_kept_quietly(name: str) -> None:
    found = decode(recorded(name))
    [bad] = found.bad
    assert (bad.quiet, bad.entries, found.alerts, found.news) == (True, 0, (), ())
    assert json.loads(bad.raw)["data"]


def test_the_test_webhook_is_taken_and_means_nothing() -> None:
    assert decode(recorded("pagey_ping")) == Decoded(())


def test_an_incident_is_labelled_for_rules_and_people() -> None:
    alert = one(recorded("incident_triggered"))
    assert {name: text for name, text in alert.labels.items() if text} == {
        "alertname": "CheckoutErrorRateHigh eu1 (page)", "pagerduty_incident": "4711", "service": "Checkout",
        "urgency": "high", "team": "Payments", "escalation_policy": "Default",
    }  # fmt: skip
    assert alert.annotations["summary"] == "[FIRING:2] CheckoutErrorRateHigh eu1 (page)"
    assert alert.generator_url == alert.annotations["pagerduty_url"] == f"https://shop.pagerduty.com/incidents/{ID}"
    assert alert.annotations["assigned_to"] == "Ana Lima"


def test_its_key_is_the_hash_of_alertmanagers_group() -> None:
    group = '{}/{severity="page"}:{alertname="CheckoutErrorRateHigh", cluster="eu1"}'
    assert one(recorded("incident_triggered")).alias == sha256(group.encode()).hexdigest()


# --- events that nobody has recorded ---

ABOUT = {"incident": {"id": ID, "type": "incident_reference"}}


def told(kind: str, shape: str, **data: Any) -> bytes:
    whole = {
        "event_type": kind, "occurred_at": "2026-11-20T09:30:00Z", "agent": None, "data": {"type": shape, **data}
    }  # fmt: skip
    return json.dumps({"event": whole}).encode()


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (told("incident.responder.replied", "incident_responder", **ABOUT, user={"summary": "Cy"}, state="joined"),
         "Cy replied to the request for help: joined."),
        (told("incident.responder.added", "incident_responder", **ABOUT, user=None,
              escalation_policy={"summary": "Platform"}, message=None), "Platform was asked to help."),
        (told("incident.role.assigned", "incident_role_assignment", incident_role_assignments=[
            {**ABOUT, "role": {"summary": "Commander"}, "assignee": {"summary": "Ana"}},
            {**ABOUT, "role": {"name": "Scribe"}, "assignee": None}]), "Commander: Ana; Scribe: nobody"),
        (told("incident.conference_bridge.updated", "incident_conference_bridge", **ABOUT,
              conference_numbers=[], conference_url="https://meet.shop.example/1"),
         "Conference bridge: https://meet.shop.example/1"),
        (told("incident.conference_bridge.updated", "incident_conference_bridge", **ABOUT,
              conference_numbers=[{"number": "+1 415 555 0100"}], conference_url=None),
         "Conference bridge: +1 415 555 0100"),
        (told("incident.conference_bridge.updated", "incident_conference_bridge", **ABOUT, conference_url=None),
         "The conference bridge was removed."),
        (told("incident.task.created", "incident_task", **ABOUT, name="Call the CEO", status="open",
              assignees=[{"summary": "Bo"}]), "Task created: Call the CEO (open, Bo)"),
        (told("incident.workflow.started", "incident_workflow_instance", **ABOUT,
              incident_workflow={"summary": "Major"}), "Workflow started: Major"),
        (told("incident.action_invocation.created", "incident_action_invocation", **ABOUT,
              action={"summary": "Restart"}, state="running"), "Action Restart: running"),
        (event("incident_annotated", content="x" * 50, trimmed=True), "x" * 50 + " … (cut by PagerDuty)"),
        (event("incident_priority_updated", priority=None), "The priority was removed."),
        (event("incident_reassigned", assignees=[]), "Reassigned to nobody."),
        (event(kind="incident.incident_type.changed", incident_type={"name": "major"}), "The type is now major."),
    ],
)  # fmt: skip
def test_what_happened_is_one_sentence(raw: bytes, text: str) -> None:
    assert said(raw)[2] == text


def test_an_address_that_is_none_is_not_shown() -> None:
    bridge = told("incident.conference_bridge.updated", "incident_conference_bridge", **ABOUT,
                  conference_url="javascript:alert(1)")  # fmt: skip
    assert said(bridge)[2] == "The conference bridge was removed."
    assert one(event(html_url="file:///etc/passwd")).generator_url == ""


def test_our_own_note_that_comes_back_is_told_apart_by_its_mark() -> None:
    note = event("incident_annotated", content="[responder INC-7 #41] Ana in slack: rolled back")
    assert said(note)[0] == "own"
    assert said(event("incident_annotated", content="look at [responder INC-7 #41] x"))[0] == "note"


def test_what_happens_to_a_resolved_incident_is_no_second_end() -> None:
    alert = one(event("incident_priority_updated", status="resolved"))
    assert (alert.firing, alert.ended_at) == (False, at("09:14:02"))


def test_reopened_within_the_second_of_its_end_starts_after_it() -> None:
    again = one(event("incident_reopened", at="2026-11-20T10:00:00.900Z", reopened_at="2026-11-20T10:00:00Z"))
    assert again.started_at == at("10:00:00.900")


def test_a_body_of_an_older_day_has_no_key_and_starts_when_it_was_said() -> None:
    body = json.loads(recorded("incident_triggered"))
    for name in ("created_at", "incident_key", "incident_type"):
        del body["event"]["data"][name]
    alert = one(json.dumps(body).encode())
    assert (alert.started_at, alert.alias, alert.said_at) == (at("09:14:02.519"), "", at("09:14:02.519"))


def test_a_whole_incident_fires_under_a_type_that_nobody_knows() -> None:
    assert one(event(kind="incident.brand_new_thing")).firing


FIELDS = "html_url number status incident_key created_at title incident_type service assignees escalation_policy teams"
NULLABLE = f"{FIELDS} priority urgency conference_bridge resolve_reason".split()


@pytest.mark.parametrize("value", [None, 7, "x", [], {}, [None], [{}], True], ids=repr)
@pytest.mark.parametrize("field", NULLABLE)
def test_any_field_may_be_anything(field: str, value: object) -> None:
    changed: dict[str, Any] = {field: value}
    assert one(event(**changed)).identity == identity_of(ID)


@pytest.mark.parametrize("value", [None, 7, "x", [], {}, [None], [{}]], ids=repr)
@pytest.mark.parametrize("name", [path.stem for path in sorted(BODIES.glob("*_*.json")) if path.stem != "rest_alerts"])
def test_any_event_without_its_agent_client_or_time_is_read(name: str, value: object) -> None:
    body = json.loads(recorded(name))
    before = RECEIVER.decode(recorded(name), AT)
    body["event"] |= {"agent": value, "client": value, "occurred_at": value, "id": value, "resource_type": value}
    found = decode(json.dumps(body).encode())
    assert [len(found.alerts), len(found.news)] == [len(before.alerts), len(before.news)]


@pytest.mark.parametrize(
    "raw",
    [b"", b"null", b"[]", b"\xff\xfe\x00", b'{"event": 1}', b'{"event": {"data": []}}', b"[" * 5000,
     b'{"messages": []}', event(id=None), event(id=""), event(id=7),
     b'{"responder": {"incident": 1}}', b'{"responder": {}}'],
    ids=range(13),
)  # fmt: skip
def test_what_cannot_be_read_is_kept_and_somebody_is_told(raw: bytes) -> None:
    found = decode(raw)
    [bad] = found.bad
    assert (bad.raw, bad.quiet, found.alerts) == (raw, False, ())


KEYS = st.sampled_from(["id", "type", "summary", "content", "incident", "incident_role_assignments", "custom_fields"])
SHAPES = ["incident", "incident_note", "incident_task", "incident_role_assignment", "incident_field_values", "x"]
LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
ANYTHING = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)


@given(ANYTHING, st.sampled_from(SHAPES))
@settings(max_examples=200, deadline=None)
def test_no_event_makes_the_decoder_fail(data: Any, shape: str) -> None:
    inner = {**(data if isinstance(data, dict) else {"incident": data}), "type": shape}
    decode(json.dumps({"event": {"event_type": "incident.x", "data": inner}}).encode())


def test_text_that_no_database_holds_is_scrubbed() -> None:
    alert = one(event(title="a\0b").replace(b"Checkout", b"\\ud800"))
    assert alert.labels["alertname"] == "a\ufffdb"


# --- signatures ---


def signed(body: bytes, *secrets: str) -> str:
    return ",".join("v1=" + hmac.new(each.encode(), body, sha256).hexdigest() for each in secrets)


async def genuine(header: str | None, body: bytes, *secrets: str) -> bool:
    headers = {} if header is None else {"X-PagerDuty-Signature": header}
    return await PagerDutyReceiver(secrets or (A,)).verify(headers, body)


SIGNATURES: Mapping[str, str] = json.loads((BODIES / "signatures.json").read_bytes())


@pytest.mark.parametrize("name", SIGNATURES)
async def test_recorded_signatures_hold_and_no_changed_byte_does(name: str) -> None:
    body = recorded(name)
    assert await genuine(SIGNATURES[name], body, A)
    assert not await genuine(SIGNATURES[name], body + b" ", A)


BODY = recorded("incident_triggered")


@pytest.mark.parametrize(
    ("header", "secrets", "holds"),
    [
        (signed(BODY, A), (A,), True),
        (signed(BODY, B, A), (A,), True),
        (signed(BODY, B), (A, B), True),
        (signed(BODY, A).replace("v1=", " v1=") + " , v1=ab", (A,), True),
        ("v2=ff,\n " + signed(BODY, A), (A,), True),
        (signed(BODY, B), (A,), False),
        (signed(BODY, A).replace("v1", "v2"), (A,), False),
        (signed(BODY, A).removeprefix("v1="), (A,), False),
        (signed(BODY, A)[:-1], (A,), False),
        (signed(BODY, A) + "0", (A,), False),
        (signed(BODY, ""), (A,), False),
        ("", (A,), False),
        ("v1=", (A,), False),
        (None, (A,), False),
        ("v1=zz", (A,), False),
        ("v1=é☃", (A,), False),
        ("v1=\udcff\udcfe", (A,), False),
        (",".join(["v1=" + "0" * 64] * 10_000), (A, B), False),
        (",".join(["v1=" + "0" * 64] * 10_000 + [signed(BODY, A)]), (A,), True),
    ],
    ids=["ours", "one of theirs", "one of ours", "spaces", "other versions", "rotated out", "another version", "bare",
         "short", "long", "empty secret", "empty", "no digits", "absent", "no hex", "not ASCII", "stray bytes",
         "10 000", "10 000 and ours"],
)  # fmt: skip
async def test_a_signature_holds_if_one_is_ours(header: str | None, secrets: tuple[str, ...], holds: bool) -> None:
    assert await genuine(header, BODY, *secrets) is holds


@pytest.mark.parametrize("header", [signed(BODY, A), signed(BODY, ""), ""], ids=["signed", "empty secret", "empty"])
async def test_without_a_secret_nothing_is_genuine(header: str) -> None:
    assert not await PagerDutyReceiver([]).verify({"X-PagerDuty-Signature": header}, BODY)


# --- settings ---


def read(**values: Any) -> Settings:
    found = read_section(plugin.settings, "receivers.pagerduty", values)
    assert isinstance(found, Settings)
    return found


@pytest.mark.parametrize(
    ("values", "secrets", "tells"),
    [
        ({}, [], False),
        ({"secret": "a"}, ["a"], False),
        ({"secrets": ["a", "b"], "secret": "c"}, ["a", "b", "c"], False),
        ({"secrets": [""], "secret": ""}, [], False),
        ({"api_token": "", "from": ""}, [], False),
        ({"api_token": "t", "from": "bot@shop.example"}, [], True),
    ],
    ids=str,
)
def test_settings_say_who_is_believed_and_whether_it_is_told(
    values: dict[str, Any], secrets: list[str], tells: bool
) -> None:
    found = read(**values)
    assert (found.known_secrets, found.tells) == (secrets, tells)
    assert PagerDutyReceiver(found.known_secrets).unready == "" or not secrets


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"api_token": "t"}, "api_token needs `from`"),
        ({"api_token": "t", "from": "bot"}, "api_token needs `from`"),
        ({"from": "bot@shop.example"}, "`from` needs api_token"),
        ({"base_url": "api.pagerduty.com"}, "base_url"),
        ({"token": "t"}, "token: unknown key"),
    ],
    ids=str,
)
def test_wrong_settings_stop_the_start(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason.replace("(", "\\(")):
        read(**values)


# --- at the door ---


async def knock(at: Web, body: bytes, *, header: str | None = None, webhook_id: str = "W1") -> Reply:
    headers = {"X-Webhook-Id": webhook_id} | ({"X-PagerDuty-Signature": header} if header is not None else {})
    return await at.ask("POST", "/webhooks/pagerduty", body, headers=headers)


async def test_a_webhook_seen_before_is_taken_and_pages_once(tmp_path: Path) -> None:
    async with web(tmp_path, more={"pagerduty": RECEIVER}) as at:
        assert [(await knock(at, BODY, header=signed(BODY, A))).status for _ in range(3)] == [202] * 3
        await at.at.settle()
        assert len(await at.at.all_incidents()) == 1
        assert await at.at.figure("entries") == 1


async def test_a_known_id_without_a_signature_is_refused(tmp_path: Path) -> None:
    async with web(tmp_path, more={"pagerduty": RECEIVER}) as at:
        assert (await knock(at, BODY, header=signed(BODY, A))).status == 202
        assert (await knock(at, BODY)).status == 403
        assert (await knock(at, b"{}", header=signed(BODY, A), webhook_id="W2")).status == 403


@pytest.mark.parametrize("header", ["v1=\xe9", "v1=" + "0" * 64, ",", "v1=" + ",v1=" * 1500, None])
async def test_no_signature_makes_the_door_fail(tmp_path: Path, header: str | None) -> None:
    async with web(tmp_path, more={"pagerduty": RECEIVER}) as at:
        assert (await knock(at, BODY, header=header)).status == 403


async def test_the_first_refusal_pages_and_the_next_genuine_webhook_ends_it(tmp_path: Path) -> None:
    async with web(tmp_path, more={"pagerduty": RECEIVER}) as at:
        for _ in range(3):
            assert (await knock(at, BODY, header=signed(BODY, B))).status == 403
        await at.at.settle()
        [refused] = await at.at.all_incidents()
        assert "refused" in refused.title
        assert (await knock(at, recorded("pagey_ping"), header=SIGNATURES["pagey_ping"])).status == 202
        await at.at.settle()
        assert (await at.at.incident(refused.id)).firing == 0


async def test_a_secret_that_is_mended_with_a_restart_ends_the_page_too(tmp_path: Path) -> None:
    async with web(tmp_path, more={"pagerduty": PagerDutyReceiver([B])}) as at:
        assert (await knock(at, BODY, header=signed(BODY, A))).status == 403
        await at.at.settle()
        assert (await at.at.incident()).firing == 1
    async with web(tmp_path, more={"pagerduty": RECEIVER}) as at:
        for webhook_id in ("W2", "W3"):
            ping = recorded("pagey_ping")
            assert (await knock(at, ping, header=signed(ping, A), webhook_id=webhook_id)).status == 202
        await at.at.settle()
        assert (await at.at.incident()).firing == 0
        assert await at.at.figure("entries") == 2  # said once


async def test_without_a_secret_all_must_come_again_and_somebody_is_told(tmp_path: Path) -> None:
    async with web(tmp_path, more={"pagerduty": PagerDutyReceiver([])}) as at:
        reply = await knock(at, BODY, header=signed(BODY, ""))
        assert (reply.status, reply.headers["retry-after"]) == (503, "5")
        await at.at.settle()
        [told_of] = await at.at.all_incidents()
        assert "receivers.pagerduty.secrets" in told_of.title


async def test_a_body_above_what_pagerduty_sends_is_refused(tmp_path: Path) -> None:
    large, largest = b"x" * (289 << 10), b"[" + b" " * (256 << 10) + b"]"
    async with web(tmp_path, more={"pagerduty": RECEIVER}) as at:
        assert (await knock(at, large, header=signed(large, A))).status == 413
        assert (await knock(at, largest, header=signed(largest, A))).status == 202


# --- what is behind an incident ---

BLOB = """Labels:
 - alertname = CheckoutErrorRateHigh
 - cluster = eu1
 - instance = a
 - severity = page
Annotations:
 - description = 12% of orders fail
   since the deploy
 - runbook_url = https://runbooks.shop.example/checkout
Source: https://prom.shop.example/graph?g0.expr=x
Labels:
 - alertname = CheckoutErrorRateHigh
 - cluster = eu1
 - instance = b
 - severity = page
Annotations:
 - description = 12% of orders fail
   since the deploy
Source: https://prom.shop.example/graph?g0.expr=x
"""


def test_alertmanagers_text_is_read_back_into_what_all_its_alerts_share() -> None:
    labels, annotations = from_blob(BLOB)
    assert labels == {"alertname": "CheckoutErrorRateHigh", "cluster": "eu1", "severity": "page"}
    assert annotations == {
        "description": "12% of orders fail\n   since the deploy",
        "source_url": "https://prom.shop.example/graph?g0.expr=x",
    }


def behind(details: object, **more: Any) -> dict[str, Any]:
    return {"severity": "error", "summary": "s", "body": {"details": details, **more}}


@pytest.mark.parametrize(
    ("alerts", "exact", "loose"),
    [
        ([behind({"firing": BLOB, "num_firing": "2"})],
         {"alertname": "CheckoutErrorRateHigh", "cluster": "eu1", "severity": "page"}, {"severity": "error"}),
        ([behind({"host": "db-1", "value": 0.12, "bad name": "x", "long": "x" * 300, "nested": {"a": 1}, "ok": True})],
         {}, {"host": "db-1", "value": "0.12", "severity": "error"}),
        ([behind('{"host": "db-1"}')], {}, {"host": "db-1", "severity": "error"}),
        ([behind("disk is full on db-1")], {}, {"severity": "error"}),
        ([behind({"host": "a", "env": "prod"}), behind({"host": "b", "env": "prod"})],
         {}, {"env": "prod", "severity": "error"}),
        ([behind(None, cef_details={"source_component": "api", "source_origin": "eu1/a"})],
         {}, {"component": "api", "instance": "eu1/a", "severity": "error"}),
        ([{"severity": None, "body": None}], {}, {}),
        ([], {}, {}),
    ],
    ids=["alertmanager", "object", "text of an object", "text", "two alerts", "events api", "nothing", "no alerts"],
)  # fmt: skip
def test_details_become_labels(alerts: list[dict[str, Any]], exact: dict[str, str], loose: dict[str, str]) -> None:
    found = details_of(alerts)
    assert (found.exact, found.loose) == (exact, loose)


def test_details_are_kept_up_to_their_limit() -> None:
    found = details_of([behind("x" * 200_000)])
    assert sum(map(len, found.annotations.values())) <= 64 << 10
    assert found.annotations["details"].endswith("…")


REST = {
    "id": ID, "incident_number": 4711, "title": "[FIRING:2] X", "status": "acknowledged", "urgency": "high",
    "created_at": "2026-11-20T09:14:02Z", "last_status_change_at": "2026-11-20T09:15:02Z", "priority": None,
    "service": {"summary": "Checkout"}, "incident_key": "k", "assignments": [{"assignee": {"summary": "Ana"}}],
    "teams": [{"summary": "Payments"}], "html_url": "https://shop.pagerduty.com/incidents/1",
}  # fmt: skip


def test_what_the_mirror_fetched_is_the_same_alert_with_the_labels_behind_it() -> None:
    alert = one(envelope(REST, [behind({"firing": BLOB})]))
    assert alert.identity == identity_of(ID)
    assert {name: text for name, text in alert.labels.items() if text} == {
        "alertname": "CheckoutErrorRateHigh", "cluster": "eu1", "severity": "page", "service": "Checkout",
        "urgency": "high", "team": "Payments", "pagerduty_incident": "4711",
    }  # fmt: skip
    assert (alert.firing, alert.said_at, alert.alias) == (True, at("09:15:02"), "k")
    assert alert.annotations["description"].startswith("12% of orders fail")
    assert alert.annotations["assigned_to"] == "Ana"
    assert RULES.classify(alert).severity is P1


def test_what_was_resolved_before_it_was_fetched_is_resolved() -> None:
    alert = one(envelope({**REST, "status": "resolved"}, []))
    assert (alert.firing, alert.ended_at) == (False, at("09:15:02"))


def test_only_as_many_alerts_as_fit_are_put_into_our_inbox() -> None:
    assert len(envelope(REST, [behind("x" * 100_000)] * 50)) < 512 << 10


def test_no_details_overrule_what_pagerduty_says() -> None:
    alert = one(envelope({**REST, "priority": {"summary": "P4"}}, [behind({"priority": "P1", "team": "Evil"})]))
    assert (alert.labels["priority"], alert.labels["team"]) == ("P4", "Payments")


# --- through the pipeline ---


async def took(given: House, *bodies: bytes, apart_s: float = 60.0) -> None:
    """Take webhooks in, one after the other."""
    for body in bodies:
        assert await given.accept(body, "pagerduty")
        await given.settle()
        given.clock.turn(apart_s)


async def test_a_title_that_changes_is_the_same_incident(tmp_path: Path) -> None:
    async with house(tmp_path, more={"pagerduty": RECEIVER}, rules=RULES) as given:
        given.clock.at = AT
        await took(given, BODY, event("incident_escalated", title="[FIRING:3] Other", urgency="low"))
        [incident] = await given.all_incidents()
        assert (incident.episodes, incident.firing) == (1, 1)
        assert await given.unaccounted() == 0


async def test_a_note_alone_opens_nothing(tmp_path: Path) -> None:
    async with house(tmp_path, more={"pagerduty": RECEIVER}) as given:
        await took(given, recorded("incident_annotated"), recorded("incident_responder_added"))
        assert await given.all_incidents() == []
        assert await given.figure("news", "pagerduty/note") == 2


async def test_an_unknown_event_is_kept_and_nobody_is_paged(tmp_path: Path) -> None:
    async with house(tmp_path, more={"pagerduty": RECEIVER}) as given:
        await took(given, recorded("service_updated"), recorded("unknown_future_event"))
        assert await given.all_incidents() == []
        assert await given.figure("quarantined") == 2
        await took(given, b"garbage")
        [unreadable] = await given.all_incidents()
        assert "cannot be read" in unreadable.title


async def test_a_priority_raises_once_and_what_happened_stands_in_the_thread(tmp_path: Path) -> None:
    async with house(tmp_path, more={"pagerduty": RECEIVER}, rules=RULES) as given:
        given.clock.at = AT
        await took(given, BODY, recorded("incident_priority_updated"), recorded("incident_priority_updated"))
        incident = await given.incident()
        assert incident.severity is P1
        assert len(await given.posts(1, "page")) == 1
        lines = [each["text"] for each in (await given.store.record(1))["timeline"]]
        assert "Ana Lima in pagerduty: The priority is now P1." in lines


async def test_acknowledged_there_is_acknowledged_here_and_not_told_back(tmp_path: Path) -> None:
    async with house(tmp_path, more={"pagerduty": RECEIVER}, mirrors=["pagerduty"]) as given:
        given.clock.at = AT
        await took(given, BODY, recorded("incident_acknowledged"))
        assert (await given.incident()).acknowledged_by == "Ana Lima in pagerduty"
        assert [each["kind"] for each in await given.posts(1) if each["chat"] == "pagerduty"] == ["linked"]


async def test_the_whole_life_of_an_incident_is_one_incident(tmp_path: Path) -> None:
    async with house(tmp_path, more={"pagerduty": RECEIVER}) as given:
        given.clock.at = AT
        await took(given, BODY, recorded("incident_acknowledged"), recorded("incident_resolved"))
        assert (await given.incident()).status == "monitoring"
        await took(given, recorded("incident_reopened"))
        assert ((await given.incident()).status, (await given.incident()).firing) == ("investigating", 1)
        await took(given, event("incident_resolved", at="2026-11-20T10:30:00Z"))
        assert ((await given.incident()).status, len(await given.all_incidents())) == ("monitoring", 1)
        assert await given.unaccounted() == 0


@pytest.mark.parametrize("minutes", [0.5, 30])
async def test_news_from_before_the_end_does_not_fire_again(tmp_path: Path, minutes: float) -> None:
    async with house(tmp_path, more={"pagerduty": RECEIVER}) as given:
        given.clock.at = AT
        await took(given, BODY, recorded("incident_resolved"), apart_s=minutes * 60)
        await took(given, recorded("incident_escalated"), recorded("incident_acknowledged"))
        assert ((await given.incident()).status, (await given.incident()).firing) == ("monitoring", 0)
        assert await given.figure("stale") == 2


async def test_a_late_end_does_not_close_what_was_opened_again_since(tmp_path: Path) -> None:
    async with house(tmp_path, more={"pagerduty": RECEIVER}) as given:
        given.clock.at = AT
        await took(
            given, BODY, recorded("incident_resolved"), recorded("incident_reopened"), recorded("incident_resolved")
        )
        assert (await given.incident()).firing == 1


async def test_what_was_fetched_stays_when_the_next_webhook_does_not_say_it(tmp_path: Path) -> None:
    async with house(tmp_path, more={"pagerduty": RECEIVER}) as given:
        given.clock.at = AT
        later = event("incident_service_updated", at="2026-11-20T09:40:00Z", urgency="low", conference_bridge=None)
        await took(given, BODY, envelope(REST, [behind({"firing": BLOB})]), later)
        [episode] = (await given.store.record(1))["episodes"]
        assert (episode["labels"]["cluster"], episode["labels"]["urgency"]) == ("eu1", "low")
        assert "priority" not in episode["labels"]
        assert "runbook" not in episode["annotations"]
        assert episode["annotations"]["description"].startswith("12%")
        await took(given, event("incident_resolved", at="2026-11-20T10:00:00Z"), recorded("incident_reopened"))
        assert (await given.store.record(1))["episodes"][1]["labels"]["cluster"] == "eu1"


def test_the_times_are_utc() -> None:
    shifted = one(event(created_at="2026-11-20T10:14:02+01:00", at="2026-11-20T09:14:02.123456789Z"))
    assert shifted.started_at == at("09:14:02")
    assert shifted.said_at is not None
    assert shifted.said_at.utcoffset() == timedelta(0)
