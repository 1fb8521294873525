"""One event is one line, in both formats; no value forges another and no secret comes through."""

import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from responder.logs import configure
from responder.redact import Redactor

FORGED = "x\n2026-11-20T00:00:00Z [info] forged\r\x1b[2K\x1b]52;c;eA==\x07\u2028\u202e\x85"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("responder").setLevel(logging.NOTSET)
    structlog.contextvars.clear_contextvars()
    structlog.reset_defaults()


class Log:
    """A configured log whose stream is at hand."""

    def __init__(self, *, terminal: bool, level: str = "info") -> None:
        self.stream = io.StringIO()
        configure(terminal=terminal, level=level, redactor=Redactor(["hunter2-secret"]), stream=self.stream)
        self.log = structlog.get_logger()

    @property
    def lines(self) -> list[str]:
        return self.stream.getvalue().split("\n")[:-1]

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]


def fail_with(log: Log, message: str) -> None:
    """Log an exception as code does."""
    try:
        int(message)
    except ValueError as error:
        error.args = (message,)
        log.log.exception("failed")


def test_an_event_is_one_line_of_json() -> None:
    """Time, level and event first."""
    log = Log(terminal=False)
    log.log.info("incident opened", severity="P1", n=3)
    (event,) = log.events
    assert list(event)[:3] == ["time", "level", "event"]
    assert event["time"].endswith("Z")
    assert event | {"level": "info", "event": "incident opened", "severity": "P1", "n": 3} == event


def test_context_stands_in_every_event_ours_or_not() -> None:
    """A library's warning belongs to the incident at work."""
    log = Log(terminal=False)
    with structlog.contextvars.bound_contextvars(incident="INC-7", request_id="r1"):
        log.log.info("ours")
        logging.getLogger("aiohttp.server").warning("theirs %s", "too")
    assert [(each["incident"], each["request_id"], each["event"]) for each in log.events] == [
        ("INC-7", "r1", "ours"),
        ("INC-7", "r1", "theirs too"),
    ]
    assert log.events[1]["logger"] == "aiohttp.server"


@pytest.mark.parametrize("terminal", [False, True], ids=["json", "terminal"])
def test_no_value_forges_a_line_or_drives_a_terminal(terminal: bool) -> None:
    """As event, value, nested value, exception, key and library's message."""
    log = Log(terminal=terminal)
    log.log.warning(FORGED, value=FORGED, deep={"a": [FORGED]}, thing=ValueError(FORGED), **{FORGED: 1})
    logging.getLogger("slack_sdk").warning(FORGED)
    assert len(log.lines) == 2
    assert all(COLOUR.sub("", line).isprintable() or not terminal for line in log.lines)
    assert all(line.isascii() or terminal for line in log.lines)
    assert not set("\x1b\x07\r") & set(COLOUR.sub("", log.stream.getvalue()))


def test_a_traceback_on_a_terminal_stands_behind_a_bar() -> None:
    """Its lines stay lines, and none looks like an event."""
    log = Log(terminal=True)
    fail_with(log, f"hunter2-secret {FORGED}")
    first, *others = log.lines
    assert "failed" in first
    assert others
    assert all(line.startswith("  │ ") and line.isprintable() for line in others)
    assert "hunter2" not in log.stream.getvalue()


def test_a_traceback_in_json_stays_in_its_line() -> None:
    """Redacted as well."""
    log = Log(terminal=False)
    fail_with(log, "hunter2-secret")
    (event,) = log.events
    assert "ValueError: [redacted]" in event["exception"]


@pytest.mark.parametrize("terminal", [False, True], ids=["json", "terminal"])
def test_secrets_are_redacted_wherever_they_stand(terminal: bool) -> None:
    """In a repr, in bytes, under a telling key, in a library's arguments."""

    class Thing:
        def __repr__(self) -> str:
            return "Thing(hunter2-secret)"

    log = Log(terminal=terminal)
    log.log.info("hunter2-secret", thing=Thing(), raw=b"hunter2-secret", by_key={"password": "short"})
    logging.getLogger("anthropic").error("header %s", {"Authorization": "Bearer abcdefgh"})
    assert not any(word in log.stream.getvalue() for word in ("hunter2", "short", "abcdefgh"))


def test_ours_comes_from_the_level_on_and_theirs_from_warning() -> None:
    """Libraries at INFO log every request."""
    log = Log(terminal=False, level="debug")
    log.log.debug("ours")
    logging.getLogger("httpx2").info("theirs")
    logging.getLogger("httpx2").warning("theirs, worse")
    assert [each["event"] for each in log.events] == ["ours", "theirs, worse"]
    quiet = Log(terminal=False, level="error")
    quiet.log.warning("ours")
    assert quiet.lines == []


def test_an_unknown_level_is_refused() -> None:
    """With its name."""
    with pytest.raises(ValueError, match="loud"):
        Log(terminal=False, level="loud")


def test_a_record_that_cannot_be_formatted_is_dropped_without_a_trace(capsys: pytest.CaptureFixture[str]) -> None:
    """The default prints its arguments, unredacted."""
    log = Log(terminal=False)
    logging.getLogger("aiohttp").warning("%s and %s", "hunter2-secret")
    assert log.lines == []
    assert "hunter2" not in "".join(capsys.readouterr())


def test_a_broken_stream_stops_nobody() -> None:
    """Alerts matter more than logs."""
    log = Log(terminal=False)
    log.stream.close()
    log.log.info("nobody reads this")


def test_numbers_that_json_does_not_know_are_text() -> None:
    """A strict reader must not stumble."""
    log = Log(terminal=False)
    log.log.info("x", rate=float("nan"), peak=float("inf"))
    assert "NaN" not in log.stream.getvalue()
    assert log.events[0]["rate"] == "nan"


def test_a_long_value_is_cut() -> None:
    """A log line is no place for a body."""
    log = Log(terminal=False)
    log.log.info("x", body="y" * 1_000_000)
    assert len(log.lines[0]) < 20_000
