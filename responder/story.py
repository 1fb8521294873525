"""One incident's part of a Move: what happens to it is gathered first and told once, however many alerts it had.

What time alone does to an incident is here too: it rises, and it resolves once it has held.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from responder import incidents
from responder.model import (
    HEARD,
    Alert,
    Beat,
    Decision,
    Episode,
    EpisodeChange,
    Incident,
    Move,
    Muted,
    News,
    Ref,
    Severity,
)
from responder.rules import RuleSet

OWN = "own"  # news that we wrote ourselves
STALE_WITHIN = timedelta(seconds=60)  # of a resolve, an alert that began before it is a late copy


@dataclass(frozen=True, slots=True)
class View:
    """What the store knows: newest episode by identity, open or newest incident by group key, incidents by number.

    `twins` are the incidents that other sources opened under an alias: (alias, source) -> number.
    """

    episodes: Mapping[str, Episode]
    groups: Mapping[str, Incident]
    incidents: Mapping[int, Incident]
    twins: Mapping[tuple[str, str], int] = field(default_factory=dict)


@dataclass(slots=True)
class Part:
    """An incident as it becomes; `was` is None when the move opens it."""

    was: Incident | None
    now: Incident
    joined: list[Alert] = field(default_factory=list)
    known: int = 0  # of the joined, those whose episode was counted here before it ended
    ended: list[Alert] = field(default_factory=list)
    news: list[News] = field(default_factory=list)
    left: list[Alert] = field(default_factory=list)  # they fire on in another incident
    worse: tuple[Severity, str, str] | None = None  # the worst severity asked for, why, and the rule's channel
    ruled: bool = False  # its channel is the rule's, not that of a severity

    def take(self, move: Move, alert: Alert, decision: Decision) -> None:
        """Learn from an alert that fires here: distinct values, its sender's own name of it, a worse severity."""
        self.now = incidents.with_facts(self.now, decision.distinct)
        self.link(move, alert)
        if alert.alias:
            move.aliases.append((alert.alias, alert.source, incidents.ref(self.now)))
        self.rise(decision, alert.name)

    def link(self, move: Move, alert: Alert) -> None:
        """Learn its sender's own name of it."""
        if alert.ref:
            self.now = incidents.linked(move, self.now, alert.source, alert.ref)

    def rise(self, decision: Decision, name: str) -> None:
        """Note that an alert asks for more; an incident that nobody has heard of simply starts higher."""
        to = decision.severity
        if self.was is None:
            self.now = replace(self.now, severity=min(self.now.severity, to))
        elif to < self.now.severity and (self.worse is None or to < self.worse[0]):
            self.worse = (to, f"{name} is {to}", decision.channel)

    def tell(self, move: Move, rules: RuleSet, at: datetime) -> None:
        """Write it: opened by one page; else lines for who joined and ended, and one page if it is raised."""
        firing = self.now.firing + len(self.joined) - len(self.ended) - len(self.left)
        open_for_s = (at - self.now.opened_at).total_seconds()
        grown = rules.raised(
            self.now.rule, self.now.severity, facts=self.now.facts, firing=firing, open_for_s=open_for_s, at=at
        )
        if self.was is None:
            channel = self.now.channel if self.ruled else rules.policy.of(grown).channel or self.now.channel
            first = replace(self.now, severity=grown, channel=channel, firing=firing, episodes=firing)
            move.opened.append(first)
            incidents.opened(move, first, at)
            quiet = rules.policy.quiet_for(first, at)
            if quiet is not None:
                incidents.quieted(move, first, quiet.name, quiet.until, at)
            return  # news of it can only come once it is known elsewhere
        if self.joined:
            self.now = incidents.grew(move, self.now, self.joined, at, known=self.known)
        if self.ended:
            self.now = incidents.calmed(move, self.now, self.ended, at)
        if self.left:
            self.now = incidents.thinned(move, self.now, self.left, at)
        if not self.now.status.ended:
            self._raise(move, grown, rules, at)
        for said in self.news:
            self.now = incidents.heard(move, self.now, said, at)
        if self.now != self.was:
            move.changed.append(self.now)

    def _raise(self, move: Move, grown: Severity, rules: RuleSet, at: datetime) -> None:
        """Page once, however many alerts ask for more, and for whatever reason."""
        to, why, channel = grown, "it has grown", ""
        if self.worse is not None and self.worse[0] <= grown:
            to, why, channel = self.worse
        mention, usual = rules.policy.mention_for(self.now, at, to), rules.policy.of(to).channel
        self.now = incidents.raised(move, self.now, to, why, mention, channel or usual, at)


class Parts(dict[Ref, Part]):
    """The incidents of one move, each by its number or group key."""

    def __init__(self) -> None:
        """Begin with none."""
        super().__init__()
        self._twins: dict[str, dict[str, Part]] = {}  # alias -> source -> where this move puts it

    def of(self, incident: Incident, *, ruled: bool = False) -> Part:
        """Give the incident's place in this move. Args: ruled: its channel is the rule's."""
        made = Part(incident if incident.id else None, incident, ruled=ruled)
        return self.setdefault(incidents.ref(incident), made)

    def again(self, move: Move, alert: Alert, decision: Decision, home: Incident) -> None:
        """An alert of an open incident fires still: it may ask for more, and tell its sender's own name of it."""
        if decision.severity < home.severity:
            self.of(home).rise(decision, alert.name)
        if alert.ref and (alert.source, alert.ref) not in home.links:  # it joined when only its episode was known
            self.of(home).link(move, alert)

    def reported(self, alert: Alert, part: Part) -> None:
        """Note under which name a source reports an incident: another one may do so in this very move."""
        if alert.alias:
            self._twins.setdefault(alert.alias, {}).setdefault(alert.source, part)

    def twin(self, alert: Alert) -> Part | None:
        """Find what another source reports in this move under the same name."""
        beside = self._twins.get(alert.alias, {})
        return next((part for source, part in beside.items() if source != alert.source), None)

    def hear(self, move: Move, said: News, episode: Episode | None, known: Mapping[int, Incident]) -> None:
        """Take news to the incident of its alert; what we wrote ourselves, and what is of nobody, is only counted."""
        move.counts["news", f"{said.source}/{said.kind}"] += 1
        home = known.get(episode.incident or 0) if episode is not None else None
        if home is not None and said.kind != OWN:
            self.of(home).news.append(said)


