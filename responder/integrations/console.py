"""The terminal as a chat: draws incidents' threads on stdout, coloured on a terminal, plain lines otherwise."""

import sys
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from io import StringIO
from typing import TextIO

from pydantic import BaseModel
from rich import box
from rich.console import Console as Terminal
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from responder.errors import PermanentError
from responder.model import Marker, Message, Severity
from responder.ports import Chat, Plugin, Surroundings
from responder.redact import visible

MAX_CHARS = 10_000  # of one message
MAX_LINES = 200
MAX_NEWS_CHARS = 300  # of the line that tells what an edit changed
MAX_REMEMBERED = 1000  # messages, for `find` and to see what an edit changes
COLOURS = {Severity.P0: "bold red", Severity.P1: "red", Severity.P2: "yellow", Severity.P3: "cyan"}
LEAST_WIDTH = 20
PANEL_EDGES = 6


class Settings(BaseModel, frozen=True, extra="forbid"):
    """The channel's name, shown where it is not the usual one."""

    channel: str = "#incidents"


class Console:
    """One stream. What it wrote is remembered while the process lives, so `find` knows no earlier posts."""

    name = "console"
    budget = None

    def __init__(self, settings: Settings, stream: TextIO) -> None:
        """Draw on a stream; what it is decides on colour."""
        self.channel = settings.channel
        self._stream = stream
        self._encoding = stream.encoding or "utf-8"
        # Rich draws on paper, not on the stream: at a broken pipe it would end the process.
        self._terminal = Terminal(
            file=StringIO(), force_terminal=stream.isatty(), markup=False, highlight=False, emoji=False
        )
        fancy = _can_write("│╭─╮╰╯", self._encoding)
        self._bar, self._box = ("│", box.ROUNDED) if fancy else ("|", box.ASCII)
        # ts -> (marker, channel, lines), oldest first
        self._remembered: OrderedDict[str, tuple[Marker, str, list[str]]] = OrderedDict()
        self._count = 0

    async def post(
        self, message: Message, *, channel: str, thread_ts: str, broadcast: bool, marker: Marker
    ) -> tuple[str, str]:
        """Draw a message -> (channel, number of the message). A head is a panel, a reply stands behind a bar."""
        where = channel or self.channel
        lines = _lines(message, marker)
        first = "bold" if message.title.strip() else ""
        self._write(
            self._behind_bar(lines, marker, first=first) if thread_ts else self._head(lines, where, message, marker)
        )
        self._count += 1
        self._remember(str(self._count), marker, where, lines)
        return where, str(self._count)

    async def edit(self, message: Message, *, channel: str, ts: str, marker: Marker) -> None:
        """Tell what changed, behind a turning arrow; nothing when nothing did."""
        lines = _lines(message, marker)
        _, _, before = self._remembered.get(ts, (marker, channel, []))
        if lines == before:
            return
        news = " · ".join(line for line in lines if line not in before) or lines[0]
        shown = news if len(news) <= MAX_NEWS_CHARS else f"{news[:MAX_NEWS_CHARS]}…"
        self._write(self._behind_bar([shown], marker, sign="↻" if self._bar == "│" else "=", style="dim"))
        self._remember(ts, marker, channel, lines)

    async def find(self, marker: Marker, *, channel: str, thread_ts: str, since: datetime) -> tuple[str, str] | None:
        """Look among the messages of this process -> (channel, ts)."""
        found = ((where, ts) for ts, (each, where, _) in reversed(self._remembered.items()) if each == marker)
        return next(found, None)

    async def permalink(self, *, channel: str, ts: str) -> str:
        """Give "": a terminal has no addresses."""
        return ""

    def _head(self, lines: list[str], channel: str, message: Message, marker: Marker) -> list[RenderableType]:
        elsewhere = "" if channel == self.channel else f" in {_one_line(channel)}"
        title = Text(f"{_name(marker)} {lines[0]}{elsewhere}", style=_colour(message))
        if not self._terminal.is_terminal:
            return [title, *self._behind_bar(lines[1:], marker)]
        inside = [Text(line) for line in lines[1:]]
        if title.cell_len > self._terminal.width - PANEL_EDGES:
            inside.insert(0, title)  # the edge shows only its beginning
        return [Panel(Group(*inside), title=title, title_align="left", border_style=_colour(message), box=self._box)]

    def _behind_bar(
        self, lines: Iterable[str], marker: Marker, *, sign: str = "", style: str = "", first: str = ""
    ) -> Iterable[Text]:
        """Put each line, and each part of a line too long for the terminal, behind the incident's name."""
        bar = f"{_name(marker)} {sign or self._bar} "
        for number, line in enumerate(lines):
            for part in self._wrapped(line, max(LEAST_WIDTH, self._terminal.width - len(bar))):
                part.stylize(style if number else first or style)
                yield Text.assemble((bar, "dim"), part)

    def _wrapped(self, line: str, width: int) -> list[Text]:
        parts = list(Text(line).wrap(self._terminal, width)) if self._terminal.is_terminal else []
        return parts or [Text(line)]

    def _write(self, drawing: Iterable[RenderableType]) -> None:
        """Write in one piece, so that nobody's output comes between.

        Raises: PermanentError: the stream is closed or nobody reads it.
        """
        with self._terminal.capture() as captured:
            for each in drawing:
                self._terminal.print(each, soft_wrap=isinstance(each, Text))
        text = captured.get().encode(self._encoding, "backslashreplace").decode(self._encoding)
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError) as error:
            raise PermanentError(f"console: cannot write: {error}", code="broken_stream") from error

    def _remember(self, ts: str, marker: Marker, channel: str, lines: list[str]) -> None:
        self._remembered[ts] = (marker, channel, lines)
        if len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)


def _lines(message: Message, marker: Marker) -> list[str]:
    """Everything of a message as inert lines, its title first."""
    facts = (f"{_one_line(label)}: {_one_line(value)}" for label, value in message.facts[:MAX_LINES])
    texts = [*facts, *(message.body, message.code, message.footer)]
    whole = "\n".join(text.strip("\n") for text in texts if text.strip())
    lines = visible(whole[:MAX_CHARS]).expandtabs().split("\n") if whole else []
    titled = message.title.strip() or not lines  # a reply is its text; only what has nothing else is called untitled
    kept = [*([_title(message, marker)] if titled else []), *lines[:MAX_LINES]]
    if len(whole) > MAX_CHARS or len(lines) > MAX_LINES or len(message.facts) > MAX_LINES:
        kept.append(f"… more, see responder incidents show {_name(marker)}")
    return kept


def _title(message: Message, marker: Marker) -> str:
    """Severity and title, without what stands before it anyway or already in it."""
    title = _one_line(message.title).removeprefix(_name(marker)).lstrip(" :·-") or "(no title)"
    severity = message.severity.value if message.severity else ""
    return title if severity in title.split() or not severity else f"{severity} {title}"


def _one_line(text: str) -> str:
    return " ".join(visible(text[:MAX_CHARS]).split())


def _name(marker: Marker) -> str:
    return _one_line(marker.incident) or "-"


def _can_write(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _colour(message: Message) -> str:
    return COLOURS.get(message.severity, "") if message.severity else ""


@asynccontextmanager
async def open_console(settings: Settings, around: Surroundings) -> AsyncIterator[Chat]:
    """Draw on what stdout is now."""
    yield Console(settings, sys.stdout)


plugin = Plugin(Settings, chat=open_console)
