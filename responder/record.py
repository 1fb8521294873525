"""An incident as JSON, the same for the command line, the API and an export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from responder.model import Incident

Record = Mapping[str, Sequence[Mapping[str, Any]]]


def moment(at: datetime | None) -> str | None:
    """Give RFC 3339 in UTC with milliseconds."""
    return None if at is None else at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def brief_json(incident: Incident) -> dict[str, Any]:
    """Give what stands in the incident's own row."""
    return {
        "id": incident.name,
        "severity": str(incident.severity),
        "status": str(incident.status),
        "title": incident.title,
        "rule": incident.rule,
        "runbook": incident.runbook,
        "systems": list(incident.systems),
        "channel": incident.channel,
        "opened_at": moment(incident.opened_at),
        "acknowledged_at": moment(incident.acknowledged_at),
        "acknowledged_by": incident.acknowledged_by or None,
        "resolved_at": moment(incident.resolved_at),
        "resolved_by": incident.resolved_by or None,
        "commander": incident.commander or None,
        "detected_by": incident.detected_by,
        "firing": incident.firing,
        "impact": dict(incident.impact),
        "cost_usd": round(incident.cost_usd, 6),
        "phase": incident.phase,
        "summary": incident.summary,
    }


def listed_json(incident: Incident, episodes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Give an incident as a list shows it: every key of the whole, the long ones empty, at most twenty episodes."""
    empty: dict[str, list[Mapping[str, Any]]] = {name: [] for name in ("timeline", "evidence", "findings", "posts")}
    return full_json(incident, {**empty, "episodes": episodes})


def full_json(incident: Incident, record: Record) -> dict[str, Any]:
    """Give an incident with all that is kept of it."""
    threads = record.get("threads", [])
    postmortem = record.get("postmortem", [])
    return brief_json(incident) | {
        "participants": sorted(
            {name for name in (incident.commander, incident.acknowledged_by, incident.resolved_by) if name}
        ),
        "decision": dict(incident.decision),
        "episodes": [_episode(each) for each in record.get("episodes", [])],
        "reasons": {each["hash"]: each["body"] for each in record.get("reasons", [])},  # of episodes, by their `reason`
        "findings": [dict(each) for each in record.get("findings", [])],
        "evidence": [_timed(each) for each in record.get("evidence", [])],
        "approvals": [],
        "follow_ups": [],
        "timeline": [_timed(each) for each in record.get("timeline", [])],
        "posts": [_timed(each) for each in record.get("posts", [])],
        "threads": [dict(each) for each in threads],
        "permalink": next((each["permalink"] for each in threads if each["permalink"]), None),
        "postmortem": postmortem[0]["text"] if postmortem else None,
    }


def _episode(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "source": row["source"],
        "labels": row["labels"],
        "annotations": row["annotations"],
        "status": "firing" if row["firing"] else "resolved",
        "started_at": moment(row["started_at"]),
        "ended_at": moment(row["ended_at"]),
        "generator_url": row["generator_url"],
        "rule": row["rule"],
        "severity": row["severity"],
        "muted": {"kind": row["muted"], "why": row["muted_why"]} if row["muted"] else None,
        "reason": row["reason"],
    }


def _timed(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: moment(value) if isinstance(value, datetime) else value for key, value in row.items()}


def ledger_json(figures: Mapping[tuple[str, str], float], unaccounted: float) -> dict[str, Any]:
    """Give both sides of the sum: entries and where they are, bodies and where they are."""

    def figure(name: str) -> int:
        return int(figures.get((name, ""), 0))

    moved, unread, waiting = figure("bodies"), figure("bodies_unread"), figure("waiting")
    return {
        "entries": figure("entries"),
        "in_open_episodes": figure("taken_open") - figure("taken_muted_open"),
        "in_ended_episodes": figure("taken")
        - figure("taken_open")
        - figure("taken_muted")
        + figure("taken_muted_open"),
        "suppressed": figure("taken_muted"),
        "quarantined": figure("quarantined_entries"),
        "unaccounted": int(unaccounted),
        "muted_now": {kind: int(n) for (name, kind), n in sorted(figures.items()) if name == "muted_now"},
        "bodies": {"received": moved + waiting, "decoded": moved - unread, "quarantined": unread, "waiting": waiting},
    }


def number(name: str) -> int:
    """Read INC-12 or 12.

    Raises: ValueError: neither.
    """
    digits = name.upper().removeprefix("INC-")
    if not digits.isascii() or not digits.isdigit() or len(digits) > 15:  # noqa: PLR2004 - fits SQLite's integers
        raise ValueError(f"{name[:40]!r} is not an incident; write INC-12")
    return int(digits)
