"""Durable runs: nothing finished is done twice, whatever line we die at."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from responder import incidents
from responder.engine import RECOMPUTED, Ctx, Parked, UnknownOutcome, carry
from responder.errors import Conflict, StoreError
from responder.model import Done, Message, Move, Post, Run, Severity
from responder.ports import Store
from tests.given import NOW, P0, P1, House, after, alert, entry, first_run, house, moved

WRITES = ("pin", "step", "intent", "wake", "consume", "park", "finish")


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as given:
        await given.post(entry())
        yield given


async def go(given: House, fn: Callable[[Ctx], Awaitable[object]], store: Any = None) -> str:
    """Take the chain's run as far as it goes."""
    run = next(run for run in await given.store.due_runs(given.clock.now(), 9) if run.kind == "chain")
    return await carry(run, fn, store or given.store, given.clock)


def counting(done: Done | None = None) -> tuple[list[int], Callable[[], Awaitable[Done]]]:
    calls: list[int] = []

    async def fn() -> Done:
        calls.append(1)
        return done or Done(value=len(calls))

    return calls, fn


class Crash(BaseException):
    """We die here."""


class Dying:
    """A store under which the process dies before or after its n-th write."""

    def __init__(self, store: Store, at: int, *, after_write: bool) -> None:
        self._store, self._left, self._after = store, at, after_write

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._store, name)
        if name not in WRITES:
            return real

        async def write(*arguments: Any, **named: Any) -> Any:
            self._left -= 1
            if self._left == 0 and not self._after:
                raise Crash
            found = await real(*arguments, **named)
            if self._left == 0:
                raise Crash
            return found

        return write


# --- steps ---


async def test_a_finished_step_is_not_done_again_and_answers_the_same(at: House) -> None:
    calls, fn = counting()
    seen: list[object] = []

    async def run(ctx: Ctx) -> None:
        seen.append(await ctx.step("a", fn))
        if len(seen) < 3:
            raise Parked(ctx.clock.now())

    for _ in range(3):
        await go(at, run)
    assert (len(calls), seen) == (1, [1, 1, 1])


async def test_one_name_twice_in_one_life_is_one_step(at: House) -> None:
    calls, fn = counting()
    seen: list[object] = []

    async def run(ctx: Ctx) -> None:
        seen.extend([await ctx.step("a", fn), await ctx.step("a", fn)])

    assert await go(at, run) == "done"
    assert (len(calls), seen) == (1, [1, 1])


async def test_a_step_that_fails_leaves_nothing_and_is_tried_again(at: House) -> None:
    calls: list[int] = []

    async def fn() -> Done:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("not yet")
        return Done(value="well")

    async def run(ctx: Ctx) -> object:
        return await ctx.step("a", fn)

    with pytest.raises(ValueError, match="not yet"):
        await go(at, run)
    assert at.sql("SELECT count(*) FROM journal") == [(0,)]
    assert await go(at, run) == "done"
    assert at.sql("SELECT result FROM run WHERE kind = 'chain'") == [('"well"',)]


async def test_what_a_step_makes_is_written_with_it_or_not_at_all(at: House) -> None:
    await at.store._writer.submit(
        lambda connection: connection.execute(
            "CREATE TRIGGER planted BEFORE INSERT ON post WHEN new.kind = 'reply'"
            " BEGIN SELECT RAISE(ABORT, 'planted'); END"
        )
    )
    made = Done(posts=[Post(1, "reply", P1, Message("", body="x"))], timeline=[("note", "x")], cost_usd=1.0)

    async def run(ctx: Ctx) -> None:
        await ctx.step("a", counting(made)[1])

    with pytest.raises(StoreError):
        await go(at, run)
    assert at.sql("SELECT count(*) FROM journal") == [(0,)]
    assert (await at.incident()).cost_usd == 0
    assert "x" not in [text for (text,) in at.sql("SELECT text FROM timeline")]


