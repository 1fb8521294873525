"""Silences and maintenance windows: which alerts open nothing and tell nobody, until when, and by whose word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import Protocol

from responder.errors import FileError
from responder.model import Alert
from responder.rules.calendar import Calendar
from responder.rules.index import Index
from responder.rules.matchers import Matcher, show


@dataclass(frozen=True, slots=True)
class Suppression:
    """Why an alert is muted. `kind`: silence | maintenance | inhibition; `why` is one line for people."""

    kind: str
    name: str
    why: str
    until: datetime | None  # None = nobody can tell


class _Mute(Protocol):
    """What a silence and a maintenance window have in common."""

    @property
    def matchers(self) -> tuple[Matcher, ...]: ...
    def in_force(self, at: datetime) -> Suppression | None:
        """Give what it does to the alerts that it matches, None when this is not its time."""


@dataclass(frozen=True, slots=True)
class Silence:
    """Alerts that somebody wants to hear nothing of until a time."""

    matchers: tuple[Matcher, ...]
    until: datetime
    by: str
    comment: str
    starts_at: datetime | None = None  # None = at once
    path: str = field(default="", compare=False, repr=False)
    line: int = field(default=0, compare=False, repr=False)

    def in_force(self, at: datetime) -> Suppression | None:
        """Give what it does at this time."""
        if at >= self.until or (self.starts_at is not None and at < self.starts_at):
            return None
        why = f"silenced until {minute(self.until)} by {self.by}: {self.comment}"
        return Suppression("silence", f"silence by {self.by}", why, self.until)

    def outdated(self, at: datetime) -> FileError | None:
        """Say so when it will do nothing any more."""
        if at < self.until:
            return None
        return FileError(self.path, self.line, f"the silence by {self.by} ended {minute(self.until)}; remove it")


@dataclass(frozen=True, slots=True)
class Maintenance:
    """Work that is planned, once (`starts_at` to `ends_at`) or again and again (`calendar`)."""

    name: str
    matchers: tuple[Matcher, ...]
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    calendar: Calendar | None = None
    comment: str = ""
    path: str = field(default="", compare=False, repr=False)
    line: int = field(default=0, compare=False, repr=False)

    def in_force(self, at: datetime) -> Suppression | None:
        """Give what it does at this time."""
        if not self._covers(at):
            return None
        until = self.ends_at if self.calendar is None else self.calendar.ends_at(at)
        why = f"maintenance {self.name}" + (f" until {minute(until)}" if until else "")
        return Suppression("maintenance", self.name, f"{why}: {self.comment}" if self.comment else why, until)

    def outdated(self, at: datetime) -> FileError | None:
        """Say so when it will do nothing any more."""
        if self.calendar is not None:
            over = never_again(self.calendar, at)
        else:
            over = self.ends_at is not None and at >= self.ends_at
        return FileError(self.path, self.line, f"maintenance {self.name!r} is over; remove it") if over else None

    def _covers(self, at: datetime) -> bool:
        if self.calendar is not None:
            return self.calendar.covers(at)
        return self.starts_at is not None and self.ends_at is not None and self.starts_at <= at < self.ends_at


class Mutes:
    """All silences and maintenance windows, found by labels as rules are: thousands cost no more than few."""

    def __init__(self, silences: Sequence[Silence], maintenance: Sequence[Maintenance]) -> None:
        """Index them once: silences come first, each kind in the file's order."""
        self._mutes: tuple[_Mute, ...] = tuple(chain(silences, maintenance))
        self._index = Index([mute.matchers for mute in self._mutes])

    def first(self, alert: Alert, at: datetime) -> Suppression | None:
        """Give the first that applies."""
        if not self._mutes:
            return None
        for position in self._index.matches(alert.labels):
            found = self._mutes[position].in_force(at)
            if found is not None:
                return found
        return None


def inhibited(inhibition: str, source: str) -> Suppression:
    """Give the suppression by an inhibition; the source alert's name is a stranger's text."""
    return Suppression("inhibition", inhibition, f"inhibited by {inhibition} while {show(source)} fires", None)


def never_again(calendar: Calendar, at: datetime) -> bool:
    """Say whether a calendar covers nothing in the year to come."""
    return not calendar.covers(at) and calendar.next_change(at) is None


def minute(at: datetime) -> str:
    """Give a UTC time as people read it."""
    return f"{at:%Y-%m-%d %H:%M} UTC"
