"""What an incident does: each function is one transition of the state table, and adds to a Move what it makes.

| status | enters by | leaves by |
|---|---|---|
| detecting | opened | a phase or a person: investigating; all episodes end: monitoring |
| investigating | first phase, a person, fires again, recovery not proved | mitigating; all episodes end: monitoring |
| mitigating | a person's word | all episodes end: monitoring |
| monitoring | all episodes ended | held: resolved; fires again: investigating |
| resolved | held, or a person | fires within 30 min: investigating |

A page is: opened, raised, reopened from resolved. Everything else edits the head and adds a line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from responder.model import (
    Alert,
    Decision,
    Incident,
    Message,
    Move,
    News,
    Post,
    Ref,
    Severity,
    Status,
    TimelineEntry,
)

REOPEN_WITHIN = timedelta(minutes=30)
PERSON_HOLDS = timedelta(hours=1)  # a person resolved it while it still fired
MAX_TITLE, MAX_SUMMARY, MAX_SYSTEMS, MAX_VALUE = 400, 800, 12, 120  # shown shorter, after secrets are masked
MAX_LINKS, MAX_LABELS = 20, 64
MAX_FACTS = 256  # distinct values kept for `raise`


def ref(incident: Incident) -> Ref:
    """Name an incident inside a move: its number, or its group key while it has none."""
    return incident.id or incident.group_key


def new(decision: Decision, alert: Alert, channel: str, explained: Mapping[str, object], now: datetime) -> Incident:
    """Make the incident of a group's first alert; nothing is told yet."""
    said = alert.annotations.get("summary") or alert.annotations.get("title") or alert.name
    return Incident(
        id=0, version=1, group_key=decision.group_key, severity=decision.severity, status=Status.DETECTING,
        title=cut(said, MAX_TITLE), rule=decision.rule, runbook=decision.runbook, channel=channel, opened_at=now,
        systems=tuple(cut(name, MAX_VALUE) for name in decision.systems[:MAX_SYSTEMS]),
        summary=cut(alert.annotations.get("description") or alert.annotations.get("message") or "", MAX_SUMMARY),
        extra_channels=decision.extra_channels, detected_by=alert.source, page_at=now,
        decision={**explained, "labels": _kept_labels(alert.labels)},
    )  # fmt: skip


def _kept_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """Keep what quiet hours ask for later, of labels that may be any number and any length."""
    return {name: value for name, value in list(labels.items())[:MAX_LABELS] if len(name) + len(value) <= MAX_TITLE}


def opened(move: Move, incident: Incident, now: datetime) -> None:
    """Tell of a new incident: one page, the two runs."""
    told = ref(incident)
    move.posts.append(Post(told, "head", incident.severity))
    move.posts += [notice(incident, channel, f"{incident.severity} opened") for channel in incident.extra_channels]
    move.runs += [(told, "watch", incident.run_n), (told, "chain", incident.run_n)]
    line(move, incident, now, "opened", f"{incident.severity} by rule {incident.rule}: {incident.title}")
    move.counts["incidents", incident.severity] += 1


def quieted(move: Move, incident: Incident, hours: str, until: datetime, now: datetime) -> None:
    """It opened in quiet hours: said in the record, and counted."""
    line(move, incident, now, "quiet", f"quiet hours {hours}: nobody is mentioned until {until:%Y-%m-%d %H:%M} UTC")
    move.counts["quiet", incident.severity] += 1


def reopened(move: Move, incident: Incident, why: str, mention: str, now: datetime) -> Incident:
    """A resolved incident fires again: a page in its thread, and runs n + 1."""
    again = replace(
        incident, status=Status.INVESTIGATING, resolved_at=None, resolved_by="", monitoring_at=None, page_at=now,
        acknowledged_at=None, acknowledged_by="", run_n=incident.run_n + 1, phase="",
    )  # fmt: skip
    told = ref(again)
    page(move, again, f"Reopened: {why}", mention)
    move.runs += [(told, "watch", again.run_n), (told, "chain", again.run_n)]
    line(move, again, now, "reopened", why)
    move.counts["reopened", ""] += 1
    return again


def raised(
    move: Move, incident: Incident, to: Severity, why: str, mention: str, channel: str, now: datetime
) -> Incident:
    """A severity rises: one new page in the thread; a post in the new severity's channel where that is another.

    Gives the incident unchanged when `to` is not worse.
    """
    if to >= incident.severity:
        return incident
    worse = replace(incident, severity=to, raised_at=now, page_at=now, acknowledged_at=None, acknowledged_by="")
    if incident.severity is Severity.P3:  # nobody looks into a P3: now somebody must
        worse = replace(worse, run_n=incident.run_n + 1)
        move.runs += [(ref(worse), "watch", worse.run_n), (ref(worse), "chain", worse.run_n)]
    page(move, worse, f"Raised from {incident.severity} to {to}: {why}", mention)
    if channel and channel != incident.channel:
        move.posts.append(notice(worse, channel, f"raised to {to}"))
    move.signals.append((ref(worse), "raised", {"severity": to}))
    line(move, worse, now, "raised", f"{incident.severity} to {to}: {why}")
    return worse


