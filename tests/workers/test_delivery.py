"""A chat with a budget: lines ride together and are never lost, heads move, flapping folds, the worst go first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from responder.errors import PermanentError, TransientError
from responder.model import Message
from tests.given import after, entry, house
from tests.workers.paced import Paced, Sending, sender


@pytest.fixture
async def out(tmp_path: Path) -> AsyncIterator[Sending]:
    async with house(tmp_path) as given:
        yield sender(given, Paced(given.clock))


# --- lines ride together ---


async def test_replies_that_waited_go_as_one_message_and_a_page_by_itself_in_order(out: Sending) -> None:
    await out.at.post(entry())
    await out.turn()
    for kind, text in (("reply", "1"), ("reply", "2"), ("page", "3"), ("reply", "4"), ("reply", "5")):
        await out.queue(kind, text)
    await out.turn(5)
    assert out.bodies() == ["1\n2", "3", "4\n5"]
    assert {state for _, state in out.states()} == {"sent"}
    assert await out.at.figure("posts", "fake/merged") == 2


async def test_who_joined_before_the_head_was_there_is_counted_in_it(out: Sending) -> None:
    await out.at.post(entry(instance="0"))
    for n in range(1, 3):
        await out.at.post(entry(instance=str(n)))
    await out.queue("reply", "a finding")
    await out.turn(3)
    [head] = [said for said in out.chat.said if not said.thread_ts]
    assert head.message.footer.startswith("2 updates folded")
    assert out.bodies()[-1] == "a finding"
    assert not any("joined" in body for body in out.bodies())


async def test_what_is_only_counted_in_a_thread_is_told_by_an_edit_of_the_head(out: Sending) -> None:
    await out.at.post(entry())
    await out.turn(1)
    for n in range(12):
        await out.queue("joined", str(n))
    await out.turn(5)
    assert out.bodies()[-1].endswith("… and 4 more updates of this kind")
    assert out.chat.said[0].edits[-1].footer.startswith("4 updates folded")


@pytest.mark.parametrize("arrived", [True, False], ids=["it had arrived", "it had not"])
async def test_lines_of_a_message_with_an_unknown_end_are_told_once(out: Sending, arrived: bool) -> None:
    await out.at.post(entry())
    await out.turn(1)
    for text in ("1", "2"):
        await out.queue("reply", text)
    (out.chat.lost if arrived else out.chat.faults).append(TransientError("timeout"))
    await out.turn()
    await out.queue("reply", "3")
    await out.turn(10)
    assert out.bodies() == ["1\n2", "3"]


async def test_lines_that_rode_when_the_daemon_died_are_told_once(tmp_path: Path) -> None:
    async with house(tmp_path) as given:
        first = sender(given, Paced(given.clock))
        await given.post(entry())
        await first.turn()
        for text in ("1", "2"):
            await first.queue("reply", text)
        first.chat.faults.append(asyncio.CancelledError())  # type: ignore[arg-type]
        await first.turn(1)
        assert first.states()[-1] == ("reply", "riding")
        clock, chat = given.clock, first.chat
    async with house(tmp_path, clock=clock) as later:
        again = sender(later, chat)
        await again.turn(5)
        assert again.bodies() == ["1\n2"]
        assert {state for _, state in again.states()} == {"sent"}


async def test_when_a_merged_message_is_refused_each_line_is_tried_alone(out: Sending) -> None:
    class Picky(Paced):
        async def post(self, message: Message, **more: Any) -> tuple[str, str]:
            if "bad" in message.body:
                raise PermanentError("no", code="invalid_arguments")
            return await super().post(message, **more)

    given = sender(out.at, Picky(out.at.clock))
    await given.at.post(entry())
    await given.turn()
    for text in ("1", "2", "bad", "4"):
        await given.queue("reply", text)
    await given.turn(20)
    assert given.bodies() == ["1", "2", "4"]
    assert [state for _, state in given.states()] == ["sent", "sent", "sent", "failed", "sent"]


async def test_lines_wait_for_no_edit_of_the_head(out: Sending) -> None:
    await out.at.post(entry())
    await out.turn(1)
    await out.queue("head")
    await out.queue("reply", "one")
    out.chat.slow_edits_s = 60.0
    await out.turn(3)
    assert out.bodies() == ["one"]
    out.chat.slow_edits_s = None
    await out.turn(56)
    assert out.chat.said[0].edits == []
    await out.turn(2)
    assert len(out.chat.said[0].edits) == 1


# --- the worst first ---


async def test_minor_heads_go_one_a_token_and_a_p0_at_once(out: Sending) -> None:
    await out.at.post(*[entry(cluster=str(n)) for n in range(5)])
    await out.turn(1)
    assert len(out.chat.said) == 2
    await out.at.post(entry(cluster="worst", severity="outage"))
    await out.turn()
    assert out.chat.said[2].message.severity == "P0"
    await out.turn(1)
    assert len(out.chat.said) == 3  # the debt is paid off first
    await out.turn(4)
    assert len(out.chat.said) == 6


async def test_a_crowded_channel_keeps_no_other_waiting(out: Sending) -> None:
    await out.at.post(*[entry(cluster=str(n)) for n in range(60)])
    await out.at.post(entry("Wide", page="no"))
    await out.turn()
    assert sorted(said.channel for said in out.chat.said) == ["CAPI", "CWIDE"]


async def test_a_p0_tries_in_spite_of_a_hold_that_a_minor_post_brought(out: Sending) -> None:
    await out.at.post(entry())
    out.chat.slow = {"#api": 30.0}
    await out.turn()
    out.chat.slow = {}
    await out.at.post(entry(cluster="worst", severity="outage"), entry(cluster="minor"))
    await out.turn(5)
    assert [said.marker.incident for said in out.chat.said] == ["INC-2"]


async def test_a_p0_that_is_refused_for_long_goes_to_the_chats_own_channel_with_its_thread(out: Sending) -> None:
    await out.at.post(entry(cluster="worst", severity="outage"))
    await out.queue("reply", "one")
    out.chat.slow = {"#api": 30.0}
    await out.turn(3)
    assert [(said.channel, bool(said.thread_ts)) for said in out.chat.said] == [("CDEFAULT", False), ("CDEFAULT", True)]
    await out.at.post(entry(cluster="second", severity="outage"))
    await out.turn()
    assert out.chat.said[-1].channel == "CDEFAULT"
    assert [channel for _, channel, _ in out.chat.tries].count("#api") == 1  # the second need not try
    record = await out.at.store.record(1)
    assert any("#default" in line["text"] for line in record["timeline"] if line["kind"] == "post")


async def test_a_p0_that_is_refused_for_a_moment_waits_and_tries_once(out: Sending) -> None:
    await out.at.post(*[entry(cluster=f"{n}", severity="outage") for n in range(3)])
    out.chat.slow = {"#api": 3.0}
    await out.turn(2)
    tried = len(out.chat.tries)
    out.chat.slow = {}
    await out.turn(1)
    assert tried == 3
    assert {said.channel for said in out.chat.said} == {"CAPI"}
    assert len(out.chat.said) == 3


async def test_after_a_rest_minor_posts_go_one_by_one(out: Sending) -> None:
    await out.at.post(*[entry(cluster=str(n)) for n in range(5)])
    out.chat.slow = {"#api": 30.0}
    await out.turn(29)
    assert len(out.chat.tries) == 1
    out.chat.slow = {}
    await out.turn(1)
    assert len(out.chat.said) == 1
    await out.turn(2)
    assert len(out.chat.said) == 3


# --- flapping ---


async def flap(out: Sending, begin: int, end: int) -> None:
    for n in range(begin, end):
        await out.at.post(entry(firing=False, started=after(minutes=2 * n), ended=after(minutes=2 * n + 1)))
        out.at.clock.turn(minutes=2)
        await out.at.post(entry(started=out.at.clock.now()))
        await out.turn(2)


async def test_an_incident_that_flaps_says_so_in_its_head_and_no_more_in_its_thread(out: Sending) -> None:
    await out.at.post(entry())
    await out.turn()
    await flap(out, 0, 2)
    before = len(out.bodies())
    assert before >= 2
    await flap(out, 2, 5)
    assert len(out.bodies()) == before
    scope = dict(out.chat.said[0].edits[-1].facts)["Scope"]
    assert "flapping: 5 times in 1 h" in scope
    assert "updates folded" in out.chat.said[0].edits[-1].footer
    out.at.clock.turn(hours=2)
    await out.queue("joined", "1 alert joined: another")
    await out.queue("head")
    await out.turn(2)
    assert out.bodies()[-1] == "1 alert joined: another"
    assert "flapping" not in dict(out.chat.said[0].edits[-1].facts)["Scope"]
