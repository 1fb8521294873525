"""Grafana's notifications: what each alert says, and who may send."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from responder.integrations.grafana import Grafana, Settings, plugin
from responder.model import Alert
from tests.given import NOW, FakeClock
from tests.integrations.sources import recorded

BODY = recorded("grafana", "firing")
SIGNATURE = "17ff0281c5b8f761a249f8b60812325a2d5117b585fd0c1c7db0d570e209b21b"
TIMED = "d36c5504f24681e8032b365da31cf3bd4c29415fef3d603006bc6adaea59f8a4"  # of 1795166400:BODY
STAMP = 1795166400
OPEN = Grafana(Settings(), "grafana", FakeClock())


def secret(text: str) -> SecretStr:
    return SecretStr(text)


def one(element: dict[str, Any], **top: Any) -> Alert:
    [alert] = OPEN.decode(json.dumps({"alerts": [element], "orgId": 1, **top}).encode(), NOW).alerts
    return alert


def test_links_and_values_become_annotations_beside_the_alerts_own() -> None:
    [alert] = OPEN.decode(BODY, NOW).alerts
    assert alert.labels == {"alertname": "High latency", "grafana_folder": "Checkout", "team": "payments"}
    assert alert.annotations["value_A"] == "2.31"
    assert alert.annotations["panel"].endswith("viewPanel=4")
    assert alert.annotations["summary"] == "p99 > 2 s"
    assert one({"annotations": {"value_A": "mine"}, "values": {"A": 1}}).annotations["value_A"] == "mine"


@pytest.mark.parametrize("values", [None, {}, [], "A=1", 3])
def test_values_may_be_absent(values: object) -> None:
    assert one({"labels": {"alertname": "A"}, "values": values}).annotations == {}


def test_the_bodys_own_status_is_never_read() -> None:
    assert one({"status": "firing"}, status="resolved", state="ok").firing
    assert not one({"status": "resolved"}, status="firing").firing
    assert one({"status": "paused"}).firing


def test_a_status_said_twice_fires() -> None:
    raw = b'{"alerts": [{"labels": {}, "status": "firing", "status": "resolved"}]}'
    assert OPEN.decode(raw, NOW).alerts[0].firing


def test_two_organisations_are_two() -> None:
    element = {"labels": {"alertname": "A"}}
    assert one(element).identity != one(element, orgId=2).identity
    assert one(element).identity == one(element | {"orgId": 1}, orgId=2).identity


@pytest.mark.parametrize(
    ("state", "firing"), [("alerting", [True]), ("no_data", [True]), ("ok", [False]), ("paused", []), (None, [True])]
)
def test_the_legacy_alerting_is_read_too(state: str | None, firing: list[bool]) -> None:
    found = OPEN.decode(json.dumps(json.loads(recorded("grafana", "legacy")) | {"state": state}).encode(), NOW)
    assert [each.firing for each in found.alerts] == firing
    assert all(each.labels == {"alertname": "Panel Title alert", "team": "payments"} for each in found.alerts)
    assert all(bad.quiet for bad in found.bad)


def test_a_custom_payload_says_what_to_do() -> None:
    [bad] = OPEN.decode(b'{"text": "High latency"}', NOW).bad
    assert "custom payload" in bad.reason
    assert not bad.quiet


# --- who may send ---


@pytest.mark.parametrize(
    ("signature", "genuine"),
    [
        pytest.param(SIGNATURE, True, id="good"),
        pytest.param(SIGNATURE.upper(), True, id="in capitals"),
        pytest.param("0" * 64, False, id="another"),
        pytest.param(SIGNATURE[:-1], False, id="cut"),
        pytest.param("", False, id="none"),
        pytest.param("é" * 64, False, id="not ASCII"),
        pytest.param("\udcff", False, id="stray bytes"),
        pytest.param(f"{SIGNATURE},{SIGNATURE}", False, id="two"),
    ],
)
async def test_only_a_good_signature_may_send(signature: str, genuine: bool) -> None:
    signed = Grafana(Settings(secret=secret("grafana-secret")), "grafana", FakeClock())
    assert await signed.verify({"X-Grafana-Alerting-Signature": signature}, BODY) is genuine
    assert signed.guarded


async def test_a_changed_body_is_not_genuine() -> None:
    signed = Grafana(Settings(secret=secret("grafana-secret")), "grafana", FakeClock())
    assert not await signed.verify({"X-Grafana-Alerting-Signature": SIGNATURE}, BODY + b" ")


async def test_while_a_secret_changes_both_are_good() -> None:
    settings = Settings(secret=secret("new"), secrets=(secret("grafana-secret"),), signature_header="X-Sig")
    assert await Grafana(settings, "grafana", FakeClock()).verify({"X-Sig": SIGNATURE}, BODY)


@pytest.mark.parametrize(
    ("stamp", "late_s", "genuine"),
    [
        pytest.param(str(STAMP), 0, True, id="now"),
        pytest.param(str(STAMP), 299, True, id="five minutes old"),
        pytest.param(str(STAMP), 301, False, id="older"),
        pytest.param(str(STAMP), -301, False, id="from the future"),
        pytest.param(str(STAMP + 1), 0, False, id="not the one that was signed"),
        pytest.param("", 0, False, id="none"),
        pytest.param(f" {STAMP}", 0, False, id="a space"),
        pytest.param("9" * 5000, 0, False, id="5000 digits"),
        pytest.param("١٧٩٥١٦٦٤٠٠", 0, False, id="other digits"),
        pytest.param("soon", 0, False, id="a word"),
    ],
)
async def test_an_old_notification_is_not_genuine(stamp: str, late_s: int, genuine: bool) -> None:
    clock = FakeClock()
    clock.step(STAMP + late_s - clock.at.timestamp())
    settings = Settings(secret=secret("grafana-secret"), timestamp_header="X-Time")
    headers = {"X-Grafana-Alerting-Signature": TIMED, "X-Time": stamp}
    assert await Grafana(settings, "grafana", clock).verify(headers, BODY) is genuine


def test_a_signed_time_needs_a_secret() -> None:
    with pytest.raises(ValidationError, match="needs a secret"):
        Settings(timestamp_header="X-Time")


async def test_without_any_secret_anybody_may_and_we_say_so() -> None:
    assert await OPEN.verify({}, BODY)
    assert OPEN.authorize({})
    assert not OPEN.guarded
    assert Grafana(Settings(token=secret("x")), "grafana", FakeClock()).guarded


def test_the_snippet_names_our_door_and_no_secret() -> None:
    assert plugin.snippet is not None
    text = plugin.snippet(Settings(token=secret("s3cret"), secret=secret("h1dden")), "http://r:8080")
    assert "url: http://r:8080/webhooks/grafana" in text
    assert "authorization_scheme: Bearer" in text
    assert "hmacConfig" in text
    assert "s3cret" not in text
    assert "h1dden" not in text
