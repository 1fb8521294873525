"""Reasons about anchored regexes: whether one accepts all that another does, and whether two have nothing in common.

Only what can be proved counts. A pattern of literals, lists, optional parts and `.*` is written out as a few plain
texts in which a letter that nobody uses stands for "anything here"; what the other pattern makes of those texts it
makes of every text, if only its own `.*` can have met that letter. Any other pattern: nobody knows, so no.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import product

MAX_TEXTS = 256  # that a pattern is written out to
MAX_OPEN = 6  # `.*` in one of them
ANYTHING, SOMETHING = "\ue000", "\ue001"  # `.*` and `.+` while a pattern is written out; ANYTHING in a finished text
_FOREIGN = re.compile("[\ue000-\uf8ff]")
_FOLDED = "(?i)"
_ESCAPED = re.compile(r"\\([^A-Za-z0-9])")
# In the pattern that is asked: escapes and classes that cannot meet the letter, and `.*`; what is left holds no dot.
_HARMLESS = re.compile(r"\\[^A-Za-z0-9]|\\[dws]|\[[^\]^\\.][^\]\\]*\]|\.[*+]")
_DOUBTFUL = re.compile(r"[\\.\[\]]|\(\?(?![:i])|\(\?i[^):]")


class _Unknown(Exception):
    """The pattern holds what we cannot write out."""


def includes(wider: str, test: Callable[[str], bool], narrower: str) -> bool:
    """Say whether every text that `narrower` accepts is accepted by `wider`; False when that cannot be proved.

    Args: test: what `wider` makes of a text.
    """
    if wider == narrower:
        return True
    if _FOREIGN.search(wider) or _DOUBTFUL.search(_HARMLESS.sub("", wider)):
        return False
    if narrower.startswith(_FOLDED) and (not wider.startswith(_FOLDED) or "(?-" in wider):
        return False
    texts = written_out(narrower)
    return texts is not None and all(test(text) for each in texts for text in _finished(each))


def disjoint(one: str, other: str) -> bool:
    """Say whether no text is accepted by both; False when that cannot be proved."""
    if one.startswith(_FOLDED) or other.startswith(_FOLDED):
        return False
    left, right = written_out(one), written_out(other)
    return left is not None and right is not None and all(_apart(a, b) for a, b in product(left, right))


def example(pattern: str, accepts: Callable[[str], bool]) -> str | None:
    """Give a text that the pattern accepts, and `accepts` too; None when none is found."""
    texts = (text for each in written_out(pattern) or () for text in _finished(each))
    return next((text for text in texts if accepts(text)), None)


@lru_cache(maxsize=4096)
def written_out(pattern: str) -> tuple[str, ...] | None:
    """Write a pattern out as texts in which ANYTHING and SOMETHING stand for `.*` and `.+`; None when it cannot be."""
    if _FOREIGN.search(pattern):
        return None
    reader = _Reader(pattern.removeprefix(_FOLDED))
    try:
        texts = reader.either()
    except _Unknown:
        return None
    whole = reader.at == len(reader.text) and all(each.count(ANYTHING) <= MAX_OPEN for each in texts)
    return tuple(texts) if whole else None


def _finished(text: str) -> Iterator[str]:
    """Give the texts with each `.*` once as nothing and once as something."""
    for chosen in product(("", ANYTHING), repeat=text.count(ANYTHING)):
        left = iter(chosen)
        yield "".join(next(left) if c == ANYTHING else ANYTHING if c == SOMETHING else c for c in text)


def _apart(one: str, other: str) -> bool:
    """Say whether two texts cannot be the same, by how they begin and end."""
    if not _FOREIGN.search(one) and not _FOREIGN.search(other):
        return one != other
    first, second = _FOREIGN.split(one), _FOREIGN.split(other)
    begin = min(len(first[0]), len(second[0]))
    end = min(len(first[-1]), len(second[-1]))
    return first[0][:begin] != second[0][:begin] or (end > 0 and first[-1][-end:] != second[-1][-end:])


class _Reader:
    """Writes a pattern out from left to right."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def either(self) -> list[str]:
        """Read alternatives, up to a closing parenthesis or the end."""
        found = self._row()
        while self._take("|"):
            found += self._row()
        return _few(found)

    def _row(self) -> list[str]:
        found = [""]
        while self.at < len(self.text) and self.text[self.at] not in "|)":
            piece = self._piece()
            if self._take("?"):
                self._take("?")
                piece = ["", *piece]
            found = _few([before + after for before in found for after in dict.fromkeys(piece)])
        return found

    def _piece(self) -> list[str]:
        char = self.text[self.at]
        if char == "(":
            return self._group()
        if char == "[":
            return self._class()
        if char == ".":
            return self._dots()
        escaped = _ESCAPED.match(self.text, self.at)
        if escaped:
            self.at = escaped.end()
            return self._literal(escaped[1])
        if char in "\\*+{}^$":
            raise _Unknown
        self.at += 1
        return self._literal(char)

    def _literal(self, char: str) -> list[str]:
        if self.text[self.at : self.at + 1] in ("*", "+", "{"):
            raise _Unknown
        return [char]

    def _dots(self) -> list[str]:
        kind = {".*": ANYTHING, ".+": SOMETHING}.get(self.text[self.at : self.at + 2])
        if kind is None:
            raise _Unknown
        self.at += 2
        self._take("?")  # lazy: the same texts
        return [kind]

    def _group(self) -> list[str]:
        self.at += 1
        if self.text.startswith("?:", self.at):
            self.at += 2
        elif self.text.startswith("?", self.at):
            raise _Unknown
        found = self.either()
        if not self._take(")") or self.text[self.at : self.at + 1] in ("*", "+", "{"):
            raise _Unknown
        return found

    def _class(self) -> list[str]:
        match = re.compile(r"\[([^\]\[^\\]+)\](?![*+{])").match(self.text, self.at)
        if match is None:
            raise _Unknown
        self.at = match.end()
        return [char for part in _ranges(match[1]) for char in part]

    def _take(self, char: str) -> bool:
        there = self.text.startswith(char, self.at)
        self.at += there
        return there


def _ranges(inside: str) -> Iterator[str]:
    """Give the letters of a class: `a-f` is six; a hyphen at an end is itself."""
    at = 0
    while at < len(inside):
        if inside[at + 1 : at + 2] == "-" and at + 2 < len(inside):
            first, last = ord(inside[at]), ord(inside[at + 2])
            if not first <= last <= first + 64:
                raise _Unknown
            yield "".join(map(chr, range(first, last + 1)))
            at += 3
        else:
            yield inside[at]
            at += 1


def _few(texts: list[str]) -> list[str]:
    if len(texts) > MAX_TEXTS:
        raise _Unknown
    return texts
