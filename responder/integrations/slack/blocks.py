"""Draws a message for Slack, within its limits; nothing that an alert or a model wrote can mention, link or restyle.

Untrusted text is `plain_text` wherever it could restyle; every text is escaped as well, and what hides is made visible.
`verbatim` keeps Slack from turning "@here" and "#general" into mentions on its own; with it raw URLs are not links.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from responder.model import Marker, Message
from responder.redact import visible

Block = dict[str, Any]

MAX_BLOCKS_TEXT_CHARS = (
    9_900  # over about 12 000 the whole message is refused: https://github.com/slackapi/bolt-js/issues/2509
)
MAX_HEADER_CHARS = 150  # these four: https://docs.slack.dev/reference/block-kit/blocks
MAX_SECTION_CHARS = 3000
MAX_FIELD_CHARS = 2000
MAX_FIELDS = 10
MAX_FACTS_CHARS = 4000
MAX_FACTS = 100  # 10 sections; with the rest that stays far below Slack's 50 blocks
MAX_FOOTER_CHARS = 600
MAX_LABEL_CHARS = 200
MAX_FALLBACK_CHARS = 3000  # chat.update refuses 4000
MAX_READ_CHARS = 20_000  # of any one text; no more would fit
NOTE_CHARS = 150  # what the note on left out text takes at most
CODE_CHARS = 2000  # what the body leaves to code, when there is some
FACT_SIGNS = 4  # of a fact: two asterisks, a line feed, an ellipsis
LEAST_CHARS = 20  # a piece shorter than this is not worth a block

CALLING_KINDS = ("head", "page")
_ID = re.compile(r"[A-Z0-9]{3,20}")
_FENCE = "```"
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
# What mrkdwn may take for styling: underscores inside a word are not.
_STYLE = re.compile(r"[*~`]|(?<![^\W_])_|_(?![^\W_])|^\s*>|:[\w+'-]*[A-Za-z][\w+'-]*:", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Drawn:
    """One message: blocks, `text` for notifications and screen readers, `plain` for when Slack refuses the blocks."""

    blocks: list[Block]
    text: str
    plain: str


def draw(message: Message, marker: Marker, *, calling: bool = True) -> Drawn:
    """Draw a message. Its mention is live only in a head or page, and only when `calling`: an edit calls nobody."""
    mention = mention_of(message.mention) if calling and marker.kind in CALLING_KINDS else ""
    canvas = _Canvas()
    canvas.header(message.title)
    if mention:
        canvas.blocks.append(_section(_mrkdwn(mention)))
    canvas.facts(message.facts)
    footer = _one_line(message.footer)[:MAX_FOOTER_CHARS]
    canvas.room -= len(escape(footer)) + NOTE_CHARS
    canvas.body(message.body, kept_back=min(CODE_CHARS, 2 * len(message.code)))
    canvas.code(message.code)
    if footer.strip():
        canvas.blocks.append({"type": "context", "elements": [_plain(footer)]})
    if canvas.left_out:
        canvas.blocks.append({"type": "context", "elements": [_mrkdwn(_note(canvas.left_out, marker, tick="`"))]})
    return Drawn(canvas.blocks, *_texts(message, marker, mention))


def mention_of(word: str) -> str:
    """Give Slack's own form of `here`, `channel`, `user:U...` or `group:S...`; "" for anything else."""
    if word in ("here", "channel"):
        return f"<!{word}>"
    kind, _, name = word.partition(":")
    forms = {"user": f"<@{name}>", "group": f"<!subteam^{name}>"}
    return forms.get(kind, "") if _ID.fullmatch(name) else ""


