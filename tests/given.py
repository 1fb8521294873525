"""What many tests begin with: a clock turned by hand, rules, alerts and bodies, a store over a file, a strict chat."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from responder import pipeline
from responder.agent.watch import Watch
from responder.engine import RunFn, carry
from responder.integrations.alertmanager import Alertmanager, Settings
from responder.integrations.responder import Own
from responder.metrics import Metrics, unaccounted
from responder.model import (
    HEARD,
    Alert,
    Decision,
    Episode,
    Incident,
    Marker,
    Message,
    Move,
    Muted,
    News,
    Run,
    Severity,
    identify,
)
from responder.ports import Budget, Receiver
from responder.rules import Policy, Rule, RuleSet, SeverityPolicy
from responder.rules.matchers import parse
from responder.rules.rule import Raise, SeverityFrom
from responder.store.sqlite import SqliteStore, open_sqlite
from responder.story import View
from responder.workers.inbox import Inbox
from responder.workers.people import People

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
P0, P1, P2, P3 = Severity.P0, Severity.P1, Severity.P2, Severity.P3


class FakeClock:
    """Time turned by hand; who sleeps wakes when it is turned far enough."""

    def __init__(self, now: datetime = NOW) -> None:
        self.at = now
        self.passed = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.passed

    async def sleep(self, seconds: float) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.passed + seconds, woken))
        await woken

    def turn(self, seconds: float = 0.0, *, minutes: float = 0.0, hours: float = 0.0) -> datetime:
        """Let time pass."""
        by = seconds + 60 * minutes + 3600 * hours
        self.at += timedelta(seconds=by)
        self.passed += by
        for due, woken in self._sleepers:
            if due <= self.passed and not woken.done():
                woken.set_result(None)
        self._sleepers = [each for each in self._sleepers if not each[1].done()]
        return self.at

    def step(self, seconds: float) -> None:
        """Set the wall clock, as an administrator does: no time passes."""
        self.at += timedelta(seconds=seconds)


class FakeIds:
    """Counts instead of drawing."""

    def __init__(self) -> None:
        self._n = 0

    def token(self) -> str:
        self._n += 1
        return f"token{self._n}"

    def fraction(self) -> float:
        return 0.5


def after(seconds: float = 0.0, *, minutes: float = 0.0, hours: float = 0.0) -> datetime:
    """Give the time so long after NOW."""
    return NOW + timedelta(seconds=seconds, minutes=minutes, hours=hours)


# --- rules -----------------------------------------------------------------------------------------------------------


def rule(name: str, *match: str, severity: Severity | SeverityFrom = P2, **more: Any) -> Rule:
    """Give a rule with these matchers."""
    return Rule(name, tuple(matcher for text in match for matcher in parse(text)), severity, **more)


BY_LABEL = SeverityFrom("severity", {"critical": P1, "warning": P2, "info": P3, "outage": P0}, P2)
POLICY = Policy(
    {
        P0: SeverityPolicy("here", 900, 300, next=("user:A", "user:B"), channel="#major", chain="outage"),
        P1: SeverityPolicy("user:FIRST", 1800, 900, next=("user:SECOND",), chain="outage"),
        P2: SeverityPolicy("", 3600, 3600, chain="degraded"),
        P3: SeverityPolicy("", None, None, chain="minor"),
    }
)
RULES = RuleSet(
    (
        rule(
            "api",
            'alertname=~"Api.*"',
            severity=BY_LABEL,
            group_by=("cluster",),
            channel="#api",
            systems=("service",),
            raises=(
                Raise(P1, "value", 25, where="annotation", name="users"),
                Raise(P1, "distinct", 3, name="instance"),
                Raise(P0, "count", 10),
            ),
        ),
        rule(
            "slow", 'alertname="Slow"', severity=P2, raises=(Raise(P1, "open_for", 1800), Raise(P0, "open_for", 3600))
        ),
        rule("wide", 'alertname=~"Wide.*"', severity=P3, group_by=("alertname",), channel="#wide", goes_on=True),
        rule("wide-page", 'page="yes"', severity=P1, channel="#pagers", goes_on=True),
        rule("wide-too", 'team="db"', severity=P3, channel="#db"),
        rule("label", 'severity=~".+"', severity=BY_LABEL),
    ),
    POLICY,
)


# --- alerts and bodies -----------------------------------------------------------------------------------------------


def alert(
    name: str = "Api",
    *,
    firing: bool = True,
    started: datetime | None = NOW,
    ended: datetime | None = None,
    received: datetime = NOW,
    annotations: Mapping[str, str] | None = None,
    **labels: str,
) -> Alert:
    """Give one alert as a receiver would."""
    named = {"alertname": name, "cluster": "eu", **labels}
    return Alert(
        "alertmanager", identify("alertmanager", named), named, annotations or {}, firing, received, started, ended
    )


def entry(
    name: str = "Api",
    *,
    firing: bool = True,
    started: datetime | None = NOW,
    ended: datetime | None = None,
    annotations: Mapping[str, str] | None = None,
    **labels: str,
) -> dict[str, Any]:
    """Give one element of a body, as Alertmanager writes it."""
    element: dict[str, Any] = {
        "status": "firing" if firing else "resolved",
        "labels": {"alertname": name, "cluster": "eu", **labels},
        "annotations": dict(annotations or {}),
        "generatorURL": "",
        "fingerprint": "0123456789abcdef",
        "endsAt": "0001-01-01T00:00:00Z" if ended is None else rfc3339(ended),
    }
    if started is not None:
        element["startsAt"] = rfc3339(started)
    return element


def body(
    *elements: object,
    group: str = "{}:{}",
    status: str = "firing",
    truncated: int = 0,
    sender: str = "http://am-0:9093",
) -> bytes:
    """Give a whole webhook body of version 4."""
    whole = {
        "receiver": "responder", "status": status, "alerts": list(elements), "groupLabels": {}, "commonLabels": {},
        "commonAnnotations": {}, "externalURL": sender, "version": "4", "groupKey": group, "truncatedAlerts": truncated,
    }  # fmt: skip
    return json.dumps(whole).encode() + b"\n"


def rfc3339(at: datetime) -> str:
    """Give a time as Go writes it."""
    return at.isoformat().replace("+00:00", "Z")


# --- the pipeline alone ----------------------------------------------------------------------------------------------


def moved(
    *alerts: Alert,
    episodes: Sequence[Episode] = (),
    incidents: Sequence[Incident] = (),
    now: datetime = NOW,
    rules: RuleSet = RULES,
    muted: Mapping[str, Muted] | None = None,
    heartbeat_s: float | None = None,
    news: Sequence[News] = (),
    twins: Mapping[tuple[str, str], int] | None = None,
) -> Move:
    """Give the move of these alerts, the store holding these rows; `muted` is by the alert's name."""
    decisions: list[Decision | None] = [
        replace(rules.classify(each), muted=(muted or {}).get(each.name, HEARD), heartbeat_s=heartbeat_s)
        if each.firing
        else None
        for each in alerts
    ]
    view = View(
        {each.identity: each for each in episodes},
        {each.group_key: each for each in sorted(incidents, key=lambda one: one.id)},
        {each.id: each for each in incidents},
        twins or {},
    )
    return pipeline.move(alerts, decisions, view, rules, now, news)


