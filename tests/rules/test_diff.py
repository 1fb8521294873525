"""What another rule set would do to the same alerts is counted before it does it."""

from dataclasses import replace
from datetime import datetime

import pytest

from responder.model import Severity
from responder.rules.diff import compare, outside_business_hours

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


@pytest.mark.parametrize(
    ("at", "night"),
    [
        ("2026-11-20T09:00:00+00:00", False),
        ("2026-11-20T08:00:00+00:00", False),
        ("2026-11-20T07:59:59+00:00", True),
        ("2026-11-20T20:00:00+00:00", True),
        ("2026-11-20T21:00:00+02:00", False),
        ("2026-11-21T12:00:00+00:00", True),
        (None, True),
    ],
)
def test_a_night_page_is_one_outside_business_hours(at: str | None, night: bool) -> None:
    began = datetime.fromisoformat(at) if at else None
    assert outside_business_hours(began) is night
    found = compare(OLD, NEW, [replace(alert(alertname="Api"), started_at=began)])
    assert found.new_night_pages == night


def test_who_asks_may_say_what_night_is() -> None:
    found = compare(OLD, NEW, ALERTS, at_night=lambda _: False)
    assert (found.new_night_pages, found.lost_night_pages, found.night_examples) == (0, 0, [])
