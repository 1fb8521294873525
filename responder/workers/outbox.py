"""Sends posts: worst severity first, in order within a thread, no faster than each chat takes them.

`delivery.py` brings one post to its chat, `budget.py` says when it may go, `crowd.py` tells a storm at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

import structlog

from responder.errors import StoreError
from responder.metrics import Metrics
from responder.model import OutboxPost, Severity
from responder.ports import Chat, Clock, Store
from responder.redact import Redactor
from responder.rules import RuleSet
from responder.workers.budget import Purse
from responder.workers.crowd import Crowd
from responder.workers.delivery import LOOKS_FOR_S, MAX_MEND_S, Delivery
from responder.workers.inbox import wait_any

__all__ = ["AT_ONCE", "LOOKS_FOR_S", "MAX_MEND_S", "Outbox"]

AT_ONCE = 16  # threads of one chat: a chat that hangs keeps no other waiting
FOR_THE_WORST = 4  # of them, for P0 and P1 alone
IDLE_S = 1.0  # between two looks when nothing rings
SHORT_READ_S = 0.005  # a look that took longer, and found nothing to do, leaves the reader to others for as long
log = structlog.stdlib.get_logger("outbox")


class Outbox:
    """The outbox sender of one store."""

    def __init__(
        self, store: Store, chats: Mapping[str, Chat], rules: Callable[[], RuleSet], clock: Clock, metrics: Metrics,
        redactor: Redactor | None = None,
    ) -> None:  # fmt: skip
        """Keep the parts; what is under way is known by thread. Without a redactor only shapes of secrets are known."""
        self._store, self._chats, self._clock = store, chats, clock
        self._homes = {name: chat.channel for name, chat in chats.items()}
        self._purses = {name: Purse(name, chat.channel, chat.budget) for name, chat in chats.items()}
        self._delivery = Delivery(store, chats, self._purses, rules, clock, metrics, redactor or Redactor(()))
        self._crowd = Crowd(store, chats, self._purses, clock, self._delivery.clean)
        self._read_s = 0.0  # how long the last look took
        self._busy: dict[tuple[int, str, bool], asyncio.Task[None]] = {}  # thread, and whether it is an edit

    async def run(self, stop: asyncio.Event) -> None:
        """Send until `stop`, then let what is under way finish."""
        bell = self._store.bell("outbox")
        await self._delivery.release(*self._chats)  # what was put off under settings that may have been mended
        try:
            while not stop.is_set():
                bell.clear()
                try:
                    begun = await self.once()
                except StoreError as error:
                    log.error("outbox waits for the store", error=str(error))
                    begun = 0
                except Exception:
                    log.exception("posts cannot be begun")
                    begun = 0
                if not begun:
                    if self._read_s > SHORT_READ_S:
                        await self._clock.sleep(self._read_s)
                    await wait_any(bell, stop, seconds=self._idle_s())
            await self.settle()
        finally:  # nothing may work on when the store is closed behind us
            for task in self._under_way:
                task.cancel()

    async def once(self) -> int:
        """Start what may go now; gives how many posts were begun. Raises: StoreError."""
        await self._crowd.begin()
        return await self._begin()

    async def settle(self) -> None:
        """Let what is under way finish."""
        if self._under_way:
            await asyncio.wait(self._under_way)

    @property
    def _under_way(self) -> list[asyncio.Task[None]]:
        return [*self._busy.values(), *self._crowd.tasks]

    def _idle_s(self) -> float:
        """How long nothing can change by itself: until the next token comes."""
        now_s = self._clock.monotonic()
        return max(0.001, min([IDLE_S, *(purse.soon_s(now_s) for purse in self._purses.values())]))

    async def _begin(self) -> int:
        """Start the next post of each thread that is not under way, where its chat has room and a token for it."""
        now_s = self._clock.monotonic()
        resting = [*self._crowd.resting(), *(rest for purse in self._purses.values() for rest in purse.resting(now_s))]
        before = set(self._busy)  # what ends while we read is read as it was before
        begun = 0
        due = await self._store.due_posts(self._clock.now(), AT_ONCE * 2, self._homes, resting)
        self._read_s = self._clock.monotonic() - now_s
        for post in due:
            thread = (post.incident, post.chat, post.lane == "edit")
            if thread in before or thread in self._busy or not self._has_room(post) or not self._may_go(post, now_s):
                continue
            task = asyncio.create_task(self._guarded(post), name=f"post {post.id}")
            self._busy[thread] = task
            task.add_done_callback(partial(self._done, thread))
            begun += 1
        return begun

    def _has_room(self, post: OutboxPost) -> bool:
        busy = sum(1 for _, chat, _ in self._busy if chat == post.chat)
        return busy < (AT_ONCE if post.severity <= Severity.P1 else AT_ONCE - FOR_THE_WORST)

    def _may_go(self, post: OutboxPost, now_s: float) -> bool:
        """Whether there is a token for a post, which is then paid; what only moves to another channel needs none."""
        purse = self._purses.get(post.chat)
        if purse is None or purse.moves(post, now_s):
            return True
        if purse.wait_s(post, now_s):
            return False
        purse.take(post.lane, post.place, now_s)
        return True

    def _done(self, thread: tuple[int, str, bool], _task: asyncio.Task[None]) -> None:
        self._busy.pop(thread, None)
        self._store.bell("outbox").set()  # there is room, and the thread's next may go

    async def _guarded(self, post: OutboxPost) -> None:
        try:
            await self.deliver(post)
        except StoreError as error:  # the row stays `sending`: the next look decides
            log.error("post not recorded", post=post.id, error=str(error))
            await self._clock.sleep(1.0)
        except Exception:
            log.exception("post failed unexpectedly", post=post.id)
            await self._delivery.hold(post, "unexpected fault", seconds=30.0, state="sending")  # it may have arrived

    async def deliver(self, post: OutboxPost) -> None:
        """Bring one post to its chat, or put it off, or give it up. Raises: StoreError."""
        await self._delivery.deliver(post)
