"""What is allowed and yet wrong is found, with its place and its remedy."""

from pathlib import Path

import pytest

from responder.model import Severity
from responder.rules.classify import RuleSet
from responder.rules.expectations import Expectations
from responder.rules.lint import Finding, lint, lint_paths, lint_set
from responder.rules.policy import Policy, SeverityPolicy
from responder.rules.rule import Raise, Rule, SeverityFrom

from .given import SHIPPED, rule, write

P0, P1, P2, P3 = Severity
KNOWN = rule("known", 'alertname=~"Api.*"')
FOUND: dict[str, tuple[list[Rule], str]] = {
    "the same again": ([rule("a", "x=1", "alertname=A"), rule("b", "alertname=A", "x=1")], "never reached"),
    "more narrow": ([rule("a", "alertname=A"), rule("b", "alertname=A", "x=1")], "never reached: rule 'a'"),
    "a word of a regex": ([KNOWN, rule("b", "alertname=ApiDown")], "never reached: rule 'known'"),
    "words of a regex": ([KNOWN, rule("b", 'alertname=~"ApiDown|ApiSlow"')], "never reached"),
    "after everything": ([rule("a"), rule("b", "x=1")], "never reached"),
    "a name after one that goes on to labels": (
        [rule("a", "alertname=A", goes_on=True, labels_only=True), rule("b", "alertname=A", "x=1")],
        "never reached",
    ),
    "two values": ([rule("a", "alertname=A", "alertname=B")], "can never be met"),
    "none of the words": ([rule("a", 'x=~"a|b"', 'x!~"a|b|c"')], "can never be met"),
    "nothing is left": ([rule("a", 'x!~".*"')], "can never be met"),
    "the same wanted and refused": ([rule("a", 'x=~"a.+"', 'x!~"a.+"')], "can never be met"),
    "a regex as a text": ([rule("a", 'alertname="Api.*"')], "letter by letter"),
    "one group for all": ([rule("a", "alertname=A", group_by=())], "group_by is empty"),
    "a group by what is missing": ([rule("a", 'zone=""', group_by=("zone", "alertname"))], "wants missing"),
    "a group by what may be missing": ([rule("a", "alertname=A", group_by=("batch",))], "may lack"),
    "a family in a family": ([KNOWN, rule("b", 'alertname=~"Api(Down|Slow).*"', "env=prod")], "never reached"),
    "whatever it rules out": (
        [rule("a", "alertname=A", 'env!~"dev|test"'), rule("b", "alertname=A", 'env=~"prod.*"')],
        "never reached: rule 'a'",
    ),
    "word by word": (
        [rule("a", "alertname=A"), rule("b", "alertname=B"), rule("c", 'alertname=~"A|B"')],
        "never reached: rules 'a' (:0), 'b' (:0) take",
    ),
    "some words": ([KNOWN, rule("b", 'alertname=~"ApiDown|Other"')], 'alertname "ApiDown" never come here'),
    "a family without what it is": ([rule("a", 'x=~"ab.+"', 'x!~"a.*"')], "can never be met"),
    "two families": ([rule("a", 'x=~"Api.*"', 'x=~"Db.*"')], "can never be met"),
    "an alert without a name": ([rule("a", 'alertname=""', "x=1")], "alertname is never empty"),
    "a label that is not sent": ([rule("a", "__address__=~.+")], "never there"),
    "an annotation": ([rule("a", 'summary=~".*down.*"')], "matchers see labels only"),
    "a group by pod": ([rule("a", "alertname=A", group_by=("namespace", "pod"))], "each restart is a new incident"),
    "a raise by what it groups by": (
        [rule("a", "x=1", group_by=("node",), raises=(Raise(P1, "distinct", 3, name="node"),))],
        "an incident has one node",
    ),
    "a raise by more than it lets in": (
        [rule("a", 'az=~"a|b"', raises=(Raise(P1, "distinct", 3, name="az"),))],
        "allows 2 az only",
    ),
    "a raise beyond what is counted": (
        [rule("a", "x=1", raises=(Raise(P1, "distinct", 300, name="n"),))],
        "256 values",
    ),
    "a raise behind a worse one": (
        [rule("a", "x=1", raises=(Raise(P0, "count", 5), Raise(P1, "count", 10)))],
        "is met before it",
    ),
    "a raise to what it is": (
        [rule("a", "x=1", severity=SeverityFrom("s", {"c": P1}, P2), raises=(Raise(P2, "count", 5),))],
        "gives P2 or worse by itself",
    ),
    "a raise at once": ([rule("a", "x=1", raises=(Raise(P1, "count", 1),))], "met by its first alert"),
    "a sender that never says resolved": ([rule("a", 'source="sentry"')], "stays open until a person"),
    "what always fires": ([rule("a", 'alertname=~"Watch.*"')], "takes Watchdog, which always fires"),
    "a number in a label": (
        [rule("a", "x=1", raises=(Raise(P1, "value", 3, "label", "users"),))],
        "a new alert at each",
    ),
}


