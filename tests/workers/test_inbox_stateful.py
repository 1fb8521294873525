"""Random lives of alerts through the real inbox and store, beside a small model that shares no code with them."""

from __future__ import annotations

import asyncio
import json
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from responder.model import Severity
from responder.rules import RuleSet
from responder.rules.inhibit import Inhibition
from responder.rules.matchers import parse
from responder.rules.suppress import Maintenance
from responder.workers.inbox import UNMUTE_EVERY_S, Inbox
from tests.given import NOW, POLICY, RULES, FakeClock, House, body, entry, house

SERIES = [
    ("ApiDown", "eu", "a"),
    ("ApiDown", "eu", "b"),
    ("ApiSlow", "eu", "c"),
    ("ApiDown", "us", "a"),
    ("Slow", "eu", "a"),
]
MINUTE = timedelta(seconds=60)
series = st.integers(0, len(SERIES) - 1)
some = st.lists(series, min_size=1, max_size=4)


@dataclass
class Stretch:
    """What the model knows of one series."""

    open: bool
    started: datetime
    ended: datetime
    told: datetime


class Lives(RuleBasedStateMachine):
    """Several senders tell, late, twice and out of order, of series that begin and end; people come between."""

    judged_by = RULES

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = FakeClock()
        self.stack = AsyncExitStack()
        self.house: House = self.runner.run(
            self.stack.enter_async_context(house(Path(self.folder.name), clock=self.clock, rules=self.judged_by))
        )
        self.truth: dict[int, tuple[datetime | None, datetime | None]] = {}  # series -> since when, until when
        self.sent: list[tuple[bytes, list[tuple[int, bool, datetime | None, datetime | None]]]] = []
        self.waiting: list[tuple[datetime, list[tuple[int, bool, datetime | None, datetime | None]]]] = []
        self.model: dict[int, Stretch] = {}

    def teardown(self) -> None:
        self.runner.run(self.stack.aclose())
        self.runner.close()
        self.folder.cleanup()

    @initialize()
    def begin(self) -> None:
        self.clock.turn(1)

    # --- the world ---

    @rule(at=series)
    def starts(self, at: int) -> None:
        since, until = self.truth.get(at, (None, None))
        if since is None or until is not None:
            self.truth[at] = (self.clock.now(), None)

    @rule(at=series)
    def ends(self, at: int) -> None:
        since, until = self.truth.get(at, (None, None))
        if since is not None and until is None:
            self.truth[at] = (since, self.clock.now())

    @rule(at=some, sender=st.sampled_from("AB"), startless=st.booleans())
    def tells(self, at: list[int], sender: str, startless: bool) -> None:
        """A sender sends what is true of some series; the same one may stand in it twice."""
        said = []
        for each in at:
            since, until = self.truth.get(each, (None, None))
            if since is not None:
                said.append((each, until is None, None if startless else since, until))
        if said:
            elements = [_element(*each) for each in said]
            raw = body(*elements, group=f"group {sorted(set(at))}", sender=sender, status="resolved")
            self.sent.append((raw, said))
            self._accept(raw, said)

    @precondition(lambda self: bool(self.sent))
    @rule(which=st.integers(0, 1 << 30), times=st.integers(1, 3))
    def repeats(self, which: int, times: int) -> None:
        for _ in range(times):
            self._accept(*self.sent[which % len(self.sent)])

    @precondition(lambda self: len(self.sent) > 1)
    @rule(which=st.integers(0, 1 << 30))
    def repeats_a_recent_one(self, which: int) -> None:
        self._accept(*self.sent[-1 - which % min(3, len(self.sent))])

    @rule(seconds=st.sampled_from([0.5, 2, 31, 61, 301, 1801, 2400, 3601]))
    def time_passes(self, seconds: float) -> None:
        self.clock.turn(seconds)

    @rule(seconds=st.sampled_from([-3600, -90, -5, 5, 90, 3600]))
    def clock_is_set(self, seconds: float) -> None:
        self.clock.step(seconds)

    # --- people ---

    @precondition(lambda self: not self.waiting)
    @rule(which=st.integers(0, 1 << 30), does=st.sampled_from(["ack", "resolve", "resolve", "P0"]))
    def a_person_acts(self, which: int, does: str) -> None:
        self.runner.run(self._person(which, does))

    @rule(at=series, which=st.integers(0, 9), minutes=st.sampled_from([10, 35, 61]))
    def a_person_ends_it_and_later_another_begins(self, at: int, which: int, minutes: int) -> None:
        """What makes several incidents of one group: rare by chance, daily in life."""
        self.inbox_works()
        self.runner.run(self._person(which, "resolve"))
        self.clock.turn(60 * minutes)
        self.starts(at)
        self.tells([at], "A", False)
        self.inbox_works()

    async def _person(self, which: int, does: str) -> None:
        found = [each for each in await self.house.all_incidents() if not each.status.ended]
        if not found:
            return
        number = found[which % len(found)].id
        if does == "ack":
            await self.house.people.acknowledge(number, "anna")
        elif does == "resolve":
            await self.house.people.resolve(number, "anna", "looks well")
        else:
            await self.house.people.raise_to(number, "anna", Severity(does))

    # --- us ---

    @rule()
    def inbox_works(self) -> None:
        self.runner.run(asyncio.wait_for(self.house.settle(), 20))
        for received, said in self.waiting:
            for each in said:
                self._learn(received, *each)
        self.waiting.clear()

    @precondition(lambda self: not self.waiting)
    @rule()
    def inbox_restarts(self) -> None:
        given = self.house
        given.inbox = Inbox(given.store, given.receivers, lambda: given.rules, given.clock)

    def _accept(self, raw: bytes, said: list[tuple[int, bool, datetime | None, datetime | None]]) -> None:
        self.runner.run(self.house.accept(raw))
        self.waiting.append((self.clock.now(), said))

    def _learn(self, received: datetime, at: int, firing: bool, since: datetime | None, until: datetime | None) -> None:
        now = self.model.get(at)
        if not firing:
            end = min(until or received, received)
            if now is None or (not now.open and end > now.ended):
                self.model[at] = Stretch(False, min(since or end, end), end, received)
            elif now.open and end >= now.started:
                self.model[at] = Stretch(False, now.started, end, max(now.told, received))
            return
        start = min(since or received, received)
        if now is None or (not now.open and start > now.ended):
            self.model[at] = Stretch(True, start, NOW, received)
        elif now.open:
            now.started = min(now.started, since or now.started)
        elif received - now.told > MINUTE:
            now.open = True

    # --- what must always hold ---

    @invariant()
    def nothing_is_unaccounted(self) -> None:
        assert self.runner.run(self.house.unaccounted()) == 0

    @invariant()
    def the_file_agrees_with_itself(self) -> None:
        ask = self.house.sql
        assert not ask("SELECT identity FROM episode WHERE firing GROUP BY identity HAVING count(*) > 1")
        assert not ask(
            "SELECT group_key FROM incident WHERE status NOT IN ('resolved', 'reviewed')"
            " GROUP BY group_key HAVING count(*) > 1"
        )
        counted = ask("SELECT id, firing FROM incident ORDER BY id")
        really = dict(ask("SELECT incident, count(*) FROM episode WHERE firing GROUP BY incident"))
        assert counted == [(number, really.get(number, 0)) for number, _ in counted]
        assert not ask(
            "SELECT e.id FROM episode e JOIN incident i ON i.id = e.incident WHERE e.firing"
            " AND i.status IN ('resolved', 'reviewed') AND i.resolved_by = ''"
        )
        assert not ask("SELECT id FROM episode WHERE firing AND incident IS NULL AND muted = ''")
        calm = "SELECT id FROM incident WHERE status = 'monitoring' AND firing > 0"
        assert not ask(calm)

    @invariant()
    def a_page_is_opened_raised_or_reopened(self) -> None:
        ask = self.house.sql
        lines = dict(ask("SELECT kind, count(*) FROM timeline GROUP BY kind"))
        assert lines.get("opened", 0) == ask("SELECT count(*) FROM incident")[0][0]
        changes = lines.get("raised", 0) + lines.get("reopened", 0)
        assert ask("SELECT count(*) FROM post WHERE kind = 'page'")[0][0] == changes
        assert ask("SELECT count(DISTINCT incident) FROM post WHERE kind = 'head'")[0][0] == lines.get("opened", 0)

    @invariant()
    def what_fires_is_what_the_model_says(self) -> None:
        if self.waiting:
            return
        firing = self.house.sql("SELECT labels FROM episode WHERE firing")
        expected = {_labels(at) for at, each in self.model.items() if each.open}
        assert {_key(labels) for (labels,) in firing} == expected


