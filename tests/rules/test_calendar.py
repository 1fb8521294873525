"""Times of the week on the wall clock, on the days when clocks change too."""

import os
import subprocess
import sys
import timeit
from datetime import UTC, date, datetime, timedelta
from importlib.util import find_spec
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from responder.rules.calendar import ALL_DAYS, HORIZON_DAYS, Calendar, zone_of

BERLIN = zone_of("Europe/Berlin")
MINUTE = timedelta(minutes=1)
ZONES = (
    *("UTC", "Europe/Berlin", "America/New_York", "America/Havana", "Australia/Lord_Howe", "Asia/Kathmandu"),
    *("Africa/Casablanca", "America/Scoresbysund", "Pacific/Chatham"),
)
OFFICE = Calendar(BERLIN, (0, 1, 2, 3, 4), 9 * 60, 18 * 60)
NIGHTS = Calendar(BERLIN, (4,), 22 * 60, 7 * 60)  # of Fridays


def at(text: str) -> datetime:
    """Give a time of Berlin's wall clock; a last `+` means the second time it is shown."""
    return datetime.fromisoformat(text.rstrip("+")).replace(tzinfo=BERLIN, fold=int(text.endswith("+"))).astimezone(UTC)


COVERED = {
    "first minute": (OFFICE, "2026-11-20 09:00", True),  # a Friday
    "minute before": (OFFICE, "2026-11-20 08:59", False),
    "last minute": (OFFICE, "2026-11-20 17:59", True),
    "the end is excluded": (OFFICE, "2026-11-20 18:00", False),
    "another day": (OFFICE, "2026-11-21 12:00", False),
    "over midnight, before": (NIGHTS, "2026-11-20 23:00", True),
    "over midnight, after: it belongs to the day it begins": (NIGHTS, "2026-11-21 06:59", True),
    "over midnight, ended": (NIGHTS, "2026-11-21 07:00", False),
    "over midnight, the morning of its own day": (NIGHTS, "2026-11-20 06:59", False),
    "over midnight, the next evening": (NIGHTS, "2026-11-21 23:00", False),
}


@pytest.mark.parametrize(("calendar", "when", "wanted"), COVERED.values(), ids=COVERED)
def test_a_range_covers_its_minutes(calendar: Calendar, when: str, wanted: bool) -> None:
    assert calendar.covers(at(when)) is wanted


LIMITED: dict[str, tuple[dict[str, Any], str, bool]] = {
    "date": ({"dates": ((date(2026, 12, 24), date(2026, 12, 26)),)}, "2026-12-26 12:00", True),
    "day after the dates": ({"dates": ((date(2026, 12, 24), date(2026, 12, 26)),)}, "2026-12-27 12:00", False),
    "excepted": ({"excepted": ((date(2026, 12, 24), date(2026, 12, 24)),)}, "2026-12-24 12:00", False),
    "not excepted": ({"excepted": ((date(2026, 12, 24), date(2026, 12, 24)),)}, "2026-12-25 12:00", True),
    "month": ({"months": (2,)}, "2026-02-03 12:00", True),
    "other month": ({"months": (2,)}, "2026-03-03 12:00", False),
    "first of a month": ({"days_of_month": ((1, 1),)}, "2026-03-01 12:00", True),
    "last of a long month": ({"days_of_month": ((-1, -1),)}, "2026-03-31 12:00", True),
    "last of a short month": ({"days_of_month": ((-1, -1),)}, "2026-02-28 12:00", True),
    "last of a leap month": ({"days_of_month": ((-1, -1),)}, "2028-02-28 12:00", False),
    "31st where there is none": ({"days_of_month": ((31, 31),)}, "2026-02-28 12:00", False),
    "more days than a month has": ({"days_of_month": ((-31, -1),)}, "2026-02-01 12:00", True),
    "first to last": ({"days_of_month": ((1, -1),)}, "2026-02-28 12:00", True),
    "month and day must both be": ({"months": (2,), "days_of_month": ((1, 1),)}, "2026-02-02 12:00", False),
}


@pytest.mark.parametrize(("limits", "when", "wanted"), LIMITED.values(), ids=LIMITED)
def test_dates_months_and_numbers_narrow_it(limits: dict[str, Any], when: str, wanted: bool) -> None:
    assert Calendar(BERLIN, **limits).covers(at(when)) is wanted


