"""The first rule that matches decides; what follows may only raise."""

import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from responder.model import Alert, Severity
from responder.rules.calendar import Calendar
from responder.rules.classify import MAX_KEY_CHARS, RuleSet, page_everything
from responder.rules.policy import DEFAULTS, Policy, SeverityPolicy
from responder.rules.rule import Raise, Rule, SeverityFrom, number_in

from .given import RECEIVED_AT, alert, rule, rules

P0, P1, P2, P3 = Severity
BY_LABEL = SeverityFrom("severity", {"critical": P1, "info": P3}, None)
TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
NAMES = st.sampled_from(["alertname", "env", "service", "severity", "x"])
VALUES = st.sampled_from(["", "a", "b", "prod", "Api", "Api.+", "a|b", "(?i)A|b", ".*", "critical"])
MATCHES = st.lists(st.tuples(NAMES, st.sampled_from(["=", "!=", "=~", "!~"]), VALUES), max_size=3)


def test_the_first_rule_that_matches_decides() -> None:
    ruleset = rules(rule("one", "a=x"), rule("two", "a=y", severity=P1), rule("three", "a=~.*", severity=P0))
    decision = ruleset.classify(alert(alertname="A", a="y"))
    assert (decision.rule, decision.severity, decision.matched_by) == ("two", P1, "rule")


def test_all_matchers_of_a_rule_must_match() -> None:
    assert rules(rule("both", "a=x", "b=y")).classify(alert(a="x", b="z")).rule == "backstop"


def test_what_no_rule_matches_falls_to_the_backstop() -> None:
    decision = rules(rule("one", "a=x")).classify(alert(alertname="Odd", cluster="eu1"))
    assert (decision.rule, decision.severity, decision.matched_by, decision.runbook) == (
        "backstop",
        P2,
        "backstop",
        "default",
    )
    assert decision.group_key == '["backstop",["alertname","Odd"]]'


def test_no_rules_at_all_still_page() -> None:
    assert rules().classify(alert()).severity is P2


CONTINUED = {
    "raised by the next": (P2, [("more", P1, False)], P1, ("#more",)),
    "never lowered": (P1, [("more", P3, False)], P1, ("#more",)),
    "on to the one after": (P3, [("more", P2, True), ("last", P1, False)], P1, ("#more", "#last")),
    "not beyond one that ends": (P3, [("more", P2, False), ("last", P0, False)], P2, ("#more",)),
    "own channel named once": (P2, [("own", P2, True), ("more", P2, True), ("more", P2, True)], P2, ("#more",)),
    "nothing follows": (P2, [], P2, ()),
}


@pytest.mark.parametrize(("first", "later", "severity", "channels"), CONTINUED.values(), ids=CONTINUED)
def test_with_continue_later_rules_only_raise_and_add_channels(
    first: Severity, later: list[tuple[str, Severity, bool]], severity: Severity, channels: tuple[str, ...]
) -> None:
    head = rule("head", "a=x", severity=first, channel="#own", goes_on=True, runbook="mine")
    tail = [
        rule(f"{name}{at}", "a=~x|y", severity=given, channel=f"#{name}", goes_on=goes_on, runbook="other")
        for at, (name, given, goes_on) in enumerate(later)
    ]
    decision = rules(head, *tail).classify(alert(a="x"))
    assert (decision.rule, decision.runbook, decision.channel) == ("head", "mine", "#own")
    assert (decision.severity, decision.extra_channels) == (severity, channels)


def test_continue_labels_goes_on_only_to_rules_that_know_no_name() -> None:
    ruleset = rules(
        rule("head", "alertname=A", severity=P3, goes_on=True, labels_only=True),
        rule("family", 'alertname=~"A|B"', severity=P0, channel="#family"),
        rule("place", "env=prod", severity=P0),
        rule("label", "severity=critical", severity=P1, channel="#label"),
    )
    decision = ruleset.classify(alert(alertname="A", severity="critical", env="prod"))
    assert (decision.rule, decision.severity, decision.extra_channels) == ("head", P1, ("#label",))
    assert ruleset.classify(alert(alertname="A", env="prod")).severity is P3
    told = ruleset.explain(alert(alertname="A", severity="critical", env="prod")).severity
    assert "raised to P1 by rule label" in told


SPOKEN = {
    "no label": ({}, P1),
    "its own label": ({"severity": "critical"}, P1),
    "another label that can wait": ({"level": "info"}, P3),
    "another label of the middle": ({"level": "warning"}, P2),
    "another label that pages": ({"level": "page"}, P1),
    "its own label beats the other": ({"severity": "critical", "level": "info"}, P1),
    "a page beside it is not outvoted": ({"pager": "pagerduty", "level": "info"}, P1),
}


