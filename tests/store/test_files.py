"""The file: one daemon, its version, and its way up."""

import hashlib
import sqlite3
from contextlib import closing
from importlib.resources import files as resources
from pathlib import Path

import pytest

from responder.errors import SchemaTooNew, StoreError
from responder.model import HEARD
from responder.store.sqlite import files
from tests.given import FakeClock, body, entry, house, opened


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


async def test_a_second_daemon_is_refused_and_told_who_holds_the_file(tmp_path: Path) -> None:
    async with opened(tmp_path / "a.db", FakeClock()):
        with pytest.raises(StoreError, match=r"another responder \(process \d+\)"):
            async with opened(tmp_path / "a.db", FakeClock()):
                pytest.fail("opened twice")
    async with opened(tmp_path / "a.db", FakeClock()):
        pass


async def test_a_link_to_the_file_is_the_same_file(tmp_path: Path) -> None:
    async with opened(tmp_path / "a.db", FakeClock()):
        (tmp_path / "b.db").symlink_to(tmp_path / "a.db")
        with pytest.raises(StoreError, match="another responder"):
            async with opened(tmp_path / "b.db", FakeClock()):
                pytest.fail("opened twice")


async def test_a_missing_folder_is_made(tmp_path: Path) -> None:
    async with opened(tmp_path / "some" / "where" / "a.db", FakeClock()) as store:
        assert await store.can_commit()


async def test_a_newer_schema_is_refused_and_not_a_byte_is_touched(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with opened(path, FakeClock()):
        pass
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {files.VERSION + 1}")
    before = digest(path)
    with pytest.raises(SchemaTooNew, match="newer responder"):
        async with opened(path, FakeClock()):
            pytest.fail("opened")
    assert digest(path) == before


@pytest.mark.parametrize(
    "content", [b"this is no database at all, only text" * 100, b"SQLite format 3\0" + b"\xff" * 2000]
)
async def test_what_is_no_database_is_refused_and_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(content)
    with pytest.raises(StoreError):
        async with opened(path, FakeClock()):
            pytest.fail("opened")
    assert path.read_bytes() == content


def test_a_step_of_the_way_up_is_whole_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.db"
    broken = tmp_path / "broken.sql"
    broken.write_text("CREATE TABLE first (id);\nCREATE TABLE second (id);\nCREATE TABLE first (id);\n")
    monkeypatch.setattr(files, "MIGRATIONS", (str(broken),))
    with pytest.raises(StoreError, match="already exists"):
        files.prepare(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []
    assert files.version(path) == 0
    monkeypatch.undo()
    files.prepare(path)
    assert files.version(path) == files.VERSION


def test_a_second_step_begins_where_the_first_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.db"
    files.prepare(path)
    more = tmp_path / "more.sql"
    more.write_text("CREATE TABLE more (id);\n")
    monkeypatch.setattr(files, "MIGRATIONS", (*files.MIGRATIONS, str(more)))
    monkeypatch.setattr(files, "VERSION", files.VERSION + 1)
    files.prepare(path)
    assert files.version(path) == files.VERSION
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM more").fetchone() == (0,)


def test_each_step_has_its_file_and_the_version_counts_them() -> None:
    assert len(files.MIGRATIONS) == files.VERSION
    for name in files.MIGRATIONS:
        assert resources("responder.store.sqlite").joinpath(name).is_file()


async def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    async with house(tmp_path) as before:
        await before.post(entry())
        await before.accept(body(entry(instance="waits")))
        was = await before.incident()
    async with house(tmp_path) as later:
        assert await later.incident() == was
        await later.settle()
        assert (await later.incident()).firing == 2


async def test_a_file_of_version_1_is_read_on_with_all_that_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "responder.db"
    monkeypatch.setattr(files, "VERSION", 1)
    files.prepare(path)
    with closing(sqlite3.connect(path)) as connection:
        values = "'i', 'alertmanager', '{\"alertname\": \"Old\"}', '{}', 1, 1.0, NULL, 1.0, NULL, ''"
        connection.execute(f"INSERT INTO episode VALUES (1, {values})")
        connection.commit()
    monkeypatch.undo()
    async with opened(path, FakeClock()) as store:
        [kept] = await store.firing(0, 10)
        assert (kept.labels, kept.muted) == ({"alertname": "Old"}, HEARD)
