"""From accepted bodies to incidents: nothing lost, nothing twice, nothing that stops the worker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from pathlib import Path

import pytest

from responder.errors import Conflict, StoreError
from responder.model import Alert, Cursor, Decoded, Move, Status
from responder.workers import inbox as worker
from responder.workers.inbox import Inbox
from tests.given import P1, P2, P3, RULES, FakeClock, House, after, body, entry, house


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as given:
        yield given


class Crashing:
    """A receiver whose decoder has a fault."""

    name = "crashing"
    max_bytes = 1 << 20
    guarded = True
    unready = ""
    alarms = False
    methods = ("POST",)
    id_header = "X-Webhook-Id"

    def authorize(self, headers: Mapping[str, str]) -> bool:
        return True

    async def verify(self, headers: Mapping[str, str], body: bytes) -> bool:
        return True

    def decode(self, body: bytes, received_at: datetime) -> Decoded:
        raise KeyError("a fault of ours")


async def test_one_body_is_one_incident_and_is_accounted_for(at: House) -> None:
    await at.post(entry())
    assert [each.severity for each in await at.all_incidents()] == [P2]
    assert await at.figure("entries") == await at.figure("taken") == 1
    assert await at.store.cursor() == Cursor(1, 0)


async def test_the_same_body_many_times_is_one_incident_and_one_page(at: House) -> None:
    raw = body(entry())
    for _ in range(50):
        await at.accept(raw)
        await at.accept(raw)
        await at.settle()
    assert len(await at.all_incidents()) == 1
    assert len(await at.posts(1)) == 1
    assert await at.figure("entries") == await at.figure("taken") == 100
    assert await at.figure("alerts", "alertmanager/firing") == 100
    assert await at.figure("rule_hits", "api") == 100


async def test_the_top_level_status_is_never_used(at: House) -> None:
    await at.post(entry(), status="resolved", truncated=3)
    assert (await at.incident()).firing == 1
    await at.post(entry(firing=False, ended=after(60)), status="firing")
    assert (await at.incident()).status is Status.MONITORING


async def test_a_truncated_body_ends_nothing_that_it_does_not_hold(at: House) -> None:
    await at.post(entry(instance="a"), entry(instance="b"), entry(instance="c"))
    at.clock.turn(60)
    await at.post(entry(instance="a", firing=False, ended=after(50)), status="resolved", truncated=2)
    assert ((await at.incident()).firing, (await at.incident()).status) == (2, Status.DETECTING)


async def test_five_thousand_alerts_of_one_body_go_in_chunks(at: House) -> None:
    await at.post(*[entry(instance=f"i{n}") for n in range(5000)])
    assert (await at.incident()).firing == 5000
    assert len(await at.all_incidents()) == 1
    assert not await at.posts(1, "page")  # the first 200 are bad enough: it opens at its worst
    assert await at.unaccounted() == 0


async def test_a_body_half_moved_goes_on_where_it_stopped(tmp_path: Path) -> None:
    raw = body(*[entry(instance=f"i{n}") for n in range(450)])
    async with house(tmp_path) as before:
        await before.accept(raw)
        store = Failing(before, fails_at=3)
        with pytest.raises(StoreError):
            await Inbox(store, before.receivers, lambda: RULES, before.clock).once()  # type: ignore[arg-type]
        assert await before.store.cursor() == Cursor(0, 400)
        assert await before.unaccounted() == 0
    async with house(tmp_path) as later:
        await later.settle()
        assert (await later.incident()).firing == 450
        assert await later.figure("entries") == 450
        assert await later.figure("bodies") == 1


class Failing:
    """A store whose n-th commit fails."""

    def __init__(self, given: House, *, fails_at: int, error: type[StoreError] = StoreError) -> None:
        self._store, self._left, self._error = given.store, fails_at, error

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def commit(self, move: Move) -> list[int]:
        self._left -= 1
        if self._left == 0:
            raise self._error("planted")
        return await self._store.commit(move)


# --- duplicates ---


async def test_one_identity_twice_in_a_body_is_one_episode(at: House) -> None:
    await at.post(entry(), entry(), entry())
    assert ((await at.incident()).firing, await at.figure("taken")) == (1, 3)


async def test_firing_then_resolved_in_one_body_has_ended(at: House) -> None:
    await at.post(entry(), entry(firing=False, ended=after(1)))
    assert (await at.incident()).firing == 0


async def test_resolved_then_refired_in_one_body_fires(at: House) -> None:
    at.clock.turn(60)
    await at.post(entry(), entry(firing=False, ended=after(10)), entry(started=after(20)))
    assert ((await at.incident()).firing, (await at.incident()).status) == (1, Status.INVESTIGATING)
    assert await at.unaccounted() == 0


async def test_two_peers_that_send_the_same_are_one_page(at: House) -> None:
    for _ in range(3):
        await at.post(entry(instance="a"), entry(instance="b"), sender="http://am-0:9093")
        await at.post(entry(instance="b"), entry(instance="a"), sender="http://am-1:9093")
    assert len(await at.posts(1)) == 1
    assert await at.unaccounted() == 0


async def test_a_changed_fingerprint_or_order_of_labels_is_the_same_series(at: House) -> None:
    await at.post(entry(a="1", b="2"))
    await at.post(entry(b="2", a="1") | {"fingerprint": "'; DROP TABLE episode; --"})
    assert (await at.incident()).episodes == 1


# --- the fast path for repeats ---


async def test_equal_bodies_in_one_read_count_like_any_other(at: House) -> None:
    raw = body(entry(instance="a"), entry(instance="b"))
    for _ in range(10):
        await at.accept(raw)
    await at.settle()
    assert await at.figure("entries") == await at.figure("taken") == 20
    assert await at.figure("bodies") == 10
    assert (await at.incident()).episodes == 2


async def test_a_repeat_is_not_even_read(at: House) -> None:
    raw = body(entry())
    for _ in range(2):
        await at.accept(raw)
        await at.settle()
    at.receivers["alertmanager"] = Crashing()
    at.inbox._receivers = at.receivers
    await at.accept(raw)
    await at.settle()
    assert await at.figure("quarantined") == 0
    assert await at.figure("taken") == 3


async def test_a_repeat_between_a_resolve_and_the_next_fire_wakes_nobody(at: House) -> None:
    fires, ends = body(entry()), body(entry(firing=False, ended=after(5)))
    await at.accept(fires)
    await at.settle()
    at.clock.turn(10)
    for raw in (fires, ends, fires, ends, fires):
        await at.accept(raw)
    await at.settle()
    assert ((await at.incident()).firing, (await at.incident()).status) == (0, Status.MONITORING)
    assert await at.figure("taken") == 6
    assert await at.unaccounted() == 0


async def test_an_equal_body_behind_a_resolve_fires_again_when_nothing_says_that_it_is_late(at: House) -> None:
    fires, ends = body(entry(started=None)), body(entry(firing=False, started=None, ended=after(5)))
    await at.accept(fires)
    await at.settle()
    at.clock.turn(10)
    await at.accept(fires)  # a repeat: known
    await at.accept(ends)
    at.clock.turn(1)
    await at.accept(fires)  # after the end: it fires anew, though its bytes are the same
    await at.settle()
    assert ((await at.incident()).firing, await at.unaccounted()) == (1, 0)


async def test_a_late_equal_body_reopens_after_the_minute_even_in_one_read(at: House) -> None:
    fires, ends = body(entry()), body(entry(firing=False, ended=after(5)))
    await at.accept(fires)
    at.clock.turn(10)
    await at.accept(ends)
    at.clock.turn(61)
    await at.accept(fires)
    await at.settle()
    assert (await at.incident()).firing == 1


async def test_a_repeat_is_believed_for_a_minute_only(at: House) -> None:
    raw = body(entry())
    await at.accept(raw)
    await at.settle()
    await at.people.resolve(1, "anna")
    at.clock.turn(hours=1, seconds=1)
    await at.accept(raw)
    await at.settle()
    assert (await at.incident()).status is Status.INVESTIGATING


async def test_a_resolve_by_another_group_ends_the_belief(at: House) -> None:
    fires = body(entry(), group="one")
    await at.accept(fires)
    await at.settle()
    at.clock.turn(5)
    await at.post(entry(firing=False, ended=after(4)), group="two")
    await at.accept(fires)
    await at.settle()
    assert (await at.incident()).status is Status.MONITORING
    assert await at.figure("stale") == 1


async def test_repeats_of_a_resolved_body_are_counted_as_stale(at: House) -> None:
    await at.post(entry())
    at.clock.turn(10)
    over = body(entry(firing=False, ended=after(5)))
    for _ in range(4):
        await at.accept(over)
        await at.settle()
    assert await at.figure("stale") == 3
    assert await at.figure("alerts", "alertmanager/resolved") == 4
    assert await at.unaccounted() == 0


async def test_a_repeat_of_a_person_resolved_group_wakes_nobody(at: House) -> None:
    raw = body(entry())
    await at.accept(raw)
    await at.settle()
    await at.people.resolve(1, "anna")
    for _ in range(5):
        at.clock.turn(minutes=11)
        await at.accept(raw)
        await at.settle()
    assert (await at.incident()).status is Status.RESOLVED
    assert not await at.posts(1, "page")


# --- what cannot be read ---


async def test_an_unreadable_body_is_kept_and_pages_once_a_receiver(at: House) -> None:
    for raw in (b"", b"{", b"[]", b"\x00" * 100_000):
        await at.accept(raw)
        await at.settle()
    found = await at.all_incidents()
    assert [(each.rule, each.title[:12]) for each in found] == [("backstop", "alertmanager")]
    assert found[0].detected_by == "responder"
    assert await at.figure("quarantined") == 4
    kept = at.sql("SELECT raw FROM quarantine ORDER BY id")
    assert [len(raw) for (raw,) in kept] == [0, 1, 2, 65536]
    assert (await at.unaccounted(), len(await at.posts(1))) == (0, 1)


async def test_the_next_unreadable_body_pages_again_once_a_person_has_resolved(at: House) -> None:
    await at.accept(b"garbage")
    await at.settle()
    await at.people.resolve(1, "anna", "fixed the sender")
    assert (await at.incident()).firing == 0
    at.clock.turn(5)
    await at.accept(b"garbage")
    await at.settle()
    assert ((await at.incident()).status, (await at.incident()).firing) == (Status.INVESTIGATING, 1)
    assert len(await at.posts(1, "page")) == 1


@pytest.mark.parametrize("bad", [7, None, "text", [], {"labels": 3}, {"labels": []}], ids=repr)
async def test_one_bad_element_never_loses_its_neighbours(at: House, bad: object) -> None:
    await at.post(entry(instance="a"), bad, entry(instance="b"))
    api = next(each for each in await at.all_incidents() if each.rule == "api")
    assert api.firing == 2
    assert await at.figure("entries") == 4  # three elements and our own alert about one of them
    assert await at.figure("quarantined_entries") == 1
    assert await at.unaccounted() == 0


async def test_a_receiver_that_is_gone_leaves_its_bodies_in_quarantine(at: House) -> None:
    await at.accept(body(entry()), receiver="pagerduty")
    await at.post(entry())
    assert at.sql("SELECT receiver, reason FROM quarantine") == [
        ("pagerduty", "receiver 'pagerduty' is no longer configured")
    ]
    assert len(await at.all_incidents()) == 2


async def test_a_decoder_that_fails_stops_nobody(tmp_path: Path) -> None:
    async with house(tmp_path, more={"crashing": Crashing()}) as given:
        await given.accept(b"{}", receiver="crashing")
        await given.post(entry())
        assert given.sql("SELECT reason FROM quarantine") == [("our decoder failed: KeyError",)]
        assert {each.rule for each in await given.all_incidents()} == {"api", "backstop"}


async def test_our_own_unreadable_body_makes_no_further_alerts(at: House) -> None:
    await at.accept(b"not ours", receiver="responder")
    await at.settle()
    assert await at.figure("quarantined") == 1
    assert await at.all_incidents() == []


# --- conflicts and a failing store ---


async def test_a_conflict_is_read_again_and_recomputed(at: House) -> None:
    await at.post(entry(instance="a"))
    await at.accept(body(entry(instance="b")))
    meanwhile = Interfering(at)
    await Inbox(meanwhile, at.receivers, lambda: RULES, at.clock).once()  # type: ignore[arg-type]
    found = await at.incident()
    assert (found.acknowledged_by, found.firing) == ("anna", 2)
    assert await at.unaccounted() == 0


class Interfering(Failing):
    """A store where a person is faster than the first commit."""

    def __init__(self, given: House) -> None:
        super().__init__(given, fails_at=-1)
        self._given = given
        self._once = True

    async def commit(self, move: Move) -> list[int]:
        if self._once:
            self._once = False
            await self._given.people.acknowledge(1, "anna")
        return await super().commit(move)


async def test_a_conflict_that_never_ends_is_a_failing_store_not_a_busy_loop(at: House) -> None:
    await at.accept(body(entry()))
    store = Always(at)
    with pytest.raises(StoreError):
        await asyncio.wait_for(Inbox(store, at.receivers, lambda: RULES, at.clock).once(), 5)  # type: ignore[arg-type]
    assert store.tried < 100
    await at.settle()
    assert (await at.incident()).firing == 1


class Always(Failing):
    """A store where each commit meets a conflict."""

    def __init__(self, given: House) -> None:
        super().__init__(given, fails_at=-1)
        self.tried = 0

    async def commit(self, move: Move) -> list[int]:
        self.tried += 1
        await asyncio.sleep(0)
        raise Conflict("planted")


async def test_nothing_is_lost_when_the_store_fails_between(at: House) -> None:
    await at.accept(body(entry(instance="a")))
    with pytest.raises(StoreError):
        await Inbox(Failing(at, fails_at=1), at.receivers, lambda: RULES, at.clock).once()  # type: ignore[arg-type]
    await at.accept(body(entry(instance="b")))
    await at.settle()
    assert (await at.incident()).firing == 2


async def test_the_worker_waits_for_a_failing_store_and_stops_when_told(at: House) -> None:
    stop = asyncio.Event()
    failing = Failing(at, fails_at=1)
    task = asyncio.create_task(Inbox(failing, at.receivers, lambda: RULES, at.clock).run(stop))  # type: ignore[arg-type]
    await at.accept(body(entry()))
    while not at.clock._sleepers:
        await asyncio.sleep(0.001)
    at.clock.turn(1.0)
    while not await at.all_incidents():
        at.clock.turn(worker.GATHER_S)
        await asyncio.sleep(0.001)
    stop.set()
    while not task.done():
        at.clock.turn(1)
        await asyncio.sleep(0.001)
    await task


async def test_bodies_are_moved_in_the_order_they_came(at: House) -> None:
    for n in range(20):
        await at.accept(body(entry(instance="a", started=after(n)), group=str(n)))
        await at.accept(
            body(entry(instance="a", firing=False, started=after(n), ended=after(n, minutes=0)), group=str(n))
        )
        at.clock.turn(1)
    await at.settle()
    found = await at.incident()
    assert (found.firing, found.episodes) == (0, 20)


async def test_what_a_reload_of_the_rules_changes_holds_for_the_next_alert(tmp_path: Path) -> None:
    async with house(tmp_path) as given:
        await given.post(entry("Other"))
        await given.post(entry("Other2", severity="critical"))
        assert [(each.rule, each.severity) for each in await given.all_incidents()] == [("backstop", P2), ("label", P1)]


async def test_a_clock_that_steps_back_loses_nothing(tmp_path: Path) -> None:
    clock = FakeClock()
    async with house(tmp_path, clock=clock) as given:
        await given.post(entry(instance="a"))
        clock.step(-7200)
        await given.post(entry(instance="b"))
        found = await given.incident()
        assert (found.firing, await given.unaccounted()) == (2, 0)


async def test_an_alert_that_the_store_will_never_have_is_kept_aside_and_holds_up_nobody(at: House) -> None:
    await at.store._writer.submit(
        lambda connection: connection.execute(
            "CREATE TRIGGER planted BEFORE INSERT ON episode WHEN new.labels LIKE '%poison%'"
            " BEGIN SELECT RAISE(ABORT, 'planted'); END"
        )
    )
    await at.accept(body(entry(instance="a"), entry(instance="poison"), entry(instance="b")))
    await at.accept(body(entry(instance="c")))
    stop = asyncio.Event()
    task = asyncio.create_task(at.inbox.run(stop))
    async with asyncio.timeout(5):
        while len(await at.all_incidents()) < 2 or await at.figure("waiting"):
            at.clock.turn(1)
            await asyncio.sleep(0.005)
    stop.set()
    while not task.done():
        at.clock.turn(1)
        await asyncio.sleep(0.001)
    found = {each.rule: each for each in await at.all_incidents()}
    assert found["api"].firing == 3
    assert "cannot be read" in found["backstop"].title
    assert await at.figure("quarantined_entries") == 1
    assert await at.unaccounted() == 0


async def test_a_group_whose_older_incident_was_reopened_takes_its_next_alert_there(at: House) -> None:
    first = entry(instance="a")
    await at.post(first)
    await at.people.resolve(1, "anna")
    at.clock.turn(minutes=40)
    await at.post(entry(instance="b", started=at.clock.now()))
    await at.people.resolve(2, "anna")
    at.clock.turn(minutes=35)
    await at.post(first, group="again")  # the hour is over: INC-1 opens again, though INC-2 is newer
    assert [each.status.ended for each in await at.all_incidents()] == [False, True]
    await at.post(entry(instance="c", started=at.clock.now()))
    assert [(each.firing, each.status.ended) for each in await at.all_incidents()] == [(2, False), (1, True)]
    at.clock.turn(minutes=30)
    await at.post(entry(instance="b"), group="b again")  # its hour is over too: it joins the open one
    assert [(each.firing, each.status.ended) for each in await at.all_incidents()] == [(3, False), (0, True)]
    assert await at.unaccounted() == 0


async def test_what_the_store_refuses_whatever_it_holds_is_waited_for_not_hammered(at: House) -> None:
    async def plant(sql: str) -> None:
        await at.store._writer.submit(lambda connection: connection.execute(sql).fetchall())

    await plant("CREATE TRIGGER planted BEFORE INSERT ON counter BEGIN SELECT RAISE(ABORT, 'planted'); END")
    await at.accept(body(entry()))
    stop = asyncio.Event()
    task = asyncio.create_task(at.inbox.run(stop))
    async with asyncio.timeout(5):
        while not at.clock._sleepers:
            await asyncio.sleep(0.005)
        await plant("DROP TRIGGER planted")
        while not await at.all_incidents():
            at.clock.turn(1)
            await asyncio.sleep(0.005)
    stop.set()
    while not task.done():
        at.clock.turn(1)
        await asyncio.sleep(0.001)
    assert (await at.incident()).rule == "api"
    assert await at.unaccounted() == 0


# --- what tells only a part ---


class Halves(Crashing):
    """A receiver of bodies that tell only a part of what they know: {"id": ..., "labels": {...}}."""

    name = "halves"

    def decode(self, body: bytes, received_at: datetime) -> Decoded:
        found = json.loads(body)
        return Decoded(
            (Alert("halves", found["id"], found["labels"], {}, True, received_at, received_at, partial=True),)
        )


async def test_what_tells_only_a_part_is_judged_by_all_that_is_known_of_it(tmp_path: Path) -> None:
    async with house(tmp_path, more={"halves": Halves()}) as at:
        for labels in ({"alertname": "Api", "severity": "info", "cluster": "eu"}, {"alertname": "Api"}):
            await at.accept(json.dumps({"id": "one", "labels": labels}).encode(), "halves")
            await at.settle()
        [incident] = await at.all_incidents()
        assert (incident.severity, await at.posts(1, "page")) == (P3, [])
