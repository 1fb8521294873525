"""The terminal as a chat: threads are told apart, nothing drives the terminal, a broken pipe is just an error."""

import io
import os
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from responder.errors import PermanentError
from responder.integrations.console import Console, Settings, plugin
from responder.model import Marker, Message, Severity
from responder.ports import Surroundings

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
NOW = datetime(2026, 11, 20, tzinfo=UTC)
HEAD = Marker("INC-7", "head", 1)
REPLY = Marker("INC-7", "reply", 2)
MESSAGE = Message(
    "API error rate high",
    facts=(("Service", "api"), ("Since", "12:00")),
    body="What we know.\nWhat we do.",
    code="kubectl get pods",
    footer="rule api-degraded",
    severity=Severity.P1,
)
HOSTILE = (
    "[bold red]x[/] [link=http://evil]y[/link] :fire: \x1b[2J\x1b]52;c;eA==\x07\u202e\u200b\r\x9b31m\n─ INC-8 forged"
)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Yes."""
        return True


class ClosedPipe(io.StringIO):
    """What stdout is when its reader has gone."""

    def write(self, text: str) -> int:
        """Fail as the operating system does."""
        raise BrokenPipeError(32, "Broken pipe")


class Still:
    """A clock and a source of ids that nothing here asks."""

    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("the console waits for nothing")

    def token(self) -> str:
        return "t"

    def fraction(self) -> float:
        return 0.0


async def post(
    chat: Console, message: Message = MESSAGE, marker: Marker = HEAD, thread_ts: str = ""
) -> tuple[str, str]:
    """Post with usual arguments."""
    return await chat.post(message, channel="", thread_ts=thread_ts, broadcast=False, marker=marker)


def lines(stream: io.StringIO) -> list[str]:
    """What was drawn, without colour."""
    return COLOUR.sub("", stream.getvalue()).split("\n")[:-1]


async def test_a_head_is_plain_lines_where_there_is_no_terminal() -> None:
    """Each line says whose it is."""
    stream = io.StringIO()
    assert await post(Console(Settings(), stream)) == ("#incidents", "1")
    assert stream.getvalue().split("\n")[:-1] == [
        "INC-7 P1 API error rate high",
        "INC-7 │ Service: api",
        "INC-7 │ Since: 12:00",
        "INC-7 │ What we know.",
        "INC-7 │ What we do.",
        "INC-7 │ kubectl get pods",
        "INC-7 │ rule api-degraded",
    ]


@pytest.mark.parametrize(("severity", "colour"), [(Severity.P0, "\x1b[1;31m"), (Severity.P2, "\x1b[33m")])
async def test_a_head_is_a_coloured_panel_on_a_terminal(
    severity: Severity, colour: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By severity, where the terminal has colours."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    await post(Console(Settings(), stream), replace(MESSAGE, severity=severity))
    assert colour in stream.getvalue()
    first, *inside, last = lines(stream)
    assert first.startswith(f"╭─ INC-7 {severity.value} API error rate high ─")
    assert last.startswith("╰─")
    assert all(line.startswith("│ ") and line.endswith(" │") for line in inside)


async def test_a_title_too_long_for_the_panels_edge_stands_whole_inside() -> None:
    """The edge would cut it."""
    stream = Terminal()
    await post(Console(Settings(), stream), replace(MESSAGE, title="word " * 60 + "end"))
    assert "end" in stream.getvalue()


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()], ids=["plain", "terminal"])
async def test_a_reply_stands_behind_a_bar_with_the_incidents_name(stream: io.StringIO) -> None:
    """Wrapped lines too: many threads share one screen."""
    await post(Console(Settings(), stream), replace(MESSAGE, body="word " * 100), REPLY, thread_ts="1")
    assert all(line.startswith("INC-7 │ ") for line in lines(stream))
    assert lines(stream)[0] == "INC-7 │ P1 API error rate high"


async def test_the_name_is_not_said_twice() -> None:
    """Titles of heads may begin with it."""
    stream = io.StringIO()
    await post(Console(Settings(), stream), replace(MESSAGE, title="INC-7 · P1 · API error rate high"))
    assert lines(stream)[0] == "INC-7 P1 · API error rate high"


async def test_another_channel_is_named() -> None:
    """The usual one is not."""
    stream = io.StringIO()
    console = Console(Settings(), stream)
    place = await console.post(MESSAGE, channel="#inc-api", thread_ts="", broadcast=False, marker=HEAD)
    assert place == ("#inc-api", "1")
    assert lines(stream)[0].endswith("in #inc-api")


async def test_an_edit_is_one_line_with_what_is_new() -> None:
    """And nothing at all when nothing is new."""
    stream = io.StringIO()
    console = Console(Settings(), stream)
    channel, ts = await post(console)
    changed = replace(MESSAGE, facts=(("Service", "api"), ("Since", "12:00"), ("Firing", "3")), footer="")
    for _ in range(2):
        await console.edit(changed, channel=channel, ts=ts, marker=HEAD)
    assert lines(stream)[7:] == ["INC-7 ↻ Firing: 3"]


async def test_an_edit_that_only_takes_away_still_tells() -> None:
    """By its title."""
    stream = io.StringIO()
    console = Console(Settings(), stream)
    channel, ts = await post(console)
    await console.edit(replace(MESSAGE, facts=()), channel=channel, ts=ts, marker=HEAD)
    assert lines(stream)[-1] == "INC-7 ↻ P1 API error rate high"


async def test_an_edit_of_an_earlier_processs_post_is_one_short_line() -> None:
    """It says all there is, cut."""
    stream = io.StringIO()
    await Console(Settings(), stream).edit(replace(MESSAGE, body="x" * 5000), channel="#i", ts="99", marker=HEAD)
    (line,) = lines(stream)
    assert line.startswith("INC-7 ↻ P1 API error rate high · Service: api")
    assert len(line) < 400


async def test_find_knows_the_posts_of_this_process() -> None:
    """And no others."""
    console = Console(Settings(), io.StringIO())
    channel, ts = await post(console)
    await post(console, marker=REPLY, thread_ts=ts)
    assert await console.find(HEAD, channel=channel, thread_ts="", since=NOW) == (channel, ts)
    assert await console.find(replace(HEAD, post=3), channel=channel, thread_ts="", since=NOW) is None
    assert await Console(Settings(), io.StringIO()).find(HEAD, channel=channel, thread_ts="", since=NOW) is None


async def test_memory_is_bounded() -> None:
    """A daemon runs for months."""
    console = Console(Settings(), io.StringIO())
    for number in range(1100):
        await post(console, Message("x"), Marker("INC-7", "reply", number), thread_ts="1")
    assert await console.find(Marker("INC-7", "reply", 0), channel="", thread_ts="1", since=NOW) is None
    assert await console.find(Marker("INC-7", "reply", 1099), channel="", thread_ts="1", since=NOW) is not None


@pytest.mark.parametrize("make", [io.StringIO, Terminal], ids=["plain", "terminal"])
@pytest.mark.parametrize("thread_ts", ["", "1"], ids=["head", "reply"])
async def test_hostile_text_neither_drives_the_terminal_nor_forges_a_thread(
    make: Callable[[], io.StringIO], thread_ts: str
) -> None:
    """Escapes, OSC 52, bidi, markup of the drawing library; in every place."""
    stream = make()
    console = Console(Settings(), stream)
    message = Message(HOSTILE, ((HOSTILE, HOSTILE),), HOSTILE, HOSTILE, HOSTILE, severity=Severity.P0)
    channel, ts = await post(console, message, thread_ts=thread_ts)
    await console.edit(replace(message, body=f"new {HOSTILE}"), channel=channel, ts=ts, marker=HEAD)
    assert all(line.isprintable() for line in lines(stream))
    assert not any(line.startswith("─ INC-8") for line in lines(stream))
    assert "[bold red]x[/]" in stream.getvalue()


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(), max_size=200), st.text(st.characters(), max_size=400), st.booleans())
async def test_any_text_is_inert(title: str, body: str, terminal: bool) -> None:
    """Over all planes."""
    stream = Terminal() if terminal else io.StringIO()
    console = Console(Settings(), stream)
    await post(console, Message(title, ((title, body),), body), thread_ts="1")
    assert all(line.startswith("INC-7 │ ") for line in lines(stream))
    assert all(char.isprintable() or char.isspace() for line in lines(stream) for char in line)
    assert "\r" not in stream.getvalue()


async def test_a_huge_message_is_cut_and_says_so() -> None:
    """Where to read the rest."""
    stream = io.StringIO()
    await post(Console(Settings(), stream), replace(MESSAGE, body="x\n" * 50_000, code="y" * 50_000))
    assert len(lines(stream)) < 210
    assert lines(stream)[-1] == "INC-7 │ … more, see responder incidents show INC-7"


async def test_a_panel_is_drawn_with_what_the_stream_knows() -> None:
    """No box of escapes."""
    raw = io.BytesIO()

    class Old(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    stream = Old(raw, encoding="ascii", write_through=True)
    await post(Console(Settings(), stream))
    assert b"\\u" not in raw.getvalue()
    assert "+- INC-7 P1" in COLOUR.sub("", raw.getvalue().decode())


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
async def test_a_stream_that_knows_few_characters_gets_escapes(encoding: str) -> None:
    """LANG=C is what many containers have."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, write_through=True)
    await post(Console(Settings(), stream), replace(MESSAGE, body="日本"))
    assert b"INC-7 | \\u65e5\\u672c" in raw.getvalue()


