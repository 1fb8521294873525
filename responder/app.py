"""The composition root: the only place that knows every part. Opens them, runs them until told to stop, closes them."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
from pydantic import BaseModel

import responder
from responder import llm
from responder.agent.chain import Breaker, Budget, ChainParts, chain
from responder.agent.watch import Watch
from responder.config import Settings, read_section
from responder.config import secrets as find_secrets
from responder.engine import RunFn
from responder.errors import ConfigError, StoreError
from responder.handbook import Handbook, Places, read_handbook
from responder.metrics import Metrics
from responder.model import Incident
from responder.plugins import Chosen, Parts, choose, open_parts
from responder.ports import Chat, Clock, Ids, Model, Receiver, Surroundings, Tool
from responder.redact import Redactor
from responder.rules import RuleSet
from responder.store.sqlite import SqliteStore, open_sqlite
from responder.web.api import IncidentApi
from responder.web.door import Door
from responder.web.guard import Guard
from responder.web.server import Health, open_server
from responder.workers.doctor import Doctor
from responder.workers.heartbeat import Heartbeat
from responder.workers.inbox import Inbox
from responder.workers.mirror import MirrorChat
from responder.workers.outbox import Outbox
from responder.workers.people import People
from responder.workers.reconcile import Reconcile
from responder.workers.reload import Reload
from responder.workers.runs import Runs

MAX_BODY = 64 << 20  # aiohttp's own cap; each receiver's is checked at the door
LAG_EVERY_S = 0.5
TRIM_EVERY_S = 60.0
log = structlog.stdlib.get_logger("app")


class SystemClock:
    """The real time."""

    def now(self) -> datetime:
        """Aware UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that never jump."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


class SystemIds:
    """Real randomness, drawn from the system in blocks: one call a request would show in the intake's figures."""

    def __init__(self) -> None:
        """Start with an empty block."""
        self._block = ""

    def token(self) -> str:
        """Twelve unguessable characters."""
        if not self._block:
            self._block = secrets.token_urlsafe(9 * 400)
        token, self._block = self._block[:12], self._block[12:]
        return token

    def fraction(self) -> float:
        """A number in [0, 1)."""
        return secrets.randbelow(1 << 53) / (1 << 53)


def shipped(name: str) -> Path:
    """Find `rules`, `runbooks` or `deploy` as they came with us: inside a wheel, or beside the package in a checkout.

    Raises: ConfigError: the installation is incomplete.
    """
    package = Path(responder.__file__).parent
    for folder in (package / "shipped" / name, package.parent / name):
        if folder.is_dir():
            return folder
    raise ConfigError(f"the shipped folder {name!r} is missing; install responder again")


def places(settings: Settings) -> Places:
    """Say where rules and runbooks are read from."""
    return Places(settings.rules, settings.runbooks, shipped("rules"), shipped("runbooks"))


def read_files(settings: Settings) -> Handbook:
    """Read rules and runbooks; what is wrong with them is in the log too."""
    found = read_handbook(places(settings))
    for error in found.errors:
        log.error("rules and runbooks", error=str(error))
    for warning in found.warnings:
        log.warning("rules and runbooks", warning=warning)
    if found.rules.degraded:
        log.error("the rules are not usable; everything pages as P1")
    return found


@dataclass(slots=True)
class _LateStore:
    """Takes what integrations submit to our own inbox; they are opened before there is one."""

    clock: Clock
    ids: Ids
    store: SqliteStore | None = None

    async def submit(self, receiver: str, body: bytes) -> None:
        """Accept a body as if it had been sent. Raises: StoreError."""
        if self.store is None:
            raise StoreError("the store is not open yet")
        await self.store.accept(receiver, body, at=self.clock.now(), request_id=self.ids.token(), webhook_id="")


@dataclass(slots=True)
class Overrides:
    """What a test or the demo puts in place of the real thing; None leaves it."""

    clock: Clock | None = None
    ids: Ids | None = None
    tools: Mapping[str, Tool] | None = None
    model: Model | None = None
    tick_s: float = 1.0
    guard: Guard | None = None
    chats: Mapping[str, Chat] | None = None


@dataclass(frozen=True, slots=True)
class Daemon:
    """A running daemon, as its starter sees it."""

    port: int
    store: SqliteStore
    people: People
    metrics: Metrics
    reload: Reload