def test_an_excepted_day_does_not_end_the_night_before() -> None:
    nights = Calendar(BERLIN, ALL_DAYS, 22 * 60, 7 * 60, excepted=((date(2026, 12, 24), date(2026, 12, 24)),))
    assert nights.covers(at("2026-12-24 06:00"))
    assert not nights.covers(at("2026-12-24 23:00"))
    assert not nights.covers(at("2026-12-25 06:00"))


CLOCKS_CHANGE = {  # Berlin puts 02:00 to 03:00 on 29 March 2026, and 03:00 back to 02:00 on 25 October 2026
    "a night is an hour shorter in spring": ("22:00", "07:00", "2026-03-28", "2026-03-28 22:00", 8 * 60),
    "and an hour longer in autumn": ("22:00", "07:00", "2026-10-24", "2026-10-24 22:00", 10 * 60),
    "what begins in the hour left out begins after it": ("02:30", "04:00", "2026-03-29", "2026-03-29 03:00", 60),
    "what ends in it ends before it": ("01:00", "02:30", "2026-03-29", "2026-03-29 01:00", 60),
    "an hour that comes twice is covered twice": ("02:00", "03:00", "2026-10-25", "2026-10-25 02:00", 120),
    "a range in it lasts until the clock passes it for good": (
        *("02:10", "02:20", "2026-10-25", "2026-10-25 02:10"),
        70,
    ),
    "what ends as it begins ends once": ("01:00", "02:00", "2026-10-25", "2026-10-25 01:00", 60),
}


@pytest.mark.parametrize(("first", "last", "day", "begins", "minutes"), CLOCKS_CHANGE.values(), ids=CLOCKS_CHANGE)
def test_a_range_follows_the_wall_clock_when_clocks_change(
    first: str, last: str, day: str, begins: str, minutes: int
) -> None:
    from_minute, to_minute = (int(each[:2]) * 60 + int(each[3:]) for each in (first, last))
    only = (date.fromisoformat(day), date.fromisoformat(day))
    calendar = Calendar(BERLIN, from_minute=from_minute, to_minute=to_minute, dates=(only,))
    assert calendar.next_change(at(f"{day} 00:00")) == at(begins)
    assert calendar.ends_at(at(begins)) == at(begins) + minutes * MINUTE


def test_a_range_within_the_hour_left_out_does_not_take_place() -> None:
    calendar = Calendar(BERLIN, (6,), 2 * 60 + 10, 2 * 60 + 20)
    assert calendar.next_change(at("2026-03-29 00:00")) == at("2026-04-05 02:10")


def test_days_that_touch_end_together() -> None:
    weekdays = Calendar(BERLIN, (0, 1, 2, 3, 4))
    assert weekdays.ends_at(at("2026-11-18 12:00")) == at("2026-11-21 00:00")
    assert weekdays.next_change(at("2026-11-21 00:00")) == at("2026-11-23 00:00")


def test_what_is_not_covered_ends_never() -> None:
    assert OFFICE.ends_at(at("2026-11-21 12:00")) is None


def test_what_never_changes_has_no_next_change() -> None:
    past = Calendar(BERLIN, dates=((date(2020, 1, 1), date(2020, 1, 1)),))
    never = Calendar(BERLIN, months=(2,), days_of_month=((31, 31),))
    for calendar in (Calendar(UTC), past, never):
        assert calendar.next_change(at("2026-11-20 12:00")) is None
    assert Calendar(UTC).ends_at(at("2026-11-20 12:00")) is None


def test_a_change_within_a_year_is_found_and_one_beyond_is_not() -> None:
    day = (date(2027, 11, 20), date(2027, 11, 20))
    calendar = Calendar(BERLIN, dates=(day,))
    assert calendar.next_change(at("2026-11-21 12:00")) == at("2027-11-20 00:00")
    assert calendar.next_change(at("2026-10-01 12:00")) is None


@pytest.mark.parametrize(
    ("more", "wanted"),
    [({}, True), ({"days": (0,)}, False), ({"from_minute": 1}, False), ({"months": (1,)}, False)],
    ids=["nothing", "days", "from", "months"],
)
def test_what_leaves_nothing_out_is_always(more: dict[str, Any], wanted: bool) -> None:
    assert Calendar(UTC, **more).always is wanted