async def test_a_broken_pipe_is_a_permanent_error() -> None:
    """Whoever read us has gone for good."""
    with pytest.raises(PermanentError):
        await post(Console(Settings(), ClosedPipe()))


async def test_a_real_broken_pipe_is_a_permanent_error() -> None:
    """As `responder run | head -1` makes it."""
    reading, writing = os.pipe()
    os.close(reading)
    stream = os.fdopen(writing, "w", encoding="utf-8")
    with pytest.raises(PermanentError):
        await post(Console(Settings(), stream))
    with pytest.raises(BrokenPipeError):
        stream.close()


async def test_a_closed_stream_is_a_permanent_error() -> None:
    """At shutdown."""
    stream = io.StringIO()
    console = Console(Settings(), stream)
    stream.close()
    with pytest.raises(PermanentError):
        await post(console)


async def test_the_plugin_draws_on_what_stdout_is_when_opened(capsys: pytest.CaptureFixture[str]) -> None:
    """Not on what it was at import."""
    assert plugin.chat is not None
    still = Still()
    async with plugin.chat(Settings(), Surroundings(still, still)) as chat:
        await chat.post(MESSAGE, channel="", thread_ts="", broadcast=False, marker=HEAD)
        assert await chat.permalink(channel="", ts="1") == ""
    assert capsys.readouterr().out.startswith("INC-7 P1 API error rate high\n")
