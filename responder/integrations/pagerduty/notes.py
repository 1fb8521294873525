"""How our notes in PagerDuty are written, and known again: by PagerDuty's webhook of them, and before a repeat.

    [responder INC-7 #41] Ana in slack: rolled back
    #44 Resolved by Ana after 12 min.

The number is that of our post. Later posts are lines of the last note once there are many: an incident there holds at
most 2 000 notes. How long one may be is not documented; the oldest lines go first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from responder.model import Marker

MAX_NOTE_CHARS = 5000
MAX_ENTRY_CHARS = 2000
SINGLE_NOTES = 20  # of ours on one incident; then the last one grows
_HEAD = re.compile(r"\[responder (INC-\d+) #(\d+)\] ")


def is_ours(content: str) -> bool:
    """Whether we wrote a note. The mark is at its beginning: PagerDuty cuts long notes at their end."""
    return _HEAD.match(content.lstrip()) is not None


def written(text: str, marker: Marker) -> str:
    """Write a note of its own. No line of it can pass for a later entry."""
    return f"[responder {marker.incident} #{marker.post}] {_short(text.strip())}".replace("\n#", "\n #")


def added(content: str, text: str, marker: Marker) -> str:
    """Write a text as one more line of a note of ours; what no longer fits goes, from the second line on."""
    first, *lines = [*content.split("\n"), f"#{marker.post} {_short(' '.join(text.split()))}"]
    first = first[: MAX_NOTE_CHARS - MAX_ENTRY_CHARS - 50]
    while len(lines) > 1 and len(first) + sum(len(line) + 1 for line in lines) > MAX_NOTE_CHARS:
        del lines[0]
    return "\n".join([first, *lines])


def holds(contents: Sequence[str], marker: Marker) -> bool:
    """Whether one of our notes on this incident holds this very post."""
    line = re.compile(rf"(?m)^#{marker.post} ")
    for content in contents:
        head = _HEAD.match(content.lstrip())
        if head is None or head[1] != marker.incident:
            continue
        if head[2] == str(marker.post) or line.search(content):
            return True
    return False


def _short(text: str) -> str:
    return text if len(text) <= MAX_ENTRY_CHARS else f"{text[: MAX_ENTRY_CHARS - 1]}…"