# --- a year of every zone ---

MINUTES_OF_YEAR = st.integers(0, 366 * 1440).map(lambda n: datetime(2026, 1, 1, tzinfo=UTC) + n * MINUTE)
CLOCK_CHANGES = st.sampled_from(["2026-03-08", "2026-03-29", "2026-04-05", "2026-10-04", "2026-10-25", "2026-11-01"])
NEAR_CHANGES = st.builds(
    lambda day, minutes: datetime.fromisoformat(day).replace(tzinfo=UTC) + minutes * MINUTE,
    CLOCK_CHANGES,
    st.integers(-1440, 2 * 1440),
)
MOMENTS = st.one_of(MINUTES_OF_YEAR, NEAR_CHANGES)


@st.composite
def calendars(draw: st.DrawFn) -> Calendar:
    first = draw(st.integers(0, 1439))
    last = draw(st.integers(1, 1440).filter(lambda minute: minute != first))
    days = draw(st.sets(st.sampled_from(ALL_DAYS), min_size=1))
    return Calendar(zone_of(draw(st.sampled_from(ZONES))), tuple(sorted(days)), first, last)


def shown(calendar: Calendar, moment: datetime) -> bool:
    """Say whether the wall clock shows a time of the range: the plain meaning, without a word on clock changes."""
    local = moment.astimezone(calendar.zone)
    minute, yesterday = local.hour * 60 + local.minute, (local.weekday() - 1) % 7
    if calendar.from_minute < calendar.to_minute:
        return local.weekday() in calendar.days and calendar.from_minute <= minute < calendar.to_minute
    after = local.weekday() in calendar.days and minute >= calendar.from_minute
    return after or (yesterday in calendar.days and minute < calendar.to_minute)


def twice(calendar: Calendar, moment: datetime) -> bool:
    """Say whether the wall clock shows this time twice."""
    local = moment.astimezone(calendar.zone)
    return local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset()


@given(calendars(), MOMENTS)
def test_covered_is_what_the_wall_clock_shows_but_for_hours_that_come_twice(
    calendar: Calendar, moment: datetime
) -> None:
    covered = calendar.covers(moment)
    assert covered or not shown(calendar, moment)
    assert shown(calendar, moment) or not covered or twice(calendar, moment)


@given(calendars(), MOMENTS)
def test_between_now_and_the_next_change_nothing_changes(calendar: Calendar, moment: datetime) -> None:
    covered, change = calendar.covers(moment), calendar.next_change(moment)
    assert calendar.ends_at(moment) == (change if covered else None)
    if change is None:
        assert calendar.always
        return
    assert moment < change <= moment + timedelta(days=HORIZON_DAYS)
    assert calendar.covers(change) is not covered
    assert calendar.covers(change - MINUTE) is covered
    assert calendar.covers(moment + (change - moment) / 2) is covered


def test_asking_is_cheap() -> None:
    moment = at("2026-11-20 12:34")
    OFFICE.covers(moment)
    took_s = min(timeit.repeat(lambda: OFFICE.covers(moment), number=1000, repeat=9)) / 1000
    assert took_s < 5e-6


def test_a_calendar_forgets_days_rather_than_grow() -> None:
    calendar = Calendar(BERLIN, (0,))
    for day in range(5000):
        calendar.covers(at("2026-11-20 12:00") + timedelta(days=day))
    assert len(calendar._spans) <= 1000


# --- zones ---


@pytest.mark.parametrize("name", ["Europe/Berlyn", "Europe", "", "/etc/localtime", "../UTC", "CEST+2", "\0", "x" * 999])
def test_an_unknown_zone_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="write UTC or a name such as Europe/Berlin"):
        zone_of(name)


@pytest.mark.skipif(find_spec("tzdata") is not None, reason="the package tzdata serves instead of the system")
def test_without_a_time_zone_database_utc_serves_and_others_say_what_to_install() -> None:
    ask = "from responder.rules.calendar import zone_of; print(zone_of('UTC')); zone_of('Europe/Berlin')"
    environment = os.environ | {"PYTHONTZPATH": ""}
    done = subprocess.run([sys.executable, "-c", ask], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "UTC\n"
    assert "no time zone database; install the package tzdata" in done.stderr
