"""Takes secrets out of text that leaves us, and makes text that came in visible: two pure functions on strings."""

import json
import re
import unicodedata
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import quote

import re2

MASK = "[redacted]"
MIN_SECRET_CHARS = 6  # a shorter configured value would black out ordinary words
MAX_TEXT_CHARS = 1_000_000
MAX_DEPTH = 20

_NAME = (
    r"(?:passw(?:or)?d|passphrase|pwd|secret|token|credentials?"
    r"|(?:api|access|auth|private|secret|signing|encryption)[_-]?key)"
)
# A name, its closing quote (perhaps escaped: JSON in a JSON string), a separator.
_NAMED = rf"(?i:{_NAME}\\{{0,3}}[\"']?[ \t]{{0,3}}(?::=|=>|=|:)[ \t]{{0,3}})"
_SCHEME = r"(?:bearer|basic|token|digest|negotiate|apikey|geniekey)"

# (pattern, replacement): group 1 stays, what follows it goes. One match of any of them is what starts the work.
_SHAPES = (
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----"
    r"(?:(?:[^-]|-[^-])*-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----|[A-Za-z0-9+/=\s\\]*)",
    r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b",
    r"\bgh[pousr]_[A-Za-z0-9]{20,}",
    r"\bgithub_pat_[A-Za-z0-9_]{20,}",
    r"\bglpat-[A-Za-z0-9_-]{16,}",
    r"\bxox[a-z](?:\.xox[a-z])?-[A-Za-z0-9-]{8,}",
    r"\bxapp-[A-Za-z0-9-]{8,}",
    r"\bsk-ant-[A-Za-z0-9_-]{8,}",
    r"\bsk-[A-Za-z0-9_-]{20,}",
    r"\b[sr]k_(?:live|test)_[A-Za-z0-9]{16,}",
    r"\bAIza[A-Za-z0-9_-]{30,}",
    r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?",
)
_PLACES = (
    (r"(hooks\.slack\.com/[a-z]{1,20}/)[A-Za-z0-9/_-]{8,}", rf"\1{MASK}"),
    (r"(://[^\s/:@\"'<>]*:)[^\s/\"'<>]+@", rf"\1{MASK}@"),
    (
        rf"(?i)(authorization\\{{0,3}}[\"']?\s{{0,3}}[:=]\s{{0,3}}\\{{0,3}}[\"']?{_SCHEME}\s{{1,3}})[^\s\"'\\]+",
        rf"\1{MASK}",
    ),
    (r"(?i)(authorization\\{0,3}[\"']?\s{0,3}[:=]\s{0,3}\\{0,3}[\"']?)[^\s\"'\\]{16,}", rf"\1{MASK}"),
    (r"(?i)(\bbearer\s{1,3})[A-Za-z0-9._~+/=-]{16,}", rf"\1{MASK}"),
    (rf"({_NAMED}\")(?:[^\"\\\n]|\\.)+", rf"\1{MASK}"),
    (rf"({_NAMED}\\{{1,3}}\")[^\"\\\n]+", rf"\1{MASK}"),
    (rf"({_NAMED}')[^'\n]+", rf"\1{MASK}"),
    (rf"({_NAMED})[^\s\"'&<>\\](?:[^\s\"'&<>]*[^\s\"'&<>,;)}}])?", rf"\1{MASK}"),
)
_SECRET_KEY = re2.compile(rf"(?i).*{_NAME}")


