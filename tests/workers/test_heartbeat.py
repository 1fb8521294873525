"""A heartbeat that stops is one P1 incident, and its return ends it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from responder.model import Alert, Beat, Incident, Move, Severity
from responder.rules import RuleSet
from responder.rules.classify import page_everything
from responder.workers.doctor import Doctor
from responder.workers.heartbeat import GRACE_S, TICK_S, Heartbeat
from tests.given import POLICY, FakeClock, House, entry, house, rule

WITHIN_S = 600.0
LABELS = {"alertname": "Watchdog", "cluster": "eu"}
WATCHDOG = rule("watchdog", 'alertname="Watchdog"', group_by=("cluster",), heartbeat_s=WITHIN_S)
RULES = RuleSet(
    (
        WATCHDOG,
        rule("responder-watchdog-missing", 'alertname="WatchdogMissing"', severity=Severity.P1, group_by=("receiver",)),
    ),
    POLICY,
)


@dataclass
class Scene:
    """A house and the worker over its heartbeats."""

    at: House
    worker: Heartbeat
    doctor: Doctor
    rules: list[RuleSet]  # the first is in force

    async def beat(self, **labels: str) -> None:
        """A Watchdog comes by webhook."""
        labels = LABELS | labels
        decided = self.rules[0].classify(Alert("alertmanager", "", labels, {}, True, self.at.clock.now()))
        beat = Beat(decided.group_key, decided.rule, decided.heartbeat_s or 0.0, labels, self.at.clock.now())
        await self.at.store.commit(Move(beats=[beat]))

    async def live(self, seconds: float) -> None:
        """Let the worker look every 15 s for so long."""
        for _ in range(int(seconds / TICK_S)):
            self.at.clock.turn(TICK_S)
            await self.worker.once()
        await self.at.settle()

    async def incidents(self) -> list[Incident]:
        return [each for each in await self.at.all_incidents() if each.rule == "responder-watchdog-missing"]


def scene_of(at: House) -> Scene:
    async def submit(receiver: str, raw: bytes) -> None:
        await at.accept(raw, receiver)

    doctor = Doctor(at.clock, at.metrics)
    rules = [RULES]
    worker = Heartbeat(at.store, list(at.receivers), submit, at.clock, doctor, lambda: rules[0])
    return Scene(at, worker, doctor, rules)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with house(tmp_path, rules=RULES) as at:
        await at.post(entry("Watchdog"))
        yield scene_of(at)


async def beating(scene: Scene, times: int = 4) -> None:
    for _ in range(times):
        await scene.beat()
        await scene.live(300)


async def test_while_it_beats_nothing_is_said(scene: Scene) -> None:
    await beating(scene, 12)
    assert not await scene.incidents()


async def test_ten_minutes_of_absence_are_one_p1_incident(scene: Scene) -> None:
    await beating(scene)
    await scene.live(WITHIN_S - 300)
    assert not await scene.incidents()
    await scene.live(3600)
    [incident] = await scene.incidents()
    assert (incident.severity, incident.firing) == (Severity.P1, 1)
    [episode] = (await scene.at.store.record(incident.id))["episodes"]
    assert {name: episode["labels"].get(name) for name in ("receiver", "rule", "cluster")} == {
        "receiver": "alertmanager", "rule": "watchdog", "cluster": "eu"
    }  # fmt: skip
    assert "has not come for 10 min" in episode["annotations"]["summary"]
    assert "repeat_interval: 5m" in episode["annotations"]["description"]


async def test_its_return_ends_it(scene: Scene) -> None:
    await beating(scene)
    await scene.live(1200)
    await scene.beat()
    await scene.live(30)
    [incident] = await scene.incidents()
    assert (incident.firing, str(incident.status)) == (0, "monitoring")


async def test_after_our_own_start_it_has_its_time_and_a_grace(tmp_path: Path) -> None:
    clock = FakeClock()
    async with house(tmp_path, clock=clock, rules=RULES) as at:
        await scene_of(at).beat()
    clock.turn(hours=5)
    async with house(tmp_path, clock=clock, rules=RULES) as at:
        again = scene_of(at)
        await again.live(WITHIN_S + GRACE_S)
        assert not await again.incidents()
        await again.live(TICK_S)
        assert len(await again.incidents()) == 1


async def test_a_restart_while_it_is_missing_neither_ends_nor_repeats_the_page_and_its_return_ends_it(
    tmp_path: Path,
) -> None:
    clock = FakeClock()
    async with house(tmp_path, clock=clock, rules=RULES) as at:
        first = scene_of(at)
        await beating(first)
        await first.live(1200)
        assert len(await first.incidents()) == 1
    async with house(tmp_path, clock=clock, rules=RULES) as at:
        again = scene_of(at)
        await again.live(60)
        assert [each.firing for each in await again.incidents()] == [1]
        await again.live(1200)
        assert [each.firing for each in await again.incidents()] == [1]
        await again.beat()
        await again.live(30)
        assert [each.firing for each in await again.incidents()] == [0]


async def test_a_clock_that_is_set_is_no_absence(scene: Scene) -> None:
    await beating(scene)
    scene.at.clock.step(6 * 3600)
    await scene.live(60)
    assert not await scene.incidents()


async def test_one_of_two_that_stops_is_told_and_the_other_is_not(scene: Scene) -> None:
    await beating(scene)
    for _ in range(4):
        await scene.beat(cluster="us")
        await scene.live(300)
    [incident] = await scene.incidents()
    assert incident.firing == 1


async def test_after_a_week_it_is_forgotten_and_says_so(scene: Scene) -> None:
    await beating(scene)
    await scene.live(1200)
    scene.at.clock.turn(hours=7 * 24)
    await scene.live(TICK_S)
    await scene.live(1200)
    assert await scene.at.store.beats() == []
    [incident] = await scene.incidents()
    assert incident.firing == 0
    notes = [each["text"] for each in (await scene.at.store.record(incident.id))["timeline"] if each["kind"] == "note"]
    assert any("forgotten" in text for text in notes)


async def test_beats_that_come_late_are_a_problem_of_the_sender(scene: Scene) -> None:
    await scene.beat()
    await scene.live(540)
    await scene.beat()
    await scene.live(30)
    [problem] = scene.doctor.problems()
    assert problem.kind == "slow_heartbeat"
    assert "540 s" in problem.seen


async def test_the_oldest_heartbeats_age_is_a_metric(scene: Scene) -> None:
    await scene.beat()
    await scene.live(120)
    scene.at.metrics.figures = await scene.at.store.figures()
    scene.at.metrics.now = scene.at.clock.now().timestamp()
    assert scene.at.metrics.registry.get_sample_value("responder_heartbeat_age_seconds") == 120


# --- new rules ---


def changed(**fields: object) -> RuleSet:
    return RuleSet((replace(WATCHDOG, **fields), *RULES.rules[1:]), POLICY)  # type: ignore[arg-type]  # fields of a Rule


async def test_what_is_no_heartbeat_by_new_rules_is_not_waited_for(scene: Scene) -> None:
    await beating(scene)
    scene.rules[0] = RuleSet(RULES.rules[1:], POLICY)
    await scene.live(3 * WITHIN_S)
    assert (await scene.incidents(), await scene.at.store.beats()) == ([], [])


async def test_an_absence_that_new_rules_do_not_mind_has_ended(scene: Scene) -> None:
    await beating(scene)
    await scene.live(2 * WITHIN_S)
    scene.rules[0] = RuleSet(RULES.rules[1:], POLICY)
    await scene.live(TICK_S)
    assert [each.firing for each in await scene.incidents()] == [0]


@pytest.mark.parametrize(
    ("new", "pages"),
    [
        pytest.param({"heartbeat_s": 4 * WITHIN_S}, 0, id="more time"),
        pytest.param({"heartbeat_s": WITHIN_S / 2}, 1, id="less time"),
        pytest.param({"name": "dead-man"}, 0, id="another name"),
    ],
)
async def test_new_rules_say_within_what_time_a_heartbeat_must_come(
    scene: Scene, new: dict[str, object], pages: int
) -> None:
    await beating(scene)
    scene.rules[0] = changed(**new)
    await scene.live(60)
    assert len(await scene.incidents()) == pages


async def test_a_heartbeat_of_another_name_by_new_rules_is_waited_for_as_before(scene: Scene) -> None:
    await beating(scene)
    scene.rules[0] = changed(name="dead-man")
    await scene.live(WITHIN_S - 300)
    assert not await scene.incidents()
    await scene.live(2 * TICK_S)
    assert len(await scene.incidents()) == 1
    assert [each.rule for each in await scene.at.store.beats()] == ["dead-man"]


async def test_rules_of_last_resort_neither_miss_nor_forget_a_heartbeat(scene: Scene) -> None:
    await scene.beat()
    scene.rules[0] = page_everything("broken")
    await scene.live(3 * WITHIN_S)
    assert not await scene.incidents()
    scene.rules[0] = RULES
    await scene.live(WITHIN_S)
    assert not await scene.incidents()
    await scene.live(60)
    assert len(await scene.incidents()) == 1
