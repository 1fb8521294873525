"""Reads the fields of one mapping of a user's file: each mistake is kept with its line, none stops the reading."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from responder.errors import FileError, ResponderError
from responder.files import line_of, seconds, unknown_keys
from responder.model import Severity
from responder.rules.matchers import MAX_MATCHERS, Matcher, MatcherError, Regexes, parse

MAX_NAME_CHARS = 120
MAX_COMMENT_CHARS = 500
MAX_MISTAKES = 1000  # that are kept; nobody reads more, and a hostile file could hold a million
_CHANNEL = re.compile(r"[^\s{}$<>`]{1,80}")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?([Zz]|[+-]\d\d:\d\d)")
_SEV = {"1": "P0", "2": "P1", "3": "P2 or P3", "4": "P3"}


class RulesError(ResponderError):
    """The rule files cannot be used; `errors` holds every mistake of all files."""

    reason = "rules"

    def __init__(self, errors: Collection[FileError]) -> None:
        """Say them all, a line each."""
        super().__init__("\n".join(str(error) for error in errors))
        self.errors = list(errors)


class Mistakes(list[FileError]):
    """The mistakes found so far; what comes after the first thousand is not kept."""

    @property
    def full(self) -> bool:
        """Whether reading on is of no use."""
        return len(self) >= MAX_MISTAKES

    def append(self, error: FileError) -> None:
        """Keep one more, if there is room."""
        if not self.full:
            super().append(error)

    def extend(self, errors: Iterable[FileError]) -> None:
        """Keep those that there is room for; the others are not even made."""
        super().extend(islice(errors, MAX_MISTAKES - len(self)))


class Fields:
    """One mapping, and the mistakes found in it so far. Each reader gives a default where the field is wrong."""

    def __init__(self, path: Path, found: Any, errors: list[FileError], *, what: str, line: int = 0) -> None:
        """Take a value of the file; if it is no mapping, that is the one mistake. Args: what: its name for people."""
        self.path, self.errors, self.what = path, errors, what
        self.line = line_of(found) or line
        self.found: dict[str, Any] = found if isinstance(found, dict) else {}
        if not isinstance(found, dict):
            self.wrong(None, f"{what} must be a mapping (key: value), not {found!r:.60}")

    def wrong(self, key: str | None, message: str) -> None:
        """Keep one mistake, at its key's line."""
        self.errors.append(FileError(str(self.path), line_of(self.found, key) or self.line, message))

    def known(self, keys: Collection[str]) -> None:
        """Refuse keys that nobody reads."""
        self.errors.extend(unknown_keys(self.path, self.found, set(keys)))

    def text(self, key: str, *, most: int = MAX_NAME_CHARS) -> str:
        """Read a text of at most so many characters, "" when it is not there."""
        value = self.found.get(key)
        if value is None:
            return ""
        if not isinstance(value, str) or not value.strip() or not value.isprintable() or len(value) > most:
            self.wrong(key, f"{key} must be one line of text, at most {most} characters, not {value!r:.60}")
            return ""
        return value.strip()

    def texts(self, key: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Read a list of texts; a single text counts as a list of one."""
        value = self.found.get(key)
        if value is None:
            return default
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list) or not all(isinstance(item, str) and item.strip() for item in items):
            self.wrong(key, f"{key} must be a list of texts, not {value!r:.60}")
            return default
        return tuple(items)

    def labels(self, key: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Read a list of label names."""
        names = self.texts(key, default)
        if "..." in names:
            self.wrong(key, f"{key}: '...' is not supported; name the labels")
        return tuple(dict.fromkeys(names))

    def matchers(self, key: str, regexes: Regexes | None = None) -> tuple[Matcher, ...]:
        """Read a list of matchers, all of which must match; () when it is not there. Args: regexes: of the load."""
        found: list[Matcher] = []
        texts = self.texts(key)
        if len(texts) > MAX_MATCHERS:
            self.wrong(key, f"{key} holds {len(texts)} matchers; at most {MAX_MATCHERS}")
            return ()
        for text in texts:
            try:
                matchers = parse(text, regexes)
            except MatcherError as error:
                self.wrong(key, f"{key} {text!r:.100}: {error}")
                continue
            if not matchers:
                self.wrong(key, f"{key} {text!r:.60} asks for nothing; name a label in it, or remove it")
            found.extend(matchers)
        return tuple(found)

    def entries(self, key: str) -> Iterator[Fields]:
        """Read a list of mappings, each as fields of its own."""
        items = self.found.get(key)
        if items is None:
            return
        if not isinstance(items, list):
            self.wrong(key, f"{key} must be a list; begin each entry with -")
            return
        line = line_of(self.found, key) or self.line
        for item in items:
            fields = Fields(self.path, item, self.errors, what=f"an entry of {key}", line=line)
            if fields.found or item == {}:
                yield fields

    def time(self, key: str) -> datetime | None:
        """Read a moment as RFC 3339 writes it, in UTC; None when it is not there or wrong."""
        value = self.found.get(key)
        if value is None:
            return None
        try:
            if isinstance(value, str) and _TIME.fullmatch(value):
                return datetime.fromisoformat(value.upper()).astimezone(UTC)
        except (ValueError, OverflowError):  # the 30th of February; a year beyond 9999
            pass
        self.wrong(key, f"{key} must be a time with its offset, such as 2026-12-01T22:00:00+01:00, not {value!r:.60}")
        return None

    def flag(self, key: str) -> bool:
        """Read true or false, false when it is not there."""
        value = self.found.get(key, False)
        if not isinstance(value, bool):
            self.wrong(key, f"{key} must be true or false, not {value!r:.60}")
        return value is True

    def duration_s(self, key: str, default: float | None = None, *, least: float = 1.0) -> float | None:
        """Read a duration; null means none."""
        if key not in self.found:
            return default
        value = self.found[key]
        if value is None:
            return None
        try:
            duration = seconds(value)
        except ValueError as error:
            self.wrong(key, f"{key}: {error}")
            return default
        if duration < least:
            self.wrong(key, f"{key} must be at least {least:g} s, not {value!r:.60}")
            return default
        return duration

    def number(self, key: str, *, whole: bool = False, least: float | None = None) -> float | None:
        """Read a number, None when it is not there or wrong."""
        value = self.found.get(key)
        kinds = (int,) if whole else (int, float)
        if isinstance(value, kinds) and not isinstance(value, bool) and (least is None or value >= least):
            return float(value)
        bound = "" if least is None else f", at least {least:g}"
        self.wrong(key, f"{key} must be {'a whole number' if whole else 'a number'}{bound}, not {value!r:.60}")
        return None

    def severity(self, key: str) -> Severity | None:
        """Read one of P0 to P3."""
        if key not in self.found:
            self.wrong(None, f"{self.what} has no {key}; give one of P0, P1, P2, P3")
            return None
        value = self.found[key]
        if isinstance(value, str) and value in list(Severity):
            return Severity(value)
        self.wrong(key, f"{key} {value!r:.60} is not one of P0, P1, P2, P3{_severity_hint(value)}")
        return None

    def channel(self, key: str) -> str:
        """Read a channel's name or id."""
        return self._channel(key, self.text(key))

    def channels(self, key: str) -> tuple[str, ...]:
        """Read a list of channels, each once."""
        names = [self._channel(key, name) for name in self.texts(key)]
        return tuple(dict.fromkeys(name for name in names if name))

    def _channel(self, key: str, name: str) -> str:
        if not name or _CHANNEL.fullmatch(name):
            return name
        self.wrong(key, f"{key} {name!r:.60} is not a channel; give its name or id: nothing is filled in from alerts")
        return ""


def _severity_hint(value: object) -> str:
    match = re.fullmatch(r"(?i)s(?:ev)?[ -_]?([1-4])", str(value))
    if match:
        return f"; SEV-{match[1]} is {_SEV[match[1]]} here"
    if str(value).upper() in list(Severity):
        return f"; write {str(value).upper()}"
    return (
        "; P0 complete outage, P1 major function broken, P2 degraded, P3 minor (SEV-1 is P0, SEV-2 P1, SEV-3 P2 or P3)"
    )
