"""The shipped rules keep their promises for every severity word, whatever the alert is called."""

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from responder.model import Severity
from responder.rules.classify import RuleSet
from responder.rules.expectations import Expectation, read_tests
from responder.rules.lint import lint
from responder.rules.loader import load
from responder.rules.rule import Rule, SeverityFrom

from .given import RECEIVED_AT, SHIPPED, alert

P0, P1, P2, P3 = Severity
RUNBOOKS = {path.stem for path in (SHIPPED.parent / "runbooks").glob("*.md")} - {"README"}
RULES = load([SHIPPED], runbooks=RUNBOOKS)
NAMES = ("CompleteOutage", "AllServicesDown", "ApiDown", "HighErrorRate", "PostgresqlDown", "KubeNodeNotReady", "Xyzzy")
WORDS = {
    P1: "critical Critical CRITICAL crit page disaster emergency fatal sev1 SEV-1 s1 P1 1 high major s2 sev2 2",
    P2: "error warning Warning warn average s3 sev3 medium P2 3",
    P3: "info none notify notice ticket low minor s4 sev-4 debug P3 4 5 Informational",
}
CAN_WAIT = ("info", "none", "notify", "INFO", "ticket", "low", "debug")


TESTS, ERRORS = read_tests([SHIPPED / "tests"])
BY_RULE: dict[str, list[Expectation]] = {}
for each in TESTS:
    BY_RULE.setdefault(each.expect.get("rule", ""), []).append(each)


def edited(rule: Rule) -> Iterator[Rule]:
    """Give the rule with each of its severities, each word of a map by itself, changed in turn to each other one."""
    for new in Severity:
        if isinstance(rule.severity, Severity):
            yield replace(rule, severity=new)
            continue
        given = rule.severity
        for word in given.map:
            yield replace(rule, severity=SeverityFrom(given.label, {**given.map, word: new}, given.otherwise))
        yield replace(rule, severity=SeverityFrom(given.label, given.map, new))


def _shown(new: Rule, rule: Rule) -> str:
    """Say what was changed."""
    if isinstance(new.severity, Severity) or isinstance(rule.severity, Severity):
        return str(new.severity)
    words = [f"{word} is {to}" for word, to in new.severity.map.items() if rule.severity.map[word] is not to]
    return ", ".join(words) or f"else {new.severity.otherwise}"


def concerned(tests: list[Expectation]) -> list[Rule]:
    """Give the rules that match an alert of these tests, in order: no other has a say in them."""
    labels = [alert.labels for test in tests for alert in test.alerts]
    return [rule for rule in RULES.rules if any(all(each.matches(one) for each in rule.matchers) for one in labels)]


def test_the_shipped_expectations_hold() -> None:
    assert ERRORS == []
    assert len(TESTS) >= 150
    assert [miss for test in TESTS for miss in test.misses(RULES)] == []


def test_each_shipped_rule_is_held_by_an_expectation() -> None:
    unheld = []
    for rule in RULES.rules:
        tests = BY_RULE.get(rule.name, [])
        few = concerned(tests)  # all rules would say the same, and take a minute
        assert [miss for test in tests for miss in test.misses(RuleSet(few, RULES.policy))] == []
        for new in edited(rule):
            rules = RuleSet([new if each is rule else each for each in few], RULES.policy)
            if new != rule and not any(test.misses(rules) for test in tests):
                unheld.append((rule.name, _shown(new, rule)))
    assert unheld == []


def test_each_rule_names_a_runbook_or_only_a_label() -> None:
    assert [rule.name for rule in RULES.rules if not rule.runbook and rule.matched_by != "label"] == []


def test_nothing_looks_wrong_in_the_shipped_rules() -> None:
    assert RULES.warnings == ()
    assert lint(RULES.rules) == []
    assert [rule.name for rule in RULES.rules if rule.channel] == []


