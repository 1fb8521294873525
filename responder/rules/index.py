"""Finds the rules that match without trying each one: a storm must not wait for 10,000 rules."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from responder.rules.matchers import Matcher

MAX_REMEMBERED = 100_000  # values and positions kept by one screen; then it forgets them all
MAX_VALUE_CHARS = 200  # a longer value is not remembered: strangers write them
MAX_PREFIX_CHARS = 16
# A regex that begins with plain letters; an alternation after them only within one group: "A|B" begins with neither.
_PREFIXED = re.compile(r"([A-Za-z0-9_:-]+)(?:\([^()\[\]\\]*\))?[^|]*", re.DOTALL)

Test = tuple[str, Callable[[str], bool]]  # a label and what it must pass


class Index:
    """Rules filed by what one of their labels must be; all positions given out are in the rules' own order."""

    def __init__(self, rules: Sequence[Sequence[Matcher]]) -> None:
        """File each rule once, at the label that excludes it most cheaply."""
        self._exact: dict[str, dict[str, list[int]]] = {}  # label -> value -> positions of rules that ask for it
        self._screens: dict[str, _Screen] = {}  # label -> rules with a regex on it
        self._rest: list[int] = []
        self._tests: list[tuple[Test, ...]] = []  # position -> what its filing does not yet say
        for at, matchers in enumerate(rules):
            filed = self._file(at, matchers)
            left = [matcher for matcher in matchers if matcher.name != filed]
            left.sort(key=lambda matcher: ("=", "!=", "=~", "!~").index(matcher.operator))  # cheap ones fail first
            self._tests.append(tuple((matcher.name, matcher.test) for matcher in left))

    def matches(self, labels: Mapping[str, str]) -> Iterator[int]:
        """Give the positions of the rules that match, in order."""
        tests = self._tests
        for at in self._candidates(labels):
            for name, test in tests[at]:
                if not test(labels.get(name, "")):
                    break
            else:
                yield at

    def _candidates(self, labels: Mapping[str, str]) -> list[int]:
        found = self._rest.copy()
        for name, by_value in self._exact.items():
            found += by_value.get(labels.get(name, ""), ())
        for name, screen in self._screens.items():
            found += screen.passing(labels.get(name, ""))
        found.sort()
        return found

    def _file(self, at: int, matchers: Sequence[Matcher]) -> str | None:
        """File one rule; give the label whose matchers are thereby all met, None when it is filed nowhere."""
        best = min(matchers, key=_cost, default=None)
        if best is None or best.operator == "!=":
            self._rest.append(at)
            return None
        same = [matcher for matcher in matchers if matcher.name == best.name]
        words = best.words()
        if words is None:
            self._screens.setdefault(best.name, _Screen()).add(at, same)
        else:
            by_value = self._exact.setdefault(best.name, {})
            for word in words:
                if all(matcher.test(word) for matcher in same):
                    by_value.setdefault(word, []).append(at)
        return best.name


def _cost(matcher: Matcher) -> tuple[bool, int]:
    """Order by how well a matcher excludes: a name first, for names repeat and a screen remembers them."""
    kind = 0 if matcher.words() is not None else ("=~", "!~", "!=").index(matcher.operator) + 1
    return matcher.name != "alertname" or not matcher.positive, kind


class _Screen:
    """Rules with a regex on one label. Which of them a value passes is worked out once a value."""

    def __init__(self) -> None:
        self._members: dict[str, list[tuple[int, Sequence[Matcher]]]] = {}  # by what a value must begin with
        self._lengths: list[int] = []  # of those beginnings
        self._known: dict[str, list[int]] = {}
        self._size = 0  # values and positions in `_known`

    def add(self, at: int, matchers: Sequence[Matcher]) -> None:
        start = max((beginning(each.value) for each in matchers if each.operator == "=~"), key=len, default="")
        self._members.setdefault(start, []).append((at, matchers))
        if len(start) not in self._lengths:
            self._lengths.append(len(start))

    def passing(self, value: str) -> list[int]:
        known = self._known.get(value)
        if known is not None:
            return known
        found: list[int] = []
        for length in self._lengths:
            members = self._members.get(value[:length], ()) if len(value) >= length else ()
            found += [at for at, matchers in members if all(matcher.test(value) for matcher in matchers)]
        if len(value) <= MAX_VALUE_CHARS:
            self._size += len(found) + 1
            if self._size > MAX_REMEMBERED:
                self._known.clear()
                self._size = len(found) + 1
            self._known[value] = found
        return found


def beginning(pattern: str) -> str:
    """Give plain text that every value which a regex accepts begins with, "" where none is easily seen."""
    match = _PREFIXED.fullmatch(pattern)
    if match is None:
        return ""
    plain = match[1]
    if pattern[len(plain) : len(plain) + 1] in ("*", "?", "{"):  # the last letter need not be there
        plain = plain[:-1]
    return plain[:MAX_PREFIX_CHARS]
