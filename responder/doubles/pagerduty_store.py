"""What the PagerDuty double remembers: incidents, their alerts and notes, and what its REST API refuses.

Source: PagerDuty's OpenAPI schema (REST API v2) and https://developer.pagerduty.com/docs/errors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

Json = dict[str, Any]

ACCOUNT = "https://shop.pagerduty.com"
API = "https://api.pagerduty.com"
STATUSES = ("triggered", "acknowledged", "resolved")
MAX_NOTES = 2000
MAX_MANY = 250
MAX_SNOOZE_S = 604_800
SERVICE = {"id": "PSVCCHK", "name": "Checkout"}
ASSIGNEE = {"id": "PUSRANA", "name": "Ana Lima"}


class PagerDutyRefusal(Exception):
    """An error of the REST API: status, code, message, and the list under `errors`."""

    def __init__(self, status: int, code: int, message: str, *errors: str) -> None:
        """Keep what the body says."""
        super().__init__(message)
        self.status, self.code, self.message, self.errors = status, code, message, errors

    def body(self) -> Json:
        """The JSON that PagerDuty answers."""
        more = {"errors": list(self.errors)} if self.errors else {}
        return {"error": {"message": self.message, "code": self.code, **more}}


def invalid(*errors: str) -> PagerDutyRefusal:
    """The refusal of what does not fit the schema."""
    return PagerDutyRefusal(400, 2001, "Invalid Input Provided", *errors)


def not_found() -> PagerDutyRefusal:
    """The refusal of what is not there."""
    return PagerDutyRefusal(404, 2100, "Not Found")


def reference(kind: str, its_id: str, summary: str | None) -> Json:
    """A reference as webhooks and the REST API write it."""
    plural = "escalation_policies" if kind == "escalation_policy" else f"{kind}s"
    return {
        "html_url": f"{ACCOUNT}/{plural}/{its_id}",
        "id": its_id,
        "self": f"{API}/{plural}/{its_id}",
        "summary": summary,
        "type": f"{kind}_reference",
    }


def stamp(at: datetime, *, exact: bool = False) -> str:
    """A time as PagerDuty writes it: whole seconds, but for `occurred_at`."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds" if exact else "seconds").replace("+00:00", "Z")


@dataclass
class Incident:
    """One incident; `webhook` and `rest` name the same things differently."""

    id: str
    number: int
    title: str
    created_at: datetime
    key: str
    urgency: str = "high"
    priority: str = ""
    service: Mapping[str, str] = field(default_factory=lambda: SERVICE)
    status: str = "triggered"
    changed_at: datetime | None = None
    reopened_at: datetime | None = None
    merged_into: str = ""
    resolution: str = ""
    alerts: list[Json] = field(default_factory=list)
    notes: list[Json] = field(default_factory=list)

    def webhook(self) -> Json:
        """`data` of a webhook about it."""
        reopened = {"reopened_at": stamp(self.reopened_at)} if self.reopened_at else {}
        merged = {"type": "merge_resolve_reason", "incident": reference("incident", self.merged_into, None)}
        return {
            **self._common(),
            "number": self.number,
            **reopened,
            "assignees": self._assignees(),
            "resolve_reason": merged if self.merged_into else None,
        }

    def rest(self) -> Json:
        """`incident` of the REST API."""
        at = self.created_at
        assigned = [{"at": stamp(at), "assignee": each} for each in self._assignees()]
        changed = {"last_status_change_at": stamp(self.changed_at or at), "resolve_reason": None}
        return {
            **self._common(), "incident_number": self.number, "summary": f"[#{self.number}] {self.title}",
            "assignments": assigned, "resolved_at": None, **changed,
        }  # fmt: skip

    def _common(self) -> Json:
        priority = reference("priority", f"PPRIO{self.priority}", self.priority) if self.priority else None
        return {
            "id": self.id,
            "type": "incident",
            "self": f"{API}/incidents/{self.id}",
            "html_url": f"{ACCOUNT}/incidents/{self.id}",
            "status": self.status,
            "incident_key": self.key,
            "created_at": stamp(self.created_at),
            "title": self.title,
            "incident_type": {"name": "incident_default"},
            "service": reference("service", self.service["id"], self.service["name"]),
            "escalation_policy": reference("escalation_policy", "PEPDFLT", "Default"),
            "teams": [reference("team", "PTEAMPAY", "Payments")],
            "priority": priority,
            "urgency": self.urgency,
            "conference_bridge": None,
        }

    def _assignees(self) -> list[Json]:
        return [] if self.status == "resolved" else [reference("user", ASSIGNEE["id"], ASSIGNEE["name"])]


