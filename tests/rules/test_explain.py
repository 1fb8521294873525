"""A person can see why: which rules were tried, and what came near."""

import json

from responder.model import Severity
from responder.rules.explain import MAX_TRIED
from responder.rules.rule import Raise, SeverityFrom

from .given import alert, rule, rules

P0, P1, P2, P3 = Severity
BY_LABEL = SeverityFrom("severity", {"critical": P1}, None)


def test_each_rule_tried_says_its_first_miss() -> None:
    ruleset = rules(rule("one", "env=prod", "a=x"), rule("two", "b=~y.*"), rule("three", "c!=z"), rule("four"))
    explained = ruleset.explain(alert(env="staging"))
    assert explained.decision.tried == (
        ("one", 'env="prod" wanted, env is "staging"'),
        ("two", 'b=~"y.*" wanted, b is missing'),
        ("three", None),
    )


def test_the_backstop_stands_last() -> None:
    assert rules(rule("one", "a=x")).explain(alert()).decision.tried[-1] == ("backstop", None)


def test_of_many_rules_the_first_and_the_match_are_shown() -> None:
    ruleset = rules(*(rule(f"r{at}", f"a=x{at}") for at in range(200)))
    explained = ruleset.explain(alert(a="x150"))
    assert len(explained.decision.tried) == MAX_TRIED
    assert explained.decision.tried[-1] == ("r150", None)
    assert "... 101 more rules that do not match" in explained.lines()


def test_the_nearest_miss_is_the_rule_with_the_fewest_misses() -> None:
    ruleset = rules(rule("far", "a=x", "b=y", "c=z"), rule("near", "a=x", "env=prod"), rule("strange", "q=w"))
    assert (
        ruleset.explain(alert(a="x", env="prd")).nearest == 'near would match but for env="prod" wanted, env is "prd"'
    )


def test_a_rule_that_meets_nothing_is_not_near() -> None:
    assert rules(rule("strange", "q=w"), rule("negative", "env!=dev", "q=w")).explain(alert(a="x")).nearest == ""


def test_a_long_or_hostile_value_is_shown_short_and_inert() -> None:
    (line, *_) = rules(rule("one", "a=x")).explain(alert(a="\x1b[31m<!channel>\u202e" + "y" * 10_000)).lines()
    assert line.isprintable()
    assert len(line) < 200


def test_the_source_of_the_severity_is_told() -> None:
    by_label = rules(rule("r", severity=BY_LABEL))
    assert by_label.explain(alert(severity="critical")).severity == 'severity="critical" is P1'
    assert (
        by_label.explain(alert(severity="odd")).severity
        == 'severity="odd" is not in the map and the rule has no else; P2'
    )
    assert by_label.explain(alert()).severity == "label severity is missing and the rule has no else; P2"
    raising = rules(rule("r", raises=(Raise(P1, "value", 25, "annotation", "users"),)))
    assert (
        raising.explain(alert({"users": "30"})).severity == "P2 by rule; raised: P1 when annotation users at least 25"
    )


def test_a_raise_by_a_later_rule_is_told() -> None:
    ruleset = rules(rule("first", "a=x", goes_on=True), rule("other", "a=y", severity=P0), rule("last", severity=P1))
    assert (
        ruleset.explain(alert(a="x")).severity == "P2 by rule; raised to P1 by rule last, which the match continues to"
    )


def test_an_incident_keeps_it_as_json() -> None:
    kept = rules(rule("one", "a=x")).explain(alert()).as_dict()
    assert json.loads(json.dumps(kept)) == kept
    assert kept["rule"] == "backstop"


def test_a_label_of_another_name_that_says_less_is_told() -> None:
    head = rule("head", "alertname=A", severity=SeverityFrom("severity", {"": P1}, P3), goes_on=True, labels_only=True)
    told = rules(head, rule("level", "level=info", severity=P3)).explain(alert(alertname="A", level="info")).severity
    assert "lowered to P3 by rule level, which the match continues to" in told