async def story(ctx: Ctx, does: list[str], at: datetime) -> str:
    """Two steps, a sleep, a wait, an action."""

    def act(name: str) -> Callable[[], Awaitable[Done]]:
        async def fn() -> Done:
            does.append(name)
            return Done(name, posts=[Post(ctx.run.incident, "reply", P1, Message("", body=name))], cost_usd=1.0)

        return fn

    await ctx.pin({"chain": "outage"})
    await ctx.step("one", act("one"))
    await ctx.sleep_until("sleep", at)
    heard = await ctx.wait("wait", ["word"], at)
    try:
        await ctx.effect("action", act("action"))
    except UnknownOutcome:
        await ctx.step("asked", act("asked"))
    await ctx.step("two", act("two"))
    return f"heard {heard}"


@pytest.mark.parametrize("after_write", [False, True], ids=["before the write", "after the write"])
async def test_dying_at_any_write_repeats_nothing_that_is_written(tmp_path: Path, after_write: bool) -> None:
    for n in range(1, 12):
        folder = tmp_path / str(n)
        folder.mkdir()
        async with house(folder) as given:
            await given.post(entry())
            does: list[str] = []
            until = after(60)
            store: Any = Dying(given.store, n, after_write=after_write)

            async def run(ctx: Ctx, does: list[str] = does, until: datetime = until) -> str:
                return await story(ctx, does, until)

            outcome, lives = "", 0
            while outcome != "done":
                lives += 1
                assert lives < 9
                try:
                    outcome = await go(given, run, store)
                except Crash:
                    store = given.store
                    if given.sql("SELECT 1 FROM run WHERE kind = 'chain' AND state = 'done'"):
                        break
                given.clock.turn(60)
            texts = [post["message"]["body"] for post in await given.posts(1, "reply")]
            action = "action" if "action" in texts else "asked"
            assert texts == ["one", action, "two"]
            assert does.count("action") <= 1
            assert (await given.incident()).cost_usd == 3.0
            assert len(given.sql("SELECT name FROM journal WHERE phase = 'done'")) in (4, 5)


async def test_a_pinned_text_stays_what_it_was(at: House) -> None:
    texts: list[object] = []

    async def run(ctx: Ctx) -> None:
        await ctx.pin({"chain": f"edited {len(texts)} times"})
        texts.append(ctx.text)
        if len(texts) < 3:
            raise Parked(NOW)

    for _ in range(3):
        await go(at, run)
    assert texts == [{"chain": "edited 0 times"}] * 3


# --- a step's move ---


async def test_a_step_whose_incident_changes_meanwhile_is_recomputed(at: House) -> None:
    calls: list[int] = []

    async def run(ctx: Ctx) -> None:
        async def fn() -> Done:
            calls.append(1)
            now = await ctx.incident()
            if len(calls) == 1:
                await at.people.acknowledge(1, "anna")
            move = Move()
            move.changed.append(incidents.raised(move, now, P0, "why", "", "", NOW))
            return Done(move=move)

        await ctx.step("raise", fn)

    assert await go(at, run) == "done"
    found = await at.incident()
    assert (len(calls), found.severity, found.commander) == (2, P0, "anna")
    assert len(await at.posts(1, "page")) == 1


async def test_an_incident_that_changes_for_ever_is_an_error_not_a_loop(at: House) -> None:
    calls: list[int] = []

    async def run(ctx: Ctx) -> None:
        async def fn() -> Done:
            calls.append(1)
            return Done(move=Move(changed=[replace(await ctx.incident(), version=99)]))

        await ctx.step("never", fn)

    with pytest.raises(Conflict):
        await go(at, run)
    assert len(calls) == RECOMPUTED


# --- effects ---


async def test_an_action_whose_outcome_is_unknown_is_never_repeated(at: House) -> None:
    calls: list[int] = []

    async def act() -> Done:
        calls.append(1)
        raise Crash

    async def run(ctx: Ctx) -> object:
        return await ctx.effect("restart", act)

    with pytest.raises(Crash):
        await go(at, run)
    for _ in range(3):
        with pytest.raises(UnknownOutcome, match="unknown"):
            await go(at, run)
    assert len(calls) == 1


