"""Channel names as people write them: what no chat would take, and which look like another one misspelt."""

from __future__ import annotations

import re
from collections.abc import Mapping

_ID = re.compile(r"[CGD][A-Z0-9]{6,}")
_TOKEN = re.compile(r"[^\W_]+")
MIN_CHARS = 5  # shorter names differ in a letter by nature


def bad_name(channel: str) -> str:
    """Say what is wrong with a channel's name, "" when nothing is.

    Source: https://slack.com/help/articles/201402297: lower case, no spaces, no marks but hyphen and underscore.
    """
    name = channel.removeprefix("#")
    if _ID.fullmatch(name):
        return ""
    if name != name.lower():
        return "a channel's name is in lower case"
    if not name:
        return "it is empty"
    wrong = [char for char in name if not (char.isalnum() or char in "-_" or ord(char) > 127)]  # noqa: PLR2004 - beyond ASCII
    return f"a channel's name holds no {wrong[0]!r}" if wrong else ""


def lookalikes(used: Mapping[str, int]) -> dict[str, str]:
    """Find channels that differ from a more used one by case or one letter. Returns: channel -> the one it looks like.

    Numbers and words of one letter are meant (`#team-1`, `#team-b`), and so is a `#`, or none.
    """
    found: dict[str, str] = {}
    ordered = sorted(used, key=lambda name: (used[name], name))
    for at, name in enumerate(ordered):
        other = next((each for each in reversed(ordered[at + 1 :]) if _alike(name, each)), None)
        if other is not None:
            found[name] = other
    return found


def _alike(one: str, other: str) -> bool:
    first, second = one.removeprefix("#"), other.removeprefix("#")
    if first == second:
        return False
    if first.casefold() == second.casefold():
        return True
    if min(len(first), len(second)) < MIN_CHARS or not near(first, second, 1):
        return False
    left, right = _TOKEN.findall(first), _TOKEN.findall(second)
    changed = [(a, b) for a, b in zip(left, right, strict=False) if a != b]
    meant = any(len(a) == 1 or len(b) == 1 or a.isdigit() or b.isdigit() or a[:-1] == b[:-1] for a, b in changed)
    return len(left) == len(right) and not meant


def near(one: str, other: str, most: int) -> int | None:
    """Give the number of letters to add, remove, change or swap between two texts, None when it is more than `most`.

    A swap of neighbours counts as one: people type so.
    """
    if abs(len(one) - len(other)) > most:
        return None
    before: list[int] = []
    row = list(range(len(other) + 1))
    for at, char in enumerate(one, 1):
        older, before, row = before, row, [at]
        for to, wanted in enumerate(other, 1):
            cost = min(before[to] + 1, row[to - 1] + 1, before[to - 1] + (char != wanted))
            if at > 1 and to > 1 and char == other[to - 2] and one[at - 2] == wanted:
                cost = min(cost, older[to - 2] + 1)
            row.append(cost)
        if min(row) > most:
            return None
    return row[-1] if row[-1] <= most else None
