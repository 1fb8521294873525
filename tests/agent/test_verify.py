"""Waiting until it is over: recovery checks hold it open, no signal is lost, and a later run takes over."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from responder.model import Status
from responder.runbooks import Phase, Recovery
from responder.turns import ToolResult
from tests.agent.world import START, SayingTool, World, library, world


class Errors:
    """A rate that the test sets."""

    def __init__(self) -> None:
        """Begin high."""
        self.rate: float | None = 9.0
        self.asked = 0

    def __call__(self, _: Any) -> ToolResult:
        """Say it."""
        self.asked += 1
        if self.rate is None:
            return ToolResult("unavailable", "away")
        return ToolResult("ok", f"errors {self.rate}", self.rate)


@asynccontextmanager
async def verifying(folder: Path, *recovery: Recovery) -> AsyncIterator[tuple[World, Errors]]:
    """An incident whose chain has come to its verification."""
    errors = Errors()
    files = library(Phase(name="first-look"), Phase(name="verify"), recovery=recovery)
    async with world(folder, tools=[SayingTool("prometheus.query", errors)], files=files) as one:
        assert await one.run() == "parked"
        assert (await one.incident()).phase == "verify"
        yield one, errors


RECOVERY = Recovery.model_validate({"check": "error-rate", "for": "2m", "within": "10m"})


async def test_without_recovery_checks_it_waits_for_the_end(tmp_path: Path) -> None:
    async with verifying(tmp_path) as (one, errors):
        await one.calm()
        assert await one.run() == "parked"
        await one.resolve()
        assert await one.run() == "done"
    assert errors.asked == 1, "the first look alone asks"


async def test_checks_that_hold_are_told_and_the_incident_stays_monitored(tmp_path: Path) -> None:
    async with verifying(tmp_path, RECOVERY) as (one, errors):
        errors.rate = 0.0
        await one.calm()
        assert await one.run() == "parked"
        assert (await one.incident()).status is Status.MONITORING
        assert "Recovery checks: error-rate ok: 0, expected < 1 [E2]." in [post["body"] for post in await one.posts()]
        await one.resolve()
        assert await one.run() == "done"
    assert errors.asked == 2


async def test_what_held_at_first_is_asked_again_before_the_hold_is_over(tmp_path: Path) -> None:
    async with verifying(tmp_path, RECOVERY) as (one, errors):
        errors.rate = 0.0
        await one.calm()
        await one.run()
        begun = one.clock.at
        hold_s = one.parts.hold_s(await one.incident())
        one.clock.at = begun + timedelta(seconds=hold_s * 0.5)
        await one.run()
        assert (errors.asked, (await one.incident()).status) == (3, Status.MONITORING)
        assert sum("Recovery checks:" in post["body"] for post in await one.posts()) == 1, "told once"
        errors.rate = 99.0
        one.clock.at = begun + timedelta(seconds=hold_s * 0.96)
        await one.run()
        assert (errors.asked, (await one.incident()).status) == (4, Status.INVESTIGATING)


async def test_a_tool_that_is_away_does_not_hold_the_end_up(tmp_path: Path) -> None:
    async with verifying(tmp_path, RECOVERY) as (one, errors):
        errors.rate = None
        await one.calm()
        await one.run()
        assert (await one.incident()).status is Status.MONITORING


async def test_checks_that_fail_take_it_back_and_are_asked_again_until_they_hold(tmp_path: Path) -> None:
    async with verifying(tmp_path, RECOVERY) as (one, errors):
        await one.calm()
        assert await one.run() == "parked"
        assert (await one.incident()).status is Status.INVESTIGATING
        assert any("recovery checks fail" in post["body"] for post in await one.posts())
        one.clock.at = START + timedelta(seconds=121)
        errors.rate = 0.5
        assert await one.run() == "parked"
        incident = await one.incident()
        assert (incident.status, incident.monitoring_at) == (Status.MONITORING, one.clock.at)
        assert errors.asked == 3
        await one.run()
        assert errors.asked == 3, "it is proved; the news was our own"
        await one.resolve()
        assert await one.run() == "done"


async def test_the_watch_hears_that_the_hold_begins_anew(tmp_path: Path) -> None:
    async with verifying(tmp_path, RECOVERY) as (one, errors):
        await one.calm()
        await one.run()
        one.clock.at += timedelta(seconds=121)
        errors.rate = 0.5
        runs = {run.kind: run for run in await one.store.due_runs(one.clock.now(), 20)}
        before = len((await one.store.load(runs["watch"])).signals)
        await one.run()
        assert len((await one.store.load(runs["watch"])).signals) == before + 1


async def test_when_the_time_for_recovery_is_over_a_person_must_decide(tmp_path: Path) -> None:
    async with verifying(tmp_path, RECOVERY) as (one, errors):
        await one.calm()
        for minutes in range(0, 14, 2):
            one.clock.at = START + timedelta(minutes=minutes, seconds=1)
            if any(run.kind == "chain" for run in await one.store.due_runs(one.clock.now(), 20)):
                assert await one.run() == "parked"
        told = [post["body"] for post in await one.posts() if "A person must decide" in post["body"]]
        assert len(told) == 1
        assert (await one.incident()).status is Status.INVESTIGATING
        await one.resolve("anna")
        assert await one.run() == "done"
    assert errors.asked == 7


async def test_firing_again_is_waited_out_and_checked_again(tmp_path: Path) -> None:
    async with verifying(tmp_path, RECOVERY) as (one, errors):
        errors.rate = 0.0
        await one.calm()
        await one.run()
        await one.fire()
        await one.run()
        assert (await one.incident()).status is Status.INVESTIGATING
        await one.clock.sleep(10)
        await one.calm()
        await one.run()
        assert errors.asked == 3


async def test_no_recheck_is_made_while_it_fires_again(tmp_path: Path) -> None:
    async with verifying(tmp_path, RECOVERY) as (one, errors):
        await one.calm()
        await one.run()
        await one.fire()
        one.clock.at += timedelta(minutes=3)
        await one.run()
        assert errors.asked == 2
        await one.calm()
        errors.rate = 0.0
        await one.run()
        assert (await one.incident()).status is Status.MONITORING


async def test_what_happened_while_nobody_looked_is_not_lost(tmp_path: Path) -> None:
    async with verifying(tmp_path, RECOVERY) as (one, errors):
        errors.rate = 0.0
        await one.calm()
        await one.fire()
        await one.calm()
        await one.resolve("anna")
        assert await one.run() == "done"


async def test_a_reopened_incident_belongs_to_its_later_run(tmp_path: Path) -> None:
    async with verifying(tmp_path, RECOVERY) as (one, _):
        await one.resolve()
        await one.reopen()
        assert await one.run(n=1) == "done"
        assert await one.run(n=2) == "parked"
        runs = {row["n"]: row["result"] for row in (await one.record())["runs"] if row["kind"] == "chain"}
    assert "taken over" in runs[1]
