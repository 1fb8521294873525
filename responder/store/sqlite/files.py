"""The database file itself: the lock against a second daemon, the schema and its versions."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from importlib.resources import files
from pathlib import Path
from typing import IO

from responder.errors import SchemaTooNew, StoreError

VERSION = 2
# One list of statements a version: entry n brings a file from version n to n + 1. The first is schema.sql.
MIGRATIONS: tuple[str, ...] = ("schema.sql", "v2.sql")


def lock(path: Path) -> IO[str]:
    """Hold the lock file beside the database for as long as the returned file stays open.

    Raises: StoreError: another process holds it (the message names its number), or the folder is not ours to write.
    """
    try:
        path = path.resolve()  # two links to one file are one file
        path.parent.mkdir(parents=True, exist_ok=True)
        held = Path(f"{path}.lock").open("a+", encoding="utf-8")  # noqa: SIM115 - the caller holds it open
    except OSError as error:
        raise StoreError(f"store {path}: cannot be locked: {error.strerror}") from error
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        held.seek(0)
        owner = held.read().strip() or "unknown"
        held.close()
        raise StoreError(
            f"store {path}: another responder (process {owner}) is using it; stop that one first"
        ) from error
    held.truncate(0)
    held.write(f"{os.getpid()}\n")
    held.flush()
    return held


def version(path: Path) -> int:
    """Give the schema version of a file without changing it; 0 for a new one."""
    if not path.exists() or path.stat().st_size == 0:
        return 0
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])
    finally:
        connection.close()


def prepare(path: Path) -> None:
    """Bring a file to our schema version, each step whole or not at all.

    Raises: SchemaTooNew: a newer responder wrote it; it is left as it is. StoreError: not a database, or not writable.
    """
    try:
        found = version(path)
        if found > VERSION:
            raise SchemaTooNew(
                f"store {path}: schema version {found}, this responder knows up to {VERSION}; run the newer responder"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("PRAGMA page_size = 8192")  # of a new file: a body in fewer, larger writes
        try:
            for step in range(found, VERSION):
                _migrate(connection, step)
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise StoreError(f"store {path}: {error}") from error


def _migrate(connection: sqlite3.Connection, step: int) -> None:
    script = files("responder.store.sqlite").joinpath(MIGRATIONS[step]).read_text("utf-8")
    connection.execute("BEGIN IMMEDIATE")
    for statement in script.split(";\n"):
        if statement.strip():
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {step + 1}")
    connection.execute("COMMIT")
