"""Rehearses alerts against rules: what would open, rise, page and end, and when. The pipeline itself, no store.

A World keeps what a store would, in memory, and lets time pass: it asks `pipeline.move` for every batch of alerts, and
`story` for what time alone does. Acknowledge-within and cadence are left out: they make no page of their own kind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from responder import pipeline, story
from responder.errors import FileError
from responder.model import Alert, Episode, EpisodeChange, Incident, Move, NewEpisode, Ref, Status
from responder.rules import RuleSet, Sources
from responder.rules.expectations import Miss, Rehearsal, Step, read_expectations
from responder.rules.suppress import Suppression
from responder.story import View

BEGAN = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)  # a Monday morning: no rule may depend on the day it is tested
MAX_TURNS = 1000  # of time between two steps: a fault of ours must not hang a person's test
HoldS = Callable[[Incident], float]


@dataclass
class World:
    """All that happened so far. `pages`, `raised` and `reopened` count by incident; the caller may clear them."""

    rules: RuleSet
    now: datetime = BEGAN
    hold_s: HoldS | None = None  # None: the policy's
    sources: Sources = field(init=False)
    episodes: dict[str, Episode] = field(default_factory=dict)  # the newest of each identity
    incidents: dict[int, Incident] = field(default_factory=dict)
    pages: Counter[int] = field(default_factory=Counter)
    raised: Counter[int] = field(default_factory=Counter)
    reopened: Counter[int] = field(default_factory=Counter)
    written: int = 0  # episodes so far

    def __post_init__(self) -> None:
        """Begin with nothing that mutes others."""
        self.sources = Sources(self.rules.policy.inhibitions)

    def send(self, alerts: Sequence[Alert]) -> None:
        """Let these alerts come in now, in order; a move holds an identity once."""
        batch: dict[str, Alert] = {}
        for alert in alerts:
            if alert.identity in batch:
                self._move(list(batch.values()))
                batch = {}
            batch[alert.identity] = alert
        if batch:
            self._move(list(batch.values()))

    def pass_time(self, until: datetime) -> None:
        """Let time pass, and what is due by then happen when it is due."""
        self._unmute()  # what muted it may have ended just before
        for _ in range(MAX_TURNS):
            due = min(self._due(), key=lambda each: each[0], default=None)
            if due is None or due[0] > until:
                break
            self.now = max(self.now, due[0])
            self._write(due[1](self.now))
            self._unmute()
        else:
            raise AssertionError("time does not pass: what is due is not done by doing it")
        self.now = until
        self._unmute()

    def _unmute(self) -> None:
        """Send again what was muted, fires on, and is muted no longer, as the inbox worker does."""
        kept = [_alert(each) for each in self.episodes.values() if each.firing and each.muted]
        heard = [alert for alert in kept if not self.rules.judge(alert, self.now, self.sources).muted]
        if heard:
            self._move([replace(alert, entries=0) for alert in heard])

    def _due(self) -> Iterator[tuple[datetime, Callable[[datetime], Move]]]:
        for episode in self.episodes.values():
            found = self._suppressed(episode)
            if found is not None and found.until is not None:
                yield found.until, lambda _: Move()  # then it is looked at again
        for incident in self.incidents.values():
            wait_s = self.rules.next_raise_s(
                incident.rule, incident.severity, opened_at=incident.opened_at, at=self.now
            )
            if wait_s is not None and incident.firing and not incident.status.ended:
                yield self.now + timedelta(seconds=wait_s), self._rise(incident)
            if incident.status is Status.MONITORING and incident.firing == 0 and incident.monitoring_at is not None:
                held_s = self.hold_s(incident) if self.hold_s else self.rules.policy.hold_s(incident.severity)
                yield incident.monitoring_at + timedelta(seconds=held_s), self._resolve(incident, held_s)

    def _suppressed(self, episode: Episode) -> Suppression | None:
        if not (episode.firing and episode.muted):
            return None
        return self.rules.suppressed(_alert(episode), self.now, self.sources)

    def _rise(self, incident: Incident) -> Callable[[datetime], Move]:
        return lambda now: story.raise_by_time(incident, self.rules, now)[1]

    @staticmethod
    def _resolve(incident: Incident, held_s: float) -> Callable[[datetime], Move]:
        return lambda now: story.resolve_held(incident, held_s, now)

    def _move(self, alerts: Sequence[Alert]) -> None:
        timed = [_at(alert, self.now) for alert in alerts]
        for alert in timed:
            if story.fires(alert, self.episodes.get(alert.identity)):
                self.sources.add(alert.identity, alert.labels, alert.name)
            else:
                self.sources.remove(alert.identity)
        decisions = [self.rules.judge(alert, self.now, self.sources) if alert.firing else None for alert in timed]
        ordered = sorted(self.incidents.values(), key=lambda each: (not each.status.ended, each.id))
        view = View(self.episodes, {each.group_key: each for each in ordered}, self.incidents)
        self._write(pipeline.move(timed, decisions, view, self.rules, self.now))

    def _write(self, move: Move) -> None:
        """Keep what a store would write of a move."""
        opened: dict[Ref, int] = {}
        for incident in move.opened:
            opened[incident.group_key] = number = len(self.incidents) + 1
            self.incidents[number] = replace(incident, id=number)
            self.pages[number] += 1
        for incident in move.changed:
            self.incidents[incident.id] = replace(incident, version=incident.version + 1)
        for new in move.episodes:
            self.written += 1  # a number names one episode for ever
            self.episodes[new.alert.identity] = _episode(self.written, new, opened)
        for change in move.joined:
            self._change(change, opened)
        for post in move.posts:
            self.pages[int(opened.get(post.incident, post.incident))] += post.kind == "page"
        for line in move.timeline:
            told = int(opened.get(line.incident, line.incident))
            self.raised[told] += line.kind == "raised"
            self.reopened[told] += line.kind == "reopened"

    def _change(self, change: EpisodeChange, opened: dict[Ref, int]) -> None:
        identity, old = next((key, each) for key, each in self.episodes.items() if each.id == change.id)
        ended = change.ended_at is not None
        home = old.incident if change.incident is None else int(opened.get(change.incident, change.incident))
        self.episodes[identity] = replace(
            old,
            received_at=change.received_at,
            started_at=change.started_at or old.started_at,
            ended_at=None if change.reopen else change.ended_at or old.ended_at,
            annotations=old.annotations if change.annotations is None else change.annotations,
            firing=change.reopen or (old.firing and not ended),
            incident=home,
            muted=old.muted if change.muted is None else change.muted,
        )


def _at(alert: Alert, now: datetime) -> Alert:
    """Give an alert of a file the time at which it comes: it starts, or ends, right then."""
    return replace(
        alert, received_at=now, started_at=now if alert.firing else None, ended_at=None if alert.firing else now
    )


def _episode(number: int, new: NewEpisode, opened: dict[Ref, int]) -> Episode:
    home = None if new.incident is None else int(opened.get(new.incident, new.incident))
    alert = new.alert
    return Episode(
        number, alert.identity, alert.source, alert.labels, alert.annotations, new.ended_at is None, new.started_at,
        new.ended_at, alert.received_at, home, alert.generator_url, new.muted,
    )  # fmt: skip


def rehearse(rules: RuleSet, sequence: Rehearsal, *, hold_s: HoldS | None = None) -> list[Miss]:
    """Run a test over time. Returns: what the rules do otherwise, step by step; [] when it holds."""
    world = World(rules, hold_s=hold_s)
    return [miss for number, step in enumerate(sequence.steps, 1) for miss in _take(world, sequence, number, step)]


def _take(world: World, sequence: Rehearsal, number: int, step: Step) -> Iterator[Miss]:
    """Take one step, and compare."""
    for counter in (world.pages, world.raised, world.reopened):
        counter.clear()
    world.pass_time(BEGAN + timedelta(seconds=step.at_s))
    world.send([*step.resolved, *step.alerts])
    where = f"step {number} at {_clock(step.at_s)}"
    wanted = dict(step.expect)
    everything: dict[str, object] = {"incidents": len(world.incidents), "pages": world.pages.total()}
    if step.of:
        everything["incidents"] = len(_looked_at(world, step))
    for key in [key for key in everything if key in wanted]:
        if (expected := wanted.pop(key)) != everything[key]:
            yield Miss(sequence.path, step.line, sequence.name, key, expected, everything[key], where)
    looked_at = _looked_at(world, step) if wanted else []
    if wanted and not looked_at:
        yield Miss(sequence.path, step.line, sequence.name, "incidents", "some", "none", where)
    for incident in looked_at:
        actual = _actual(world, incident)
        alert = next((_alert(each) for each in world.episodes.values() if each.incident == incident.id), None)
        for key, expected in wanted.items():
            given = sorted(expected or []) if key == "systems" else expected
            if actual[key] != given:
                yield Miss(sequence.path, step.line, sequence.name, key, given, actual[key], where, alert)


def _looked_at(world: World, step: Step) -> list[Incident]:
    """Give the incidents that a step speaks of: by `of`, else those of its alerts, else all."""
    if step.of:
        wanted = step.of.items()
        homes = {each.incident for each in world.episodes.values() if wanted <= each.labels.items()}
    elif step.alerts or step.resolved:
        homes = {world.episodes[alert.identity].incident for alert in (*step.alerts, *step.resolved)}
    else:
        homes = set(world.incidents)
    return [incident for number, incident in world.incidents.items() if number in homes]


def _actual(world: World, incident: Incident) -> dict[str, object]:
    return {
        "severity": incident.severity,
        "rule": incident.rule,
        "runbook": incident.runbook,
        "channel": incident.channel,
        "matched_by": incident.decision.get("matched_by"),
        "systems": sorted(incident.systems),
        "status": incident.status,
        "raised": world.raised[incident.id] > 0,
        "reopened": world.reopened[incident.id] > 0,
    }


def _alert(episode: Episode) -> Alert:
    return Alert(
        episode.source, episode.identity, episode.labels, episode.annotations, episode.firing, episode.received_at
    )


def _clock(at_s: float) -> str:
    """Say a time since the first step as expectation files write it."""
    minutes, rest = divmod(at_s, 60)
    return f"{minutes:g}m" if not rest else f"{at_s:g}s"


@dataclass
class Report:
    """What came of expectation files."""

    tests: int = 0
    misses: list[Miss] = field(default_factory=list)
    errors: list[FileError] = field(default_factory=list)


def run_files(rules: RuleSet, paths: Sequence[Path], *, hold_s: HoldS | None = None) -> Report:
    """Run all tests of files and folders, of both forms, in the order in which they stand."""
    found = read_expectations(paths)
    report = Report(len(found.tests) + len(found.sequences), [], found.errors)
    for test in found.tests:
        report.misses += test.misses(rules)
    for sequence in found.sequences:
        report.misses += rehearse(rules, sequence, hold_s=hold_s)
    report.misses.sort(key=lambda miss: (miss.path, miss.line))
    return report
