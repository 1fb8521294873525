"""The writer: group commit, savepoints, what a failing disk does, and the settings that make an answer true."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from responder.errors import Conflict, StoreError
from responder.model import BadEntry, Cursor, Move, Status
from responder.store.sqlite import SqliteStore, writer
from responder.store.sqlite.writer import MAX_WAITING_BYTES, Writer
from tests.given import NOW, FakeClock, House, alert, body, entry, house, moved, opened


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as given:
        yield given


async def direct(given: House, sql: str) -> None:
    """Run a statement on the writer's own connection."""
    await given.store._writer.submit(lambda connection: connection.execute(sql).fetchall())


async def at_once(given: House, *moves: Move) -> list[object]:
    """Commit several moves as one group: the writer is held until all of them wait."""
    hold = threading.Event()
    held = given.store._writer.submit(lambda _: hold.wait(5))
    await asyncio.sleep(0.02)
    tasks = [asyncio.ensure_future(given.store.commit(move)) for move in moves]
    await asyncio.sleep(0.02)
    hold.set()
    await held
    return await asyncio.gather(*tasks, return_exceptions=True)


# --- a move is whole ---


async def test_a_statement_that_fails_leaves_nothing_of_its_move_and_its_neighbours_stand(at: House) -> None:
    await direct(
        at,
        "CREATE TRIGGER planted BEFORE INSERT ON post WHEN new.severity = 'P1'"
        " BEGIN SELECT RAISE(ABORT, 'planted'); END",
    )
    fine, torn, late = (
        moved(alert(cluster="a")),
        moved(alert(cluster="b", severity="critical")),
        moved(alert(cluster="c")),
    )
    first, second, third = await at_once(at, fine, torn, late)
    assert [first, third] == [[1], [2]]
    assert isinstance(second, StoreError)
    assert not isinstance(second, Conflict)
    assert [each.severity for each in await at.all_incidents()] == ["P2", "P2"]
    for table in ("post", "episode", "taken", "timeline"):
        assert at.sql(f"SELECT count(*) FROM {table}") == [(2,)]
    assert at.sql("SELECT count(*) FROM run") == [(4,)]
    assert await at.figure("entries") == 2


@pytest.mark.parametrize("table", ["incident", "episode", "taken", "post", "timeline", "run", "counter"])
async def test_whichever_table_fails_the_move_leaves_nothing(at: House, table: str) -> None:
    await at.accept(body(entry()))
    await direct(at, f"CREATE TRIGGER planted BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'planted'); END")
    with pytest.raises(StoreError):
        await at.inbox.once()
    for each in ("incident", "episode", "taken", "post", "timeline", "run", "counter"):
        assert at.sql(f"SELECT count(*) FROM {each}") == [(0,)]
    assert await at.store.cursor() == Cursor()
    await direct(at, "DROP TRIGGER planted")
    await at.settle()
    assert (await at.incident()).firing == 1
    assert await at.unaccounted() == 0


async def test_a_body_is_accepted_beside_a_move_that_fails(at: House) -> None:
    await direct(at, "CREATE TRIGGER planted BEFORE INSERT ON incident BEGIN SELECT RAISE(ABORT, 'planted'); END")
    hold = threading.Event()
    held = at.store._writer.submit(lambda _: hold.wait(5))
    await asyncio.sleep(0.02)
    torn = asyncio.ensure_future(at.store.commit(moved(alert())))
    taken = asyncio.ensure_future(at.accept(b"{}"))
    await asyncio.sleep(0.02)
    hold.set()
    await held
    assert await taken
    with pytest.raises(StoreError):
        await torn


async def test_a_trigger_that_ends_the_transaction_fails_the_whole_group(at: House) -> None:
    await direct(
        at,
        "CREATE TRIGGER planted BEFORE INSERT ON post WHEN new.severity = 'P1'"
        " BEGIN SELECT RAISE(ROLLBACK, 'planted'); END",
    )
    found = await at_once(at, moved(alert(cluster="a")), moved(alert(cluster="b", severity="critical")))
    assert all(isinstance(each, StoreError) for each in found)
    assert await at.all_incidents() == []
    assert await at.store.can_commit()


# --- compare-and-set ---


async def test_of_two_changes_of_one_version_the_second_is_a_conflict(at: House) -> None:
    await at.post(entry())
    now = await at.incident()
    one, two = Move(), Move()
    one.changed.append(now)
    two.changed.append(now)
    first, second = await at_once(at, one, two)
    assert first == []
    assert isinstance(second, Conflict)
    assert (await at.incident()).version == now.version + 1


