"""Durable runs: a function whose steps are journaled by name, so that a finished step is never done twice.

A run is an async function of a Ctx. It may be killed between any two lines: when it is loaded again it runs from its
top, finished steps answer from the journal, and it goes on where it stopped. Waiting is not a task but a row:
`sleep_until` and `wait` leave the function by `Parked`, and the run is loaded again when its timer or signal is due.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from datetime import datetime

from responder.errors import Conflict, Fenced, PermanentError
from responder.model import Done, Incident, Run
from responder.ports import Clock, Journal, Store

RECOMPUTED = 40  # times that a step's move is made anew when its incident has changed meanwhile
PATIENCE_S, MAX_PATIENCE_S = 0.001, 0.02  # between two: in a storm an incident changes with every chunk


class Parked(BaseException):
    """Leaves a run that has nothing to do until a time or a signal. Not an Exception: no handler may swallow it."""

    def __init__(self, until: datetime | None) -> None:
        """Keep until when; None waits for a signal alone."""
        super().__init__(until)
        self.until = until


class UnknownOutcome(PermanentError):
    """An action was begun and we died before hearing how it went; it is never repeated by itself, a person is asked."""


class Gate:
    """Where steps begin. Once shut none does, and those under way can end: a turn of a model is paid for by then."""

    def __init__(self) -> None:
        """Start open, with no step under way."""
        self._shut = False
        self._inside = 0
        self._empty = asyncio.Event()

    async def shut(self) -> None:
        """Let no more steps begin; wait for those under way."""
        self._shut = True
        if self._inside:
            await self._empty.wait()

    @asynccontextmanager
    async def passed(self) -> AsyncIterator[None]:
        """Do one step inside; behind a shut gate wait for the end, which comes by cancellation."""
        if self._shut:
            await asyncio.get_running_loop().create_future()
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1
            if self._shut and not self._inside:
                self._empty.set()


class Ctx:
    """What a run works with. `text` is what was pinned when it began."""

    def __init__(self, journal: Journal, store: Store, clock: Clock, gate: Gate | None = None) -> None:
        """Keep the journal in memory; each write goes to the store first."""
        self.run = journal.run
        self.clock = clock
        self._store = store
        self._gate = gate or Gate()
        self._done = dict(journal.done)
        self._wakes = dict(journal.wakes)
        self._signals = list(journal.signals)
        self.seen = max((number for number, _, _ in self._signals), default=0)

    @property
    def text(self) -> Mapping[str, object] | None:
        """The pinned chain, runbook and agents; None before `pin`."""
        return self.run.text

    async def pin(self, text: Mapping[str, object]) -> None:
        """Keep the text that this run works from, once."""
        if self.run.text is None:
            await self._store.pin(self.run, text)
            self.run = Run(
                self.run.id, self.run.incident, self.run.kind, self.run.n, self.run.epoch, text, self.run.severity
            )

    async def incident(self) -> Incident:
        """Read the incident as it stands now."""
        found = await self._store.incident(self.run.incident)
        assert found is not None, "a run's incident is never deleted"
        return found

    def finished(self, name: str) -> bool:
        """Whether a step of this name is in the journal."""
        return name in self._done

    def value(self, name: str) -> object:
        """Give what a finished step came to, None before."""
        return self._done.get(name)

    async def step(self, name: str, fn: Callable[[], Awaitable[Done]]) -> object:
        """Do `fn` once ever; its value, evidence, cost, posts and move are written together.

        When its move meets a changed incident, `fn` is asked again: a step that makes a move must be cheap to repeat.

        Raises: what `fn` raises (nothing is journaled then); Fenced.
        """
        if name in self._done:
            return self._done[name]
        async with self._gate.passed():
            return await self._step(name, fn)

    async def _step(self, name: str, fn: Callable[[], Awaitable[Done]]) -> object:
        for again in range(RECOMPUTED):
            if again:
                await asyncio.sleep(min(MAX_PATIENCE_S, PATIENCE_S * again))
            done = await fn()
            try:
                await self._store.step(self.run, name, done, self.clock.now())
            except Fenced:
                raise
            except Conflict:
                if done.move is None:
                    raise
                continue
            self._done[name] = done.value
            return done.value
        raise Conflict(f"step {name!r} of INC-{self.run.incident}: its incident changed {RECOMPUTED} times meanwhile")

    async def effect(self, name: str, act: Callable[[], Awaitable[Done]]) -> object:
        """Do an action at most once: intent, then `act`, then its outcome.

        Raises: UnknownOutcome: an earlier life began it and never wrote how it went. TypeError: it makes a move.
        """
        if name in self._done:
            return self._done[name]
        if f"{name}#intent" in self._done:
            raise UnknownOutcome(f"{name}: begun before a restart, outcome unknown; look, then decide by hand")
        async with self._gate.passed():
            return await self._effect(name, act)

    async def _effect(self, name: str, act: Callable[[], Awaitable[Done]]) -> object:
        await self._store.intent(self.run, name, self.clock.now())
        self._done[f"{name}#intent"] = None
        done = await act()
        if done.move is not None:  # a conflict would ask for the action again
            raise TypeError(f"{name}: an action makes no move; make it in a step after this one")
        await self._store.step(self.run, name, done, self.clock.now())
        self._done[name] = done.value
        return done.value

    async def sleep_until(self, name: str, at: datetime) -> None:
        """Sleep until a wall-clock time that is written once; a restart does not begin it anew."""
        until = await self._wake(name, at)
        if self.clock.now() < until:
            raise Parked(until)

    async def wait(self, name: str, topics: Collection[str], until: datetime | None) -> tuple[str, object] | None:
        """Wait for the next signal on one of `topics`; None when `until` came first. A signal is used up once."""
        if name in self._done:
            found = self._done[name]
            return (found[0], found[1]) if isinstance(found, list) else None
        deadline = await self._wake(name, until) if until is not None else None
        for index, (number, topic, value) in enumerate(self._signals):
            if topic in topics:
                await self._store.consume(self.run, name, number, [topic, value], self.clock.now())
                del self._signals[index]
                self._done[name] = [topic, value]
                return topic, value
        if deadline is None or self.clock.now() < deadline:
            raise Parked(deadline)
        await self._store.consume(self.run, name, 0, None, self.clock.now())
        self._done[name] = None
        return None

    async def drain(self) -> None:
        """Use up all signals: for a run that looks at its incident afresh each time."""
        for number, topic, value in self._signals:
            await self._store.consume(self.run, f"signal.{number}", number, [topic, value], self.clock.now())
        self._signals.clear()

    async def _wake(self, name: str, at: datetime) -> datetime:
        if name not in self._wakes:
            await self._store.wake(self.run, name, at)
            self._wakes[name] = at
        return self._wakes[name]


RunFn = Callable[[Ctx], Awaitable[object]]


async def carry(run: Run, fn: RunFn, store: Store, clock: Clock, gate: Gate | None = None) -> str:
    """Take one run as far as it goes now.

    Returns: "parked", "done", or "fenced".
    Raises: what the run's function raises; the run stays as it is.
    """
    ctx = Ctx(await store.load(run), store, clock, gate)
    try:
        result = await fn(ctx)
    except Parked as parked:
        await store.park(run, until=parked.until, seen=ctx.seen)
        return "parked"
    except Fenced:
        return "fenced"
    await store.finish(run, state="done", result=result, at=clock.now())
    return "done"