def escape(text: str) -> str:
    """Escape the three characters that Slack's markup begins and ends with."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def take(text: str, room: int) -> tuple[str, str]:
    """Split a text in two: what fits in `room` escaped characters, to a line's end if one is near; and the rest."""
    if len(text) <= room and len(escape(text)) <= room:
        return text, ""
    used, end = 0, 0
    for char in text[: max(0, room)]:
        used += len(_ESCAPES.get(char, char))
        if used > room:
            break
        end += 1
    line_end = text.rfind("\n", end // 2, end)
    end = end if line_end < 0 else line_end + 1
    return text[:end], text[end:]


@dataclass(slots=True)
class _Canvas:
    """Blocks so far, how many characters still fit, and how many did not."""

    blocks: list[Block] = field(default_factory=list)
    room: int = MAX_BLOCKS_TEXT_CHARS
    left_out: int = 0

    def header(self, title: str) -> None:
        line = _one_line(title)
        head, rest = take(line, MAX_HEADER_CHARS)
        if rest:
            head, rest = take(line, MAX_HEADER_CHARS - 1)
            head, self.left_out = f"{head}…", self.left_out + len(rest)
        if head.strip():
            self._spend(head)
            self.blocks.append({"type": "header", "text": _plain(head)})

    def facts(self, facts: tuple[tuple[str, str], ...]) -> None:
        fields, room = [], MAX_FACTS_CHARS
        for number, (label, value) in enumerate(facts):
            name = _one_line(label)[:MAX_LABEL_CHARS]
            most = min(MAX_FIELD_CHARS, room) - len(escape(name)) - FACT_SIGNS
            if number >= MAX_FACTS or most < LEAST_CHARS:
                self.left_out += len(label) + len(value)
                continue
            shown, rest = take(self._read(value), most)
            self.left_out += len(rest)
            part = _fact(name, f"{shown}…" if rest else shown)
            room -= len(part["text"])
            self.room -= len(part["text"])
            fields.append(part)
        for start in range(0, len(fields), MAX_FIELDS):
            self.blocks.append({"type": "section", "fields": fields[start : start + MAX_FIELDS]})

    def body(self, text: str, *, kept_back: int) -> None:
        for piece in self._pieces(self._read(text), MAX_SECTION_CHARS, kept_back):
            self.blocks.append(_section(_plain(piece)))

    def code(self, text: str) -> None:
        fences = 2 * len(_FENCE) + 2
        for piece in self._pieces(_fenceless(self._read(text)), MAX_SECTION_CHARS - fences, fences):
            self.room -= fences
            self.blocks.append(_section(_mrkdwn(f"{_FENCE}\n{escape(piece)}\n{_FENCE}")))

    def _pieces(self, text: str, most: int, kept_back: int) -> list[str]:
        """Cut what fits into pieces of at most `most` escaped characters; count the rest as left out."""
        pieces: list[str] = []
        rest = text.strip("\n") if text.strip() else ""
        while rest and self.room - kept_back >= min(LEAST_CHARS, len(escape(rest))):
            piece, rest = take(rest, min(most, self.room - kept_back))
            if piece.strip():
                self._spend(piece)
                pieces.append(piece.strip("\n"))
        self.left_out += len(rest)
        return pieces

    def _read(self, text: str) -> str:
        self.left_out += max(0, len(text) - MAX_READ_CHARS)
        return visible(text[:MAX_READ_CHARS])

    def _spend(self, text: str) -> None:
        self.room -= len(escape(text))


def _fact(name: str, value: str) -> Block:
    if name.strip() and value.strip() and not _STYLE.search(name) and not _STYLE.search(value):
        return _mrkdwn(f"*{escape(name.strip())}*\n{escape(value)}")
    return _plain(f"{name or '-'}\n{value or '-'}")


def _texts(message: Message, marker: Marker, mention: str) -> tuple[str, str]:
    facts = (f"{_one_line(label)}: {visible(value[:MAX_FALLBACK_CHARS])}" for label, value in message.facts[:MAX_FACTS])
    rest = (visible(text[:MAX_READ_CHARS]) for text in (message.body, message.code, message.footer))
    whole = "\n".join(part for part in (_one_line(message.title), *facts, *rest) if part.strip()) or "(empty)"
    shown, cut = take(_fenceless(whole), MAX_FALLBACK_CHARS - NOTE_CHARS - len(mention) - 10)
    inside = escape(shown) + (f"\n{_note(len(cut), marker, tick='')}" if cut else "")
    return f"{mention} {inside}".strip(), f"{mention}\n{_FENCE}\n{inside}\n{_FENCE}".strip()


def _note(left_out: int, marker: Marker, *, tick: str) -> str:
    return f"… {left_out} more characters, see {tick}responder incidents show {escape(marker.incident[:40])}{tick}"


def _fenceless(text: str) -> str:
    """Backticks cannot be escaped inside a fence; a look-alike keeps them readable."""
    return text.replace("`", "\u02cb")


def _one_line(text: str) -> str:
    return " ".join(visible(text[:MAX_READ_CHARS]).split())


def _section(text: Block) -> Block:
    return {"type": "section", "text": text}


def _plain(text: str) -> Block:
    return {"type": "plain_text", "text": escape(text), "emoji": False}


def _mrkdwn(markup: str) -> Block:
    return {"type": "mrkdwn", "text": markup, "verbatim": True}
