"""Carries durable runs: loads what is due from rows, takes it as far as it goes, parks it again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from functools import partial

import structlog

from responder.engine import RunFn, carry
from responder.errors import StoreError
from responder.model import Run
from responder.ports import Clock, Store
from responder.workers.inbox import wait_any

SLICE = 50  # runs a look: recovery of thousands goes in slices
AT_ONCE = {"watch": 32, "chain": 8}
MAX_FAILURES = 5  # in a row, for a chain; a watch is never given up
log = structlog.stdlib.get_logger("runs")


class Runs:
    """The runner of one store. `kinds` says which function a kind of run is."""

    def __init__(self, store: Store, kinds: Mapping[str, RunFn], clock: Clock, *, tick_s: float = 1.0) -> None:
        """Keep the parts; `tick_s` is how often timers are looked at."""
        self._store, self._kinds, self._clock, self._tick_s = store, kinds, clock, tick_s
        self._busy: dict[int, tuple[str, asyncio.Task[None]]] = {}
        self._failures: dict[int, int] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Carry runs until `stop`; what is under way is cancelled then: its finished steps are in the journal."""
        bell = self._store.bell("runs")
        while not stop.is_set():
            bell.clear()
            try:
                begun = await self._begin()
            except StoreError as error:
                log.error("runs wait for the store", error=str(error))
                begun = 0
            if not begun:
                await wait_any(bell, stop, seconds=self._tick_s)
            else:
                await asyncio.sleep(0)
        for _, task in self._busy.values():
            task.cancel()
        await asyncio.gather(*(task for _, task in self._busy.values()), return_exceptions=True)

    async def _begin(self) -> int:
        begun = 0
        for run in await self._store.due_runs(self._clock.now(), SLICE + len(self._busy)):
            if run.id in self._busy or self._count(run.kind) >= AT_ONCE.get(run.kind, 1):
                continue
            task = asyncio.create_task(self._carry(run), name=f"{run.kind} INC-{run.incident}")
            self._busy[run.id] = (run.kind, task)
            task.add_done_callback(partial(self._done, run.id))
            begun += 1
        return begun

    def _done(self, number: int, _task: asyncio.Task[None]) -> None:
        self._busy.pop(number, None)

    def _count(self, kind: str) -> int:
        return sum(1 for busy, _ in self._busy.values() if busy == kind)

    async def _carry(self, run: Run) -> None:
        with structlog.contextvars.bound_contextvars(incident=f"INC-{run.incident}", run=f"{run.kind}-{run.n}"):
            fn = self._kinds.get(run.kind)
            try:
                if fn is None:
                    await self._store.finish(run, state="failed", result="unknown kind", at=self._clock.now())
                    return
                await carry(run, fn, self._store, self._clock)
                self._failures.pop(run.id, None)
            except Exception as error:
                log.exception("run failed", error=str(error))
                await self._put_off(run, error)

    async def _put_off(self, run: Run, error: Exception) -> None:
        failures = self._failures[run.id] = self._failures.get(run.id, 0) + 1
        try:
            if run.kind != "watch" and failures >= MAX_FAILURES:
                await self._store.finish(run, state="failed", result=str(error), at=self._clock.now())
                return
            until = self._clock.now() + timedelta(seconds=min(60, 2**failures))
            await self._store.park(run, until=until, seen=1 << 62)
        except StoreError as failure:
            log.error("run not put off", error=str(failure))
            await self._clock.sleep(1.0)
