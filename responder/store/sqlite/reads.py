"""What is read, on read-only connections.

The hot reads come back as one JSON value: a row at a time would give up the interpreter's lock at each row.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import orjson

from responder.model import Beat, Cursor, Episode, InboxRow, Incident, Run
from responder.store.sqlite import rows

READ_BYTES = 4 << 20  # of bodies at once; a larger body comes alone


def cursor(connection: sqlite3.Connection) -> Cursor:
    """How far the inbox is moved."""
    return Cursor(*connection.execute("SELECT seq, entries FROM cursor").fetchone())


def waiting(connection: sqlite3.Connection, after: int, limit: int) -> list[InboxRow]:
    """Bodies behind `after`, in order, together at most READ_BYTES (but always one)."""
    sql = """SELECT json_group_array(json_array(seq, receiver, hex(body), at, request_id)) FROM (
      SELECT *, sum(length(body)) OVER (ORDER BY seq) AS size FROM (
        SELECT * FROM inbox WHERE seq > ? ORDER BY seq LIMIT ?)) WHERE size <= ? OR size = length(body)"""
    found = orjson.loads(connection.execute(sql, (after, limit, READ_BYTES)).fetchone()[0])
    return [
        InboxRow(seq, receiver, bytes.fromhex(body), rows.surely(at), request_id)
        for seq, receiver, body, at, request_id in found
    ]


def episodes(connection: sqlite3.Connection, identities: Sequence[str]) -> dict[str, Episode]:
    """The newest episode of each identity: the open one, else the last ended."""
    listed = rows.EPISODE_COLUMNS.replace("id,", "e.id,", 1)
    sql = f"""SELECT json_group_array(json_array({listed})) FROM json_each(?) AS v JOIN episode e
      ON e.id = (SELECT max(id) FROM episode WHERE identity = v.value)"""
    found = connection.execute(sql, (orjson.dumps(identities).decode(),)).fetchone()[0]
    return {row[1]: rows.episode(row) for row in orjson.loads(found)}


def firing(connection: sqlite3.Connection, after: int, limit: int, only: str) -> list[Episode]:
    """Firing episodes behind a number, in order; `only` is a further condition of our own."""
    sql = f"SELECT {rows.EPISODE_COLUMNS} FROM episode WHERE firing = 1 AND id > ? {only} ORDER BY id LIMIT ?"
    return [rows.episode(row) for row in connection.execute(sql, (after, limit))]


def twins(connection: sqlite3.Connection, aliases: Sequence[str]) -> dict[tuple[str, str], int]:
    """The incidents under these aliases: (alias, source) -> number."""
    sql = "SELECT alias, source, incident FROM alias WHERE alias IN (SELECT value FROM json_each(?))"
    found = connection.execute(sql, (orjson.dumps(aliases).decode(),))
    return {(alias, source): incident for alias, source, incident in found}


def beats(connection: sqlite3.Connection) -> list[Beat]:
    """All heartbeats."""
    found = connection.execute("SELECT key, rule, within_s, labels, at FROM heartbeat ORDER BY key")
    return [
        Beat(key, rule, within_s, orjson.loads(labels), rows.surely(at)) for key, rule, within_s, labels, at in found
    ]


def groups(connection: sqlite3.Connection, keys: Sequence[str], numbers: Sequence[int]) -> list[Incident]:
    """The open incident of each group key, else its newest, and the incidents of these numbers."""
    listed = ", ".join(f"i.{name}" for name in rows.INCIDENT_COLUMNS)
    sql = f"""SELECT json_group_array(json_array({listed})) FROM incident i WHERE i.id IN (
      SELECT coalesce(
        (SELECT id FROM incident WHERE group_key = v.value AND status NOT IN ('resolved', 'reviewed')),
        (SELECT max(id) FROM incident WHERE group_key = v.value)) FROM json_each(?1) AS v
      UNION SELECT value FROM json_each(?2))"""
    arguments = (orjson.dumps(keys).decode(), orjson.dumps(numbers).decode())
    return [rows.incident(row) for row in orjson.loads(connection.execute(sql, arguments).fetchone()[0])]


def incidents(
    connection: sqlite3.Connection, before: int | None, statuses: Sequence[str], severities: Sequence[str], limit: int
) -> list[Incident]:
    """Newest first, below a number, filtered."""
    wanted, values = [], []
    for column, allowed in (("status", statuses), ("severity", severities)):
        if allowed:
            wanted.append(f"{column} IN ({', '.join('?' * len(allowed))})")
            values += list(allowed)
    if before is not None:
        wanted.append("id < ?")
        values.append(str(before))
    where = f"WHERE {' AND '.join(wanted)}" if wanted else ""
    sql = f"SELECT {', '.join(rows.INCIDENT_COLUMNS)} FROM incident {where} ORDER BY id DESC LIMIT ?"
    return [rows.incident(row) for row in connection.execute(sql, [*values, limit])]


_EPISODE = (
    "source, labels, annotations, firing, started_at, ended_at, generator_url, rule, severity, muted, muted_why, reason"
)
_RECORD = {
    "episodes": f"SELECT id, {_EPISODE} FROM episode WHERE incident = ? ORDER BY id",
    "reasons": "SELECT DISTINCT hash, body FROM reason WHERE hash IN (SELECT reason FROM episode WHERE incident = ?)",
    "timeline": "SELECT at, kind, text FROM timeline WHERE incident = ? ORDER BY id",
    "evidence": "SELECT name AS id, step, tool, args, text, verdict, at FROM evidence WHERE incident = ?"
    " ORDER BY evidence.id",
    "findings": "SELECT claim, evidence, confidence, agent, phase, verified FROM finding WHERE incident = ?"
    " ORDER BY id",
    "postmortem": "SELECT at, text FROM postmortem WHERE incident = ?",
    "threads": "SELECT chat, channel, ts, permalink FROM thread WHERE incident = ?",
    "posts": "SELECT id, chat, kind, channel, message, state, ts, created_at, sent_at, attempts, error FROM post"
    " WHERE incident = ? ORDER BY id",
    "runs": "SELECT id, kind, n, state, result, wake_at FROM run WHERE incident = ? ORDER BY id",
}
_JSON = {"labels", "annotations", "args", "message", "body"}
_TIMES = {"at", "started_at", "ended_at", "created_at", "sent_at"}


def record(connection: sqlite3.Connection, number: int) -> dict[str, list[dict[str, Any]]]:
    """Everything kept of one incident, table by table; times are aware UTC, JSON columns are read."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name, sql in _RECORD.items():
        cursor = connection.execute(sql, (number,))
        names = [column[0] for column in cursor.description]
        found[name] = [_readable(dict(zip(names, row, strict=True)), name) for row in cursor]
    return found


