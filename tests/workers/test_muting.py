"""What mutes an alert, through the store: nothing is told, all is kept and counted, and what fires on is told later."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from responder.errors import Rejected
from responder.model import Episode, Move
from responder.record import ledger_json
from responder.rules import Policy, RuleSet
from responder.rules.inhibit import Inhibition
from responder.rules.matchers import parse
from responder.rules.suppress import Maintenance, Silence
from responder.workers.inbox import UNMUTE_EVERY_S, Inbox
from tests.given import NOW, P2, POLICY, RULES, House, after, entry, house, rule

NOON = NOW + timedelta(hours=3)
SILENT = replace(POLICY, silences=(Silence(tuple(parse('instance="a"')), NOON, "ada", "disk swap"),))
WORK = replace(POLICY, maintenance=(Maintenance("upgrade", tuple(parse('team="db"')), NOW, NOON),))
NODE_DOWN = Inhibition("node-down", tuple(parse('alertname="NodeDown"')), tuple(parse('alertname="Slow"')), ("node",))
INHIBITED = replace(POLICY, inhibitions=(NODE_DOWN,))
BEATS = [rule("watchdog", 'alertname="Watchdog"', severity=P2, heartbeat_s=600.0), *RULES.rules]


@asynccontextmanager
async def under(folder: Path, policy: Policy) -> AsyncIterator[House]:
    async with house(folder, rules=RuleSet(RULES.rules, policy)) as at:
        yield at


async def pass_by(at: House, seconds: float) -> None:
    """Let time pass, and the worker look again."""
    at.clock.turn(max(seconds, UNMUTE_EVERY_S))
    await at.settle()
    await at.inbox.once()


async def episodes(at: House) -> list[Episode]:
    found = await at.store.episodes([row[0] for row in at.sql("SELECT identity FROM episode ORDER BY id")])
    return sorted(found.values(), key=lambda each: each.id)


async def test_a_silenced_alert_is_kept_counted_and_tells_nobody(tmp_path: Path) -> None:
    async with under(tmp_path, SILENT) as at:
        await at.post(entry(instance="a"))
        assert await at.all_incidents() == []
        [kept] = await episodes(at)
        assert (kept.muted.kind, kept.muted.why) == (
            "silence",
            "silenced until 2026-11-20 12:00 UTC by ada: disk swap",
        )
        figures = await at.store.figures()
        assert ledger_json(figures, await at.unaccounted())["suppressed"] == 1
        assert (figures["muted", "silence"], figures["muted_now", "silence"]) == (1, 1)
        assert await at.unaccounted() == 0


async def test_when_the_silence_is_over_what_fires_on_is_told_without_a_new_body(tmp_path: Path) -> None:
    async with under(tmp_path, SILENT) as at:
        await at.post(entry(instance="a"))
        await pass_by(at, 3600)
        assert await at.all_incidents() == []
        await pass_by(at, 2 * 3600)
        [incident] = await at.all_incidents()
        assert (incident.firing, incident.episodes) == (1, 1)
        assert len(await at.posts(1, "head")) == 1
        assert (await episodes(at))[0].muted.kind == ""
        figures = await at.store.figures()
        assert ledger_json(figures, 0)["suppressed"] == 0
        assert (figures["entries", ""], await at.unaccounted()) == (1, 0)


async def test_what_ended_while_it_was_muted_is_never_told(tmp_path: Path) -> None:
    async with under(tmp_path, SILENT) as at:
        await at.post(entry(instance="a"))
        at.clock.turn(60)
        await at.post(entry(instance="a", firing=False, ended=after(60)))
        await pass_by(at, 4 * 3600)
        assert await at.all_incidents() == []
        assert ledger_json(await at.store.figures(), 0)["suppressed"] == 2  # its start and its end


async def test_maintenance_mutes_only_what_it_names(tmp_path: Path) -> None:
    async with under(tmp_path, WORK) as at:
        await at.post(entry(team="db"), entry("Slow"))
        assert [each.rule for each in await at.all_incidents()] == ["slow"]


async def test_an_open_incident_goes_on_when_maintenance_begins(tmp_path: Path) -> None:
    later = replace(POLICY, maintenance=(replace(WORK.maintenance[0], starts_at=after(minutes=10)),))
    async with under(tmp_path, later) as at:
        await at.post(entry(team="db"))
        at.clock.turn(minutes=20)
        await at.post(entry(team="db"))
        [incident] = await at.all_incidents()
        assert (incident.firing, (await episodes(at))[0].muted.kind) == (1, "")


@pytest.mark.parametrize("together", [True, False], ids=["one-body", "two-bodies"])
async def test_an_inhibited_alert_is_muted_while_its_source_fires(tmp_path: Path, together: bool) -> None:
    async with under(tmp_path, INHIBITED) as at:
        source, target = entry("NodeDown", node="n1"), entry("Slow", node="n1")
        if together:  # whatever their order in the body
            await at.post(target, source)
        else:
            await at.post(source)
            await at.post(target)
        assert [each.title for each in await at.all_incidents()] == ["NodeDown"]
        await pass_by(at, 60)
        assert len(await at.all_incidents()) == 1
        at.clock.turn(60)
        await at.post(entry("NodeDown", node="n1", firing=False, ended=at.clock.now()))
        await pass_by(at, 10)
        assert [each.title for each in await at.all_incidents()] == ["NodeDown", "Slow"]
        assert await at.unaccounted() == 0


async def test_another_node_is_not_inhibited(tmp_path: Path) -> None:
    async with under(tmp_path, INHIBITED) as at:
        await at.post(entry("NodeDown", node="n1"), entry("Slow", node="n2"))
        assert len(await at.all_incidents()) == 2


async def test_what_inhibits_is_known_after_a_restart(tmp_path: Path) -> None:
    async with under(tmp_path, INHIBITED) as at:
        await at.post(entry("NodeDown", node="n1"))
    async with under(tmp_path, INHIBITED) as at:
        await at.post(entry("Slow", node="n1"))
        assert len(await at.all_incidents()) == 1


async def test_new_inhibitions_know_what_fires_already(tmp_path: Path) -> None:
    async with under(tmp_path, POLICY) as at:
        await at.post(entry("NodeDown", node="n1"))
        rules = [RuleSet(RULES.rules, INHIBITED)]
        at.inbox = Inbox(at.store, at.receivers, lambda: rules[0], at.clock)
        await at.post(entry("Slow", node="n1"))
        assert len(await at.all_incidents()) == 1
        rules[0] = RuleSet(RULES.rules, POLICY)  # taken out again: what was muted by it is told
        await pass_by(at, 10)
        assert len(await at.all_incidents()) == 2


async def test_a_heartbeat_opens_nothing_however_often_it_comes_and_each_counts(tmp_path: Path) -> None:
    async with house(tmp_path, rules=RuleSet(BEATS, POLICY)) as at:
        for _ in range(3):
            await at.post(entry("Watchdog"))
            at.clock.turn(20)  # within the time for which a repeat would be believed
        await pass_by(at, 60)
        assert await at.all_incidents() == []
        [beat] = await at.store.beats()
        assert (beat.rule, beat.within_s, beat.at, beat.labels["alertname"]) == (
            "watchdog",
            600.0,
            after(40),
            "Watchdog",
        )
        assert (await at.figure("entries"), await at.unaccounted()) == (3, 0)


async def test_a_muted_alert_that_repeats_byte_for_byte_is_told_once_it_is_heard(tmp_path: Path) -> None:
    async with under(tmp_path, SILENT) as at:
        for _ in range(3):
            await at.post(entry(instance="a"))
        at.clock.turn(3 * 3600 + 1)
        await at.post(entry(instance="a"))
        [incident] = await at.all_incidents()
        assert incident.firing == 1
        assert (await at.figure("entries"), await at.unaccounted()) == (4, 0)


async def test_no_silence_hides_what_we_say_of_ourselves(tmp_path: Path) -> None:
    wide = replace(POLICY, silences=(Silence((), NOON, "ada", "everything"),))
    async with under(tmp_path, wide) as at:
        await at.accept(b"not json")
        await at.post(entry())
        await at.settle()
        assert [each.title.split()[0] for each in await at.all_incidents()] == ["alertmanager"]


# --- what mutes others, and has ended ---


async def test_a_late_copy_of_what_has_ended_mutes_nobody(tmp_path: Path) -> None:
    async with under(tmp_path, INHIBITED) as at:
        await at.post(entry("NodeDown", node="n1"))
        at.clock.turn(60)
        await at.post(entry("NodeDown", node="n1", firing=False, ended=after(60)))
        at.clock.turn(10)
        await at.post(entry("NodeDown", node="n1"), sender="http://am-1:9093")
        await at.post(entry("Slow", node="n1"))
        assert [each.title for each in await at.all_incidents()] == ["NodeDown", "Slow"]


async def test_an_end_before_the_start_leaves_what_it_mutes_muted(tmp_path: Path) -> None:
    async with under(tmp_path, INHIBITED) as at:
        await at.post(entry("NodeDown", node="n1"))
        at.clock.turn(60)
        await at.post(entry("NodeDown", node="n1", firing=False, ended=after(-60)))
        await at.post(entry("Slow", node="n1"))
        assert [each.title for each in await at.all_incidents()] == ["NodeDown"]


@pytest.mark.parametrize("restarted", [False, True], ids=["in-one-life", "after-a-restart"])
async def test_an_alert_of_ours_mutes_no_longer_when_a_person_has_ended_its_incident(
    tmp_path: Path, restarted: bool
) -> None:
    blind = Inhibition("blind", tuple(parse('alertname="UnreadableAlert"')), tuple(parse('alertname="Slow"')), ())
    async with under(tmp_path, replace(POLICY, inhibitions=(blind,))) as at:
        await at.accept(b"not json")
        await at.settle()
        await at.post(entry("Slow"))
        if restarted:
            at.inbox = Inbox(at.store, at.receivers, lambda: at.rules, at.clock)
        await pass_by(at, 10)
        assert len(await at.all_incidents()) == 1
        await at.people.resolve(1, "ada")
        await pass_by(at, 10)
        assert [each.title for each in await at.all_incidents()][1:] == ["Slow"]


# --- what cannot be unmuted ---


class Refusing:
    """A store that refuses every move that opens an incident of a name."""

    def __init__(self, given: House, title: str) -> None:
        self._store, self._title, self.refused = given.store, title, 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def commit(self, move: Move) -> list[int]:
        if any(each.title == self._title for each in move.opened):
            self.refused += 1
            raise Rejected("planted")
        return await self._store.commit(move)


async def test_an_alert_that_cannot_be_unmuted_is_told_once_and_nothing_waits_behind_it(tmp_path: Path) -> None:
    everything = replace(POLICY, silences=(Silence((), NOON, "ada", "all"),))
    async with under(tmp_path, everything) as at:
        await at.post(entry("Slow", node="bad"), entry("Wide"))
        store = Refusing(at, "Slow")
        at.inbox = Inbox(store, at.receivers, lambda: at.rules, at.clock)  # type: ignore[arg-type]
        at.clock.turn(hours=4)
        stop = asyncio.Event()
        running = asyncio.create_task(at.inbox.run(stop))
        for _ in range(40):
            await asyncio.sleep(0.01)
            at.clock.turn(UNMUTE_EVERY_S)
        stop.set()
        at.clock.turn(UNMUTE_EVERY_S)
        await asyncio.wait_for(running, 10)
        titles = [each.title for each in await at.all_incidents()]
        assert titles[0] == "Wide"
        assert len(titles) == 2
        assert titles[1].startswith("alertmanager sent what cannot be read: the store refuses Slow")
        assert (await at.figure("quarantined"), await at.unaccounted(), store.refused) == (1, 0, 2)
        assert ledger_json(await at.store.figures(), 0)["bodies"] == {
            "received": 2, "decoded": 2, "quarantined": 0, "waiting": 0
        }  # fmt: skip


# --- heartbeats and new rules ---


async def test_what_is_a_heartbeat_no_more_is_told_without_a_new_body(tmp_path: Path) -> None:
    async with house(tmp_path, rules=RuleSet(BEATS, POLICY)) as at:
        rules = [at.rules]
        at.inbox = Inbox(at.store, at.receivers, lambda: rules[0], at.clock)
        await at.post(entry("Watchdog"))
        rules[0] = RULES
        await pass_by(at, 10)
        assert [each.title for each in await at.all_incidents()] == ["Watchdog"]


async def test_a_heartbeat_that_stands_in_an_open_incident_beats_each_time(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        await at.post(entry("Watchdog"))
        at.inbox = Inbox(at.store, at.receivers, lambda: RuleSet(BEATS, POLICY), at.clock)
        for _ in range(3):
            at.clock.turn(10)
            await at.post(entry("Watchdog"))
        assert [each.at for each in await at.store.beats()] == [at.clock.now()]
