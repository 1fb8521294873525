"""What the head of a thread shows: severity, what is broken, since when, who is on it, what runs, what we know."""

from __future__ import annotations

from datetime import datetime

from responder.incidents import cut, duration
from responder.model import Incident, Message, Severity, Status

MEANING = {
    Severity.P0: "P0 · complete outage, all users",
    Severity.P1: "P1 · major function broken, many users",
    Severity.P2: "P2 · important function degraded",
    Severity.P3: "P3 · minor",
}
DOING = {
    Status.DETECTING: "detecting",
    Status.INVESTIGATING: "investigating",
    Status.MITIGATING: "mitigating",
    Status.MONITORING: "monitoring: all alerts ended, watching whether it holds",
    Status.RESOLVED: "resolved",
    Status.REVIEWED: "reviewed",
}


RUNNING = {
    "": "the first look",
    "first-look": "the first look",
    "verify": "nothing: waiting for the alerts to end",
    "postmortem": "the post-mortem",
}


FLAPPING = 3  # times that it fires again within an hour


def draw_head(
    incident: Incident, *, mention: str, folded: int = 0, flaps: int = 0, quiet_until: datetime | None = None
) -> Message:
    """Draw the head as the incident stands now. `mention` counts only when the head is first posted.

    Args: folded: updates that were not shown in the thread; flaps: how often it fired again in the last hour;
        quiet_until: nobody is mentioned before.
    """
    facts = [
        ("Severity", MEANING[incident.severity]),
        ("Status", _status(incident)),
        ("Scope", _scope(incident, flaps)),
        ("Systems", ", ".join(incident.systems) or "not named by the alert"),
        ("On it", incident.commander or incident.acknowledged_by or _nobody(quiet_until)),
        ("What runs", _runs(incident)),
    ]
    more = f"{_count(folded, 'update')} folded · " if folded else ""
    since = f"{more}since {incident.opened_at:%Y-%m-%d %H:%M} UTC"
    return Message(
        title=f"{incident.name} {_sign(incident)} {incident.severity} · {incident.title}",
        facts=tuple(facts),
        body=f"What we know: {incident.summary or 'what the alert says.'}",
        footer=f"{since} · rule {incident.rule} · runbook {incident.runbook}"
        f" · responder incidents show {incident.name}",
        mention="" if incident.status.ended else mention,
        severity=incident.severity,
    )


def _nobody(quiet_until: datetime | None) -> str:
    return f"nobody yet; quiet hours until {quiet_until:%Y-%m-%d %H:%M} UTC" if quiet_until else "nobody yet"


def _scope(incident: Incident, flaps: int) -> str:
    said = f"{incident.firing} firing of {_count(incident.episodes, 'alert')}"
    return f"{said}, flapping: {flaps} times in 1 h" if flaps >= FLAPPING else said


def _status(incident: Incident) -> str:
    said = DOING[incident.status]
    if incident.status.ended and incident.resolved_at is not None:
        took = duration((incident.resolved_at - incident.opened_at).total_seconds())
        return f"{said}{f' by {incident.resolved_by}' if incident.resolved_by else ''} after {took}"
    return said


def _runs(incident: Incident) -> str:
    if incident.status.ended:
        return "nothing"
    return RUNNING.get(incident.phase, incident.phase)


def _sign(incident: Incident) -> str:
    if incident.status.ended:
        return "✔"
    return {Severity.P0: "▲▲", Severity.P1: "▲", Severity.P2: "△", Severity.P3: "·"}[incident.severity]


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def progress(incident: Incident, *, next_due: str, now: datetime) -> str:
    """Say where an incident stands when there is nothing new to say."""
    took = duration((now - incident.opened_at).total_seconds())
    doing = f"{DOING[incident.status]}" + (f", {incident.phase}" if incident.phase else "")
    known = f" Known so far: {cut(incident.summary, 300)}" if incident.summary else ""
    return f"After {took}: {doing}; {_count(incident.firing, 'alert')} firing.{known} Next update {next_due}."