def pages(move: Move) -> int:
    """Count the pages of a move: a head for each incident opened, and what is shown in the channel too."""
    return len(move.opened) + sum(1 for post in move.posts if post.kind == "page")


# --- the store and what works on it ----------------------------------------------------------------------------------


@asynccontextmanager
async def opened(
    path: Path, clock: FakeClock, *, chats: Sequence[str] = ("fake",), mirrors: Sequence[str] = ()
) -> AsyncIterator[SqliteStore]:
    """Open a store over a file."""
    broken: list[str] = []
    async with open_sqlite(
        path, clock, chats=chats, mirrors=mirrors, on_commit=lambda _: None, on_broken=broken.append
    ) as store:
        yield store
    assert not broken


def new_metrics(rules: RuleSet = RULES, receivers: Sequence[str] = ("alertmanager", "responder")) -> Metrics:
    """Give fresh metrics for these receivers and one chat."""
    names = [each.name for each in rules.rules] + [rules.backstop.name]
    return Metrics(
        receivers=list(receivers), chats=["fake"], tools=["prometheus.query"], models=["m"], rules=names,
        version="0",
    )  # fmt: skip


@dataclass
class House:
    """A store with the workers that tests turn by hand."""

    path: Path
    store: SqliteStore
    clock: FakeClock
    rules: RuleSet
    receivers: dict[str, Receiver]
    inbox: Inbox
    people: People
    metrics: Metrics
    kinds: dict[str, RunFn] = field(default_factory=dict)

    async def accept(self, raw: bytes, receiver: str = "alertmanager", webhook_id: str = "") -> bool:
        """Take one body in, as the door does."""
        return await self.store.accept(receiver, raw, at=self.clock.now(), request_id="r", webhook_id=webhook_id)

    async def settle(self) -> None:
        """Move all that waits, what we say of ourselves included."""
        while await self.inbox.once():
            pass

    async def post(self, *elements: object, **more: Any) -> None:
        """Take in one body and move it."""
        assert await self.accept(body(*elements, **more))
        await self.settle()

    async def incident(self, number: int = 1) -> Incident:
        """Give one incident, which must be there."""
        found = await self.store.incident(number)
        assert found is not None
        return found

    async def all_incidents(self) -> list[Incident]:
        """Give all incidents, oldest first."""
        return (await self.store.incidents(before=None, statuses=[], severities=[], limit=1000))[::-1]

    async def unaccounted(self) -> float:
        """Give the figure that must be 0."""
        return unaccounted(await self.store.figures())

    async def figure(self, name: str, label: str = "") -> float:
        """Give one figure."""
        return (await self.store.figures()).get((name, label), 0.0)

    async def posts(self, number: int, *kinds: str) -> list[dict[str, Any]]:
        """Give an incident's posts of these kinds, or all."""
        record = await self.store.record(number)
        return [each for each in record["posts"] if not kinds or each["kind"] in kinds]

    async def carry_due(self, kind: str = "watch") -> int:
        """Carry every due run of a kind as far as it goes."""
        due = [run for run in await self.store.due_runs(self.clock.now(), 1000) if run.kind == kind]
        for run in due:
            await carry(run, self.kinds[kind], self.store, self.clock)
        return len(due)

    def sql(self, query: str, *values: object) -> list[Any]:
        """Ask the file directly."""
        with closing(sqlite3.connect(self.path)) as connection:
            return connection.execute(query, values).fetchall()


