"""Every Protocol on one page: what the middle of the house asks of its edges."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from pydantic import BaseModel, Field

from responder.model import (
    Alert,
    Beat,
    Cursor,
    Decoded,
    Done,
    Episode,
    InboxRow,
    Incident,
    Marker,
    Message,
    Move,
    OutboxPost,
    Run,
    Severity,
)
from responder.turns import ModelReply, ModelRequest, ToolResult, ToolSpec


class Clock(Protocol):
    """Time: `now` is aware UTC for records, `monotonic` is seconds for durations, `sleep` waits."""

    def now(self) -> datetime: ...
    def monotonic(self) -> float: ...
    async def sleep(self, seconds: float) -> None: ...


class Ids(Protocol):
    """Randomness: `token` is a short unguessable word, `fraction` lies in [0, 1)."""

    def token(self) -> str: ...
    def fraction(self) -> float: ...


class Receiver(Protocol):
    """One source of alerts. `max_bytes` caps a body; `authorize` judges the headers alone, before a byte is read.

    `unready`: why it cannot judge anything (its own secret is not set), or "": 503, for what is 4xx never comes again.
    `authorize` -> True, or False for 401. `verify` -> True, or False for 403: the signature; it may have to fetch a
    key, and raises TransientError when it cannot: 503. `alarms`: a refusal raises an alert: the sender soon gives up.
    `decode` never raises for content: what it cannot read it returns as `bad`. `methods` are those it is sent by;
    `id_header` holds a name that a retry of the same delivery repeats.
    """

    name: str
    max_bytes: int
    alarms: bool
    id_header: str

    @property
    def unready(self) -> str: ...
    @property
    def methods(self) -> Sequence[str]: ...

    @property
    def guarded(self) -> bool: ...
    def authorize(self, headers: Mapping[str, str]) -> bool: ...
    async def verify(self, headers: Mapping[str, str], body: bytes) -> bool: ...
    def decode(self, body: bytes, received_at: datetime) -> Decoded: ...


class Budget(BaseModel, frozen=True, extra="forbid"):
    """How much a chat lets us say: messages a second, and how many may be saved up for a burst.

    `channel` counts new messages in one channel, `chat` those of all channels together, `edits` changes in place.
    """

    channel_per_s: float = Field(gt=0)
    channel_burst: int = Field(ge=1)
    chat_per_s: float = Field(gt=0)
    chat_burst: int = Field(ge=1)
    edits_per_s: float = Field(gt=0)
    edits_burst: int = Field(ge=1)


class Chat(Protocol):
    """A place with threads. `post` -> (channel id, ts). All raise TransientError or PermanentError, nothing else.

    `find` looks for our own message by its marker; None = looked and not there. `permalink` -> URL or "".
    `budget` None: it takes whatever we say.
    """

    name: str
    channel: str

    @property
    def budget(self) -> Budget | None: ...
    async def post(
        self, message: Message, *, channel: str, thread_ts: str, broadcast: bool, marker: Marker
    ) -> tuple[str, str]: ...
    async def edit(self, message: Message, *, channel: str, ts: str, marker: Marker) -> None: ...
    async def find(
        self, marker: Marker, *, channel: str, thread_ts: str, since: datetime
    ) -> tuple[str, str] | None: ...
    async def permalink(self, *, channel: str, ts: str) -> str: ...


class Mirror(Protocol):
    """Where an alert came from and what becomes of it is told: PagerDuty. Raises TransientError or PermanentError.

    `tell` brings one post there: kind linked (the incident was joined with `ref` there: fetch what it knows, leave our
    name) | note | acknowledged | resolved; telling what is so already is no error. `told` looks for an earlier try: its
    id, None = looked and not there.
    """

    name: str

    async def tell(self, kind: str, ref: str, message: Message, *, marker: Marker) -> str: ...
    async def told(self, kind: str, ref: str, *, marker: Marker, since: datetime) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Standing:
    """What fires at a sender now, for us alone. `muted` fires as well, but is held back there: identity -> why.

    `fresh` are the identities that it heard of within the last minutes. `up_s` is how long it has been up by its own
    clock, None when it does not say: before that it knows nothing. `whole` is False when one of its peers is silent.
    """

    alerts: Sequence[Alert]
    muted: Mapping[str, str] = field(default_factory=dict)
    fresh: frozenset[str] = frozenset()
    up_s: float | None = None
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Past:
    """An alert as it fired where alerts are made: its labels there, first and last time seen."""

    labels: Mapping[str, str]
    began_at: datetime
    ended_at: datetime


class Truth(Protocol):
    """A sender that can be asked what fires, every `every_s`.

    What we lack `missed_after_s` after its start was missed; what it lacks for `gone_after_s` may have ended.
    `standing` raises TransientError when out of reach, PermanentError when refused. `doubts` asks where alerts are made
    and gives why an episode may fire still, by identity: only what is not in it has surely ended. `passed` gives what
    began and ended there between two times, None when nobody can tell. `body` writes alerts as the sender's own webhook
    would, for our own inbox.
    """

    name: str
    every_s: float
    missed_after_s: float
    gone_after_s: float

    async def standing(self) -> Standing: ...
    async def doubts(self, episodes: Sequence[Episode]) -> Mapping[str, str]: ...
    async def passed(self, since: datetime, until: datetime) -> Sequence[Past] | None: ...
    def body(self, alerts: Sequence[Alert], why: str) -> bytes: ...


class Tool(Protocol):
    """Something that reads. `call` gets arguments that fit the schema; it raises TransientError when out of reach."""

    spec: ToolSpec

    async def call(self, args: Mapping[str, Any]) -> ToolResult: ...


class Model(Protocol):
    """A language model. `complete` raises TransientError (worth another try) or PermanentError (a person must act)."""

    async def complete(self, request: ModelRequest) -> ModelReply: ...


@dataclass(frozen=True, slots=True)
class Journal:
    """What a run has behind it when it is loaded: finished steps, wake times, and signals not yet consumed."""

    run: Run
    done: Mapping[str, object]
    wakes: Mapping[str, datetime]
    signals: Sequence[tuple[int, str, object]]  # (id, topic, value) in order


@dataclass(frozen=True, slots=True)
class Rest:
    """Posts that must not go now: a chat's `lane` (head, line, edit) in one `place`, or in all; minor ones, or all."""

    chat: str
    lane: str
    place: str | None = None
    urgent_too: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """A queued line of a thread. `riding`: it was under way inside another message when that was last tried."""

    id: int
    kind: str
    riding: bool
    message: Message