async def test_of_two_openings_of_one_group_the_second_is_a_conflict(at: House) -> None:
    first, second = await at_once(at, moved(alert(instance="a")), moved(alert(instance="b")))
    assert first == [1]
    assert isinstance(second, Conflict)
    assert at.sql("SELECT count(*) FROM episode") == [(1,)]


async def test_of_many_openings_at_once_one_opens(at: House) -> None:
    found = await asyncio.gather(
        *(at.store.commit(moved(alert(instance=f"{n}"))) for n in range(50)), return_exceptions=True
    )
    assert sum(each == [1] for each in found) == 1
    assert sum(isinstance(each, Conflict) for each in found) == 49


async def test_one_identity_has_one_open_episode(at: House) -> None:
    await at.store.commit(moved(alert()))
    again = moved(alert())
    again.opened.clear()
    again.runs.clear()
    again.posts.clear()
    again.timeline.clear()
    object.__setattr__(again.episodes[0], "incident", 1)
    with pytest.raises(Conflict):
        await at.store.commit(again)


async def test_reopening_beside_an_open_incident_of_the_group_is_a_conflict(at: House) -> None:
    await at.post(entry())
    await at.people.resolve(1, "anna")
    at.clock.turn(minutes=40)
    await at.post(entry(instance="b", started=at.clock.now()))
    old = await at.incident(1)
    move = Move()
    object.__setattr__(old, "status", Status.INVESTIGATING)
    move.changed.append(old)
    with pytest.raises(Conflict):
        await at.store.commit(move)


async def test_the_cursor_never_goes_back(at: House) -> None:
    for cursor in (Cursor(5, 0), Cursor(5, 3), Cursor(5, 3), Cursor(6, 0)):
        await at.store.commit(Move(cursor=cursor))
    for cursor in (Cursor(5, 9), Cursor(1, 0)):
        with pytest.raises(Conflict):
            await at.store.commit(Move(cursor=cursor))
    assert await at.store.cursor() == Cursor(6, 0)


# --- a failing disk ---


async def test_a_full_disk_fails_what_is_written_and_loses_nothing_acknowledged(at: House) -> None:
    pages = at.sql("PRAGMA page_count")[0][0]
    await direct(at, f"PRAGMA max_page_count = {pages + 60}")
    taken = 0
    refused = 0
    for n in range(200):
        try:
            await at.accept(body(entry(instance=f"i{n}", annotations={"x": "y" * 3000})))
            taken += 1
        except StoreError:
            refused += 1
    assert taken > 10
    assert refused > 10
    assert at.sql("SELECT count(*) FROM inbox") == [(taken,)]
    await direct(at, "PRAGMA max_page_count = 1000000")
    assert await at.accept(body(entry(instance="last")))
    await at.settle()
    assert (await at.incident()).firing == taken + 1
    assert await at.unaccounted() == 0
    assert await at.store.can_commit()


async def test_a_full_disk_in_a_move_fails_it_and_it_is_made_again_later(at: House) -> None:
    raw = body(*[entry(instance=f"i{n}", annotations={"x": "y" * 3000}) for n in range(150)])
    await at.accept(raw)
    pages = at.sql("PRAGMA page_count")[0][0]
    await direct(at, f"PRAGMA max_page_count = {pages + 5}")
    with pytest.raises(StoreError, match="full"):
        await at.inbox.once()
    assert await at.all_incidents() == []
    await direct(at, "PRAGMA max_page_count = 1000000")
    await at.settle()
    assert (await at.incident()).firing == 150


async def test_a_stuck_writer_is_an_error_in_time_and_the_row_may_still_come(
    at: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "ACCEPT_S", 0.16)
    hold = threading.Event()
    held = at.store._writer.submit(lambda _: hold.wait(5))
    await asyncio.sleep(0.02)
    began = asyncio.get_running_loop().time()
    with pytest.raises(StoreError, match="no commit within"):
        await at.accept(body(entry()))
    assert asyncio.get_running_loop().time() - began < 3  # and it is held for five
    hold.set()
    await held
    assert await at.store.can_commit()
    await at.settle()
    assert await at.unaccounted() == 0  # at least once: the sender repeats what we have