def grew(move: Move, incident: Incident, alerts: Sequence[Alert], now: datetime, *, known: int = 0) -> Incident:
    """More alerts joined: a line and the head, not a page. In monitoring it goes back to investigating.

    Args: known: how many of them are episodes that ended here and fire again.
    """
    fresh = len(alerts) - known
    bigger = replace(incident, firing=incident.firing + len(alerts), episodes=incident.episodes + fresh)
    if incident.status is Status.MONITORING:
        bigger = replace(bigger, status=Status.INVESTIGATING, monitoring_at=None)
        move.signals.append((ref(bigger), "episodes", {"firing": bigger.firing}))
    said = listed(alerts)
    verb = "fires again" if incident.status is Status.MONITORING else "joined"
    reply(move, bigger, f"{len(alerts)} alert{'s' * (len(alerts) > 1)} {verb}: {said}", kind="joined")
    line(move, bigger, now, "joined", said)
    return bigger


def calmed(move: Move, incident: Incident, alerts: Sequence[Alert], now: datetime) -> Incident:
    """Some alerts ended; when all have, the incident is watched for as long as its hold."""
    calmer = replace(incident, firing=max(0, incident.firing - len(alerts)))
    line(move, calmer, now, "ended", f"{listed(alerts)}; {calmer.firing} still firing")
    if incident.status.ended:
        return calmer
    if calmer.firing == 0:
        calmer = replace(calmer, status=Status.MONITORING, monitoring_at=now)
        move.signals.append((ref(calmer), "episodes", {"firing": 0}))
        reply(move, calmer, "All alerts ended. Watching whether it holds.", kind="joined")
    else:
        head(move, calmer)
    return calmer


def thinned(move: Move, incident: Incident, alerts: Sequence[Alert], now: datetime) -> Incident:
    """Some alerts fire on in another incident: this one, resolved by a person, no longer counts them."""
    line(move, incident, now, "moved", f"{listed(alerts)}: counted in another incident from now on")
    return replace(incident, firing=max(0, incident.firing - len(alerts)))


def linked(move: Move, incident: Incident, system: str, its_name: str) -> Incident:
    """The incident has a name elsewhere: what becomes of it is told there. A known one changes nothing."""
    if (system, its_name) in incident.links or len(incident.links) >= MAX_LINKS:
        return incident
    said = Message(title=incident.title, severity=incident.severity)
    move.posts.append(Post(ref(incident), "linked", incident.severity, said, its_name, system))
    if incident.acknowledged_at is not None:  # nobody need be woken there for what somebody has taken here
        taken = Message(title="", body=f"Acknowledged by {incident.acknowledged_by}.", severity=incident.severity)
        move.posts.append(Post(ref(incident), "acknowledged", incident.severity, taken, its_name, system))
    return replace(incident, links=(*incident.links, (system, its_name)))


def heard(move: Move, incident: Incident, news: News, now: datetime) -> Incident:
    """Something was said of it elsewhere: done here too, and not told back to where it comes from."""
    person = cut(f"{news.person or 'somebody'} in {news.source}", MAX_VALUE)
    if news.kind == "told":  # by no person
        person = news.source
    if news.kind == "acknowledged":
        return acknowledged(move, incident, person, now, origin=news.source)
    noted(move, incident, person, cut(news.text, MAX_SUMMARY), now, origin=news.source)
    return incident


def acknowledged(move: Move, incident: Incident, person: str, now: datetime, *, origin: str = "") -> Incident:
    """A person takes it, here or in `origin`: the acknowledge clock stops. Repeating it changes nothing."""
    if incident.status.ended or incident.acknowledged_at is not None:
        return incident
    status = Status.INVESTIGATING if incident.status is Status.DETECTING else incident.status
    taken = replace(
        incident, acknowledged_at=now, acknowledged_by=person, commander=incident.commander or person, status=status
    )
    reply(move, taken, f"Acknowledged by {person}.")
    _tell_elsewhere(move, taken, "acknowledged", f"Acknowledged by {person}.", origin)
    move.signals.append((ref(taken), "acknowledged", {"by": person}))
    line(move, taken, now, "acknowledged", f"by {person}")
    return taken


def resolved(move: Move, incident: Incident, person: str, why: str, now: datetime) -> Incident:
    """It is over: it held (`person` ""), or a person says so. Repeating it changes nothing."""
    if incident.status.ended:
        return incident
    over = replace(incident, status=Status.RESOLVED, resolved_at=now, resolved_by=person)
    took = duration((now - incident.opened_at).total_seconds())
    by = f" by {person}" if person else ""
    reply(move, over, f"Resolved{by} after {took}. {why}".strip())
    _tell_elsewhere(move, over, "resolved", f"Resolved{by} after {took}. {why}".strip(), "")
    move.signals.append((ref(over), "resolved", {"by": person}))
    line(move, over, now, "resolved", f"{by.strip()} {why}".strip() or "held")
    return over


