"""Alertmanager's matchers: the same text selects the same alerts here and there.

Source: https://prometheus.io/docs/alerting/latest/configuration/#matcher. Alertmanager reads a matcher with its classic
grammar and with its UTF-8 grammar; where both can read it the classic reading counts, and so it does here.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import re2

from responder.errors import ResponderError

MAX_REGEX_BYTES = 1 << 20  # of memory for one compiled regex; a bigger one is refused
MAX_MATCHERS = 1000  # in one text, and in one rule
MAX_STEPS = 1_000_000  # of all regexes of one load together, 16 bytes each; plain ones have about 20
MAX_SHOWN_CHARS = 80
OPERATORS = ("=~", "!~", "!=", "=")

_CLASSIC = re.compile(
    r"[ \t\n\f\r]*([a-zA-Z_:][a-zA-Z0-9_:]*)[ \t\n\f\r]*(=~|!~|!=|=)[ \t\n\f\r]*(.*?)[ \t\n\f\r]*",
    re.DOTALL,
)
_RESERVED = frozenset("{}!=~,\\\"'`")  # what only quotes may hold in the UTF-8 grammar
_PLAIN_WORDS = re.compile(r"[A-Za-z0-9_ :/@%,-]+(?:\|[A-Za-z0-9_ :/@%,-]+)*")  # a regex that is only a list of words
_GO_ESCAPE = re.compile(r'\\([abfnrtv\\"]|[0-3][0-7]{2}|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8})|\\')
_GO_LETTERS = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"'}


class MatcherError(ResponderError):
    """A matcher that Alertmanager would refuse too; the message says the column, counted from 1."""

    reason = "matcher"

    def __init__(self, column: int, message: str) -> None:
        """Keep the column beside the text."""
        super().__init__(f"column {column}: {message}")
        self.column = column


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on one label. A label that is missing has the value ""."""

    name: str
    operator: str
    value: str
    test: Callable[[str], bool] = field(compare=False, repr=False)  # of the label's value

    @property
    def positive(self) -> bool:
        """Whether it asks for something, rather than rules something out."""
        return self.operator in ("=", "=~")

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Say whether these labels meet the condition."""
        return self.test(labels.get(self.name, ""))

    def wanted(self) -> str:
        """Give the condition as one would write it, cut when it is long."""
        name = self.name if re.fullmatch(r"[a-zA-Z_:][a-zA-Z0-9_:]*", self.name) else show(self.name)
        return f"{name}{self.operator}{show(self.value)}"

    def words(self) -> frozenset[str] | None:
        """Give the only values that it accepts, None when they cannot be listed."""
        if self.operator == "=":
            return frozenset((self.value,))
        return _words(self.value) if self.operator == "=~" else None

    def miss(self, labels: Mapping[str, str]) -> str:
        """Say what was wanted and what is there instead."""
        value = labels.get(self.name, "")
        return f"{self.wanted()} wanted, {self.name} is {show(value) if value else 'missing'}"


def show(text: str) -> str:
    """Quote text for a person: one line, cut, and nothing in it that a terminal or a reader's eye would obey."""
    cut = text if len(text) <= MAX_SHOWN_CHARS else text[: MAX_SHOWN_CHARS - 1] + "…"
    plain = cut.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in plain) + '"'


Tests = tuple[Callable[[str], bool], Callable[[str], bool]]  # what accepts a label's value, and what refuses it


