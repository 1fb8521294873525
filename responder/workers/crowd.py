"""Tells a storm: where many minor incidents wait for one channel, one digest of them in ten seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import structlog

from responder.errors import PermanentError, TransientError
from responder.model import Marker, Message
from responder.ports import Chat, Clock, Rest, Store
from responder.workers.budget import Purse
from responder.workers.digest import draw_digest

MORE_THAN = 10  # first messages that wait for a channel: fewer come one by one
EVERY_S = 10.0  # between two digests of a channel, however the first one ended
LOOKS_EVERY_S = 1.0
MAX_POST_S = 30.0
log = structlog.stdlib.get_logger("digest")


class Crowd:
    """The digests of one store. What was told is kept in memory: after a restart the first digest tells all again.

    That one comes no sooner than EVERY_S after the start, for nobody knows when the last one went.
    """

    def __init__(
        self, store: Store, chats: Mapping[str, Chat], purses: Mapping[str, Purse], clock: Clock,
        clean: Callable[[Message], Message],
    ) -> None:  # fmt: skip
        """Keep the parts. `clean` takes secrets out of a message."""
        self._store, self._purses, self._clock, self._clean = store, purses, clock, clean
        self._chats = {name: chat for name, chat in chats.items() if chat.budget is not None}
        self._homes = {name: chat.channel for name, chat in self._chats.items()}
        self._began_s = self._looked_s = clock.monotonic()
        self._due: set[tuple[str, str]] = set()
        self._last_s: dict[tuple[str, str], float] = {}
        self._told: dict[tuple[str, str], int] = {}
        self._under_way: dict[tuple[str, str], asyncio.Task[None]] = {}

    def resting(self) -> Iterator[Rest]:
        """Keep a channel's next token for the digest that is due there; P0 and P1 do not wait for it."""
        for chat, place in self._due:
            yield Rest(chat, "head", place)
            yield Rest(chat, "line", place)

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """What is under way."""
        return list(self._under_way.values())

    async def begin(self) -> None:
        """Look for crowds now and then, and start each digest that is due and may go."""
        now_s = self._clock.monotonic()
        if self._chats and now_s - self._looked_s >= LOOKS_EVERY_S:
            self._looked_s = now_s
            found = await self._store.crowds(self._clock.now(), MORE_THAN, self._homes)
            self._due = {(chat, place) for chat, place, newest, over in found if self._ripe(chat, place, newest, over)}
        for chat, place in sorted(self._due):
            if self._purses[chat].digest_wait_s(place, now_s):
                continue
            self._due.discard((chat, place))
            self._last_s[chat, place] = now_s
            self._purses[chat].take("line", place, now_s)
            task = asyncio.create_task(self._guarded(chat, place), name=f"digest for {chat}")
            self._under_way[chat, place] = task
            task.add_done_callback(partial(self._done, (chat, place)))

    def _ripe(self, chat: str, place: str, newest: int, over: int) -> bool:
        """Whether there is news to tell, and the last digest is long enough ago."""
        where = (chat, place)
        if chat not in self._chats or where in self._under_way or not (over or newest > self._told.get(where, 0)):
            return False
        return self._looked_s - self._last_s.get(where, self._began_s) >= EVERY_S

    def _done(self, where: tuple[str, str], _task: asyncio.Task[None]) -> None:
        self._under_way.pop(where, None)

    async def _guarded(self, chat: str, place: str) -> None:
        try:
            async with asyncio.timeout(MAX_POST_S):
                await self.tell(chat, place)
        except Exception:
            log.exception("a digest failed unexpectedly", chat=chat, channel=place)

    async def tell(self, chat: str, place: str) -> None:
        """Post one digest. If nobody knows whether it arrived the next one tells the same again. Raises: StoreError."""
        waiting = await self._store.crowd(chat, place, self._homes)
        digest = draw_digest(waiting, self._told.get((chat, place), 0)) if waiting else None
        if digest is None:
            return
        marker = Marker(f"INC-{waiting[0].incident}", "digest", digest.upto)
        message = self._clean(digest.message)
        try:
            await self._chats[chat].post(message, channel=place, thread_ts="", broadcast=False, marker=marker)
        except TransientError as error:
            log.warning("no digest", chat=chat, channel=place, error=str(error))
            if error.retry_after_s is not None:
                now_s = self._clock.monotonic()
                self._purses[chat].refused("line", place, now_s, error.retry_after_s, urgent=False)
        except PermanentError as error:  # what that means for the channel its own messages find out
            log.error("digest refused", chat=chat, channel=place, error=str(error))
        else:
            self._told[chat, place] = digest.upto
            await self._store.digested(chat, digest.over)