@asynccontextmanager
async def house(
    folder: Path, *, clock: FakeClock | None = None, rules: RuleSet = RULES, more: Mapping[str, Receiver] | None = None,
    chats: Sequence[str] = ("fake",), hold_s: float = 300.0, mirrors: Sequence[str] = (),
) -> AsyncIterator[House]:  # fmt: skip
    """Open a store in a folder with an inbox, people and a watch over it; again over the same folder is a restart."""
    clock = clock or FakeClock()
    path = folder / "responder.db"
    receivers: dict[str, Receiver] = {"alertmanager": Alertmanager(Settings()), "responder": Own(), **(more or {})}
    metrics = new_metrics(rules, list(receivers))
    async with opened(path, clock, chats=chats, mirrors=mirrors) as store:
        yield House(
            path, store, clock, rules, receivers, Inbox(store, receivers, lambda: rules, clock),
            People(store, lambda: rules, clock, metrics), metrics,
            {"watch": Watch(lambda: rules, lambda _: hold_s, metrics).run()},
        )  # fmt: skip


async def first_run(given: House, kind: str = "watch") -> Run:
    """Give the due run of a kind."""
    return next(run for run in await given.store.due_runs(given.clock.now(), 100) if run.kind == kind)


# --- a chat ----------------------------------------------------------------------------------------------------------


@dataclass
class Said:
    """One message that the chat shows."""

    channel: str
    ts: str
    thread_ts: str
    broadcast: bool
    marker: Marker
    message: Message
    edits: list[Message] = field(default_factory=list)


class StrictChat:
    """A chat that refuses what a real one would: an unknown thread, an edit of nothing, a channel that is not there.

    `faults` are raised by the next calls, one each; None lets a call pass. `lost` ones are raised after the message has
    arrived. `looks` are raised by `find`.
    """

    name = "fake"
    channel = "#default"
    budget: Budget | None = None

    def __init__(self) -> None:
        self.said: list[Said] = []
        self.faults: list[Exception | None] = []
        self.lost: list[BaseException | None] = []
        self.looks: list[Exception | None] = []
        self.refused: dict[str, Exception] = {}
        self.looked = 0

    async def post(
        self, message: Message, *, channel: str, thread_ts: str, broadcast: bool, marker: Marker
    ) -> tuple[str, str]:
        assert channel, "a message needs a channel"
        fault = self.faults.pop(0) if self.faults else None
        if fault is not None:
            raise fault
        if channel in self.refused:
            raise self.refused[channel]
        where = self.id_of(channel)
        known = {(said.channel, said.ts) for said in self.said if not said.thread_ts}
        assert not thread_ts or (where, thread_ts) in known, f"no thread {thread_ts} in {channel}"
        assert not broadcast or thread_ts, "only a reply can be broadcast"
        ts = f"{len(self.said) + 1}.0"
        self.said.append(Said(where, ts, thread_ts, broadcast, marker, message))
        late = self.lost.pop(0) if self.lost else None
        if late is not None:
            raise late
        return where, ts

    async def edit(self, message: Message, *, channel: str, ts: str, marker: Marker) -> None:
        fault = self.faults.pop(0) if self.faults else None
        if fault is not None:
            raise fault
        found = [said for said in self.said if (said.channel, said.ts) == (channel, ts)]
        assert found, f"nothing to edit at {channel} {ts}"
        found[0].edits.append(message)

    async def find(self, marker: Marker, *, channel: str, thread_ts: str, since: datetime) -> tuple[str, str] | None:
        self.looked += 1
        fault = self.looks.pop(0) if self.looks else None
        if fault is not None:
            raise fault
        return next(((said.channel, said.ts) for said in self.said if said.marker == marker), None)

    async def permalink(self, *, channel: str, ts: str) -> str:
        return ""

    @staticmethod
    def id_of(channel: str) -> str:
        """Give a channel's id, as real chats answer with."""
        return channel if channel.startswith("C") else f"C{channel.lstrip('#').upper()}"

    def texts(self) -> list[str]:
        """Give what was said, as title or body."""
        return [said.message.title or said.message.body for said in self.said]