def guarded(settings: Settings, receivers: Mapping[str, Receiver]) -> None:
    """Refuse to listen beyond this machine with a door that anybody could use. Raises: ConfigError."""
    if settings.loopback:
        return
    open_doors = [name for name, receiver in receivers.items() if not receiver.guarded]
    if open_doors:
        raise ConfigError(
            f"listen: {settings.listen} is reachable from outside and receivers.{open_doors[0]} has no secret;"
            f" set receivers.{open_doors[0]}.token, or listen on 127.0.0.1"
        )


async def run(
    settings: Settings,
    stop: asyncio.Event,
    *,
    ready: Callable[[Daemon], None] = lambda _: None,
    overrides: Overrides | None = None,
    hangup: asyncio.Event | None = None,
) -> None:
    """Open the parts, work until `stop`, drain, close the parts in reverse order; `hangup` asks for a reload.

    Raises: ConfigError, StoreError, OSError: what keeps it from starting, or the store breaking under way.
    """
    over = overrides or Overrides()
    clock, ids = over.clock or SystemClock(), over.ids or SystemIds()
    files = read_files(settings)
    chosen = choose(settings)
    llm_settings = read_section(llm.Settings, "llm", settings.llm)
    assert isinstance(llm_settings, llm.Settings)
    broken: list[str] = []
    async with AsyncExitStack() as opened:
        late = _LateStore(clock, ids)
        around = Surroundings(clock, ids, settings.base_url, late.submit)
        parts = await opened.enter_async_context(open_parts(chosen, around))
        guarded(settings, parts.receivers)
        if over.chats is not None:
            parts = replace(parts, chats=over.chats)
        tools = parts.tools if over.tools is None else over.tools
        model = over.model or await opened.enter_async_context(llm.open_model(llm_settings, clock))
        metrics = _metrics(parts, tools, llm_settings)

        def on_broken(why: str) -> None:
            broken.append(why)
            stop.set()

        store = await opened.enter_async_context(
            open_sqlite(
                settings.sqlite_path,
                clock,
                chats=list(parts.chats),
                mirrors=list(parts.mirrors),
                on_commit=metrics.commit.observe,
                on_broken=on_broken,
            )
        )
        late.store = store
        redactor = Redactor(secrets_of(chosen, llm_settings, settings))
        reload = Reload(places(settings), files, store, clock, ids, metrics, watch_s=settings.watch_s, hangup=hangup)
        opened.callback(reload.close)
        wired = _Wired(settings, reload, store, parts, metrics, clock, ids, redactor)
        kinds = wired.kinds(tools, model, llm_settings)
        doctor = Doctor(clock, metrics)
        watchers: list[Heartbeat | Reconcile] = [
            Heartbeat(store, list(parts.receivers), late.submit, clock, doctor, reload.rules),
            *(Reconcile(each, store, late.submit, clock, metrics, doctor.missed) for each in parts.truths.values()),
        ]
        door = Door(parts.receivers, store, clock, ids, metrics, doctor.knocked)
        people = People(store, reload.rules, clock, metrics)
        api = IncidentApi(store, people, settings.api, metrics, reload, doctor.as_dict)
        server = open_server(
            settings.host, settings.port, door, api, Health(store, metrics, clock), max_body=MAX_BODY, guard=over.guard
        )
        port = await opened.enter_async_context(server)
        ready(Daemon(port, store, people, metrics, reload))
        await wired.work(stop, door, kinds, over.tick_s, doctor, watchers)
    if broken:
        raise StoreError(f"the disk failed under the store: {broken[0]}; restart after looking at it")


def _metrics(parts: Parts, tools: Mapping[str, Tool], llm_settings: llm.Settings) -> Metrics:
    return Metrics(
        receivers=list(parts.receivers),
        chats=[*parts.chats, *parts.mirrors],
        tools=list(tools),
        models=sorted(set(llm_settings.tiers().values())),
        rules=(),  # those in force come with `Reload`
        version=responder.__version__,
    )


