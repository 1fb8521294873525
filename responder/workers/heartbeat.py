"""Pages when what must always fire has stopped: the Watchdog of a monitoring system that may be blind, or dead.

Absence is counted on the monotonic clock from the beat's last arrival as this process saw it, at first from our own
start: a clock that is set, or a time when we were down ourselves, is nobody's silence.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta

import orjson
import structlog

from responder.errors import StoreError
from responder.model import Alert, Beat, Move, News, identify
from responder.ports import Clock, Store, Submit
from responder.rules import RuleSet
from responder.workers.doctor import Doctor
from responder.workers.inbox import wait_any

TICK_S = 15.0
GRACE_S = 60.0  # after our start, on top of the beat's own time
AGAIN_S = 300.0  # how often an absence is told again: what a person resolved by mistake comes back
FORGOTTEN_AFTER = timedelta(days=7)
PAGE = 500
NAME = "WatchdogMissing"
PLACES = ("cluster", "region", "env", "environment", "datacenter", "dc", "tenant", "prometheus", "job")
ADVICE = """Likely causes, in this order:
1. Prometheus or Alertmanager is down, or cannot reach each other or us. Then nothing else pages: look there first.
2. The alert's rule or its route to us was removed.
3. The route's repeat_interval is longer than {within}. Give it a route of its own:
   routes:
     - matchers: ['alertname="{name}"']
       receiver: responder
       group_wait: 0s
       group_interval: 1m
       repeat_interval: 5m"""
log = structlog.stdlib.get_logger("heartbeat")


@dataclass(slots=True)
class _Heard:
    """The last beat, and when it came or when we began to wait, on the monotonic clock. `live`: heard in this life."""

    at: datetime
    on_s: float
    live: bool


class Heartbeat:
    """The worker over all heartbeats of the store."""

    def __init__(
        self, store: Store, receivers: Collection[str], submit: Submit, clock: Clock, doctor: Doctor,
        rules: Callable[[], RuleSet],
    ) -> None:  # fmt: skip
        """Keep the parts; waiting begins now. `rules` say what is a heartbeat, and within what time it must come."""
        self._rules = rules
        self._store, self._receivers, self._submit = store, receivers, submit
        self._clock, self._doctor = clock, doctor
        self._from_s = clock.monotonic() + GRACE_S
        self._heard: dict[str, _Heard] = {}
        self._raised: dict[str, tuple[dict[str, str], float]] | None = None  # key -> its alert's labels, told when

    async def run(self, stop: asyncio.Event) -> None:
        """Look every 15 s until `stop`."""
        while not stop.is_set():
            try:
                await self.once()
            except StoreError as error:
                log.error("heartbeats wait for the store", error=str(error))
            except Exception:
                log.exception("heartbeats cannot be looked at")
            await wait_any(stop, stop, seconds=TICK_S)

    async def once(self) -> None:
        """Look once. Raises: StoreError."""
        beats = await self._store.beats()
        if self._raised is None:
            self._raised = await self._raised_before()
        known = {beat.key for beat in beats}
        for each in beats:
            beat = await self._expected(each, known)
            if beat is None:
                continue
            absent_s = self._absent_s(beat)
            if absent_s <= beat.within_s:
                await self._back(beat)
            elif self._clock.now() - beat.at > FORGOTTEN_AFTER:
                await self._forget(beat)
            else:
                await self._missing(beat)

    async def _expected(self, beat: Beat, known: Collection[str]) -> Beat | None:
        """Give a heartbeat as the rules in force expect it; None when they expect none.

        One whose rule is gone is waited for no longer. One that is named otherwise now keeps its time under that name.
        Rules of last resort say nothing of heartbeats.
        """
        rules = self._rules()
        if rules.degraded:
            return None
        decision = rules.classify(Alert("", "", beat.labels, {}, True, beat.at))
        if decision.heartbeat_s is None:
            log.info("no longer a heartbeat by the rules in force", heartbeat=beat.key)
            await self._end(beat)
            return None
        found = replace(beat, key=decision.group_key, rule=decision.rule, within_s=decision.heartbeat_s)
        if found.key == beat.key:
            return found
        if found.key not in known:
            await self._store.commit(Move(beats=[found]))
            if beat.key in self._heard:
                self._heard[found.key] = self._heard[beat.key]
        await self._end(beat)
        return None if found.key in known else found

    def _absent_s(self, beat: Beat) -> float:
        """Count from the beat's arrival, but never from before we could hear it."""
        heard, now_s = self._heard.get(beat.key), self._clock.monotonic()
        if heard is None:
            heard = self._heard[beat.key] = _Heard(beat.at, max(now_s, self._from_s), now_s > self._from_s)
        elif heard.at != beat.at:
            self._doctor.beat(beat, (beat.at - heard.at).total_seconds())
            heard = self._heard[beat.key] = _Heard(beat.at, now_s, True)
        return now_s - heard.on_s

    async def _raised_before(self) -> dict[str, tuple[dict[str, str], float]]:
        """Find what an earlier life of ours has paged for, so that its end can be told."""
        found: dict[str, tuple[dict[str, str], float]] = {}
        after = 0
        while page := await self._store.firing(after, PAGE):
            after = page[-1].id
            for each in page:
                if each.source == "responder" and each.labels.get("alertname") == NAME:
                    found[each.labels.get("heartbeat", "")] = (dict(each.labels), self._clock.monotonic())
        return found

    async def _missing(self, beat: Beat) -> None:
        """Raise the alert, and again every few minutes as any sender repeats what fires."""
        assert self._raised is not None
        labels, told_s = self._raised.get(beat.key, ({}, None))
        now_s = self._clock.monotonic()
        if told_s is not None and now_s - told_s < AGAIN_S:
            return
        if told_s is None:
            labels = await self._labels(beat)
            log.error("a heartbeat is missing", heartbeat=beat.key, last=beat.at.isoformat(timespec="seconds"))
        await self._say({"alerts": [{"labels": labels, "annotations": _annotations(beat)}]})
        self._raised[beat.key] = (labels, now_s)

    async def _back(self, beat: Beat) -> None:
        """End the alert, if there is one."""
        assert self._raised is not None
        if beat.key in self._raised and self._heard[beat.key].live:
            labels, _ = self._raised[beat.key]
            log.info("a heartbeat is back", heartbeat=beat.key)
            await self._say({"alerts": [{"labels": labels, "annotations": {}, "resolved": True}]})
            del self._raised[beat.key]

    async def _forget(self, beat: Beat) -> None:
        """Wait for it no longer, and say so where its absence was told."""
        assert self._raised is not None
        labels, _ = self._raised.get(beat.key, ({}, 0.0))
        text = f"{_name(beat)} has been absent for {FORGOTTEN_AFTER.days} days; it is forgotten until it comes again."
        log.warning("a heartbeat is forgotten", heartbeat=beat.key, last=beat.at.isoformat(timespec="seconds"))
        if labels:
            said = News(identify("responder", labels), "responder", "told", "", text)
            await self._say({"news": [asdict(said)]})
        await self._end(beat)

    async def _end(self, beat: Beat) -> None:
        """Wait for it no longer, and end the alert of its absence."""
        assert self._raised is not None
        if beat.key in self._raised:
            labels, _ = self._raised[beat.key]
            await self._say({"alerts": [{"labels": labels, "annotations": {}, "resolved": True}]})
            del self._raised[beat.key]
        await self._store.stop_beat(beat.key)
        self._heard.pop(beat.key, None)

    async def _labels(self, beat: Beat) -> dict[str, str]:
        """Say which heartbeat, of whom, and where."""
        names = {identify(name, beat.labels): name for name in self._receivers}
        found = await self._store.episodes(list(names))
        receiver = next((names[identity] for identity in found), "unknown")
        places = {name: beat.labels[name] for name in PLACES if name in beat.labels}
        return {"alertname": NAME, "receiver": receiver, "rule": beat.rule, "heartbeat": beat.key, **places}

    async def _say(self, body: Mapping[str, object]) -> None:
        await self._submit("responder", orjson.dumps(body))


def _name(beat: Beat) -> str:
    return beat.labels.get("alertname", "the heartbeat")


def _annotations(beat: Beat) -> dict[str, str]:
    within = f"{beat.within_s / 60:g} min"
    return {
        "summary": f"{_name(beat)} has not come for {within}; the last was at {beat.at:%Y-%m-%d %H:%M:%S} UTC",
        "description": ADVICE.format(within=within, name=_name(beat)),
    }