def _element(at: int, firing: bool, since: datetime | None, until: datetime | None) -> dict[str, Any]:
    name, cluster, instance = SERIES[at]
    return entry(name, firing=firing, started=since, ended=until, cluster=cluster, instance=instance)


def _labels(at: int) -> tuple[str, str, str]:
    return SERIES[at]


def _key(labels: str) -> tuple[str, str, str]:
    found = json.loads(labels)
    return found["alertname"], found["cluster"], found["instance"]


class MutedLives(Lives):
    """The same, while one alert mutes another and work is done on a cluster once an hour, for ten minutes."""

    judged_by = RuleSet(
        RULES.rules,
        replace(
            POLICY,
            inhibitions=(
                Inhibition("down", tuple(parse('alertname="ApiDown"')), tuple(parse('alertname="Slow"')), ("cluster",)),
            ),
            maintenance=tuple(
                Maintenance(f"work {hour}", tuple(parse('cluster="us"')), start, start + 10 * MINUTE)
                for hour in range(-60, 400)
                for start in [NOW + hour * 60 * MINUTE]
            ),
        ),
    )

    @rule(source=st.sampled_from([0, 1]))
    def what_mutes_another_ends_before_it(self, source: int) -> None:
        """Rare by chance, and what inhibition is about."""
        for at in (source, 4):
            self.starts(at)
            self.tells([at], "A", False)
        self.inbox_works()
        self.clock.turn(1)
        self.ends(source)
        self.tells([source], "A", False)
        self.inbox_works()
        self.inbox_looks_again()

    @precondition(lambda self: not self.waiting)
    @rule()
    def inbox_looks_again(self) -> None:
        """What is muted now is so for a reason that holds now."""
        self.clock.turn(UNMUTE_EVERY_S)
        self.runner.run(asyncio.wait_for(self.house.settle(), 20))
        self.runner.run(self.house.inbox.once())
        firing = {SERIES[at] for at, each in self.model.items() if each.open}
        for kind, labels in self.house.sql("SELECT muted, labels FROM episode WHERE firing AND incident IS NULL"):
            name, cluster, _ = _key(labels)
            if kind == "inhibition":
                assert name == "Slow"
                assert {each[:2] for each in firing} >= {("ApiDown", cluster)}
            else:
                assert (kind, cluster) == ("maintenance", "us")
                assert (self.clock.now() - NOW) % (60 * MINUTE) < 10 * MINUTE


Lives.TestCase.settings = MutedLives.TestCase.settings = settings(
    max_examples=30,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestLives = Lives.TestCase
TestMutedLives = MutedLives.TestCase