async def test_an_action_that_is_done_answers_and_is_not_repeated(at: House) -> None:
    calls, act = counting(Done("restarted"))
    seen: list[object] = []

    async def run(ctx: Ctx) -> None:
        seen.append(await ctx.effect("restart", act))
        if len(seen) < 2:
            raise Parked(NOW)

    await go(at, run)
    await go(at, run)
    assert (len(calls), seen) == (1, ["restarted", "restarted"])


async def test_an_action_with_a_move_is_not_repeated_by_a_conflict(at: House) -> None:
    calls: list[int] = []

    async def act() -> Done:
        calls.append(1)
        return Done("restarted", move=Move(changed=[replace(await at.incident(), version=99)]))

    async def run(ctx: Ctx) -> None:
        await ctx.effect("restart", act)

    with pytest.raises((Conflict, TypeError)):
        await go(at, run)
    assert len(calls) == 1


# --- time ---


async def test_a_sleep_ends_when_it_was_to_end_whatever_is_asked_later(at: House) -> None:
    woke: list[datetime] = []

    async def run(ctx: Ctx) -> None:
        await ctx.sleep_until("nap", ctx.clock.now() + timedelta(minutes=10))
        woke.append(ctx.clock.now())

    assert await go(at, run) == "parked"
    at.clock.turn(minutes=9, seconds=59)
    assert not [run for run in await at.store.due_runs(at.clock.now(), 9) if run.kind == "chain"]
    at.clock.turn(1)
    assert await go(at, run) == "done"
    assert woke == [after(minutes=10)]


async def test_a_sleep_is_exact_across_a_restart(tmp_path: Path) -> None:
    async def run(ctx: Ctx) -> None:
        await ctx.sleep_until("nap", after(minutes=10))

    async with house(tmp_path) as before:
        await before.post(entry())
        clock = before.clock
        await go(before, run)
    clock.turn(minutes=9, seconds=59)
    async with house(tmp_path, clock=clock) as later:
        assert "chain" not in [run.kind for run in await later.store.due_runs(clock.now(), 9)]
        clock.turn(1)
        assert await go(later, run) == "done"


# --- signals ---


async def say(given: House, word: str, topic: str = "word") -> None:
    await given.store.commit(Move(signals=[(1, topic, word)]))


async def test_a_wait_uses_a_signal_up_and_the_next_wait_gets_the_next(at: House) -> None:
    heard: list[object] = []

    async def run(ctx: Ctx) -> None:
        heard.append(await ctx.wait("first", ["word"], None))
        heard.append(await ctx.wait("second", ["word"], None))

    assert await go(at, run) == "parked"
    await say(at, "a")
    assert await go(at, run) == "parked"
    assert heard == [("word", "a")]
    await say(at, "b")
    assert await go(at, run) == "done"
    assert heard == [("word", "a"), ("word", "a"), ("word", "b")]
    assert at.sql("SELECT consumed FROM signal s JOIN run r ON r.id = s.run WHERE r.kind = 'chain'") == [
        ("first",), ("second",),
    ]  # fmt: skip


async def test_other_topics_do_not_end_a_wait_and_stay_for_theirs(at: House) -> None:
    heard: list[object] = []

    async def run(ctx: Ctx) -> None:
        heard.append(await ctx.wait("first", ["word"], None))
        heard.append(await ctx.wait("second", ["other"], None))

    await go(at, run)
    await say(at, "x", topic="other")
    assert await go(at, run) == "parked"
    assert heard == []
    assert "chain" not in [run.kind for run in await at.store.due_runs(at.clock.now(), 9)]
    await say(at, "a")
    assert await go(at, run) == "done"
    assert heard == [("word", "a"), ("other", "x")]


async def test_a_wait_that_runs_out_gives_none_for_ever(at: House) -> None:
    heard: list[object] = []

    async def run(ctx: Ctx) -> None:
        heard.append(await ctx.wait("w", ["word"], after(60)))
        await ctx.sleep_until("nap", after(120))

    await go(at, run)
    at.clock.turn(60)
    await go(at, run)
    await say(at, "late")
    at.clock.turn(60)
    assert await go(at, run) == "done"
    assert heard == [None, None]


