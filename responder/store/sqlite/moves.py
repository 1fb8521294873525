"""The SQL of a move (T2): incidents, episodes, posts, runs, signals, counters and the cursor, in one savepoint.

Rows go in by `json_each`, one statement a table: each statement gives up the interpreter's lock once, and with a busy
event loop every further time may wait for its turn.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any

import orjson

from responder.errors import Conflict
from responder.model import Beat, Cursor, EpisodeChange, Incident, Move, NewEpisode, Post, Ref
from responder.store.sqlite.rows import INCIDENT_COLUMNS, incident_values, message_text, stamp, text

RAW_KEPT_BYTES = 64 << 10  # of an unreadable body


@dataclass(frozen=True, slots=True)
class Places:
    """Where posts go: to every chat; or to the one mirror that they name, and nowhere when it is not configured."""

    chats: Sequence[str]
    mirrors: Sequence[str] = ()

    def of(self, post: Post) -> Sequence[str]:
        """Give the names under which a post is queued."""
        return [name for name in self.mirrors if name == post.chat] if post.chat else self.chats


def write_move(connection: sqlite3.Connection, move: Move, places: Places, at: datetime) -> list[int]:
    """Write all of a move.

    Returns: the numbers of the incidents opened, in order.
    Raises: Conflict: an incident or episode is no longer as the move saw it. sqlite3.Error: as SQLite says.
    """
    try:
        opened = [_open(connection, incident) for incident in move.opened]
    except sqlite3.IntegrityError as error:
        raise _meant(error, "a group was opened meanwhile") from error
    numbers = dict(zip((incident.group_key for incident in move.opened), opened, strict=True))

    def number(ref: Ref) -> int:
        return ref if isinstance(ref, int) else numbers[ref]

    for incident in move.changed:
        change_incident(connection, incident)
    _insert_episodes(connection, move.episodes, number)
    _change_episodes(connection, move.joined, number)
    insert_signals(connection, [(number(ref), topic, value) for ref, topic, value in move.signals], at)
    _insert_runs(connection, [(number(ref), kind, n) for ref, kind, n in move.runs], at)
    insert_posts(connection, [(number(post.incident), post) for post in move.posts], places, at)
    insert_timeline(connection, [(number(line.incident), line.at, line.kind, line.text) for line in move.timeline])
    for receiver, bad, when in move.quarantined:
        connection.execute(
            "INSERT INTO quarantine (receiver, at, reason, raw, entries) VALUES (?, ?, ?, ?, ?)",
            (receiver, stamp(when), bad.reason[:500], bad.raw[:RAW_KEPT_BYTES], bad.entries),
        )
    for receiver, body in move.internal:
        connection.execute(
            "INSERT INTO inbox (at, receiver, request_id, body) VALUES (?, ?, '', ?)", (stamp(at), receiver, body)
        )
    add_counts(connection, move.counts)
    _keep_beats(connection, move.beats)
    bulk(
        connection,
        f"INSERT OR REPLACE INTO alias SELECT {columns(3)} FROM json_each(?)",
        {(alias, source): (alias, source, number(ref)) for alias, source, ref in move.aliases}.values(),
    )
    if move.cursor is not None:
        write_cursor(connection, move.cursor)
    return opened


def _meant(error: sqlite3.IntegrityError, meanwhile: str) -> Exception:
    """Tell a race with another writer, worth reading again, from a statement that would fail for ever."""
    return Conflict(f"store: {meanwhile}") if error.sqlite_errorname == "SQLITE_CONSTRAINT_UNIQUE" else error


def bulk(connection: sqlite3.Connection, sql: str, rows: Iterable[Sequence[Any]]) -> None:
    """Run one statement over many rows; the rows are `json_each(?)`, a column is `value ->> n`."""
    listed = list(rows)
    if listed:
        connection.execute(sql, (orjson.dumps(listed).decode(),))


def columns(count: int) -> str:
    """Name the columns of a bulk row."""
    return ", ".join(f"value ->> {n}" for n in range(count))


def _open(connection: sqlite3.Connection, incident: Incident) -> int:
    names = INCIDENT_COLUMNS[1:]
    marks = ", ".join("?" * len(names))
    sql = f"INSERT INTO incident ({', '.join(names)}) VALUES ({marks})"
    number = connection.execute(sql, incident_values(incident)[1:]).lastrowid
    assert number is not None
    return number


def change_incident(connection: sqlite3.Connection, incident: Incident) -> None:
    """Write an incident if its version still stands.

    Raises: Conflict: it does not, or its group has another open incident.
    """
    names = INCIDENT_COLUMNS[2:]
    sets = ", ".join(f"{name} = ?" for name in names)
    sql = f"UPDATE incident SET version = version + 1, {sets} WHERE id = ? AND version = ?"
    try:
        changed = connection.execute(sql, [*incident_values(incident)[2:], incident.id, incident.version]).rowcount
    except sqlite3.IntegrityError as error:
        raise _meant(error, f"{incident.name}'s group was opened meanwhile") from error
    if not changed:
        raise Conflict(f"store: {incident.name} has changed since version {incident.version}")


def _insert_episodes(connection: sqlite3.Connection, episodes: Sequence[NewEpisode], number: Any) -> None:
    if not episodes:
        return
    first = connection.execute("SELECT coalesce(max(id), 0) + 1 FROM episode").fetchone()[0]
    rows = []
    reasons: dict[str, str] = {}
    for offset, new in enumerate(episodes):
        alert = new.alert
        rows.append(
            (
                first + offset,
                alert.identity,
                alert.source,
                text(alert.labels),
                text(alert.annotations),
                int(new.ended_at is None),
                stamp(new.started_at),
                stamp(new.ended_at),
                stamp(alert.received_at),
                None if new.incident is None else number(new.incident),
                alert.generator_url,
                keep_reason(reasons, new.why),
                str(new.why.get("rule", "")),
                str(new.why.get("severity", "")),
                new.muted.kind,
                new.muted.why,
                alert.ref,
                alert.alias,
            )
        )
    bulk(connection, f"INSERT OR IGNORE INTO reason SELECT {columns(2)} FROM json_each(?)", reasons.items())
    try:
        bulk(connection, f"INSERT INTO episode SELECT {columns(18)} FROM json_each(?)", rows)
    except sqlite3.IntegrityError as error:
        raise _meant(error, "an episode was opened meanwhile") from error
    counted = [(first + offset, new.entries) for offset, new in enumerate(episodes)]
    bulk(connection, f"INSERT INTO taken SELECT {columns(2)} FROM json_each(?)", counted)


def keep_reason(reasons: dict[str, str], why: Mapping[str, object]) -> str:
    """Add the reasons of a decision under their hash, and give it; "" for none."""
    if not why:
        return ""
    body = text(why)
    name = blake2b(body.encode(), digest_size=12).hexdigest()
    reasons[name] = body
    return name


def _change_episodes(connection: sqlite3.Connection, changes: Sequence[EpisodeChange], number: Any) -> None:
    full = [
        (
            change.id, stamp(change.received_at), stamp(change.started_at), stamp(change.ended_at),
            None if change.annotations is None else text(change.annotations),
            None if change.incident is None else number(change.incident), int(change.reopen),
            None if change.muted is None else change.muted.kind, None if change.muted is None else change.muted.why,
            None if change.labels is None else text(change.labels),
        )
        for change in changes
        if not _only_counts(change)
    ]  # fmt: skip
    sql = """UPDATE episode SET
      received_at = max(received_at, v.value ->> 1),
      started_at = coalesce(v.value ->> 2, started_at),
      ended_at = CASE WHEN v.value ->> 6 THEN NULL ELSE coalesce(v.value ->> 3, ended_at) END,
      firing = CASE WHEN v.value ->> 6 THEN 1 WHEN v.value ->> 3 IS NOT NULL THEN 0 ELSE firing END,
      annotations = coalesce(v.value ->> 4, annotations),
      incident = coalesce(v.value ->> 5, incident),
      muted = coalesce(v.value ->> 7, muted),
      muted_why = coalesce(v.value ->> 8, muted_why),
      labels = coalesce(v.value ->> 9, labels)
      FROM json_each(?) AS v WHERE episode.id = v.value ->> 0"""
    try:
        bulk(connection, sql, full)
    except sqlite3.IntegrityError as error:
        raise _meant(error, "an episode was opened meanwhile") from error
    counted: Counter[int] = Counter()
    for change in changes:  # summed first: UPDATE FROM applies only one of several rows for the same episode
        counted[change.id] += change.entries
    bulk(
        connection,
        "UPDATE taken SET entries = entries + (v.value ->> 1) FROM json_each(?) AS v WHERE episode = v.value ->> 0",
        counted.items(),
    )


def _only_counts(change: EpisodeChange) -> bool:
    plain = change.started_at is None and change.ended_at is None and change.annotations is None
    same = change.incident is None and change.muted is None and change.labels is None
    return plain and same and not change.reopen


def insert_signals(connection: sqlite3.Connection, signals: Sequence[tuple[int, str, object]], at: datetime) -> None:
    """Give each open run of each incident its signal, and make the run due."""
    rows = [(incident, topic, text(value), stamp(at)) for incident, topic, value in signals]
    bulk(
        connection,
        "INSERT INTO signal (run, topic, value, at) SELECT r.id, value ->> 1, value ->> 2, value ->> 3"
        " FROM json_each(?) AS v JOIN run r ON r.incident = v.value ->> 0 AND r.state = 'open' WHERE true",
        rows,
    )
    bulk(
        connection,
        "UPDATE run SET wake_at = 0, signals = signals + 1 WHERE state = 'open'"
        " AND incident IN (SELECT value ->> 0 FROM json_each(?))",
        rows,
    )


def _keep_beats(connection: sqlite3.Connection, beats: Sequence[Beat]) -> None:
    rows = {beat.key: (beat.key, beat.rule, beat.within_s, text(beat.labels), stamp(beat.at)) for beat in beats}
    bulk(connection, f"INSERT OR REPLACE INTO heartbeat SELECT {columns(5)} FROM json_each(?)", rows.values())


def _insert_runs(connection: sqlite3.Connection, runs: Sequence[tuple[int, str, int]], at: datetime) -> None:
    rows = [(incident, kind, n, stamp(at)) for incident, kind, n in runs]
    sql = f"INSERT OR IGNORE INTO run (incident, kind, n, created_at) SELECT {columns(4)} FROM json_each(?)"
    bulk(connection, sql, rows)


def insert_posts(
    connection: sqlite3.Connection, posts: Sequence[tuple[int, Post]], places: Places, at: datetime
) -> None:
    """Queue each post once a place; a head that is already queued is not queued again."""
    when = stamp(at)
    rows = [
        (incident, chat, post.kind, post.severity, post.channel, message_text(post.message), "queued", when, 0)
        for incident, post in posts
        for chat in places.of(post)
    ]
    names = "incident, chat, kind, severity, channel, message, state, created_at, not_before"
    bulk(connection, f"INSERT OR IGNORE INTO post ({names}) SELECT {columns(9)} FROM json_each(?)", rows)


def insert_timeline(connection: sqlite3.Connection, lines: Sequence[tuple[int, datetime, str, str]]) -> None:
    """Add lines to incidents' records."""
    rows = [(incident, stamp(at), kind, said[:2000]) for incident, at, kind, said in lines]
    bulk(connection, f"INSERT INTO timeline (incident, at, kind, text) SELECT {columns(4)} FROM json_each(?)", rows)


def add_counts(connection: sqlite3.Connection, counts: dict[tuple[str, str], Any]) -> None:
    """Add to the ledger's counters."""
    rows = [(name, label, n) for (name, label), n in counts.items()]
    sql = f"INSERT INTO counter SELECT {columns(3)} FROM json_each(?) WHERE true"
    bulk(connection, f"{sql} ON CONFLICT (name, label) DO UPDATE SET n = n + excluded.n", rows)


def write_cursor(connection: sqlite3.Connection, cursor: Cursor) -> None:
    """Move the cursor; it never goes back.

    Raises: Conflict: another worker has moved it past this point.
    """
    sql = "UPDATE cursor SET seq = ?1, entries = ?2 WHERE seq < ?1 OR (seq = ?1 AND entries <= ?2)"
    if not connection.execute(sql, (cursor.seq, cursor.entries)).rowcount:
        raise Conflict(f"store: the inbox cursor is already past {cursor}")
