"""One V3 webhook: the event types, and what each says to us.

An event is about a whole incident (one alert), or tells something about one (news), or is of no use (kept, quietly).
`data.type` decides the shape, as PagerDuty says; `event_type` says what happened.
Source: https://developer.pagerduty.com/docs/webhooks-overview#event-types.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from responder.bodies import moment, raw_of, word
from responder.errors import PayloadError
from responder.incidents import cut
from responder.integrations.pagerduty.details import details_of, objects
from responder.integrations.pagerduty.incident import (
    RESOLVED,
    SOURCE,
    alert_of,
    conference,
    identity_of,
    link,
    name_of,
    people,
)
from responder.integrations.pagerduty.notes import is_ours
from responder.model import BadEntry, Decoded, News

ACKNOWLEDGED, NOTE, OWN = "acknowledged", "note", "own"
MAX_NOTE = 2000
ENVELOPE = "responder"  # of what our own mirror puts into our inbox

Json = Mapping[str, Any]


def decode_event(body: Json, received_at: datetime) -> Decoded:
    """Read {"event": {...}} of PagerDuty, or {"responder": {...}} of our mirror. Raises: PayloadError: neither."""
    own = body.get(ENVELOPE)
    if isinstance(own, Mapping):
        return enriched(own, received_at)
    event = body.get("event")
    data = event.get("data") if isinstance(event, Mapping) else None
    if not isinstance(event, Mapping) or not isinstance(data, Mapping):
        raise PayloadError('no object "event" with an object "data"; is this a V3 webhook?')
    kind, shape = word(event.get("event_type")), word(data.get("type"))
    if kind == "pagey.ping" or shape == "ping":
        return Decoded(())
    if shape == "incident":
        return _whole(kind, event, data, received_at)
    says = NEWS.get(shape)
    its_id = _incident_of(data)
    if says is None or not its_id:
        return Decoded(
            (), (BadEntry(f"nothing for us: {cut(kind, 100)} of {cut(shape, 100)}", raw_of(event), 0, True),)
        )
    return Decoded((), news=(_news(its_id, event, *says(kind, data)),))


def _whole(kind: str, event: Json, data: Json, received_at: datetime) -> Decoded:
    """Read an event that holds its incident: it fires, whatever happened to it, until it says that it is resolved."""
    at = moment(event.get("occurred_at"))
    over = kind == "incident.resolved" or data.get("status") == RESOLVED
    # What happens to a resolved one is no second end: its end came, or comes, with an event of its own.
    ended_at = (at if kind == "incident.resolved" else moment(data.get("created_at"))) if over else None
    restarted_at = at if kind == "incident.reopened" else None
    alert = alert_of(data, received_at, firing=not over, ended_at=ended_at, said_at=at, restarted_at=restarted_at)
    if kind == "incident.acknowledged" and not over:
        return Decoded((alert,), news=(_news(alert.ref, event, ACKNOWLEDGED, ""),))
    says = HAPPENED.get(kind)
    said = says(event, data) if says is not None else ""
    return Decoded((alert,), news=(_news(alert.ref, event, NOTE, said),) if said else ())


def enriched(found: Json, received_at: datetime) -> Decoded:
    """Read what our mirror fetched: {"incident": of the REST API, "alerts": [...]}. Raises: PayloadError."""
    incident, alerts = found.get("incident"), found.get("alerts")
    if not isinstance(incident, Mapping):
        raise PayloadError('no object "incident"')
    at = moment(incident.get("last_status_change_at")) or moment(incident.get("created_at"))
    over = incident.get("status") == RESOLVED
    return Decoded(
        (
            alert_of(
                incident, received_at, firing=not over, ended_at=at if over else None, said_at=at,
                details=details_of(objects(alerts)),
            ),
        )
    )  # fmt: skip


def _news(incident_id: str, event: Json, kind: str, said: str) -> News:
    agent = event.get("agent")
    person = name_of(agent) if isinstance(agent, Mapping) else ""
    return News(identity_of(incident_id), SOURCE, kind, cut(person, 120) or "automation", said[:MAX_NOTE])


def _incident_of(data: Json) -> str:
    """Find which incident it is about: role assignments name it one by one."""
    given = [each.get("incident") for each in objects(data.get("incident_role_assignments"))]
    named = [word(each.get("id")) for each in (data.get("incident"), *given) if isinstance(each, Mapping)]
    return next(filter(None, named), "")


# --- what happened to an incident, in a sentence ---


def _to(event: Json, data: Json, verb: str) -> str:
    return f"{verb} {', '.join(people(data)) or 'nobody'}."


def _unacknowledged(event: Json, data: Json) -> str:
    return "The acknowledgement was taken back." if event.get("agent") else "The acknowledgement has run out."


def _priority(event: Json, data: Json) -> str:
    name = name_of(data.get("priority"))
    return f"The priority is now {name}." if name else "The priority was removed."


def _merged(event: Json, data: Json) -> str:
    reason = data.get("resolve_reason")
    if not isinstance(reason, Mapping) or reason.get("type") != "merge_resolve_reason":
        return ""
    other = reason.get("incident")
    url = link(other.get("html_url")) if isinstance(other, Mapping) else ""
    return f"Merged into {name_of(other) or 'another incident'}{': ' if url else '.'}{url}"


HAPPENED: Mapping[str, Callable[[Json, Json], str]] = {
    "incident.unacknowledged": _unacknowledged,
    "incident.escalated": lambda event, data: _to(event, data, "Escalated to"),
    "incident.reassigned": lambda event, data: _to(event, data, "Reassigned to"),
    "incident.delegated": lambda event, data: (
        f"Handed to escalation policy {name_of(data.get('escalation_policy')) or '?'}: {', '.join(people(data))}."
    ),
    "incident.priority_updated": _priority,
    "incident.service_updated": lambda event, data: f"Moved to service {name_of(data.get('service')) or '?'}.",
    "incident.incident_type.changed": lambda event, data: (
        f"The type is now {name_of(data.get('incident_type')) or '?'}."
    ),
    "incident.resolved": _merged,
}


# --- what is told about an incident: (kind of news, text) by the shape of `data` ---


def _cut_there(data: Json, said: str) -> str:
    return f"{said} … (cut by PagerDuty)" if data.get("trimmed") is True else said


def _note(kind: str, data: Json) -> tuple[str, str]:
    content = word(data.get("content"))
    return (OWN, "") if is_ours(content) else (NOTE, _cut_there(data, content))


def _status_update(kind: str, data: Json) -> tuple[str, str]:
    return NOTE, _cut_there(data, f"Status update: {word(data.get('message'))}")


def _responder(kind: str, data: Json) -> tuple[str, str]:
    who = name_of(data.get("user")) or name_of(data.get("escalation_policy")) or "somebody"
    if kind == "incident.responder.replied":
        return NOTE, f"{who} replied to the request for help: {word(data.get('state')) or '?'}."
    asked = cut(word(data.get("message")), 300)
    return NOTE, f"{who} was asked to help{': ' if asked else '.'}{asked}"


def _roles(kind: str, data: Json) -> tuple[str, str]:
    given = objects(data.get("incident_role_assignments"))
    return NOTE, "; ".join(
        f"{name_of(each.get('role')) or 'role'}: {name_of(each.get('assignee')) or 'nobody'}" for each in given[:20]
    )


def _bridge(kind: str, data: Json) -> tuple[str, str]:
    where = conference(data)
    return NOTE, f"Conference bridge: {where}" if where else "The conference bridge was removed."


def _fields(kind: str, data: Json) -> tuple[str, str]:
    found = objects(data.get("custom_fields"))
    changed = [each.get("id") for each in objects(data.get("changed_custom_fields"))]
    said = [
        f"{name_of(each)}: {_value(each.get('value'))}" for each in found if each.get("id") in changed or not changed
    ]
    return NOTE, "; ".join(said[:20]) or "A field was changed."


def _value(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_value, value[:20]))
    return "none" if value is None else cut(str(value), 200)


def _task(kind: str, data: Json) -> tuple[str, str]:
    to = f", {', '.join(people(data))}" if people(data) else ""
    status = f" ({word(data.get('status'))}{to})" if word(data.get("status")) else ""
    return NOTE, f"Task {kind.rpartition('.')[2]}: {cut(word(data.get('name')), 300)}{status}"


def _workflow(kind: str, data: Json) -> tuple[str, str]:
    return NOTE, f"Workflow {kind.rpartition('.')[2]}: {name_of(data.get('incident_workflow')) or '?'}"


def _action(kind: str, data: Json) -> tuple[str, str]:
    state = word(data.get("state")) or kind.rpartition(".")[2]
    return NOTE, f"Action {name_of(data.get('action')) or '?'}: {state}"


NEWS: Mapping[str, Callable[[str, Json], tuple[str, str]]] = {
    "incident_note": _note,
    "incident_status_update": _status_update,
    "incident_responder": _responder,
    "incident_role_assignment": _roles,
    "incident_conference_bridge": _bridge,
    "incident_field_values": _fields,
    "incident_task": _task,
    "incident_workflow_instance": _workflow,
    "incident_action_invocation": _action,
}
