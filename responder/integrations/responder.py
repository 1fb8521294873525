"""Our own alerts: what the daemon has to say of itself comes in by the same inbox and is judged by the same rules."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime

import orjson
from pydantic import BaseModel

from responder.model import Alert, Decoded, News, identify
from responder.ports import Plugin, Receiver, Surroundings


class Settings(BaseModel, frozen=True, extra="forbid"):
    """Nothing to set."""


class Own:
    """Reads bodies that only this process writes; nobody can post them."""

    name = "responder"
    max_bytes = 1 << 20
    guarded = True
    unready = ""
    alarms = False
    methods = ("POST",)
    id_header = "X-Webhook-Id"

    def authorize(self, headers: Mapping[str, str]) -> bool:
        """Nobody from outside."""
        return False

    async def verify(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Nobody from outside."""
        return False

    def decode(self, body: bytes, received_at: datetime) -> Decoded:
        """Turn {"alerts": [{"labels": {}, "annotations": {}, "resolved": bool}], "news": [{...}]} into both.

        An element of `news` has the fields of `model.News`; either list may be missing.
        """
        alerts, said = [], orjson.loads(body)
        for each in said.get("alerts", ()):
            identity = identify("responder", each["labels"])
            firing = not each.get("resolved", False)
            alerts.append(Alert("responder", identity, each["labels"], each["annotations"], firing, received_at))
        return Decoded(tuple(alerts), news=tuple(News(**each) for each in said.get("news", ())))


@asynccontextmanager
async def open_own(settings: Settings, around: Surroundings) -> AsyncIterator[Receiver]:
    """Give the receiver; nothing is held open."""
    yield Own()


plugin = Plugin(Settings, receiver=open_own)
