"""Decides alerts by the rules in force, and what mutes them: silences, maintenance, inhibitions, heartbeats.

It keeps in memory which firing alerts mute others, read from the store at the start and when the rules change. Time and
the end of such an alert may unmute what fires on: `unmuted` finds it, so that nothing waits for its sender's next word.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from responder.model import Alert, Decision, Episode
from responder.ports import Clock, Store
from responder.rules import RuleSet, Sources

PAGE = 500  # episodes read at once


class Judge:
    """The inbox worker's own: nobody else may use it meanwhile."""

    def __init__(self, store: Store, rules: Callable[[], RuleSet], clock: Clock) -> None:
        """Keep the parts; nothing is read yet."""
        self._store, self._rules, self._clock = store, rules, clock
        self._sources = Sources(())
        self._read_for: RuleSet | None = None

    async def rules(self) -> RuleSet:
        """Give the rules in force, having read what fires if they are new. Raises: StoreError."""
        rules = self._rules()
        if rules is not self._read_for:
            self._sources = Sources(rules.policy.inhibitions)
            if rules.policy.inhibitions:
                await self._read()
            self._read_for = rules
        return rules

    async def _read(self) -> None:
        after = 0
        while page := await self._store.firing(after, PAGE):
            for each in page:
                self._sources.add(each.identity, each.labels, each.labels.get("alertname", ""))
            after = page[-1].id

    async def decide(
        self, rules: RuleSet, alerts: Sequence[Alert], breathe: Callable[[], Awaitable[None]]
    ) -> list[Decision | None]:
        """Decide each; None for one that has ended. What mutes others is known before any is decided.

        Names that nobody has met yet may take the rules a while: `breathe` lets requests have their turn.
        """
        for alert in alerts:
            if alert.firing:
                self._sources.add(alert.identity, alert.labels, alert.name)
            else:
                self._sources.remove(alert.identity)
        now = self._clock.now()
        found: list[Decision | None] = []
        for alert in alerts:
            found.append(rules.judge(alert, now, self._sources) if alert.firing else None)
            await breathe()
        return found

    async def unmuted(self, limit: int) -> list[Alert]:
        """Give alerts that were muted, fire on, and are muted no longer. They count no entries. Raises: StoreError."""
        rules, now, after = await self.rules(), self._clock.now(), 0
        found: list[Alert] = []
        while len(found) < limit and (page := await self._store.muted(after, PAGE)):
            found += [alert for alert in map(_again, page) if not rules.judge(alert, now, self._sources).muted]
            after = page[-1].id
        return found[:limit]


def _again(episode: Episode) -> Alert:
    """Give the alert of an episode, as if it were sent once more."""
    return Alert(
        episode.source, episode.identity, episode.labels, episode.annotations, True, episode.received_at,
        episode.started_at, generator_url=episode.generator_url, entries=0,
    )  # fmt: skip
