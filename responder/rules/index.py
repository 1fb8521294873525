"""Finds the rules that match without trying each one: a storm must not wait for 10,000 rules."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from responder.rules.matchers import Matcher
from responder.rules.prefilter import Prefilter

MAX_REMEMBERED = 100_000  # values and positions kept by one screen; then it forgets them all
MAX_VALUE_CHARS = 200  # a longer value is not remembered: strangers write them
MAX_PREFIX_CHARS = 16
# A regex that begins with plain letters; an alternation after them only within one group: "A|B" begins with neither.
_PREFIXED = re.compile(r"([A-Za-z0-9_:-]+)(?:\([^()\[\]\\]*\))?[^|]*", re.DOTALL)
_GROUPED = re.compile(r"[()\[\]\\]")  # where a "|" may stand for something else than a branch of the whole
MAX_BRANCHES = 32
_INSIDE = re.compile(r"\.\*([A-Za-z0-9_:-]+)([^|]*)", re.DOTALL)
INSIDE_CHARS = 3
MANY = 16  # rules that ask for the same value; beyond it another label divides them

Test = tuple[str, Callable[[str], bool]]  # a label and what it must pass


class Index:
    """Rules filed by what one of their labels must be; all positions given out are in the rules' own order."""

    def __init__(self, rules: Sequence[Sequence[Matcher]]) -> None:
        """File each rule once, at the label that excludes it most cheaply."""
        self._root = _Node({at: tuple(matchers) for at, matchers in enumerate(rules)})
        self._tests: list[tuple[Test, ...]] = []  # position -> what its filing does not yet say
        for at, matchers in enumerate(rules):
            left = [matcher for matcher in matchers if matcher.name != self._root.filed[at]]
            left.sort(key=lambda matcher: ("=", "!=", "=~", "!~").index(matcher.operator))  # cheap ones fail first
            self._tests.append(tuple((matcher.name, matcher.test) for matcher in left))

    def matches(self, labels: Mapping[str, str]) -> Iterator[int]:
        """Give the positions of the rules that match, in order."""
        tests = self._tests
        found: list[int] = []
        self._root.collect(labels, found)
        found.sort()
        for at in found:
            for name, test in tests[at]:
                if not test(labels.get(name, "")):
                    break
            else:
                yield at


class _Node:
    """Some rules, filed; those that share a value with many others are filed again by what is left of them."""

    def __init__(self, rules: Mapping[int, tuple[Matcher, ...]]) -> None:
        self.filed: dict[int, str | None] = {}  # position -> the label it stands under, None: tried for every alert
        self._exact: dict[str, dict[str, list[int] | _Node]] = {}  # label -> value -> the rules that ask for it
        self._screens: dict[str, _Screen] = {}  # label -> rules with a regex on it
        self._rest: list[int] = []
        shared = Counter(pair for matchers in rules.values() for pair in _pairs(matchers))
        filing: dict[str, dict[str, dict[int, tuple[Matcher, ...]]]] = {}
        for at, matchers in rules.items():
            name = self.filed[at] = _label(matchers, shared)
            if name is None:
                self._rest.append(at)
                continue
            same = [matcher for matcher in matchers if matcher.name == name]
            words = _words(same)
            if words is None:
                self._screens.setdefault(name, _Screen()).add(at, same)
            for word in words or ():
                left = tuple(matcher for matcher in matchers if matcher.name != name)
                filing.setdefault(name, {}).setdefault(word, {})[at] = left
        for name, by_value in filing.items():
            self._exact[name] = {value: _bucket(inner) for value, inner in by_value.items()}
        for screen in self._screens.values():
            screen.close()

    def collect(self, labels: Mapping[str, str], found: list[int]) -> None:
        """Add the positions of all rules that may match, in any order, each once."""
        found += self._rest
        for name, by_value in self._exact.items():
            bucket = by_value.get(labels.get(name, ""))
            if isinstance(bucket, _Node):
                bucket.collect(labels, found)
            elif bucket is not None:
                found += bucket
        for name, screen in self._screens.items():
            found += screen.passing(labels.get(name, ""))


def _bucket(rules: Mapping[int, tuple[Matcher, ...]]) -> list[int] | _Node:
    """Keep a short list as it is; divide a long one where its rules ask for more."""
    if sum(bool(left) for left in rules.values()) <= MANY:
        return list(rules)
    return _Node(rules)


def _pairs(matchers: Iterable[Matcher]) -> set[tuple[str, str]]:
    """Give each (label, value) that the matchers list."""
    return {(matcher.name, word) for matcher in matchers for word in matcher.words() or ()}


def _words(same: Sequence[Matcher]) -> list[str] | None:
    """Give the values that pass all matchers of one label, None when they cannot be listed."""
    listed = [words for matcher in same if (words := matcher.words()) is not None]
    if not listed:
        return None
    return [word for word in min(listed, key=len) if all(matcher.test(word) for matcher in same)]


