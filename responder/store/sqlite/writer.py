"""The one read-write connection: a thread that commits whatever has come in since its last commit, as one group.

There is no waiting window: what arrives during a commit is the next batch, so a lone request waits for one fsync and a
burst shares it.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from time import perf_counter
from typing import Any

from responder.errors import Rejected, ResponderError, StoreError

DURABLE = ("FULL", 2)  # name for the pragma, and what SQLite answers when it is asked again
MAX_BATCH = 512
CHECKPOINT_PAGES = (
    2_000  # 8 MB: a checkpoint stalls who waits; many short ones cost less of the slowest 1 % than few long ones
)
ACCEPT_S = 3.5  # Alertmanager's patience is longer; ours ends in a 503 that it repeats
MAX_BATCH_BYTES = 16 << 20
MAX_WAITING_BYTES = 64 << 20  # of bodies that wait for the disk; who comes then is told so at once
Op = Callable[[sqlite3.Connection], Any]
InboxItem = tuple[float, str, str, str, bytes]  # at, receiver, request id, webhook id, body


class Writer:
    """Runs operations on its thread, each in a savepoint of one shared transaction; futures tell after the commit."""

    def __init__(self, path: Path, *, on_commit: Callable[[float], None], on_broken: Callable[[str], None]) -> None:
        """Open the file on a thread of its own; `on_commit` hears each commit's seconds, `on_broken` a failing disk."""
        self._path, self._on_commit, self._on_broken = path, on_commit, on_broken
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[tuple[Op | InboxItem, asyncio.Future[Any]] | None] = SimpleQueue()
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._accepting: dict[asyncio.Future[Any], float] = {}
        self._put_bytes = 0  # of bodies, written by the loop alone
        self._taken_bytes = 0  # of bodies, written by the thread alone
        self._late: asyncio.TimerHandle | None = None
        self._closed = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    async def opened(self) -> None:
        """Wait until the file is open and its settings are read back; raises what went wrong."""
        await self._opened

    def submit(self, op: Op | InboxItem) -> asyncio.Future[Any]:
        """Queue one operation; the future gets its result only when it is on disk.

        The caller shields it: a request whose client has gone still finishes its commit.
        """
        future: asyncio.Future[Any] = self._loop.create_future()
        self._queue.put((op, future))
        return future

    async def accept(self, item: InboxItem) -> int:
        """Queue one body; gives its number, 0 for one seen before.

        Raises: StoreError: not on disk within ACCEPT_S, or too much waits for the disk already.
        """
        size = len(item[4])
        if self._put_bytes - self._taken_bytes + size > MAX_WAITING_BYTES:  # one given up still lies in the queue
            raise StoreError(f"store: {MAX_WAITING_BYTES >> 20} MiB wait for the disk already")
        self._put_bytes += size
        future = self.submit(item)
        self._accepting[future] = self._loop.time()
        if self._late is None:
            self._late = self._loop.call_later(ACCEPT_S / 8, self._give_up)
        try:
            seq: int = await future
        finally:
            self._accepting.pop(future, None)
        return seq

    def _give_up(self) -> None:
        """Fail what has waited too long: one timer for all, because one a request would cost more than the wait."""
        now = self._loop.time()
        for future, since in list(self._accepting.items()):
            if now - since < ACCEPT_S:
                break
            if not future.done():
                future.set_exception(StoreError(f"store: no commit within {ACCEPT_S:.0f} s"))
        self._late = self._loop.call_later(ACCEPT_S / 8, self._give_up) if self._accepting else None

    async def close(self) -> None:
        """Finish what is queued, then close the file."""
        self._queue.put(None)
        await self._closed.wait()

    def _run(self) -> None:
        try:
            connection = connect(self._path)
        except (sqlite3.Error, ResponderError) as error:
            self._tell_opened(error)
            return
        self._tell_opened(None)
        going = True
        while going:
            batch, going = self._gather()
            if batch:
                self._commit(connection, batch)
        connection.close()
        self._loop.call_soon_threadsafe(self._closed.set)

    def _tell_opened(self, error: Exception | None) -> None:
        def tell() -> None:
            if error is None:
                self._opened.set_result(None)
            else:
                self._opened.set_exception(error)

        self._loop.call_soon_threadsafe(tell)

    def _gather(self) -> tuple[list[tuple[Op | InboxItem, asyncio.Future[Any]]], bool]:
        """Take all that waits; block only for the first."""
        batch: list[tuple[Op | InboxItem, asyncio.Future[Any]]] = []
        size = 0
        item = self._queue.get()
        while item is not None:
            batch.append(item)
            if isinstance(item[0], tuple):
                size += len(item[0][4])
                self._taken_bytes += len(item[0][4])
            if len(batch) >= MAX_BATCH or size >= MAX_BATCH_BYTES or self._queue.empty():
                return batch, True
            item = self._queue.get()
        return batch, False

    def _commit(self, connection: sqlite3.Connection, batch: list[tuple[Op | InboxItem, asyncio.Future[Any]]]) -> None:
        began = perf_counter()
        results: list[tuple[asyncio.Future[Any], Any, Exception | None]] = []
        try:
            connection.execute("BEGIN IMMEDIATE")
            self._accept(connection, batch, results)
            for op, future in batch:
                if callable(op):
                    results.append(self._savepoint(connection, op, future))
            connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - whatever it is, the thread must live: all writing hangs on it
            self._roll_back(connection)
            failure = _store_error(error)
            results = [(future, None, failure) for _, future in batch]
            if "disk I/O" in str(error):  # after a failed fsync the page cache cannot be trusted
                self._loop.call_soon_threadsafe(self._on_broken, str(error))
        took = perf_counter() - began
        self._loop.call_soon_threadsafe(self._deliver, results, took)

    @staticmethod
    def _accept(
        connection: sqlite3.Connection,
        batch: list[tuple[Op | InboxItem, asyncio.Future[Any]]],
        results: list[tuple[asyncio.Future[Any], Any, Exception | None]],
    ) -> None:
        """Insert all bodies of the batch by one statement.

        One statement is one release of the interpreter's lock: with a busy event loop each further one may wait.
        """
        rows: list[object] = []
        futures: list[asyncio.Future[Any]] = []
        for op, future in batch:
            if callable(op):
                continue
            at, receiver, request_id, webhook_id, body = op
            if (
                webhook_id
                and not connection.execute(
                    "INSERT OR IGNORE INTO webhook VALUES (?, ?, ?)", (receiver, webhook_id, at)
                ).rowcount
            ):
                results.append((future, 0, None))
                continue
            rows += (at, receiver, request_id, body)
            futures.append(future)
        if rows:
            values = ",".join(["(?,?,?,?)"] * len(futures))
            last = connection.execute(
                f"INSERT INTO inbox (at, receiver, request_id, body) VALUES {values}", rows
            ).lastrowid
            assert last is not None
            first = last - len(futures) + 1  # rows of one statement are numbered in order
            results += [(future, first + offset, None) for offset, future in enumerate(futures)]

    @staticmethod
    def _savepoint(
        connection: sqlite3.Connection, op: Op, future: asyncio.Future[Any]
    ) -> tuple[asyncio.Future[Any], Any, Exception | None]:
        """Run one operation; its failure undoes it alone, unless SQLite has ended the whole transaction."""
        connection.execute("SAVEPOINT op")
        try:
            value = op(connection)
        except Exception as error:
            if not connection.in_transaction:
                raise sqlite3.OperationalError(f"the transaction ended under us: {error}") from error
            connection.execute("ROLLBACK TO op")
            connection.execute("RELEASE op")
            return future, None, _op_error(error)
        connection.execute("RELEASE op")
        return future, value, None

    @staticmethod
    def _roll_back(connection: sqlite3.Connection) -> None:
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            pass  # the next BEGIN says what is wrong

    def _deliver(self, results: list[tuple[asyncio.Future[Any], Any, Exception | None]], took_s: float) -> None:
        self._on_commit(took_s)
        for future, value, error in results:
            if future.done():
                continue
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(value)


