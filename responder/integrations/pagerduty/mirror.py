"""Tells PagerDuty what becomes of an incident here, and fetches what its webhooks leave out.

Writing `acknowledged` or `triggered` on a resolved incident opens it again, so the state is read before each write.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
import structlog

from responder.errors import PermanentError, TransientError
from responder.integrations.pagerduty import notes
from responder.integrations.pagerduty.details import MAX_TEXT, objects
from responder.integrations.pagerduty.events import ACKNOWLEDGED, ENVELOPE, NOTE
from responder.integrations.pagerduty.incident import RESOLVED, SOURCE
from responder.integrations.pagerduty.rest import (
    ALREADY_ACKNOWLEDGED,
    ALREADY_RESOLVED,
    MERGED,
    NOT_FOUND,
    TOO_LARGE,
    Rest,
    path_of,
)
from responder.model import Marker, Message

LINKED = "linked"
MAX_ALERTS = 100  # of one incident that are read
KEPT = ("severity", "summary", "body")  # of each of its alerts
log = structlog.stdlib.get_logger("pagerduty")

Json = Mapping[str, Any]


class PagerDutyMirror:
    """`ports.Mirror` over the REST API."""

    name = SOURCE

    def __init__(self, rest: Rest, *, submit: Callable[[str, bytes], Awaitable[None]], base_url: str) -> None:
        """Keep the API, our own inbox, and where people reach us ("" when unknown)."""
        self._rest, self._submit, self._base_url = rest, submit, base_url.rstrip("/")

    async def tell(self, kind: str, ref: str, message: Message, *, marker: Marker) -> str:
        """Bring one post to the incident `ref` -> the id of what was written, or what it is already.

        Raises: TransientError, PermanentError.
        """
        if kind == LINKED:
            return await self._link(ref, message, marker)
        if kind == NOTE:
            return await self._note(ref, said(message), marker)
        if kind in (ACKNOWLEDGED, RESOLVED):
            return await self._set(kind, ref, said(message), marker)
        raise PermanentError(f"pagerduty: a post of kind {kind!r} means nothing there")

    async def told(self, kind: str, ref: str, *, marker: Marker, since: datetime) -> str | None:
        """Look for an earlier try: our mark in the notes, or the state that it was to bring about."""
        if kind in (ACKNOWLEDGED, RESOLVED):
            status = await self._status(ref)
            return status if status in (kind, RESOLVED) else None
        contents = [content for _, content in await self._notes(ref)]
        return f"#{marker.post}" if notes.holds(contents, marker) else None

    async def _link(self, ref: str, message: Message, marker: Marker) -> str:
        """Fetch what is known of the incident there, put it into our inbox, and leave our name and address."""
        incident = await self._incident(ref)
        await self._submit(SOURCE, envelope(incident, await self._alerts(ref)))
        url = f"{self._base_url}/incidents/{marker.incident}" if self._base_url else ""
        severity = f"{message.severity} " if message.severity else ""
        return await self._note(ref, f"responder: {marker.incident}: {severity}{url or message.title}", marker)

    async def _incident(self, ref: str) -> Json:
        found = (await self._rest.get(path_of(ref))).get("incident")
        if not isinstance(found, Mapping):
            raise TransientError(f"pagerduty: GET {path_of(ref)}: an answer without an incident")
        return found

    async def _status(self, ref: str) -> str:
        return str((await self._incident(ref)).get("status") or "")

    async def _alerts(self, ref: str) -> list[dict[str, Any]]:
        """Read the incident's alerts: none when there are none, or more than anybody could read."""
        try:
            found = (await self._rest.get(f"{path_of(ref)}/alerts", limit=str(MAX_ALERTS))).get("alerts")
        except PermanentError as error:
            if error.code not in (NOT_FOUND, TOO_LARGE):
                raise
            log.warning("details not read", incident=ref, error=str(error))
            return []
        return objects(found)

    async def _set(self, status: str, ref: str, text: str, marker: Marker) -> str:
        """Bring the incident to a status, unless it is there or past it: nothing ever opens it again."""
        if await self._status(ref) in (status, RESOLVED):
            return status
        wanted = {"type": "incident_reference", "status": status}
        if status == RESOLVED and text:
            wanted["resolution"] = text[: notes.MAX_ENTRY_CHARS]
        try:
            await self._rest.put(path_of(ref), {"incident": wanted})
        except PermanentError as error:
            if error.code not in (ALREADY_RESOLVED, ALREADY_ACKNOWLEDGED, MERGED):
                raise
            return status
        if status == ACKNOWLEDGED and text:  # there it stands under our own user's name
            await self._beside(ref, text, marker)
        return status

    async def _beside(self, ref: str, text: str, marker: Marker) -> None:
        """Add a note to what is done already: it is not worth doing that again for."""
        try:
            await self._note(ref, text, marker)
        except (TransientError, PermanentError) as error:
            log.warning("who acknowledged is not noted", incident=ref, error=str(error))

    async def _notes(self, ref: str) -> list[tuple[str, str]]:
        """Give the incident's notes, oldest first: (id, content)."""
        found = objects((await self._rest.get(f"{path_of(ref)}/notes")).get("notes"))
        listed = sorted(found, key=lambda each: str(each.get("created_at") or ""))
        return [(str(each.get("id") or ""), str(each.get("content") or "")) for each in listed]

    async def _note(self, ref: str, text: str, marker: Marker) -> str:
        """Write a note, or, when we have written many, one more line of the last."""
        ours = [(number, content) for number, content in await self._notes(ref) if notes.is_ours(content) and number]
        if len(ours) < notes.SINGLE_NOTES:
            body = {"note": {"content": notes.written(text, marker)}}
            note = (await self._rest.post(f"{path_of(ref)}/notes", body)).get("note")
            return str(note.get("id") or "") if isinstance(note, Mapping) else ""
        number, content = ours[-1]
        body = {"note": {"content": notes.added(content, text, marker)}}
        await self._rest.put(f"{path_of(ref)}/notes/{number}", body)
        return number


def said(message: Message) -> str:
    """Write a message as plain text."""
    facts = [f"{label}: {value}" for label, value in message.facts]
    return "\n".join(filter(None, [message.title, message.body, *facts, message.code, message.footer]))


def envelope(incident: Json, alerts: Sequence[Json]) -> bytes:
    """Write what was fetched as a body for our own inbox; of the alerts only as many as we would keep."""
    kept: list[Json] = []
    left = 4 * MAX_TEXT
    for alert in alerts:
        slim = {name: alert.get(name) for name in KEPT}
        left -= len(orjson.dumps(slim))
        if left < 0 and kept:
            break
        kept.append(slim)
    return orjson.dumps({ENVELOPE: {"incident": incident, "alerts": kept}})
