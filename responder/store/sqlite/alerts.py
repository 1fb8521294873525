"""Reads stored alerts page by page: every episode, oldest first, as JSON that the database itself has written.

A page of a thousand is made where neither the interpreter nor its lock is needed: bodies are accepted meanwhile.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

_TIME = "strftime('%Y-%m-%dT%H:%M:%fZ', {}, 'unixepoch')"
# What a page says of each alert: JSON key -> SQL over episode e and its incident i. The one place to extend.
COLUMNS: Mapping[str, str] = {
    "id": "e.id",
    "source": "e.source",
    "labels": "json(e.labels)",
    "annotations": "json(e.annotations)",
    "status": "iif(e.firing, 'firing', 'resolved')",
    "started_at": _TIME.format("e.started_at"),
    "ended_at": _TIME.format("e.ended_at"),
    "received_at": _TIME.format("e.received_at"),
    "incident": "'INC-' || e.incident",
    "rule": "coalesce(nullif(e.rule, ''), i.rule)",  # an episode of version 1 does not know its own
    "severity": "coalesce(nullif(e.severity, ''), i.severity)",
    "muted": "iif(e.muted = '', NULL, json_object('kind', e.muted, 'why', e.muted_why))",
}
_SHOWN = ", ".join(f"'{key}', {sql}" for key, sql in COLUMNS.items())


def page(connection: sqlite3.Connection, after: int, limit: int, since: float) -> tuple[str, int | None]:
    """Give up to `limit` alerts with a number above `after` whose last news came at `since` (Unix seconds) or later.

    Returns: a JSON array of objects with the keys of COLUMNS (times RFC 3339 in UTC, null where there is none), and
        the number to ask after for the next page, None when this was the last.
    """
    # The inner query takes one row too many, which only says that there is more.
    sql = f"""WITH found AS MATERIALIZED (
        SELECT id FROM episode WHERE id > ?1 AND received_at >= ?2 ORDER BY id LIMIT ?3 + 1),
      shown AS MATERIALIZED (SELECT id FROM found ORDER BY id LIMIT ?3)
      SELECT
        (SELECT json_group_array(json_object({_SHOWN})) FROM shown
          JOIN episode e ON e.id = shown.id LEFT JOIN incident i ON i.id = e.incident),
        (SELECT max(id) FROM shown WHERE (SELECT count(*) FROM found) > ?3)"""
    text, further = connection.execute(sql, (after, since, limit)).fetchone()
    return str(text), None if further is None else int(further)


def newest(connection: sqlite3.Connection, limit: int, muted: bool) -> str:
    """Give the newest alerts, newest first, as `page` does; only those that fire and are muted when `muted`."""
    only = "WHERE e.firing = 1 AND e.muted <> ''" if muted else ""
    sql = f"""SELECT json_object({_SHOWN}) FROM episode e LEFT JOIN incident i ON i.id = e.incident {only}
      ORDER BY e.id DESC LIMIT ?"""
    return f"[{','.join(row[0] for row in connection.execute(sql, (limit,)))}]"


def one(connection: sqlite3.Connection, number: int) -> str | None:
    """Give one alert as `page` does, with the decision that it was given; None when there is none of this number."""
    sql = f"""SELECT json_object({_SHOWN}, 'decision', json(r.body)) FROM episode e
      LEFT JOIN incident i ON i.id = e.incident LEFT JOIN reason r ON r.hash = e.reason WHERE e.id = ?"""
    found = connection.execute(sql, (number,)).fetchone()
    return None if found is None else str(found[0])
