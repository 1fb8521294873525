"""Token buckets: when a post may go. Pure: the time is passed in, in seconds of the monotonic clock.

A new message costs a token of its channel and one of its chat, an edit one of the chat's edits. A minor post waits for
its tokens. A P0 or P1 goes at once and leaves a debt, up to a limit, that the minor ones pay off by waiting longer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from responder.model import OutboxPost
from responder.ports import Budget, Rest

CHANNEL_DEBT, CHAT_DEBT = 10.0, 30.0  # tokens that P0 and P1 may use before they come
MOVES_AFTER_S = 5.0  # a P0 or P1 whose channel refuses it for longer is told in the chat's own channel
MAX_PLACES = 1000  # remembered; of those at rest and full nothing need be remembered
UNLIMITED = Budget(
    channel_per_s=1e9, channel_burst=10**9, chat_per_s=1e9, chat_burst=10**9, edits_per_s=1e9, edits_burst=10**9
)


@dataclass(slots=True)
class Bucket:
    """Tokens that come at a rate, up to a burst; `debt` is how many may be used before they come."""

    per_s: float
    burst: float
    debt: float = 0.0
    level: float = math.nan  # at `at_s`; a new bucket is full
    at_s: float = 0.0
    quiet_until_s: float = -math.inf  # the other side asked for it
    mute_until_s: float = -math.inf  # it refused the urgent as well

    def __post_init__(self) -> None:
        """Fill it."""
        self.level = self.burst if math.isnan(self.level) else self.level

    def level_at(self, now_s: float) -> float:
        """How many tokens are there; below 0 is debt."""
        return min(self.burst, self.level + max(0.0, now_s - self.at_s) * self.per_s)

    def wait_s(self, now_s: float, *, urgent: bool = False) -> float:
        """How long until one may go: 0 = now."""
        needed = 1.0 - self.debt if urgent else 1.0
        missing = needed - self.level_at(now_s)
        begins_s = max(now_s, self.at_s)
        come_s = begins_s + missing / self.per_s if missing > 0 else now_s
        return max(0.0, (self.mute_until_s if urgent else self.quiet_until_s) - now_s, come_s - now_s)

    def take(self, now_s: float) -> None:
        """Use one token, there or not."""
        self.level = max(-self.debt, self.level_at(now_s) - 1.0)
        self.at_s = max(self.at_s, now_s)

    def refused(self, now_s: float, for_s: float, *, urgent: bool) -> None:
        """Rest for so long; then begin with one token, not with all that would have come meanwhile."""
        self.quiet_until_s = now_s + for_s
        if urgent:
            self.mute_until_s = self.quiet_until_s
        self.level, self.at_s = min(1.0, self.level_at(self.quiet_until_s)), self.quiet_until_s

    def idle(self, now_s: float) -> bool:
        """Whether it is as good as new."""
        return self.level_at(now_s) >= self.burst and max(self.quiet_until_s, self.mute_until_s) <= now_s


@dataclass(slots=True)
class Purse:
    """The buckets of one chat. `home` is its own channel; without a budget only what it refuses is remembered."""

    name: str
    home: str
    budget: Budget | None
    _chat: Bucket = field(init=False)
    _edits: Bucket = field(init=False)
    _places: dict[str, Bucket] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Fill the buckets."""
        given = self.budget or UNLIMITED
        self._chat = Bucket(given.chat_per_s, given.chat_burst, CHAT_DEBT)
        self._edits = Bucket(given.edits_per_s, given.edits_burst)

    def wait_s(self, post: OutboxPost, now_s: float) -> float:
        """How long a post has to wait: 0 = it may go."""
        return max(bucket.wait_s(now_s, urgent=post.urgent) for bucket in self._buckets(post.lane, post.place))

    def digest_wait_s(self, place: str, now_s: float) -> float:
        """How long a digest for a place has to wait: it is never urgent."""
        return max(bucket.wait_s(now_s) for bucket in self._buckets("line", place))

    def take(self, lane: str, place: str, now_s: float) -> None:
        """Pay for a post."""
        for bucket in self._buckets(lane, place):
            bucket.take(now_s)

    def refused(self, lane: str, place: str, now_s: float, for_s: float, *, urgent: bool) -> None:
        """Remember that the chat asked for a rest: of one channel, or of all edits."""
        self._buckets(lane, place)[0].refused(now_s, for_s, urgent=urgent)

    def moves(self, post: OutboxPost, now_s: float) -> bool:
        """Whether a head had better go to the chat's own channel: its own refuses even P0 and P1 for too long."""
        if post.lane != "head" or not post.urgent or post.place in ("", self.home):
            return False
        return self._mute_s(post.place, now_s) > MOVES_AFTER_S and not self._mute_s(self.home, now_s)

    def resting(self, now_s: float) -> Iterator[Rest]:
        """Say what cannot go now, so that nobody reads it in vain."""
        if self._edits.wait_s(now_s):
            yield Rest(self.name, "edit", None, urgent_too=True)
        yield from self._resting(None, self._chat, now_s, moves=False)
        for place, bucket in tuple(self._places.items()):
            moves = place != self.home and self._mute_s(place, now_s) > MOVES_AFTER_S
            yield from self._resting(place, bucket, now_s, moves=moves and not self._mute_s(self.home, now_s))
            if len(self._places) > MAX_PLACES and bucket.idle(now_s):
                del self._places[place]

    def soon_s(self, now_s: float) -> float:
        """How long until something that rests may go; infinite when nothing does."""
        buckets = (self._chat, self._edits, *self._places.values())
        waits = [bucket.wait_s(now_s, urgent=urgent) for bucket in buckets for urgent in (False, True)]
        return min((wait_s for wait_s in waits if wait_s > 0), default=math.inf)

    def _resting(self, place: str | None, bucket: Bucket, now_s: float, *, moves: bool) -> Iterator[Rest]:
        if bucket.wait_s(now_s):
            mute = bucket.wait_s(now_s, urgent=True) > 0
            yield Rest(self.name, "line", place, urgent_too=mute)
            yield Rest(self.name, "head", place, urgent_too=mute and not moves)

    def _buckets(self, lane: str, place: str) -> tuple[Bucket, ...]:
        if lane == "edit":
            return (self._edits,)
        if place not in self._places:
            given = self.budget or UNLIMITED
            self._places[place] = Bucket(given.channel_per_s, given.channel_burst, CHANNEL_DEBT)
        return (self._places[place], self._chat)

    def _mute_s(self, place: str, now_s: float) -> float:
        bucket = self._places.get(place)
        return max(0.0, bucket.mute_until_s - now_s) if bucket else 0.0
