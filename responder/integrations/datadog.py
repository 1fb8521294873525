"""Datadog monitors, by its webhooks. They have no format of their own: the payload below is pasted there.

Source: https://docs.datadoghq.com/integrations/webhooks/. Every value is text, and a variable without a value may stay
as its name (`$HOSTNAME`). `$ALERT_CYCLE_KEY` is one from the trigger to the recovery. Datadog's P1 is its highest.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pydantic import BaseModel

from responder.mapping import Mapper, table
from responder.mapping.door import Mapped, MappedSettings
from responder.ports import Plugin, Receiver, Surroundings

PAYLOAD = """{
  "event_id": "$ID",
  "monitor_id": "$ALERT_ID",
  "cycle_key": "$ALERT_CYCLE_KEY",
  "aggregation_key": "$AGGREG_KEY",
  "transition": "$ALERT_TRANSITION",
  "alert_type": "$ALERT_TYPE",
  "priority": "$ALERT_PRIORITY",
  "title": "$ALERT_TITLE",
  "status_summary": "$ALERT_STATUS",
  "query": "$ALERT_QUERY",
  "scope": "$ALERT_SCOPE",
  "metric": "$ALERT_METRIC",
  "tags": "$TAGS",
  "hostname": "$HOSTNAME",
  "link": "$LINK",
  "snapshot": "$SNAPSHOT",
  "text": "$TEXT_ONLY_MSG",
  "date_ms": "$DATE",
  "org_id": "$ORG_ID"
}"""
TABLE = table(
    labels={
        "alertname": ["title", "metric", "=Datadog alert"],
        "hostname": "hostname",
        "metric": "metric",
        "monitor": "monitor_id",
        "priority": "priority",
        "severity": "alert_type",
    },
    labels_from=["scope", "tags"],
    annotations={
        "summary": ["status_summary", "title"],
        "description": "text",
        "query": "query",
        "snapshot": "snapshot",
        "transition": "transition",
    },
    status={"path": ["transition", "alert_type"], "resolved": ["recovered", "success"]},
    started_at="date_ms",
    ended_at="date_ms",
    identity=[["cycle_key", "aggregation_key"]],
    url="link",
    missing=["null", "none", "n/a", "*"],
)


def mend(labels: dict[str, str]) -> None:
    """Take `[Triggered on {host:a}]` off the name, and let one label speak of the severity.

    A warning threshold is no more than a warning, whatever priority the monitor has; else the priority speaks.
    """
    name = labels.get("alertname", "").strip()
    if name.startswith("["):
        labels["alertname"] = name.partition("]")[2].strip() or name
    if "priority" in labels and labels.get("severity") != "warning":
        labels.pop("severity", None)


def _snippet(settings: BaseModel, base_url: str) -> str:
    """Give what to paste into Datadog's Webhooks tile."""
    assert isinstance(settings, MappedSettings)
    headers = f'\nCustom headers: {{"{settings.header}": "Bearer TOKEN"}}' if settings.token or settings.tokens else ""
    return f"URL: {base_url}/webhooks/datadog{headers}\nPayload:\n{PAYLOAD}\n"


@asynccontextmanager
async def open_datadog(settings: MappedSettings, around: Surroundings) -> AsyncIterator[Receiver]:
    """Give the receiver; nothing is held open."""
    name = around.name or "datadog"
    yield Mapped(settings, name, Mapper(TABLE, name, mend))


plugin = Plugin(
    MappedSettings, receiver=open_datadog, snippet=_snippet, many=True, marks=(("cycle_key", "transition"),)
)