@pytest.mark.parametrize(
    ("word", "wanted"), [(word, severity) for severity, words in WORDS.items() for word in words.split()]
)
def test_a_severity_word_alone_decides_the_severity(word: str, wanted: Severity) -> None:
    assert RULES.classify(alert(alertname="Xyzzy", severity=word)).severity is wanted


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("word", CAN_WAIT)
def test_what_only_informs_is_never_more_than_a_p3(name: str, word: str) -> None:
    decision = RULES.classify(alert({"users_affected_percent": "100"}, alertname=name, severity=word))
    assert RULES.raised(decision.rule, decision.severity, facts={}, firing=999, open_for_s=1e9, at=RECEIVED_AT) is P3


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("word", ["warning", "Warning", "warn", "average"])
def test_a_warning_is_never_a_p0(name: str, word: str) -> None:
    decision = RULES.classify(alert({"users_affected_percent": "100"}, alertname=name, severity=word))
    facts = {label: [str(at) for at in range(99)] for label in ("instance", "node", "pod")}
    grown = RULES.raised(decision.rule, decision.severity, facts=facts, firing=999, open_for_s=1e9, at=RECEIVED_AT)
    assert grown in (P1, P2)


@pytest.mark.parametrize("word", [word for word in WORDS[P1].split()] + [""])
def test_no_word_makes_a_p0_of_less_than_a_complete_outage(word: str) -> None:
    assert RULES.classify(alert(alertname="CompleteOutage", severity=word)).severity is P0
    assert RULES.classify(alert(alertname="DatabaseDown", severity=word)).severity is P1


@pytest.mark.parametrize(
    ("name", "wanted_s"),
    [("Watchdog", 600), ("DeadMansSwitch", 600), ("WatchdogMissing", None), ("InfoInhibitor", None)],
)
def test_only_what_always_fires_is_a_heartbeat(name: str, wanted_s: float | None) -> None:
    assert RULES.classify(alert(alertname=name, severity="none")).heartbeat_s == wanted_s
    assert RULES.classify(alert(alertname="WatchdogMissing", severity="none")).severity is P1


NOUNS = (
    "acorn anchor apple autumn banana barrel basket blanket bottle branch brick bridge butter button "
    "cabin camel candle canyon carpet castle cherry cloud copper cotton cradle crystal cushion daisy "
    "desert dragon eagle ember falcon feather forest fountain garden ginger glacier granite hammer "
    "harbour harvest hazel helmet honey horizon hotel igloo island ivory jacket jungle kettle ladder "
    "lantern lemon lizard maple marble meadow mirror monsoon mountain needle nutmeg ocean olive orchard "
    "otter oyster paddle parrot pebble pepper piano pigeon pillow planet plum prairie puzzle quartz "
    "rabbit raven ribbon river robin rocket saddle saffron salmon shadow silver sparrow spruce summer "
    "sunset thunder timber tulip turtle umbrella unicorn valley velvet violet walnut willow window winter "
    "wizard yogurt zebra"
)
SERVICES = "Web Api Git Registry Sidekiq CiRunners Patroni Gitaly RedisCache Mimir Logging Waf Search Vault"
KINDS = "ApdexSLOViolation ErrorSLOViolation TrafficCessation TrafficAbsent"


def test_ordinary_words_put_together_are_known_to_nobody() -> None:
    chance = random.Random(5)
    names = ["".join(chance.choices(NOUNS.title().split(), k=2)) for _ in range(2000)]
    known = [name for name in names if RULES.classify(alert(alertname=name)).matched_by == "rule"]
    assert len(known) <= 20, known


def test_a_large_catalogue_of_services_is_spread_over_many_rules() -> None:
    names = [f"{service}Service{service}{kind}" for service in SERVICES.split() for kind in KINDS.split()]
    used = [RULES.classify(alert(alertname=name, severity="s3")).rule for name in names]
    assert max(used.count(rule) for rule in used) <= len(used) // 8
