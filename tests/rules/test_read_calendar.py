"""Times of the week as policy.yaml writes them."""

from datetime import UTC, date
from pathlib import Path

import pytest

from responder.rules.calendar import ALL_DAYS, Calendar, zone_of
from responder.rules.fields import RulesError
from responder.rules.loader import load_policy

from .given import write

BERLIN = zone_of("Europe/Berlin")


def hours(text: str) -> str:
    """Give a policy with these business hours, one key a line from line 2."""
    return f"business_hours:\n  timezone: UTC\n  {text}\n"


READ = {
    "an office": (
        'business_hours: {days: [mon-fri], from: "09:00", to: "18:00", timezone: Europe/Berlin}',
        Calendar(BERLIN, (0, 1, 2, 3, 4), 540, 1080),
    ),
    "unquoted times": (hours("from: 9:00\n  to: 17:30"), Calendar(UTC, ALL_DAYS, 540, 1050)),
    "over midnight": (hours('from: "22:00"\n  to: "07:00"'), Calendar(UTC, ALL_DAYS, 1320, 420)),
    "until midnight": (hours('from: "18:00"\n  to: "24:00"'), Calendar(UTC, ALL_DAYS, 1080, 1440)),
    "until midnight said otherwise": (hours('from: "18:00"\n  to: "00:00"'), Calendar(UTC, ALL_DAYS, 1080, 1440)),
    "whole days": (hours("days: [sat, sun]"), Calendar(UTC, (5, 6))),
    "one day": (hours("days: sat"), Calendar(UTC, (5,))),
    "days in full, in any case": (hours("days: [Saturday, SUNDAY]"), Calendar(UTC, (5, 6))),
    "days over the week's end": (hours("days: [fri-mon]"), Calendar(UTC, (0, 4, 5, 6))),
    "Alertmanager's colon": (hours("days: ['monday:wednesday']"), Calendar(UTC, (0, 1, 2))),
    "dates": (
        hours("dates: [2026-12-24, 2026-12-31..2027-01-01]"),
        Calendar(
            UTC,
            dates=((date(2026, 12, 24), date(2026, 12, 24)), (date(2026, 12, 31), date(2027, 1, 1))),
        ),
    ),
    "except": (
        hours("except: ['2026-12-24..2026-12-26']"),
        Calendar(UTC, excepted=((date(2026, 12, 24), date(2026, 12, 26)),)),
    ),
    "months": (hours("months: [nov-feb, 5, june]"), Calendar(UTC, months=(1, 2, 5, 6, 11, 12))),
    "days of a month": (
        hours('days_of_month: ["1", -1, "10..12", "-3..-2", "5:6"]'),
        Calendar(UTC, days_of_month=((1, 1), (-1, -1), (10, 12), (-3, -2), (5, 6))),
    ),
}


@pytest.mark.parametrize(("text", "wanted"), READ.values(), ids=READ)
def test_a_calendar_is_read(text: str, wanted: Calendar, tmp_path: Path) -> None:
    assert load_policy(write(tmp_path / "policy.yaml", text)).business_hours == wanted


WRONG = {
    "no zone": ("business_hours:\n  days: [mon]\n", 2, "business_hours has no timezone; write UTC or a name"),
    "unknown zone": ("business_hours:\n  timezone: Berlin\n  days: [mon]\n", 2, "'Berlin' is no time zone"),
    "zone as a number": ("business_hours:\n  timezone: 2\n  days: [mon]\n", 2, "timezone must be one line of text"),
    "from alone": (hours('from: "09:00"'), 3, "from stands without to; write both"),
    "to alone": (hours('to: "09:00"'), 3, "to stands without from; write both"),
    "hour alone": (hours("from: 9\n  to: 17"), 3, 'from must be a time from "00:00" to "23:59", not 9'),
    "no such minute": (hours('from: "09:60"\n  to: "17:00"'), 3, "from must be a time"),
    "from the day's end": (hours('from: "24:00"\n  to: "01:00"'), 3, "from must be a time"),
    "beyond the day": (hours('from: "09:00"\n  to: "24:01"'), 4, 'to must be a time from "00:00" to "24:00"'),
    "no time between": (hours('from: "09:00"\n  to: "09:00"'), 4, "from and to are the same time"),
    "unknown day": (hours("days: [mo]"), 3, "days 'mo' is not known; write mon, monday or mon-fri"),
    "day as a number": (hours("days: [1]"), 3, "days '1' is not known"),
    "half a range": (hours("days: [mon-]"), 3, "days 'mon-' is not known"),
    "range of three": (hours("days: [mon-wed-fri]"), 3, "days 'mon-wed-fri' is not known"),
    "no days": (hours("days: []"), 3, "days must be a list"),
    "days as a mapping": (hours("days: {mon: fri}"), 3, "days must be a list"),
    "days of true": (hours("days: [true]"), 3, "days must be a list"),
    "unknown month": (hours("months: [13]"), 3, "months '13' is not known; write jan, january or jan-may"),
    "no such date": (hours("dates: [2026-02-30]"), 3, "dates '2026-02-30' is no date; write 2026-12-24"),
    "dates backwards": (hours("except: [2026-12-26..2026-12-24]"), 3, "is no date"),
    "dates of three": (hours("dates: [2026-12-24..2026-12-25..2026-12-26]"), 3, "is no date"),
    "day 0": (hours("days_of_month: [0]"), 3, "days_of_month '0' is not known"),
    "day 32": (hours("days_of_month: [32]"), 3, "'32' is not known"),
    "numbers backwards": (hours("days_of_month: ['7..1']"), 3, "'7..1' is not known"),
    "from the end to the beginning": (hours("days_of_month: ['-2..5']"), 3, "'-2..5' is not known"),
    "unknown key": (hours("day: [mon]"), 3, "unknown key 'day'; known: dates, days"),
    "every hour of every day": (hours("days: [mon-sun]"), 2, "never ends: it is every hour of every day"),
}


@pytest.mark.parametrize(("text", "line", "part"), WRONG.values(), ids=WRONG)
def test_a_wrong_calendar_is_refused_at_its_line(text: str, line: int, part: str, tmp_path: Path) -> None:
    path = write(tmp_path / "policy.yaml", text)
    with pytest.raises(RulesError) as caught:
        load_policy(path)
    said = [str(error) for error in caught.value.errors]
    assert any(each.startswith(f"{path}:{line}: ") and part in each for each in said), said


def test_one_mistake_is_said_once(tmp_path: Path) -> None:
    with pytest.raises(RulesError) as caught:
        load_policy(write(tmp_path / "policy.yaml", hours("days: [mo]")))
    assert len(caught.value.errors) == 1
