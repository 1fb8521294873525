"""What is said together: lines of one thread in one message, and a storm in one digest. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from responder.incidents import cut
from responder.model import Message, OutboxPost
from responder.ports import Line, Waiting

SHOWN_LINES = 8  # of who joined; the others are counted
MAX_MERGED_CHARS = 2400  # a chat that draws each of them as four or five still has room
SHOWN_INCIDENTS, MAX_TITLE_CHARS = 8, 160  # of those that a digest tells
NAMED_OVER = 100  # incidents that a digest names as over: only what is named is told


@dataclass(frozen=True, slots=True)
class Load:
    """What goes in one message besides a post's own: `told` is shown in it, `folded` is only counted."""

    message: Message | None
    told: tuple[int, ...] = ()
    folded: tuple[int, ...] = ()

    @property
    def riders(self) -> tuple[int, ...]:
        """All that settles with the post."""
        return (*self.told, *self.folded)


def merge(post: OutboxPost, lines: Sequence[Line], *, replies: bool) -> Load:
    """Put the lines that wait behind a post into its message, in order, as far as they are plain and fit.

    Into a head who joined is only counted: it says how many there are. The same post and lines give the same again.

    Args: replies: behind a reply too, and into a head; else only who joined, as a chat without a budget wants it.
    """
    if post.kind == "head":
        return Load(None, folded=tuple(line.id for line in lines) if replies else ())
    if post.message is None or not _plain(post.message) or not (replies or post.kind == "joined"):
        return Load(post.message)
    parts, told, folded = [_text(post.message)], [], []
    joined, used = int(post.kind == "joined"), len(parts[0])
    for line in lines:
        if line.kind == "joined" and joined >= SHOWN_LINES:
            folded.append(line.id)
            continue
        text = _text(line.message)
        if not _plain(line.message) or used + len(text) > MAX_MERGED_CHARS:
            break
        parts.append(text)
        told.append(line.id)
        joined, used = joined + (line.kind == "joined"), used + len(text)
    if not told and not folded:
        return Load(post.message)
    if folded:
        parts.append(f"… and {len(folded)} more updates of this kind")
    between = "\n\n" if any("\n" in part for part in parts) else "\n"
    return Load(replace(post.message, title="", body=between.join(parts), footer=""), tuple(told), tuple(folded))


def _plain(message: Message) -> bool:
    return not (message.facts or message.code or message.mention)


def _text(message: Message) -> str:
    return "\n".join(part for part in (message.title, message.body, message.footer) if part.strip())


@dataclass(frozen=True, slots=True)
class Digest:
    """One message about a storm, which incidents it tells to be over, and up to which post it has told."""

    message: Message
    over: tuple[int, ...]
    upto: int


def draw_digest(waiting: Sequence[Waiting], told: int) -> Digest | None:
    """Tell of the incidents that wait for their own message; None when there is nothing new since post `told`.

    Args: waiting: worst first.
    """
    over = [each for each in waiting if each.over][:NAMED_OVER]
    gone = {each.incident for each in over}
    fresh = [each for each in waiting if each.post > told]
    stay = [each for each in waiting if each.incident not in gone]
    if not fresh and not over:
        return None
    said = [_line(each) for each in fresh[:SHOWN_INCIDENTS]]
    if len(fresh) > SHOWN_INCIDENTS:
        said.append(f"… and {len(fresh) - SHOWN_INCIDENTS} more")
    if over:
        said.append(f"Over already, without a thread: {', '.join(f'INC-{each.incident}' for each in over)}")
    if stay:
        said.append(f"{len(stay)} still to come: each follows in its own thread as the chat allows.")
    message = Message(title=_title(fresh, over), body="\n".join(said), severity=(fresh or over)[0].severity)
    return Digest(message, tuple(each.incident for each in over), max(each.post for each in waiting))


def _title(fresh: Sequence[Waiting], over: Sequence[Waiting]) -> str:
    if not fresh:
        return f"Storm: {len(over)} incident{'s' * (len(over) != 1)} over before there was room to tell"
    counted = sorted(Counter(each.severity for each in fresh).items())
    listed = ", ".join(f"{n} {severity}" for severity, n in counted)
    return f"Storm: {len(fresh)} incident{'s' * (len(fresh) != 1)} opened here: {listed}"


def _line(each: Waiting) -> str:
    title = cut(each.title, MAX_TITLE_CHARS)
    return f"INC-{each.incident} {each.severity} · {each.firing} firing of {each.episodes} · {title}"
