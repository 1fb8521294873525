"""SQLite: one writer thread with group commit, two read-only connections, one lock file. The embedded default."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from responder.errors import StoreError
from responder.model import Beat, Cursor, Done, Episode, InboxRow, Incident, Move, OutboxPost, Run
from responder.ports import Clock, Journal, Line, Rest, Waiting
from responder.store.sqlite import alerts, files, moves, posts, reads, steps
from responder.store.sqlite.writer import Writer

T = TypeVar("T")
FRESH_BYTES = 32 << 20
NOTHING: Mapping[str, str] = MappingProxyType({})


class Reader:
    """One read-only connection with a thread of its own: SQLite never runs on asyncio's default executor."""

    def __init__(self, path: Path, name: str) -> None:
        """Open nothing yet: the connection belongs to the thread that uses it."""
        self._path = path
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._connection: sqlite3.Connection | None = None

    async def read(self, ask: Callable[..., T], *arguments: object) -> T:
        """Run `ask(connection, *arguments)` on the thread. Raises: StoreError."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._ask, ask, arguments)

    def _ask(self, ask: Callable[..., T], arguments: Sequence[object]) -> T:
        try:
            if self._connection is None:
                uri = f"file:{self._path}?mode=ro"
                self._connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
                self._connection.execute("PRAGMA busy_timeout = 2000")
            return ask(self._connection, *arguments)
        except sqlite3.Error as error:
            raise StoreError(f"store {self._path}: {error}") from error

    def close(self) -> None:
        """Close the connection on its thread."""
        if self._connection is not None:
            self._executor.submit(self._connection.close).result()
        self._executor.shutdown()


class SqliteStore:
    """`ports.Store` over one file. `places` are the names that posts are queued for."""

    def __init__(self, path: Path, writer: Writer, clock: Clock, places: moves.Places) -> None:
        """Keep the parts; `open_sqlite` makes them."""
        self._writer, self._clock, self._places = writer, clock, places
        self._hot, self._calm = Reader(path, "store-hot"), Reader(path, "store-calm")
        self._fresh: dict[int, InboxRow] = {}  # bodies on disk that the inbox worker has not asked for yet
        self._fresh_bytes = 0
        self._bells = {topic: asyncio.Event() for topic in ("inbox", "outbox", "runs")}

    def bell(self, topic: str) -> asyncio.Event:
        """Give the event that is set when rows for `inbox`, `outbox` or `runs` were written."""
        return self._bells[topic]

    async def _write(self, op: Callable[[sqlite3.Connection], T], *rings: str) -> T:
        value: T = await asyncio.shield(self._writer.submit(op))
        for topic in rings:
            self._bells[topic].set()
        return value

    async def accept(self, receiver: str, body: bytes, *, at: datetime, request_id: str, webhook_id: str) -> bool:
        """T1: make one body durable; False when its webhook id was seen before. Raises: StoreError, soon."""
        seq = await self._writer.accept((at.timestamp(), receiver, request_id, webhook_id, body))
        if seq and self._fresh_bytes < FRESH_BYTES:
            self._fresh[seq] = InboxRow(seq, receiver, body, at, request_id)
            self._fresh_bytes += len(body)
        self._bells["inbox"].set()
        return seq != 0

    async def cursor(self) -> Cursor:
        """How far the inbox is moved."""
        return await self._hot.read(reads.cursor)

    async def waiting(self, after: int, limit: int) -> list[InboxRow]:
        """Bodies behind `after`, in order: those just written out of memory, any others from the file."""
        found: list[InboxRow] = []
        while len(found) < limit and (row := self._fresh.pop(after + 1 + len(found), None)) is not None:
            self._fresh_bytes -= len(row.body)
            found.append(row)
        if found:
            return found
        self._fresh.clear()  # the file is ahead of it, or it of the file: begin anew behind what is read now
        self._fresh_bytes = 0
        return await self._hot.read(reads.waiting, after, limit)

    async def episodes(self, identities: Sequence[str]) -> dict[str, Episode]:
        """The newest episode of each identity."""
        return await self._hot.read(reads.episodes, identities)

    async def twins(self, aliases: Sequence[str]) -> dict[tuple[str, str], int]:
        """The incidents that sources report under these aliases: (alias, source) -> number."""
        return await self._hot.read(reads.twins, aliases) if aliases else {}

    async def muted(self, after: int, limit: int) -> list[Episode]:
        """Episodes that fire and are muted, behind a number."""
        return await self._hot.read(reads.firing, after, limit, "AND muted <> ''")

    async def firing(self, after: int, limit: int) -> list[Episode]:
        """Episodes that fire, behind a number."""
        return await self._hot.read(reads.firing, after, limit, "")

    async def beats(self) -> list[Beat]:
        """Every heartbeat that ever came, as it last came."""
        return await self._calm.read(reads.beats)

    async def stop_beat(self, key: str) -> None:
        """Forget a heartbeat: nobody waits for it any longer."""
        await self._write(lambda connection: connection.execute("DELETE FROM heartbeat WHERE key = ?", (key,)).rowcount)

    async def groups(self, keys: Sequence[str], ids: Sequence[int]) -> list[Incident]:
        """The open incident of each group key, else its newest, and those of these numbers."""
        return await self._hot.read(reads.groups, keys, ids)

    async def commit(self, move: Move) -> list[int]:
        """T2: write a move whole. Raises: Conflict, StoreError."""
        at = self._clock.now()
        rings = _rings(move)
        return await self._write(lambda connection: moves.write_move(connection, move, self._places, at), *rings)

    async def trim(self, *, before: datetime, limit: int) -> int:
        """Forget moved bodies older than `before`; the newest stays, so that numbers never repeat."""
        # Only the first rows are looked at: the writer thread must not read a day of bodies to find none that is old.
        sql = """DELETE FROM inbox WHERE seq IN (SELECT seq FROM (SELECT seq, at FROM inbox ORDER BY seq LIMIT ?2)
          WHERE at < ?1 AND seq <= (SELECT seq FROM cursor) AND seq < (SELECT max(seq) FROM inbox))"""

        def op(connection: sqlite3.Connection) -> int:
            connection.execute("DELETE FROM webhook WHERE at < ?", (before.timestamp() - 172_800,))
            return connection.execute(sql, (before.timestamp(), limit)).rowcount

        return await self._write(op)

    async def incident(self, number: int) -> Incident | None:
        """One incident, None when there is none of this number. Pages and runs wait for it: never behind a figure."""
        found = await self._hot.read(reads.groups, [], [number])
        return found[0] if found else None

    async def incidents(
        self, *, before: int | None, statuses: Sequence[str], severities: Sequence[str], limit: int
    ) -> list[Incident]:
        """Newest first, below a number, filtered."""
        return await self._calm.read(reads.incidents, before, statuses, severities, limit)

    async def record(self, number: int) -> dict[str, list[dict[str, Any]]]:
        """Everything kept of one incident, table by table."""
        return await self._calm.read(reads.record, number)

    async def alerts(self, *, after: int, limit: int, since: datetime) -> tuple[str, int | None]:
        """Stored alerts above a number, oldest first: a JSON array, and the number to ask after next, None at the end.

        Its objects: {id, source, labels, annotations, status, started_at, ended_at, received_at, incident, rule,
        severity}; `since` asks for those whose last news came at that time or later.
        """
        return await self._calm.read(alerts.page, after, limit, since.timestamp())

    async def newest_alerts(self, limit: int, *, muted: bool) -> str:
        """The newest alerts, newest first, as `alerts` gives them; `muted`: only those that fire and are muted."""
        return await self._calm.read(alerts.newest, limit, muted)

    async def alert(self, number: int) -> str | None:
        """One alert as JSON, with the decision that it was given."""
        return await self._calm.read(alerts.one, number)

    async def due_posts(
        self, now: datetime, limit: int, homes: Mapping[str, str] = NOTHING, resting: Sequence[Rest] = ()
    ) -> list[OutboxPost]:
        """What may go next: of each thread one line and one edit of its head, worst first."""
        return await self._hot.read(posts.due_posts, now.timestamp(), limit, homes, resting)

    async def behind(self, post: OutboxPost, limit: int, *, only_joined: bool) -> list[Line]:
        """The lines of a thread that could go in the same message as a post."""
        return await self._hot.read(posts.behind, post, limit, only_joined)

    async def aside(self, post: OutboxPost, since: datetime) -> tuple[int, int]:
        """(updates folded in this chat, times that the incident fired again since a moment)."""
        return await self._hot.read(posts.aside, post, since.timestamp())

    async def sending(self, post: OutboxPost, at: datetime, riders: Sequence[int] = ()) -> bool:
        """T4 intent of a post."""
        return await self._write(lambda connection: posts.sending(connection, post, riders))

    async def sent(
        self, post: OutboxPost, *, channel: str, ts: str, at: datetime, asked: str = "",
        told: Sequence[int] = (), folded: Sequence[int] = (),
    ) -> None:  # fmt: skip
        """T4 outcome of a post; `asked` is the channel's name as we knew it."""
        await self._write(
            lambda connection: posts.sent(connection, post, channel, ts, at, asked=asked, told=told, folded=folded),
            "outbox",
        )

    async def apart(self, post: OutboxPost) -> None:
        """Queue again what rode in a post that was refused."""
        await self._write(lambda connection: posts.apart(connection, post), "outbox")

    async def crowds(self, now: datetime, more_than: int, homes: Mapping[str, str]) -> list[tuple[str, str, int, int]]:
        """(chat, place, newest post, how many are over) where so many first messages of minor incidents wait."""
        return await self._hot.read(posts.crowds, now.timestamp(), more_than, homes)

    async def crowd(self, chat: str, place: str, homes: Mapping[str, str]) -> list[Waiting]:
        """The minor incidents whose first message waits for a place, worst first."""
        return await self._hot.read(posts.crowd, chat, place, homes)

    async def digested(self, chat: str, over: Sequence[int]) -> None:
        """A digest was posted; what waits of the incidents that it told to be over is folded."""
        await self._write(lambda connection: posts.digested(connection, chat, over), "outbox")

    async def release(self, chat: str) -> None:
        """Let all posts of a chat try at once: it answers again, or we started with what may be new settings."""
        sql = "UPDATE post SET not_before = 0 WHERE chat = ? AND state IN ('queued', 'sending') AND not_before > 0"
        await self._write(lambda connection: connection.execute(sql, (chat,)).rowcount, "outbox")

    async def folded(self, post: OutboxPost, others: Sequence[int]) -> None:
        """Count a line and others of its thread in the head instead of showing them."""
        at = self._clock.now()
        await self._write(lambda connection: posts.folded(connection, post, others, at), "outbox")

    async def linked(self, post: OutboxPost, permalink: str) -> None:
        """Keep a thread's address."""
        sql = "UPDATE thread SET permalink = ? WHERE incident = ? AND chat = ?"
        await self._write(lambda connection: connection.execute(sql, (permalink, post.incident, post.chat)).rowcount)

    async def channel_id(self, chat: str, name: str) -> str:
        """Give the id that a channel's name turned out to have, "" while nothing was posted there."""
        return await self._hot.read(reads.channel_id, chat, name)

    async def some_episodes(self, numbers: Sequence[int]) -> dict[int, list[dict[str, Any]]]:
        """Give the first twenty episodes of each of these incidents."""
        return await self._calm.read(reads.some_episodes, numbers)

    async def held(
        self, post: OutboxPost, *, until: datetime, error: str, whole_channel: bool, state: str = "queued"
    ) -> None:
        """Put a post off."""
        now = self._clock.now()
        await self._write(lambda connection: posts.held(connection, post, until, error, whole_channel, state, now))

    async def failed(self, post: OutboxPost, *, at: datetime, error: str, reroute: str) -> None:
        """Write that a post is refused for good."""
        await self._write(lambda connection: posts.failed(connection, post, at, error, reroute), "outbox")

    async def due_runs(self, now: datetime, limit: int) -> list[Run]:
        """Open runs whose timer or signal is due."""
        return await self._hot.read(reads.due_runs, now.timestamp(), limit)

    async def load(self, run: Run) -> Journal:
        """What a run has behind it."""
        return await self._hot.read(steps.load, run)

    async def pin(self, run: Run, text: Mapping[str, object]) -> None:
        """Keep the text that a run works from."""
        await self._write(lambda connection: steps.pin(connection, run, text))

    async def step(self, run: Run, name: str, done: Done, at: datetime) -> None:
        """T3: a finished step with all that it makes. Raises: Conflict when the run is over or in other hands."""
        rings = _rings(done.move) if done.move else ()
        if done.posts:
            rings = (*rings, "outbox")
        await self._write(lambda connection: steps.step(connection, run, name, done, self._places, at), *rings)

    async def intent(self, run: Run, name: str, at: datetime) -> None:
        """T4 intent of an action."""
        await self._write(lambda connection: steps.intent(connection, run, name, at))

    async def wake(self, run: Run, name: str, at: datetime) -> None:
        """Until when a run sleeps or waits."""
        now = self._clock.now()
        await self._write(lambda connection: steps.wake(connection, run, name, at, now))

    async def consume(self, run: Run, name: str, signal: int, value: object, at: datetime) -> None:
        """T5: the signal used up and the wait done."""
        await self._write(lambda connection: steps.consume(connection, run, name, signal, value, at))

    async def park(self, run: Run, *, until: datetime | None, seen: int) -> bool:
        """Put a run to sleep, unless a signal has come that it has not seen."""
        return await self._write(lambda connection: steps.park(connection, run, until, seen), "runs")

    async def finish(self, run: Run, *, state: str, result: object, at: datetime) -> None:
        """End a run."""
        await self._write(lambda connection: steps.finish(connection, run, state, result, at), "runs")

    async def counter(self, name: str, label: str) -> float:
        """One counter of the ledger."""
        return await self._hot.read(reads.counter, name, label)

    async def mark(self, name: str, label: str, n: float) -> None:
        """Set a counter to a value of its own, such as the time when something was last so."""
        sql = "INSERT OR REPLACE INTO counter VALUES (?, ?, ?)"
        await self._write(lambda connection: connection.execute(sql, (name, label, n)).rowcount)

    async def figures(self) -> dict[tuple[str, str], float]:
        """Counters and figures of one snapshot."""
        return await self._calm.read(reads.figures)

    async def can_commit(self) -> bool:
        """Whether a write reaches the disk right now."""
        at = self._clock.now().timestamp()
        try:
            await self._write(
                lambda connection: connection.execute("INSERT OR REPLACE INTO canary VALUES (1, ?)", (at,))
            )
        except StoreError:
            return False
        return True

    async def close(self) -> None:
        """Finish what is queued, then close all connections."""
        await self._writer.close()
        self._hot.close()
        self._calm.close()


def _rings(move: Move) -> tuple[str, ...]:
    """Name the workers that a move has rows for."""
    rings = {"inbox": move.internal, "outbox": move.posts, "runs": [*move.runs, *move.signals]}
    return tuple(topic for topic, rows in rings.items() if rows)


@asynccontextmanager
async def open_sqlite(
    path: Path,
    clock: Clock,
    *,
    chats: Sequence[str],
    mirrors: Sequence[str] = (),
    on_commit: Callable[[float], None],
    on_broken: Callable[[str], None],
) -> AsyncIterator[SqliteStore]:
    """Open the store for writing; one daemon a file.

    Raises: StoreError: locked by another, not writable, settings that do not hold; SchemaTooNew.
    """
    files_path = path.absolute()  # noqa: ASYNC240 - reads no disk
    held = files.lock(files_path)
    try:
        files.prepare(files_path)
        writer = Writer(files_path, on_commit=on_commit, on_broken=on_broken)
        await writer.opened()
        store = SqliteStore(files_path, writer, clock, moves.Places(tuple(chats), tuple(mirrors)))
        try:
            yield store
        finally:
            await store.close()
    finally:
        held.close()
