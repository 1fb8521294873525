"""A storm is a digest: one a channel in ten seconds, and what is over before its turn is told there alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from responder.errors import StoreError, TransientError
from responder.workers.crowd import EVERY_S, MORE_THAN
from responder.workers.outbox import Outbox
from tests.given import RULES, entry, house
from tests.workers.paced import Paced, Sending, sender


@pytest.fixture
async def out(tmp_path: Path) -> AsyncIterator[Sending]:
    async with house(tmp_path) as given:
        yield sender(given, Paced(given.clock))


def digests(out: Sending) -> list[Any]:
    return [said for said in out.chat.said if said.marker.kind == "digest"]


async def storm(out: Sending, count: int, offset: int = 0) -> None:
    await out.at.post(*[entry(cluster=f"s{offset + n}", instance="i") for n in range(count)])


async def test_a_storm_is_told_at_once_and_each_incident_follows_in_its_own_thread(out: Sending) -> None:
    await out.turn(EVERY_S)
    await storm(out, 30)
    await out.turn(2)
    [told] = digests(out)
    assert told.message.title.startswith("Storm: ")
    assert (told.channel, told.thread_ts, told.broadcast) == ("CAPI", "", False)
    await out.turn(60)
    assert len({said.marker.incident for said in out.chat.said if said.marker.kind == "head"}) == 30
    assert await out.at.figure("posts", "fake/digest") == 1
    assert await out.at.figure("posts_waiting") == 0


async def test_few_incidents_make_no_digest(out: Sending) -> None:
    await out.turn(EVERY_S)
    await storm(out, MORE_THAN)
    await out.turn(30)
    assert digests(out) == []


async def test_a_channel_gets_one_digest_in_ten_seconds_however_it_ends(out: Sending) -> None:
    await out.turn(EVERY_S)
    await storm(out, 40)
    for n in range(40):
        await storm(out, 1, offset=100 + n)
        if n == 12:
            out.chat.faults = [TransientError("timeout")] * 2
        await out.turn(1)
    at_s = [when for when, _, kind in out.chat.tries if kind == "digest"]
    assert len(at_s) >= 4
    assert all(later - earlier >= EVERY_S for earlier, later in pairwise(at_s))


async def test_after_a_start_the_first_digest_waits_for_nobody_knows_when_the_last_one_went(tmp_path: Path) -> None:
    async with house(tmp_path) as given:
        given.clock.turn(1000)
        fresh = sender(given, Paced(given.clock))
        await storm(fresh, 60)
        await fresh.turn(EVERY_S - 1)
        assert digests(fresh) == []
        await fresh.turn(2)
        assert len(digests(fresh)) == 1


async def test_incidents_over_before_their_turn_are_told_in_a_digest_alone(out: Sending) -> None:
    await out.turn(EVERY_S)
    await storm(out, 30)
    out.chat.slow = {"#api": 30.0}
    await out.turn(1)
    for number in range(11, 21):
        await out.at.people.resolve(number, "anna")
    out.chat.slow = {}
    await out.turn(60)
    told = "\n".join(said.message.body for said in digests(out))
    assert "Over already, without a thread: INC-11, INC-12" in told
    heads = {said.marker.incident for said in out.chat.said if said.marker.kind == "head"}
    assert heads == {f"INC-{n}" for n in (*range(1, 11), *range(21, 31))}
    assert {state for _, state in out.states(15)} == {"folded"}
    assert await out.at.figure("posts_waiting") == 0


async def test_an_incident_told_to_be_over_that_fires_again_gets_its_thread_head_first(out: Sending) -> None:
    await test_incidents_over_before_their_turn_are_told_in_a_digest_alone(out)
    out.at.clock.turn(minutes=5)
    await out.at.post(entry(cluster="s14", instance="another", started=out.at.clock.now()))
    await out.turn(5)
    mine = [said for said in out.chat.said if said.marker.incident == "INC-15" and said.marker.kind != "digest"]
    assert [(said.marker.kind, said.thread_ts) for said in mine] == [("head", ""), ("page", mine[0].ts)]


async def test_a_digest_that_failed_folds_nothing_and_the_next_tells_it_again(out: Sending) -> None:
    await out.turn(EVERY_S)
    await storm(out, 40)
    out.chat.slow = {"#api": 12.0}
    await out.turn(1)
    for number in range(20, 30):
        await out.at.people.resolve(number, "anna")
    await out.turn(9)
    assert await out.at.figure("posts", "fake/digest") == 0
    assert {state for _, state in out.states(25)} == {"queued"}
    out.chat.slow = {}
    await out.turn(15)
    assert "INC-25" in digests(out)[0].message.body


async def test_a_p0_never_waits_behind_a_digest(out: Sending) -> None:
    await out.turn(EVERY_S)
    await storm(out, 40)
    await out.at.post(entry(cluster="worst", severity="outage"))
    await out.turn()
    assert any(said.message.severity == "P0" for said in out.chat.said)


async def test_a_secret_in_a_title_stays_out_of_a_digest(out: Sending) -> None:
    await out.turn(EVERY_S)
    notes = {"summary": "token=hunter2hunter2 refused"}
    await out.at.post(*[entry(cluster=str(n), annotations=notes) for n in range(20)])
    await out.turn(2)
    assert digests(out)
    assert "hunter2" not in repr(out.chat.said)


async def test_a_store_that_fails_under_a_digest_ends_nothing(out: Sending) -> None:
    store = out.at.store

    class Torn:
        def __getattr__(self, name: str) -> object:
            return getattr(store, name)

        async def crowd(self, *_: object) -> None:
            raise StoreError("disk full")

    torn = Outbox(Torn(), {"fake": out.chat}, lambda: RULES, out.at.clock, out.at.metrics)  # type: ignore[arg-type]
    given = Sending(out.at, out.chat, torn)
    await given.turn(EVERY_S)
    await storm(given, 30)
    await given.turn(5)
    assert len(out.chat.said) > 3
    assert digests(out) == []
