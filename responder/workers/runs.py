"""Carries durable runs: loads what is due from rows, takes it as far as it goes, parks it again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial

import structlog

from responder.engine import Gate, RunFn, carry
from responder.errors import StoreError
from responder.model import Message, Move, Post, Run, Severity, TimelineEntry
from responder.ports import Clock, Store
from responder.workers.inbox import wait_any

SLICE = 50  # runs a look: recovery of thousands goes in slices
AT_ONCE = {"watch": 32, "chain": 8}  # of one severity: slow chains of minor incidents keep no worse one waiting
MAX_FAILURES = 5  # in a row, for a chain; a watch is never given up, and no run for a fault of the store
_Pot = tuple[str, Severity]  # what shares one limit
log = structlog.stdlib.get_logger("runs")


class Runs:
    """The runner of one store. `kinds` says which function a kind of run is."""

    def __init__(self, store: Store, kinds: Mapping[str, RunFn], clock: Clock, *, tick_s: float = 1.0) -> None:
        """Keep the parts; `tick_s` is how often timers are looked at."""
        self._store, self._kinds, self._clock, self._tick_s = store, kinds, clock, tick_s
        self._busy: dict[int, tuple[_Pot, asyncio.Task[None]]] = {}
        self._failures: dict[int, int] = {}
        self._gate = Gate()

    async def run(self, stop: asyncio.Event) -> None:
        """Carry runs until `stop`; steps under way end then, and no other begins: finished ones are in the journal."""
        bell = self._store.bell("runs")
        try:
            while not stop.is_set():
                bell.clear()
                try:
                    begun = await self._begin()
                except StoreError as error:
                    log.error("runs wait for the store", error=str(error))
                    begun = 0
                except Exception:
                    log.exception("runs cannot be begun")
                    begun = 0
                if not begun:
                    await wait_any(bell, stop, seconds=self._tick_s)
                else:
                    await asyncio.sleep(0)
            await self._gate.shut()
        finally:
            for _, task in self._busy.values():
                task.cancel()
            await asyncio.gather(*(task for _, task in self._busy.values()), return_exceptions=True)

    async def _begin(self) -> int:
        begun = 0
        before = set(self._busy)  # what parks while we read is read as it was before
        for run in await self._store.due_runs(self._clock.now(), SLICE + len(before)):
            pot = (run.kind, run.severity)
            if run.id in before or self._count(pot) >= AT_ONCE.get(run.kind, 1):
                continue
            task = asyncio.create_task(self._carry(run), name=f"{run.kind} INC-{run.incident}")
            self._busy[run.id] = (pot, task)
            task.add_done_callback(partial(self._done, run.id))
            begun += 1
        return begun

    def _done(self, number: int, _task: asyncio.Task[None]) -> None:
        self._busy.pop(number, None)
        self._store.bell("runs").set()  # there is room, and a signal may have come meanwhile

    def _count(self, pot: _Pot) -> int:
        return sum(1 for busy, _ in self._busy.values() if busy == pot)

    async def _carry(self, run: Run) -> None:
        with structlog.contextvars.bound_contextvars(incident=f"INC-{run.incident}", run=f"{run.kind}-{run.n}"):
            fn = self._kinds.get(run.kind)
            try:
                if fn is None:
                    await self._store.finish(run, state="failed", result="unknown kind", at=self._clock.now())
                    return
                await carry(run, fn, self._store, self._clock, self._gate)
                self._failures.pop(run.id, None)
            except Exception as error:
                log.exception("run failed", error=str(error))
                await self._put_off(run, error)

    async def _put_off(self, run: Run, error: Exception) -> None:
        failures = self._failures[run.id] = self._failures.get(run.id, 0) + 1
        try:
            if run.kind != "watch" and failures >= MAX_FAILURES and not isinstance(error, StoreError):
                self._failures.pop(run.id)
                await self._store.commit(_given_up(run, error, self._clock.now()))
                await self._store.finish(run, state="failed", result=str(error), at=self._clock.now())
                return
            until = self._clock.now() + timedelta(seconds=min(60, 2**failures))
            await self._store.park(run, until=until, seen=1 << 62)
        except StoreError as failure:
            log.error("run not put off", error=str(failure))
            await self._clock.sleep(1.0)


def _given_up(run: Run, error: Exception, now: datetime) -> Move:
    """Tell people that nothing more comes of a run, so that they do not wait for it."""
    said = f"The {run.kind} is given up after {MAX_FAILURES} faults of its own ({type(error).__name__}); see the log."
    return Move(
        posts=[Post(run.incident, "reply", run.severity, Message(title="", body=said))],
        timeline=[TimelineEntry(run.incident, now, "fault", said)],
    )
