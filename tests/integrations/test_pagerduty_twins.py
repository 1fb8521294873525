"""Alertmanager and PagerDuty tell of the same group: one incident, one page, and each ends what it began."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from responder.integrations.pagerduty.receiver import PagerDutyReceiver
from responder.rules import RuleSet, load
from responder.rules.matchers import parse
from responder.rules.suppress import Silence
from responder.workers.inbox import UNMUTE_EVERY_S, Inbox
from tests.given import House, body, entry, house
from tests.rules.given import SHIPPED

BODIES = Path(__file__).parent / "bodies" / "pagerduty"
RULES = load([SHIPPED], runbooks=[path.stem for path in (SHIPPED.parent / "runbooks").glob("*.md")])
GROUP = '{}/{severity="page"}:{alertname="CheckoutErrorRateHigh", cluster="eu1"}'
AT = datetime.fromisoformat("2026-11-20T09:15:00+00:00")
TWO = ("CheckoutErrorRateHigh", "KubePodCrashLooping")


def am(*, firing: bool = True, names: tuple[str, ...] = TWO[:1], ended: datetime | None = None) -> bytes:
    """What Alertmanager posts of the group: alerts that our rules would put into incidents of their own."""
    started = datetime.fromisoformat("2026-11-20T09:13:30+00:00")
    listed = [entry(name, firing=firing, started=started, ended=ended, severity="page") for name in names]
    return body(*listed, group=GROUP)


def pd(name: str = "incident_triggered", at: str = "", group: str = GROUP, **data: Any) -> bytes:
    """What PagerDuty posts of the incident that Alertmanager's notifier opened there."""
    found = json.loads((BODIES / f"{name}.json").read_bytes())
    found["event"]["data"] |= {"incident_key": sha256(group.encode()).hexdigest(), **data}
    found["event"]["occurred_at"] = at or found["event"]["occurred_at"]
    return json.dumps(found).encode()


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[House]:
    """A house with both receivers and the shipped rules."""
    async with house(tmp_path, more={"pagerduty": PagerDutyReceiver(["s"])}, rules=RULES, mirrors=["pagerduty"]) as one:
        one.clock.at = AT
        yield one


async def took(at: House, *bodies: bytes, apart_s: float = 5.0) -> None:
    for raw in bodies:
        await at.accept(raw, "pagerduty" if b'"event"' in raw else "alertmanager")
        if apart_s:
            await at.settle()
            at.clock.turn(apart_s)
    await at.settle()


async def pages(at: House, number: int = 1) -> int:
    """Count what pages: the head, and what is shown in the channel too."""
    return len({each["kind"] for each in await at.posts(number, "head")}) + len(await at.posts(number, "page"))


@pytest.mark.parametrize("apart_s", [5.0, 0.0], ids=["one after the other", "in one move"])
@pytest.mark.parametrize("first", ["alertmanager", "pagerduty"])
async def test_two_sources_make_one_incident_and_one_page(at: House, first: str, apart_s: float) -> None:
    await took(at, *([am(), pd()] if first == "alertmanager" else [pd(), am()]), apart_s=apart_s)
    [incident] = await at.all_incidents()
    assert (incident.firing, incident.episodes) == (2, 2)
    if first == "alertmanager" or not apart_s:
        assert await pages(at) == 1
    assert await at.unaccounted() == 0


async def test_pagerduty_first_and_alertmanager_at_the_same_severity_pages_once(at: House) -> None:
    await took(at, pd(priority={"summary": "P1"}), am())
    assert (len(await at.all_incidents()), await pages(at)) == (1, 1)


@pytest.mark.parametrize("apart_s", [5.0, 0.0], ids=["one after the other", "in one move"])
async def test_all_alerts_of_the_group_join_the_incident_of_the_pager(at: House, apart_s: float) -> None:
    await took(at, pd(priority={"summary": "P1"}), am(names=TWO), apart_s=apart_s)
    [incident] = await at.all_incidents()
    assert incident.firing == 3


@pytest.mark.parametrize("first", ["alertmanager", "pagerduty"])
async def test_each_ends_its_own_and_only_both_end_the_incident(at: House, first: str) -> None:
    await took(at, am(), pd())
    over = am(firing=False, ended=AT), pd("incident_resolved", at="2026-11-20T09:15:01Z")
    one, other = over if first == "alertmanager" else over[::-1]
    await took(at, one)
    assert ((await at.incident()).status, (await at.incident()).firing) == ("detecting", 1)
    await took(at, other)
    assert ((await at.incident()).status, (await at.incident()).firing) == ("monitoring", 0)


async def test_the_next_day_they_find_each_other_again(at: House) -> None:
    await took(at, am(), pd(), am(firing=False, ended=AT), pd("incident_resolved", at="2026-11-20T09:15:01Z"))
    await at.people.resolve(1, "ana")
    at.clock.turn(hours=24)
    fresh = pd(id="Q2", created_at="2026-11-21T09:15:00Z", at="2026-11-21T09:15:00Z", priority={"summary": "P1"})
    element = entry("CheckoutErrorRateHigh", started=at.clock.at, severity="page")
    await took(at, fresh, body(element, group=GROUP))
    assert [(each.id, each.firing) for each in await at.all_incidents()] == [(1, 0), (2, 2)]


async def test_groups_that_differ_are_two_incidents(at: House) -> None:
    await took(at, am(), pd(group="another"))
    assert len(await at.all_incidents()) == 2


@pytest.mark.parametrize("key", [None, "", "a-key-of-another-tool"])
async def test_an_incident_without_alertmanagers_key_is_its_own(at: House, key: str | None) -> None:
    await took(at, am(), pd(incident_key=key), pd(incident_key=key, id="Q2", title="Other"))
    assert len(await at.all_incidents()) == 3


async def test_taken_here_before_the_pager_knows_is_told_to_it(at: House) -> None:
    await took(at, am())
    await at.people.acknowledge(1, "ana")
    await took(at, pd())
    told = [(each["kind"], each["channel"]) for each in await at.posts(1) if each["chat"] == "pagerduty"]
    assert told == [("linked", "Q1TRIG7CHK0001"), ("acknowledged", "Q1TRIG7CHK0001")]


@pytest.mark.parametrize("apart", [True, False], ids=["heard one after the other", "heard together"])
async def test_two_sources_that_were_both_muted_make_one_incident_when_they_are_heard(
    tmp_path: Path, apart: bool
) -> None:
    def silenced(*what: str) -> RuleSet:
        silences = tuple(Silence(tuple(parse(each)), AT + timedelta(days=1), "ada", "work") for each in what)
        return RuleSet(RULES.rules, replace(RULES.policy, silences=silences))

    more = {"pagerduty": PagerDutyReceiver(["s"])}
    async with house(tmp_path, more=more, rules=RULES, mirrors=["pagerduty"]) as at:
        at.clock.at = AT
        rules = [silenced('severity="page"', 'urgency=~".+"')]
        at.inbox = Inbox(at.store, at.receivers, lambda: rules[0], at.clock)
        await took(at, am(), pd())
        assert await at.all_incidents() == []
        for each in (silenced('severity="page"'), RULES) if apart else (RULES,):
            rules[0] = each
            at.clock.turn(UNMUTE_EVERY_S)
            await at.inbox.once()
        [incident] = await at.all_incidents()
        assert (incident.firing, [system for system, _ in incident.links]) == (2, ["pagerduty"])
