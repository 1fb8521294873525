"""Sends posts (T4): worst severity first, in order within a thread, and looks before it repeats.

A post row is its own intent. `sending` is written before the call and the message's ts after it; a row that is found in
`sending` may or may not have arrived, so our marker is looked for in the thread first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import partial

import structlog

from responder.errors import PermanentError, ResponderError, StoreError, TransientError
from responder.metrics import Metrics
from responder.model import Incident, Marker, Message, OutboxPost, Severity
from responder.ports import Chat, Clock, Store
from responder.redact import Redactor
from responder.rules import RuleSet
from responder.thread import draw_head
from responder.workers.inbox import wait_any

MAX_FOLDED, FOLDED_LINES = 1000, 8  # posts told together, and how many of their lines are shown
RELEASE_S = 2.0  # a chat that failed for longer and answers again gets all that waits for it
AT_ONCE = 16  # threads of one chat: a chat that hangs keeps no other waiting
FOR_THE_WORST = 4  # of them, for P0 and P1 alone
LOOKS_FOR_S = 30.0  # when looking fails for so long, a P0 or P1 goes out again
LOOKS_LONG_S = 900.0  # the others wait longer, but not for ever: a message is never lost
REROUTED = ("channel_not_found", "not_in_channel", "is_archived")
# What a person mends: until then messages wait, for a page must not be lost to a token that has run out.
MENDED = (
    *REROUTED,
    *("token_revoked", "token_expired", "invalid_auth", "not_authed", "account_inactive"),
    *("missing_scope", "no_permission", "restricted_action"),
)
MAX_WAIT_S = 60.0
FIRST_MEND_S, MAX_MEND_S = 30.0, 900.0
log = structlog.stdlib.get_logger("outbox")


class Outbox:
    """The outbox sender of one store."""

    def __init__(
        self, store: Store, chats: Mapping[str, Chat], rules: Callable[[], RuleSet], clock: Clock, metrics: Metrics,
        redactor: Redactor | None = None,
    ) -> None:  # fmt: skip
        """Keep the parts; what is under way is known by thread. Without a redactor only shapes of secrets are known."""
        self._redactor = redactor or Redactor(())
        self._store, self._chats, self._rules = store, chats, rules
        self._clock, self._metrics = clock, metrics
        self._busy: dict[tuple[int, str], asyncio.Task[None]] = {}
        self._troubled: dict[str, float] = {}  # chat -> since when it fails, monotonic

    async def run(self, stop: asyncio.Event) -> None:
        """Send until `stop`, then let what is under way finish."""
        bell = self._store.bell("outbox")
        await self._release(*self._chats)  # what was put off under settings that may have been mended
        try:
            while not stop.is_set():
                bell.clear()
                try:
                    begun = await self._begin()
                except StoreError as error:
                    log.error("outbox waits for the store", error=str(error))
                    begun = 0
                except Exception:
                    log.exception("posts cannot be begun")
                    begun = 0
                if not begun:
                    await wait_any(bell, stop, seconds=1.0)
            if self._busy:
                await asyncio.wait(self._busy.values())
        finally:  # nothing may work on when the store is closed behind us
            for task in self._busy.values():
                task.cancel()

    async def _begin(self) -> int:
        """Start the next post of each thread that is not under way, where its chat has room."""
        before = set(self._busy)  # what ends while we read is read as it was before
        begun = 0
        for post in await self._store.due_posts(self._clock.now(), AT_ONCE * 2):
            thread = (post.incident, post.chat)
            if thread in before or not self._has_room(post):
                continue
            task = asyncio.create_task(self._guarded(post), name=f"post {post.id}")
            self._busy[thread] = task
            task.add_done_callback(partial(self._done, thread))
            begun += 1
        return begun

    def _has_room(self, post: OutboxPost) -> bool:
        busy = sum(1 for _, chat in self._busy if chat == post.chat)
        return busy < (AT_ONCE if post.severity <= Severity.P1 else AT_ONCE - FOR_THE_WORST)

    def _done(self, thread: tuple[int, str], _task: asyncio.Task[None]) -> None:
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
            await self._hold(post, "unexpected fault", seconds=30.0, state="sending")  # it may have arrived

    async def deliver(self, post: OutboxPost) -> None:
        """Bring one post to its chat, or put it off, or give it up. Raises: StoreError."""
        chat = self._chats.get(post.chat)
        if chat is None:
            await self._store.failed(post, at=self._clock.now(), error="chat is no longer configured", reroute="")
            return
        incident = await self._store.incident(post.incident)
        assert incident is not None, "an incident is never deleted"
        edit = post.kind == "head" and post.thread_ts != ""
        again = False
        if post.state == "sending" and not edit:
            found = await self._look(chat, post, incident)
            if found is None:
                return
            again = found
        if not await self._store.sending(post, self._clock.now()):
            return
        post = replace(post, looking_since=None)  # if nobody can tell again, looking begins anew
        folded: list[int] = []
        if post.kind == "joined" and not again:
            post, folded = await self._fold(post)
        await self._send(chat, post, incident, edit=edit, again=again)
        if folded and await self._store.settled(post):
            await self._store.folded(folded)

    async def _fold(self, post: OutboxPost) -> tuple[OutboxPost, list[int]]:
        """Tell who joined in one message, however many lines wait: a storm must not take hours to be told."""
        others = await self._store.like(post, MAX_FOLDED)
        if not others or post.message is None:
            return post, []
        bodies = [post.message.body, *(body for _, body in others)]
        more = len(bodies) - FOLDED_LINES
        lines = [*bodies[:FOLDED_LINES], *([f"… and {more} more updates of this kind"] if more > 0 else [])]
        return replace(post, message=replace(post.message, body="\n".join(lines))), [number for number, _ in others]

    async def _look(self, chat: Chat, post: OutboxPost, incident: Incident) -> bool | None:
        """Look for a post that may have arrived.

        Returns: None: settled or put off; False: surely not there; True: nobody can tell, and it must not wait longer.
        """
        since = post.created_at - timedelta(seconds=60)
        try:
            channel = self._channel(chat, post, incident)
            known = await self._store.channel_id(post.chat, channel)
            found = await chat.find(_marker(post), channel=known or channel, thread_ts=_thread(post), since=since)
        except (TransientError, PermanentError) as error:
            looked_s = (self._clock.now() - (post.looking_since or self._clock.now())).total_seconds()
            urgent = incident.severity in (Severity.P0, Severity.P1)
            if looked_s >= (LOOKS_FOR_S if urgent else LOOKS_LONG_S):
                return True
            await self._hold(post, f"cannot look: {error}", seconds=5.0, state="sending")
            return None
        if found is None:
            return False
        await self._store.sent(post, channel=found[0], ts=found[1], at=self._clock.now())
        return None

    async def _send(self, chat: Chat, post: OutboxPost, incident: Incident, *, edit: bool, again: bool) -> None:
        message = self._clean(self._message(post, incident, edit=edit))
        if again:
            message = replace(message, footer=f"{message.footer} · possibly repeated".strip(" ·"))
        channel = self._channel(chat, post, incident)
        try:
            if edit:
                await chat.edit(message, channel=post.thread_channel, ts=post.thread_ts, marker=_marker(post))
                where, ts = post.thread_channel, post.thread_ts
            else:
                where, ts = await chat.post(
                    message,
                    channel=channel,
                    thread_ts=_thread(post),
                    broadcast=post.kind == "page",
                    marker=_marker(post),
                )
        except TransientError as error:
            await self._slow_down(post, error, edit=edit)
        except PermanentError as error:
            await self._refused(chat, post, error, channel)
        else:
            await self._store.sent(post, channel=where, ts=ts, asked=channel, at=self._clock.now())
            if self._clock.monotonic() - self._troubled.get(post.chat, float("inf")) >= RELEASE_S:
                await self._release(post.chat)  # it answers again: the worst first, not whose timer ends first
            self._measure(post, incident, edit=edit)
            if post.kind == "head" and not edit:
                await self._link(chat, post, where, ts)

    async def _release(self, *chats: str) -> None:
        for chat in chats:
            self._troubled.pop(chat, None)
            try:
                await self._store.release(chat)
            except StoreError as error:
                log.error("posts not released", chat=chat, error=str(error))

    async def _link(self, chat: Chat, post: OutboxPost, channel: str, ts: str) -> None:
        """Keep the thread's address; nothing waits for it, and a chat without one is as good."""
        try:
            url = await chat.permalink(channel=channel, ts=ts)
            if url:
                await self._store.linked(post, url)
        except ResponderError as error:
            log.info("no permalink", chat=post.chat, error=str(error))

    async def _slow_down(self, post: OutboxPost, error: TransientError, *, edit: bool) -> None:
        """Obey Retry-After for the whole channel; after anything else nobody knows whether it arrived."""
        if error.retry_after_s is not None:
            await self._hold(post, str(error), seconds=error.retry_after_s, whole_channel=True)
            return
        self._troubled.setdefault(post.chat, self._clock.monotonic())
        wait = min(MAX_WAIT_S, 0.5 * 2 ** min(post.attempts, 10))
        await self._hold(post, str(error), seconds=wait, state="queued" if edit else "sending")

    async def _refused(self, chat: Chat, post: OutboxPost, error: PermanentError, channel: str) -> None:
        """Send a head that its channel refuses to the default channel, once; its replies follow it.

        What a person can mend is tried again for as long as it takes; a message refused for itself is given up.
        """
        elsewhere = channel != chat.channel and error.code in REROUTED and not post.thread_ts
        log.error("post refused", incident=f"INC-{post.incident}", chat=post.chat, channel=channel, error=str(error))
        if error.code in MENDED and not elsewhere:
            self._troubled.setdefault(post.chat, self._clock.monotonic())
            wait = min(MAX_MEND_S, FIRST_MEND_S * 2 ** min(post.attempts, 10))
            await self._hold(post, str(error), seconds=wait)
            return
        reroute = chat.channel if elsewhere else ""
        await self._store.failed(post, at=self._clock.now(), error=str(error), reroute=reroute)

    async def _hold(
        self, post: OutboxPost, why: str, *, seconds: float, whole_channel: bool = False, state: str = "queued"
    ) -> None:
        log.warning("post put off", incident=f"INC-{post.incident}", chat=post.chat, seconds=seconds, error=why)
        until = self._clock.now() + timedelta(seconds=seconds)
        try:
            await self._store.held(post, until=until, error=why, whole_channel=whole_channel, state=state)
        except ResponderError as error:
            log.error("post not put off", post=post.id, error=str(error))

    def _message(self, post: OutboxPost, incident: Incident, *, edit: bool) -> Message:
        if post.message is not None:
            return post.message
        mention = "" if edit else self._rules().policy.of(incident.severity).mention
        return draw_head(incident, mention=mention, now=self._clock.now())

    def _clean(self, message: Message) -> Message:
        """Give the message without secrets: an alert's text may hold them, and a chat has many readers."""
        text = self._redactor.text
        facts = tuple((label, text(value)) for label, value in message.facts)
        return replace(
            message, title=text(message.title), facts=facts, body=text(message.body), code=text(message.code),
            footer=text(message.footer),
        )  # fmt: skip

    @staticmethod
    def _channel(chat: Chat, post: OutboxPost, incident: Incident) -> str:
        """A post goes where its thread is; the head where the incident's rule says, else to the chat's own channel."""
        if post.kind != "notice" and post.thread_channel:
            return post.thread_channel
        return post.channel or incident.channel or chat.channel

    def _measure(self, post: OutboxPost, incident: Incident, *, edit: bool) -> None:
        if post.kind == "head" and not edit:
            took = (self._clock.now() - post.created_at).total_seconds()
            self._metrics.first_message.labels(incident.severity).observe(max(0.0, took))


def _thread(post: OutboxPost) -> str:
    return "" if post.kind in ("head", "notice") else post.thread_ts


def _marker(post: OutboxPost) -> Marker:
    return Marker(f"INC-{post.incident}", post.kind, post.id)