@dataclass
class Account:
    """One account, in memory. `changed(incident, event type, agent, data)` hears of every change, as webhooks do."""

    users: Mapping[str, Json]  # by e-mail
    now: Callable[[], datetime]
    changed: Callable[[Incident, str, Json | None, Json], None]
    incidents: dict[str, Incident] = field(default_factory=dict)
    _ids: int = 0

    def new_id(self, prefix: str) -> str:
        """A fresh id."""
        self._ids += 1
        return f"{prefix}{self._ids:08d}"

    def incident(self, its_id: str) -> Incident:
        """One incident. Raises: PagerDutyRefusal: 404."""
        if its_id not in self.incidents:
            raise not_found()
        return self.incidents[its_id]

    def requester(self, email: str | None) -> Json:
        """The user of `From`. Raises: PagerDutyRefusal: it is missing, or nobody's."""
        if email is None or email not in self.users:
            raise invalid("Requester User Not Found")
        return self.users[email]

    def open(
        self, title: str, *, key: str = "", details: object = None, severity: str = "error", **more: Any
    ) -> Incident:
        """Open an incident as an event of a monitoring tool does."""
        its_id = self.new_id("Q1")
        made = Incident(its_id, 4711 + len(self.incidents), title, self.now(), key or f"key-{its_id}", **more)
        self.incidents[its_id] = made
        self.add_alert(made, details=details, severity=severity)
        self.changed(made, "incident.triggered", None, made.webhook())
        return made

    def add_alert(self, incident: Incident, *, details: object, severity: str) -> None:
        """Put an alert behind an incident, as `GET /incidents/{id}/alerts` shows it."""
        its_id = self.new_id("PALERT")
        about = reference("incident", incident.id, incident.title)
        incident.alerts.append(
            {
                "id": its_id, "type": "alert", "summary": incident.title, "status": "triggered",
                "alert_key": incident.key, "severity": severity, "suppressed": False,
                "created_at": stamp(incident.created_at), "self": f"{API}/alerts/{its_id}",
                "html_url": f"{ACCOUNT}/alerts/{its_id}", "incident": about,
                "service": reference("service", incident.service["id"], incident.service["name"]),
                "body": {"type": "alert_body", "contexts": [], "details": {} if details is None else details},
            }
        )  # fmt: skip

    def set_status(self, incident: Incident, status: str, agent: Json | None, resolution: str = "") -> None:
        """Write a status. On a resolved incident any other one opens it again; the same one changes nothing."""
        before, at = incident.status, self.now()
        if incident.merged_into:
            raise PagerDutyRefusal(400, 1019, "Incident has been merged")
        if before == status:
            return
        if before == "resolved":
            incident.status, incident.reopened_at = "triggered", at
            self._happened(incident, "incident.reopened", agent)
        incident.status, incident.changed_at = status, at
        incident.resolution = resolution or incident.resolution
        event = {"triggered": "unacknowledged", "acknowledged": "acknowledged", "resolved": "resolved"}[status]
        if status != "triggered" or before == "acknowledged":
            self._happened(incident, f"incident.{event}", agent)

    def _happened(self, incident: Incident, event: str, agent: Json | None) -> None:
        self.changed(incident, event, agent, incident.webhook())

    def merge(self, incident: Incident, into: Incident) -> None:
        """Merge an incident into another: it is resolved there."""
        incident.status, incident.merged_into = "resolved", into.id
        self._happened(incident, "incident.resolved", None)

    def change_priority(self, incident: Incident, priority: str, agent: Json | None = None) -> None:
        """Give an incident a priority."""
        incident.priority = priority
        self._happened(incident, "incident.priority_updated", agent)

    def add_note(self, incident: Incident, content: object, user: Json) -> Json:
        """Write a note. Raises: PagerDutyRefusal: no text, or 2 000 notes are there."""
        if not isinstance(content, str) or not content.strip():
            raise invalid("Content cannot be empty.")
        if len(incident.notes) >= MAX_NOTES:
            raise invalid(f"An incident may have at most {MAX_NOTES} notes")
        note = {
            "id": self.new_id("PNOTE"), "user": user, "content": content, "created_at": stamp(self.now()),
            "channel": {"summary": "The PagerDuty website or APIs"},
        }  # fmt: skip
        incident.notes.append(note)
        self.tell_note(incident, note, user)
        return note

    def tell_note(self, incident: Incident, note: Json, user: Json) -> None:
        """Send the webhook of a note, its text cut as PagerDuty cuts long ones."""
        cut = note["content"][:TRIMMED]
        about = reference("incident", incident.id, incident.title)
        data = {"incident": about, "id": note["id"], "content": cut, "trimmed": cut != note["content"]}
        self.changed(incident, "incident.annotated", user, {**data, "type": "incident_note"})

    def note(self, incident: Incident, note_id: str) -> Json:
        """One note. Raises: PagerDutyRefusal: 404."""
        for note in incident.notes:
            if note["id"] == note_id:
                return note
        raise not_found()


TRIMMED = 2000  # of a note in a webhook; where PagerDuty cuts is not documented
