"""Says which of many regexes a text may match, from the literal texts that each of them needs; never one too few."""

from __future__ import annotations

from collections.abc import Sequence

import re2

PART = 1000  # patterns in one filter: RE2 bounds the memory of each
FEW = 4  # below it, trying each one costs less
# Stands behind every text and in every filter. A filter that runs out of memory finds nothing, not even this.
_END, _END_PATTERN = b"\x02\x03", r"\x02\x03"


class Prefilter:
    """Patterns in the order in which they were added; `possible` gives their positions."""

    def __init__(self, *, end_pattern: str = _END_PATTERN) -> None:
        """Begin with none. Args: end_pattern: what finds the end that stands behind every text."""
        self._end_pattern = end_pattern
        self._always: list[int] = []
        self._patterns: list[tuple[int, str]] = []
        self._parts: list[tuple[re2.Filter, Sequence[int]]] = []
        self._size = 0

    def add(self, pattern: str | None) -> None:
        """Add one; None is possible for every text."""
        if pattern is None:
            self._always.append(self._size)
        else:
            self._patterns.append((self._size, pattern))
        self._size += 1

    def close(self) -> None:
        """Say that all are added: the filters are built now."""
        if len(self._patterns) <= FEW:
            self._always = list(range(self._size))
            return
        for first in range(0, len(self._patterns), PART):
            self._build(self._patterns[first : first + PART])

    def _build(self, part: Sequence[tuple[int, str]]) -> None:
        """Build one filter; where RE2 has not the memory for it, two of half the size."""
        try:
            self._parts.append(
                (_filter([*(pattern for _, pattern in part), self._end_pattern]), [at for at, _ in part])
            )
        except re2.error:
            half = len(part) // 2
            if not half:
                self._always += [at for at, _ in part]
                return
            self._build(part[:half])
            self._build(part[half:])

    def possible(self, text: str) -> list[int]:
        """Give the positions of all that may match this text, and of some that do not."""
        if not self._parts:
            return self._always
        raw = text.encode("utf-8", "replace") + _END
        found = self._always.copy()
        for part, positions in self._parts:
            hits = part.Match(raw, True)
            if hits and hits[-1] == len(positions):
                hits.pop()
                found += [positions[hit] for hit in hits]
            else:  # out of memory
                found += positions
        return found


def _filter(patterns: Sequence[str]) -> re2.Filter:
    """Build a filter. Raises: re2.error: it would be too large."""
    options = re2.Options()
    options.log_errors = False
    made = re2.Filter()
    for pattern in patterns:
        made.Add(pattern, options)
    made.Compile()
    return made
