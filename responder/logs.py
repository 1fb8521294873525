"""Sets up logging: one event is one line on stderr, JSON or readable, without secrets; no value can forge a line."""

import logging
import sys
from collections.abc import Mapping
from math import isfinite
from typing import Any, Protocol, TextIO

import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, Processor, WrappedLogger

MAX_VALUE_CHARS = 16_384
MAX_DEPTH = 6
OURS = "responder"
FIRST = ("time", "level", "event")  # of a line


class Redacts(Protocol):
    """What takes secrets out of a tree of dicts, lists and texts."""

    def data(self, value: Any) -> Any: ...


def configure(*, terminal: bool, level: str, redactor: Redacts, stream: TextIO | None = None) -> None:
    """Send our events from `level` on, and other libraries' from WARNING on, to stderr: coloured text or JSON lines.

    What `structlog.contextvars` holds (incident, request id) stands in every event. A later call replaces an earlier.

    Raises: ValueError: no such level.
    """
    threshold = _threshold(level)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]
    handler = _Stderr(stream or sys.stderr)
    handler.setFormatter(ProcessorFormatter(processors=_final(terminal, redactor), foreign_pre_chain=[*shared, _name]))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    ours = logging.getLogger(OURS)
    ours.setLevel(threshold)
    structlog.configure(
        processors=[*shared, ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lambda *_: ours,
        cache_logger_on_first_use=False,
    )


def _threshold(level: str) -> int:
    levels = logging.getLevelNamesMapping()
    if level.upper() not in levels:
        raise ValueError(f"log level: {level!r} is none of {', '.join(levels).lower()}")
    return levels[level.upper()]


def _final(terminal: bool, redactor: Redacts) -> list[Processor]:
    """The way of every event, ours or not; redaction comes last, before the drawing of what is then plain data."""

    def redact(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        return dict(redactor.data(event))

    ordered: list[Processor] = [
        ProcessorFormatter.remove_processors_meta,
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        _plain,
        redact,
    ]
    if not terminal:
        return [*ordered, structlog.processors.JSONRenderer(sort_keys=False, ensure_ascii=True)]
    console = structlog.dev.ConsoleRenderer(
        colors=True, timestamp_key="time", exception_formatter=structlog.dev.plain_traceback
    )
    return [*ordered, _readable, console]


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes a line; a broken pipe or an unprintable record is nobody's business but ours."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Drop the record: the default prints it raw, with arguments that nobody redacted."""


def _name(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    event["logger"] = event["_record"].name
    return event


def _plain(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Reduce values to what JSON has, so that redaction sees all text there is; longer texts are cut."""
    first = {key: event.pop(key) for key in FIRST if key in event}
    return {str(key): _as_data(value, 0) for key, value in {**first, **event}.items()}


def _as_data(value: object, depth: int) -> object:
    if value is None or isinstance(value, (bool, int)) or (isinstance(value, float) and isfinite(value)):
        return value
    if isinstance(value, str):
        return value if len(value) <= MAX_VALUE_CHARS else f"{value[:MAX_VALUE_CHARS]}… {len(value)} characters"
    if isinstance(value, Mapping) and depth < MAX_DEPTH:
        return {str(key): _as_data(each, depth + 1) for key, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)) and depth < MAX_DEPTH:
        return [_as_data(each, depth + 1) for each in value]
    return _as_data(str(value) if isinstance(value, BaseException) else repr(value), depth)


def _readable(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Make each value one inert line; a traceback keeps its lines, each behind a bar that no event begins with."""
    tracebacks = {key: _barred(str(event.pop(key))) for key in ("exception", "stack") if key in event}
    return {_inert(key): _shown(value) for key, value in event.items()} | tracebacks


def _shown(value: object) -> object:
    return _inert(value) if isinstance(value, str) else value


def _barred(text: str) -> str:
    return "\n".join(f"  │ {_inert(line)}" for line in text.split("\n"))


def _inert(text: str) -> str:
    """The text with everything that is not printable written as an escape."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
