"""Moves accepted bodies into episodes and incidents (T2), in order, in chunks of at most 200 alerts.

A body byte-equal to the last one of its group, none of whose episodes changed since, is not read again: it only counts
its entries. Alertmanager repeats itself, and in a storm this is most of the work.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import blake2b

import orjson
import structlog

from responder import pipeline
from responder.errors import Conflict, Rejected, StoreError
from responder.model import Alert, BadEntry, Cursor, Decision, Decoded, Episode, EpisodeChange, InboxRow, Move, News
from responder.ports import Clock, Receiver, Store
from responder.rules import RuleSet
from responder.story import View
from responder.workers.judge import Judge

CHUNK = 200  # alerts a transaction
READ = 256  # bodies a read
SLICE_S = 0.002  # how long the loop may be ours before requests get their turn
GATHER_S = 0.01  # between two small reads: a burst is moved in fewer, larger transactions
TRUSTED_S = 60.0  # how long a repeat is believed to change nothing
MAX_KNOWN = 1024
LARGE_BYTES = 256 << 10
UNMUTE_EVERY_S = 5.0
REFUSED_S = 3600.0  # before an alert that could not be unmuted is tried again
RECOMPUTED = 16  # times that a chunk is made anew when a row has changed meanwhile
log = structlog.stdlib.get_logger("inbox")


@dataclass(slots=True)
class _Known:
    """The last body of a group: its identities, its episodes and the entries that each takes in, and its counters."""

    digest: bytes
    identities: frozenset[str]
    episodes: list[tuple[int, int]]
    counts: Counter[tuple[str, str]]
    until: float
    revision: str  # of the rules that judged it


@dataclass(slots=True)
class _Chunk:
    """What one transaction will hold."""

    alerts: list[Alert] = field(default_factory=list)
    identities: set[str] = field(default_factory=set)
    bad: list[tuple[str, BadEntry]] = field(default_factory=list)
    news: list[News] = field(default_factory=list)
    repeats: Counter[tuple[str, str]] = field(default_factory=Counter)  # group -> times
    bodies: int = 0
    cursor: Cursor = field(default_factory=Cursor)
    learned: list[tuple[tuple[str, str], bytes, Sequence[Alert]]] = field(default_factory=list)


class Inbox:
    """The one inbox worker of a store."""

    def __init__(
        self, store: Store, receivers: Mapping[str, Receiver], rules: Callable[[], RuleSet], clock: Clock,
        heard: Callable[[InboxRow, Decoded], None] = lambda _row, _decoded: None,
    ) -> None:  # fmt: skip
        """Keep the parts; nothing is remembered that the store does not hold, but for recognising repeats.

        `heard` is told each body that was decoded.
        """
        self._heard = heard
        self._store, self._receivers, self._rules, self._clock = store, receivers, rules, clock
        self._judge = Judge(store, rules, clock)
        self._unmute_at = 0.0  # monotonic
        self._known: dict[tuple[str, str], _Known] = {}
        self._by_digest: dict[bytes, tuple[str, str]] = {}
        self._of_identity: dict[str, set[tuple[str, str]]] = {}
        self._slice_began = 0.0
        self._decoder = ThreadPoolExecutor(1, thread_name_prefix="decoder")
        self._refused: dict[str, float] = {}  # identities that cannot be unmuted -> until when that is not tried again
        self._size = CHUNK  # 1 while we look for an alert that the store refuses

    async def run(self, stop: asyncio.Event) -> None:
        """Move bodies until `stop`; a failing store is waited for, not run from."""
        bell = self._store.bell("inbox")
        while not stop.is_set():
            bell.clear()
            try:
                moved = await self.once()
            except Rejected as error:
                log.error("the store refuses a chunk; its alerts are written one by one", error=str(error))
                if self._size == 1:  # and it is none of its alerts
                    await self._clock.sleep(1.0)
                self._size = 1
                continue
            except StoreError as error:
                log.error("inbox waits for the store", error=str(error))
                await self._clock.sleep(1.0)
                continue
            except Exception:
                log.exception("a chunk cannot be moved; its alerts are written one by one")
                if self._size == 1:  # and it is none of its alerts
                    await self._clock.sleep(1.0)
                self._size = 1
                continue
            if not moved:
                await wait_any(bell, stop, seconds=UNMUTE_EVERY_S)
            elif moved < READ // 2:
                await self._clock.sleep(GATHER_S)

    async def once(self) -> int:
        """Move what waits now; gives how many bodies."""
        cursor = await self._store.cursor()
        await self._unmute(cursor)
        rows = await self._store.waiting(cursor.seq, READ)
        self._slice_began = self._clock.monotonic()
        chunk = _Chunk(cursor=cursor)
        for row in rows:
            chunk = await self._take(chunk, row, cursor.entries if row is rows[0] else 0)
        await self._commit(chunk)
        self._size = CHUNK
        return len(rows)

    async def _unmute(self, cursor: Cursor) -> None:
        """Open what was muted and fires on: its window is over, or what muted it has ended."""
        if self._clock.monotonic() < self._unmute_at:
            return
        now_s = self._clock.monotonic()
        self._unmute_at = now_s + UNMUTE_EVERY_S
        self._refused = {identity: until_s for identity, until_s in self._refused.items() if until_s > now_s}
        try:
            while alerts := await self._judge.unmuted(self._size, self._breathe, self._refused.keys()):
                chunk = _Chunk(list(alerts), {alert.identity for alert in alerts}, cursor=cursor)
                await self._commit(chunk)
                if not chunk.alerts:  # it is in quarantine, which pages, and still muted: nothing waits behind it
                    self._refused[alerts[0].identity] = now_s + REFUSED_S
        except Exception as error:
            if self._size > 1 and not _passing(error):
                self._unmute_at = now_s  # at once, one by one
            raise

    async def _take(self, chunk: _Chunk, row: InboxRow, skip: int) -> _Chunk:
        """Add one body to the chunk; a full chunk is written and a new one begun."""
        digest = blake2b(row.body, digest_size=16).digest()
        if not skip and self._repeated(chunk, row, digest):
            chunk.bodies += 1
            chunk.cursor = Cursor(row.seq, 0)
            return chunk
        decoded = await self._decoded(row)
        self._heard(row, decoded)
        before = chunk.cursor.seq
        taken = skip
        for alert in decoded.alerts[skip:]:
            if len(chunk.alerts) >= self._size or alert.identity in chunk.identities:
                chunk.cursor = Cursor(before, taken)
                chunk = await self._commit(chunk)
            chunk.alerts.append(alert)
            chunk.identities.add(alert.identity)
            taken += 1
            await self._breathe()
        if any(said.identity in chunk.identities for said in decoded.news):  # of what this chunk only now opens
            chunk.cursor = Cursor(before, taken)
            chunk = await self._commit(chunk)
        chunk.news += decoded.news
        chunk.identities.update(said.identity for said in decoded.news)
        chunk.bad += [(row.receiver, bad) for bad in decoded.bad]
        chunk.bodies += 1
        chunk.cursor = Cursor(row.seq, 0)
        whole = len(decoded.alerts) <= len(chunk.alerts)
        if decoded.group_key and decoded.alerts and not (decoded.bad or decoded.news or skip) and whole:
            chunk.learned.append(((row.receiver, decoded.sender + decoded.group_key), digest, decoded.alerts))
        await self._breathe()
        return chunk

    def _repeated(self, chunk: _Chunk, row: InboxRow, digest: bytes) -> bool:
        group = self._by_digest.get(digest)
        if group is None or group[0] != row.receiver:
            return False
        known = self._known.get(group)
        if known is None or known.digest != digest or known.until < self._clock.monotonic():
            return False
        if known.revision != self._rules().revision:
            return False
        if not known.identities.isdisjoint(chunk.identities):  # news of them is not written yet
            return False
        chunk.repeats[group] += 1
        return True

    async def _decoded(self, row: InboxRow) -> Decoded:
        """Decode a large body on a thread of its own: megabytes of JSON would hold up every request."""
        if len(row.body) < LARGE_BYTES:
            return self._decode(row)
        return await asyncio.get_running_loop().run_in_executor(self._decoder, self._decode, row)

    def _decode(self, row: InboxRow) -> Decoded:
        receiver = self._receivers.get(row.receiver)
        if receiver is None:
            return Decoded((), (BadEntry(f"receiver {row.receiver!r} is no longer configured", row.body, 0),))
        try:
            return receiver.decode(row.body, row.received_at)
        except Exception as error:
            log.exception("decoder failed", receiver=row.receiver, request=row.request_id)
            return Decoded((), (BadEntry(f"our decoder failed: {type(error).__name__}", row.body, 0),))

    async def _commit(self, chunk: _Chunk) -> _Chunk:
        """Write the chunk; a row that changed meanwhile is read again and all is recomputed."""
        if not chunk.bodies and not chunk.alerts:
            return _Chunk(cursor=chunk.cursor)
        for left in reversed(range(RECOMPUTED)):
            try:
                move, changed = await self._move(chunk)
                await self._store.commit(move)
                break
            except Conflict as conflict:
                log.info("inbox recomputes", reason=str(conflict))
                if not left:
                    raise
            except Exception as error:  # refused by the store, or a fault of ours over this one alert
                if _passing(error) or len(chunk.alerts) != 1 or self._size != 1 or not left:
                    raise
                self._refuse(chunk, str(error) if isinstance(error, Rejected) else type(error).__name__)
        self._forget(changed)
        await self._learn(chunk)
        self._slice_began = self._clock.monotonic()
        return _Chunk(cursor=chunk.cursor)

    async def _move(self, chunk: _Chunk) -> tuple[Move, set[str]]:
        """Make the move of a chunk, and name the identities that it changes by more than a count."""
        rules, now = await self._judge.rules(), self._clock.now()
        episodes = await self._episodes(chunk)
        decisions = await self._judge.decide(rules, chunk.alerts, episodes, self._breathe)
        view = await self._view(chunk, decisions, episodes)
        for alert, decision in zip(chunk.alerts, decisions, strict=True):
            episode = view.episodes.get(alert.identity)
            if decision is not None and (episode is None or not episode.firing):
                rules.reasons(alert, decision)  # what the move will ask for, with a breath between
                await self._breathe()
        move = pipeline.move(chunk.alerts, decisions, view, rules, now, chunk.news)
        identities = {episode.id: identity for identity, episode in view.episodes.items()}
        changed = {identities[change.id] for change in move.joined if _changes(change)}
        changed |= {new.alert.identity for new in move.episodes}
        for group, times in chunk.repeats.items():
            known = self._known[group]
            move.joined += [EpisodeChange(number, now, entries * times) for number, entries in known.episodes]
            for name, n in known.counts.items():
                move.counts[name] += n * times
        self._quarantine(move, chunk)
        move.cursor = chunk.cursor
        move.counts["bodies", ""] += chunk.bodies
        return move, changed

    async def _episodes(self, chunk: _Chunk) -> dict[str, Episode]:
        named = {*(alert.identity for alert in chunk.alerts), *(said.identity for said in chunk.news)}
        return await self._store.episodes(list(named)) if named else {}

    async def _view(self, chunk: _Chunk, decisions: Sequence[Decision | None], episodes: Mapping[str, Episode]) -> View:
        if not chunk.alerts and not chunk.news:
            return View({}, {}, {})
        keys = list({decision.group_key for decision in decisions if decision is not None})
        twins = await self._store.twins(self._aliases(chunk.alerts, episodes))
        homes = {each.incident for each in episodes.values() if each.incident is not None} | set(twins.values())
        found = await self._store.groups(keys, list(homes))
        ordered = sorted(found, key=lambda each: (not each.status.ended, each.id))  # the open one stands last
        by_key = {incident.group_key: incident for incident in ordered}
        return View(episodes, by_key, {incident.id: incident for incident in found}, twins)

    def _aliases(self, alerts: Sequence[Alert], episodes: Mapping[str, Episode]) -> list[str]:
        """Name the groups of alerts that look for an incident, where another source may report them as well."""
        if len(self._receivers.keys() - {"responder"}) <= 1:
            return []
        begins = [each for each in alerts if each.alias and each.firing]
        known = {identity for identity, episode in episodes.items() if episode.firing and episode.incident is not None}
        return list({each.alias for each in begins if each.identity not in known})

    def _refuse(self, chunk: _Chunk, why: str) -> None:
        """Keep the one alert that the store will not have as it is: it must not hold up all that come behind it."""
        [alert] = chunk.alerts
        kept = orjson.dumps(
            {"labels": dict(alert.labels), "annotations": dict(alert.annotations), "firing": alert.firing}
        )
        log.error("alert quarantined: the store refuses it", alert=alert.name, error=why)
        chunk.bad.append((alert.source, BadEntry(f"the store refuses {alert.name}: {why}", kept, alert.entries)))
        chunk.alerts.clear()
        chunk.identities.clear()
        chunk.learned.clear()

    def _quarantine(self, move: Move, chunk: _Chunk) -> None:
        """Keep what could not be read, and raise one alert a receiver that says so."""
        for receiver, bad in chunk.bad:
            move.quarantined.append((receiver, bad, self._clock.now()))
            move.counts["entries", ""] += bad.entries
            move.counts["bodies_unread", ""] += bad.entries == 0 and chunk.bodies > 0  # else it was unmuted, not sent
        loud = {name: bad.reason for name, bad in reversed(chunk.bad) if name != "responder" and not bad.quiet}
        for receiver, reason in loud.items():
            labels = {"alertname": "UnreadableAlert", "receiver": receiver}
            said = {"summary": f"{receiver} sent what cannot be read: {reason}", "reason": reason}
            move.internal.append(("responder", orjson.dumps({"alerts": [{"labels": labels, "annotations": said}]})))

    def _forget(self, changed: set[str]) -> None:
        """Stop believing in repeats whose episodes have changed."""
        for identity in changed:
            for group in tuple(self._of_identity.get(identity, ())):
                self._drop(group)

    def _drop(self, group: tuple[str, str]) -> None:
        known = self._known.pop(group, None)
        if known is not None:
            self._by_digest.pop(known.digest, None)
            for identity in known.identities:
                groups = self._of_identity.get(identity, set())
                groups.discard(group)
                if not groups:
                    self._of_identity.pop(identity, None)

    async def _learn(self, chunk: _Chunk) -> None:
        """Remember each group's last body, with its episodes as they now stand."""
        if not chunk.learned:
            return
        last = {group: (digest, alerts) for group, digest, alerts in chunk.learned}
        wanted = list({alert.identity for _, alerts in last.values() for alert in alerts})
        episodes = await self._store.episodes(wanted)
        rules = self._rules()
        for group, (digest, alerts) in last.items():
            found = [(alert, episodes.get(alert.identity)) for alert in alerts]
            self._drop(group)
            # Only a body whose alerts all stand as it says can be told by its bytes alone.
            if any(each is None or each.firing != alert.firing or each.muted for alert, each in found):
                continue
            if len(self._known) >= MAX_KNOWN:
                self._drop(next(iter(self._known)))
            entries = Counter(episode.id for _, episode in found if episode is not None)
            decisions = [rules.classify(alert) for alert in alerts if alert.firing]
            if any(each.heartbeat_s is not None for each in decisions):  # each beat is to be noted
                continue
            counts = _counts(alerts, decisions)
            until = self._clock.monotonic() + TRUSTED_S
            identities = frozenset(alert.identity for alert in alerts)
            self._known[group] = _Known(digest, identities, list(entries.items()), counts, until, rules.revision)
            self._by_digest[digest] = group
            for identity in identities:
                self._of_identity.setdefault(identity, set()).add(group)

    async def _breathe(self) -> None:
        """Let requests have their turn: a chunk is work, an unanswered sender is a fault."""
        if self._clock.monotonic() - self._slice_began >= SLICE_S:
            await asyncio.sleep(0)
            self._slice_began = self._clock.monotonic()


def _passing(error: Exception) -> bool:
    """Whether it is the store's fault for now, not that of what was to be written."""
    return isinstance(error, StoreError) and not isinstance(error, Rejected)


def _changes(change: EpisodeChange) -> bool:
    return change.ended_at is not None or change.reopen or change.started_at is not None or change.incident is not None


def _counts(alerts: Sequence[Alert], decisions: Sequence[Decision]) -> Counter[tuple[str, str]]:
    """The ledger's counters that one repeat of these alerts adds to."""
    counts: Counter[tuple[str, str]] = Counter()
    for alert in alerts:
        counts["entries", ""] += alert.entries
        counts["alerts", f"{alert.source}/{'firing' if alert.firing else 'resolved'}"] += alert.entries
        if not alert.firing:
            counts["stale", ""] += alert.entries
    for alert, decision in zip([each for each in alerts if each.firing], decisions, strict=True):
        counts["rule_hits", decision.rule] += alert.entries
    return counts


async def wait_any(bell: asyncio.Event, stop: asyncio.Event, *, seconds: float) -> None:
    """Wait for either event, at most so long."""
    waits = [asyncio.ensure_future(bell.wait()), asyncio.ensure_future(stop.wait())]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
