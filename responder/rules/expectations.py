"""Runs expectation files: alerts in, and the decision that their author expects."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
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


def run(ruleset: RuleSet, path: Path) -> list[str]:
    """Run one file, or each file of a folder.

    Returns: a line per failure, with file and line; [] when all hold. A file that cannot be read is a failure.
    """
    files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES) if path.is_dir() else [path]
    return [failure for file in files for failure in _run_file(ruleset, file)]


def _run_file(ruleset: RuleSet, path: Path) -> Iterator[str]:
    errors: list[FileError] = []
    try:
        top = Fields(path, read_yaml(path), errors, what="an expectation file", line=1)
    except FileError as error:
        yield str(error)
        return
    top.known(("tests",))
    tests = top.found.get("tests")
    if not isinstance(tests, list):
        top.wrong("tests", "tests: must be a list of {name, alerts, expect}")
        tests = []
    for test in tests:
        fields = Fields(path, test, errors, what="a test", line=line_of(top.found, "tests"))
        before = len(errors)
        read = _read(fields)
        if len(errors) == before:
            where = f"{path}:{fields.line}: {fields.text('name')}"
            yield from (f"{where}: {miss}" for miss in _misses(ruleset, *read))
    yield from map(str, errors)


def _read(fields: Fields) -> tuple[list[Alert], dict[str, Any], float]:
    """Read one test. Returns: its alerts, what is expected, and how long the incident has been open."""
    fields.known(("name", "alerts", "expect", "open_for"))
    entries = fields.found.get("alerts")
    if not isinstance(entries, list) or not entries:
        fields.wrong("alerts", "alerts must be a list of {labels: {...}, annotations: {...}}")
        entries = []
    expect = Fields(fields.path, fields.found.get("expect"), fields.errors, what="expect", line=fields.line)
    expect.known(EXPECTED)
    if not expect.found:
        fields.wrong("expect", f"expect names nothing; known: {', '.join(EXPECTED)}")
    open_for_s = fields.duration_s("open_for", 0.0, least=0.0) or 0.0
    return [_alert(fields, entry) for entry in entries], expect.found, open_for_s


def _alert(fields: Fields, entry: Any) -> Alert:
    found = Fields(fields.path, entry, fields.errors, what="an alert", line=line_of(fields.found, "alerts"))
    found.known(("labels", "annotations"))
    labels, annotations = _texts(found, "labels"), _texts(found, "annotations")
    return Alert("test", identify("test", labels), labels, annotations, firing=True, received_at=_WHEN)


def _texts(alert: Fields, key: str) -> dict[str, str]:
    values = alert.found.get(key)
    if values is None:
        return {}
    fields = Fields(alert.path, values, alert.errors, what=key, line=alert.line)
    for name, value in fields.found.items():
        if isinstance(value, (dict, list, bool)):
            fields.wrong(name, f"{name} must be text; quote it")
    return {name: "" if value is None else str(value) for name, value in fields.found.items()}


def _misses(ruleset: RuleSet, alerts: Sequence[Alert], expect: dict[str, Any], open_for_s: float) -> Iterator[str]:
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
        severity = _severity(ruleset, decisions, open_for_s)
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


def _severity(ruleset: RuleSet, decisions: Sequence[Decision], open_for_s: float) -> Severity:
    facts: dict[str, set[str]] = defaultdict(set)
    for decision in decisions:
        for label, value in decision.distinct:
            facts[label].add(value)
    worst = min(decision.severity for decision in decisions)
    return ruleset.raised(decisions[0].rule, worst, facts=facts, firing=len(decisions), open_for_s=open_for_s)
