"""Coverage says for each alerting rule what would become of it, and the shipped rules know most names."""

import random
import string
from pathlib import Path

import pytest

from responder.model import Severity
from responder.rules.alerting import parse_alerting_rules
from responder.rules.coverage import cover, summary
from responder.rules.loader import load

from .given import SHIPPED, alert, rule, rules

P0, P1, P2, P3 = Severity
RULES = load([SHIPPED])
PAGES = ["critical", "page", "s1", "s2", "sev1", "sev2", "high", "disaster", "emergency"]
WAITS = ["error", "warning", "average", "s3", "ticket", "info", "none", "notify", "s4", "low"]
FAMILIES = [
    "KubePodCrashLooping",
    "NodeDown",
    "RedisDown",
    "etcdNoLeader",
    "HighErrorRate",
    "VaultSealed",
    "Qwzjx",
    "ApiDown",
]


def test_each_rule_is_told_in_order_with_its_place() -> None:
    text = "groups: [{name: g, rules: [{alert: B}, {record: r}, {alert: A, labels: {severity: critical}}]}]"
    ruleset = rules(rule("a", "alertname=A", severity=P1, runbook="x"))
    covered = cover(ruleset, parse_alerting_rules(text, Path("f.yaml")))
    assert [(e.alert, e.severity, e.rule, e.runbook, e.matched_by, e.group, e.file) for e in covered] == [
        ("B", "P2", "backstop", "default", "backstop", "g", "f.yaml"),
        ("A", "P1", "a", "x", "rule", "g", "f.yaml"),
    ]
    told = summary(covered)
    assert told["matched_by"] == {"rule": 1, "label": 0, "backstop": 1}
    assert (told["alerts"], told["files"], told["rules"], told["runbooks"]) == (2, 1, 1, 1)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("page", PAGES)
def test_a_page_never_comes_out_below_what_does_not_page(name: str, page: str) -> None:
    paged = RULES.classify(alert(alertname=name, severity=page)).severity
    for other in FAMILIES:
        for waits in WAITS:
            assert paged <= RULES.classify(alert(alertname=other, severity=waits)).severity


@pytest.mark.parametrize("name", FAMILIES)
def test_the_rule_is_the_same_without_a_severity_label(name: str) -> None:
    bare = RULES.classify(alert(alertname=name)).rule
    named = {RULES.classify(alert(alertname=name, severity=word)).rule for word in ("critical", "high", "page")}
    assert named == {bare} or bare == "backstop"


def test_a_random_name_is_known_to_nobody() -> None:
    chance = random.Random(7)
    names = ["".join(chance.choices(string.ascii_letters + string.digits, k=12)) for _ in range(2000)]
    known = [name for name in names if RULES.classify(alert(alertname=name)).matched_by == "rule"]
    assert len(known) <= 30, known