def looked_at(rules: list[Rule], says: str = "") -> list[Finding]:
    """Give what is found; a rule for no name takes what always fires, which most tables here do not ask about."""
    return [finding for finding in lint(rules) if finding.code != "always-firing" or "always" in says]


@pytest.mark.parametrize(("rules", "says"), FOUND.values(), ids=FOUND)
def test_what_is_wrong_is_found(rules: list[Rule], says: str) -> None:
    [found] = [finding for finding in looked_at(rules, says) if says in finding.reason]
    assert found.rule == rules[-1].name
    assert found.fix


GOOD = {
    "the narrow one first": [rule("a", "alertname=A", "x=1"), rule("b", "alertname=A")],
    "one that goes on": [rule("a", "alertname=A", goes_on=True), rule("b", "alertname=A")],
    "a label after one that goes on to labels": [
        rule("a", "alertname=A", goes_on=True, labels_only=True),
        rule("b", "severity=critical"),
    ],
    "a narrower one, then the family": [rule("b", 'alertname=~"Api(Down|Slow).*"'), KNOWN],
    "a family that only overlaps": [KNOWN, rule("b", 'alertname=~".*Down"')],
    "a family that leaves capitals out": [KNOWN, rule("b", 'alertname=~"(?i)api.*"')],
    "an environment that is not ruled out": [
        rule("a", "x=1", "env!=dev"),
        rule("b", "x=1", 'env=~"d.*"'),
        rule("c", "x=1"),
    ],
    "what fires always as a P3": [rule("a", 'alertname=~"Watchdog|.*Switch|.*Snitch|InfoInhibitor"', severity=P3)],
    "two raises, the worse one later": [rule("a", "x=1", raises=(Raise(P0, "count", 9), Raise(P1, "count", 5)))],
    "a raise of some labels": [
        rule("a", "x=1", severity=SeverityFrom("s", {"c": P1}, P3), raises=(Raise(P2, "count", 5),)),
    ],
    "other labels": [rule("a", "alertname=A", "x=1"), rule("b", "alertname=A", "y=1")],
    "a group that its matcher gives": [rule("a", "batch=~.+", group_by=("batch",))],
    "a label that may be missing": [rule("a", 'x=~"|a"', 'x!="a"')],
}


@pytest.mark.parametrize("rules", GOOD.values(), ids=GOOD)
def test_what_is_good_is_left_alone(rules: list[Rule]) -> None:
    assert looked_at(rules) == []


def test_files_are_looked_at_with_what_they_name(tmp_path: Path) -> None:
    two = "  - {name: a, severity: P2, runbook: nowhere, match: [x=1]}\n  - {name: a, severity: P2, match: [y=1]}\n"
    text = f"rules:\n{two}"
    path = write(tmp_path / "r.yaml", text)
    found = lint_paths([path], runbooks={"default": 1}, chains={}, shipped=SHIPPED)
    assert [(each.line, each.reason.split(";")[0]) for each in found] == [
        (2, "there is no runbook 'nowhere'"),
        (3, "rule 'a' stands twice"),
    ]
    good = write(tmp_path / "g.yaml", "rules: [{name: a, severity: P2, match: [x=1]}]\n")
    [finding, *_] = lint_paths([good], runbooks={"default": 1}, chains={}, shipped=SHIPPED)
    assert "chain" in finding.reason


