"""One incident's part of a Move: what happens to it is gathered first and told once, however many alerts it had.

What time alone does to an incident is here too: it rises, and it resolves once it has held.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime

from responder import incidents
from responder.model import Alert, Decision, Incident, Move, Severity
from responder.rules import RuleSet


@dataclass(slots=True)
class Part:
    """An incident as it becomes; `was` is None when the move opens it."""

    was: Incident | None
    now: Incident
    joined: list[Alert] = field(default_factory=list)
    known: int = 0  # of the joined, those whose episode was counted here before it ended
    ended: list[Alert] = field(default_factory=list)
    left: list[Alert] = field(default_factory=list)  # they fire on in another incident
    worse: tuple[Severity, str, str] | None = None  # the worst severity asked for, why, and the rule's channel
    ruled: bool = False  # its channel is the rule's, not that of a severity

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
            self.now.rule, self.now.severity, facts=self.now.facts, firing=firing, open_for_s=open_for_s
        )
        if self.was is None:
            channel = self.now.channel if self.ruled else rules.policy.of(grown).channel or self.now.channel
            first = replace(self.now, severity=grown, channel=channel, firing=firing, episodes=firing)
            move.opened.append(first)
            incidents.opened(move, first, at)
            return
        if self.joined:
            self.now = incidents.grew(move, self.now, self.joined, at, known=self.known)
        if self.ended:
            self.now = incidents.calmed(move, self.now, self.ended, at)
        if self.left:
            self.now = incidents.thinned(move, self.now, self.left, at)
        if not self.now.status.ended:
            self._raise(move, grown, rules, at)
        if self.now != self.was:
            move.changed.append(self.now)

    def _raise(self, move: Move, grown: Severity, rules: RuleSet, at: datetime) -> None:
        """Page once, however many alerts ask for more, and for whatever reason."""
        to, why, channel = grown, "it has grown", ""
        if self.worse is not None and self.worse[0] <= grown:
            to, why, channel = self.worse
        policy = rules.policy.of(to)
        self.now = incidents.raised(move, self.now, to, why, policy.mention, channel or policy.channel, at)


def raise_by_time(incident: Incident, rules: RuleSet, now: datetime) -> tuple[Incident, Move]:
    """Raise what has been open for long enough; the move is empty when nothing rises."""
    open_for_s = (now - incident.opened_at).total_seconds()
    to = rules.raised(
        incident.rule, incident.severity, facts=incident.facts, firing=incident.firing, open_for_s=open_for_s
    )
    policy, move = rules.policy.of(to), Move()
    why = f"open for {incidents.duration(open_for_s)}"
    worse = incidents.raised(move, incident, to, why, policy.mention, policy.channel, now)
    if worse is not incident:
        move.changed.append(worse)
    return worse, move


def resolve_held(incident: Incident, hold_s: float, now: datetime) -> Move:
    """Resolve what has been quiet for as long as it must hold."""
    move = Move()
    held = incidents.duration(hold_s)
    move.changed.append(incidents.resolved(move, incident, "", f"No alert has fired for {held}.", now))
    return move