class Regexes:
    """The regexes of one load: each is compiled once, and together they stay small."""

    def __init__(self) -> None:
        """Begin with none."""
        self._known: dict[str, Tests] = {}
        self._steps = 0

    def tests(self, pattern: str, column: int) -> Tests:
        """Give what accepts and what refuses a value: the whole value must match, as in Alertmanager.

        Raises: MatcherError: it does not compile, or they are too many or too large.
        """
        known = self._known.get(pattern)
        if known is not None:
            return known
        words = _words(pattern)
        if words is not None:
            tests: Tests = words.__contains__, lambda value: value not in words
        else:
            if self._steps > MAX_STEPS:
                message = "the regexes up to here are too large together; write plain words, or fewer repetitions"
                raise MatcherError(column, message)
            tests = self._compiled(pattern, column)
        self._known[pattern] = tests
        return tests

    def _compiled(self, pattern: str, column: int) -> Tests:
        if "\\C" in pattern.replace("\\\\", ""):  # RE2 for C++ knows it, RE2 for Go does not
            reason = "Alertmanager's has no \\C, which is half a letter"
            raise MatcherError(column, f"{show(pattern)} is not a regex: {reason}")
        try:
            compiled = _compile(pattern)
        except (re2.error, UnicodeEncodeError) as error:
            reason = str(error.args[0].decode() if isinstance(error.args[0], bytes) else error)
            hint = "; RE2 has no look-around and no back-references" if "(?" in reason or "escape" in reason else ""
            raise MatcherError(column, f"{show(pattern)} is not a regex: {reason[:200]}{hint}") from error
        self._steps += compiled.programsize
        regex = _Regex(pattern)
        return regex.accepts, regex.refuses


class _Regex:
    """A regex that is known to compile. It is compiled again when first asked: of ten thousand few ever are."""

    __slots__ = ("_pattern", "_whole")

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._whole: Callable[[bytes], object] | None = None

    def accepts(self, value: str) -> bool:
        whole = self._whole or self._ready()
        return whole(value.encode("utf-8", "replace")) is not None

    def refuses(self, value: str) -> bool:
        return not self.accepts(value)

    def _ready(self) -> Callable[[bytes], object]:
        self._whole = _compile(self._pattern).fullmatch
        return self._whole


def _compile(pattern: str) -> Any:
    """Compile for matching whole values. Raises: re2.error, UnicodeEncodeError."""
    options = re2.Options()
    options.max_mem = MAX_REGEX_BYTES
    options.log_errors = False
    options.never_capture = True  # only whether it matches is asked for: half the time
    return re2.compile(pattern, options)


def parse(text: str, regexes: Regexes | None = None) -> tuple[Matcher, ...]:
    """Read `a="b"`, or a list of matchers with or without braces, as Alertmanager does.

    Args: regexes: of the load that the text belongs to.
    Returns: one Matcher each, in order; () for an empty text or `{}`.
    Raises: MatcherError: neither grammar can read it, or a regex does not compile.
    """
    found, regexes = _classic(text), regexes or Regexes()
    return tuple(_matcher(*parts, regexes) for parts in (_Utf8(text).read() if found is None else found))


def _matcher(name: str, operator: str, value: str, column: int, regexes: Regexes) -> Matcher:
    if operator == "=":
        return Matcher(name, operator, value, value.__eq__)
    if operator == "!=":
        return Matcher(name, operator, value, value.__ne__)
    accepts, refuses = regexes.tests(value, column)
    return Matcher(name, operator, value, accepts if operator == "=~" else refuses)


def _words(pattern: str) -> frozenset[str] | None:
    return frozenset(pattern.split("|")) if _PLAIN_WORDS.fullmatch(pattern) else None


_Parts = tuple[str, str, str, int]  # name, operator, value, column of the value


def _classic(text: str) -> list[_Parts] | None:
    """Read the classic grammar: forgiving about quotes and escapes, strict about names. None when it cannot."""
    start = 1 if text.startswith("{") else 0
    end = len(text) - 1 if text.endswith("}") and len(text) > start else len(text)
    pieces = list(_split(text, start, end))
    if not text[pieces[-1][0] : pieces[-1][1]].strip():
        pieces.pop()  # a last comma, or nothing at all
    if len(pieces) > MAX_MATCHERS:
        raise MatcherError(pieces[MAX_MATCHERS][0] + 1, f"too many matchers; at most {MAX_MATCHERS}")
    found: list[_Parts] = []
    for first, last in pieces:
        match = _CLASSIC.fullmatch(text, first, last)
        value = None if match is None else _unescape(match[3])
        if match is None or value is None:
            return None
        found.append((match[1], match[2], value, match.start(3) + 1))
    return found