# --- with a policy and expectations ---


def codes(ruleset: RuleSet, expectations: Expectations | None = None) -> list[tuple[str, str]]:
    found = lint_set(ruleset, expectations or Expectations())
    return [(each.rule, each.code) for each in found if each.level != "note" and each.code != "always-firing"]


def test_a_channel_that_is_not_listed_is_unknown() -> None:
    given = [rule("a", "x=1", channel="#ops"), rule("b", "x=2", channel="#opps")]
    assert codes(RuleSet(given, Policy(channels=("#ops",)))) == [("b", "unknown-channel")]


def test_a_channel_that_is_nearly_another_is_noticed_where_none_are_listed() -> None:
    names = ("#payments", "#payments", "#paymnets", "#Payments", "#team-a", "#team-b", "#shop-1", "#shop-2")
    given = [rule(f"r{n}", f"x={n}", channel=name) for n, name in enumerate(names)]
    assert codes(RuleSet(given)) == [("r2", "lookalike-channel"), ("r3", "bad-channel")]


@pytest.mark.parametrize(
    ("giving", "found"),
    [
        (rule("a", "x=1", severity=P0), True),
        (rule("a", "x=1", severity=SeverityFrom("s", {"c": P0}, P2)), True),
        (rule("a", "x=1", raises=(Raise(P0, "count", 9),)), True),
        (rule("a", "x=1", severity=P1), False),
    ],
    ids=["by rule", "by map", "by raise", "not at all"],
)
def test_a_p0_without_a_second_road_is_noticed(giving: Rule, found: bool) -> None:
    assert codes(RuleSet([giving])) == ([("a", "no-road")] if found else [])
    assert codes(RuleSet([giving], Policy({P0: SeverityPolicy(roads=("pager",))}))) == []


def test_expectations_and_rules_must_know_each_other(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", "rules:\n- {name: a, severity: P2, match: [alertname=A]}\n- {name: b, severity: P2, "
          "match: [alertname=B], runbook: r}\n")  # fmt: skip
    write(tmp_path / "tests" / "a.yaml", "tests:\n- {name: t, alerts: [{labels: {alertname: A}}], expect: {rule: a}}\n"
          "- {name: u, alerts: [{labels: {alertname: A}}], expect: {rule: gone}}\n")  # fmt: skip
    found = lint_paths(
        [tmp_path], runbooks={"r": 1, "default": 1}, chains={"outage", "degraded", "minor"}, shipped=SHIPPED
    )
    assert [(each.line, each.rule, each.code, each.level) for each in found] == [
        (2, "a", "default-runbook", "note"),
        (3, "b", "no-expectation", "note"),
        (3, "gone", "unknown-rule", "error"),
    ]


def test_a_map_whose_words_differ_only_in_case_is_refused(tmp_path: Path) -> None:
    text = "rules: [{name: a, severity: {from_label: s, map: {Critical: P1, critical: P2}}, match: [x=1]}]\n"
    found = lint_paths([write(tmp_path / "a.yaml", text)], runbooks={"default": 1}, chains={}, shipped=SHIPPED)
    assert any("upper and lower case count as one" in each.fix for each in found)


def test_a_rule_that_matches_nothing_is_not_called_taken_as_well() -> None:
    given = [rule(name, "a=x", "a=y") for name in ("n1", "n2")]
    assert codes(RuleSet(given)) == [("n1", "contradiction"), ("n2", "contradiction")]


def test_an_unknown_chain_is_named_with_its_line(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", "rules: [{name: a, match: a=b, severity: P2}]")
    write(tmp_path / "policy.yaml", "severities:\n  P1:\n    chain: gone\n")
    found = lint_paths([tmp_path], runbooks={"default": 1}, chains={"outage", "degraded", "minor"}, shipped=tmp_path)
    assert [(each.line, each.reason) for each in found if each.code == "unknown-chain"] == [
        (3, "P1: there is no chain 'gone'")
    ]
