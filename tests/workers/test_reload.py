"""Reloads: all or nothing, said aloud, and no incident is lost over them."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from responder.errors import StoreError
from responder.handbook import Places, read_handbook
from responder.integrations.alertmanager import Alertmanager, Settings
from responder.integrations.responder import Own
from responder.metrics import Metrics
from responder.model import Incident, Severity, Status
from responder.ports import Receiver, Store
from responder.store.sqlite import SqliteStore
from responder.workers.inbox import Inbox
from responder.workers.reload import Reload
from tests.given import NOW, FakeClock, FakeIds, body, entry, new_metrics, opened

ROOT = Path(__file__).parent.parent.parent
GOOD = "rules:\n  - {name: api, match: 'alertname=Api', severity: P2}\n"
BETTER = "rules:\n  - {name: new, match: 'alertname=Api', severity: P1}\n"
BAD = "rules:\n  - {name: api, severity: high}\n"


@dataclass
class At:
    """A store, an inbox that asks for the rules in force, and one rule file."""

    file: Path
    store: SqliteStore
    reload: Reload
    inbox: Inbox
    metrics: Metrics

    def write(self, text: str) -> None:
        """Put another text in the rule file's place, as editors do."""
        beside = self.file.with_suffix(".new")
        beside.write_text(text)
        beside.rename(self.file)

    async def settle(self) -> None:
        """Move all that waits."""
        while await self.inbox.once():
            pass

    async def post(self, *elements: object) -> None:
        """Take in a body and move it."""
        raw = body(*elements)
        await self.store.accept("alertmanager", raw, at=self.inbox._clock.now(), request_id="r", webhook_id="")
        await self.settle()

    async def incidents(self) -> list[Incident]:
        """Give all incidents, oldest first."""
        await self.settle()
        return (await self.store.incidents(before=None, statuses=[], severities=[], limit=100))[::-1]

    def value(self, name: str, **labels: str) -> float | None:
        """Give a series' value."""
        return self.metrics.registry.get_sample_value(f"responder_{name}", labels)

    @property
    def force(self) -> str:
        """Give the first rule in force that is not about ourselves."""
        rules = self.reload.rules()
        named = [each.name for each in rules.rules if not each.name.startswith("responder-")]
        return [*named, rules.backstop.name][0]


class Deaf:
    """A store that takes nothing in while `deaf`."""

    def __init__(self, store: Store) -> None:
        self._store, self.deaf = store, True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def accept(self, receiver: str, raw: bytes, *, at: datetime, request_id: str, webhook_id: str) -> bool:
        if self.deaf:
            raise StoreError("planted")
        return await self._store.accept(receiver, raw, at=at, request_id=request_id, webhook_id=webhook_id)


@asynccontextmanager
async def living(
    folder: Path, text: str | None = GOOD, *, wrapped: Callable[[Store], Any] = lambda store: store
) -> AsyncIterator[At]:
    """Begin with this rule file, None = the one that is there; again over the same folder is a restart."""
    file = folder / "rules" / "a.yaml"
    file.parent.mkdir(exist_ok=True)
    if text is not None:
        file.write_text(text)
    places = Places((file.parent,), (), ROOT / "rules", ROOT / "runbooks")
    clock, metrics = FakeClock(), new_metrics()
    async with opened(folder / "responder.db", clock) as store:
        first = read_handbook(places)
        reload = Reload(places, first, wrapped(store), clock, FakeIds(), metrics, watch_s=0.01)
        receivers: dict[str, Receiver] = {"alertmanager": Alertmanager(Settings()), "responder": Own()}
        try:
            yield At(file, store, reload, Inbox(store, receivers, reload.rules, clock), metrics)
        finally:
            reload.close()


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[At]:
    async with living(tmp_path) as given:
        yield given


