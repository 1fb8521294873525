"""Rows to values and back: times as Unix seconds, lists and maps as JSON text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import orjson

from responder.model import Episode, Incident, Message, Muted, OutboxPost, Run, Severity, Status

_TIMES = {"opened_at", "acknowledged_at", "monitoring_at", "resolved_at", "raised_at", "page_at"}
_LISTS = {"systems", "extra_channels", "links"}
_MAPS = {"decision", "facts", "impact"}
INCIDENT_COLUMNS = [field.name for field in fields(Incident)]
EPISODE_COLUMNS = (
    "id, identity, source, labels, annotations, firing, started_at, ended_at, received_at, incident, generator_url,"
    " muted, muted_why, ref, alias"
)


def stamp(at: datetime | None) -> float | None:
    """Give Unix seconds."""
    return None if at is None else at.timestamp()


def moment(seconds: float | None) -> datetime | None:
    """Give aware UTC."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def surely(seconds: float) -> datetime:
    """Give aware UTC for a column that is never null."""
    return datetime.fromtimestamp(seconds, UTC)


def text(value: object) -> str:
    """Give compact JSON text."""
    return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def incident_values(incident: Incident) -> list[Any]:
    """Give the row of an incident in the order of INCIDENT_COLUMNS."""
    values: list[Any] = []
    for name in INCIDENT_COLUMNS:
        value = getattr(incident, name)
        if name in _TIMES:
            value = stamp(value)
        elif name in _LISTS or name in _MAPS:
            value = text(value)
        values.append(value)
    return values


def incident(row: Sequence[Any]) -> Incident:
    """Read one row of INCIDENT_COLUMNS."""
    found: dict[str, Any] = dict(zip(INCIDENT_COLUMNS, row, strict=True))
    for name in _TIMES:
        found[name] = moment(found[name])
    for name in _LISTS:
        found[name] = tuple(orjson.loads(found[name]))
    found["links"] = tuple((system, its_name) for system, its_name in found["links"])
    for name in _MAPS:
        found[name] = orjson.loads(found[name])
    found["severity"], found["status"] = Severity(found["severity"]), Status(found["status"])
    return Incident(**found)


def episode(row: Sequence[Any]) -> Episode:
    """Read one row of EPISODE_COLUMNS."""
    number, identity, source, labels, annotations, firing, started, ended, received, home, url, *more = row
    muted, reason, ref, alias = more
    return Episode(
        number, identity, source, orjson.loads(labels), orjson.loads(annotations), bool(firing), surely(started),
        moment(ended), surely(received), home, url, Muted(muted, reason), ref, alias,
    )  # fmt: skip


def message_text(message: Message | None) -> str | None:
    """Give a message as JSON text, None for a head."""
    if message is None:
        return None
    return text({field.name: getattr(message, field.name) for field in fields(Message)})


def message(stored: str | None) -> Message | None:
    """Read what `message_text` wrote."""
    if stored is None:
        return None
    found = orjson.loads(stored)
    found["facts"] = tuple((label, value) for label, value in found["facts"])
    found["severity"] = Severity(found["severity"]) if found["severity"] else None
    return Message(**found)


POST_COLUMNS = (
    "p.id, p.incident, p.chat, p.kind, i.severity, p.channel, p.message, p.state, p.created_at, p.attempts, p.ts,"
    " coalesce(t.channel, ''), coalesce(t.ts, ''), p.looking_since"
)


def post(row: Sequence[Any]) -> OutboxPost:
    """Read one row of POST_COLUMNS and the place."""
    (
        number, home, chat, kind, severity, channel, said, state, created, attempts, ts, in_channel, under, looking,
        place,
    ) = row  # fmt: skip
    return OutboxPost(
        number, home, chat, kind, Severity(severity), channel, message(said), state, surely(created), attempts, ts,
        in_channel, under, moment(looking), place,
    )  # fmt: skip


def run(row: Sequence[Any]) -> Run:
    """Read one row: id, incident, kind, n, epoch, pinned text, severity."""
    number, home, kind, n, epoch, pinned, severity = row
    return Run(number, home, kind, n, epoch, orjson.loads(pinned) if pinned else None, Severity(severity))