@pytest.mark.parametrize(("labels", "severity"), SPOKEN.values(), ids=SPOKEN)
def test_a_severity_for_no_label_gives_way_to_a_label_of_another_name(
    labels: dict[str, str], severity: Severity
) -> None:
    by_level = SeverityFrom("level", {"page": P1, "info": P3}, P2)
    ruleset = rules(
        rule("head", "alertname=A", severity=SeverityFrom("severity", {"": P1}, P3), goes_on=True, labels_only=True),
        rule("pager", "pager=pagerduty", severity=P1, goes_on=True),
        rule("severity", "severity=critical", severity=P1),
        rule("level", "level=~.+", severity=by_level),
    )
    assert ruleset.classify(alert(alertname="A", **labels)).severity is severity


def test_what_another_label_says_of_a_known_name_only_raises_an_outage() -> None:
    head = SeverityFrom("severity", {"": P0}, P3)
    ruleset = rules(
        rule("head", "alertname=A", severity=head, goes_on=True, labels_only=True),
        rule("top", "level=page", severity=P1),
    )
    assert ruleset.classify(alert(alertname="A", level="page")).severity is P0


def test_a_raise_stands_beside_a_label_of_another_name() -> None:
    raised = Raise(P1, "value", 25, "annotation", "users")
    head = rule(
        "head",
        "alertname=A",
        severity=SeverityFrom("severity", {"": P2}, P3),
        raises=(raised,),
        goes_on=True,
        labels_only=True,
    )
    ruleset = rules(head, rule("level", "level=info", severity=P3))
    assert ruleset.classify(alert({"users": "30"}, alertname="A", level="info")).severity is P1
    assert ruleset.classify(alert({"users": "3"}, alertname="A", level="info")).severity is P3


FROM_LABEL = {
    "mapped": ("critical", None, P1),
    "case and space do not count": (" CRITICAL ", None, P1),
    "unmapped": ("odd", None, P2),
    "missing": ("", None, P2),
    "unmapped with else": ("odd", P3, P3),
    "missing with else": ("", P0, P0),
}


@pytest.mark.parametrize(("value", "otherwise", "wanted"), FROM_LABEL.values(), ids=FROM_LABEL)
def test_a_severity_may_come_from_a_label(value: str, otherwise: Severity | None, wanted: Severity) -> None:
    source = SeverityFrom("severity", BY_LABEL.map, otherwise)
    assert rules(rule("all", severity=source)).classify(alert(severity=value)).severity is wanted


MATCHED_BY = {
    "knows the alert": (rule("r", 'alertname="Api"'), "rule"),
    "knows the family": (rule("r", 'alertname=~"Api.*"', severity=BY_LABEL), "rule"),
    "any name is no knowledge": (rule("r", 'alertname=~".+"', severity=BY_LABEL), "label"),
    "nor is all but one": (rule("r", 'alertname!="X"', "severity=critical"), "rule"),
    "severity from a label": (rule("r", "service=x", severity=BY_LABEL), "label"),
    "severity label alone": (rule("r", "severity=critical", severity=P1), "label"),
    "priority label alone": (rule("r", "priority=P1", severity=P1), "label"),
    "knows the service": (rule("r", "service=x", "severity=critical", severity=P1), "rule"),
    "takes everything": (rule("r"), "backstop"),
}


@pytest.mark.parametrize(("given_rule", "wanted"), MATCHED_BY.values(), ids=MATCHED_BY)
def test_matched_by_says_how_well_a_rule_knows_the_alert(given_rule: Rule, wanted: str) -> None:
    assert given_rule.matched_by == wanted


GROUPS = {
    "complete": (("cluster", "service"), {"cluster": "eu1", "service": "a"}, [["cluster", "eu1"], ["service", "a"]]),
    "one missing": (("cluster", "x"), {"cluster": "eu1"}, [["cluster", "eu1"], ["x", ""], ["alertname", "A"]]),
    "one empty": (("x",), {"x": ""}, [["x", ""], ["alertname", "A"]]),
    "alertname stands once": (("alertname", "x"), {}, [["alertname", "A"], ["x", ""]]),
    "all in one": ((), {"cluster": "eu1"}, []),
}


@pytest.mark.parametrize(("group_by", "labels", "wanted"), GROUPS.values(), ids=GROUPS)
def test_the_group_key_is_the_rule_and_the_values(
    group_by: tuple[str, ...], labels: dict[str, str], wanted: list[list[str]]
) -> None:
    decision = rules(rule("r", group_by=group_by)).classify(alert(alertname="A", **labels))
    assert json.loads(decision.group_key) == ["r", *wanted]


