"""What is allowed and yet wrong is found, with its place and its remedy."""

from pathlib import Path

import pytest

from responder.model import Severity
from responder.rules.lint import lint, lint_paths
from responder.rules.rule import Raise, Rule

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
    "a number in a label": (
        [rule("a", "x=1", raises=(Raise(P1, "value", 3, "label", "users"),))],
        "a new alert at each",
    ),
}


@pytest.mark.parametrize(("rules", "says"), FOUND.values(), ids=FOUND)
def test_what_is_wrong_is_found(rules: list[Rule], says: str) -> None:
    found = lint(rules)
    assert [finding.rule for finding in found] == [rules[-1].name]
    assert says in found[0].reason
    assert found[0].fix


GOOD = {
    "the narrow one first": [rule("a", "alertname=A", "x=1"), rule("b", "alertname=A")],
    "one that goes on": [rule("a", "alertname=A", goes_on=True), rule("b", "alertname=A")],
    "a label after one that goes on to labels": [
        rule("a", "alertname=A", goes_on=True, labels_only=True),
        rule("b", "severity=critical"),
    ],
    "only some words": [KNOWN, rule("b", 'alertname=~"ApiDown|Other"')],
    "other labels": [rule("a", "alertname=A", "x=1"), rule("b", "alertname=A", "y=1")],
    "a group that its matcher gives": [rule("a", "batch=~.+", group_by=("batch",))],
    "a label that may be missing": [rule("a", 'x=~"|a"', 'x!="a"')],
}


@pytest.mark.parametrize("rules", GOOD.values(), ids=GOOD)
def test_what_is_good_is_left_alone(rules: list[Rule]) -> None:
    assert lint(rules) == []


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
