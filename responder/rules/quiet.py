"""Quiet hours: incidents open as usual, and nobody is mentioned or escalated until they end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from responder.errors import FileError
from responder.model import Severity
from responder.rules.calendar import HORIZON_DAYS, Calendar
from responder.rules.matchers import Matcher
from responder.rules.suppress import never_again


@dataclass(frozen=True, slots=True)
class Quiet:
    """Nobody is to be woken. `until` is when the last of the quiet hours that follow on each other ends, in UTC."""

    name: str
    until: datetime


@dataclass(frozen=True, slots=True)
class QuietHours:
    """One entry under `quiet_hours`. No matchers = every alert."""

    name: str
    calendar: Calendar
    severities: tuple[Severity, ...] = (Severity.P2, Severity.P3)
    matchers: tuple[Matcher, ...] = ()
    path: str = field(default="", compare=False, repr=False)
    line: int = field(default=0, compare=False, repr=False)

    def concern(self, severity: Severity, labels: Mapping[str, str]) -> bool:
        """Say whether they hold back an incident of this severity, opened by an alert with these labels."""
        return severity in self.severities and all(matcher.matches(labels) for matcher in self.matchers)

    def outdated(self, at: datetime) -> FileError | None:
        """Say so when they will never come again."""
        if not never_again(self.calendar, at):
            return None
        return FileError(self.path, self.line, f"quiet hours {self.name!r} never come again; remove them")


def quiet(hours: Sequence[QuietHours], at: datetime) -> Quiet | None:
    """Give the first of these that are quiet now, until none of them is: nights and weekends follow on each other."""
    now = [each for each in hours if each.calendar.covers(at)]
    if not now:
        return None
    until, horizon = at, at + timedelta(days=HORIZON_DAYS)
    while until < horizon:
        covering = [each.calendar for each in hours if each.calendar.covers(until)]
        if not covering:
            break
        until = max(calendar.ends_at(until) or horizon for calendar in covering)
    return Quiet(now[0].name, min(until, horizon))