@dataclass(frozen=True, slots=True)
class _Wired:
    """The parts that the workers share."""

    settings: Settings
    reload: Reload
    store: SqliteStore
    parts: Parts
    metrics: Metrics
    clock: Clock
    ids: Ids
    redactor: Redactor

    def rules(self) -> RuleSet:
        """The rules in force."""
        return self.reload.rules()

    def hold_s(self, incident: Incident) -> float:
        """How long a recovery must hold: the runbook's longest `for`, else the policy's."""
        runbook = self.reload.library().runbooks.get(incident.runbook)
        own = [each.for_s for each in runbook.recovery if each.for_s is not None] if runbook else []
        return max(own) if own else self.rules().policy.hold_s(incident.severity)

    def kinds(self, tools: Mapping[str, Tool], model: Model | None, llm_settings: llm.Settings) -> dict[str, RunFn]:
        """The two runs of an incident."""
        thinking = ChainParts(
            model=model,
            no_model="no model key is configured",
            tools=tools,
            library=self.reload.library,
            rules=self.rules,
            record=self.store.record,
            spent_today=self.spent_today,
            budget=Budget(
                llm_settings.budget.incident_usd, llm_settings.budget.day_usd, llm_settings.budget.p0_reserve_usd
            ),
            breaker=Breaker(),
            clock=self.clock,
            ids=self.ids,
            metrics=self.metrics,
            redactor=self.redactor,
            hold_s=self.hold_s,
            tiers=llm_settings.tiers(),
            prices=llm_settings.dearest_usd(),
        )
        return {"watch": Watch(self.rules, self.hold_s, self.metrics).run(), "chain": chain(thinking)}

    async def spent_today(self) -> float:
        """What the models have cost today (UTC), over all incidents."""
        return await self.store.counter("spent_usd", f"{self.clock.now():%Y-%m-%d}")

    async def work(
        self, stop: asyncio.Event, door: Door, kinds: Mapping[str, RunFn], tick_s: float, doctor: Doctor,
        watchers: Sequence[Heartbeat | Reconcile],
    ) -> None:  # fmt: skip
        """Run the workers until `stop`; what they have begun has `drain_s` to finish, what only watches is cut."""
        inbox = Inbox(self.store, self.parts.receivers, self.rules, self.clock, doctor.body)
        chats: dict[str, Chat] = dict(self.parts.chats)
        chats |= {name: MirrorChat(name, mirror) for name, mirror in self.parts.mirrors.items()}
        outbox = Outbox(self.store, chats, self.rules, self.clock, self.metrics, self.redactor)
        runs = Runs(self.store, kinds, self.clock, tick_s=tick_s)
        tasks = [
            asyncio.create_task(inbox.run(stop), name="inbox"),
            asyncio.create_task(outbox.run(stop), name="outbox"),
            asyncio.create_task(runs.run(stop), name="runs"),
            asyncio.create_task(self.reload.run(stop), name="reload"),
        ]
        beside = [asyncio.create_task(self._lag(), name="lag"), asyncio.create_task(self._trim(), name="trim")]
        beside += [asyncio.create_task(each.run(stop), name=type(each).__name__.lower()) for each in watchers]
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([*tasks, stopped], return_when=asyncio.FIRST_COMPLETED)
            door.closing = True
            stop.set()
            _, late = await asyncio.wait(tasks, timeout=self.settings.drain_s)
            if late:
                log.warning("stopping before all is finished", late=[task.get_name() for task in late])
        finally:
            for task in [*tasks, *beside, stopped]:
                task.cancel()
            ended = await asyncio.gather(*tasks, *beside, stopped, return_exceptions=True)
        for outcome in ended:
            if isinstance(outcome, Exception):
                raise outcome

    async def _lag(self) -> None:
        """Measure how late the loop wakes us."""
        while True:
            before = self.clock.monotonic()
            await self.clock.sleep(LAG_EVERY_S)
            self.metrics.loop_lag.set(max(0.0, self.clock.monotonic() - before - LAG_EVERY_S))

    async def _trim(self) -> None:
        """Forget bodies that are moved and old."""
        while True:
            await self.clock.sleep(TRIM_EVERY_S)
            before = self.clock.now() - timedelta(seconds=self.settings.keep_bodies_s)
            try:
                while await self.store.trim(before=before, limit=500) == 500:  # noqa: PLR2004 - the limit, met
                    await self.clock.sleep(0.05)
            except StoreError as error:
                log.error("old bodies not forgotten", error=str(error))


def secrets_of(chosen: Sequence[Chosen], llm_settings: BaseModel, settings: Settings) -> set[str]:
    """Find every secret that the settings hold, for redaction."""
    from_parts = {secret for each in chosen for secret in find_secrets(each.settings)}
    return from_parts | find_secrets(llm_settings) | find_secrets(settings)


@asynccontextmanager
async def running(settings: Settings, overrides: Overrides | None = None) -> AsyncIterator[Daemon]:
    """Run a daemon beside the caller, for tests and the demo; stops it at exit and raises what it raised."""
    stop, started = asyncio.Event(), asyncio.get_running_loop().create_future()
    task = asyncio.create_task(run(settings, stop, ready=started.set_result, overrides=overrides), name="daemon")
    await asyncio.wait([task, started], return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        await task
    try:
        yield await started
    finally:
        stop.set()
        await task
