"""Expectation files say what the rules must do, and fail with file and line when they do not."""

from datetime import UTC
from pathlib import Path

import pytest

from responder.model import Severity
from responder.rules.calendar import Calendar
from responder.rules.classify import RuleSet
from responder.rules.expectations import read_tests
from responder.rules.inhibit import Inhibition
from responder.rules.matchers import parse
from responder.rules.policy import Policy
from responder.rules.rule import Raise

from .given import rule, write

P0, P1, P2, P3 = Severity
AT_WORK = Raise(P0, "open_for", 1800, in_hours=True)
RULES = RuleSet(
    [
        rule(
            "api",
            "alertname=ApiDown",
            runbook="outage",
            channel="#api",
            group_by=("cluster",),
            systems=("service",),
            raises=(Raise(P0, "distinct", 3, name="instance"), Raise(P1, "open_for", 1800), AT_WORK),
        )
    ],
    Policy(business_hours=Calendar(UTC, (0, 1, 2, 3, 4), 540, 1080)),
)
ONE = "tests:\n  - name: one\n    alerts: [{labels: {alertname: ApiDown, cluster: eu, service: shop, instance: a}}]\n"
THREE = """\
tests:
  - name: three
    alerts:
      - {labels: {alertname: ApiDown, cluster: eu, instance: 1}}
      - {labels: {alertname: ApiDown, cluster: eu, instance: 2}}
      - {labels: {alertname: ApiDown, cluster: eu, instance: 3}}
"""
ALL = "severity: P2, rule: api, runbook: outage, channel: '#api', matched_by: rule, systems: [shop], incidents: 1"
HELD = {
    "everything": ONE + f"    expect: {{{ALL}}}\n",
    "what grows": THREE + "    expect: {severity: P0, incidents: 1}\n",
    "what stays": ONE + "    open_for: 30m\n    expect: {severity: P1}\n",
    "at work": ONE + "    at: 2026-11-20T12:00:00+01:00\n    open_for: 30m\n    expect: {severity: P0}\n",
    "on a weekend": ONE + "    at: 2026-11-21T12:00:00+01:00\n    open_for: 30m\n    expect: {severity: P1}\n",
    "no tests": "tests: []\n",
}


def run(ruleset: RuleSet, path: Path) -> list[str]:
    tests, errors = read_tests([path])
    return [*(miss.text() for test in tests for miss in test.misses(ruleset)), *map(str, errors)]


@pytest.mark.parametrize("text", HELD.values(), ids=HELD)
def test_what_holds_says_nothing(text: str, tmp_path: Path) -> None:
    assert run(RULES, write(tmp_path / "a.yaml", text)) == []


FAILED = {
    "severity": (ONE + "    expect: {severity: P0}\n", 2, "one: severity P0 wanted, got P2"),
    "rule": (ONE + "    expect: {rule: backstop}\n", 2, "one: rule backstop wanted, got api"),
    "systems": (ONE + "    expect: {systems: []}\n", 2, "one: systems [] wanted, got ['shop']"),
    "incidents": (THREE.replace("eu, instance: 3", "us, instance: 3") + "    expect: {incidents: 1}\n", 2, "2 opened"),
    "unknown expectation": (ONE + "    expect: {severty: P0}\n", 4, "unknown key 'severty'"),
    "no expectation": (ONE, 2, "expect must be a mapping"),
    "no alerts": ("tests:\n  - {name: a, expect: {severity: P2}}\n", 2, "alerts must be a list"),
    "label that is no text": (
        ONE.replace("cluster: eu", "cluster: [eu]") + "    expect: {rule: api}\n",
        3,
        "must be text",
    ),
    "not a test": ("tests: [a]\n", 1, "a test must be a mapping"),
    "no tests": ("test: []\n", 1, "tests: must be a list"),
    "no time": (ONE + "    at: noon\n    expect: {severity: P2}\n", 4, "at must be a time"),
    "alias": ("tests: &a []\n", 1, "aliases"),
}


@pytest.mark.parametrize(("text", "line", "part"), FAILED.values(), ids=FAILED)
def test_what_does_not_hold_is_named_with_its_line(text: str, line: int, part: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.yaml", text)
    said = run(RULES, path)
    assert any(each.startswith(f"{path}:{line}: ") and part in each for each in said), said


def test_all_files_of_a_folder_are_run(tmp_path: Path) -> None:
    for name in "ab":
        write(tmp_path / f"{name}.yaml", ONE + "    expect: {severity: P0}\n")
    assert len(run(RULES, tmp_path)) == 2


MUTING = RuleSet(
    [rule("all", severity=P2)],
    Policy(inhibitions=(Inhibition("down", parse("alertname=NodeDown"), parse("alertname=Slow"), ("node",)),)),
)
TWO = "alerts: [{labels: {alertname: Slow, node: a}}, {labels: {alertname: NodeDown, node: %s}}]"


@pytest.mark.parametrize(
    ("node", "expect", "miss"),
    [
        ("a", "{muted: inhibition, incidents: 1}", ""),
        ("b", "{muted: none, incidents: 2}", ""),
        ("b", "{muted: inhibition}", "muted inhibition wanted, got none"),
        ("a", "{muted: none}", "muted none wanted, got inhibition"),
        ("a", "{incidents: 2}", "2 incidents wanted, 1 opened"),
    ],
)
def test_a_test_may_say_what_mutes_its_alerts(tmp_path: Path, node: str, expect: str, miss: str) -> None:
    write(tmp_path / "t.yaml", f"tests: [{{name: n, {TWO % node}, expect: {expect}}}]")
    found = run(MUTING, tmp_path)
    assert (miss in found[0]) if miss else found == []
