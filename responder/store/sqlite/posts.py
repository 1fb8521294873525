"""The SQL of the outbox (T4): whose turn it is, what goes in one message, and what became of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime

import orjson

from responder.model import OutboxPost, Severity
from responder.ports import Line, Rest, Waiting
from responder.store.sqlite import rows
from responder.store.sqlite.moves import add_counts, insert_timeline

# Where a post goes, by the name that rules use: a thread may have been moved away from its incident's channel.
_PLACE = """CASE WHEN t.channel IS NULL OR p.kind = 'notice'
    THEN coalesce(nullif(p.channel, ''), nullif(i.channel, ''), :homes ->> p.chat, '')
    ELSE coalesce((SELECT name FROM channel WHERE chat = p.chat AND id = t.channel AND name = i.channel),
      (SELECT min(name) FROM channel WHERE chat = p.chat AND id = t.channel),
      nullif(i.channel, ''), :homes ->> p.chat, '') END"""
_FROM_POST = """post p JOIN incident i ON i.id = p.incident
    LEFT JOIN thread t ON t.incident = p.incident AND t.chat = p.chat"""
_HELD = "SELECT 1 FROM channel_hold h WHERE h.chat = placed.chat AND h.channel = placed.place AND h.until > :now"

# `turn`: a thread's head comes before all else, then its lines in order; a queued edit of the head goes beside them.
# An edit in `sending` was cut short by our end: it stands in the line until it is settled, for only one may be so.
_DUE = f"""WITH
  resting AS MATERIALIZED (
    SELECT value ->> 0 AS chat, value ->> 1 AS lane, value ->> 2 AS place, value ->> 3 AS urgent_too
    FROM json_each(:resting)),
  first AS MATERIALIZED (
    SELECT incident, chat, min(id) AS id FROM post WHERE state IN ('queued', 'sending') GROUP BY incident, chat),
  turn AS (
    SELECT CASE WHEN t.ts IS NULL THEN coalesce(
        (SELECT id FROM post WHERE id = f.id AND kind = 'head'),
        (SELECT min(id) FROM post WHERE incident = f.incident AND chat = f.chat AND state IN ('queued', 'sending')
          AND kind = 'head'),
        f.id)
      ELSE (SELECT id FROM post WHERE incident = f.incident AND chat = f.chat AND state IN ('queued', 'sending')
        AND (kind <> 'head' OR state = 'sending') ORDER BY id LIMIT 1) END AS id
    FROM first f LEFT JOIN thread t ON t.incident = f.incident AND t.chat = f.chat
    UNION ALL
    SELECT p.id FROM post p JOIN thread t ON t.incident = p.incident AND t.chat = p.chat
    WHERE p.kind = 'head' AND p.state = 'queued'),
  placed AS MATERIALIZED (
    SELECT p.id, p.chat, i.severity, p.kind IN ('reply', 'joined') AS calm, min(i.severity, 'P2') AS rank,
      {_PLACE} AS place,
      CASE WHEN p.kind <> 'head' THEN 'line' WHEN t.ts IS NULL THEN 'head' ELSE 'edit' END AS lane
    FROM turn JOIN {_FROM_POST} WHERE p.id = turn.id AND p.not_before <= :now),
  ready AS (
    SELECT *, row_number() OVER (PARTITION BY chat, lane = 'edit' ORDER BY rank, calm, severity, id) AS n FROM placed
    WHERE (lane = 'edit' OR severity <= 'P1' OR NOT EXISTS ({_HELD}))
    AND NOT EXISTS (SELECT 1 FROM resting r WHERE r.chat = placed.chat AND r.lane = placed.lane
      AND coalesce(r.place, placed.place) = placed.place AND (r.urgent_too OR placed.severity > 'P1')))
  SELECT {rows.POST_COLUMNS}, ready.place FROM ready JOIN {_FROM_POST} WHERE p.id = ready.id AND ready.n <= :limit
  ORDER BY ready.rank, ready.calm, ready.severity, p.id"""


def due_posts(
    connection: sqlite3.Connection, now: float, limit: int, homes: Mapping[str, str], resting: Sequence[Rest]
) -> list[OutboxPost]:
    """What may go next, of each thread one line and one edit: P0, then P1, then the minor ones; of each, what opens or
    pages before details: in a storm each incident is heard of before the first is told at length.

    At most `limit` lines and `limit` edits of each chat. A channel's hold binds the minor posts; `resting` says more.
    """
    listed = [(each.chat, each.lane, each.place, each.urgent_too) for each in resting]
    asked = {"now": now, "limit": limit, "homes": _json(dict(homes)), "resting": _json(listed)}
    return [rows.post(row) for row in connection.execute(_DUE, asked)]


def behind(connection: sqlite3.Connection, post: OutboxPost, limit: int, only_joined: bool) -> list[Line]:
    """The lines that wait behind a post of their thread, in order, up to the next page or notice.

    With `only_joined` it is the lines of that kind, wherever they stand.
    """
    sql = """SELECT id, kind, state = 'riding', message FROM post
      WHERE incident = :incident AND chat = :chat AND id > :id
      AND state IN ('queued', 'riding') AND CASE WHEN :only_joined THEN kind = 'joined'
        ELSE kind IN ('reply', 'joined') AND id < coalesce((SELECT min(id) FROM post WHERE incident = :incident
          AND chat = :chat AND id > :id AND state IN ('queued', 'sending') AND kind IN ('page', 'notice')), 9e18) END
      ORDER BY id LIMIT :limit"""
    asked = {
        "incident": post.incident, "chat": post.chat, "id": post.id, "only_joined": only_joined, "limit": limit,
    }  # fmt: skip
    found = []
    for number, kind, riding, said in connection.execute(sql, asked):
        message = rows.message(said)
        assert message is not None, "only a head is drawn when it is sent"
        found.append(Line(number, kind, bool(riding), message))
    return found


def aside(connection: sqlite3.Connection, post: OutboxPost, since: float) -> tuple[int, int]:
    """(updates of the incident that this chat never showed, times that it fired again since a moment).

    It fired again when it was reopened, or when an alert joined after all had ended.
    """
    sql = """SELECT
      (SELECT count(*) FROM post WHERE incident = :incident AND chat = :chat AND state = 'folded'),
      (SELECT count(*) FROM (
        SELECT kind, lag(kind || text) OVER (ORDER BY id) AS before FROM timeline
        WHERE incident = :incident AND at >= :since AND kind IN ('joined', 'ended', 'reopened'))
      WHERE kind = 'reopened' OR (kind = 'joined' AND before LIKE 'ended%; 0 still firing'))"""
    asked = {"incident": post.incident, "chat": post.chat, "since": since}
    folded, flaps = connection.execute(sql, asked).fetchone()
    return int(folded), int(flaps)


# Minor incidents whose first message has not been tried: what may have arrived is looked for, not told otherwise.
_CROWD = f"""SELECT p.id, p.incident, p.chat, {_PLACE} AS place, i.status IN ('resolved', 'reviewed') AS over
  FROM {_FROM_POST}
  WHERE p.kind = 'head' AND p.state = 'queued' AND t.ts IS NULL AND i.severity > 'P1'"""


def crowds(
    connection: sqlite3.Connection, now: float, more_than: int, homes: Mapping[str, str]
) -> list[tuple[str, str, int, int]]:
    """Where more than so many first messages of minor incidents wait, unless the channel is held.

    Returns: (chat, place, the newest of these posts, how many of the incidents are over).
    """
    sql = f"""SELECT chat, place, max(id), sum(over) FROM ({_CROWD}) AS placed WHERE NOT EXISTS ({_HELD})
      GROUP BY chat, place HAVING count(*) > :more_than ORDER BY chat, place"""
    return list(connection.execute(sql, {"now": now, "more_than": more_than, "homes": _json(dict(homes))}))


def crowd(connection: sqlite3.Connection, chat: str, place: str, homes: Mapping[str, str]) -> list[Waiting]:
    """The minor incidents whose first message waits for a place, worst first, then oldest."""
    sql = f"""SELECT c.id, i.id, i.severity, i.title, i.firing, i.episodes, c.over AND NOT EXISTS (
        SELECT 1 FROM post q WHERE q.incident = c.incident AND q.chat = c.chat AND q.state IN ('queued', 'sending')
        AND (q.kind IN ('page', 'notice') OR q.state = 'sending'))
      FROM ({_CROWD}) AS c JOIN incident i ON i.id = c.incident WHERE c.chat = :chat AND c.place = :place
      ORDER BY i.severity, c.id"""
    found = connection.execute(sql, {"chat": chat, "place": place, "homes": _json(dict(homes))})
    return [
        Waiting(number, home, Severity(severity), title, firing, episodes, bool(over))
        for number, home, severity, title, firing, episodes, over in found
    ]


def digested(connection: sqlite3.Connection, chat: str, over: Sequence[int]) -> None:
    """Write that a digest was posted, and fold what waits of the incidents that it told to be over, if they still are.

    What has to be said on its own (a page, a notice), or may have arrived, is left as it is.
    """
    sql = """UPDATE post SET state = 'folded' WHERE chat = :chat AND state = 'queued' AND incident IN (
        SELECT i.id FROM json_each(:over) AS v JOIN incident i ON i.id = v.value
        WHERE i.status IN ('resolved', 'reviewed')
        AND NOT EXISTS (SELECT 1 FROM thread t WHERE t.incident = i.id AND t.chat = :chat)
        AND NOT EXISTS (SELECT 1 FROM post q WHERE q.incident = i.id AND q.chat = :chat
          AND (q.state IN ('sending', 'riding') OR (q.state = 'queued' AND q.kind IN ('page', 'notice')))))"""
    folded = connection.execute(sql, {"chat": chat, "over": _json(over)}).rowcount
    add_counts(connection, {("posts", f"{chat}/digest"): 1, ("posts", f"{chat}/folded"): folded})


def folded(connection: sqlite3.Connection, post: OutboxPost, others: Sequence[int], at: datetime) -> None:
    """Write that a line and others of its thread are only counted in the head, and have the head say so."""
    n = _settle(connection, [post.id, *others], "folded", "", at)
    apart(connection, post)
    _ask_for_edit(connection, post, at)
    add_counts(connection, {("posts", f"{post.chat}/folded"): n})


def sending(connection: sqlite3.Connection, post: OutboxPost, riders: Sequence[int]) -> bool:
    """Write that a post is about to leave (T4 intent) with `riders` inside; False when it is no longer to be sent."""
    sql = """UPDATE post SET state = 'sending', attempts = attempts + 1, looking_since = NULL
      WHERE id = ? AND state IN ('queued', 'sending')"""
    if not connection.execute(sql, (post.id,)).rowcount:
        return False
    sql = "UPDATE post SET state = 'riding' WHERE id IN (SELECT value FROM json_each(?)) AND state = 'queued'"
    connection.execute(sql, (_json(riders),))
    return True


def sent(
    connection: sqlite3.Connection, post: OutboxPost, channel: str, ts: str, at: datetime, *, asked: str,
    told: Sequence[int], folded: Sequence[int],
) -> None:  # fmt: skip
    """Write that a post has arrived (T4 outcome), and what rode in it: `told` was shown there, `folded` only counted.

    An edit of a head leaves no row: the head itself is the record.
    """
    if asked and asked != channel:  # what a name turned out to be: a look after a restart needs the id
        connection.execute("INSERT OR REPLACE INTO channel VALUES (?, ?, ?)", (post.chat, asked, channel))
    if post.lane == "edit":
        connection.execute("DELETE FROM post WHERE id = ?", (post.id,))
        add_counts(connection, {("posts", f"{post.chat}/edited"): 1})
        return
    connection.execute(
        "UPDATE post SET state = 'sent', ts = ?, sent_at = ?, channel = ?, error = '' WHERE id = ?",
        (ts, at.timestamp(), channel or post.channel, post.id),
    )
    if post.kind == "head":
        connection.execute(
            "INSERT OR REPLACE INTO thread (incident, chat, channel, ts) VALUES (?, ?, ?, ?)",
            (post.incident, post.chat, channel, ts),
        )
    merged = _settle(connection, told, "sent", ts, at)
    counted = _settle(connection, folded, "folded", "", at)
    apart(connection, post)  # never a loss: what rode and is named by neither goes by itself
    if counted and post.kind != "head":
        _ask_for_edit(connection, post, at)
    counts = {"sent": 1, "merged": merged, "folded": counted}
    add_counts(connection, {("posts", f"{post.chat}/{name}"): n for name, n in counts.items() if n})


def _settle(connection: sqlite3.Connection, numbers: Sequence[int], state: str, ts: str, at: datetime) -> int:
    """Settle lines that need no message of their own; gives how many."""
    sql = """UPDATE post SET state = ?, ts = ?, sent_at = ?, error = '' WHERE id IN (SELECT value FROM json_each(?))
      AND state IN ('queued', 'riding')"""
    when = at.timestamp() if ts else None
    return connection.execute(sql, (state, ts, when, _json(numbers))).rowcount if numbers else 0


def _ask_for_edit(connection: sqlite3.Connection, post: OutboxPost, at: datetime) -> None:
    """Have the head drawn anew, once there is one."""
    sql = """INSERT OR IGNORE INTO post
      (incident, chat, kind, severity, channel, message, state, created_at, not_before)
      SELECT i.id, t.chat, 'head', i.severity, '', NULL, 'queued', ?, 0
      FROM thread t JOIN incident i ON i.id = t.incident WHERE t.incident = ? AND t.chat = ?"""
    connection.execute(sql, (at.timestamp(), post.incident, post.chat))


def apart(connection: sqlite3.Connection, post: OutboxPost) -> None:
    """Queue again what rode in a post: it did not arrive with it."""
    sql = "UPDATE post SET state = 'queued' WHERE incident = ? AND chat = ? AND state = 'riding'"
    connection.execute(sql, (post.incident, post.chat))


def held(
    connection: sqlite3.Connection, post: OutboxPost, until: datetime, error: str, whole_channel: bool, state: str,
    now: datetime,
) -> None:  # fmt: skip
    """Put a post off: its own time, or its whole channel's when the other side asked to slow down.

    `state` is `sending` when nobody knows whether it has arrived (it is looked for first), `queued` when it has not.
    """
    if state == "queued":
        _alone(connection, post)
    since = post.looking_since or (now if state == "sending" else None)
    connection.execute(
        "UPDATE post SET state = ?, not_before = ?, error = ?, looking_since = ?"
        " WHERE id = ? AND state IN ('queued', 'sending')",  # what has left is not called back
        (
            state, 0 if whole_channel else until.timestamp(), error[:500],
            since.timestamp() if since else None, post.id,
        ),
    )  # fmt: skip
    if whole_channel:
        connection.execute(
            "INSERT OR REPLACE INTO channel_hold VALUES (?, ?, ?)", (post.chat, post.place, until.timestamp())
        )
    outcome = "rate_limited" if whole_channel else "retried"
    add_counts(connection, {("posts", f"{post.chat}/{outcome}"): 1})


def _alone(connection: sqlite3.Connection, post: OutboxPost) -> None:
    """Take back a newer edit of the head: a head is drawn when it is sent, so this one says all."""
    if post.kind == "head":
        connection.execute(
            "DELETE FROM post WHERE incident = ? AND chat = ? AND kind = 'head' AND state = 'queued' AND id <> ?",
            (post.incident, post.chat, post.id),
        )


def failed(connection: sqlite3.Connection, post: OutboxPost, at: datetime, error: str, reroute: str) -> None:
    """Write that a post is refused for good; a head goes to the channel `reroute` instead, when that is named."""
    if reroute:
        _alone(connection, post)
        connection.execute(
            "UPDATE post SET state = 'queued', channel = ?, attempts = 0, not_before = 0, error = ?,"
            " looking_since = NULL WHERE id = ?",
            (reroute, error[:500], post.id),
        )
    else:
        connection.execute("UPDATE post SET state = 'failed', error = ? WHERE id = ?", (error[:500], post.id))
        add_counts(connection, {("posts", f"{post.chat}/failed"): 1})
    if post.lane != "edit":
        apart(connection, post)
    said = f"{post.chat}: message refused: {error}" + (f"; sent to {reroute} instead" if reroute else "")
    insert_timeline(connection, [(post.incident, at, "post", said)])


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
