"""Holds a claim against the evidence that it cites: each number and each name in it must stand there. No model."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

_MOMENT = re.compile(r"\b\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2})?)?|\b\d{1,2}:\d{2}(?::\d{2})?\b")
_MARKED = re.compile(r"`([^`\n]{1,200})`|\"([^\"\n]{1,200})\"|\u201c([^\u201d\n]{1,200})\u201d")
_NAME = re.compile(r"[A-Za-z0-9]\w*(?:[-_./:@]+\w+)+|\b[A-Za-z]+[a-z]+[A-Z]\w*|\b[A-Za-z]+\d+\w*|\b\w*_\w+")
_NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d,]*(?:\.\d+)?(?:[eE][-+]?\d+)?(?:\s?%)?")
_NUMBERS = re.compile(
    r"[-+]?\d[\d,]*(?:\.\d+)?(?:[-/]\d[\d,]*(?:\.\d+)?)*(?:/[A-Za-z]{1,8})?"
)  # 12.5, 3/5, 10-12, 4.2/s
_EVIDENCE_ID = re.compile(r"\[?\bE\d+\b\]?")
_SEVERITY = re.compile(r"\b(?:P[0-3]|SEV-?[1-4])\b")
_UNITS = re.compile(r"(?<=\d)(?:ms|s|m|h|d|min|x|GiB|MiB|KiB|GB|MB|KB|kB|B|rps|qps)\b")
# Compounds of plain English that look like names; a name may always be put in backticks.
_ENGLISH = frozenset(
    (
        *("read-only", "read/write", "and/or", "end-to-end", "real-time", "long-running", "short-lived", "follow-up"),
        *("roll-back", "rolled-back", "time-out", "out-of-memory", "non-zero", "per-second", "up-to-date", "so-called"),
        *(
            "well-known",
            "re-check",
            "client-side",
            "server-side",
            "on-call",
            "cut-off",
            "single-threaded",
            "high-latency",
        ),
        *("low-level", "knock-on", "root-cause", "back-off", "fail-over", "hand-off", "built-in", "i.e"),
        *("e.g", "in/out"),
    )
)
HUGE = 1e300
_EXACT_BELOW = 10.0  # smaller whole numbers must stand in the evidence as they are


@dataclass(frozen=True, slots=True)
class Verdict:
    """How many of a claim's numbers and names were found; `missing` are those that were not."""

    found: int
    of: int
    missing: tuple[str, ...]
    cited: bool  # it cites evidence that there is

    @property
    def holds(self) -> bool:
        """Whether nothing speaks against it."""
        return self.cited and not self.missing

    def __str__(self) -> str:
        """Write it as people read it: 3 of 4."""
        return f"{self.found} of {self.of}"


def verify(claim: str, evidence: Iterable[str], names: Collection[str] = ()) -> Verdict:
    """Check a claim.

    Args: evidence: the texts it cites, of tools that answered; names: label values of the alerts, known without it.
    """
    texts = list(evidence)
    text = "\n".join(texts).casefold()
    spoken = text + "\n" + "\n".join(names).casefold()
    numbers = [found for match in _NUMBER.finditer(text) if (found := _value(match[0])) is not None]
    parts = list(_parts(claim))
    missing = [
        part for kind, part in parts if not (_near(part, numbers) if kind == "number" else part.casefold() in spoken)
    ]
    return Verdict(len(parts) - len(missing), len(parts), tuple(missing), bool(texts))


def _parts(claim: str) -> Iterator[tuple[str, str]]:
    """Take a claim apart: (name | moment | number, text). Each stretch counts once, the longest reading first."""
    rest = _SEVERITY.sub(" ", _EVIDENCE_ID.sub(" ", claim))
    rest = _UNITS.sub(" ", rest)
    for pattern, kind in ((_MARKED, "name"), (_MOMENT, "moment"), (_NAME, "name")):
        left = ""
        at = 0
        for match in pattern.finditer(rest):
            found = next((group for group in match.groups() if group), match[0]).strip(" .,:;")
            is_name = bool(found) and not _NUMBERS.fullmatch(found)
            if is_name and found.casefold() not in _ENGLISH and not _is_compound(found):
                yield kind, found
            left += rest[at : match.start()] + (" " if is_name else f" {found.replace('/', ' ').replace('-', ' ')}")
            at = match.end()
        rest = left + rest[at:]
    for match in _NUMBER.finditer(rest):
        yield "number", match[0]


def _is_compound(found: str) -> bool:
    """`5-minute`, `3-fold`: a number and a plain word, no name."""
    return re.fullmatch(r"\d+-[a-z]+", found) is not None


def _value(text: str) -> float | None:
    try:
        return float(text.replace(",", "").rstrip("% "))
    except ValueError:
        return None


def _near(claimed: str, numbers: Collection[float]) -> bool:
    """Whether a number stands in the evidence; it may have more digits there, or be a share of 1 for a percentage."""
    value = _value(claimed)
    if value is None or abs(value) > HUGE:
        return False
    digits = len(claimed.partition(".")[2].rstrip("% ")) if "." in claimed and "e" not in claimed.lower() else 0
    rounds = digits > 0 or abs(value) >= _EXACT_BELOW
    shares = [number * 100 for number in numbers] if claimed.endswith("%") else []
    if any(abs(value - number) <= 1e-9 * max(1.0, abs(value)) for number in (*numbers, *shares)):
        return True
    return any(
        abs(number) < HUGE and round(number, digits) == value for number in (*(numbers if rounds else ()), *shares)
    )
