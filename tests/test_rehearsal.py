"""Sequences of alerts go through the real pipeline, and what comes otherwise is told with its step."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from responder.model import Severity
from responder.rehearsal import BEGAN, Report, World, rehearse, run_files
from responder.rules.classify import RuleSet
from responder.rules.expectations import read_expectations
from responder.rules.inhibit import Inhibition
from responder.rules.loader import load
from responder.rules.matchers import Matcher, parse
from responder.rules.policy import Policy
from responder.rules.rule import Raise
from responder.rules.suppress import Silence
from tests.given import alert

from .rules.given import SHIPPED, rule, rules, write

P0, P1, P2, P3 = Severity
RULES = rules(
    rule(
        "api",
        "alertname=ApiDown",
        group_by=("cluster",),
        systems=("service",),
        raises=(Raise(P0, "distinct", 3, name="instance"), Raise(P1, "open_for", 1800)),
    )
)
SHIPPED_RULES = load([SHIPPED])
SEQUENCES = read_expectations([SHIPPED / "tests"]).sequences
SHOP = "alertname: ApiDown, cluster: eu, service: shop"
A, B, C = (f"{{labels: {{{SHOP}, instance: {name}}}}}" for name in "abc")


def matchers(text: str) -> tuple[Matcher, ...]:
    return tuple(parse(text))


def ran(tmp_path: Path, *steps: str, ruleset: RuleSet = RULES) -> Report:
    text = "tests:\n  - name: it\n    steps:\n" + "".join(f"      - {{{step}}}\n" for step in steps)
    return run_files(ruleset, [write(tmp_path / "t.yaml", text)])


def said(report: Report) -> list[str]:
    return [*map(str, report.errors), *(miss.text() for miss in report.misses)]


HELD = {
    "it opens and pages once": [
        f"at: 0m, alerts: [{A}, {B}], expect: {{severity: P2, rule: api, incidents: 1, pages: 1}}",
    ],
    "it grows": [
        f"at: 0m, alerts: [{A}], expect: {{severity: P2, systems: [shop]}}",
        f"at: 1m, alerts: [{B}], expect: {{severity: P2, raised: false, pages: 0}}",
        f"at: 2m, alerts: [{C}], expect: {{severity: P0, raised: true, pages: 1}}",
    ],
    "time alone raises": [
        f"at: 0m, alerts: [{A}]",
        "at: 29m, expect: {severity: P2}",
        "at: 30m, expect: {severity: P1, raised: true, pages: 1}",
        "at: 31m, expect: {severity: P1, raised: false, pages: 0}",
    ],
    "it ends, holds, and fires again": [
        f"at: 0m, alerts: [{A}]",
        f"at: 5m, resolved: [{A}], expect: {{status: monitoring, pages: 0}}",
        "at: 9m59s, expect: {status: monitoring}",
        "at: 10m, expect: {status: resolved}",
        f"at: 20m, alerts: [{A}], expect: {{status: investigating, reopened: true, incidents: 1, pages: 1}}",
    ],
    "what resolved long ago opens a new one": [
        f"at: 0m, alerts: [{A}]",
        f"at: 1m, resolved: [{A}]",
        f"at: 2h, alerts: [{A}], expect: {{incidents: 2, pages: 1, reopened: false}}",
    ],
    "a repeat says nothing": [f"at: 0m, alerts: [{A}]", f"at: 4m, alerts: [{A}], expect: {{pages: 0, incidents: 1}}"],
    "the same alert twice in one step": [f"at: 0m, alerts: [{A}, {A}], expect: {{pages: 1, incidents: 1}}"],
    "one of two is looked at": [
        f"at: 0m, alerts: [{A}, {{labels: {{alertname: Other}}}}], expect: {{incidents: 2}}",
        "at: 1m, expect: {of: {alertname: Other}, rule: backstop, incidents: 1}",
    ],
}  # fmt: skip


@pytest.mark.parametrize("steps", HELD.values(), ids=HELD)
def test_what_holds_says_nothing(steps: list[str], tmp_path: Path) -> None:
    assert said(ran(tmp_path, *steps)) == []


FAILED = {
    "severity": (
        [f"at: 0m, alerts: [{A}]", "at: 10m, expect: {severity: P0}"],
        5,
        "step 2 at 10m: severity P0 wanted, got P2",
    ),
    "raised": ([f"at: 0m, alerts: [{A}], expect: {{raised: true}}"], 4, "step 1 at 0m: raised true wanted, got false"),
    "pages": ([f"at: 0m, alerts: [{A}], expect: {{pages: 2}}"], 4, "pages 2 wanted, got 1"),
    "incidents": ([f"at: 0m, alerts: [{A}], expect: {{incidents: 2}}"], 4, "2 incidents wanted, 1 opened"),
    "nobody": (["at: 0m, expect: {status: resolved}"], 4, "some incidents wanted, none opened"),
    "backwards": ([f"at: 9m, alerts: [{A}]", f"at: 8m, alerts: [{A}]"], 5, "steps go on in time"),
    "no time": ([f"alerts: [{A}]"], 4, "a step has no at"),
    "nothing": (["at: 5m"], 4, "a step must hold alerts, resolved or expect"),
    "unknown": ([f"at: 0m, alerts: [{A}], expect: {{page: 1}}"], 4, "unknown key 'page'"),
    "no status": ([f"at: 0m, alerts: [{A}], expect: {{status: over}}"], 4, "status 'over' can never be"),
}  # fmt: skip


@pytest.mark.parametrize(("steps", "line", "part"), FAILED.values(), ids=FAILED)
def test_what_does_not_hold_is_told_with_its_step(steps: list[str], line: int, part: str, tmp_path: Path) -> None:
    told = said(ran(tmp_path, *steps))
    assert any(each.startswith(f"{tmp_path / 't.yaml'}:{line}: ") and part in each for each in told), told


def test_a_failure_says_why_it_was_decided_so(tmp_path: Path) -> None:
    [miss] = ran(tmp_path, f"at: 0m, alerts: [{A}], expect: {{severity: P0}}").misses
    assert miss.because(RULES) == ["ApiDown is P2 by rule api: P2 by rule"]


def test_the_shipped_sequences_hold_and_cover_each_kind_of_raise() -> None:
    assert [miss.text() for sequence in SEQUENCES for miss in rehearse(SHIPPED_RULES, sequence)] == []
    named = {step.expect.get("rule") for sequence in SEQUENCES for step in sequence.steps}
    raising = [each for each in SHIPPED_RULES.rules if each.name in named and each.raises]
    assert len(raising) >= 3
    assert {condition.kind for each in raising for condition in each.raises} >= {"distinct", "open_for", "value"}


@pytest.mark.parametrize("name", ["api-down", "error-rate", "kube-node-not-ready", "crash-loop"])
def test_a_shipped_rule_that_no_longer_raises_is_noticed(name: str) -> None:
    calm = [replace(each, raises=()) if each.name == name else each for each in SHIPPED_RULES.rules]
    ruleset = RuleSet(calm, SHIPPED_RULES.policy)
    assert any(rehearse(ruleset, sequence) for sequence in SEQUENCES)


MUTING = RuleSet(
    [rule("all", severity=P2)],
    Policy(inhibitions=(Inhibition("down", parse("alertname=NodeDown"), parse("alertname=Slow"), ("node",)),)),
)
SLOW, DOWN = (f"{{labels: {{alertname: {name}, node: a}}}}" for name in ("Slow", "NodeDown"))


def test_what_is_inhibited_opens_nothing_until_its_source_has_ended(tmp_path: Path) -> None:
    report = ran(
        tmp_path,
        f"at: 0m, alerts: [{DOWN}], expect: {{incidents: 1, pages: 1}}",
        f"at: 1m, alerts: [{SLOW}], expect: {{incidents: 1, pages: 0}}",
        f"at: 2m, resolved: [{DOWN}]",
        "at: 3m, expect: {incidents: 2, pages: 1}",
        ruleset=MUTING,
    )
    assert said(report) == []


# --- what mutes, and when it is over ---

SILENT = RuleSet(
    RULES.rules, Policy(silences=(Silence(matchers("instance=a"), BEGAN + timedelta(minutes=10), "ada", "work"),))
)
INHIBITED = RuleSet(
    RULES.rules, Policy(inhibitions=(Inhibition("down", matchers("alertname=Down"), matchers("alertname=ApiDown")),))
)
BIG = "{labels: {alertname: Down}}"


def test_what_fires_on_after_a_silence_opens_when_the_silence_ends(tmp_path: Path) -> None:
    steps = (
        f"at: 0m, alerts: [{A}]",
        "at: 39m, expect: {severity: P2, raised: false}",
        "at: 40m, expect: {raised: true}",
    )
    assert said(ran(tmp_path, *steps, ruleset=SILENT)) == []


def test_what_was_inhibited_opens_right_after_what_muted_it_has_ended(tmp_path: Path) -> None:
    steps = (
        f"at: 0m, alerts: [{BIG}, {A}], expect: {{incidents: 1}}",
        f"at: 10m, resolved: [{BIG}]",
        f"at: 39m, expect: {{of: {{{SHOP}}}, severity: P2}}",
        f"at: 40m, expect: {{of: {{{SHOP}}}, severity: P1}}",
    )
    assert said(ran(tmp_path, *steps, ruleset=INHIBITED)) == []


def test_each_episode_has_a_number_of_its_own() -> None:
    world = World(RULES)
    one, other = (alert("ApiDown", instance=name) for name in "ab")
    for firing, each in ((True, one), (True, other), (False, one), (True, one), (False, other), (True, other)):
        world.pass_time(world.now + timedelta(minutes=2))
        world.send([replace(each, firing=firing)])
    assert len({each.id for each in world.episodes.values()}) == 2
    world.pass_time(world.now + timedelta(minutes=2))
    world.send([replace(other, firing=False)])
    assert [each.firing for each in world.episodes.values()] == [True, False]
