"""A person can see why: which rules were tried, and what came near."""

import json
from dataclasses import replace
from datetime import UTC, timedelta

import pytest

from responder.model import Severity
from responder.rules.calendar import Calendar
from responder.rules.classify import RuleSet
from responder.rules.explain import MAX_TRIED
from responder.rules.inhibit import Inhibition
from responder.rules.matchers import parse
from responder.rules.policy import Policy
from responder.rules.quiet import QuietHours
from responder.rules.rule import Raise, Rule, SeverityFrom
from responder.rules.suppress import Silence

from .given import RECEIVED_AT, alert, rule, rules

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
    told = 'near would match but for env="prod" wanted, env is "beta"'
    assert ruleset.explain(alert(a="x", env="beta")).nearest == told


MISSPELT = {
    "a letter": (rule("r", "x=1", "env=prod"), {"x": "1", "env": "prd"}, '"prd" (1 letter from "prod")'),
    "two letters swapped": (rule("r", "x=1", "env=prod"), {"x": "1", "env": "pord"}, '(1 letter from "prod")'),
    "a word of several": (rule("r", "x=1", 'env=~"prod|live"'), {"x": "1", "env": "liv"}, '(1 letter from "live")'),
    "a part of a regex": (rule("r", 'alertname=~"Api(Down|Slow)"'), {"alertname": "ApiSlwo"}, 'from "ApiSlow")'),
    "upper case": (rule("r", "alertname=ApiDown"), {"alertname": "apidown"}, '("ApiDown" but for upper and lower'),
    "the label's name": (
        rule("r", "x=1", "environment=prod"),
        {"x": "1", "enviroment": "prod"},
        'a label "enviroment"',
    ),
    "nothing else met": (rule("r", "alertname=HighErrorRate"), {"alertname": "HighErorRate"}, "1 letter from"),
}


@pytest.mark.parametrize(("near", "labels", "says"), MISSPELT.values(), ids=MISSPELT)
def test_what_looks_misspelt_is_nearer_than_any_other(near: Rule, labels: dict[str, str], says: str) -> None:
    other = rule("other", *(f"{name}={value}" for name, value in labels.items()), "q=w")
    told = rules(other, near).explain(alert(**labels)).nearest
    assert told.startswith("r would match but for ")
    assert says in told


def test_a_short_or_distant_value_is_not_called_misspelt() -> None:
    ruleset = rules(rule("a", "x=ab"), rule("b", "alertname=HighErrorRate"))
    assert ruleset.explain(alert(x="ac", alertname="LowErrorRatio")).nearest == ""


def test_each_failing_condition_says_what_is_wanted_and_what_is_there() -> None:
    told = rules(rule("r", "a=x", "env=prod", "team=web", "q!=1")).explain(alert(a="x", env="test", q="1")).nearest
    assert told == (
        'r would match but for env="prod" wanted, env is "test" and team="web" wanted, team is missing'
        ' and q!="1" wanted, q is "1"'
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


def test_what_the_policy_does_is_told_for_the_time_of_receipt() -> None:
    """Whether an inhibition mutes depends on the others that fire: one alert can only say which could."""
    always = Calendar(UTC, from_minute=0, to_minute=1439)
    policy = Policy(
        silences=(Silence(parse("a=x"), RECEIVED_AT + timedelta(hours=1), "anna", "new disk"),),
        inhibitions=tuple(Inhibition(name, parse("b=y"), parse(f"a={to}")) for name, to in (("i", "x"), ("j", "z"))),
        quiet_hours=(QuietHours("nights", always, (P2,)),),
    )
    one = RuleSet([rule("r")], policy).explain(alert(a="x"))
    assert one.policy == (
        "muted: silenced until 2026-01-02 04:04 UTC by anna: new disk",
        "inhibition rules that could mute it: i",
        "quiet hours nights: nobody is mentioned or escalated until 2026-01-02 23:59 UTC",
    )
    assert one.lines()[1:4] == list(one.policy)
    assert one.as_dict()["policy"] == list(one.policy)
    assert RuleSet([rule("r")], policy).explain(alert(a="y", b="y")).policy[:-1] == ()
    later = replace(alert(a="x"), received_at=RECEIVED_AT + timedelta(hours=1))
    assert not RuleSet([rule("r")], policy).explain(later).policy[0].startswith("muted")


def test_a_heartbeat_says_that_it_opens_nothing() -> None:
    assert rules(rule("beat", heartbeat_s=600.0)).explain(alert()).policy == (
        "heartbeat: it opens no incident; its absence for 600 s does",
    )


def test_conditions_in_business_hours_are_told_in_words() -> None:
    texts = [
        Raise(P1, "time", 0, in_hours=True).text(),
        Raise(P1, "open_for", 60, in_hours=False).text(),
        Raise(P1, "count", 3).text(),
    ]
    assert texts == [
        "P1 when inside business hours",
        "P1 when open for 60 s and outside business hours",
        "P1 when at least 3 firing",
    ]


def test_a_label_of_another_name_that_says_less_is_told() -> None:
    head = rule("head", "alertname=A", severity=SeverityFrom("severity", {"": P1}, P3), goes_on=True, labels_only=True)
    told = rules(head, rule("level", "level=info", severity=P3)).explain(alert(alertname="A", level="info")).severity
    assert "lowered to P3 by rule level, which the match continues to" in told
