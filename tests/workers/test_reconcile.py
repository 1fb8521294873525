"""What fires at the sender and what fires here become the same, and nothing ends on silence alone."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from responder.errors import PermanentError, TransientError
from responder.integrations.alertmanager import Alertmanager, Settings
from responder.integrations.alertmanager.makers import Makers
from responder.integrations.alertmanager.truth import AlertmanagerTruth
from responder.model import Alert, Beat, Episode, Move
from responder.ports import Past, Standing
from responder.rules import RuleSet
from responder.rules.matchers import parse
from responder.rules.suppress import Silence
from responder.workers.reconcile import Reconcile
from tests.given import NOW, POLICY, RULES, FakeClock, House, after, alert, body, entry, house

ITS_TURN_S, GONE_AFTER_S = 35.0, 300.0


@dataclass
class FakeTruth:
    """A sender as the test says it is."""

    name: str = "alertmanager"
    every_s: float = 30.0
    missed_after_s: float = ITS_TURN_S
    gone_after_s: float = GONE_AFTER_S
    alerts: list[Alert] = field(default_factory=list)
    muted: dict[str, str] = field(default_factory=dict)
    fresh: frozenset[str] = frozenset()
    up_s: float | None = 86_400.0
    whole: bool = True
    doubt: str = ""
    fault: Exception | None = None
    past: list[Past] | None = None
    asked: list[list[str]] = field(default_factory=list)
    windows: list[tuple[datetime, datetime]] = field(default_factory=list)

    async def standing(self) -> Standing:
        if self.fault is not None:
            raise self.fault
        return Standing(self.alerts, self.muted, self.fresh, self.up_s, self.whole)

    async def doubts(self, episodes: Sequence[Episode]) -> Mapping[str, str]:
        self.asked.append([each.identity for each in episodes])
        return {each.identity: self.doubt for each in episodes if self.doubt}

    async def passed(self, since: datetime, until: datetime) -> Sequence[Past] | None:
        self.windows.append((since, until))
        return self.past

    def body(self, alerts: Sequence[Alert], why: str) -> bytes:
        real = AlertmanagerTruth(
            [], Makers([]), _no_reading, FakeClock(), receiver="responder", every_s=0, missed_after_s=0, gone_after_s=0
        )
        return real.body(alerts, why)


def _no_reading(_element: object, _at: datetime) -> Alert:
    raise AssertionError("nothing is read")


@dataclass
class Scene:
    """A house and a sender beside it."""

    at: House
    truth: FakeTruth
    worker: Reconcile
    missed: list[tuple[str, Sequence[Past]]]

    async def compare(self, *, later_s: float = 0.0) -> float:
        """Let time pass, compare, and move what was submitted."""
        self.at.clock.turn(later_s)
        wait_s = await self.worker.once()
        await self.at.settle()
        return wait_s

    async def firing(self) -> list[str]:
        return sorted(each.labels["alertname"] for each in await self.at.store.firing(0, 100))

    async def lines(self) -> list[str]:
        return [each["text"] for each in (await self.at.store.record(1))["timeline"] if each["kind"] == "note"]

    def counted(self, outcome: str) -> float:
        value = self.at.metrics.registry.get_sample_value("responder_reconcile_total", {"outcome": outcome})
        assert value is not None
        return value


def scene_of(at: House, truth: FakeTruth) -> Scene:
    missed: list[tuple[str, Sequence[Past]]] = []

    async def submit(receiver: str, raw: bytes) -> None:
        await at.accept(raw, receiver)

    worker = Reconcile(
        truth, at.store, submit, at.clock, at.metrics, lambda name, _since, _until, past: missed.append((name, past))
    )
    return Scene(at, truth, worker, missed)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with house(tmp_path) as at:
        yield scene_of(at, FakeTruth())


def old() -> Alert:
    """An alert whose webhook has had its turn long ago."""
    return alert(started=after(minutes=-30))


# --- it fires there, not here ---


async def test_what_was_missed_is_opened_as_the_senders_own_webhook_would_have(scene: Scene) -> None:
    scene.truth.alerts = [old()]
    await scene.compare()
    assert await scene.firing() == ["Api"]
    assert scene.counted("opened") == 1
    [incident] = await scene.at.all_incidents()
    await scene.at.post(entry(started=after(minutes=-30)))  # and its webhook, late, is the same alert
    assert [each.id for each in await scene.at.all_incidents()] == [incident.id]
    assert await scene.at.unaccounted() == 0


async def test_what_is_new_is_left_to_the_senders_own_webhook_until_its_turn_is_over(scene: Scene) -> None:
    scene.truth.alerts = [alert(started=NOW)]
    assert await scene.compare(later_s=10) == pytest.approx(ITS_TURN_S - 10)
    assert await scene.firing() == []
    await scene.compare(later_s=ITS_TURN_S - 10)
    assert await scene.firing() == ["Api"]


async def test_a_start_in_the_future_does_not_keep_an_alert_out(scene: Scene) -> None:
    scene.truth.alerts = [alert(started=after(hours=5))]
    await scene.compare()
    await scene.compare(later_s=ITS_TURN_S)
    assert await scene.firing() == ["Api"]


async def test_what_cannot_be_opened_is_tried_less_and_less(scene: Scene) -> None:
    scene.truth.alerts = [old()]
    await scene.worker.once()  # and nobody moves the body
    for _ in range(240):
        scene.at.clock.turn(30)
        await scene.worker.once()
    assert 6 <= scene.counted("opened") <= 9


async def test_two_that_agree_change_nothing(scene: Scene) -> None:
    await scene.at.post(entry())
    scene.truth.alerts = [alert()]
    await scene.compare(later_s=60)
    assert (scene.counted("agreed"), scene.counted("opened")) == (1, 0)
    assert await scene.at.figure("entries") == 1


# --- it fires here, not there ---


async def test_what_is_gone_there_and_where_it_is_made_ends_after_two_reads_far_apart(scene: Scene) -> None:
    await scene.at.post(entry())
    await scene.compare(later_s=60)
    await scene.compare(later_s=GONE_AFTER_S - 1)
    assert await scene.firing() == ["Api"]
    await scene.compare(later_s=1)
    assert await scene.firing() == []
    assert scene.counted("closed") == 1
    assert "has ended" in (await scene.lines())[0]
    assert await scene.at.unaccounted() == 0


KEPT_OPEN: list[tuple[str, dict[str, object]]] = [
    ("a sender that has been up for less", {"up_s": GONE_AFTER_S - 1}),
    ("a sender that does not say since when it is up", {"up_s": None}),
    ("a peer that is silent", {"whole": False}),
    ("a doubt where alerts are made", {"doubt": "Prometheus says that it fires"}),
]


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in KEPT_OPEN])
async def test_it_stays_open_with(scene: Scene, case: dict[str, object]) -> None:
    await scene.at.post(entry())
    for name, value in case.items():
        setattr(scene.truth, name, value)
    for _ in range(30):
        await scene.compare(later_s=60)
    assert await scene.firing() == ["Api"]
    assert scene.counted("closed") == 0


async def test_a_sender_out_of_reach_ends_and_opens_nothing(scene: Scene) -> None:
    await scene.at.post(entry())
    for fault in (TransientError("down"), PermanentError("401")):
        scene.truth.fault = fault
        await scene.compare(later_s=GONE_AFTER_S)
    assert await scene.firing() == ["Api"]
    assert scene.counted("unreachable") == 2


async def test_one_read_with_the_alert_begins_the_wait_anew(scene: Scene) -> None:
    await scene.at.post(entry())
    await scene.compare(later_s=60)
    scene.truth.alerts = [alert()]
    await scene.compare(later_s=200)
    scene.truth.alerts = []
    await scene.compare(later_s=200)
    await scene.compare(later_s=200)
    assert await scene.firing() == ["Api"]


async def test_a_webhook_of_it_begins_the_wait_anew(scene: Scene) -> None:
    await scene.at.post(entry())
    await scene.compare(later_s=60)
    scene.at.clock.turn(200)
    await scene.at.post(entry(annotations={"summary": "still"}))
    await scene.compare(later_s=200)
    assert await scene.firing() == ["Api"]
    await scene.compare(later_s=GONE_AFTER_S)
    assert await scene.firing() == []


async def test_a_webhook_that_still_waits_keeps_all_open(scene: Scene) -> None:
    await scene.at.post(entry())
    await scene.compare(later_s=60)
    scene.at.clock.turn(GONE_AFTER_S)
    await scene.at.accept(body(entry(annotations={"summary": "still"})))
    await scene.worker.once()
    assert not scene.truth.asked
    assert scene.counted("closed") == 0


async def test_a_clock_that_is_set_ends_nothing(scene: Scene) -> None:
    await scene.at.post(entry())
    await scene.compare(later_s=60)
    scene.at.clock.step(6 * 3600)
    await scene.compare(later_s=30)
    assert await scene.firing() == ["Api"]


async def test_a_restart_of_ours_begins_the_wait_anew(tmp_path: Path) -> None:
    clock = FakeClock()
    async with house(tmp_path, clock=clock) as at:
        await at.post(entry())
        await scene_of(at, FakeTruth()).compare(later_s=60)
    async with house(tmp_path, clock=clock) as at:
        again = scene_of(at, FakeTruth())
        await again.compare(later_s=GONE_AFTER_S)
        assert await again.firing() == ["Api"]


async def test_only_episodes_of_this_sender_are_its_matter_and_the_test_alert_is_not(scene: Scene) -> None:
    own = {"alerts": [{"labels": {"alertname": "OversizedBody", "receiver": "r"}, "annotations": {}}]}
    await scene.at.accept(json.dumps(own).encode(), "responder")
    await scene.at.post(entry("ResponderTest"))
    for _ in range(3):
        await scene.compare(later_s=GONE_AFTER_S)
    assert await scene.firing() == ["OversizedBody", "ResponderTest"]
    assert not scene.truth.asked


# --- what the thread is told ---


async def test_nobody_confirming_it_is_told_once_an_incident_and_state(scene: Scene) -> None:
    await scene.at.post(entry(instance="a"), entry(instance="b"))
    scene.truth.doubt = "Prometheus cannot be asked"
    for _ in range(20):
        await scene.compare(later_s=60)
    [line] = await scene.lines()
    assert line.startswith("alertmanager: Api (2 alerts) is not confirmed")
    assert "Prometheus cannot be asked" in line
    assert scene.counted("unconfirmed") == 2
    scene.truth.doubt = "Prometheus says that it fires"
    await scene.compare(later_s=60)
    assert len(await scene.lines()) == 2


async def test_what_is_silenced_there_stays_open_and_says_so_once_a_silence(scene: Scene) -> None:
    await scene.at.post(entry())
    silenced = {alert().identity: "silenced in Alertmanager (b3ede22e)"}
    scene.truth.muted = silenced
    for _ in range(10):
        await scene.compare(later_s=60)
    assert await scene.firing() == ["Api"]
    assert [("silenced in Alertmanager" in line) for line in await scene.lines()] == [True]
    scene.truth.muted, scene.truth.alerts = {}, [alert()]
    await scene.compare(later_s=60)
    scene.truth.muted, scene.truth.alerts = silenced, []
    await scene.compare(later_s=60)
    assert len(await scene.lines()) == 2


async def test_what_is_silenced_there_is_not_opened(scene: Scene) -> None:
    scene.truth.muted = {alert().identity: "silenced in Alertmanager"}
    await scene.compare(later_s=60)
    assert await scene.firing() == []


# --- heartbeats ---


@pytest.mark.parametrize("fresh", [pytest.param(True, id="fresh there"), pytest.param(False, id="stale there")])
async def test_a_heartbeat_counts_when_the_sender_has_just_heard_it(scene: Scene, fresh: bool) -> None:
    watchdog = alert("Watchdog")
    await scene.at.store.commit(Move(beats=[Beat("k", "watchdog", 600, watchdog.labels, NOW)]))
    scene.truth.alerts = [watchdog]
    scene.truth.fresh = frozenset({watchdog.identity} if fresh else ())
    await scene.at.post(entry("Watchdog"))
    scene.at.clock.turn(300)
    await scene.worker.once()
    waiting = await scene.at.figure("waiting")
    assert waiting == (1 if fresh else 0)


# --- what nobody saw ---


async def test_what_fired_and_ended_while_we_were_down_is_said(tmp_path: Path) -> None:
    clock = FakeClock()
    async with house(tmp_path, clock=clock) as at:
        await scene_of(at, FakeTruth()).compare()
    known = Past({"alertname": "Api", "cluster": "eu"}, after(minutes=2), after(minutes=4))
    short = Past({"alertname": "Short"}, after(minutes=2), after(minutes=3))
    clock.turn(minutes=10)
    async with house(tmp_path, clock=clock) as at:
        again = scene_of(at, FakeTruth(past=[known, short]))
        await at.post(entry())
        await again.compare()
        assert again.missed == [("alertmanager", [short])]
        assert again.truth.windows == [(NOW, NOW + timedelta(minutes=10))]
        assert again.counted("missed") == 1


async def test_a_first_start_and_an_even_pulse_look_back_at_nothing(scene: Scene) -> None:
    for _ in range(5):
        await scene.compare(later_s=30)
    assert not scene.truth.windows


async def test_a_time_when_the_sender_could_not_be_asked_is_looked_back_at(scene: Scene) -> None:
    await scene.compare()
    scene.truth.fault = TransientError("down")
    await scene.compare(later_s=30)
    scene.truth.fault = None
    await scene.compare(later_s=300)
    assert scene.truth.windows == [(NOW, after(330))]


def test_the_body_is_read_back_as_the_same_alert() -> None:
    ended = replace(alert(), firing=False, ended_at=after(60))
    raw = FakeTruth().body([alert(), ended], "why")
    decoded = Alertmanager(Settings()).decode(raw, NOW)
    assert [(each.identity, each.firing, each.ended_at) for each in decoded.alerts] == [
        (alert().identity, True, None),
        (alert().identity, False, after(60)),
    ]
    assert not decoded.group_key


async def test_what_was_muted_here_is_told_its_state_there_once_it_has_a_thread(tmp_path: Path) -> None:
    quiet = Silence(tuple(parse('alertname="Api"')), after(minutes=10), "ada", "work")
    async with house(tmp_path, rules=RuleSet(RULES.rules, replace(POLICY, silences=(quiet,)))) as at:
        scene = scene_of(at, FakeTruth(muted={alert().identity: "silenced by bob"}))
        await at.post(entry())
        await scene.compare(later_s=60)
        await scene.compare(later_s=600)
        await scene.compare(later_s=30)
        assert [line.count("silenced by bob") for line in await scene.lines()] == [1]