def _readable(row: dict[str, Any], table: str) -> dict[str, Any]:
    for key, value in row.items():
        if value is None:
            continue
        if key in _TIMES:
            row[key] = rows.moment(value)
        elif key in _JSON or (table == "findings" and key == "evidence"):
            row[key] = orjson.loads(value)
    return row


def channel_id(connection: sqlite3.Connection, chat: str, name: str) -> str:
    """The id of a channel that we have posted to by its name, else ""."""
    row = connection.execute("SELECT id FROM channel WHERE chat = ? AND name = ?", (chat, name)).fetchone()
    return str(row[0]) if row else ""


def some_episodes(connection: sqlite3.Connection, numbers: Sequence[int]) -> dict[int, list[dict[str, Any]]]:
    """The first twenty episodes of each incident, for a list that must stay small."""
    sql = f"""SELECT v.value AS incident, {_EPISODE} FROM json_each(?) AS v JOIN episode ON episode.id IN (
      SELECT id FROM episode WHERE incident = v.value ORDER BY id LIMIT 20)"""
    cursor = connection.execute(sql, (orjson.dumps(numbers).decode(),))
    keys = [column[0] for column in cursor.description]
    found: dict[int, list[dict[str, Any]]] = {number: [] for number in numbers}
    for row in cursor:
        each = _readable(dict(zip(keys, row, strict=True)), "episodes")
        found[each.pop("incident")].append(each)
    return found


def due_runs(connection: sqlite3.Connection, now: float, limit: int) -> list[Run]:
    """Open runs whose timer or signal is due, worst first; so many of each kind: chains never crowd out a watch."""
    sql = """SELECT r.id, r.incident, r.kind, r.n, r.epoch, t.body, due.severity FROM (
        SELECT o.id, i.severity, row_number() OVER (PARTITION BY o.kind ORDER BY i.severity, o.id) AS place
        FROM run o JOIN incident i ON i.id = o.incident WHERE o.state = 'open' AND o.wake_at <= ?) AS due
      JOIN run r ON r.id = due.id LEFT JOIN text t ON t.hash = r.text
      WHERE due.place <= ? ORDER BY due.severity, r.id"""
    return [rows.run(row) for row in connection.execute(sql, (now, limit))]


def counter(connection: sqlite3.Connection, name: str, label: str) -> float:
    """One counter of the ledger, 0 while nothing was counted."""
    row = connection.execute("SELECT n FROM counter WHERE name = ? AND label = ?", (name, label)).fetchone()
    return float(row[0]) if row else 0.0


def figures(connection: sqlite3.Connection) -> dict[tuple[str, str], float]:
    """Counters, and the figures counted from rows, all of one snapshot."""
    connection.execute("BEGIN")
    try:
        found = {(name, label): float(n) for name, label, n in connection.execute("SELECT * FROM counter")}
        for severity, n in connection.execute(
            "SELECT severity, count(*) FROM incident WHERE status NOT IN ('resolved', 'reviewed') GROUP BY severity"
        ):
            found["open", severity] = n
        for kind, n in connection.execute(
            "SELECT muted, count(*) FROM episode WHERE firing = 1 AND muted <> '' GROUP BY muted"
        ):
            found["muted_now", kind] = n
        one = {
            "taken": "SELECT coalesce(sum(entries), 0) FROM taken",
            "taken_open": "SELECT coalesce(sum(entries), 0) FROM taken JOIN episode ON id = episode WHERE firing = 1",
            "taken_muted": "SELECT coalesce(sum(entries), 0) FROM taken JOIN episode ON id = episode WHERE muted <> ''",
            "taken_muted_open": "SELECT coalesce(sum(entries), 0) FROM taken JOIN episode ON id = episode"
            " WHERE muted <> '' AND firing = 1",
            "quarantined_entries": "SELECT coalesce(sum(entries), 0) FROM quarantine",
            "quarantined": "SELECT count(*) FROM quarantine",
            "waiting": "SELECT count(*) FROM inbox WHERE seq > (SELECT seq FROM cursor)",
            "waiting_since": "SELECT coalesce(min(at), 0) FROM inbox WHERE seq > (SELECT seq FROM cursor)",
            "posts_waiting": "SELECT count(*) FROM post WHERE state IN ('queued', 'sending')",
            "posts_since": "SELECT coalesce(min(created_at), 0) FROM post WHERE state IN ('queued', 'sending')",
            "heartbeat_since": "SELECT coalesce(min(at), 0) FROM heartbeat",
            "runs_open": "SELECT count(*) FROM run WHERE state = 'open'",
        }
        for name, sql in one.items():
            found[name, ""] = float(connection.execute(sql).fetchone()[0])
    finally:
        connection.execute("COMMIT")
    return found
