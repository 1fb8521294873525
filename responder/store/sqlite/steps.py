"""The SQL of the engine: steps (T3), intents of actions (T4), signals (T5), parking and finishing."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256

import orjson

from responder.errors import Conflict, Fenced
from responder.model import Done, Run
from responder.ports import Journal
from responder.store.sqlite import rows
from responder.store.sqlite.moves import Places, add_counts, insert_posts, insert_timeline, write_move

NEVER = 9e12  # a run that only a signal can wake
_PLAIN_FIELDS = {"phase", "summary", "commander"}


def load(connection: sqlite3.Connection, run: Run) -> Journal:
    """Read what a run has behind it."""
    done, wakes = {}, {}
    for name, phase, value in connection.execute("SELECT name, phase, value FROM journal WHERE run = ?", (run.id,)):
        if phase == "done":
            done[name] = orjson.loads(value)
        elif phase == "wake":
            wakes[name] = rows.surely(orjson.loads(value))
        else:
            done.setdefault(f"{name}#intent", None)
    signals = connection.execute(
        "SELECT id, topic, value FROM signal WHERE run = ? AND consumed IS NULL ORDER BY id", (run.id,)
    )
    found = [(number, topic, orjson.loads(value)) for number, topic, value in signals]
    return Journal(run, done, wakes, found)


def _fence(connection: sqlite3.Connection, run: Run) -> None:
    """Refuse a write of a run that is over or in other hands."""
    sql = "SELECT 1 FROM run WHERE id = ? AND epoch = ? AND state = 'open'"
    if connection.execute(sql, (run.id, run.epoch)).fetchone() is None:
        raise Fenced(f"store: run {run.id} of INC-{run.incident} is over or taken by another")


def _write(connection: sqlite3.Connection, run: Run, name: str, phase: str, value: object, at: datetime) -> None:
    try:
        connection.execute(
            "INSERT INTO journal VALUES (?, ?, ?, ?, ?)", (run.id, name, phase, at.timestamp(), rows.text(value))
        )
    except sqlite3.IntegrityError as error:
        raise Fenced(f"store: step {name!r} of run {run.id} is already {phase}") from error


def pin(connection: sqlite3.Connection, run: Run, pinned: Mapping[str, object]) -> None:
    """Keep the text that a run works from; equal texts are kept once."""
    body = rows.text(pinned)
    digest = sha256(body.encode()).hexdigest()
    connection.execute("INSERT OR IGNORE INTO text VALUES (?, ?)", (digest, body))
    connection.execute("UPDATE run SET text = ? WHERE id = ?", (digest, run.id))


def step(connection: sqlite3.Connection, run: Run, name: str, done: Done, places: Places, at: datetime) -> None:
    """Write a finished step with its evidence, findings, cost, posts and its move (T3)."""
    _fence(connection, run)
    _write(connection, run, name, "done", done.value, at)
    for found in done.evidence:
        connection.execute(
            "INSERT INTO evidence (incident, name, step, tool, args, text, verdict, at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                run.incident,
                found.id,
                name,
                found.tool,
                rows.text(found.args),
                found.text,
                found.verdict,
                found.at.timestamp(),
            ),
        )
    for claim in done.findings:
        connection.execute(
            "INSERT INTO finding (incident, claim, evidence, confidence, agent, phase, verified)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                run.incident,
                claim.claim,
                rows.text(claim.evidence),
                claim.confidence,
                claim.agent,
                claim.phase,
                claim.verified,
            ),
        )
    if done.postmortem:
        connection.execute(
            "INSERT OR REPLACE INTO postmortem VALUES (?, ?, ?)", (run.incident, at.timestamp(), done.postmortem)
        )
    if done.move is not None:
        write_move(connection, done.move, places, at)
    fields = {key: value for key, value in done.incident.items() if key in _PLAIN_FIELDS}
    if fields or done.cost_usd:
        sets = "".join(f", {key} = ?" for key in fields)
        connection.execute(
            f"UPDATE incident SET version = version + 1, cost_usd = cost_usd + ?{sets} WHERE id = ?",
            (done.cost_usd, *fields.values(), run.incident),
        )
    insert_posts(connection, [(run.incident, post) for post in done.posts], places, at)
    insert_timeline(connection, [(run.incident, at, kind, said) for kind, said in done.timeline])
    add_counts(connection, done.counts)


def intent(connection: sqlite3.Connection, run: Run, name: str, at: datetime) -> None:
    """Write that an action is about to be tried (T4)."""
    _fence(connection, run)
    _write(connection, run, name, "intent", None, at)


def wake(connection: sqlite3.Connection, run: Run, name: str, until: datetime, at: datetime) -> None:
    """Write until when a run sleeps or waits, so that a restart does not begin anew."""
    _fence(connection, run)
    _write(connection, run, name, "wake", until.timestamp(), at)


def consume(connection: sqlite3.Connection, run: Run, name: str, signal: int, value: object, at: datetime) -> None:
    """Write that a wait is over and its signal used up (T5); signal 0 is a wait that ran out."""
    _fence(connection, run)
    _write(connection, run, name, "done", value, at)
    if signal:
        sql = "UPDATE signal SET consumed = ? WHERE id = ? AND run = ? AND consumed IS NULL"
        if not connection.execute(sql, (name, signal, run.id)).rowcount:
            raise Conflict(f"store: signal {signal} of run {run.id} is already used")


def park(connection: sqlite3.Connection, run: Run, until: datetime | None, seen: int) -> bool:
    """Put a run to sleep unless a signal has come that it has not seen; `seen` is the newest signal id it knows."""
    if connection.execute(
        "SELECT 1 FROM signal WHERE run = ? AND consumed IS NULL AND id > ?", (run.id, seen)
    ).fetchone():
        return False
    when = NEVER if until is None else until.timestamp()
    connection.execute("UPDATE run SET wake_at = ? WHERE id = ? AND epoch = ?", (when, run.id, run.epoch))
    return True


def finish(connection: sqlite3.Connection, run: Run, state: str, result: object, at: datetime) -> None:
    """End a run: done, failed or cancelled."""
    connection.execute(
        "UPDATE run SET state = ?, ended_at = ?, result = ? WHERE id = ? AND epoch = ? AND state = 'open'",
        (state, at.timestamp(), rows.text(result), run.id, run.epoch),
    )