async def test_good_files_come_into_force(at: At) -> None:
    before = at.reload.rules().revision
    at.write(BETTER)
    outcome = await at.reload.reload("test")
    assert (outcome.errors, outcome.changed, outcome.handbook) == ((), True, at.reload.handbook)
    assert at.force == "new"
    assert at.value("config_ok") == at.value("config_reloads_total", outcome="ok") == 1
    assert at.value("rules_info", revision=at.reload.rules().revision) == 1
    assert at.value("rules_info", revision=before) is None
    assert not (await at.reload.reload("test")).changed


@pytest.mark.parametrize("harm", ["mistake", "no folder", "unreadable", "no runbook"])
async def test_on_any_mistake_all_of_the_old_stays_and_it_is_said(at: At, harm: str) -> None:
    if harm == "no folder":
        at.file.parent.rename(at.file.parent.with_name("away"))
    elif harm == "unreadable":
        at.file.unlink()
        at.file.symlink_to("/proc/self/mem")
    else:
        at.write(BAD if harm == "mistake" else BETTER.replace("P1", "P1, runbook: nowhere"))
    before = at.reload.handbook
    outcome = await at.reload.reload("test")
    assert outcome.errors[0].path.startswith(str(at.file.parent))
    assert (outcome.changed, at.reload.handbook) == (False, before)
    assert at.value("config_ok") == 0
    assert at.value("config_reloads_total", outcome="refused") == 1
    [incident] = await at.incidents()
    assert (incident.severity, incident.rule, incident.runbook) == (Severity.P2, "responder-config", "responder")
    [episode] = (await at.store.record(1))["episodes"]
    assert str(outcome.errors[0])[:200] in episode["annotations"]["description"]
    assert "the old ones stay in force" in episode["annotations"]["summary"]


async def test_refused_again_it_is_the_same_incident_with_the_latest_mistake(at: At) -> None:
    for name in ("first", "second"):
        at.write(BAD.replace("high", name))
        await at.reload.reload("test")
    [incident] = await at.incidents()
    assert incident.episodes == 1
    [episode] = (await at.store.record(1))["episodes"]
    assert "'second'" in episode["annotations"]["description"]


async def test_when_the_files_are_good_again_the_incident_ends(at: At) -> None:
    at.write(BAD)
    await at.reload.reload("test")
    await at.settle()
    at.write(GOOD)
    assert not (await at.reload.reload("test")).errors
    [incident] = await at.incidents()
    assert (incident.status, incident.firing) == (Status.MONITORING, 0)
    assert at.value("config_ok") == 1


async def test_a_hundred_mistakes_make_a_short_incident(at: At) -> None:
    at.write("rules:\n" + "".join(f"  - {{name: r{n}, severity: {'x' * 5000}}}\n" for n in range(100)))
    assert len((await at.reload.reload("test")).errors) == 100
    await at.settle()
    [episode] = (await at.store.record(1))["episodes"]
    assert "and 95 more" in episode["annotations"]["description"]
    assert len(json.dumps(episode["annotations"])) < 2000


async def test_reloads_at_once_come_one_after_the_other_and_the_last_wins(at: At) -> None:
    reloads = []
    for n in range(5):
        at.write(GOOD.replace("api", f"api{n}"))
        reloads.append(asyncio.create_task(at.reload.reload("test")))
        await asyncio.sleep(0)
    outcomes = await asyncio.gather(*reloads)
    assert not any(outcome.errors for outcome in outcomes)
    assert at.force == "api4"
    assert outcomes[-1].handbook is at.reload.handbook


async def test_of_two_reloads_at_once_one_finds_the_change(at: At) -> None:
    at.write(BETTER)
    outcomes = await asyncio.gather(at.reload.reload("one"), at.reload.reload("two"))
    assert [outcome.changed for outcome in outcomes] == [True, False]


async def test_a_fault_of_the_reader_is_a_refusal(at: At) -> None:
    at.reload._places = None  # type: ignore[assignment]  # what no file can do
    [error] = (await at.reload.reload("test")).errors
    assert "our reader failed (AttributeError)" in error.message
    assert at.force == "api"


