"""Reads users' YAML safely: what a hostile or careless file could do to us is refused with its line."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from responder.errors import FileError

MAX_BYTES = 1 << 20
MAX_DEPTH = 20
TOO_LARGE = f"larger than {MAX_BYTES >> 20} MiB; split it"
_QUOTED = frozenset("'\"|>")  # or block: text as it stands
_WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}
_NUMBER_BEGINS = frozenset("+-0123456789")
_WHOLE = re.compile(r"[-+]?[0-9]{1,18}")
_OCTAL = re.compile(r"[-+]?0[0-9]+")
_FRACTION = re.compile(r"[-+]?[0-9]{1,18}\.[0-9]{1,18}")
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # as in YAML 1.1
MAX_SECONDS = 36_525 * 86_400
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?")


class Located(dict[str, Any]):
    """A mapping that remembers where it stood: `line` of itself, `lines` of each key (1-based)."""

    def __init__(self, line: int) -> None:
        """Start empty at a line."""
        super().__init__()
        self.line = line
        self.lines: dict[str, int] = {}


def line_of(value: object, key: str | None = None) -> int:
    """Give the line of a mapping or of one of its keys, 0 when unknown."""
    if not isinstance(value, Located):
        return 0
    return value.lines.get(key, value.line) if key is not None else value.line


def read_yaml(path: Path, text: str | None = None, *, first_line: int = 1) -> Any:
    """Read one YAML document into plain values; mappings are Located.

    Refused, each with its line: anchors, aliases, tags, duplicate and non-text keys, several documents, more than 20
    levels, more than 1 MiB, NUL and other control characters. `yes`, `no`, `on`, `off` stay text, as do dates.

    Args: text: the content, when it is already read or only a part of the file; first_line: where that part begins.
    Returns: None for an empty document.
    Raises: FileError.
    """
    if text is None:
        text = read_text(path)
    if len(text) > MAX_BYTES or len(text.encode("utf-8", "replace")) > MAX_BYTES:
        raise FileError(str(path), 0, TOO_LARGE)
    odd = _UNPRINTABLE.search(text)
    if odd is not None:
        line = text.count("\n", 0, odd.start()) + first_line
        raise FileError(str(path), line, f"not YAML: it holds the control character {ord(odd[0]):#04x}; remove it")
    try:
        return _Document(path, text, first_line).read()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = mark.line + first_line if mark else 0
        raise FileError(str(path), line, f"not YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise FileError(str(path), 0, f"not YAML: {error}") from error


def read_text(path: Path) -> str:
    """Read a file of at most 1 MiB as UTF-8, with or without a byte order mark; lines end in LF. Raises: FileError."""
    raw = read_bytes(path)
    try:
        return raw.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        hint = "; it looks like UTF-16: save it as UTF-8" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
        message = f"not UTF-8: byte {error.start} is {raw[error.start]:#x}{hint}"
        raise FileError(str(path), line, message) from error


def read_bytes(path: Path) -> bytes:
    """Read a regular file of at most 1 MiB, whole and as it was at one moment.

    Raises: FileError: also for what is no file: a pipe's end would be waited for, a device's never come.
    """
    try:
        _regular(path, path.stat())
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as opened:
            before = _regular(path, os.fstat(opened.fileno()))  # it may be another by now
            raw = opened.read(MAX_BYTES + 1)
            after = os.fstat(opened.fileno())
    except OSError as error:
        raise FileError(str(path), 0, f"cannot be read: {error.strerror}") from error
    if len(raw) > MAX_BYTES:
        raise FileError(str(path), 0, TOO_LARGE)
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise FileError(str(path), 0, "changed while it was read; read it again")
    return raw


def _regular(path: Path, found: os.stat_result) -> os.stat_result:
    if not stat.S_ISREG(found.st_mode):
        what = "a folder" if stat.S_ISDIR(found.st_mode) else "no regular file"
        raise FileError(str(path), 0, f"cannot be read: it is {what}")
    return found


class _Document:
    """Builds plain values from the parser's events: an alias bomb is refused before anything can grow."""

    def __init__(self, path: Path, text: str, first_line: int) -> None:
        self._path, self._first_line = path, first_line
        self._parser = yaml.CSafeLoader(text)
        self._next: Callable[[], Any] = self._parser.get_event

    def read(self) -> Any:
        """Give the one document's value, None when there is none."""
        try:
            self._next()  # the stream's start
            if type(self._next()) is yaml.StreamEndEvent:
                return None
            found = self._value(self._next(), 0)
            self._next()  # the document's end
            beyond = self._next()
            if type(beyond) is not yaml.StreamEndEvent:
                raise self._refused(beyond, "a second document begins; one document a file")
            return found
        finally:
            self._parser.dispose()

    def _value(self, event: Any, depth: int) -> Any:
        self._check(event)
        kind = type(event)
        if kind is yaml.ScalarEvent:
            return _scalar(event.value, event.style)
        if depth >= MAX_DEPTH:
            raise self._refused(event, f"nested deeper than {MAX_DEPTH} levels")
        if kind is yaml.MappingStartEvent:
            return self._mapping(event, depth + 1)
        return self._sequence(depth + 1)

    def _sequence(self, depth: int) -> list[Any]:
        found: list[Any] = []
        while type(event := self._next()) is not yaml.SequenceEndEvent:
            found.append(self._value(event, depth))
        return found

    def _mapping(self, start: Any, depth: int) -> Located:
        found = Located(self._line(start))
        while type(event := self._next()) is not yaml.MappingEndEvent:
            self._check(event)
            if not isinstance(event, yaml.ScalarEvent):
                raise self._refused(event, "a key must be plain text")
            key: str = event.value
            if key in found:
                raise self._refused(event, f"key {key!r:.60} stands twice; the first is on line {found.lines[key]}")
            found.lines[key] = self._line(event)
            found[key] = self._value(self._next(), depth)
        return found

    def _check(self, event: Any) -> None:
        """Refuse what YAML can do beyond plain values."""
        if type(event) is yaml.AliasEvent or event.anchor:
            raise self._refused(event, "anchors and aliases are not allowed; write the value out")
        if event.tag:
            raise self._refused(event, f"tag {event.tag:.60} is not allowed; remove it")

    def _line(self, event: Any) -> int:
        return int(event.start_mark.line) + self._first_line

    def _refused(self, event: Any, message: str) -> FileError:
        return FileError(str(self._path), self._line(event), message)


