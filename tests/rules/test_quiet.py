"""Quiet hours: who is not woken, and until when."""

from datetime import UTC, datetime, timedelta

import pytest

from responder.model import Severity
from responder.rules.calendar import Calendar
from responder.rules.matchers import parse
from responder.rules.policy import Policy
from responder.rules.quiet import Quiet, QuietHours

P0, P1, P2, P3 = Severity
NIGHTS = QuietHours("nights", Calendar(UTC, from_minute=22 * 60, to_minute=7 * 60))
WEEKENDS = QuietHours("weekends", Calendar(UTC, (5, 6)), (P3,))
STAGING = QuietHours("staging", Calendar(UTC, (0, 1, 2, 3)), (P1, P2, P3), parse("env=staging"))
POLICY = Policy(quiet_hours=(NIGHTS, WEEKENDS, STAGING))
FRIDAY = datetime(2026, 11, 20, tzinfo=UTC)


def at(hours: float) -> datetime:
    return FRIDAY + timedelta(hours=hours)


FOUND = {
    "by day": (P2, {}, 12, None),
    "by night": (P2, {}, 23, Quiet("nights", at(31))),
    "in the morning of that night": (P2, {}, 30, Quiet("nights", at(31))),
    "as it ends": (P2, {}, 31, None),
    "a broken major function wakes people": (P1, {}, 23, None),
    "a complete outage wakes people": (P0, {"env": "staging"}, 23, None),
    "on a weekend only what it names": (P2, {}, 36, None),
    "a weekend and its nights are one": (P3, {}, 23, Quiet("nights", at(3 * 24 + 7))),
    "the first of them gives its name": (P3, {}, 24 + 12, Quiet("weekends", at(3 * 24 + 7))),
    "where its matchers match": (P1, {"env": "staging"}, -24, Quiet("staging", at(0))),
    "not where they do not": (P1, {"env": "prod"}, -24, None),
}


@pytest.mark.parametrize(("severity", "labels", "hours", "wanted"), FOUND.values(), ids=FOUND)
def test_quiet_is_by_severity_labels_and_time(
    severity: Severity, labels: dict[str, str], hours: float, wanted: Quiet | None
) -> None:
    assert POLICY.quiet(severity, labels, at(hours)) == wanted


def test_without_quiet_hours_it_is_never_quiet() -> None:
    assert Policy().quiet(P3, {}, FRIDAY) is None


def test_hours_that_leave_no_gap_still_end() -> None:
    days = QuietHours("days", Calendar(UTC, from_minute=7 * 60, to_minute=22 * 60))
    found = Policy(quiet_hours=(NIGHTS, days)).quiet(P3, {}, FRIDAY)
    assert found == Quiet("nights", FRIDAY + timedelta(days=400))


def test_hours_that_never_come_again_are_named() -> None:
    past = QuietHours("2026", Calendar(UTC, dates=((FRIDAY.date(), FRIDAY.date()),)), path="p.yaml", line=4)
    policy = Policy(quiet_hours=(NIGHTS, past))
    assert list(policy.outdated(at(12))) == []
    assert [str(each) for each in policy.outdated(at(24))] == [
        "p.yaml:4: quiet hours '2026' never come again; remove them"
    ]
