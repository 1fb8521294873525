"""The runner: it carries what is due, a fault stays its own run's, and it stops when told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from responder.engine import Ctx
from responder.errors import StoreError
from responder.model import Done, Move, Run
from responder.workers.runs import AT_ONCE, MAX_FAILURES, Runs
from tests.given import House, after, alert, entry, house, moved


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as given:
        yield given


@asynccontextmanager
async def running(at: House, **kinds: Callable[[Ctx], Awaitable[object]]) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(Runs(at.store, kinds, at.clock, tick_s=0.01).run(stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, 5)


async def until(at: House, query: str, found: object) -> None:
    async with asyncio.timeout(5):
        while at.sql(query) != found:
            await asyncio.sleep(0.005)


async def nothing(ctx: Ctx) -> None:
    await ctx.step("only", done)


async def done() -> Done:
    return Done()


async def test_runs_that_are_due_are_carried_to_their_end(at: House) -> None:
    await at.post(entry(), entry(cluster="b"))
    async with running(at, watch=nothing, chain=nothing):
        await until(at, "SELECT state, count(*) FROM run GROUP BY state", [("done", 4)])
    assert at.sql("SELECT count(*) FROM journal") == [(4,)]


async def test_a_new_run_is_begun_without_waiting_for_the_tick(at: House) -> None:
    stop = asyncio.Event()
    task = asyncio.create_task(Runs(at.store, {"watch": nothing, "chain": nothing}, at.clock, tick_s=60).run(stop))
    await asyncio.sleep(0.05)
    await at.post(entry())
    await until(at, "SELECT state, count(*) FROM run GROUP BY state", [("done", 2)])
    stop.set()
    await asyncio.wait_for(task, 5)


async def test_a_waiting_run_goes_on_when_its_time_or_its_signal_comes(at: House) -> None:
    async def sleeps(ctx: Ctx) -> None:
        await ctx.sleep_until("nap", after(60))

    async def listens(ctx: Ctx) -> None:
        await ctx.wait("w", ["word"], None)

    await at.post(entry())
    async with running(at, watch=sleeps, chain=listens):
        await until(at, "SELECT count(*) FROM run WHERE wake_at > 0", [(2,)])
        await at.store.commit(Move(signals=[(1, "word", 1)]))
        await until(at, "SELECT kind FROM run WHERE state = 'done'", [("chain",)])
        at.clock.turn(60)
        await until(at, "SELECT count(*) FROM run WHERE state = 'done'", [(2,)])


async def test_a_run_with_a_fault_is_put_off_and_given_up_and_disturbs_no_other(at: House) -> None:
    calls: list[int] = []

    async def fails(ctx: Ctx) -> None:
        calls.append(1)
        raise ValueError("a fault")

    await at.post(entry())
    async with running(at, watch=nothing, chain=fails):
        for n in range(1, MAX_FAILURES + 1):
            async with asyncio.timeout(5):
                while len(calls) < n:
                    await asyncio.sleep(0.002)
            await asyncio.sleep(0.02)
            assert len(calls) == n  # not again before its time
            at.clock.turn(60)
        await until(at, "SELECT kind, state FROM run ORDER BY kind", [("chain", "failed"), ("watch", "done")])
    assert ["given up" in post["message"]["body"] for post in await at.posts(1, "reply")] == [
        True
    ]  # and people hear it


async def test_a_watch_with_a_fault_is_never_given_up(at: House) -> None:
    calls: list[int] = []

    async def fails(ctx: Ctx) -> None:
        calls.append(1)
        if len(calls) <= MAX_FAILURES + 2:
            raise ValueError("a fault")

    await at.post(entry())
    async with running(at, watch=fails, chain=nothing):
        async with asyncio.timeout(5):
            while not at.sql("SELECT 1 FROM run WHERE kind = 'watch' AND state = 'done'"):
                at.clock.turn(60)
                await asyncio.sleep(0.005)


async def test_a_kind_that_nobody_knows_is_ended(at: House) -> None:
    await at.post(entry())
    async with running(at, watch=nothing):
        await until(at, "SELECT kind FROM run WHERE state = 'failed'", [("chain",)])


async def test_chains_that_take_long_keep_no_watch_waiting(at: House) -> None:
    """A hundred slow chains, all of the worst severity: every incident is watched all the same."""
    release = asyncio.Event()
    running_now: list[int] = []
    most: list[int] = []

    async def slow(ctx: Ctx) -> None:
        running_now.append(ctx.run.id)
        most.append(len(running_now))
        await release.wait()
        running_now.remove(ctx.run.id)

    await at.store.commit(moved(*[alert(cluster=f"c{n}", severity="outage") for n in range(100)]))
    async with running(at, watch=nothing, chain=slow):
        await until(at, "SELECT count(*) FROM run WHERE kind = 'watch' AND state = 'done'", [(100,)])
        assert max(most) <= AT_ONCE["chain"]
        release.set()
        await until(at, "SELECT count(*) FROM run WHERE state = 'done'", [(200,)])


async def test_a_step_under_way_when_it_stops_is_finished_and_none_begins_after_it(at: House) -> None:
    """A turn of a model is paid for once it is asked: its answer must not be thrown away at each deployment."""
    release, begun = asyncio.Event(), asyncio.Event()
    asked: list[str] = []

    async def thinks(ctx: Ctx) -> None:
        for name in ("first", "second"):

            async def turn(name: str = name) -> Done:
                asked.append(name)
                begun.set()
                await release.wait()
                return Done()

            await ctx.step(name, turn)

    await at.post(entry())
    stop = asyncio.Event()
    task = asyncio.create_task(Runs(at.store, {"watch": nothing, "chain": thinks}, at.clock, tick_s=0.01).run(stop))
    await asyncio.wait_for(begun.wait(), 5)
    stop.set()
    await asyncio.sleep(0.05)
    assert not task.done()
    release.set()
    await asyncio.wait_for(task, 5)
    assert (asked, at.sql("SELECT name FROM journal WHERE name <> 'only'")) == (["first"], [("first",)])
    async with running(at, watch=nothing, chain=thinks):
        await until(at, "SELECT count(*) FROM run WHERE state = 'done'", [(2,)])
    assert asked == ["first", "second"]


async def test_a_runner_that_is_cut_short_leaves_nothing_at_work(at: House) -> None:
    begun = asyncio.Event()

    async def hangs(ctx: Ctx) -> None:
        async def turn() -> Done:
            begun.set()
            await asyncio.Event().wait()
            return Done()

        await ctx.step("only", turn)

    await at.post(entry())
    stop = asyncio.Event()
    task = asyncio.create_task(Runs(at.store, {"watch": nothing, "chain": hangs}, at.clock, tick_s=0.01).run(stop))
    await asyncio.wait_for(begun.wait(), 5)
    stop.set()
    await asyncio.sleep(0.02)
    task.cancel()
    await asyncio.wait([task])
    assert not [each for each in asyncio.all_tasks() if each.get_name().startswith("chain ")]


async def test_slow_chains_of_minor_incidents_keep_no_worse_one_waiting(at: House) -> None:
    release = asyncio.Event()
    begun: list[str] = []

    async def slow(ctx: Ctx) -> None:
        begun.append(ctx.run.severity)
        await release.wait()

    await at.store.commit(moved(*[alert(cluster=f"c{n}", severity="info") for n in range(20)]))
    async with running(at, watch=nothing, chain=slow):
        async with asyncio.timeout(5):
            while len(begun) < AT_ONCE["chain"]:
                await asyncio.sleep(0.005)
        await at.store.commit(moved(alert(cluster="worst", severity="outage")))
        async with asyncio.timeout(5):
            while begun[-1] != "P0":
                await asyncio.sleep(0.005)
        assert begun.count("P3") == AT_ONCE["chain"]
        release.set()


async def test_a_fault_of_ours_does_not_end_the_runner(at: House) -> None:
    faults = [RuntimeError("a fault")]

    class Odd:
        def __getattr__(self, name: str) -> object:
            return getattr(at.store, name)

        async def due_runs(self, *arguments: Any) -> list[Run]:
            if faults:
                raise faults.pop()
            return await at.store.due_runs(*arguments)

    await at.post(entry())
    stop = asyncio.Event()
    runs = Runs(Odd(), {"watch": nothing, "chain": nothing}, at.clock, tick_s=0.01)  # type: ignore[arg-type]
    task = asyncio.create_task(runs.run(stop))
    await until(at, "SELECT count(*) FROM run WHERE state = 'done'", [(2,)])
    stop.set()
    await asyncio.wait_for(task, 5)


async def test_a_store_that_fails_for_long_costs_no_chain(at: House) -> None:
    """Only faults of the run's own count: a full disk is nobody's analysis."""
    calls: list[int] = []

    async def no_disk(ctx: Ctx) -> None:
        calls.append(1)
        if len(calls) < 2 * MAX_FAILURES:
            raise StoreError("disk full")

    await at.post(entry())
    async with running(at, watch=nothing, chain=no_disk):
        async with asyncio.timeout(5):
            while not at.sql("SELECT 1 FROM run WHERE kind = 'chain' AND state <> 'open'"):
                at.clock.turn(60)
                await asyncio.sleep(0.005)
    assert at.sql("SELECT state FROM run WHERE kind = 'chain'") == [("done",)]


async def test_what_is_under_way_when_it_stops_goes_on_after_the_restart(at: House) -> None:
    begun = asyncio.Event()
    steps: list[str] = []

    async def slow(ctx: Ctx) -> None:
        async def first() -> Done:
            steps.append("first")
            return Done()

        await ctx.step("first", first)
        if not begun.is_set():
            begun.set()
            await asyncio.Event().wait()

    await at.post(entry())
    async with running(at, watch=nothing, chain=slow):
        await asyncio.wait_for(begun.wait(), 5)
    async with running(at, watch=nothing, chain=slow):
        await until(at, "SELECT count(*) FROM run WHERE state = 'done'", [(2,)])
    assert steps == ["first"]