class Redactor:
    """Replaces secrets by `[redacted]`: configured values wherever they stand, and what has the shape of a secret.

    Configured values are also found as JSON and URLs write them. Not found: one that is split, or encoded otherwise.
    """

    def __init__(self, secrets: Collection[str]) -> None:
        """Prepare for the configured values; those of fewer than 6 characters are left out."""
        values = {form for value in secrets if len(value) >= MIN_SECRET_CHARS for form in _forms(value)}
        known = [str(re2.escape(value)) for value in sorted(values, key=lambda value: (-len(value), value))]
        rules = [*((pattern, MASK) for pattern in (*known, *_SHAPES)), *_PLACES]
        self._rules = [(_compile(pattern), replacement.encode()) for pattern, replacement in rules]
        self._any = _compile("|".join(f"(?:{pattern})" for pattern, _ in rules))

    def text(self, text: str) -> str:
        """Give the text without its secrets; beyond a million characters it is cut, at a word's end, and says so."""
        text, end = _bounded(text)
        raw = text.encode("utf-8", "surrogatepass")
        if self._any.search(raw) is None:
            return text + end
        for pattern, replacement in self._rules:
            raw = pattern.sub(replacement, raw)
        return raw.decode("utf-8", "surrogatepass") + end

    def data(self, value: Any) -> Any:
        """Give a copy of dicts, lists and texts without secrets, at any depth; a text under a telling key goes."""
        return self._data(value, 0)

    def _data(self, value: Any, depth: int) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if depth >= MAX_DEPTH:
            return "[too deep]" if isinstance(value, (Mapping, list, tuple)) else value
        if isinstance(value, Mapping):
            return {self._key(key): self._entry(key, each, depth + 1) for key, each in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._data(each, depth + 1) for each in value]
        return value

    def _key(self, key: Any) -> Any:
        return self.text(key) if isinstance(key, str) else key

    def _entry(self, key: Any, value: Any, depth: int) -> Any:
        if isinstance(key, str) and isinstance(value, str) and value and is_telling(key):
            return MASK
        return self._data(value, depth)


def is_telling(key: str) -> bool:
    """Whether a key's name says that its value is a secret: `password`, `SLACK_BOT_TOKEN`, `api-key`."""
    return _SECRET_KEY.fullmatch(key.encode("utf-8", "replace")) is not None


def _compile(pattern: str) -> Any:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1  # bytes as they are: text with lone surrogates cannot stop us
    options.log_errors = False
    return re2.compile(pattern.encode(), options)


def _forms(value: str) -> set[str]:
    return {
        value,
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        quote(value, safe="", errors="replace"),
    }


def _bounded(text: str) -> tuple[str, str]:
    if len(text) <= MAX_TEXT_CHARS:
        return text, ""
    kept = text[:MAX_TEXT_CHARS]
    words, _, half = kept.rpartition(" ")  # half a secret would have no shape
    kept = words if words and len(half) < MAX_TEXT_CHARS // 10 else kept
    return kept, f"… {len(text) - len(kept)} more characters"


# What is printable by Unicode's tables and yet shows nothing: fillers, joiners, blanks, variation selectors.
_BLANK = {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180B, 0x180C, 0x180D, 0x180F, 0x2800, 0x3164, 0xFFA0}
_BLANK |= {*range(0xFE00, 0xFE0F), *range(0xE0100, 0xE01F0)}  # U+FE0F stays: it makes ⚠️ an emoji
_MOST_MARKS = 4  # accents on one letter; living scripts need no more
_UNCOMMON = re.compile(r"[^\x20-\x7e\n\t]+")


def visible(text: str) -> str:
    """Show what hides: control, bidi, zero-width, tag and unassigned characters as U+202E in angle quotes.

    So are piles of accents ("9 marks"). Line feeds and tabs stay; a carriage return before a line feed goes. What comes
    out cannot drive a terminal or reorder a line, and is valid UTF-8.
    """
    return _UNCOMMON.sub(_shown, text.replace("\r\n", "\n"))


def _shown(run: re.Match[str]) -> str:
    shown: list[str] = []
    marks = 0
    for char in run[0]:
        category = unicodedata.category(char)
        if category[0] == "M" and ord(char) not in _BLANK:
            marks += 1
            if marks <= _MOST_MARKS:
                shown.append(char)
            continue
        shown.append(_left_out(marks))
        marks = 0
        hidden = category[0] == "C" or category in ("Zl", "Zp") or ord(char) in _BLANK
        shown.append(f"\u2039U+{ord(char):04X}\u203a" if hidden else char)
    shown.append(_left_out(marks))
    return "".join(shown)


def _left_out(marks: int) -> str:
    return f"\u2039{marks - _MOST_MARKS} marks\u203a" if marks > _MOST_MARKS else ""