@given(TEXT, TEXT, TEXT, TEXT)
def test_no_two_groups_share_a_key(a: str, b: str, c: str, d: str) -> None:
    ruleset = rules(rule("r", group_by=("a", "b")))
    one, other = (ruleset.classify(alert(alertname="A", a=x, b=y)).group_key for x, y in ((a, b), (c, d)))
    assert (one == other) is ((a, b) == (c, d))


def test_a_group_key_stays_short() -> None:
    ruleset = rules(rule("r", group_by=("a",)))
    one, other = (ruleset.classify(alert(a="x" * 100_000 + end)).group_key for end in "yz")
    assert len(one) < MAX_KEY_CHARS
    assert one != other


def test_systems_are_the_labels_that_are_there_each_once() -> None:
    decision = rules(rule("r", systems=("service", "app", "job"))).classify(alert(service="a", app="a", job="b", x="c"))
    assert decision.systems == ("a", "b")


def test_the_policy_gives_what_the_rule_leaves_out() -> None:
    policy = Policy({**DEFAULTS, P1: SeverityPolicy(channel="#p1", runbook="p1")})
    ruleset = RuleSet(
        [rule("own", "a=x", severity=P1, channel="#own", runbook="own"), rule("none", severity=P1)], policy
    )
    own, none = ruleset.classify(alert(a="x")), ruleset.classify(alert())
    assert (own.channel, own.runbook) == ("#own", "own")
    assert (none.channel, none.runbook) == ("#p1", "p1")


VALUE_RAISES = {
    "reached": ("25", P1),
    "not reached": ("24.9", P2),
    "percent sign": ("25.1%", P1),
    "the higher one": ("9e1", P0),
    "thousands": ("1.2k", P0),
    "infinite": ("+Inf", P0),
    "not a number": ("many", P2),
    "NaN": ("NaN", P2),
    "negative": ("-30", P2),
    "nothing": ("", P2),
    "endless": ("9" * 5000, P2),
}


@pytest.mark.parametrize(("value", "wanted"), VALUE_RAISES.values(), ids=VALUE_RAISES)
def test_a_value_raises_the_alert_that_carries_it(value: str, wanted: Severity) -> None:
    raises = (Raise(P1, "value", 25, "annotation", "users"), Raise(P0, "value", 90, "annotation", "users"))
    assert rules(rule("r", raises=raises)).classify(alert({"users": value})).severity is wanted


def test_a_value_may_stand_in_a_label() -> None:
    raises = (Raise(P1, "value", 3, "label", "count"),)
    assert rules(rule("r", raises=raises)).classify(alert(count="3")).severity is P1


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_number_is_read_as_alerts_write_it(number: float) -> None:
    assert number_in(repr(number)) == number


GROWN = {
    "few": (P2, 4, 1, 0, P2),
    "many distinct": (P2, 5, 1, 0, P0),
    "many firing": (P2, 1, 10, 0, P1),
    "open for long": (P2, 1, 1, 1800, P1),
    "not yet": (P2, 1, 1, 1799.9, P2),
    "never lower": (P0, 1, 10, 1800, P0),
    "the worst counts": (P3, 5, 10, 1800, P0),
}
GROWING = rule(
    "r", raises=(Raise(P0, "distinct", 5, name="instance"), Raise(P1, "count", 10), Raise(P1, "open_for", 1800))
)


@pytest.mark.parametrize(("severity", "instances", "firing", "open_for_s", "wanted"), GROWN.values(), ids=GROWN)
def test_an_incident_that_grows_is_raised(
    severity: Severity, instances: int, firing: int, open_for_s: float, wanted: Severity
) -> None:
    facts = {"instance": [str(at) for at in range(instances)]}
    ruleset = rules(GROWING)
    assert ruleset.raised("r", severity, facts=facts, firing=firing, open_for_s=open_for_s, at=RECEIVED_AT) is wanted


def test_a_rule_that_is_gone_raises_nothing() -> None:
    ruleset = rules(GROWING)
    assert ruleset.raised("gone", P3, facts={}, firing=99, open_for_s=1e9, at=RECEIVED_AT) is P3
    assert ruleset.next_raise_s("gone", P3, opened_at=RECEIVED_AT, at=RECEIVED_AT) is None


