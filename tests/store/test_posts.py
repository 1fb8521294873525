"""Whose turn it is in the outbox: lanes, holds, what rests, crowds, and how the read grows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from responder.model import Message, Move, OutboxPost, Post, TimelineEntry
from responder.ports import Rest
from responder.store.sqlite.posts import due_posts
from tests.given import NOW, P1, P2, House, after, alert, house, moved


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as given:
        yield given


async def due(given: House, **more: Any) -> list[OutboxPost]:
    return await given.store.due_posts(given.clock.now(), 100, {"fake": "#default"}, **more)


async def turns(given: House, **more: Any) -> list[tuple[int, str]]:
    return [(post.incident, post.lane) for post in await due(given, **more)]


async def open_one(given: House, cluster: str, severity: str = "warning", name: str = "Api") -> int:
    return (await given.store.commit(moved(alert(name, cluster=cluster, severity=severity))))[0]


async def queue(given: House, number: int, *kinds: str, text: str = "x") -> None:
    message = Message(title="", body=text)
    await given.store.commit(
        Move(posts=[Post(number, kind, P2, None if kind == "head" else message) for kind in kinds])
    )


async def send_heads(given: House, channel: str = "C1", asked: str = "") -> None:
    for post in await due(given):
        await given.store.sending(post, NOW)
        await given.store.sent(post, channel=channel, ts=f"{post.incident}.0", at=NOW, asked=asked)


async def test_an_edit_goes_beside_the_lines_of_its_thread(at: House) -> None:
    await open_one(at, "a")
    await send_heads(at)
    await queue(at, 1, "head", "reply", "reply")
    assert await turns(at) == [(1, "edit"), (1, "line")]
    [edit, _] = await due(at)
    await at.store.sending(edit, NOW)  # and then we died: it is settled before a second one may begin
    assert await turns(at) == [(1, "edit")]


async def test_a_head_comes_first_also_when_it_was_queued_behind_a_page(at: House) -> None:
    await open_one(at, "a")
    await at.store.failed((await due(at))[0], at=NOW, error="no", reroute="")
    await queue(at, 1, "page", "head")
    assert await turns(at) == [(1, "head")]


async def test_pages_of_the_worst_go_before_their_lines(at: House) -> None:
    await open_one(at, "a", "critical")
    await send_heads(at)
    await queue(at, 1, "reply")
    await open_one(at, "b", "critical")
    assert await turns(at) == [(2, "head"), (1, "line")]


@pytest.mark.parametrize(
    ("resting", "left"),
    [
        ([], [1, 2, 3]),
        ([Rest("fake", "head", "#api")], [1, 3]),
        ([Rest("fake", "head", "#api", urgent_too=True)], [3]),
        ([Rest("fake", "head")], [1]),
        ([Rest("fake", "line", "#api"), Rest("fake", "edit"), Rest("other", "head")], [1, 2, 3]),
        ([Rest("fake", "head", "#default")], [1, 2]),
    ],
    ids=["nothing", "a channel", "and its worst", "a chat", "other things", "the chat's own channel"],
)
async def test_the_read_goes_past_what_rests(at: House, resting: list[Rest], left: list[int]) -> None:
    await open_one(at, "a", "critical")
    await open_one(at, "b")
    await open_one(at, "c", name="Other")
    assert [post.incident for post in await due(at, resting=resting)] == left


async def test_a_hold_binds_the_minor_ones_alone(at: House) -> None:
    await open_one(at, "a")
    first = (await due(at))[0]
    await at.store.held(first, until=after(60), error="slow down", whole_channel=True)
    await open_one(at, "b", "critical")
    await open_one(at, "c")
    assert await turns(at) == [(2, "head")]


async def test_a_thread_belongs_to_the_channel_that_it_was_moved_to(at: House) -> None:
    await open_one(at, "a")
    await at.store.failed((await due(at))[0], at=NOW, error="no", reroute="#default")
    await send_heads(at, channel="CDEF", asked="#default")
    await queue(at, 1, "reply")
    assert [post.place for post in await due(at)] == ["#default"]
    await open_one(at, "b")
    await send_heads_only(at, 2, "CAPI", "#api")
    await queue(at, 2, "reply")
    assert [(post.incident, post.place) for post in await due(at)] == [(1, "#default"), (2, "#api")]


async def send_heads_only(given: House, number: int, channel: str, asked: str) -> None:
    [head] = [post for post in await due(given) if post.incident == number]
    await given.store.sending(head, NOW)
    await given.store.sent(head, channel=channel, ts=f"{number}.0", at=NOW, asked=asked)


async def test_what_rides_is_settled_with_its_post_or_queued_again(at: House) -> None:
    await open_one(at, "a")
    await send_heads(at)
    await queue(at, 1, "reply", "joined", "joined", "reply")
    [carrier] = await due(at)
    lines = await at.store.behind(carrier, 100, only_joined=False)
    assert [line.kind for line in lines] == ["joined", "joined", "reply"]
    await at.store.sending(carrier, NOW, [line.id for line in lines])
    assert at.sql("SELECT state, count(*) FROM post WHERE kind <> 'head' GROUP BY state ORDER BY state") == [
        ("riding", 3), ("sending", 1),
    ]  # fmt: skip
    told, counted, forgotten = (line.id for line in lines)
    await at.store.sent(carrier, channel="C1", ts="2.0", at=NOW, told=[told], folded=[counted])
    found = dict(at.sql("SELECT id, state FROM post WHERE kind <> 'head'"))
    assert (found[told], found[counted], found[forgotten]) == ("sent", "folded", "queued")
    assert at.sql("SELECT ts FROM post WHERE id = ?", told) == [("2.0",)]
    assert [await at.figure("posts", f"fake/{name}") for name in ("sent", "merged", "folded")] == [2, 1, 1]
    assert (1, "edit") in await turns(at)  # the head is to say how many were folded


async def test_lines_ride_up_to_the_next_page(at: House) -> None:
    await open_one(at, "a")
    await send_heads(at)
    await queue(at, 1, "reply", "joined", "page", "joined", "reply")
    [carrier] = await due(at)
    assert len(await at.store.behind(carrier, 100, only_joined=False)) == 1
    assert len(await at.store.behind(carrier, 100, only_joined=True)) == 2


async def test_it_counts_how_often_an_incident_fired_again_and_what_was_folded(at: House) -> None:
    await open_one(at, "a")
    await queue(at, 1, "joined")
    [head] = await due(at)
    lines = [
        (-90, "ended", "Api; 0 still firing"), (-80, "joined", "too long ago"),
        (1, "joined", "another"), (2, "ended", "Api; 1 still firing"), (3, "joined", "another"),
        (4, "ended", "Api; 0 still firing"), (5, "joined", "Api"),
        (6, "ended", "Api; 0 still firing"), (7, "resolved", "held"), (8, "reopened", "Api"), (9, "joined", "Api"),
        (10, "reopened", "a person had resolved it"),
    ]  # fmt: skip
    await at.store.commit(
        Move(timeline=[TimelineEntry(1, after(minutes=minute), kind, text) for minute, kind, text in lines])
    )
    assert await at.store.aside(head, after(minutes=-60)) == (0, 3)
    await at.store.sent(head, channel="C1", ts="1.0", at=NOW, folded=[head.id + 1])
    assert await at.store.aside(head, after(minutes=-60)) == (1, 3)


async def test_a_crowd_is_minor_heads_that_were_not_tried_in_a_channel_that_is_not_held(at: House) -> None:
    for n in range(4):
        await open_one(at, str(n))
    await open_one(at, "worst", "outage")
    await open_one(at, "else", name="Other")
    homes = {"fake": "#default"}
    assert await at.store.crowds(NOW, 3, homes) == [("fake", "#api", 4, 0)]
    assert await at.store.crowds(NOW, 4, homes) == []
    [first] = [post for post in await due(at) if post.incident == 1]
    await at.store.sending(first, NOW)
    assert await at.store.crowds(NOW, 3, homes) == []
    assert [each.incident for each in await at.store.crowd("fake", "#api", homes)] == [2, 3, 4]
    assert [each.incident for each in await at.store.crowd("fake", "#default", homes)] == [6]
    await at.store.held(first, until=after(60), error="slow down", whole_channel=True)
    assert await at.store.crowds(NOW, 1, homes) == []


async def test_only_what_is_over_and_need_not_be_said_is_folded_by_a_digest(at: House) -> None:
    for n in range(4):
        await open_one(at, str(n))
    for number in (1, 2, 3):
        await at.people.resolve(number, "anna")
    await queue(at, 2, "page")
    [third] = [post for post in await due(at) if post.incident == 3]
    await at.store.sending(third, NOW)
    over = {each.incident: each.over for each in await at.store.crowd("fake", "#api", {})}
    assert over == {1: True, 2: False, 4: False}
    await at.store.digested("fake", [1, 2, 3, 4])
    folded = {number for (number,) in at.sql("SELECT incident FROM post WHERE state = 'folded'")}
    assert folded == {1}
    assert await at.figure("posts", "fake/digest") == 1


async def test_a_post_of_p1_stays_out_of_a_crowd_when_its_incident_is_raised(at: House) -> None:
    await open_one(at, "a")
    await at.people.raise_to(1, "anna", P1)
    assert await at.store.crowds(NOW, 0, {}) == []


async def test_ten_thousand_queued_posts_are_read_by_index(at: House) -> None:
    """Two hundred threads of fifty lines: the read looks at each index entry, not at each row."""
    for n in range(20):
        await open_one(at, str(n))
    await send_heads(at)
    few = await steps_of_a_read(at)
    for _ in range(50):
        await at.store.commit(
            Move(posts=[Post(n, "joined", P2, Message("", body="x" * 500)) for n in range(1, 21) for _ in range(10)])
        )
    assert len(await due(at)) == 20
    many = await steps_of_a_read(at)
    assert at.sql("SELECT count(*) FROM post WHERE state = 'queued'") == [(10_000,)]
    assert many - few < 10_000 * 15  # instructions of SQLite's machine; with a row each it is several times that


async def steps_of_a_read(given: House) -> int:
    connection = given.store._hot._connection
    assert connection is not None
    count = [0]

    def tick() -> int:
        count[0] += 1
        return 0

    def ask(at_file: Any) -> int:
        at_file.set_progress_handler(tick, 100)
        due_posts(at_file, NOW.timestamp(), 32, {}, [])
        at_file.set_progress_handler(None, 0)
        return count[0] * 100

    return await given.store._hot.read(ask)
