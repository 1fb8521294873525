"""The parts of `policy.yaml` that hold back: quiet hours, maintenance, silences, inhibitions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

from responder.errors import FileError
from responder.model import Severity
from responder.rules.fields import MAX_COMMENT_CHARS, Fields
from responder.rules.inhibit import Inhibition
from responder.rules.matchers import Matcher
from responder.rules.quiet import QuietHours
from responder.rules.read_calendar import KEYS as CALENDAR_KEYS
from responder.rules.read_calendar import read_calendar
from responder.rules.suppress import Maintenance, Silence

MAX_MAINTENANCE = timedelta(days=30)
ABSOLUTE_KEYS = ("starts_at", "ends_at")
_STRANGE = ("", "0", "\u2603 \0", "no such value", "x" * 50)  # what no matcher accepts by chance, all of them
_HOW = "starts_at and ends_at for once, or days, from, to and timezone for again and again"
_Kind = TypeVar("_Kind")


def read_quiet_hours(top: Fields, warnings: list[FileError]) -> tuple[QuietHours, ...]:
    """Read `quiet_hours`."""
    return tuple(_each(top, "quiet_hours", lambda fields: _quiet_hours(fields, warnings)))


def read_maintenance(top: Fields, warnings: list[FileError]) -> tuple[Maintenance, ...]:
    """Read `maintenance`."""
    return tuple(_each(top, "maintenance", lambda fields: _maintenance(fields, warnings)))


def read_silences(top: Fields, warnings: list[FileError]) -> tuple[Silence, ...]:
    """Read `silences`."""
    read = (_silence(fields, warnings) for fields in top.entries("silences"))
    return tuple(each for each in read if each is not None)


def read_inhibitions(top: Fields, warnings: list[FileError]) -> tuple[Inhibition, ...]:
    """Read `inhibitions`."""
    return tuple(_each(top, "inhibitions", lambda fields: _inhibition(fields, warnings)))


def _each(top: Fields, key: str, read: Callable[[Fields], _Kind | None]) -> Iterator[_Kind]:
    """Read the entries of a list whose entries have names, each its own."""
    names: dict[str, int] = {}
    for fields in top.entries(key):
        name = fields.text("name")
        if fields.found.get("name") is None:
            fields.wrong(None, f"{fields.what} has no name; explanations call it by its name")
        elif name in names:
            fields.wrong("name", f"{key} {name!r} stands twice; the first is on line {names[name]}; rename one")
        elif name:
            names[name] = fields.line
            fields.what = f"{key} {name!r}"
        found = read(fields)
        if found is not None:
            yield found


def _quiet_hours(fields: Fields, warnings: list[FileError]) -> QuietHours | None:
    fields.known(("name", "severities", "match", *CALENDAR_KEYS))
    calendar = read_calendar(fields)
    severities = _severities(fields)
    if Severity.P0 in severities:
        fields.wrong("severities", "P0 cannot be quiet: a complete outage wakes people; take it out of severities")
    if Severity.P1 in severities:
        _warn(fields, warnings, "holds back P1 too: while it lasts, a broken major function wakes nobody")
    if calendar is None:
        return None
    matchers = fields.matchers("match")
    return QuietHours(fields.text("name"), calendar, severities, matchers, str(fields.path), fields.line)


def _severities(fields: Fields) -> tuple[Severity, ...]:
    texts = fields.texts("severities", (Severity.P2, Severity.P3))
    unknown = [text for text in texts if text not in list(Severity)]
    if unknown or not texts:
        fields.wrong("severities", f"severities must be a list of P1, P2, P3, not {fields.found['severities']!r:.60}")
    return tuple(sorted({Severity(text) for text in texts if text not in unknown}))


def _maintenance(fields: Fields, warnings: list[FileError]) -> Maintenance | None:
    fields.known(("name", "match", "comment", "everything", *ABSOLUTE_KEYS, *CALENDAR_KEYS))
    matchers = _muted(fields, warnings)
    window = Maintenance(
        fields.text("name"),
        matchers,
        comment=fields.text("comment", most=MAX_COMMENT_CHARS),
        path=str(fields.path),
        line=fields.line,
    )
    once = [key for key in ABSOLUTE_KEYS if fields.found.get(key) is not None]
    again = [key for key in CALENDAR_KEYS if fields.found.get(key) is not None]
    if once and again:
        fields.wrong(again[0], f"{again[0]} does not go with {once[0]}; write {_HOW}")
        return None
    if again:
        calendar = read_calendar(fields)
        return replace(window, calendar=calendar) if calendar else None
    if len(once) != len(ABSOLUTE_KEYS):
        fields.wrong(once[0] if once else None, f"{fields.what} does not say from when to when; write {_HOW}")
        return None
    return _once(fields, window)


def _once(fields: Fields, window: Maintenance) -> Maintenance | None:
    starts_at, ends_at = fields.time("starts_at"), fields.time("ends_at")
    if starts_at is None or ends_at is None:
        return None
    if ends_at <= starts_at:
        fields.wrong("ends_at", "ends_at must lie after starts_at")
    elif ends_at - starts_at > MAX_MAINTENANCE:
        days = MAX_MAINTENANCE.days
        fields.wrong("ends_at", f"maintenance longer than {days} days is forgotten; end it earlier, or split it")
    return replace(window, starts_at=starts_at, ends_at=ends_at)


def _silence(fields: Fields, warnings: list[FileError]) -> Silence | None:
    fields.what = "a silence"
    fields.known(("match", "from", "until", "by", "comment", "everything"))
    by, comment = fields.text("by"), fields.text("comment", most=MAX_COMMENT_CHARS)
    for key, what in (("by", "who silences"), ("comment", "why"), ("until", "when it ends")):
        if fields.found.get(key) is None:
            fields.wrong(None, f"a silence has no {key}; say {what}")
    matchers = _muted(fields, warnings)
    starts_at, until = fields.time("from"), fields.time("until")
    if until is None:
        return None
    if starts_at is not None and until <= starts_at:
        fields.wrong("until", "until must lie after from")
    return Silence(matchers, until, by, comment, starts_at, str(fields.path), fields.line)


def _inhibition(fields: Fields, warnings: list[FileError]) -> Inhibition | None:
    fields.known(("name", "source", "target", "equal"))
    for key in ("source", "target"):
        if not fields.found.get(key):
            fields.wrong(key, f"{fields.what} has no {key}; name the alerts by matchers")
    source, target = fields.matchers("source"), fields.matchers("target")
    if source and set(source) == set(target):
        _warn(fields, warnings, "mutes nothing: what matches both sides is not muted by what matches both sides")
    return Inhibition(fields.text("name"), source, target, fields.labels("equal"))


def _muted(fields: Fields, warnings: list[FileError]) -> tuple[Matcher, ...]:
    """Read a `match` that takes alerts away: it must ask for something, or say that it means everything."""
    everything, before = fields.flag("everything"), len(fields.errors)
    matchers = fields.matchers("match")
    if len(fields.errors) > before or everything:
        return matchers
    if not matchers:
        fields.wrong("match", f"{fields.what} has no match; name the alerts by matchers, or write everything: true")
    elif all(_takes_all(matcher) for matcher in matchers):
        fields.wrong("match", f"{fields.what} matches every alert; narrow match, or write everything: true")
    elif all(matcher.test("") for matcher in matchers):
        names = ", ".join(dict.fromkeys(matcher.name for matcher in matchers))
        _warn(fields, warnings, f"mutes also what has no label {names}: ask for something that an alert must have")
    return matchers


def _takes_all(matcher: Matcher) -> bool:
    """Say whether a matcher lets every alert through, as far as a few strange values show; each has an alertname."""
    if matcher.operator in ("!=", "!~") and matcher.value:
        return False
    values = _STRANGE[1:] if matcher.name == "alertname" else _STRANGE
    return all(matcher.test(value) for value in values)


def _warn(fields: Fields, warnings: list[FileError], message: str) -> None:
    warnings.append(FileError(str(fields.path), fields.line, f"{fields.what} {message}"))
