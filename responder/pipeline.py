"""From a body's alerts to a Move. Read this first: it is the whole decision, and it does no I/O.

    identify      an alert is an identity (source + labels); its newest episode says whether it is news
    classify      done before: the rules gave what fires its severity, runbook and group, or a reason to mute it
    join or open  a group has one open incident; within 30 min of resolving it opens again
    tell          opened, raised, reopened from resolved: one page each. All else is a line in the thread

`workers/inbox.py` reads the View and writes the Move in one transaction: episodes, incidents, posts, runs, signals,
counters and the inbox cursor, together or not at all; on a conflict it does both again. The runs that a Move opens,
`watch` and `chain`, are carried out by `workers/runs.py` once it is written. A body's own `status` is never read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from responder import incidents
from responder.model import HEARD, Alert, Decision, Episode, EpisodeChange, Incident, Move, NewEpisode, News, Ref
from responder.rules import RuleSet
from responder.story import Part, Parts, View, beat, heard_in, late, remembering, still, twin, why


def move(
    alerts: Sequence[Alert], decisions: Sequence[Decision | None], view: View, rules: RuleSet, now: datetime,
    news: Sequence[News] = (),
) -> Move:  # fmt: skip
    """Give what is to be written for these alerts: an identity stands in them once, an ended alert has no decision."""
    work = _Work(view, rules, now)
    for alert, decision in zip(alerts, decisions, strict=True):
        work.move.counts["entries", ""] += alert.entries
        work.move.counts["alerts", f"{alert.source}/{'firing' if alert.firing else 'resolved'}"] += alert.entries
        episode = view.episodes.get(alert.identity)
        if decision is None:
            work.ended(alert, episode)
            continue
        work.move.counts["rule_hits", decision.rule] += alert.entries
        if episode is not None and episode.firing:
            work.repeats(alert, decision, episode)
        else:
            work.begins(alert, decision, episode)
        beat(work.move, alert, decision)
    for said in news:
        work.parts.hear(work.move, said, view.episodes.get(said.identity), view.incidents)
    for each in work.parts.values():
        each.tell(work.move, rules, now)
    return work.move


@dataclass(slots=True)
class _Work:
    view: View
    rules: RuleSet
    now: datetime
    move: Move = field(default_factory=Move)
    parts: Parts = field(default_factory=Parts)
    placed: dict[str, Part] = field(default_factory=dict)  # group key -> where this move puts its alerts

    def begins(self, alert: Alert, decision: Decision, episode: Episode | None) -> None:
        """A start after the last end is a new episode; one before it is a late copy, or a resolve that was none."""
        start = min(alert.started_at or alert.received_at, alert.received_at)
        if episode is not None and late(alert, start, episode):
            self.only_count(alert, episode)
        elif episode is None or episode.ended_at is None or start > episode.ended_at:
            self.new(alert, decision, episode, start)
        else:  # Alertmanager resolves by timeout when it loses Prometheus
            self.fires_on(alert, decision, episode, start)

    def new(self, alert: Alert, decision: Decision, episode: Episode | None, start: datetime) -> None:
        """An episode begins; `episode` is the last one of its identity."""
        home, reasons = self.place(alert, decision), why(self.rules, alert, decision)
        whole = remembering(alert, episode)
        self.move.episodes.append(NewEpisode(whole, home, start, None, alert.entries, reasons, decision.muted))

    def fires_on(self, alert: Alert, decision: Decision, episode: Episode, start: datetime) -> None:
        """Its end was none: in an open incident it goes on whatever mutes it now; one that is over stays over."""
        was = self.view.incidents.get(episode.incident or 0)
        decision = heard_in(was, decision)
        if decision.muted and was is not None:  # else it would fire in an incident that does not count it
            self.new(alert, decision, episode, start)
            return
        if (home := self.place(alert, decision)) is not None:
            self.parts[home].known += home == episode.incident
        self.move.joined.append(replace(still(alert, episode, home, decision.muted), reopen=True))

    def repeats(self, alert: Alert, decision: Decision, episode: Episode) -> None:
        """It fires still: the earliest start is kept, nobody is paged; what a person resolved sleeps for an hour."""
        home = self.view.incidents.get(episode.incident or 0)
        moved, muted = None, HEARD
        if home is None or (home.status.ended and not incidents.stays_resolved(home, self.now)):
            moved, muted = self.place(alert, decision, again=home), decision.muted
        elif not home.status.ended:
            self.parts.again(self.move, alert, decision, home)
        self.move.joined.append(still(alert, episode, moved, muted))

    def ended(self, alert: Alert, episode: Episode | None) -> None:
        """Resolved closes the open episode unless its end lies before the start; with none open it pages nobody."""
        end = min(alert.ended_at or alert.received_at, alert.received_at)
        if episode is not None and episode.firing and end >= episode.started_at:
            self.move.joined.append(EpisodeChange(episode.id, alert.received_at, alert.entries, ended_at=end))
            if (home := self.view.incidents.get(episode.incident or 0)) is not None:
                self.parts.of(home).ended.append(alert)
        elif episode is not None and (episode.ended_at is None or end <= episode.ended_at):
            self.only_count(alert, episode)
        else:
            start = min(alert.started_at or end, end)
            self.move.episodes.append(NewEpisode(alert, None, start, end, alert.entries))

    def only_count(self, alert: Alert, episode: Episode) -> None:
        """A late copy: counted, nothing else."""
        self.move.joined.append(EpisodeChange(episode.id, alert.received_at, alert.entries))
        self.move.counts["stale", ""] += alert.entries

    def place(self, alert: Alert, decision: Decision, again: Incident | None = None) -> Ref | None:
        """Find a firing alert's incident: the group's open one, or just resolved, or `again`, or new; None if muted."""
        if decision.muted:
            self.move.counts["muted", decision.muted.kind] += alert.entries
            return None
        each = self.placed.get(decision.group_key)
        if each is None:
            each = self.placed[decision.group_key] = self.find(alert, decision, again)
        if each.now.status.ended:
            mention = self.rules.policy.mention_for(each.now, self.now, min(each.now.severity, decision.severity))
            each.now = incidents.reopened(
                self.move, each.now, f"{incidents.listed([alert])} fires again", mention, self.now
            )
        if again is None or again.id != each.now.id:  # else it was counted there all the time
            each.joined.append(alert)
            if again is not None:
                self.parts.of(again).left.append(alert)
        each.take(self.move, alert, decision)
        self.parts.reported(alert, each)
        return incidents.ref(each.now)

    def find(self, alert: Alert, decision: Decision, again: Incident | None) -> Part:
        """Find a group's incident in the store, or that of another source which reports the same group, or make it."""
        found = self.view.groups.get(decision.group_key)
        if found is not None and found.status.ended and not incidents.may_reopen(found, self.now):
            found = again if again is not None and again.group_key == decision.group_key else None
        found = found or twin(self.view.twins, self.view.incidents, alert, self.now)
        other = self.parts.of(found) if found is not None else self.parts.twin(alert)
        if other is not None:
            return other
        channel = decision.channel or self.rules.policy.of(decision.severity).channel
        made = incidents.new(decision, alert, channel, why(self.rules, alert, decision), self.now)
        return self.parts.of(made, ruled=bool(decision.channel))