# --- the start ---


async def test_bad_files_at_the_start_page_everything_and_say_so_until_a_reload_heals_it(tmp_path: Path) -> None:
    async with living(tmp_path, BAD) as at:
        assert (at.value("config_ok"), at.force) == (0, "page-everything")
        assert await at.reload._begin()
        await at.reload._say()
        await at.post(entry("Xyzzy", severity="info"))
        own, other = await at.incidents()
        assert (own.severity, other.severity) == (Severity.P1, Severity.P1)
        [episode] = (await at.store.record(own.id))["episodes"]
        assert "every alert pages as P1" in episode["annotations"]["summary"]
        assert "a.yaml:2" in episode["annotations"]["description"]
        await at.reload.reload("still bad")
        assert at.force == "page-everything"
        at.write(GOOD)
        await at.reload.reload("healed")
        assert (at.value("config_ok"), at.force) == (1, "api")
        own, other = await at.incidents()
        assert (own.status, own.firing, other.status) == (Status.MONITORING, 0, Status.DETECTING)
        assert at.value("rule_hits_total", rule="page-everything") is not None


async def test_a_restart_with_good_files_ends_the_alarm_of_before(tmp_path: Path) -> None:
    async with living(tmp_path) as at:
        at.write(BAD)
        await at.reload.reload("test")
        await at.settle()
    async with living(tmp_path, GOOD) as at:
        assert await at.reload._begin()
        await at.reload._say()
        [incident] = await at.incidents()
        assert incident.firing == 0


async def test_also_when_it_was_still_waiting_to_be_moved(tmp_path: Path) -> None:
    async with living(tmp_path) as at:
        at.write(BAD)
        await at.reload.reload("test")
    async with living(tmp_path, GOOD) as at:
        assert await at.reload._begin()
        await at.reload._say()
        [incident] = await at.incidents()
        assert incident.firing == 0


async def test_a_good_start_says_nothing(at: At) -> None:
    assert await at.reload._begin()
    await at.reload._say()
    assert await at.incidents() == []
    assert await at.store.waiting(0, 10) == []


async def test_what_the_store_did_not_take_is_said_later(tmp_path: Path) -> None:
    async with living(tmp_path, wrapped=Deaf) as at:
        at.write(BAD)
        assert (await at.reload.reload("test")).errors
        assert await at.incidents() == []
        deaf: Any = at.reload._store
        deaf.deaf = False
        await at.reload._say()
        assert len(await at.incidents()) == 1


# --- watching ---


async def test_files_that_changed_are_taken_when_they_stand_still(at: At) -> None:
    last = at.reload._seen
    for text in (BAD, BAD + "#", GOOD + "#", BETTER):  # somebody is writing
        at.write(text)
        last = await at.reload._look(last)
        assert at.value("config_reloads_total", outcome="refused") == 0
        assert at.force == "api"
    last = await at.reload._look(last)
    assert at.force == "new"
    await at.reload._look(last)
    assert at.value("config_reloads_total", outcome="ok") == 1


async def test_bad_files_are_looked_at_once_and_again_when_they_change(at: At) -> None:
    last = at.reload._seen
    at.write(BAD)
    for _ in range(5):
        last = await at.reload._look(last)
    assert at.value("config_reloads_total", outcome="refused") == 1
    at.write(BETTER)
    for _ in range(2):
        last = await at.reload._look(last)
    assert at.force == "new"


async def test_what_a_person_has_reloaded_is_not_reloaded_again(at: At) -> None:
    last = at.reload._seen
    at.write(BETTER)
    await at.reload.reload("a person")
    for _ in range(3):
        last = await at.reload._look(last)
    assert at.value("config_reloads_total", outcome="ok") == 1