@dataclass(frozen=True, slots=True)
class Waiting:
    """An incident whose first message waits for its channel. `over`: it has ended, and nothing of it must be posted."""

    post: int
    incident: int
    severity: Severity
    title: str
    firing: int
    episodes: int
    over: bool


class Store(Protocol):
    """The database. Each write is one transaction; errors are StoreError, Conflict where a row changed meanwhile."""

    def bell(self, topic: str) -> asyncio.Event: ...  # "inbox", "outbox" or "runs": set when it has new rows
    # T1
    async def accept(self, receiver: str, body: bytes, *, at: datetime, request_id: str, webhook_id: str) -> bool: ...
    # inbox worker
    async def cursor(self) -> Cursor: ...
    async def waiting(self, after: int, limit: int) -> list[InboxRow]: ...
    async def episodes(self, identities: Sequence[str]) -> dict[str, Episode]: ...
    async def groups(self, keys: Sequence[str], ids: Sequence[int]) -> list[Incident]: ...
    async def twins(self, aliases: Sequence[str]) -> dict[tuple[str, str], int]: ...  # (alias, source) -> incident
    async def muted(self, after: int, limit: int) -> list[Episode]: ...  # firing, and something mutes it
    async def firing(self, after: int, limit: int) -> list[Episode]: ...
    async def beats(self) -> list[Beat]: ...
    async def stop_beat(self, key: str) -> None: ...
    async def commit(self, move: Move) -> list[int]: ...  # T2 -> ids of the incidents opened, in order
    async def trim(self, *, before: datetime, limit: int) -> int: ...
    # people and pages
    async def incident(self, number: int) -> Incident | None: ...
    async def incidents(
        self, *, before: int | None, statuses: Sequence[str], severities: Sequence[str], limit: int
    ) -> list[Incident]: ...
    async def some_episodes(self, numbers: Sequence[int]) -> dict[int, list[dict[str, Any]]]: ...
    async def record(self, number: int) -> dict[str, list[dict[str, Any]]]: ...
    async def alerts(self, *, after: int, limit: int, since: datetime) -> tuple[str, int | None]: ...  # JSON, next
    async def newest_alerts(self, limit: int, *, muted: bool) -> str: ...  # JSON
    async def alert(self, number: int) -> str | None: ...  # JSON, with its decision
    # outbox
    async def due_posts(
        self, now: datetime, limit: int, homes: Mapping[str, str] = ..., resting: Sequence[Rest] = ...
    ) -> list[OutboxPost]: ...  # homes: chat -> its own channel
    async def behind(self, post: OutboxPost, limit: int, *, only_joined: bool) -> list[Line]: ...  # to go with it
    async def aside(self, post: OutboxPost, since: datetime) -> tuple[int, int]: ...  # (updates folded, flaps since)
    async def sending(self, post: OutboxPost, at: datetime, riders: Sequence[int] = ()) -> bool: ...  # T4 intent
    async def sent(
        self, post: OutboxPost, *, channel: str, ts: str, at: datetime, asked: str = "",
        told: Sequence[int] = (), folded: Sequence[int] = (),
    ) -> None: ...  # T4  # fmt: skip
    async def apart(self, post: OutboxPost) -> None: ...  # what rode in a message that was refused goes by itself
    async def folded(self, post: OutboxPost, others: Sequence[int]) -> None: ...  # counted in the head, never shown
    async def crowds(
        self, now: datetime, more_than: int, homes: Mapping[str, str]
    ) -> list[tuple[str, str, int, int]]: ...  # (chat, place, newest post, how many over) where minor heads wait
    async def crowd(self, chat: str, place: str, homes: Mapping[str, str]) -> list[Waiting]: ...  # worst first
    async def digested(self, chat: str, over: Sequence[int]) -> None: ...  # incidents told to be over, in a digest
    async def release(self, chat: str) -> None: ...  # what was put off for an error may try at once
    async def linked(self, post: OutboxPost, permalink: str) -> None: ...
    async def channel_id(self, chat: str, name: str) -> str: ...  # "" while nothing was posted there
    async def held(
        self, post: OutboxPost, *, until: datetime, error: str, whole_channel: bool, state: str = "queued"
    ) -> None: ...
    async def failed(self, post: OutboxPost, *, at: datetime, error: str, reroute: str) -> None: ...
    # engine
    async def due_runs(self, now: datetime, limit: int) -> list[Run]: ...
    async def load(self, run: Run) -> Journal: ...
    async def pin(self, run: Run, text: Mapping[str, object]) -> None: ...
    async def step(self, run: Run, name: str, done: Done, at: datetime) -> None: ...  # T3
    async def intent(self, run: Run, name: str, at: datetime) -> None: ...  # T4 intent of an action
    async def wake(self, run: Run, name: str, at: datetime) -> None: ...
    async def consume(self, run: Run, name: str, signal: int, value: object, at: datetime) -> None: ...  # T5
    async def park(self, run: Run, *, until: datetime | None, seen: int) -> bool: ...
    async def finish(self, run: Run, *, state: str, result: object, at: datetime) -> None: ...
    # figures
    async def counter(self, name: str, label: str) -> float: ...  # 0 while nothing was counted
    async def mark(self, name: str, label: str, n: float) -> None: ...  # sets a counter: a time, not a sum
    async def figures(self) -> dict[tuple[str, str], float]: ...
    async def can_commit(self) -> bool: ...


