"""What another rule set would do to the same alerts is counted before it does it."""

from responder.model import Severity
from responder.rules.diff import compare

from .given import alert, rule, rules

P0, P1, P2, P3 = Severity
OLD = rules(rule("api", "alertname=Api", severity=P2, runbook="a"), rule("db", "alertname=Db", severity=P1))
NEW = rules(rule("api", "alertname=Api", severity=P1, runbook="b"))
ALERTS = [alert(alertname="Api"), alert(alertname="Api", x="1"), alert(alertname="Db"), alert(alertname="Other")]


def test_what_changes_is_counted() -> None:
    found = compare(OLD, NEW, ALERTS)
    assert found.headline() == "1 P1 -> P2, 2 P2 -> P1, 1 now backstop, 2 new night pages (of 4 alerts, 3 changed)"
    assert (found.lost_night_pages, found.left_backstop) == (1, 0)
    assert found.as_dict()["rules"] == [{"from": "db", "to": "backstop", "alerts": 1}]
    assert found.fields == {"severity": 3, "rule": 1, "runbook": 2}


def test_the_same_rules_change_nothing() -> None:
    found = compare(OLD, OLD, ALERTS)
    assert (found.changed, found.headline()) == (0, "0 now backstop, 0 new night pages (of 4 alerts, 0 changed)")
    assert "|" not in found.markdown()


def test_a_table_for_a_pull_request_is_no_place_for_a_stranger() -> None:
    hostile = alert(alertname="a`|<b>\n[x](y)")
    found = compare(rules(rule("r", severity=P3)), rules(rule("r", severity=P1)), [hostile])
    [row] = [line for line in found.markdown().splitlines() if line.startswith("| P3")]
    assert row == "| P3 | P1 | 1 | `a___b___x_(y)` |"