def _split(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Cut at the commas that stand outside quotes."""
    if "," not in text:
        yield start, end
        return
    quoted = escaped = False
    for at in range(start, end):
        char = text[at]
        if char == "," and not quoted:
            yield start, at
            start = at + 1
        elif char == '"' and not escaped:
            quoted = not quoted
        escaped = char == "\\" and not escaped
    yield start, end


def _unescape(raw: str) -> str | None:
    r"""Undo `\"`, `\\` and `\n`; any other backslash stands for itself. None when quotes are not in pairs."""
    quoted = raw.startswith('"')
    if "\\" not in raw and raw.count('"') == 2 * quoted:  # nearly all
        inside = raw[1:-1] if quoted else raw
        return inside if not quoted or raw.endswith('"') else None
    body = raw[1:] if quoted else raw
    out: list[str] = []
    at = 0
    while at < len(body):
        char = body[at]
        if char == '"':
            return "".join(out) if quoted and at == len(body) - 1 else None
        if char == "\\" and at + 1 < len(body):
            at += 1
            out.append({"n": "\n", '"': '"', "\\": "\\"}.get(body[at], "\\" + body[at]))
        else:
            out.append(char)
        at += 1
    return None if quoted else "".join(out)


class _Utf8:
    """The UTF-8 grammar: any name in quotes, Go's escapes; it knows the column of what it does not like."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def read(self) -> list[_Parts]:
        """Read all of the text."""
        braces = self._take("{")
        found: list[_Parts] = []
        while self._peek() not in ("", "}"):
            if len(found) == MAX_MATCHERS:
                raise self._error(f"too many matchers; at most {MAX_MATCHERS}")
            found.append(self._one())
            if not self._take(","):
                break
        if braces and not self._take("}"):
            raise self._error('"}" or "," expected')
        if self._peek():
            raise self._error('"," or the end expected')
        return found

    def _one(self) -> _Parts:
        name = self._word("a label's name")
        if not name:
            raise self._error("a label's name is empty")
        self._peek()
        operator = next((op for op in OPERATORS if self.text.startswith(op, self.at)), None)
        if operator is None:
            raise self._error('one of "=", "!=", "=~" or "!~" expected')
        self.at += len(operator)
        self._peek()
        column = self.at + 1
        return name, operator, self._word("a value"), column

    def _word(self, what: str) -> str:
        if self._peek() == '"':
            return self._quoted()
        start = self.at
        while self.at < len(self.text) and self.text[self.at] not in _RESERVED and not self.text[self.at].isspace():
            self.at += 1
        if start == self.at:
            raise self._error(f"{what} expected")
        return self.text[start : self.at]

    def _quoted(self) -> str:
        start = self.at
        match = re.compile(r'"((?:[^"\\\n]|\\.)*)"').match(self.text, start)
        if match is None:
            raise self._error("the quote is not closed")
        self.at = match.end()
        return self._go_string(match[1], start + 1)

    def _go_string(self, body: str, start: int) -> str:
        """Undo Go's escapes; `\\x` and octal ones are bytes of UTF-8."""
        out, last = bytearray(), 0
        for match in _GO_ESCAPE.finditer(body):
            self.at = start + match.start()
            if match[1] is None:
                raise self._error("a backslash must be written twice")
            out += body[last : match.start()].encode("utf-8", "surrogatepass") + _go_escape(match[1])
            last = match.end()
        out += body[last:].encode("utf-8", "surrogatepass")
        self.at = start + len(body) + 1
        try:
            return out.decode()
        except UnicodeDecodeError as error:
            raise self._error("an escape is not UTF-8") from error

    def _peek(self) -> str:
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1
        return self.text[self.at : self.at + 1]

    def _take(self, char: str) -> bool:
        if self._peek() != char:
            return False
        self.at += 1
        return True

    def _error(self, message: str) -> MatcherError:
        there = self.text[self.at : self.at + 1]
        return MatcherError(self.at + 1, f"{message}, {show(there) if there else 'the end'} found in {show(self.text)}")


def _go_escape(letters: str) -> bytes:
    """Give the bytes of one escape; a surrogate, or a number beyond Unicode, gives bytes that are not UTF-8."""
    if letters in _GO_LETTERS:
        return _GO_LETTERS[letters].encode()
    number = int(letters, 8) if letters.isdecimal() else int(letters[1:], 16)
    if letters[0] not in "uU":
        return bytes((min(number, 0xFF),))
    return chr(number).encode("utf-8", "surrogatepass") if number <= sys.maxunicode else b"\xff"
