"""What a person does to an incident, from wherever it comes: read the row, make one move, write it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from responder import incidents
from responder.errors import Conflict
from responder.metrics import Metrics
from responder.model import EpisodeChange, Incident, Move, Severity
from responder.ports import Clock, Store
from responder.rules import RuleSet

TRIES = 10


class People:
    """Acknowledge, resolve, raise and note; each gives the incident as it then stands, None when there is none."""

    def __init__(self, store: Store, rules: Callable[[], RuleSet], clock: Clock, metrics: Metrics) -> None:
        """Keep the parts."""
        self._store, self._rules, self._clock, self._metrics = store, rules, clock, metrics

    async def acknowledge(self, number: int, person: str) -> Incident | None:
        """Take it: the acknowledge clock stops."""

        def act(move: Move, incident: Incident) -> Incident:
            taken = incidents.acknowledged(move, incident, person, self._clock.now())
            waited.clear()
            if taken is not incident and incident.page_at is not None:
                waited.append((incident.severity, (self._clock.now() - incident.page_at).total_seconds()))
            return taken

        waited: list[tuple[Severity, float]] = []
        found = await self._act(number, act)
        for severity, seconds in waited:
            self._metrics.ack.labels(severity).observe(max(0.0, seconds))
        return found

    async def resolve(self, number: int, person: str, why: str = "") -> Incident | None:
        """End it by a person's word. An alert that is our own ends with it: nobody else would end it."""
        now = self._clock.now()
        own: list[int] = []

        async def look() -> None:
            record = await self._store.record(number)
            own[:] = [each["id"] for each in record["episodes"] if each["firing"] and each["source"] == "responder"]

        def act(move: Move, incident: Incident) -> Incident:
            over = incidents.resolved(move, incident, person, why, now)
            took.clear()
            if over is incident:
                return incident
            move.joined += [EpisodeChange(each, now, 0, ended_at=now) for each in own]
            took.append((over.severity, (now - over.opened_at).total_seconds()))
            return replace(over, firing=max(0, over.firing - len(own)))

        took: list[tuple[Severity, float]] = []
        found = await self._act(number, act, look)
        for severity, seconds in took:
            self._metrics.resolve.labels(severity).observe(max(0.0, seconds))
        return found

    async def raise_to(self, number: int, person: str, to: Severity) -> Incident | None:
        """Raise the severity; one that is not worse changes nothing."""
        policy = self._rules().policy

        def act(move: Move, incident: Incident) -> Incident:
            if incident.status.ended:
                return incident  # it would page, and nobody would watch it
            why, now = f"by {person}", self._clock.now()
            mention = policy.mention_for(incident, now, to)
            return incidents.raised(move, incident, to, why, mention, policy.of(to).channel, now)

        return await self._act(number, act)

    async def note(self, number: int, person: str, text: str) -> Incident | None:
        """Add a line to the record and the thread."""

        def act(move: Move, incident: Incident) -> Incident:
            incidents.noted(move, incident, person, text[:2000], self._clock.now())
            return incident

        return await self._act(number, act)

    async def _act(
        self, number: int, act: Callable[[Move, Incident], Incident], look: Callable[[], Awaitable[None]] | None = None
    ) -> Incident | None:
        """Make the move anew whenever its incident has changed meanwhile. Raises: StoreError, Conflict at last."""
        for _ in range(TRIES):
            incident = await self._store.incident(number)
            if incident is None:
                return None
            if look is not None:
                await look()
            move = Move()
            changed = act(move, incident)
            if changed is not incident:
                move.changed.append(changed)
            try:
                await self._store.commit(move)
            except Conflict:
                continue
            return await self._store.incident(number)
        raise Conflict(f"INC-{number} changed {TRIES} times meanwhile; try again")