async def test_the_worker_watches_and_hears_a_hangup_until_it_is_stopped(at: At) -> None:
    stop = asyncio.Event()
    working = asyncio.create_task(at.reload.run(stop))
    at.write(BETTER)
    async with asyncio.timeout(10):
        while at.force != "new":
            await asyncio.sleep(0.01)
        at.reload._watch_s = 0
        at.write(GOOD)
        while at.force != "api":
            at.reload._hangup.set()
            await asyncio.sleep(0.01)
        stop.set()
        await working


async def test_a_worker_that_stumbles_goes_on(at: At) -> None:
    stop, places = asyncio.Event(), at.reload._places
    at.reload._places = None  # type: ignore[assignment]  # what no file can do
    clock: Any = at.reload._clock
    working = asyncio.create_task(at.reload.run(stop))
    async with asyncio.timeout(10):
        while not clock._sleepers:
            await asyncio.sleep(0.01)
        at.reload._places = places
        at.write(BETTER)
        while at.force != "new":
            clock.turn(1)
            await asyncio.sleep(0.01)
        stop.set()
        await working


# --- what lives on ---


async def test_an_open_incident_keeps_working_when_its_rule_is_gone(at: At) -> None:
    await at.post(entry("Api"))
    at.write("rules:\n  - {name: other, match: 'alertname=Other', severity: P3}\n")
    assert not (await at.reload.reload("test")).errors
    await at.post(entry("Api", service="shop"))
    first, second = await at.incidents()
    assert (first.rule, first.firing, second.rule) == ("api", 1, "backstop")
    await at.post(entry("Api", annotations={"summary": "again"}))
    await at.post(entry("Api", firing=False, ended=at.inbox._clock.now()))
    first, second = await at.incidents()
    assert (first.status, first.firing) == (Status.MONITORING, 0)
    assert at.reload.rules().raised("api", Severity.P2, facts={}, firing=9, open_for_s=9e9, at=NOW) is Severity.P2
    assert at.reload.rules().next_raise_s("api", Severity.P2, opened_at=NOW, at=NOW) is None


async def test_a_repeat_is_judged_by_the_new_rules(at: At) -> None:
    for _ in range(3):  # the third is known by its bytes
        await at.post(entry("Api"))
    at.write(GOOD.replace("P2", "P0"))
    await at.reload.reload("test")
    await at.post(entry("Api"))
    [incident] = await at.incidents()
    assert incident.severity is Severity.P0


async def test_hits_of_new_rules_begin_at_zero_and_no_series_falls(tmp_path: Path) -> None:
    shop = "rules:\n  - {name: shop, match: 'alertname=Api', severity: P2}\n"
    async with living(tmp_path, shop) as at:
        await at.post(entry("Api"))
    async with living(tmp_path, BETTER) as at:  # what "shop" has counted is among the others now
        await at.post(entry("Api", service="a"))
        at.metrics.figures = await at.store.figures()
        hits = {name: at.value("rule_hits_total", rule=name) for name in ("new", "other")}
        assert hits == {"new": 1, "other": 1}
        at.write(shop)
        await at.reload.reload("test")
        assert at.value("rule_hits_total", rule="shop") == 0
        await at.post(entry("Api", service="b"))
        at.metrics.figures = await at.store.figures()
        assert at.value("rule_hits_total", rule="shop") == 1
        assert {name: at.value("rule_hits_total", rule=name) for name in hits} == hits


async def test_a_mistake_in_a_file_whose_name_is_not_utf8_is_said_like_any_other(tmp_path: Path) -> None:
    async with living(tmp_path) as at:
        Path(os.fsdecode(os.fsencode(at.file.parent) + b"/\xff.yaml")).write_text(BAD)
        outcome = await at.reload.reload("asked")
        assert "?.yaml" in outcome.errors[0].path
        assert [each.title for each in await at.incidents()] == [
            "Rules or runbooks on disk cannot be used; the old ones stay in force"
        ]