def _op_error(error: Exception) -> Exception:
    """Tell what would fail again (a constraint, a value) from what may pass (a lock, a full disk)."""
    if isinstance(error, ResponderError | sqlite3.OperationalError):
        return _store_error(error)
    return Rejected(f"store: {type(error).__name__}: {error}")


def _store_error(error: Exception) -> Exception:
    return error if isinstance(error, ResponderError) else StoreError(f"store: {type(error).__name__}: {error}")


def connect(path: Path) -> sqlite3.Connection:
    """Open the read-write connection and check that its settings hold.

    Raises: StoreError: a setting did not take, for instance because the file system knows no shared memory.
    """
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
    name, number = DURABLE
    wanted = {
        "journal_mode": "wal",
        "synchronous": number,
        "busy_timeout": 2000,
        "wal_autocheckpoint": CHECKPOINT_PAGES,
    }
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {name}")
    connection.execute("PRAGMA busy_timeout = 2000")
    connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit = {96 << 20}")
    connection.execute("PRAGMA cache_size = -32000")
    connection.execute("PRAGMA temp_store = MEMORY")
    for pragma, value in wanted.items():
        found = connection.execute(f"PRAGMA {pragma}").fetchone()[0]
        if found != value:
            raise StoreError(f"store {path}: {pragma} is {found!r}, {value!r} is needed; use a local disk")
    return connection