def still(alert: Alert, episode: Episode, home: Ref | None, muted: Muted) -> EpisodeChange:
    """An open episode fires still: the earliest start is kept, and what is new of its annotations."""
    start = alert.started_at if alert.started_at and alert.started_at < episode.started_at else None
    fresh = _fresh(alert.annotations, episode.annotations, partial=alert.partial)
    named = _fresh(alert.labels, episode.labels, partial=True) if alert.partial else None  # else they are its identity
    other = muted if muted != episode.muted else None
    return EpisodeChange(
        episode.id, alert.received_at, alert.entries, start, None, fresh, home, muted=other, labels=named
    )


def _fresh(said: Mapping[str, str], known: Mapping[str, str], *, partial: bool) -> Mapping[str, str] | None:
    """Give what is to be kept of an alert's texts, None when that is there already."""
    now = _merged(said, known) if partial else said
    return now if now != known else None


def _merged(said: Mapping[str, str], known: Mapping[str, str]) -> dict[str, str]:
    """Put what is said over what is known; an empty text takes one away."""
    return {name: text for name, text in {**known, **said}.items() if text}


def remembering(alert: Alert, episode: Episode | None) -> Alert:
    """A new episode of one that tells only part of what it knows: the rest is as its last episode had it."""
    if not alert.partial:
        return alert
    labels, annotations = (episode.labels, episode.annotations) if episode is not None else ({}, {})
    return replace(alert, labels=_merged(alert.labels, labels), annotations=_merged(alert.annotations, annotations))


def why(rules: RuleSet, alert: Alert, decision: Decision) -> dict[str, object]:
    """Say why an alert got its decision, as an episode and an incident keep it."""
    reasons = rules.reasons(alert, decision)
    if decision.muted:
        reasons["muted"] = {"kind": decision.muted.kind, "why": decision.muted.why}
    return reasons


def beat(move: Move, alert: Alert, decision: Decision) -> None:
    """Note that a heartbeat has come."""
    if decision.heartbeat_s is not None:
        within_s, at = decision.heartbeat_s, alert.received_at
        move.beats.append(Beat(decision.group_key, decision.rule, within_s, alert.labels, at))


def fires(alert: Alert, episode: Episode | None) -> bool:
    """Whether its identity fires once this is told: a late copy opens nothing, an end before the start ends none."""
    if alert.firing:
        start = min(alert.started_at or alert.received_at, alert.received_at)
        return episode is None or episode.firing or not late(alert, start, episode)
    end = min(alert.ended_at or alert.received_at, alert.received_at)
    return episode is not None and episode.firing and end < episode.started_at


def heard_in(was: Incident | None, decision: Decision) -> Decision:
    """In the open incident of its own group an alert is heard, whatever mutes it now."""
    if was is not None and not was.status.ended and was.group_key == decision.group_key:
        return replace(decision, muted=HEARD)
    return decision


def late(alert: Alert, start: datetime, episode: Episode) -> bool:
    """Whether an alert tells of before the end that we know of: its sender dates it so, or it began before it."""
    if episode.ended_at is None:
        return False
    if alert.said_at is not None and alert.said_at <= episode.ended_at:
        return True
    return start <= episode.ended_at and alert.received_at - episode.received_at <= STALE_WITHIN


def twin(
    twins: Mapping[tuple[str, str], int], known: Mapping[int, Incident], alert: Alert, now: datetime
) -> Incident | None:
    """Find the incident that another source opened for the same group: two that report one outage make one incident."""
    numbers = [number for (alias, source), number in twins.items() if alias == alert.alias and source != alert.source]
    for incident in (known[number] for number in numbers if alert.alias and number in known):
        if not incident.status.ended or incidents.may_reopen(incident, now):
            return incident
    return None


def raise_by_time(incident: Incident, rules: RuleSet, now: datetime) -> tuple[Incident, Move]:
    """Raise what has been open for long enough; the move is empty when nothing rises."""
    open_for_s = (now - incident.opened_at).total_seconds()
    by = rules.raised_by(
        incident.rule, incident.severity, facts=incident.facts, firing=incident.firing, open_for_s=open_for_s, at=now
    )
    move = Move()
    if by is None:
        return incident, move
    says = ", ".join(part for part in (f"open for {incidents.duration(open_for_s)}", by.when()) if part)
    mention = rules.policy.mention_for(incident, now, by.to)
    worse = incidents.raised(move, incident, by.to, says, mention, rules.policy.of(by.to).channel, now)
    move.changed.append(worse)
    return worse, move


def resolve_held(incident: Incident, hold_s: float, now: datetime) -> Move:
    """Resolve what has been quiet for as long as it must hold."""
    move = Move()
    held = incidents.duration(hold_s)
    move.changed.append(incidents.resolved(move, incident, "", f"No alert has fired for {held}.", now))
    return move