def investigating(move: Move, incident: Incident, why: str, now: datetime) -> Incident:
    """A phase begins, or the recovery is not proved."""
    if incident.status.ended or incident.status is Status.INVESTIGATING:
        return incident
    line(move, incident, now, "status", f"investigating: {why}")
    head(move, incident)
    return replace(incident, status=Status.INVESTIGATING, monitoring_at=None)


def watching(move: Move, incident: Incident, why: str, now: datetime) -> Incident:
    """The recovery is proved after all: watched again."""
    if incident.status.ended or incident.status is Status.MONITORING:
        return incident
    line(move, incident, now, "status", f"monitoring: {why}")
    head(move, incident)
    return replace(incident, status=Status.MONITORING, monitoring_at=now)


def noted(move: Move, incident: Incident, person: str, text: str, now: datetime, *, origin: str = "") -> None:
    """A person's note: in the record and in the thread."""
    reply(move, incident, f"{person}: {text}")
    _tell_elsewhere(move, incident, "note", f"{person}: {text}", origin)
    line(move, incident, now, "note", f"{person}: {text}")


def stays_resolved(incident: Incident, now: datetime) -> bool:
    """Whether a repeat of an alert that never ended must leave the incident as a person left it."""
    return bool(incident.resolved_by and incident.resolved_at and now - incident.resolved_at < PERSON_HOLDS)


def may_reopen(incident: Incident, now: datetime) -> bool:
    """Whether a group that fires again belongs to this resolved incident."""
    return incident.resolved_at is not None and now - incident.resolved_at <= REOPEN_WITHIN


def with_facts(incident: Incident, pairs: Sequence[tuple[str, str]]) -> Incident:
    """Remember distinct label values that the rule's `raise` counts."""
    shown = [(name, cut(value, MAX_VALUE)) for name, value in pairs]
    fresh = [(name, value) for name, value in shown if value not in incident.facts.get(name, ())]
    if not fresh:
        return incident
    facts = {name: list(values) for name, values in incident.facts.items()}
    for name, value in fresh:
        facts.setdefault(name, [])
        if len(facts[name]) < MAX_FACTS:
            facts[name].append(value)
    return replace(incident, facts=facts)


def page(move: Move, incident: Incident, text: str, mention: str) -> None:
    """Add a reply that mentions people and is shown in the channel too, and an edit of the head."""
    message = Message(title="", body=text, mention=mention, severity=incident.severity)
    move.posts += [
        Post(ref(incident), "page", incident.severity, message),
        Post(ref(incident), "head", incident.severity),
    ]


def reply(move: Move, incident: Incident, text: str, *, kind: str = "reply") -> None:
    """Add a line to the thread, and an edit of the head."""
    move.posts += [
        Post(ref(incident), kind, incident.severity, Message(title="", body=text)),
        Post(ref(incident), "head", incident.severity),
    ]


def _tell_elsewhere(move: Move, incident: Incident, kind: str, text: str, origin: str) -> None:
    for system, its_name in incident.links:
        if system != origin:
            said = Message(title="", body=text, severity=incident.severity)
            move.posts.append(Post(ref(incident), kind, incident.severity, said, its_name, system))


def head(move: Move, incident: Incident) -> None:
    """Ask for an edit of the head."""
    move.posts.append(Post(ref(incident), "head", incident.severity))


def notice(incident: Incident, channel: str, text: str) -> Post:
    """Make a message of its own in another channel."""
    message = Message(title=f"{incident.severity} {incident.title}", body=text, severity=incident.severity)
    return Post(ref(incident), "notice", incident.severity, message, channel=channel)


def line(move: Move, incident: Incident, at: datetime, kind: str, text: str) -> None:
    """Add a line to the record."""
    move.timeline.append(TimelineEntry(ref(incident), at, kind, text))


def listed(alerts: Sequence[Alert]) -> str:
    """Name a few alerts in one line, and count the rest."""
    named = []
    for alert in alerts[:5]:
        where = alert.labels.get("instance") or alert.labels.get("pod") or alert.labels.get("service") or ""
        named.append(cut(f"{alert.name} {where}".strip(), MAX_VALUE))
    more = len(alerts) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")


def cut(text: str, limit: int) -> str:
    """Shorten a text to one line of at most `limit` characters."""
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def duration(seconds: float) -> str:
    """Say a duration as people do: 40 s, 12 min, 3 h 5 min."""
    whole = max(0, round(seconds))
    if whole < 90:  # noqa: PLR2004 - below it seconds say more than minutes
        return f"{whole} s"
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
