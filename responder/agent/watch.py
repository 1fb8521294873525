"""The `watch` run: acknowledge-within, cadence, raises by time, and resolving once it has held. No model, no tool.

It keeps nothing: each time it is loaded it reads the incident and works out what is due. What it does is a step named
by its due time, so a restart neither repeats nor skips it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from responder import incidents, story
from responder.engine import Ctx, Parked, RunFn
from responder.metrics import Metrics
from responder.model import Done, Incident, Message, Move, Post, Status
from responder.rules import RuleSet
from responder.thread import progress


class _NoLongerDue(Exception):
    """What was due when it was chosen is not when it is done."""


@dataclass(frozen=True, slots=True)
class _Due:
    at: datetime
    name: str
    act: Callable[[Incident, datetime], Done]


@dataclass(frozen=True, slots=True)
class Watch:
    """What a watch needs: the rules in force, how long a recovery must hold, and where to count."""

    rules: Callable[[], RuleSet]
    hold_s: Callable[[Incident], float]
    metrics: Metrics

    def run(self) -> RunFn:
        """Give the run function."""
        return self._watch

    async def _watch(self, ctx: Ctx) -> object:
        await ctx.drain()
        while True:
            incident = await ctx.incident()
            if incident.status.ended or incident.run_n != ctx.run.n:
                return str(incident.status)
            due = [each for each in self._due(incident, ctx) if not ctx.finished(each.name)]
            first = min(due, key=lambda each: each.at, default=None)
            if first is None or first.at > ctx.clock.now():
                raise Parked(first.at if first else None)
            await self._do(ctx, first)

    async def _do(self, ctx: Ctx, due: _Due) -> None:
        async def act() -> Done:
            incident = await ctx.incident()
            if not any(each.name == due.name for each in self._due(incident, ctx)):
                raise _NoLongerDue
            return due.act(incident, ctx.clock.now())

        try:
            done = await ctx.step(due.name, act)
        except _NoLongerDue:
            return  # the incident changed meanwhile; it may become due again
        if done == "resolved":
            over = await ctx.incident()
            took = ((over.resolved_at or over.opened_at) - over.opened_at).total_seconds()
            self.metrics.resolve.labels(over.severity).observe(max(0.0, took))

    def _due(self, incident: Incident, ctx: Ctx) -> Iterator[_Due]:
        """Everything that this incident will need if nothing changes."""
        if incident.status.ended:
            return
        yield from self._unacknowledged(incident, ctx)
        yield from self._cadence(incident, ctx.clock.now())
        if incident.firing:
            yield from self._raises(incident, ctx.clock.now())
        if incident.status is Status.MONITORING and incident.firing == 0 and incident.monitoring_at is not None:
            at = incident.monitoring_at + timedelta(seconds=self.hold_s(incident))
            yield _Due(at, f"resolve.{incident.monitoring_at.timestamp()}", self._resolve)

    def _raises(self, incident: Incident, now: datetime) -> Iterator[_Due]:
        """Only the latest time that has passed and the one to come: a raise sees all that the incident then meets."""
        rules, at, passed = self.rules(), incident.opened_at, None
        while True:
            wait_s = rules.next_raise_s(incident.rule, incident.severity, opened_at=incident.opened_at, at=at)
            if wait_s is None:
                break
            at += timedelta(seconds=wait_s)
            if at > now:
                yield self._raise_at(incident, at)
                break
            passed = at
        if passed is not None:
            yield self._raise_at(incident, passed)

    def _raise_at(self, incident: Incident, at: datetime) -> _Due:
        after_s = (at - incident.opened_at).total_seconds()
        return _Due(at, f"raise.{incident.severity}.{after_s:.0f}", self._raise)

    def _unacknowledged(self, incident: Incident, ctx: Ctx) -> Iterator[_Due]:
        """Contacts one after the other; a leap of the clock or a long stop brings one of them, not all at once."""
        policy = self.rules().policy
        own = policy.of(incident.severity)
        if incident.acknowledged_at is not None or incident.page_at is None:
            return
        if incident.status is Status.MONITORING:
            return  # nothing fires: whom to wake can wait until it fires again
        page_at = due_at = incident.page_at
        quiet, hushed = policy.quiet_for(incident, page_at), f"hushed.{page_at.timestamp()}"
        if quiet is not None and not ctx.finished(hushed):
            yield _Due(page_at, hushed, self._hushed)
        if quiet is not None or ctx.finished(hushed):  # new rules may know nothing of the hours in which it was told
            name, due_at = f"quiet.{page_at.timestamp()}", page_at if quiet is None else quiet.until
            due_at = self._awake(incident, name, due_at, ctx)
            yield _Due(due_at, name, partial(self._quiet_over, own.mention))
            due_at = _after(due_at, name, ctx)
        if own.acknowledge_within_s is None:
            return
        within = timedelta(seconds=own.acknowledge_within_s)
        for turn, contact in enumerate((own.mention, *own.next)):
            name, due_at = f"ack.{page_at.timestamp()}.{turn}", due_at + within
            due_at = self._awake(incident, name, due_at, ctx)
            yield _Due(due_at, name, partial(self._ask, contact, within))
            due_at = _after(due_at, name, ctx)

    def _awake(self, incident: Incident, name: str, at: datetime, ctx: Ctx) -> datetime:
        """When somebody may be mentioned: not in quiet hours, also not in the next ones when we come late."""
        when = at if ctx.finished(name) else max(at, ctx.clock.now())
        quiet = self.rules().policy.quiet_for(incident, when)
        return at if quiet is None else quiet.until

    @staticmethod
    def _hushed(_incident: Incident, _now: datetime) -> Done:
        """Keep that a page mentioned nobody."""
        return Done()

    @staticmethod
    def _quiet_over(mention: str, incident: Incident, now: datetime) -> Done:
        since = incidents.duration((now - incident.opened_at).total_seconds())
        body = f"Quiet hours are over. Open for {since}, and nobody has acknowledged it."
        said = Message(title="", body=body, mention=mention, severity=incident.severity)
        posts = [Post(incident.id, "page", incident.severity, said), Post(incident.id, "head", incident.severity)]
        return Done(value=now.timestamp(), posts=posts, timeline=[("unacknowledged", body)])

    @staticmethod
    def _ask(contact: str, within: timedelta, incident: Incident, now: datetime) -> Done:
        minutes = incidents.duration(within.total_seconds())
        said = Message(
            title="", body=f"Nobody has acknowledged within {minutes}.", mention=contact, severity=incident.severity
        )
        posts = [Post(incident.id, "page", incident.severity, said)]
        return Done(value=now.timestamp(), posts=posts, timeline=[("unacknowledged", said.body)])

    def _cadence(self, incident: Incident, now: datetime) -> Iterator[_Due]:
        """Only the latest due update and the one to come: what was missed while we were down is not caught up."""
        every_s = self.rules().policy.of(incident.severity).cadence_s
        if not every_s:
            return
        every = timedelta(seconds=every_s)
        passed = max(1, int((now - incident.opened_at) / every))
        for turn in (passed, passed + 1):
            at = incident.opened_at + every * turn
            yield _Due(at, f"cadence.{at.timestamp()}", partial(self._update, at + every))

    @staticmethod
    def _update(next_due: datetime, incident: Incident, now: datetime) -> Done:
        said = progress(incident, next_due=f"{next_due:%H:%M} UTC", now=now)
        move = Move()
        incidents.reply(move, incident, said)
        return Done(posts=move.posts, timeline=[("update", said)])

    def _raise(self, incident: Incident, now: datetime) -> Done:
        raised, move = story.raise_by_time(incident, self.rules(), now)
        return Done(value=str(raised.severity), move=move)

    def _resolve(self, incident: Incident, now: datetime) -> Done:
        return Done(value="resolved", move=story.resolve_held(incident, self.hold_s(incident), now))


def _after(due_at: datetime, name: str, ctx: Ctx) -> datetime:
    """From when the next contact's time counts: what was done late is not made up for."""
    asked = ctx.value(name)
    if isinstance(asked, float) and asked <= ctx.clock.now().timestamp():
        return max(due_at, datetime.fromtimestamp(asked, UTC))
    return due_at
