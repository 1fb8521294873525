"""Compares what fires here with what fires at the sender, and sets right what a webhook has not told.

    it fires there, not here      what was missed is opened, by a body as the sender's own webhook would have been
    it fires here, not there      it ends only if the sender lacked it for minutes, has itself been up for as long, and
                                  the place where alerts are made says that it does not fire; else it stays open and
                                  its thread says that nobody confirms it
    it is held back there         it stays open, and its thread says why nobody hears of it

A sender that restarts forgets, so its silence alone proves nothing. What was read is kept in memory: after a restart
of ours all waiting begins anew, and nothing ends early.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

import orjson
import structlog

from responder.errors import PermanentError, StoreError, TransientError
from responder.metrics import Metrics
from responder.model import Alert, Episode, News, identify
from responder.ports import Clock, Past, Standing, Store, Submit, Truth
from responder.workers.inbox import wait_any

FIRST_WAIT_S, LOOK_EVERY_S = 20.0, 0.2  # for the inbox to be moved, at the start
AGAIN_S, SELDOM_S = 60.0, 3600.0  # between two tries to open the same alert; doubles up to the second
BEAT_S = 60.0  # a heartbeat younger than this needs no help
PAGE = 500  # episodes a read
BODY = 500  # alerts in a body of ours
AT_ONCE = 500  # episodes asked about in one round
NAMED = 10  # alerts named in a line of the log
TEST_ALERT = "ResponderTest"  # of `responder fire`: no Alertmanager has it
log = structlog.stdlib.get_logger("reconcile")

OnMissed = Callable[[str, datetime, datetime, Sequence[Past]], None]


@dataclass(frozen=True, slots=True)
class _Gone:
    """When a sender was first read without an alert, on both clocks."""

    at: datetime
    on_s: float


@dataclass(slots=True)
class _Seen:
    """What is remembered of one sender between two reads."""

    missing: dict[str, float] = field(default_factory=dict)  # identity -> first read with it and without an episode
    tried: dict[str, tuple[int, float]] = field(default_factory=dict)  # identity -> times submitted, when next
    gone: dict[str, _Gone] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)  # identity -> the state that its thread was told
    started: bool = False
    reachable: bool = True


class Reconcile:
    """The worker for one sender."""

    def __init__(
        self, truth: Truth, store: Store, submit: Submit, clock: Clock, metrics: Metrics, on_missed: OnMissed
    ) -> None:
        """Keep the parts."""
        self._truth, self._store, self._submit, self._clock = truth, store, submit, clock
        self._metrics, self._on_missed = metrics, on_missed
        self._seen = _Seen()

    async def run(self, stop: asyncio.Event) -> None:
        """Compare until `stop`, first when the inbox is moved; sooner than usual when an alert's turn comes sooner."""
        for _ in range(int(FIRST_WAIT_S / LOOK_EVERY_S)):
            if stop.is_set() or not await self._waiting():
                break
            await self._clock.sleep(LOOK_EVERY_S)
        while not stop.is_set():
            wait_s = self._truth.every_s
            try:
                wait_s = await self.once()
            except StoreError as error:
                log.error("reconciliation waits for the store", error=str(error))
            except Exception:
                log.exception("reconciliation failed", sender=self._truth.name)
            await wait_any(stop, stop, seconds=wait_s)

    async def once(self) -> float:
        """Compare once; gives in how many seconds to look again. Raises: StoreError."""
        standing = await self._standing()
        if standing is None:
            return self._truth.every_s
        waiting = await self._waiting()
        firing = {each.identity: each for each in await self._firing()}
        opened, wait_s = await self._open(standing, firing)
        await self._help_beats(standing)
        closed = 0 if waiting else await self._close(standing, firing)  # what waits may be news of just these
        await self._say_held_back(standing, firing)
        await self._look_back(firing)
        if not opened and not closed:
            self._metrics.reconciled.labels("agreed").inc()
        return wait_s

    async def _standing(self) -> Standing | None:
        """Ask the sender; None when it cannot be asked, which is logged once."""
        try:
            standing = await self._truth.standing()
        except (TransientError, PermanentError) as error:
            self._metrics.reconciled.labels("unreachable").inc()
            if self._seen.reachable:
                log.warning("sender cannot be asked; nothing is opened or ended for it", error=str(error))
            self._seen.reachable = False
            return None
        if not self._seen.reachable:
            log.info("sender can be asked again", sender=self._truth.name)
        self._seen.reachable = True
        return standing

    async def _waiting(self) -> bool:
        try:
            return (await self._store.figures()).get(("waiting", ""), 0.0) > 0
        except StoreError:
            return True

    async def _firing(self) -> list[Episode]:
        """Read all episodes of this sender that fire."""
        found: list[Episode] = []
        after = 0
        while page := await self._store.firing(after, PAGE):
            after = page[-1].id
            found += [each for each in page if each.source == self._truth.name]
        return found

    # --- it fires there, not here ---

    async def _open(self, standing: Standing, firing: Mapping[str, Episode]) -> tuple[int, float]:
        """Submit what was missed and has had its turn; gives how many, and when to look again."""
        lacking = {each.identity: each for each in standing.alerts if each.identity not in firing}
        seen, now_s = self._seen, self._clock.monotonic()
        seen.missing = {identity: seen.missing.get(identity, now_s) for identity in lacking}
        seen.tried = {identity: tries for identity, tries in seen.tried.items() if identity in lacking}
        left_s = {identity: self._left_s(alert) for identity, alert in lacking.items()}
        due = [alert for identity, alert in lacking.items() if left_s[identity] <= 0 and self._may_try(identity)]
        for at in range(0, len(due), BODY):
            await self._submit(self._truth.name, self._truth.body(due[at : at + BODY], "missed"))
        for alert in due:
            times = seen.tried.get(alert.identity, (0, 0.0))[0]
            seen.tried[alert.identity] = (times + 1, now_s + min(SELDOM_S, AGAIN_S * 2**times))
        if due:
            self._metrics.reconciled.labels("opened").inc(len(due))
            log.warning("alerts fired there and not here: opened", sender=self._truth.name, alerts=_named(due))
        waits = [wait_s for wait_s in left_s.values() if wait_s > 0]
        return len(due), min([self._truth.every_s, *waits])

    def _left_s(self, alert: Alert) -> float:
        """How long the sender's own webhook still has its turn. A start in the future says nothing."""
        since_seen_s = self._clock.monotonic() - self._seen.missing[alert.identity]
        started = alert.started_at
        since_start_s = (self._clock.now() - started).total_seconds() if started else 0.0
        return self._truth.missed_after_s - max(since_seen_s, since_start_s)

    def _may_try(self, identity: str) -> bool:
        return self._seen.tried.get(identity, (0, 0.0))[1] <= self._clock.monotonic()

    async def _help_beats(self, standing: Standing) -> None:
        """Let a heartbeat count that the sender has just heard, though its webhook comes seldom."""
        fresh = {each.identity: each for each in standing.alerts if each.identity in standing.fresh}
        now, helped = self._clock.now(), []
        for beat in await self._store.beats():
            alert = fresh.get(identify(self._truth.name, beat.labels))
            if alert is not None and (now - beat.at).total_seconds() > min(BEAT_S, beat.within_s / 4):
                helped.append(alert)
        if helped:
            await self._submit(self._truth.name, self._truth.body(helped, "heartbeat"))

    # --- it fires here, not there ---

    async def _close(self, standing: Standing, firing: Mapping[str, Episode]) -> int:
        """End what is surely over; gives how many."""
        lacking = self._absent(standing, firing)
        due = [each for each in lacking if self._long_gone(each, standing)][:AT_ONCE]
        if not due:
            return 0
        doubts = await self._truth.doubts(due)
        await self._say(_states(due, {identity: _unconfirmed(why) for identity, why in doubts.items()}), "unconfirmed")
        sure = await self._unchanged([each for each in due if each.identity not in doubts])
        if not sure:
            return 0
        await self._say(_states(sure, {each.identity: self._over(each) for each in sure}), "closed")
        for at in range(0, len(sure), BODY):
            ended = [_ended(each, self._seen.gone[each.identity].at) for each in sure[at : at + BODY]]
            await self._submit(self._truth.name, self._truth.body(ended, "ended without a webhook"))
        log.warning("alerts had ended and no webhook said so", sender=self._truth.name, alerts=_named(sure))
        return len(sure)

    def _absent(self, standing: Standing, firing: Mapping[str, Episode]) -> list[Episode]:
        """Keep the book of what is gone since when; news from elsewhere begins the wait anew."""
        there = {each.identity for each in standing.alerts}
        self._seen.said = {key: said for key, said in self._seen.said.items() if key in firing and key not in there}
        lacking = [each for key, each in firing.items() if key not in there and key not in standing.muted]
        lacking = [each for each in lacking if each.labels.get("alertname") != TEST_ALERT]
        known = {each.identity: self._seen.gone.get(each.identity) for each in lacking}
        self._seen.gone = {
            each.identity: gone
            for each in lacking
            if (gone := known[each.identity]) is not None and each.received_at <= gone.at
        }
        if not standing.whole:  # the silent peer may have it
            return []
        now = _Gone(self._clock.now(), self._clock.monotonic())
        self._seen.gone = {each.identity: self._seen.gone.get(each.identity, now) for each in lacking}
        return lacking

    def _long_gone(self, episode: Episode, standing: Standing) -> bool:
        """Whether two reads far enough apart lacked it, of a sender that was up all the while."""
        gone_s = self._clock.monotonic() - self._seen.gone[episode.identity].on_s
        return min(gone_s, standing.up_s or 0.0) >= self._truth.gone_after_s

    async def _unchanged(self, episodes: Sequence[Episode]) -> list[Episode]:
        """Read again, after the questions: news may have come meanwhile."""
        found = (await self._store.episodes([each.identity for each in episodes])).values()
        return [each for each in found if each.firing and each.received_at <= self._seen.gone[each.identity].at]

    def _over(self, episode: Episode) -> str:
        since = self._seen.gone[episode.identity].at
        return f"has ended: not there since {since:%H:%M:%S} UTC, and it does not fire where it is made"

    async def _say_held_back(self, standing: Standing, firing: Mapping[str, Episode]) -> None:
        held = {
            identity: f"stays open, but it is {why}: nobody would be told of it from there"
            for identity, why in standing.muted.items()
            if identity in firing
        }
        await self._say(_states([firing[identity] for identity in held], held), "")

    async def _say(self, states: Sequence[tuple[Episode, str]], outcome: str) -> None:
        """Tell each incident once an episode and state, in one line however many episodes it has.

        What is muted has no thread yet: it is told once it has one.
        """
        fresh = [(each, state) for each, state in states if self._seen.said.get(each.identity) != state]
        fresh = [(each, state) for each, state in fresh if each.incident is not None or outcome == "closed"]
        lines: dict[tuple[int, str], list[Episode]] = {}
        for each, state in fresh:
            if each.incident is not None:
                lines.setdefault((each.incident, state), []).append(each)
        news = [
            News(named[0].identity, self._truth.name, "told", "", f"{_named(named)} {state}.")
            for (_, state), named in lines.items()
        ]
        if news:
            await self._submit("responder", orjson.dumps({"news": [asdict(each) for each in news]}))
        self._seen.said |= {each.identity: state for each, state in fresh}
        if fresh and outcome:
            self._metrics.reconciled.labels(outcome).inc(len(fresh))

    # --- what nobody saw ---

    async def _look_back(self, firing: Mapping[str, Episode]) -> None:
        """Say what fired and ended between the last read, perhaps of an earlier life of ours, and this one."""
        now, name = self._clock.now(), self._truth.name
        last = await self._store.counter("truth_read_at", name)
        if last and (not self._seen.started or now.timestamp() - last > 3 * self._truth.every_s):
            since = datetime.fromtimestamp(last, UTC)
            passed = await self._truth.passed(since, now) or ()
            unseen = [past for past in passed if not any(_may_be(past, each) for each in firing.values())]
            if unseen:
                self._metrics.reconciled.labels("missed").inc(len(unseen))
                names = ", ".join(sorted({past.labels.get("alertname", "") for past in unseen})[:NAMED])
                log.warning(
                    f"{len(unseen)} alerts fired and ended while nobody looked", sender=name, alerts=names,
                    since=since.isoformat(timespec="seconds"),
                )  # fmt: skip
                self._on_missed(name, since, now, unseen)
        self._seen.started = True
        await self._store.mark("truth_read_at", name, now.timestamp())


def _states(episodes: Sequence[Episode], states: Mapping[str, str]) -> list[tuple[Episode, str]]:
    return [(each, states[each.identity]) for each in episodes if each.identity in states]


def _unconfirmed(why: str) -> str:
    return f"is not confirmed: no longer there for us, but {why}; it stays open"


def _ended(episode: Episode, at: datetime) -> Alert:
    """Say that an episode has ended when it was first not there; its start lies before."""
    return Alert(
        episode.source, episode.identity, episode.labels, episode.annotations, False, at,
        started_at=episode.started_at, ended_at=max(at, episode.started_at), generator_url=episode.generator_url,
    )  # fmt: skip


def _may_be(past: Past, episode: Episode) -> bool:
    return all(episode.labels.get(name) == value for name, value in past.labels.items())


def _named(alerts: Sequence[Alert] | Sequence[Episode]) -> str:
    """Name a few alerts, each name once."""
    names = list(dict.fromkeys(each.labels.get("alertname", "unnamed alert") for each in alerts))
    more = f" and {len(names) - NAMED} more names" if len(names) > NAMED else ""
    count = f" ({len(alerts)} alerts)" if len(alerts) > 1 else ""
    return ", ".join(names[:NAMED]) + more + count