@pytest.mark.parametrize(("severity", "wanted"), [(P3, 1800), (P2, 1800), (P1, None), (P0, None)])
def test_the_next_raise_by_time_is_known(severity: Severity, wanted: float | None) -> None:
    assert rules(GROWING).next_raise_s("r", severity, opened_at=RECEIVED_AT, at=RECEIVED_AT) == wanted


OFFICE = Policy(business_hours=Calendar(UTC, (0, 1, 2, 3, 4), 9 * 60, 18 * 60))
FRIDAY = datetime(2026, 11, 20, tzinfo=UTC)


def hour(number: float) -> datetime:
    """Give a time counted from Friday's midnight: 24 and more is the weekend, 72 is Monday."""
    return FRIDAY + timedelta(hours=number)


IN_TIME = {
    "alone, inside": (Raise(P1, "time", 0, in_hours=True), 10, 0, 0, P1),
    "alone, outside": (Raise(P1, "time", 0, in_hours=True), 20, 0, 0, P2),
    "outside wanted, outside": (Raise(P1, "time", 0, in_hours=False), 20, 0, 0, P1),
    "outside wanted, inside": (Raise(P1, "time", 0, in_hours=False), 10, 0, 0, P2),
    "both": (Raise(P1, "count", 3, in_hours=True), 10, 3, 0, P1),
    "only the number": (Raise(P1, "count", 3, in_hours=True), 20, 3, 0, P2),
    "only the time": (Raise(P1, "count", 3, in_hours=True), 10, 2, 0, P2),
    "long enough, inside": (Raise(P1, "open_for", 60, in_hours=True), 10, 0, 60, P1),
    "long enough, outside": (Raise(P1, "open_for", 60, in_hours=True), 20, 0, 60, P2),
}


@pytest.mark.parametrize(("condition", "at", "firing", "open_for_s", "wanted"), IN_TIME.values(), ids=IN_TIME)
def test_business_hours_must_hold_too(
    condition: Raise, at: float, firing: int, open_for_s: float, wanted: Severity
) -> None:
    ruleset = RuleSet([rule("r", raises=(condition,))], OFFICE)
    assert ruleset.raised("r", P2, facts={}, firing=firing, open_for_s=open_for_s, at=hour(at)) is wanted


def test_without_business_hours_nobody_knows_whether_they_hold() -> None:
    ruleset = rules(rule("r", raises=(Raise(P1, "time", 0, in_hours=True), Raise(P0, "time", 0, in_hours=False))))
    assert ruleset.raised("r", P2, facts={}, firing=9, open_for_s=9, at=hour(10)) is P2
    assert ruleset.next_raise_s("r", P2, opened_at=hour(0), at=hour(0)) is None


@pytest.mark.parametrize(("received", "wanted"), [(10, P1), (20, P2), (34, P2)], ids=["day", "evening", "weekend"])
def test_a_value_in_business_hours_is_judged_when_its_alert_comes(received: float, wanted: Severity) -> None:
    raises = (Raise(P1, "value", 25, "annotation", "users", in_hours=True),)
    ruleset = RuleSet([rule("r", raises=raises)], OFFICE)
    one = replace(alert({"users": "30"}), received_at=hour(received))
    assert ruleset.classify(one).severity is wanted
    assert ruleset.next_raise_s("r", P2, opened_at=hour(received), at=hour(received)) is None


OPEN_8H, AT_WORK = Raise(P1, "open_for", 8 * 3600), Raise(P1, "time", 0, in_hours=True)
OPEN_8H_AT_WORK = Raise(P1, "open_for", 8 * 3600, in_hours=True)
OPEN_8H_AT_HOME = Raise(P1, "open_for", 8 * 3600, in_hours=False)
DUE = {  # conditions, opened at, asked at -> due at, all in hours
    "open long enough": ((OPEN_8H,), 1, 2, 9),
    "not when it is due": ((OPEN_8H,), 1, 9, None),
    "not after it was due": ((OPEN_8H,), 1, 10, None),
    "business hours begin": ((AT_WORK,), 1, 2, 9),
    "business hours begin on Monday": ((AT_WORK,), 10, 11, 72 + 9),
    "they have begun": ((AT_WORK,), 1, 9, 72 + 9),
    "open long enough within them": ((OPEN_8H_AT_WORK,), 2, 3, 10),
    "open long enough before them": ((OPEN_8H_AT_WORK,), -5, 1, 9),
    "open long enough after them": ((OPEN_8H_AT_WORK,), 12, 13, 72 + 9),
    "open long enough as they begin": ((OPEN_8H_AT_WORK,), 1, 2, 9),
    "open long enough as they end": ((OPEN_8H_AT_HOME,), 10, 11, 18),
    "open long enough while they last": ((OPEN_8H_AT_HOME,), 3, 4, 18),
    "a number of alerts waits for them": ((Raise(P1, "count", 3, in_hours=True),), 1, 2, 9),
    "a number of alerts alone waits for no time": ((Raise(P1, "count", 3),), 1, 2, None),
    "the first of all": ((OPEN_8H, Raise(P0, "time", 0, in_hours=True)), 4, 5, 9),
    "only what raises": ((Raise(P2, "open_for", 3600), OPEN_8H), 0, 0, 8),
}