def _scalar(text: str, style: str | None) -> Any:
    if style in _QUOTED:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMBER_BEGINS:
        return text
    if _WHOLE.fullmatch(text) and not _OCTAL.fullmatch(text):
        return int(text)
    return float(text) if _FRACTION.fullmatch(text) else text


def seconds(value: object) -> float:
    """Turn `15m`, `1h30m`, `2s`, `2d` or a plain number of seconds into seconds.

    Raises: ValueError: neither, or more than a hundred years; the message names the value.
    """
    found = _seconds(value)
    if found > MAX_SECONDS:
        raise ValueError(f"{str(value)[:40]!r} is more than a hundred years; write a shorter duration")
    return found


def _seconds(value: object) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0:
        return float(value)
    match = _DURATION.fullmatch(value) if isinstance(value, str) and value else None
    if match is None:
        raise ValueError(f"{value!r:.60} is not a duration; write it as 90s, 15m, 1h30m or 2d")
    days, hours, minutes, rest = (float(part or 0) for part in match.groups())
    return days * 86400 + hours * 3600 + minutes * 60 + rest


def unknown_keys(path: Path, found: Mapping[str, object], known: set[str]) -> Iterator[FileError]:
    """Yield an error for each key that nobody reads: a misspelt key must not pass in silence."""
    for key in found:
        if key not in known:
            yield FileError(
                str(path), line_of(found, key), f"unknown key {key!r:.60}; known: {', '.join(sorted(known))}"
            )
