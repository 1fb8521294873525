"""The store as its callers see it: the inbox's rows, the outbox's order, runs and figures."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from responder.errors import Fenced
from responder.model import HEARD, Beat, Done, Message, Move, Muted, NewEpisode, OutboxPost, Post, Run, Severity
from responder.store.sqlite import reads
from tests.given import (
    NOW,
    P0,
    P1,
    P2,
    P3,
    FakeClock,
    House,
    after,
    alert,
    body,
    entry,
    first_run,
    house,
    moved,
    opened,
)


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as given:
        yield given


# --- accepted bodies ---


async def test_a_webhook_id_is_taken_once_a_receiver(at: House) -> None:
    assert await at.accept(b"1", webhook_id="x")
    assert not await at.accept(b"2", webhook_id="x")
    assert await at.accept(b"3", receiver="other", webhook_id="x")
    assert await at.accept(b"4", webhook_id="")
    assert await at.accept(b"5", webhook_id="")
    assert [row.body for row in await at.store.waiting(0, 10)] == [b"1", b"3", b"4", b"5"]


async def test_one_webhook_id_many_times_at_once_is_one_row(at: House) -> None:
    taken = await asyncio.gather(*(at.accept(b"x", webhook_id="same") for _ in range(30)))
    assert taken.count(True) == 1
    assert at.sql("SELECT count(*) FROM inbox") == [(1,)]


async def test_a_webhook_id_is_known_after_a_restart(tmp_path: Path) -> None:
    async with house(tmp_path) as before:
        await before.accept(b"1", webhook_id="x")
    async with house(tmp_path) as later:
        assert not await later.accept(b"1", webhook_id="x")


async def test_rows_come_back_as_they_were_whatever_their_bytes(at: House) -> None:
    bodies = [b"", b"\x00\xff", "ü".encode(), b"'; DROP TABLE inbox; --", bytes(range(256)) * 100]
    for raw in bodies:
        await at.accept(raw)
    fresh = await at.store.waiting(0, 10)
    stored = await at.store._hot.read(reads.waiting, 0, 10)
    assert [row.body for row in fresh] == bodies
    assert fresh == stored


async def test_a_large_read_comes_in_parts_and_a_huge_body_alone(at: House) -> None:
    for size in (1 << 20, 5 << 20, 1 << 20, 1 << 20):
        await at.accept(b"x" * size)
    read = at.store._hot.read
    sizes = []
    after_seq = 0
    while rows := await read(reads.waiting, after_seq, 100):
        sizes.append([len(row.body) >> 20 for row in rows])
        after_seq = rows[-1].seq
    assert sizes == [[1], [5], [1, 1]]


async def test_memory_and_file_agree_while_bodies_come_and_our_own_rows_lie_between(at: House) -> None:
    """Every body is seen exactly once and in order, by a worker that reads while others write."""
    seen: list[bytes] = []
    done = asyncio.Event()

    async def write(name: str) -> None:
        for n in range(60):
            await at.accept(f"{name}{n}".encode())
            if n % 7 == 0:
                await at.store.commit(Move(internal=[("responder", f"own {name}{n}".encode())]))

    async def read() -> None:
        cursor = 0
        while True:
            rows = await at.store.waiting(cursor, 16)
            assert [row.seq for row in rows] == sorted({row.seq for row in rows})
            assert all(row.seq > cursor for row in rows)
            seen.extend(row.body for row in rows)
            if rows:
                cursor = rows[-1].seq
            elif done.is_set():
                return
            await asyncio.sleep(0)

    reader = asyncio.ensure_future(read())
    await asyncio.gather(write("a"), write("b"), write("c"))
    done.set()
    await reader
    assert len(seen) == len(set(seen)) == 3 * 60 + 3 * 9
    assert seen == [raw for (raw,) in at.sql("SELECT body FROM inbox ORDER BY seq")]


async def test_trimming_forgets_what_is_moved_and_old_and_never_gives_a_number_twice(at: House) -> None:
    for n in range(5):
        await at.accept(body(entry(instance=str(n))))
    assert await at.store.trim(before=after(hours=99), limit=100) == 0  # nothing is moved yet
    await at.settle()
    assert await at.store.trim(before=NOW, limit=100) == 0  # nothing is old
    assert await at.store.trim(before=after(1), limit=3) == 3
    assert await at.store.trim(before=after(1), limit=3) == 1
    assert await at.store.trim(before=after(1), limit=3) == 0
    await at.accept(b"next")
    assert at.sql("SELECT seq FROM inbox") == [(5,), (6,)]
    await at.settle()
    assert await at.unaccounted() == 0


async def test_trimming_looks_at_no_more_rows_than_it_may_delete(at: House) -> None:
    """It runs on the one writer thread: what nobody may delete yet must cost it nothing."""
    for _ in range(3):
        await at.accept(b"x")
    await at.settle()
    steps: list[int] = []

    def fill(connection: sqlite3.Connection) -> None:
        sql = "INSERT INTO inbox (at, receiver, request_id, body) VALUES (2e9, '', '', '')"
        connection.executemany(sql, [()] * 2000)
        connection.execute("UPDATE cursor SET seq = 2003")

    def count(connection: sqlite3.Connection) -> None:
        connection.set_progress_handler(lambda: steps.append(1), 1)

    await at.store._write(count)
    spent = []
    for prepared in (lambda _: None, fill):
        await at.store._write(prepared)
        steps.clear()
        assert await at.store.trim(before=NOW, limit=2) == 0
        spent.append(len(steps))
    assert spent[1] < 2 * spent[0]


async def test_trimming_forgets_webhook_ids_two_days_later(at: House) -> None:
    await at.accept(b"x", webhook_id="old")
    await at.store.trim(before=NOW + timedelta(days=2), limit=1)
    assert at.sql("SELECT count(*) FROM webhook") == [(1,)]
    await at.store.trim(before=NOW + timedelta(days=2, seconds=1), limit=1)
    assert at.sql("SELECT count(*) FROM webhook") == [(0,)]


# --- the outbox ---


async def due(given: House) -> list[OutboxPost]:
    return await given.store.due_posts(given.clock.now(), 100)


async def queue(
    given: House, number: int, kind: str, severity: Severity = P1, text: str = "x", channel: str = ""
) -> None:
    message = None if kind == "head" else Message(title="", body=text)
    await given.store.commit(Move(posts=[Post(number, kind, severity, message, channel)]))


async def open_one(given: House, cluster: str, severity: str = "warning") -> int:
    found = await given.store.commit(moved(alert(cluster=cluster, severity=severity)))
    return found[0]


async def test_worst_first_then_oldest_and_one_a_thread(at: House) -> None:
    minor = await open_one(at, "a", "info")
    worst = await open_one(at, "b", "outage")
    other = await open_one(at, "c", "outage")
    for number in (minor, worst, other):
        await queue(at, number, "reply")
        await queue(at, number, "page")
    assert [(post.incident, post.kind) for post in await due(at)] == [(worst, "head"), (other, "head"), (minor, "head")]


async def test_replies_follow_in_the_order_they_were_made(at: House) -> None:
    await open_one(at, "a")
    for n in range(4):
        await queue(at, 1, "reply", text=str(n))
    said = []
    while found := await due(at):
        said.append(found[0].message.body if found[0].message else "head")
        assert await at.store.sending(found[0], NOW)
        await at.store.sent(found[0], channel="C1", ts=f"{len(said)}", at=NOW)
    assert said == ["head", "0", "1", "2", "3"]


async def test_a_raised_incident_overtakes_with_all_its_posts(at: House) -> None:
    await open_one(at, "a", "warning")
    low = await open_one(at, "b", "info")
    await queue(at, low, "reply")
    await at.people.raise_to(low, "anna", P0)
    assert [post.incident for post in await due(at)] == [low, 1]


async def test_a_post_put_off_holds_its_thread_and_no_other(at: House) -> None:
    await open_one(at, "a")
    await open_one(at, "b")
    await queue(at, 1, "reply")
    first = (await due(at))[0]
    await at.store.held(first, until=after(60), error="later", whole_channel=False)
    assert [post.incident for post in await due(at)] == [2]
    at.clock.turn(60)
    assert [(post.incident, post.kind) for post in await due(at)] == [(1, "head"), (2, "head")]


async def test_a_channel_put_off_holds_all_its_threads_and_no_other_channel(at: House) -> None:
    await open_one(at, "a")  # all three in #api
    await open_one(at, "b")
    number = (await at.store.commit(moved(alert("Wide"))))[0]  # #wide
    first = (await due(at))[0]
    assert first.incident == 1
    await at.store.held(first, until=after(60), error="slow down", whole_channel=True)
    assert [post.incident for post in await due(at)] == [number]
    at.clock.turn(60)
    assert len(await due(at)) == 3


async def test_a_channel_put_off_by_a_reply_holds_its_new_heads_too(at: House) -> None:
    await open_one(at, "a")
    head = (await due(at))[0]
    await at.store.sending(head, NOW)
    await at.store.sent(head, channel="C1", ts="1.0", at=NOW)
    await queue(at, 1, "reply")
    await open_one(at, "b")
    head, reply = await due(at)
    assert (head.kind, reply.kind) == ("head", "reply"), "what opens is heard of before details"
    await at.store.held(reply, until=after(60), error="slow down", whole_channel=True)
    assert await due(at) == []


async def test_a_notice_is_held_by_its_own_channel_alone(at: House) -> None:
    await open_one(at, "a")
    head = (await due(at))[0]
    await at.store.sending(head, NOW)
    await at.store.sent(head, channel="C1", ts="1.0", at=NOW)
    await queue(at, 1, "notice", channel="#pagers")
    notice = (await due(at))[0]
    await at.store.held(notice, until=after(60), error="slow down", whole_channel=True)
    await open_one(at, "b")
    assert [post.incident for post in await due(at)] == [2]


async def test_however_often_an_edit_is_asked_for_one_is_queued(at: House) -> None:
    await open_one(at, "a")
    for _ in range(5):
        await queue(at, 1, "head")
    assert at.sql("SELECT count(*) FROM post WHERE kind = 'head'") == [(1,)]
    await at.store.sending((await due(at))[0], NOW)
    for _ in range(5):
        await queue(at, 1, "head")
    assert at.sql("SELECT state, count(*) FROM post WHERE kind = 'head' GROUP BY state ORDER BY state") == [
        ("queued", 1), ("sending", 1),
    ]  # fmt: skip


@pytest.mark.parametrize("sent_before", [False, True], ids=["the first head", "an edit"])
async def test_a_head_put_off_while_a_newer_one_is_queued_leaves_one(at: House, sent_before: bool) -> None:
    await open_one(at, "a")
    if sent_before:
        await at.store.sent((await due(at))[0], channel="C1", ts="1.0", at=NOW)
        await queue(at, 1, "head")
    head = (await due(at))[0]
    await at.store.sending(head, NOW)
    await queue(at, 1, "head")
    await at.store.held(head, until=after(5), error="slow down", whole_channel=False)
    assert at.sql("SELECT count(*) FROM post WHERE kind = 'head' AND state <> 'sent'") == [(1,)]
    at.clock.turn(5)
    assert [(post.kind, post.state) for post in await due(at)] == [("head", "queued")]


async def test_a_head_is_rerouted_although_an_edit_of_it_is_queued(at: House) -> None:
    await open_one(at, "a")
    head = (await due(at))[0]
    await at.store.sending(head, NOW)
    await queue(at, 1, "head")
    await at.store.failed(head, at=NOW, error="channel_not_found", reroute="#default")
    again = (await due(at))[0]
    assert (again.kind, again.channel, again.state) == ("head", "#default", "queued")
    assert at.sql("SELECT count(*) FROM post WHERE kind = 'head'") == [(1,)]


async def test_a_post_that_is_settled_is_not_sent_again(at: House) -> None:
    await open_one(at, "a")
    head = (await due(at))[0]
    assert await at.store.sending(head, NOW)
    await at.store.sent(head, channel="C1", ts="1.0", at=NOW)
    assert not await at.store.sending(head, NOW)


async def test_each_post_is_queued_once_a_chat(tmp_path: Path) -> None:
    async with house(tmp_path, chats=("fake", "other")) as given:
        await open_one(given, "a")
        assert {post.chat for post in await due(given)} == {"fake", "other"}


# --- runs ---


async def test_a_run_that_is_over_or_fenced_writes_nothing(at: House) -> None:
    await at.post(entry())
    run = await first_run(at)
    stranger = Run(run.id, run.incident, run.kind, run.n, run.epoch + 1, None)
    for who in (stranger, run):
        if who is run:
            await at.store.finish(run, state="done", result=None, at=NOW)
        with pytest.raises(Fenced):
            await at.store.step(who, "x", Done(posts=[Post(1, "reply", P1, Message(""))], cost_usd=1), NOW)
        with pytest.raises(Fenced):
            await at.store.intent(who, "x", NOW)
        with pytest.raises(Fenced):
            await at.store.wake(who, "x", NOW)
        with pytest.raises(Fenced):
            await at.store.consume(who, "x", 0, None, NOW)
    assert at.sql("SELECT count(*) FROM journal") == [(0,)]
    assert len(await at.posts(1)) == 1
    assert (await at.incident()).cost_usd == 0


async def test_due_runs_come_worst_first(at: House) -> None:
    await open_one(at, "a", "info")
    await open_one(at, "b", "outage")
    assert [run.incident for run in await at.store.due_runs(NOW, 10)] == [2, 2, 1, 1]


async def test_chains_that_wait_never_keep_a_watch_from_its_turn(at: House) -> None:
    for n in range(40):
        await open_one(at, str(n), "outage")
    await open_one(at, "last", "warning")
    for run in await at.store.due_runs(NOW, 1000):
        if run.kind == "watch" and run.incident <= 40:
            await at.store.park(run, until=None, seen=0)
    found = await at.store.due_runs(NOW, 10)
    assert (41, "watch") in {(run.incident, run.kind) for run in found}


async def test_evidence_and_findings_come_back_in_the_record(at: House) -> None:
    await at.post(entry())
    run = await first_run(at, "chain")
    await at.store.step(
        run, "a", Done(value={"x": 1}, timeline=[("note", "done")], cost_usd=0.25, postmortem="# It"), NOW
    )
    record = await at.store.record(1)
    assert record["postmortem"][0]["text"] == "# It"
    assert record["timeline"][-1]["text"] == "done"
    assert (await at.incident()).cost_usd == 0.25
    assert (await at.store.load(run)).done == {"a": {"x": 1}}


# --- figures ---


async def test_figures_of_an_empty_store_are_zero(at: House) -> None:
    figures = await at.store.figures()
    assert set(figures.values()) <= {0.0}
    assert await at.unaccounted() == 0


async def test_one_counter_is_read_alone(at: House) -> None:
    assert await at.store.counter("entries", "") == 0.0
    await at.post(entry(), entry(instance="b"))
    assert await at.store.counter("entries", "") == 2.0


async def test_figures_say_what_waits_and_since_when(at: House) -> None:
    await at.accept(b"x")
    at.clock.turn(60)
    await at.accept(b"y")
    figures = await at.store.figures()
    assert figures["waiting", ""] == 2
    assert figures["waiting_since", ""] == NOW.timestamp()


async def test_open_incidents_are_counted_by_severity(at: House) -> None:
    await open_one(at, "a", "info")
    await open_one(at, "b", "outage")
    await at.people.resolve(2, "anna")
    figures = await at.store.figures()
    assert figures["open", P3] == 1
    assert ("open", P0) not in figures
    assert (figures["incidents", P0], figures["incidents", P3]) == (1, 1)


async def test_a_listing_pages_by_number_and_filters(at: House) -> None:
    for n in range(7):
        await open_one(at, str(n), "info" if n % 2 else "outage")
    ask = at.store.incidents
    assert [each.id for each in await ask(before=None, statuses=[], severities=[], limit=3)] == [7, 6, 5]
    assert [each.id for each in await ask(before=5, statuses=[], severities=[], limit=3)] == [4, 3, 2]
    assert [each.id for each in await ask(before=None, statuses=[], severities=[P3], limit=9)] == [6, 4, 2]
    assert await ask(before=None, statuses=["resolved"], severities=[], limit=9) == []


async def test_no_such_incident_is_none(at: House) -> None:
    assert await at.store.incident(99) is None
    assert (await at.store.record(99))["episodes"] == []


# --- why, muted, heartbeats, other names ---


async def test_reasons_are_kept_once_for_all_episodes_that_were_judged_alike(at: House) -> None:
    await at.post(entry(instance="a"), entry(instance="b"), entry("Slow"))
    hashes = [row[0] for row in at.sql("SELECT reason FROM episode ORDER BY id")]
    assert hashes[0] == hashes[1] != hashes[2]
    assert at.sql("SELECT count(*) FROM reason") == [(2,)]
    assert at.sql("SELECT DISTINCT rule, severity FROM episode ORDER BY rule") == [("api", "P2"), ("slow", "P2")]


async def test_an_ended_episode_that_nobody_judged_has_no_reasons(at: House) -> None:
    await at.post(entry(firing=False, ended=NOW))
    assert at.sql("SELECT reason, rule, muted FROM episode") == [("", "", "")]


def begun(name: str, *, muted: Muted = HEARD, firing: bool = True) -> NewEpisode:
    return NewEpisode(alert(name), None, NOW, None if firing else NOW, 1, {"rule": "r"}, muted)


async def test_what_is_muted_and_fires_is_found_page_by_page(at: House) -> None:
    silence = Muted("silence", "until noon")
    await at.store.commit(
        Move(
            episodes=[
                begun("A", muted=silence),
                begun("B"),
                begun("C", muted=silence, firing=False),
                begun("D", muted=Muted("heartbeat")),
                begun("E", muted=silence),
            ]
        )
    )
    first = await at.store.muted(0, 1)
    assert [(each.labels["alertname"], each.muted) for each in first] == [("A", silence)]
    assert [each.labels["alertname"] for each in await at.store.muted(first[0].id, 10)] == ["D", "E"]
    assert [each.labels["alertname"] for each in await at.store.firing(0, 10)] == ["A", "B", "D", "E"]


async def test_a_heartbeat_stands_as_it_last_came_until_it_is_stopped(at: House) -> None:
    beats = [Beat("k", "watchdog", 600.0, {"cluster": "eu"}, after(minutes=minutes)) for minutes in (0, 1)]
    await at.store.commit(Move(beats=beats))
    assert await at.store.beats() == [beats[1]]
    await at.store.stop_beat("k")
    assert await at.store.beats() == []


async def test_twins_are_found_by_alias_for_each_source(at: House) -> None:
    await at.post(entry())
    await at.store.commit(Move(aliases=[("k", "pagerduty", 1), ("k", "alertmanager", 1), ("other", "pagerduty", 1)]))
    assert await at.store.twins(["k", "none"]) == {("k", "pagerduty"): 1, ("k", "alertmanager"): 1}
    assert await at.store.twins([]) == {}


async def test_a_post_for_a_mirror_is_queued_there_alone_and_nowhere_without_it(tmp_path: Path) -> None:
    async with opened(tmp_path / "a.db", FakeClock(), mirrors=("pagerduty",)) as store:
        await store.commit(moved(alert()))
        told = [Post(1, "note", P2, Message(title="", body="x"), "PABC", system) for system in ("pagerduty", "gone")]
        await store.commit(Move(posts=told))
        found = (await store.record(1))["posts"]
        assert [(each["chat"], each["kind"], each["channel"]) for each in found] == [
            ("fake", "head", ""),
            ("pagerduty", "note", "PABC"),
        ]


async def test_links_come_back_as_they_were(at: House) -> None:
    await at.store.commit(moved(replace(alert(), ref="PABC")))
    [incident] = await at.all_incidents()
    assert incident.links == (("alertmanager", "PABC"),)
