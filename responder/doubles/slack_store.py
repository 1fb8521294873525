"""What the Slack double remembers: channels, messages in order, threads, files, and pages of them."""

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from responder.doubles.slack_checks import SlackRefusal

Message = dict[str, Any]

TEAM_ID = "T0SHOP0001"
BOT_USER_ID = "U0MEDIC001"
BOT_ID = "B0MEDIC01"
APP_ID = "A0MEDIC01"
DEFAULT_CHANNELS = {"C0INC00001": "incidents", "C0GEN00001": "general"}

ID = re.compile(r"[CDGU][A-Z0-9]{7,}")
NAME = re.compile(r"[\w-]{1,80}")
TS_STEP = 100
TS_WRAP = 1_000_000
MAX_LIMIT = 1000
REPLY_KEYS = ("reply_count", "reply_users_count", "latest_reply", "reply_users")


def now_s() -> float:
    """The wall clock, in seconds since 1970."""
    return datetime.now(UTC).timestamp()


@dataclass
class Channel:
    """One conversation, with the two things that make a bot unable to post."""

    id: str
    name: str
    is_member: bool = True
    is_archived: bool = False

    def body(self) -> dict[str, Any]:
        """The conversation object of the Web API."""
        return {
            "id": self.id,
            "name": self.name,
            "name_normalized": self.name,
            "is_channel": True,
            "is_private": False,
            "is_archived": self.is_archived,
            "is_member": self.is_member,
        }


@dataclass(frozen=True)
class Edit:
    """One change of a posted message; `after` is None when it was deleted."""

    channel: str
    ts: str
    before: Message
    after: Message | None


@dataclass(frozen=True)
class Window:
    """Which messages are asked for, and how many at once."""

    oldest: Decimal = Decimal(0)
    latest: Decimal = Decimal("Infinity")
    inclusive: bool = False
    limit: int = 100
    cursor: str = ""

    def holds(self, ts: str) -> bool:
        """Whether a message of that time is asked for."""
        at = Decimal(ts)
        return self.oldest < at < self.latest or (self.inclusive and at in (self.oldest, self.latest))


def parse_ts(text: object, error: str) -> Decimal:
    """A `ts` as a number that compares.

    Raises: SlackRefusal: with that error, for what is no time.
    """
    try:
        return Decimal(str(text))
    except InvalidOperation:
        raise SlackRefusal(error) from None


def to_cursor(ts: str) -> str:
    """An opaque cursor that resumes at that message."""
    return base64.b64encode(f"next_ts:{ts}".encode()).decode()