@pytest.mark.parametrize(("raises", "opened", "asked", "wanted"), DUE.values(), ids=DUE)
def test_the_next_time_that_may_raise_is_known(
    raises: tuple[Raise, ...], opened: float, asked: float, wanted: float | None
) -> None:
    ruleset = RuleSet([rule("r", raises=raises)], OFFICE)
    wait_s = ruleset.next_raise_s("r", P2, opened_at=hour(opened), at=hour(asked))
    assert (None if wait_s is None else asked + wait_s / 3600) == wanted


def test_a_heartbeat_is_said_in_the_decision() -> None:
    ruleset = rules(rule("beat", "alertname=Watchdog", heartbeat_s=600.0))
    assert ruleset.classify(alert(alertname="Watchdog")).heartbeat_s == 600
    assert ruleset.classify(alert(alertname="Other")).heartbeat_s is None


def test_a_decision_carries_what_its_rule_counts() -> None:
    ruleset = rules(GROWING)
    assert ruleset.classify(alert(instance="a", x="y")).distinct == (("instance", "a"),)
    assert ruleset.classify(alert(x="y")).distinct == ()


def test_rules_of_last_resort_page_everything() -> None:
    ruleset = page_everything("rules/a.yaml:3: unknown key")
    decision = ruleset.classify(alert(alertname="Anything", severity="info"))
    assert (decision.rule, decision.severity, ruleset.degraded) == (
        "page-everything",
        P1,
        "rules/a.yaml:3: unknown key",
    )


def test_a_revision_follows_the_meaning() -> None:
    long = "x" * 200
    revisions = {
        rules(*given_rules).revision
        for given_rules in (
            [],
            [rule("r")],
            [rule("r", severity=P1)],
            [rule("r", f"a={long}1")],
            [rule("r", f"a={long}2")],
            [rule("r", heartbeat_s=600.0)],
            [rule("r", raises=(Raise(P1, "count", 2),))],
            [rule("r", raises=(Raise(P1, "count", 2, in_hours=True),))],
        )
    }
    assert len(revisions) == 8
    assert rules(rule("r", path="a", line=1)).revision == rules(rule("r", path="b", line=2)).revision


@given(
    st.lists(MATCHES, max_size=6),
    st.dictionaries(NAMES, st.sampled_from(["", "a", "b", "A", "prod", "Api", "ApiDown"])),
)
def test_the_index_finds_what_trying_each_rule_finds(
    matches: list[list[tuple[str, str, str]]], labels: dict[str, str]
) -> None:
    all_rules = [
        rule(str(at), *(f'{name}{operator}"{value}"' for name, operator, value in match), severity=P3)
        for at, match in enumerate(matches)
    ]
    wanted = next((r.name for r in all_rules if all(m.matches(labels) for m in r.matchers)), "backstop")
    ruleset = rules(*all_rules)
    assert [ruleset.classify(alert(**labels)).rule for _ in range(2)] == [wanted, wanted]


@given(st.dictionaries(TEXT, TEXT), st.dictionaries(TEXT, TEXT))
def test_every_alert_gets_a_severity(labels: dict[str, str], annotations: dict[str, str]) -> None:
    one = alert()
    hostile = Alert(one.source, one.identity, labels, annotations, firing=True, received_at=one.received_at)
    explained = rules(rule("r", "a=~b.*", severity=BY_LABEL), GROWING).explain(hostile)
    assert explained.decision.severity in Severity
    assert all(line.isprintable() for line in explained.lines())


@pytest.mark.parametrize("match", ['alertname="A{}"', 'alertname=~"A{}x.*"', 'service="s{}"', 'service!~"s{}.*",x="y"'])
def test_ten_thousand_rules_do_not_hold_up_a_storm(match: str) -> None:
    ruleset = rules(*(rule(f"r{at}", match.format(at)) for at in range(10_000)))
    storm = [alert(alertname=f"B{at % 50}", service=f"t{at % 50}") for at in range(1000)]
    began = time.process_time()
    assert {ruleset.classify(each).rule for each in storm} == {"backstop"}
    assert time.process_time() - began < 5
