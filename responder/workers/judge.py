"""Decides alerts by the rules in force, and what mutes them: silences, maintenance, inhibitions, heartbeats.

It keeps in memory which firing alerts mute others, read from the store at the start and when the rules change. Time and
the end of such an alert may unmute what fires on: `unmuted` finds it, so that nothing waits for its sender's next word.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

from responder.model import Alert, Decision, Episode
from responder.ports import Clock, Store
from responder.rules import RuleSet, Sources
from responder.rules.classify import OWN_SOURCE
from responder.story import fires, remembering

PAGE = 500  # episodes read at once


class Judge:
    """The inbox worker's own: nobody else may use it meanwhile."""

    def __init__(self, store: Store, rules: Callable[[], RuleSet], clock: Clock) -> None:
        """Keep the parts; nothing is read yet."""
        self._store, self._rules, self._clock = store, rules, clock
        self._sources = Sources(())
        self._read_for: RuleSet | None = None
        self._own: set[str] = set()  # alerts of ours that mute others: people end them behind the inbox

    async def rules(self) -> RuleSet:
        """Give the rules in force, having read what fires if they are new. Raises: StoreError."""
        rules = self._rules()
        if rules is not self._read_for:
            self._sources, self._own = Sources(rules.policy.inhibitions), set()
            if rules.policy.inhibitions:
                await self._read()
            self._read_for = rules
        return rules

    async def _read(self) -> None:
        after = 0
        while page := await self._store.firing(after, PAGE):
            for each in page:
                self._add(each, each.labels.get("alertname", ""))
            after = page[-1].id

    def _add(self, each: Alert | Episode, name: str) -> None:
        self._sources.add(each.identity, each.labels, name)
        if each.source == OWN_SOURCE and each.identity in self._sources:
            self._own.add(each.identity)

    async def decide(
        self, rules: RuleSet, alerts: Sequence[Alert], episodes: Mapping[str, Episode],
        breathe: Callable[[], Awaitable[None]],
    ) -> list[Decision | None]:  # fmt: skip
        """Decide each; None for one that has ended. What mutes others is known before any is decided.

        One that fires on and tells only a part is decided by all that is known. Names that nobody has met yet may take
        the rules a while: `breathe` lets requests have their turn. Args: episodes: of these alerts' identities.
        """
        whole = [_whole(alert, episodes.get(alert.identity)) for alert in alerts]
        for alert in whole:
            if fires(alert, episodes.get(alert.identity)):  # a late copy tells of what is over
                self._add(alert, alert.name)
            else:
                self._sources.remove(alert.identity)
        now = self._clock.now()
        found: list[Decision | None] = []
        for alert in whole:
            found.append(rules.judge(alert, now, self._sources) if alert.firing else None)
            await breathe()
        return found

    async def unmuted(self, limit: int, breathe: Callable[[], Awaitable[None]], but: Collection[str]) -> list[Alert]:
        """Give alerts that were muted, fire on, and are muted no longer. They count no entries. Raises: StoreError.

        Args: but: identities to leave out.
        """
        rules, now, after = await self.rules(), self._clock.now(), 0
        await self._look_at_own()
        found: list[Alert] = []
        while len(found) < limit and (page := await self._store.muted(after, PAGE)):
            for alert in map(_again, page):
                if alert.identity not in but and not rules.judge(alert, now, self._sources).muted:
                    found.append(alert)
                await breathe()
            after = page[-1].id
        return found[:limit]

    async def _look_at_own(self) -> None:
        """An alert of ours ends with its incident, when a person resolves that: no body tells of it."""
        if not self._own:
            return
        known = await self._store.episodes(list(self._own))
        for identity in [each for each in self._own if each not in known or not known[each].firing]:
            self._sources.remove(identity)
            self._own.discard(identity)


def _whole(alert: Alert, episode: Episode | None) -> Alert:
    """Give what is known of one that fires on. One that begins anew is judged as when it first began."""
    return remembering(alert, episode) if episode is not None and episode.firing else alert


def _again(episode: Episode) -> Alert:
    """Give the alert of an episode, as if it were sent once more."""
    return Alert(
        episode.source, episode.identity, episode.labels, episode.annotations, True, episode.received_at,
        episode.started_at, generator_url=episode.generator_url, entries=0,
        ref=episode.ref, alias=episode.alias,
    )  # fmt: skip
