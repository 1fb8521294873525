"""Datadog's webhooks, as the payload that we ship fills them in."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import SecretStr

from responder.integrations.datadog import PAYLOAD, plugin
from responder.mapping.door import MappedSettings
from responder.model import Alert
from tests.given import NOW
from tests.integrations.sources import receivers, recorded

DATADOG = receivers()["datadog"]


def read(**changed: Any) -> Alert:
    [alert] = DATADOG.decode(json.dumps(json.loads(recorded("datadog", "triggered")) | changed).encode(), NOW).alerts
    return alert


@pytest.mark.parametrize(
    ("transition", "alert_type", "firing"),
    [
        ("Triggered", "error", True),
        ("Re-Triggered", "error", True),
        ("Warn", "warning", True),
        ("Re-Warn", "warning", True),
        ("No Data", "error", True),
        ("Re-No Data", "error", True),
        ("Renotify", "error", True),
        ("Something new", "error", True),
        ("Recovered", "success", False),
        ("Null", "success", False),
        ("$ALERT_TRANSITION", "success", False),
        ("$ALERT_TRANSITION", "$ALERT_TYPE", True),
        ("", "error", True),
    ],
)
def test_only_a_recovery_ends(transition: str, alert_type: str, firing: bool) -> None:
    assert read(transition=transition, alert_type=alert_type).firing is firing


def test_a_cycle_is_one_alert_whatever_its_title_says() -> None:
    assert read().identity == read(title="[Warn on {host:a}] checkout errors", alert_type="warning").identity
    assert read().identity != read(cycle_key="1").identity


def test_tags_and_scope_are_labels_and_a_variable_left_over_is_none() -> None:
    assert read().labels == {
        "alertname": "checkout errors", "metric": "checkout.errors", "monitor": "1234", "priority": "P1",
        "env": "prod", "service": "checkout", "tags": "monitor",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("[Triggered] checkout errors", "checkout errors"),
        ("[Triggered on {host:ip-012345}] Host is Down", "Host is Down"),
        ("checkout [errors]", "checkout [errors]"),
        ("[Triggered]", "[Triggered]"),
        ("[never closed", "[never closed"),
        ("$ALERT_TITLE", "checkout.errors"),
    ],
)
def test_the_state_is_no_part_of_the_name(title: str, name: str) -> None:
    assert read(title=title).name == name


@pytest.mark.parametrize(
    ("priority", "alert_type", "severity"),
    [
        ("P1", "error", None),
        ("P1", "warning", "warning"),
        ("$ALERT_PRIORITY", "error", "error"),
        ("", "warning", "warning"),
    ],
)
def test_one_label_speaks_of_the_severity(priority: str, alert_type: str, severity: str | None) -> None:
    assert read(priority=priority, alert_type=alert_type).labels.get("severity") == severity


def test_the_payload_to_paste_is_json_and_holds_what_is_read() -> None:
    assert json.loads(PAYLOAD).keys() <= json.loads(recorded("datadog", "triggered")).keys()
    assert plugin.snippet is not None
    text = plugin.snippet(MappedSettings(token=SecretStr("s3cret"), header="X-Key"), "https://r")
    assert "https://r/webhooks/datadog" in text
    assert '"X-Key"' in text
    assert "s3cret" not in text
