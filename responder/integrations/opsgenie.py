"""Opsgenie's webhook integration: its alerts, and what people do with them there.

An alert keeps its `alertId` until it is closed. `createdAt` counts milliseconds, `updatedAt` nanoseconds. Its P1 is its
highest. What is acknowledged or noted there is told in the incident's thread; what nobody here waits for is ignored.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pydantic import BaseModel

from responder.mapping import Mapper, table
from responder.mapping.door import Mapped, MappedSettings
from responder.ports import Plugin, Receiver, Surroundings

TABLE = table(
    labels={
        "alertname": ["alert.message", "alert.alias", "=Opsgenie alert"],
        "entity": "alert.entity",
        "origin": "alert.source",
        "priority": "alert.priority",
        "responders": "alert.teams",
    },
    labels_from=["alert.details", "alert.tags"],
    annotations={"description": "alert.description", "alias": "alert.alias", "opsgenie": "alert.tinyId"},
    status={
        "path": "action",
        "firing": ["create", "unacknowledge", "updatepriority", "escalate", "escalatenext"],
        "resolved": ["close", "delete"],
        "acknowledged": ["acknowledge"],
        "note": ["addnote"],
        "ignored": [
            "addtags", "removetags", "adddetails", "removedetails", "addteam", "addrecipient", "addresponder",
            "assignownership", "takeownership", "snooze", "unsnooze", "snoozeended", "updatemessage",
            "updatedescription", "addattachment", "removeattachment", "customaction",
        ],
    },
    started_at="alert.createdAt",
    ended_at="alert.updatedAt",
    identity=[["alert.alertId", "alert.alias"]],
    person=["alert.username", "source.name"],
    note="alert.note",
)  # fmt: skip


def _snippet(settings: BaseModel, base_url: str) -> str:
    """Give what to fill in at Opsgenie: Settings, Integrations, Webhook."""
    assert isinstance(settings, MappedSettings)
    secured = settings.token or settings.tokens
    headers = f"\nCustom header: {settings.header}: Bearer TOKEN" if secured else ""
    return (
        f"Webhook URL: {base_url}/webhooks/opsgenie{headers}\nAdd alert description and details to the payload: yes\n"
    )


@asynccontextmanager
async def open_opsgenie(settings: MappedSettings, around: Surroundings) -> AsyncIterator[Receiver]:
    """Give the receiver; nothing is held open."""
    name = around.name or "opsgenie"
    yield Mapped(settings, name, Mapper(TABLE, name))


plugin = Plugin(MappedSettings, receiver=open_opsgenie, snippet=_snippet, many=True, marks=(("action", "alert"),))