async def test_while_the_disk_hangs_the_bodies_that_wait_for_it_are_bounded(at: House) -> None:
    release = threading.Event()
    stuck = asyncio.ensure_future(at.store._write(lambda _: release.wait(10)))
    await asyncio.sleep(0.05)
    raw = bytes(8 << 20)
    waiting = [asyncio.ensure_future(at.accept(raw)) for _ in range(MAX_WAITING_BYTES // len(raw))]
    await asyncio.sleep(0.05)
    with pytest.raises(StoreError, match="wait for the disk"):
        await at.accept(b"one more")
    release.set()
    await stuck
    assert all(await asyncio.gather(*waiting))
    assert await at.accept(b"one more")


async def test_who_waits_longest_is_given_up_first_and_later_ones_are_not(
    at: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "ACCEPT_S", 1.0)
    hold = threading.Event()
    held = at.store._writer.submit(lambda _: hold.wait(5))
    await asyncio.sleep(0.02)
    early = asyncio.ensure_future(at.accept(b"early"))
    await asyncio.sleep(0.7)
    late = asyncio.ensure_future(at.accept(b"late"))
    with pytest.raises(StoreError):
        await early
    hold.set()
    await held
    assert await late


async def test_what_no_database_can_hold_fails_alone_and_the_writer_lives(at: House) -> None:
    lone = "\udcff"  # what a header's stray byte becomes
    with pytest.raises(StoreError):
        await asyncio.wait_for(at.accept(b"{}", webhook_id=lone), 2)
    assert await asyncio.wait_for(at.store.can_commit(), 2)
    assert await asyncio.wait_for(at.accept(b"{}", webhook_id="fine"), 2)


async def test_a_broken_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    times: list[float] = []
    made = Writer(tmp_path / "a.db", on_commit=times.append, on_broken=told.append)
    await made.opened()

    def breaks(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(Writer, "_accept", staticmethod(breaks))
    with pytest.raises(StoreError, match="disk I/O"):
        await made.accept((0.0, "am", "r", "", b""))
    await asyncio.sleep(0)
    assert told == ["disk I/O error"]
    assert len(times) == 1
    await made.close()


# --- settings ---


async def test_the_writers_settings_are_what_durability_needs(at: House) -> None:
    ask = at.store._writer.submit
    assert await ask(lambda connection: connection.execute("PRAGMA synchronous").fetchone()) == (2,)
    assert await ask(lambda connection: connection.execute("PRAGMA journal_mode").fetchone()) == ("wal",)


@pytest.mark.parametrize("wanted", [("NORMAL", 2), ("FULL", 3), ("OFF", 2)], ids=["weaker", "stronger", "off"])
def test_a_setting_that_does_not_take_stops_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: tuple[str, int]
) -> None:
    """What is asked for is read back: a mutant that asks for NORMAL and expects NORMAL is caught by the test above."""
    monkeypatch.setattr(writer, "DURABLE", wanted)
    with pytest.raises(StoreError, match="synchronous"):
        writer.connect(tmp_path / "a.db")


def test_a_file_system_without_shared_memory_is_refused() -> None:
    with pytest.raises(StoreError, match="journal_mode"):
        writer.connect(":memory:")  # type: ignore[arg-type]  # a memory database has no write-ahead log either


async def test_a_reader_cannot_write(at: House) -> None:
    for reader in (at.store._hot, at.store._calm):
        with pytest.raises(StoreError, match="readonly"):
            await reader.read(lambda connection: connection.execute("DELETE FROM inbox"))


async def test_what_waits_when_it_closes_is_still_written(tmp_path: Path) -> None:
    async with opened(tmp_path / "a.db", FakeClock()) as store:
        hold = threading.Event()
        store._writer.submit(lambda _: hold.wait(5))
        tasks = [
            asyncio.ensure_future(store.accept("am", b"x", at=NOW, request_id="", webhook_id="")) for _ in range(20)
        ]
        await asyncio.sleep(0.02)
        hold.set()
    assert all(await asyncio.gather(*tasks))
    async with opened(tmp_path / "a.db", FakeClock()) as store:
        assert len(await store.waiting(0, 100)) == 20


async def test_a_client_that_goes_does_not_take_its_commit_with_it(at: House) -> None:
    hold = threading.Event()
    held = at.store._writer.submit(lambda _: hold.wait(5))
    await asyncio.sleep(0.02)
    task = asyncio.ensure_future(at.store.commit(moved(alert())))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    hold.set()
    await held
    await at.store.can_commit()
    assert len(await at.all_incidents()) == 1


async def test_quarantine_keeps_the_first_64_kib(at: House) -> None:
    move = Move(quarantined=[("am", BadEntry("why", b"x" * 100_000, 1), NOW)])
    await at.store.commit(move)
    assert at.sql("SELECT length(raw), entries, reason FROM quarantine") == [(65536, 1, "why")]


def of(store: SqliteStore) -> Any:
    """Give the store's inside, for a look at what no caller sees."""
    return store


async def test_memory_of_fresh_bodies_is_bounded_and_given_back(at: House) -> None:
    for n in range(50):
        await at.accept(body(entry(instance=str(n))))
    assert of(at.store)._fresh_bytes > 0
    await at.settle()
    assert of(at.store)._fresh_bytes == 0
    assert not of(at.store)._fresh