def from_cursor(cursor: str) -> Decimal:
    """The message at which a cursor resumes.

    Raises: SlackRefusal: `invalid_cursor`.
    """
    try:
        kind, _, ts = base64.b64decode(cursor, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise SlackRefusal("invalid_cursor") from None
    if kind != "next_ts":
        raise SlackRefusal("invalid_cursor")
    return parse_ts(ts, "invalid_cursor")


@dataclass
class Upload:
    """A file between its three calls."""

    id: str
    name: str
    size_bytes: int
    content: bytes | None = None
    shared: bool = False


@dataclass
class Store:
    """One workspace, in memory."""

    auto_create_channels: bool = False
    wall: Callable[[], float] = now_s
    channels: dict[str, Channel] = field(default_factory=dict)
    by_channel: dict[str, dict[str, Message]] = field(default_factory=dict)
    edits: list[Edit] = field(default_factory=list)
    ephemerals: list[Message] = field(default_factory=list)
    files: dict[str, Upload] = field(default_factory=dict)
    views: list[dict[str, Any]] = field(default_factory=list)
    triggers: dict[str, bool] = field(default_factory=dict)  # trigger_id -> already used
    _last_ts: tuple[int, int] = (0, 0)

    def add_channels(self, channels: Mapping[str, str]) -> None:
        """Open channels by id and name."""
        for channel_id, name in channels.items():
            self.channels[channel_id] = Channel(channel_id, name)

    def next_ts(self) -> str:
        """A time like `1795166042.000100`, later than every one before."""
        second, part = self._last_ts
        now = int(self.wall())
        second, part = (now, TS_STEP) if now > second else (second, part + TS_STEP)
        if part >= TS_WRAP:
            second, part = second + 1, TS_STEP
        self._last_ts = (second, part)
        return f"{second}.{part:06d}"

    def channel(self, channel_id: object) -> Channel:
        """The channel with that id.

        Raises: SlackRefusal: `channel_not_found`; a name is no id.
        """
        found = self.channels.get(channel_id) if isinstance(channel_id, str) else None
        if found is None:
            raise SlackRefusal("channel_not_found")
        return found

    def channel_by_any_name(self, wanted: object) -> Channel:
        """The channel with that id, `#name` or `name`; a user's id opens a direct conversation.

        Raises: SlackRefusal: `channel_not_found`.
        """
        if not isinstance(wanted, str) or not wanted or wanted in self.channels:
            return self.channel(wanted)
        name = wanted.removeprefix("#")
        for each in self.channels.values():
            if each.name == name:
                return each
        if ID.fullmatch(wanted):
            return self._direct(wanted)
        if not self.auto_create_channels or not NAME.fullmatch(name) or name != name.lower():
            raise SlackRefusal("channel_not_found")
        return self._create(f"C0NEW{len(self.channels):05d}", name)

    def _direct(self, user_id: str) -> Channel:
        if not user_id.startswith("U"):
            raise SlackRefusal("channel_not_found")
        channel_id = f"D{user_id[1:]}"
        return self.channels.get(channel_id) or self._create(channel_id, user_id)

    def _create(self, channel_id: str, name: str) -> Channel:
        self.channels[channel_id] = Channel(channel_id, name)
        return self.channels[channel_id]

    def messages(self, channel_id: str) -> dict[str, Message]:
        """The channel's messages by `ts`, oldest first, replies included."""
        return self.by_channel.setdefault(channel_id, {})

    def message(self, channel_id: str, ts: object) -> Message:
        """One message.

        Raises: SlackRefusal: `message_not_found`.
        """
        found = self.messages(channel_id).get(str(ts))
        if found is None:
            raise SlackRefusal("message_not_found")
        return found

    def add(self, channel_id: str, message: Message) -> Message:
        """Give a message its `ts`, and its thread's head the news of it."""
        thread_ts = message.get("thread_ts")
        if thread_ts is not None:
            self._check_thread(channel_id, str(thread_ts))
        message["ts"] = self.next_ts()
        self.messages(channel_id)[message["ts"]] = message
        if thread_ts is not None:
            self._count_replies(channel_id, str(thread_ts))
        return message

    def _check_thread(self, channel_id: str, thread_ts: str) -> None:
        head = self.messages(channel_id).get(thread_ts)
        if head is None:
            raise SlackRefusal("thread_not_found")
        if head.get("thread_ts", thread_ts) != thread_ts:
            raise SlackRefusal("cannot_reply_to_message")

    def _count_replies(self, channel_id: str, thread_ts: str) -> None:
        head, replies = self.messages(channel_id)[thread_ts], self.replies(channel_id, thread_ts)
        if not replies:
            for key in (*REPLY_KEYS, "thread_ts"):
                head.pop(key, None)
            return
        users = list(dict.fromkeys(str(reply.get("user")) for reply in replies))
        news = (len(replies), len(users), replies[-1]["ts"], users)
        head.update(thread_ts=thread_ts, **dict(zip(REPLY_KEYS, news, strict=True)))

    def replies(self, channel_id: str, thread_ts: str) -> list[Message]:
        """A thread's messages without its head, oldest first."""
        every = self.messages(channel_id).values()
        return [each for each in every if each.get("thread_ts") == thread_ts and each["ts"] != thread_ts]

    def remove(self, channel_id: str, message: Message) -> None:
        """Delete a message; the head of a thread leaves a tombstone."""
        self.edits.append(Edit(channel_id, message["ts"], dict(message), None))
        if message.get("reply_count"):
            for key in ("blocks", "metadata", "attachments", "files"):
                message.pop(key, None)
            message.update(subtype="tombstone", text="This message was deleted.", user="USLACKBOT")
            return
        del self.messages(channel_id)[message["ts"]]
        if message.get("thread_ts"):
            self._count_replies(channel_id, message["thread_ts"])

    def history(self, channel_id: str, window: Window) -> tuple[list[Message], str]:
        """One page of a channel, newest first, without replies that were not broadcast; and the next cursor."""
        every = [
            each
            for each in reversed(self.messages(channel_id).values())
            if each.get("thread_ts", each["ts"]) == each["ts"] or each.get("subtype") == "thread_broadcast"
        ]
        start = from_cursor(window.cursor) if window.cursor else Decimal("Infinity")
        return _page([each for each in every if window.holds(each["ts"]) and Decimal(each["ts"]) <= start], window)

    def thread(self, channel_id: str, ts: str, window: Window) -> tuple[list[Message], str]:
        """One page of a thread, oldest first; the first page begins with its head, whatever the times asked for."""
        head = self.messages(channel_id).get(ts)
        if head is None:
            raise SlackRefusal("thread_not_found")
        replies = [each for each in self.replies(channel_id, ts) if window.holds(each["ts"])]
        start = from_cursor(window.cursor) if window.cursor else Decimal(0)
        return _page([each for each in (head, *replies) if Decimal(each["ts"]) >= start], window)


def _page(found: list[Message], window: Window) -> tuple[list[Message], str]:
    rest = found[window.limit :]
    return found[: window.limit], to_cursor(rest[0]["ts"]) if rest else ""
