"""The watch: who is paged when, how often the thread is told, and when it is over. The clock is turned by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC
from pathlib import Path

import pytest

from responder.agent.watch import Watch
from responder.model import Severity, Status
from responder.rules import RuleSet
from responder.rules.calendar import Calendar
from responder.rules.quiet import QuietHours
from responder.rules.rule import Raise
from tests.given import P0, P1, P2, POLICY, RULES, House, after, entry, house, rule


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as given:
        yield given


async def pass_time(given: House, *, minutes: float, every_s: float = 60.0) -> None:
    """Turn the clock on, and carry what is due at each step."""
    for _ in range(round(minutes * 60 / every_s)):
        given.clock.turn(every_s)
        await given.carry_due()


async def paged(given: House, number: int = 1) -> list[tuple[int, str]]:
    """Give (minute, mention) of each page in the thread."""
    return [
        (round((post["created_at"] - after()).total_seconds() / 60), post["message"]["mention"])
        for post in await given.posts(number, "page")
    ]


async def updates(given: House) -> list[int]:
    """Give the minutes at which the thread was told how it stands."""
    record = await given.store.record(1)
    return [
        round((line["at"] - after()).total_seconds() / 60) for line in record["timeline"] if line["kind"] == "update"
    ]


# --- acknowledge within ---


async def test_nobody_acknowledges_and_the_contacts_are_paged_in_order_at_their_times(at: House) -> None:
    await at.post(entry(severity="outage"))
    await at.carry_due()
    await pass_time(at, minutes=60)
    assert await paged(at) == [(5, "here"), (10, "user:A"), (15, "user:B")]


async def test_an_acknowledgement_ends_the_paging(at: House) -> None:
    await at.post(entry(severity="outage"))
    await at.carry_due()
    await pass_time(at, minutes=6)
    await at.people.acknowledge(1, "anna")
    await pass_time(at, minutes=60)
    assert await paged(at) == [(5, "here")]


async def test_a_raise_starts_the_acknowledge_clock_again(at: House) -> None:
    await at.post(entry(severity="critical"))
    await at.carry_due()
    await pass_time(at, minutes=10)
    await at.people.acknowledge(1, "anna")
    await pass_time(at, minutes=10)
    await at.people.raise_to(1, "anna", P0)
    await pass_time(at, minutes=11)
    assert await paged(at) == [(20, "here"), (25, "here"), (30, "user:A")]


@pytest.mark.parametrize("restarts", [1, 7, 19], ids=lambda n: f"restart every {n} min")
async def test_restarts_neither_repeat_nor_skip_a_page(tmp_path: Path, restarts: int) -> None:
    clock = None
    for _ in range(0, 40, restarts):
        async with house(tmp_path, clock=clock) as given:
            if clock is None:
                clock = given.clock
                await given.post(entry(severity="outage"))
            await pass_time(given, minutes=restarts)
            said = await paged(given)
    assert said == [(5, "here"), (10, "user:A"), (15, "user:B")]


async def test_a_severity_without_a_limit_asks_nobody(at: House) -> None:
    await at.post(entry(severity="info"))
    await at.carry_due()
    await pass_time(at, minutes=600, every_s=600)
    assert await paged(at) == []
    assert await updates(at) == []


async def test_a_page_asks_nobody_twice_when_time_is_late(at: House) -> None:
    await at.post(entry(severity="outage"))
    await at.carry_due()
    at.clock.turn(minutes=60)
    for _ in range(3):
        await at.carry_due()
    assert [mention for _, mention in await paged(at)] == ["here"], "a leap of the clock wakes one, not all at once"
    await pass_time(at, minutes=20)
    assert [mention for _, mention in await paged(at)] == ["here", "user:A", "user:B"]
    assert [minute for minute, _ in await paged(at)] == [60, 65, 70]


# --- cadence ---


async def test_the_thread_is_told_at_the_cadence_of_its_severity(at: House) -> None:
    await at.post(entry(severity="outage"))
    await at.carry_due()
    await at.people.acknowledge(1, "anna")
    await pass_time(at, minutes=61)
    assert await updates(at) == [15, 30, 45, 60]


async def test_after_a_long_downtime_the_thread_is_told_once(tmp_path: Path) -> None:
    async with house(tmp_path) as before:
        await before.post(entry(severity="outage"))
        await before.carry_due()
        await before.people.acknowledge(1, "anna")
        clock = before.clock
    clock.turn(hours=10, minutes=7)
    async with house(tmp_path, clock=clock) as later:
        for _ in range(3):
            await later.carry_due()
        assert await updates(later) == [607]
        await pass_time(later, minutes=9)
        assert await updates(later) == [607, 615]


# --- over ---


async def test_what_holds_resolves_once_and_nothing_follows(at: House) -> None:
    await at.post(entry())
    await at.carry_due()
    at.clock.turn(60)
    await at.post(entry(firing=False, ended=after(60)))
    await at.carry_due()
    at.clock.turn(299)
    await at.carry_due()
    assert (await at.incident()).status is Status.MONITORING
    at.clock.turn(1)
    await at.carry_due()
    found = await at.incident()
    assert (found.status, found.resolved_by, found.resolved_at) == (Status.RESOLVED, "", after(360))
    await pass_time(at, minutes=300, every_s=600)
    record = await at.store.record(1)
    assert [line["kind"] for line in record["timeline"]].count("resolved") == 1
    assert [run["state"] for run in record["runs"] if run["kind"] == "watch"] == ["done"]
    assert not await paged(at)


async def test_what_fires_again_while_it_is_watched_is_not_resolved(at: House) -> None:
    await at.post(entry())
    await at.carry_due()
    at.clock.turn(60)
    await at.post(entry(firing=False, ended=after(60)))
    await at.carry_due()
    at.clock.turn(200)
    await at.post(entry(started=after(259)))
    await pass_time(at, minutes=10)
    assert (await at.incident()).status is Status.INVESTIGATING
    await at.post(entry(firing=False, started=after(259), ended=at.clock.now()))
    await pass_time(at, minutes=4)
    assert (await at.incident()).status is Status.MONITORING  # the hold begins anew
    await pass_time(at, minutes=1)
    assert (await at.incident()).status is Status.RESOLVED


async def test_a_person_who_resolves_ends_the_watch(at: House) -> None:
    await at.post(entry(severity="outage"))
    await at.carry_due()
    await at.people.resolve(1, "anna")
    await at.carry_due()
    assert "watch" not in [run.kind for run in await at.store.due_runs(after(hours=99), 9)]
    assert not await paged(at)


async def test_a_reopened_incident_gets_a_watch_of_its_own_and_only_one_pages(at: House) -> None:
    await at.post(entry(severity="outage"))
    await at.carry_due()
    await at.people.resolve(1, "anna")
    at.clock.turn(minutes=10)
    await at.post(entry(severity="outage", instance="other", started=at.clock.now()))
    await at.carry_due()
    runs = (await at.store.record(1))["runs"]
    assert [(run["n"], run["state"]) for run in runs if run["kind"] == "watch"] == [(1, "done"), (2, "open")]
    await pass_time(at, minutes=16)
    assert await paged(at) == [(10, "here"), (15, "here"), (20, "user:A"), (25, "user:B")]


# --- raises by time ---


async def test_open_for_so_long_raises_at_that_time_and_again_at_the_next(at: House) -> None:
    await at.post(entry("Slow"))
    await at.carry_due()
    await at.people.acknowledge(1, "anna")
    await pass_time(at, minutes=29)
    assert (await at.incident()).severity is P2
    await pass_time(at, minutes=1)
    assert ((await at.incident()).severity, (await at.incident()).acknowledged_at) == (P1, None)
    assert await paged(at) == [(30, "user:FIRST")]
    await at.people.acknowledge(1, "anna")
    await pass_time(at, minutes=30)
    assert (await at.incident()).severity is P0
    assert await paged(at) == [(30, "user:FIRST"), (60, "here")]


OFFICE = Calendar(UTC, from_minute=9 * 60, to_minute=18 * 60)  # it is 09:00 as these tests begin
AT_NIGHT = (Raise(P1, "open_for", 3600, in_hours=False), Raise(P0, "time", 0, in_hours=False))


@pytest.mark.parametrize(
    ("raises", "severities"),
    [
        pytest.param((Raise(P1, "open_for", 1800, in_hours=True),), [P2, P1, P1, P1], id="open for so long, by day"),
        pytest.param((Raise(P1, "open_for", 1800, in_hours=False),), [P2, P2, P1, P1], id="open for so long, by night"),
        pytest.param((Raise(P1, "time", 0, in_hours=False),), [P2, P2, P1, P1], id="as the evening begins"),
        pytest.param((Raise(P1, "open_for", 10 * 3600, in_hours=True),), [P2, P2, P2, P1], id="the next morning"),
        pytest.param((Raise(P1, "count", 2, in_hours=False),), [P2, P2, P2, P2], id="too few alerts at any time"),
    ],
)
async def test_business_hours_raise_as_they_begin_and_end(
    tmp_path: Path, raises: tuple[Raise, ...], severities: list[Severity]
) -> None:
    ruleset = RuleSet((rule("slow", 'alertname="Slow"', raises=raises),), replace(POLICY, business_hours=OFFICE))
    async with house(tmp_path, rules=ruleset) as given:
        await given.post(entry("Slow"))
        await given.carry_due()
        seen = []
        for hours in (0, 8, 11, 24):  # 09:00, 17:00, 20:00, 09:00 of the next day
            while given.clock.now() < after(hours=hours):
                given.clock.turn(minutes=30)
                await given.carry_due()
            seen.append((await given.incident()).severity)
        assert seen == severities


async def test_what_was_due_while_we_were_down_raises_once_to_the_worst(tmp_path: Path) -> None:
    ruleset = RuleSet((rule("slow", 'alertname="Slow"', raises=AT_NIGHT),), replace(POLICY, business_hours=OFFICE))
    async with house(tmp_path, rules=ruleset) as before:
        await before.post(entry("Slow"))
        await before.carry_due()
        await before.people.acknowledge(1, "anna")
        clock = before.clock
    clock.turn(hours=60)  # two nights and a day
    async with house(tmp_path, rules=ruleset, clock=clock) as later:
        for _ in range(3):
            await later.carry_due()
        assert (await later.incident()).severity is P0
        assert await paged(later) == [(3600, "here")]
        lines = (await later.store.record(1))["timeline"]
        said = [line["text"] for line in lines if line["kind"] == "raised"]
        assert said == ["P2 to P0: open for 60 h 0 min, outside business hours"]


async def test_a_rule_that_is_gone_raises_nothing_and_stops_nothing(at: House, tmp_path: Path) -> None:
    await at.post(entry("Slow"))
    folder = tmp_path / "other"
    folder.mkdir()
    bare = RuleSet(tuple(rule for rule in RULES.rules if rule.name != "slow"), POLICY)
    async with house(folder, rules=bare) as given:
        await given.post(entry("Slow"))
        await given.carry_due()
        await pass_time(given, minutes=90)
        assert (await given.incident()).severity is P2


async def test_a_watch_is_a_row_between_its_times(at: House) -> None:
    await at.post(entry(severity="outage"))
    assert await at.carry_due() == 1
    assert await at.carry_due() == 0
    at.clock.turn(minutes=5)
    assert await at.carry_due() == 1


# --- quiet hours: 09:00 is NOW ---

EARLY = QuietHours("early", Calendar(UTC, from_minute=8 * 60, to_minute=10 * 60), severities=(P1, P2))
QUIET = RuleSet(RULES.rules, replace(POLICY, quiet_hours=(EARLY,)))


async def test_who_is_not_woken_in_quiet_hours_is_paged_when_they_end(tmp_path: Path) -> None:
    async with house(tmp_path, rules=QUIET) as at:
        await at.post(entry(severity="critical"))
        await at.carry_due()
        await pass_time(at, minutes=100)
        assert await paged(at) == [(60, "user:FIRST"), (75, "user:FIRST"), (90, "user:SECOND")]
        record = await at.store.record(1)
        assert [line["text"] for line in record["timeline"] if line["kind"] == "quiet"] == [
            "quiet hours early: nobody is mentioned until 2026-11-20 10:00 UTC"
        ]


async def test_an_escalation_that_falls_into_quiet_hours_waits_for_their_end(tmp_path: Path) -> None:
    late = replace(EARLY, calendar=Calendar(UTC, from_minute=9 * 60 + 10, to_minute=10 * 60))
    rules = RuleSet(RULES.rules, replace(POLICY, quiet_hours=(late,)))
    async with house(tmp_path, rules=rules) as at:
        await at.post(entry(severity="critical"))
        await at.carry_due()
        await pass_time(at, minutes=80)
        assert await paged(at) == [(60, "user:FIRST"), (75, "user:SECOND")]


async def test_an_acknowledged_incident_pages_nobody_when_quiet_hours_end(tmp_path: Path) -> None:
    async with house(tmp_path, rules=QUIET) as at:
        await at.post(entry(severity="critical"))
        await at.carry_due()
        await at.people.acknowledge(1, "anna")
        await pass_time(at, minutes=100)
        assert await paged(at) == []


async def test_a_complete_outage_wakes_people_in_quiet_hours(tmp_path: Path) -> None:
    async with house(tmp_path, rules=QUIET) as at:
        await at.post(entry(severity="critical"))
        await at.carry_due()
        await at.post(entry(instance="b", severity="outage"))
        [page] = await at.posts(1, "page")
        assert page["message"]["mention"] == "here"


async def test_a_raise_in_quiet_hours_mentions_nobody_and_is_told_when_they_end(tmp_path: Path) -> None:
    async with house(tmp_path, rules=QUIET) as at:
        await at.post(entry(severity="warning"))
        await at.carry_due()
        await pass_time(at, minutes=10)
        await at.post(entry(instance="b", severity="critical"))
        await pass_time(at, minutes=52)
        assert await paged(at) == [(10, ""), (60, "user:FIRST")]


async def test_hours_that_a_reload_takes_away_leave_nobody_without_a_page(tmp_path: Path) -> None:
    async with house(tmp_path, rules=QUIET) as at:
        await at.post(entry(severity="critical"))
        await at.carry_due()
        await pass_time(at, minutes=20)
        at.kinds["watch"] = Watch(lambda: RULES, lambda _: 300.0, at.metrics).run()
        at.clock.turn(minutes=40)  # that is when it was to be looked at again
        await at.carry_due()
        await pass_time(at, minutes=40)
        assert await paged(at) == [(60, "user:FIRST"), (75, "user:FIRST"), (90, "user:SECOND")]


async def test_what_is_late_waits_for_the_end_of_the_next_quiet_hours(tmp_path: Path) -> None:
    evening = QuietHours("evening", Calendar(UTC, from_minute=20 * 60, to_minute=22 * 60), severities=(P1,))
    rules = RuleSet(RULES.rules, replace(POLICY, quiet_hours=(EARLY, evening)))
    async with house(tmp_path, rules=rules) as at:
        await at.post(entry(severity="critical"))
        await at.carry_due()
        at.clock.turn(hours=12)  # we were down
        await at.carry_due()
        assert await paged(at) == []
        await pass_time(at, minutes=100)
        assert await paged(at) == [(780, "user:FIRST"), (795, "user:FIRST"), (810, "user:SECOND")]