def _label(matchers: Sequence[Matcher], shared: Mapping[tuple[str, str], int]) -> str | None:
    """Choose the label to file a rule under: the one whose values fewest others ask for, else a regex."""
    best = min(matchers, key=lambda matcher: _cost(matcher, shared), default=None)
    return None if best is None or best.operator == "!=" else best.name


def _cost(matcher: Matcher, shared: Mapping[tuple[str, str], int]) -> tuple[int, int, bool]:
    """Order by how well a matcher excludes; of equal ones a name is best, for names repeat and a screen remembers."""
    words, other = matcher.words(), matcher.name != "alertname"
    if not matcher.positive:
        return ("!~", "!=").index(matcher.operator) + 4, 0, other
    if other and matcher.test(""):
        return 3, 0, other  # most alerts lack most labels: that excludes hardly any
    if words is None:
        return 1, 0, other
    crowd = max(shared[matcher.name, word] for word in words)
    return 2 if other and crowd > MANY else 0, crowd, other


class _Screen:
    """Rules with a regex on one label. Which of them a value passes is worked out once a value."""

    def __init__(self) -> None:
        self._members: list[tuple[int, tuple[Callable[[str], bool], ...]]] = []
        self._marked: dict[str, dict[str, list[int]]] = {"start": {}, "inside": {}}  # text -> members that need it
        self._lengths: list[int] = []  # of the texts that values must start with
        self._filter = Prefilter()  # for the others: it costs memory, and sees what regexes need
        self._filtered: list[int] = []  # position in the filter -> member
        self._known: dict[str, list[int]] = {}
        self._size = 0  # values and positions in `_known`

    def add(self, at: int, matchers: Sequence[Matcher]) -> None:
        member = len(self._members)
        self._members.append((at, tuple(matcher.test for matcher in matchers)))
        regexes = [matcher.value for matcher in matchers if matcher.operator == "=~"]
        place, texts = next((mark for mark in map(landmarks, regexes) if mark[1]), ("", ()))
        for text in texts:
            self._marked[place].setdefault(text, []).append(member)
        if not texts:
            self._filtered.append(member)
            self._filter.add(regexes[0] if regexes else None)

    def close(self) -> None:
        """Say that all are added."""
        self._lengths = sorted({len(text) for text in self._marked["start"]})
        self._filter.close()

    def passing(self, value: str) -> list[int]:
        known = self._known.get(value)
        if known is not None:
            return known
        found: list[int] = []
        for member in self._near(value):
            at, tests = self._members[member]
            for test in tests:  # for a new name most of the cost of a decision: plain loops are the fastest
                if not test(value):
                    break
            else:
                found.append(at)
        if len(value) <= MAX_VALUE_CHARS:
            self._size += len(found) + 1
            if self._size > MAX_REMEMBERED:
                self._known.clear()
                self._size = len(found) + 1
            self._known[value] = found
        return found

    def _near(self, value: str) -> Iterable[int]:
        """Give all members that may pass, each once."""
        near = [self._filtered[at] for at in self._filter.possible(value)]
        starting, inside = self._marked["start"], self._marked["inside"]
        for length in self._lengths:
            near += starting.get(value[:length], ())
        for begin in range(len(value) - INSIDE_CHARS + 1) if inside else ():
            near += inside.get(value[begin : begin + INSIDE_CHARS], ())
        return dict.fromkeys(near)


def landmarks(pattern: str) -> tuple[str, tuple[str, ...]]:
    """Give texts of which every value that a regex accepts has one, where that is easily seen.

    Returns: ("start", texts): it starts with one of them; ("inside", (text,)): it holds this; ("", ()): nobody knows.
    """
    branches = pattern.split("|") if not _GROUPED.search(pattern) else [pattern]
    starts = [beginning(branch) for branch in branches[:MAX_BRANCHES]]
    if len(branches) <= MAX_BRANCHES and all(starts):
        return "start", tuple(starts)
    match = _INSIDE.fullmatch(pattern)
    if match is None:
        return "", ()
    text = match[1][:-1] if match[2][:1] in ("*", "?", "{") else match[1]  # the last letter need not be there
    return ("inside", (text[-INSIDE_CHARS:],)) if len(text) >= INSIDE_CHARS else ("", ())


def beginning(pattern: str) -> str:
    """Give plain text that every value which a regex accepts begins with, "" where none is easily seen."""
    match = _PREFIXED.fullmatch(pattern)
    if match is None:
        return ""
    plain = match[1]
    if pattern[len(plain) : len(plain) + 1] in ("*", "?", "{"):  # the last letter need not be there
        plain = plain[:-1]
    return plain[:MAX_PREFIX_CHARS]
