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
    "rule": "i.rule",
    "severity": "i.severity",
}


def page(connection: sqlite3.Connection, after: int, limit: int, since: float) -> tuple[str, int | None]:
    """Give up to `limit` alerts with a number above `after` whose last news came at `since` (Unix seconds) or later.

    Returns: a JSON array of objects with the keys of COLUMNS (times RFC 3339 in UTC, null where there is none), and
        the number to ask after for the next page, None when this was the last.
    """
    shown = ", ".join(f"'{key}', {sql}" for key, sql in COLUMNS.items())
    # The inner query takes one row too many, which only says that there is more.
    sql = f"""WITH found AS MATERIALIZED (
        SELECT id FROM episode WHERE id > ?1 AND received_at >= ?2 ORDER BY id LIMIT ?3 + 1),
      shown AS MATERIALIZED (SELECT id FROM found ORDER BY id LIMIT ?3)
      SELECT
        (SELECT json_group_array(json_object({shown})) FROM shown
          JOIN episode e ON e.id = shown.id LEFT JOIN incident i ON i.id = e.incident),
        (SELECT max(id) FROM shown WHERE (SELECT count(*) FROM found) > ?3)"""
    text, further = connection.execute(sql, (after, since, limit)).fetchone()
    return str(text), None if further is None else int(further)