Submit = Callable[[str, bytes], Awaitable[None]]


async def _nowhere(receiver: str, body: bytes) -> None:
    """Drop it: nothing is open yet."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an integration may use besides its own settings."""

    clock: Clock
    ids: Ids
    base_url: str = ""  # where people reach us, "" when unknown
    submit: Submit = _nowhere  # (receiver, body): into our own inbox, as if it had been sent
    name: str = ""  # of a receiver as its path has it; that of its file, or the file's and a word: generic-uptime


Opened = Callable[[Any, Surroundings], AbstractAsyncContextManager[Any]]


@dataclass(frozen=True, slots=True)
class Plugin:
    """What one file under `integrations/` exports as `plugin`: its settings, and how to open each part it plays.

    receiver -> Receiver; chat -> Chat; tools -> Sequence[Tool]; mirror -> Mirror | None and truth -> Truth | None, both
    opened with the receiver and from its settings, None when these do not ask for it. Each opener is an async context
    manager of (settings, Surroundings). `many`: the receiver may be set up several times, as NAME-WORD.
    `marks`: what is at the top of its bodies, one set of keys or another: how a file is recognised.
    """

    settings: type[BaseModel]
    receiver: Opened | None = None
    chat: Opened | None = None
    tools: Opened | None = None
    mirror: Opened | None = None
    truth: Opened | None = None
    snippet: Callable[[BaseModel, str], str] | None = None  # the sender's own configuration, for `responder init`
    many: bool = False
    marks: Sequence[Sequence[str]] = ()
    extra: Mapping[str, object] = field(default_factory=dict)
