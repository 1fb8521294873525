"""Reads expectation files, and compares: alerts in, and the decision that their author expects.

Two forms of a test stand side by side. One is the alerts of one moment:

    - {name: ..., alerts: [{labels: {...}, annotations: {...}}], open_for: 30m, expect: {severity: P2, rule: api-down}}

The other goes over time; `at` counts from the first step, and `responder/rehearsal.py` runs it:

    - name: ...
      steps:
        - {at: 0m, alerts: [...], expect: {severity: P2, incidents: 1, pages: 1}}
        - {at: 45m, expect: {severity: P1, raised: true}}
        - {at: 50m, resolved: [...], expect: {status: monitoring}}
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from responder.errors import FileError
from responder.files import line_of, read_yaml
from responder.model import Alert, Decision, Severity, Status, identify
from responder.rules.classify import RuleSet
from responder.rules.fields import Fields
from responder.rules.inhibit import Sources
from responder.rules.loader import SUFFIXES

EXPECTED = ("severity", "rule", "runbook", "channel", "matched_by", "systems", "incidents", "muted")
EXPECTED_OF_STEP = (*EXPECTED[:-1], "pages", "raised", "reopened", "status", "of")
CLOSED: Mapping[str, Sequence[str]] = {
    "severity": list(Severity),
    "status": list(Status),
    "matched_by": ("rule", "label", "backstop"),
    "muted": ("none", "silence", "maintenance", "inhibition", "heartbeat"),
}
_WHEN = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Miss:
    """One thing that is not as expected. `step` is "" or `step 2 at 10m`; `because` says why it was decided so."""

    path: str
    line: int
    test: str
    key: str
    wanted: object
    actual: object
    step: str = ""
    alert: Alert | None = field(default=None, repr=False)

    def text(self) -> str:
        """Give it in one line, as compilers do."""
        where = f"{self.path}:{self.line}: {self.test}: " + (f"{self.step}: " if self.step else "")
        if self.key == "incidents":
            return f"{where}{self.wanted} incidents wanted, {self.actual} opened"
        return f"{where}{self.key} {_said(self.wanted)} wanted, got {_said(self.actual)}"

    def because(self, ruleset: RuleSet) -> list[str]:
        """Say how the alert was decided: the rule, where its severity comes from, the nearest miss."""
        if self.alert is None:
            return []
        explained = ruleset.explain(self.alert)
        decided = explained.decision
        lines = [f"{self.alert.name} is {decided.severity} by rule {decided.rule}: {explained.severity}"]
        return [*lines, *([f"nearest miss: {explained.nearest}"] if explained.nearest else [])]


@dataclass(frozen=True, slots=True)
class Expectation:
    """One test of one moment as its author wrote it, read and sound."""

    path: str
    line: int
    name: str
    alerts: tuple[Alert, ...]
    expect: Mapping[str, Any]
    open_for_s: float
    at: datetime = _WHEN

    def misses(self, ruleset: RuleSet) -> list[Miss]:
        """Say what the rules do otherwise; [] when it holds."""
        return [
            Miss(self.path, self.line, self.name, key, wanted, actual, alert=alert)
            for key, wanted, actual, alert in _misses(self, ruleset)
        ]


@dataclass(frozen=True, slots=True)
class Step:
    """One moment of a sequence. `at_s` counts from the first step; `of` picks incidents by labels of their alerts."""

    line: int
    at_s: float
    alerts: tuple[Alert, ...]
    resolved: tuple[Alert, ...]
    expect: Mapping[str, Any]
    of: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """One test over time as its author wrote it, read and sound."""

    path: str
    line: int
    name: str
    steps: tuple[Step, ...]


@dataclass
class Expectations:
    """What expectation files hold, and what is wrong with them."""

    tests: list[Expectation] = field(default_factory=list)
    sequences: list[Rehearsal] = field(default_factory=list)
    errors: list[FileError] = field(default_factory=list)

    def rules(self) -> Iterator[tuple[str, int, str]]:
        """Give each rule that an expectation names, as (path, line, rule)."""
        for test in self.tests:
            if isinstance(test.expect.get("rule"), str):
                yield test.path, test.line, test.expect["rule"]
        for sequence in self.sequences:
            for step in sequence.steps:
                if isinstance(step.expect.get("rule"), str):
                    yield sequence.path, step.line, step.expect["rule"]


def read_tests(paths: Sequence[Path]) -> tuple[list[Expectation], list[FileError]]:
    """Read expectation files, and those of folders. Returns: the tests of one moment, and what is wrong."""
    found = read_expectations(paths)
    return found.tests, found.errors


def read_expectations(paths: Sequence[Path]) -> Expectations:
    """Read expectation files, and those of folders, in the order of their names."""
    found = Expectations()
    for path in paths:
        files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES) if path.is_dir() else [path]
        for file in files:
            _read_file(file, found)
    return found


def _read_file(path: Path, into: Expectations) -> None:
    try:
        top = Fields(path, read_yaml(path), into.errors, what="an expectation file", line=1)
    except FileError as error:
        into.errors.append(error)
        return
    top.known(("tests",))
    tests = top.found.get("tests")
    if not isinstance(tests, list):
        top.wrong("tests", "tests: must be a list of {name, alerts, expect}")
        tests = []
    for test in tests:
        fields = Fields(path, test, into.errors, what="a test", line=line_of(top.found, "tests"))
        before = len(into.errors)
        if "steps" in fields.found:
            sequence = _sequence(fields)
            into.sequences += [sequence] if len(into.errors) == before else []
        else:
            moment = _moment(fields)
            into.tests += [moment] if len(into.errors) == before else []


def _moment(fields: Fields) -> Expectation:
    """Read a test of one moment."""
    fields.known(("name", "alerts", "expect", "open_for", "at"))
    at = fields.time("at") or _WHEN
    alerts = tuple(replace(alert, received_at=at) for alert in _alerts(fields, "alerts"))
    if not alerts:
        fields.wrong("alerts", "alerts must be a list of {labels: {...}, annotations: {...}}")
    expect = _expect(fields, EXPECTED)
    open_for_s = fields.duration_s("open_for", 0.0, least=0.0) or 0.0
    return Expectation(str(fields.path), fields.line, fields.text("name"), alerts, expect, open_for_s, at)


def _sequence(fields: Fields) -> Rehearsal:
    """Read a test over time."""
    fields.known(("name", "steps"))
    entries = fields.found["steps"]
    if not isinstance(entries, list) or not entries:
        fields.wrong("steps", "steps must be a list of {at: 10m, alerts: [...], resolved: [...], expect: {...}}")
        entries = []
    steps: list[Step] = []
    for entry in entries:
        inner = Fields(fields.path, entry, fields.errors, what="a step", line=line_of(fields.found, "steps"))
        step = _step(inner)
        if steps and step.at_s < steps[-1].at_s:
            inner.wrong("at", "at lies before the step above; steps go on in time")
        steps.append(step)
    return Rehearsal(str(fields.path), fields.line, fields.text("name"), tuple(steps))


def _step(fields: Fields) -> Step:
    fields.known(("at", "alerts", "resolved", "expect"))
    if fields.found and "at" not in fields.found:
        fields.wrong(None, "a step has no at; say when it is, as in at: 10m")
    at_s = fields.duration_s("at", 0.0, least=0.0) or 0.0
    alerts, resolved = _alerts(fields, "alerts"), _alerts(fields, "resolved", firing=False)
    expect = dict(_expect(fields, EXPECTED_OF_STEP)) if "expect" in fields.found else {}
    if not alerts and not resolved and not expect:
        fields.wrong(None, "a step must hold alerts, resolved or expect")
    of = expect.pop("of", None)
    if of is not None and not isinstance(of, dict):
        fields.wrong("expect", "of must be labels, as in of: {alertname: ApiDown}")
    wanted = {str(name): str(value) for name, value in of.items()} if isinstance(of, dict) else {}
    return Step(fields.line, at_s, alerts, resolved, expect, wanted)


def _expect(fields: Fields, known: Sequence[str]) -> dict[str, Any]:
    expect = Fields(fields.path, fields.found.get("expect"), fields.errors, what="expect", line=fields.line)
    expect.known(known)
    if not expect.found:
        fields.wrong("expect", f"expect names nothing; known: {', '.join(known)}")
    for key, words in CLOSED.items():
        value = expect.found.get(key, words[0])
        if value not in words:
            expect.wrong(key, f"{key} {value!r:.60} can never be; it is one of {', '.join(words)}")
    return expect.found


def _alerts(fields: Fields, key: str, *, firing: bool = True) -> tuple[Alert, ...]:
    entries = fields.found.get(key)
    if entries is None:
        return ()
    if not isinstance(entries, list):
        fields.wrong(key, f"{key} must be a list of {{labels: {{...}}, annotations: {{...}}}}")
        return ()
    return tuple(_alert(fields, entry, key, firing) for entry in entries)


def _alert(fields: Fields, entry: Any, key: str, firing: bool) -> Alert:
    found = Fields(fields.path, entry, fields.errors, what="an alert", line=line_of(fields.found, key))
    found.known(("labels", "annotations"))
    labels, annotations = _texts(found, "labels"), _texts(found, "annotations")
    return Alert("test", identify("test", labels), labels, annotations, firing=firing, received_at=_WHEN)


def _texts(alert: Fields, key: str) -> dict[str, str]:
    values = alert.found.get(key)
    if values is None:
        return {}
    fields = Fields(alert.path, values, alert.errors, what=key, line=alert.line)
    for name, value in fields.found.items():
        if isinstance(value, (dict, list, bool)):
            fields.wrong(name, f"{name} must be text; quote it")
    return {name: "" if value is None else str(value) for name, value in fields.found.items()}


def _misses(test: Expectation, ruleset: RuleSet) -> Iterator[tuple[str, object, object, Alert | None]]:
    """Compare each incident that the alerts would open: (key, wanted, actual, an alert of it)."""
    expect = dict(test.expect)
    groups: dict[str, list[Decision]] = defaultdict(list)
    firsts: dict[str, Alert] = {}
    decided = _judged(test, ruleset)
    for alert, decision in decided:
        groups[decision.group_key].append(decision)
        firsts.setdefault(decision.group_key, alert)
    muted, incidents = expect.pop("muted", None), expect.pop("incidents", None)
    kinds = sorted({decision.muted.kind for _, decision in decided} - {""})
    if muted is not None and kinds != [kind for kind in [muted] if kind != "none"]:
        yield "muted", muted, ", ".join(kinds) or "none", test.alerts[-1]
    opened = sum(any(not decision.muted for decision in decisions) for decisions in groups.values())
    if incidents is not None and incidents != opened:
        yield "incidents", incidents, opened, None
    for key, decisions in groups.items():
        for name, wanted, actual in _differences(expect, _actual(ruleset, decisions, test)):
            yield name, wanted, actual, firsts[key]


def _judged(test: Expectation, ruleset: RuleSet) -> list[tuple[Alert, Decision]]:
    """Decide the alerts of a test, all of them firing at once."""
    sources = Sources(ruleset.policy.inhibitions)
    for alert in test.alerts:
        sources.add(alert.identity, alert.labels, alert.name)
    return [(alert, ruleset.judge(alert, test.at, sources)) for alert in test.alerts]


def _differences(expect: Mapping[str, Any], actual: Mapping[str, object]) -> Iterator[tuple[str, object, object]]:
    for key, given in expect.items():
        wanted = sorted(given or []) if key == "systems" else given
        if actual[key] != wanted:
            yield key, wanted, actual[key]


def _actual(ruleset: RuleSet, decisions: Sequence[Decision], test: Expectation) -> dict[str, object]:
    """Give what an incident of these decisions would be."""
    first = decisions[0]
    return {
        "severity": _severity(ruleset, decisions, test.open_for_s, test.at),
        "rule": first.rule,
        "runbook": first.runbook,
        "channel": first.channel,
        "matched_by": first.matched_by,
        "systems": sorted({system for decision in decisions for system in decision.systems}),
    }


def _severity(ruleset: RuleSet, decisions: Sequence[Decision], open_for_s: float, at: datetime) -> Severity:
    facts: dict[str, set[str]] = defaultdict(set)
    for decision in decisions:
        for label, value in decision.distinct:
            facts[label].add(value)
    worst = min(decision.severity for decision in decisions)
    return ruleset.raised(decisions[0].rule, worst, facts=facts, firing=len(decisions), open_for_s=open_for_s, at=at)


def _said(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
