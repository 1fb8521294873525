"""Runs expectation files: alerts in, and the decision that their author expects."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from responder.errors import FileError
from responder.files import line_of, read_yaml
from responder.model import Alert, Decision, Severity, identify
from responder.rules.classify import RuleSet
from responder.rules.fields import Fields
from responder.rules.loader import SUFFIXES

EXPECTED = ("severity", "rule", "runbook", "channel", "matched_by", "systems", "incidents")
_WHEN = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Expectation:
    """One test as its author wrote it, read and sound."""

    where: str  # path:line: name
    alerts: tuple[Alert, ...]
    expect: Mapping[str, Any]
    open_for_s: float
    at: datetime = _WHEN

    def misses(self, ruleset: RuleSet) -> list[str]:
        """Say what the rules do otherwise; [] when it holds."""
        found = _misses(ruleset, self.alerts, dict(self.expect), self.open_for_s, self.at)
        return [f"{self.where}: {miss}" for miss in found]


def run(ruleset: RuleSet, path: Path) -> list[str]:
    """Run one file, or each file of a folder.

    Returns: a line per failure, with file and line; [] when all hold. A file that cannot be read is a failure.
    """
    return run_files(ruleset, [path])[1]


def run_files(ruleset: RuleSet, paths: Sequence[Path]) -> tuple[int, list[str]]:
    """Run files and folders. Returns: how many tests ran, and a line per failure."""
    tests, errors = read_tests(paths)
    return len(tests), [*(miss for test in tests for miss in test.misses(ruleset)), *map(str, errors)]


def read_tests(paths: Sequence[Path]) -> tuple[list[Expectation], list[FileError]]:
    """Read expectation files, and those of folders. Returns: the tests, and what is wrong with the others."""
    tests: list[Expectation] = []
    errors: list[FileError] = []
    for path in paths:
        files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES) if path.is_dir() else [path]
        for file in files:
            tests += _read_file(file, errors)
    return tests, errors


def _read_file(path: Path, errors: list[FileError]) -> Iterator[Expectation]:
    try:
        top = Fields(path, read_yaml(path), errors, what="an expectation file", line=1)
    except FileError as error:
        errors.append(error)
        return
    top.known(("tests",))
    tests = top.found.get("tests")
    if not isinstance(tests, list):
        top.wrong("tests", "tests: must be a list of {name, alerts, expect}")
        tests = []
    for test in tests:
        fields = Fields(path, test, errors, what="a test", line=line_of(top.found, "tests"))
        before = len(errors)
        alerts, expect, open_for_s, at = _read(fields)
        if len(errors) == before:
            yield Expectation(f"{path}:{fields.line}: {fields.text('name')}", tuple(alerts), expect, open_for_s, at)


def _read(fields: Fields) -> tuple[list[Alert], dict[str, Any], float, datetime]:
    """Read one test. Returns: its alerts, what is expected, how long the incident has been open, and the time."""
    fields.known(("name", "alerts", "expect", "open_for", "at"))
    entries = fields.found.get("alerts")
    if not isinstance(entries, list) or not entries:
        fields.wrong("alerts", "alerts must be a list of {labels: {...}, annotations: {...}}")
        entries = []
    expect = Fields(fields.path, fields.found.get("expect"), fields.errors, what="expect", line=fields.line)
    expect.known(EXPECTED)
    if not expect.found:
        fields.wrong("expect", f"expect names nothing; known: {', '.join(EXPECTED)}")
    open_for_s = fields.duration_s("open_for", 0.0, least=0.0) or 0.0
    at = fields.time("at") or _WHEN
    return [_alert(fields, entry, at) for entry in entries], expect.found, open_for_s, at


def _alert(fields: Fields, entry: Any, at: datetime) -> Alert:
    found = Fields(fields.path, entry, fields.errors, what="an alert", line=line_of(fields.found, "alerts"))
    found.known(("labels", "annotations"))
    labels, annotations = _texts(found, "labels"), _texts(found, "annotations")
    return Alert("test", identify("test", labels), labels, annotations, firing=True, received_at=at)


def _texts(alert: Fields, key: str) -> dict[str, str]:
    values = alert.found.get(key)
    if values is None:
        return {}
    fields = Fields(alert.path, values, alert.errors, what=key, line=alert.line)
    for name, value in fields.found.items():
        if isinstance(value, (dict, list, bool)):
            fields.wrong(name, f"{name} must be text; quote it")
    return {name: "" if value is None else str(value) for name, value in fields.found.items()}


def _misses(
    ruleset: RuleSet, alerts: Sequence[Alert], expect: dict[str, Any], open_for_s: float, at: datetime
) -> Iterator[str]:
    """Compare each incident that the alerts would open."""
    groups: dict[str, list[Decision]] = defaultdict(list)
    for alert in alerts:
        decision = ruleset.classify(alert)
        groups[decision.group_key].append(decision)
    wanted = dict(expect)
    incidents = wanted.pop("incidents", None)
    if incidents is not None and incidents != len(groups):
        yield f"{incidents} incidents wanted, {len(groups)} opened"
    for decisions in groups.values():
        first = decisions[0]
        severity = _severity(ruleset, decisions, open_for_s, at)
        actual: dict[str, object] = {
            "severity": severity,
            "rule": first.rule,
            "runbook": first.runbook,
            "channel": first.channel,
        }
        actual |= {"matched_by": first.matched_by}
        if "systems" in wanted:
            actual["systems"] = sorted({system for decision in decisions for system in decision.systems})
            wanted["systems"] = sorted(wanted["systems"] or [])
        yield from (f"{key} {value} wanted, got {actual[key]}" for key, value in wanted.items() if actual[key] != value)


def _severity(ruleset: RuleSet, decisions: Sequence[Decision], open_for_s: float, at: datetime) -> Severity:
    facts: dict[str, set[str]] = defaultdict(set)
    for decision in decisions:
        for label, value in decision.distinct:
            facts[label].add(value)
    worst = min(decision.severity for decision in decisions)
    return ruleset.raised(decisions[0].rule, worst, facts=facts, firing=len(decisions), open_for_s=open_for_s, at=at)
