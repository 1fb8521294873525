"""Paths into JSON, as a mapping names them: `monitor.name`, `tags[0]`, `items[*].id`, `data["a.b"]`, `$.version`.

A path begins at the element that becomes an alert; with `$` at the top of the body; `.` is the element itself. It reads
what is there and can do nothing else. A name may hold spaces; one with a dot, a bracket or a quote stands in quotes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

MAX_CHARS = 300
MAX_STEPS = 20
BREAKS = ".[]\"'"
EACH = None  # the step `[*]`

Step = str | int | None


@dataclass(frozen=True, slots=True)
class Path:
    """A path that was read: names, indices, and EACH."""

    text: str
    steps: tuple[Step, ...]
    from_top: bool

    def find(self, body: object, element: object) -> list[object]:
        """Give all values at the path, in order; [] where there is none."""
        found = [body if self.from_top else element]
        for step in self.steps:
            found = [inner for each in found for inner in _within(each, step)]
        return found


def _within(value: object, step: Step) -> Iterator[object]:
    if isinstance(step, str):
        if isinstance(value, dict) and step in value:
            yield value[step]
    elif isinstance(value, list):
        if step is EACH:
            yield from value
        elif -len(value) <= step < len(value):
            yield value[step]
    elif step is EACH and isinstance(value, dict):
        yield from value.values()


def read_path(text: str) -> Path:
    """Read a path. Raises: ValueError: with the column, counted from 1, and what was expected there."""
    if not text.strip() or len(text) > MAX_CHARS:
        raise ValueError(f"a path has 1 to {MAX_CHARS} characters, as in monitor.name or tags[0]")
    if text in ("$", "."):
        return Path(text, (), text == "$")
    from_top = text.startswith("$")
    at, steps = int(from_top), list[Step]()
    while at < len(text):
        step, at = _step(text, at, first=not steps and not from_top)
        steps.append(step)
    if len(steps) > MAX_STEPS:
        raise ValueError(f"path {text!r} has {len(steps)} steps; {MAX_STEPS} at most")
    return Path(text, tuple(steps), from_top)


def _step(text: str, at: int, *, first: bool) -> tuple[Step, int]:
    if text[at] == "[":
        return _bracket(text, at)
    if not first:
        if text[at] != ".":
            raise _wrong(text, at, "expected . or [")
        at += 1
    if text[at : at + 1] in ("'", '"'):
        return _quoted(text, at)
    end = next((n for n in range(at, len(text)) if text[n] in BREAKS), len(text))
    if end == at:
        raise _wrong(text, at, "expected a name")
    return text[at:end], end


def _bracket(text: str, at: int) -> tuple[Step, int]:
    step: Step
    if text[at + 1 : at + 2] in ("'", '"'):
        step, end = _quoted(text, at + 1)
        if text[end : end + 1] != "]":
            raise _wrong(text, end, "expected ]")
        return step, end + 1
    end = text.find("]", at)
    inner = text[at + 1 : end] if end > 0 else ""
    if inner == "*":
        return EACH, end + 1
    if not (inner.removeprefix("-").isascii() and inner.removeprefix("-").isdigit()):
        raise _wrong(text, at + 1, "expected a number, * or a quoted name, and ]")
    return int(inner), end + 1


def _quoted(text: str, at: int) -> tuple[str, int]:
    end = text.find(text[at], at + 1)
    if end < 0:
        raise _wrong(text, at, f"the {text[at]} is never closed")
    return text[at + 1 : end], end + 1


def _wrong(text: str, at: int, why: str) -> ValueError:
    return ValueError(f"path {text!r}, column {at + 1}: {why}")