async def test_a_signal_before_the_deadline_wins_even_when_read_after_it(at: House) -> None:
    heard: list[object] = []

    async def run(ctx: Ctx) -> None:
        heard.append(await ctx.wait("w", ["word"], after(60)))

    await go(at, run)
    await say(at, "in time")
    at.clock.turn(600)
    assert await go(at, run) == "done"
    assert heard == [("word", "in time")]


async def test_a_signal_that_comes_while_a_run_parks_is_not_lost(at: House) -> None:
    class Late:
        """A store where a signal comes just before the run is put to sleep."""

        def __getattr__(self, name: str) -> Any:
            return getattr(at.store, name)

        async def park(self, run: Run, *, until: datetime | None, seen: int) -> bool:
            await say(at, "late")
            slept = await at.store.park(run, until=until, seen=seen)
            assert not slept
            return slept

    heard: list[object] = []

    async def run(ctx: Ctx) -> None:
        heard.append(await ctx.wait("w", ["word"], None))

    await go(at, run, Late())
    assert await go(at, run) == "done"
    assert heard == [("word", "late")]


async def test_draining_uses_up_all_and_only_once(at: House) -> None:
    async def run(ctx: Ctx) -> None:
        await ctx.drain()
        raise Parked(None)

    await go(at, run)
    for word in "abc":
        await say(at, word)
    await go(at, run)
    assert at.sql(
        "SELECT count(*) FROM signal s JOIN run r ON r.id = s.run WHERE kind = 'chain' AND consumed IS NULL"
    ) == [(0,)]


# --- fencing ---


async def test_a_run_in_other_hands_stops_and_writes_nothing(at: House) -> None:
    calls, fn = counting(Done(posts=[Post(1, "reply", P1, Message("", body="ghost"))]))

    async def run(ctx: Ctx) -> None:
        await ctx.step("a", fn)

    mine = await first_run(at, "chain")
    await at.store._writer.submit(lambda connection: connection.execute("UPDATE run SET epoch = epoch + 1"))
    assert await carry(mine, run, at.store, at.clock) == "fenced"
    assert (len(calls), await at.posts(1, "reply")) == (1, [])
    assert at.sql("SELECT DISTINCT state FROM run") == [("open",)]


async def test_of_two_that_carry_one_run_one_writes_each_step(at: House) -> None:
    async def run(ctx: Ctx) -> None:
        for name in "abc":
            await ctx.step(name, counting(Done(posts=[Post(1, "reply", P1, Message("", body=name))]))[1])
            await asyncio.sleep(0)

    mine = await first_run(at, "chain")
    ended = await asyncio.gather(*(carry(mine, run, at.store, at.clock) for _ in range(2)))
    assert sorted(ended) in (["done", "fenced"], ["done", "done"])
    assert [post["message"]["body"] for post in await at.posts(1, "reply")] == ["a", "b", "c"]


# --- many ---


async def test_two_thousand_waiting_runs_are_rows_not_tasks(tmp_path: Path) -> None:
    async def run(ctx: Ctx) -> None:
        await ctx.wait("w", ["word"], after(hours=1))

    async with house(tmp_path) as given:
        await given.store.commit(moved(*[alert(cluster=f"c{n}", severity="info") for n in range(1000)]))
        before = len(asyncio.all_tasks())
        due = await given.store.due_runs(given.clock.now(), 5000)
        assert len(due) == 2000
        for begin in range(0, 2000, 200):
            some = due[begin : begin + 200]
            assert set(await asyncio.gather(*(carry(each, run, given.store, given.clock) for each in some))) == {
                "parked"
            }
        assert len(asyncio.all_tasks()) == before
        assert await given.store.due_runs(given.clock.now(), 5000) == []
        given.clock.turn(hours=1)
        assert len(await given.store.due_runs(given.clock.now(), 5000)) == 2000


def test_parking_is_no_error_that_a_handler_could_swallow() -> None:
    assert not issubclass(Parked, Exception)
    assert isinstance(UnknownOutcome("x"), Exception)
    assert Severity.P0 < Severity.P1
