"""Times that come again: on some days, from one wall-clock time to another, in a named time zone. Pure; no clock."""

from __future__ import annotations

from bisect import bisect_right
from calendar import monthrange
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

ALL_DAYS = (0, 1, 2, 3, 4, 5, 6)  # Monday is 0
MINUTES_A_DAY = 1440
HORIZON_DAYS = 400  # a calendar is searched no farther: a year, and whatever is odd about its end
MAX_REMEMBERED = 1000  # days whose range is kept; then all are forgotten
MINUTE = timedelta(minutes=1)

Dates = tuple[date, date]  # first and last, both included
Span = tuple[datetime, datetime]  # UTC, the end excluded


@dataclass(frozen=True, slots=True)
class Calendar:
    """One range of the wall clock on each day that it names. A range over midnight belongs to the day it begins.

    It begins when the clock first shows `from_minute` and ends when it shows `to_minute` for good: an hour that comes
    twice is covered both times, one that is left out is not, and a range within it does not take place that day.
    """

    zone: tzinfo
    days: tuple[int, ...] = ALL_DAYS
    from_minute: int = 0  # of the day
    to_minute: int = MINUTES_A_DAY  # not after `from_minute`: of the day after
    dates: tuple[Dates, ...] = ()  # () = any
    months: tuple[int, ...] = ()  # 1 to 12; () = any
    days_of_month: tuple[tuple[int, int], ...] = ()  # first and last; -1 is the month's last day; () = any
    excepted: tuple[Dates, ...] = ()
    _spans: dict[int, Span | None] = field(default_factory=dict, init=False, compare=False, repr=False)

    @property
    def always(self) -> bool:
        """Whether nothing is left out."""
        limits = (self.dates, self.months, self.days_of_month, self.excepted)
        whole = self.to_minute - self.from_minute == MINUTES_A_DAY
        return whole and set(self.days) == set(ALL_DAYS) and not any(limits)

    def covers(self, at: datetime) -> bool:
        """Say whether this moment lies within it."""
        return self._end(at) is not None

    def ends_at(self, at: datetime) -> datetime | None:
        """Say when the coverage of this moment ends, ranges that touch counting as one.

        Returns: UTC; None when it is not covered, or covered for 400 days and more.
        """
        end, horizon = self._end(at), at + timedelta(days=HORIZON_DAYS)
        while end is not None and end <= horizon:
            further = self._end(end)
            if further is None:
                return end
            end = further
        return None

    def next_change(self, at: datetime) -> datetime | None:
        """Say when coverage next begins or ends, in UTC; None when that is 400 days off or never."""
        if self.covers(at):
            return self.ends_at(at)
        today = at.astimezone(self.zone).toordinal()
        spans = (self._span(day) for day in range(today, today + HORIZON_DAYS))
        return next((span[0] for span in spans if span and span[0] > at), None)

    def _end(self, at: datetime) -> datetime | None:
        """Give the end of the range that covers a moment: today's, or yesterday's over midnight."""
        today = at.astimezone(self.zone).toordinal()
        for day in (today, today - 1):
            span = self._span(day)
            if span is not None and span[0] <= at < span[1]:
                return span[1]
        return None

    def _span(self, day: int) -> Span | None:
        try:
            return self._spans[day]
        except KeyError:
            if len(self._spans) >= MAX_REMEMBERED:
                self._spans.clear()
            found = self._spans[day] = self._range(date.fromordinal(day))
            return found

    def _range(self, day: date) -> Span | None:
        if not self._names(day):
            return None
        over = MINUTES_A_DAY if self.to_minute <= self.from_minute else 0
        midnight = datetime.combine(day, time())
        begins = _reached(midnight + self.from_minute * MINUTE, self.zone)
        ends = _passed(midnight + (self.to_minute + over) * MINUTE, self.zone)
        return (begins, ends) if begins < ends else None

    def _names(self, day: date) -> bool:
        """Say whether a range may begin on this day."""
        return (
            day.weekday() in self.days
            and (not self.dates or _within(day, self.dates))
            and (not self.months or day.month in self.months)
            and (not self.days_of_month or self._numbered(day))
            and not _within(day, self.excepted)
        )

    def _numbered(self, day: date) -> bool:
        length = monthrange(day.year, day.month)[1]
        return any(_in_month(first, length) <= day.day <= _in_month(last, length) for first, last in self.days_of_month)


def zone_of(name: str) -> tzinfo:
    """Give a time zone by its name in the IANA database. UTC needs no database.

    Raises: ValueError: there is none of that name, or no database on this machine; the message says what to do.
    """
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # OSError: a name of a folder, as in "Europe"
        if not available_timezones():
            raise ValueError(
                f"{name!r:.60} is not known, for this machine has no time zone database; install the package tzdata "
                "(of the system or of pip), or write UTC"
            ) from error
        raise ValueError(f"{name!r:.60} is no time zone; write UTC or a name such as Europe/Berlin") from error


def _within(day: date, ranges: tuple[Dates, ...]) -> bool:
    return any(first <= day <= last for first, last in ranges)


def _in_month(number: int, length: int) -> int:
    return number if number > 0 else length + 1 + number


def _reached(wall: datetime, zone: tzinfo) -> datetime:
    """Give the first instant at which the clock shows this time or a later one."""
    return _leap(wall, zone) or wall.replace(tzinfo=zone).astimezone(UTC)


def _passed(wall: datetime, zone: tzinfo) -> datetime:
    """Give the instant from which the clock shows this time or a later one for good."""
    before = wall - MINUTE  # midnight itself may come once, and yet the hour before it twice
    return _leap(before, zone) or before.replace(tzinfo=zone, fold=1).astimezone(UTC) + MINUTE


def _leap(wall: datetime, zone: tzinfo) -> datetime | None:
    """Give the instant at which clocks are put forward over this time, None when they do show it.

    A time that is left out has, by PEP 495, two readings: by the offset after the leap (the earlier instant) and by the
    one before it.
    """
    early, late = (wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (1, 0))
    if early >= late:
        return None

    def offset(minutes: int) -> timedelta:
        return (early + minutes * MINUTE).astimezone(zone).utcoffset() or timedelta()

    return early + bisect_right(range((late - early) // MINUTE), offset(0), key=offset) * MINUTE
