"""Brings one post to its chat (T4): looks before it repeats, and says what becomes of it.

A post row is its own intent. `sending` is written before the call and the message's ts after it; a row that is found in
`sending` may or may not have arrived, so our marker is looked for in the thread first. Lines that go in its message
ride in it: they are told with it, or queued again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta

import structlog

from responder.errors import PermanentError, ResponderError, StoreError, TransientError
from responder.metrics import Metrics
from responder.model import Incident, Marker, Message, OutboxPost, Severity
from responder.ports import Chat, Clock, Store
from responder.redact import Redactor
from responder.rules import RuleSet
from responder.thread import FLAPPING, draw_head
from responder.workers.budget import MOVES_AFTER_S, Purse
from responder.workers.digest import Load, merge

MAX_RIDERS = 1000  # lines told together
FLAPS_WITHIN = timedelta(hours=1)
RELEASE_S = 2.0  # a chat that failed for longer and answers again gets all that waits for it
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


class Delivery:
    """What happens to one post after another; `deliver` may run for many threads at once."""

    def __init__(
        self, store: Store, chats: Mapping[str, Chat], purses: Mapping[str, Purse], rules: Callable[[], RuleSet],
        clock: Clock, metrics: Metrics, redactor: Redactor,
    ) -> None:  # fmt: skip
        """Keep the parts."""
        self._store, self._chats, self._purses, self._rules = store, chats, purses, rules
        self._clock, self._metrics, self._redactor = clock, metrics, redactor
        self._troubled: dict[str, float] = {}  # chat -> since when it fails, monotonic
        self._alone: set[int] = set()  # posts whose message was refused with what rode in it

    async def deliver(self, post: OutboxPost) -> None:
        """Bring one post to its chat, or put it off, or give it up. Raises: StoreError."""
        chat = self._chats.get(post.chat)
        if chat is None:
            await self._store.failed(post, at=self._clock.now(), error="chat is no longer configured", reroute="")
            return
        incident = await self._store.incident(post.incident)
        assert incident is not None, "an incident is never deleted"
        load = await self._load(chat, post)
        again = False
        if post.state == "sending" and post.lane != "edit":
            found = await self._look(chat, post, incident, load)
            if found is None:
                return
            again = found
        if (why := _outdated(post, incident)) != "":
            await self._store.failed(post, at=self._clock.now(), error=why, reroute="")
            return
        if await self._kept_back(chat, post, load):
            return
        if not await self._store.sending(post, self._clock.now(), load.riders):
            return
        post = replace(post, looking_since=None)  # if nobody can tell again, looking begins anew
        message = load.message or await self._head(post, incident, len(load.folded))
        await self._send(chat, post, incident, load, message=message, again=again)

    async def _load(self, chat: Chat, post: OutboxPost) -> Load:
        """Find what goes in the same message; a message that may have arrived is not made anew."""
        if post.lane == "edit" or post.kind in ("page", "notice") or post.id in self._alone:
            return Load(post.message)
        only_joined = post.kind == "head" or chat.budget is None
        lines = await self._store.behind(post, MAX_RIDERS, only_joined=only_joined)
        if post.state == "sending":
            lines = [line for line in lines if line.riding]
        return merge(post, lines, replies=chat.budget is not None)

    async def _kept_back(self, chat: Chat, post: OutboxPost, load: Load) -> bool:
        """Do without a message of its own where that serves people better."""
        purse = self._purses.get(post.chat)
        if purse is not None and purse.moves(post, self._clock.monotonic()):
            why = f"{post.place} takes no message, not even a {post.severity}, for more than {MOVES_AFTER_S:g} s"
            log.warning("head moves", incident=f"INC-{post.incident}", chat=post.chat, why=why, to=chat.channel)
            await self._store.failed(post, at=self._clock.now(), error=why, reroute=chat.channel)
            return True
        if post.kind == "joined" and post.state == "queued" and post.thread_ts:
            _, flaps = await self._store.aside(post, self._clock.now() - FLAPS_WITHIN)
            if flaps >= FLAPPING:
                lines = await self._store.behind(post, MAX_RIDERS, only_joined=True)
                await self._store.folded(post, [line.id for line in lines])
                return True
        return False

    async def _look(self, chat: Chat, post: OutboxPost, incident: Incident, load: Load) -> bool | None:
        """Look for a post that may have arrived.

        Returns: None: settled or put off; False: surely not there; True: nobody can tell, and it must not wait longer.
        """
        since = post.created_at - timedelta(seconds=60)
        try:
            channel = _channel(chat, post, incident)
            known = await self._store.channel_id(post.chat, channel)
            found = await chat.find(_marker(post), channel=known or channel, thread_ts=_thread(post), since=since)
        except (TransientError, PermanentError) as error:
            looked_s = (self._clock.now() - (post.looking_since or self._clock.now())).total_seconds()
            urgent = incident.severity in (Severity.P0, Severity.P1)
            if looked_s >= (LOOKS_FOR_S if urgent else LOOKS_LONG_S):
                return True
            await self.hold(post, f"cannot look: {error}", seconds=5.0, state="sending")
            return None
        if found is None:
            return False
        await self._store.sent(
            post, channel=found[0], ts=found[1], at=self._clock.now(), told=load.told, folded=load.folded
        )
        return None

    async def _send(
        self, chat: Chat, post: OutboxPost, incident: Incident, load: Load, *, message: Message, again: bool
    ) -> None:
        message = self.clean(message)
        if again:
            message = replace(message, footer=f"{message.footer} · possibly repeated".strip(" ·"))
        channel = _channel(chat, post, incident)
        try:
            if post.lane == "edit":
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
            await self._slow_down(post, error)
        except PermanentError as error:
            await self._refused(chat, post, error, channel, load)
        else:
            await self._arrived(chat, post, load, (where, ts, channel))

    async def _arrived(self, chat: Chat, post: OutboxPost, load: Load, place: tuple[str, str, str]) -> None:
        where, ts, asked = place
        at = self._clock.now()
        await self._store.sent(post, channel=where, ts=ts, asked=asked, at=at, told=load.told, folded=load.folded)
        self._alone.discard(post.id)
        if self._clock.monotonic() - self._troubled.get(post.chat, float("inf")) >= RELEASE_S:
            await self.release(post.chat)  # it answers again: the worst first, not whose timer ends first
        if post.lane == "head":
            self._metrics.first_message.labels(post.severity).observe(max(0.0, (at - post.created_at).total_seconds()))
            await self._link(chat, post, where, ts)

    async def release(self, *chats: str) -> None:
        """Let all that was put off try at once."""
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

    async def _slow_down(self, post: OutboxPost, error: TransientError) -> None:
        """Obey Retry-After for the whole channel; after anything else nobody knows whether it arrived.

        What is asked of edits holds edits alone: the limits of a chat are told apart by what is done.
        """
        edit = post.lane == "edit"
        if error.retry_after_s is not None:
            purse, now_s = self._purses.get(post.chat), self._clock.monotonic()
            if purse is not None:
                purse.refused(post.lane, post.place, now_s, error.retry_after_s, urgent=post.urgent)
            await self.hold(post, str(error), seconds=error.retry_after_s, whole_channel=not edit)
            return
        self._troubled.setdefault(post.chat, self._clock.monotonic())
        wait = min(MAX_WAIT_S, 0.5 * 2 ** min(post.attempts, 10))
        await self.hold(post, str(error), seconds=wait, state="queued" if edit else "sending")

    async def _refused(self, chat: Chat, post: OutboxPost, error: PermanentError, channel: str, load: Load) -> None:
        """Send a head that its channel refuses to the default channel, once; its replies follow it.

        What a person can mend is tried again for as long as it takes; a message refused for itself is given up, but
        not with others in it: then each of them is tried alone.
        """
        elsewhere = channel != chat.channel and error.code in REROUTED and not post.thread_ts
        log.error("post refused", incident=f"INC-{post.incident}", chat=post.chat, channel=channel, error=str(error))
        if error.code in MENDED and not elsewhere:
            self._troubled.setdefault(post.chat, self._clock.monotonic())
            wait = min(MAX_MEND_S, FIRST_MEND_S * 2 ** min(post.attempts, 10))
            await self.hold(post, str(error), seconds=wait)
            return
        if load.told and chat.budget is not None:
            self._alone.add(post.id)
            await self._store.apart(post)
            await self.hold(post, str(error), seconds=0.0)
            return
        reroute = chat.channel if elsewhere else ""
        self._alone.discard(post.id)
        await self._store.failed(post, at=self._clock.now(), error=str(error), reroute=reroute)

    async def hold(
        self, post: OutboxPost, why: str, *, seconds: float, whole_channel: bool = False, state: str = "queued"
    ) -> None:
        """Put a post off, or its whole channel."""
        log.warning("post put off", incident=f"INC-{post.incident}", chat=post.chat, seconds=seconds, error=why)
        until = self._clock.now() + timedelta(seconds=seconds)
        try:
            await self._store.held(post, until=until, error=why, whole_channel=whole_channel, state=state)
        except ResponderError as error:
            log.error("post not put off", post=post.id, error=str(error))

    async def _head(self, post: OutboxPost, incident: Incident, folds: int) -> Message:
        """Draw the head as the incident stands now; `folds` more updates are folded by showing it."""
        policy, now = self._rules().policy, self._clock.now()
        quiet = policy.quiet_for(incident, now)
        # By the hours in which it was told, not those in which it arrives: the watch mentions what was quiet then.
        mention = "" if post.lane == "edit" else policy.mention_for(incident, incident.page_at or now)
        folded, flaps = await self._store.aside(post, now - FLAPS_WITHIN)
        until = quiet.until if quiet else None
        return draw_head(incident, mention=mention, folded=folded + folds, flaps=flaps, quiet_until=until)

    def clean(self, message: Message) -> Message:
        """Give the message without secrets: an alert's text may hold them, and a chat has many readers."""
        text = self._redactor.text
        facts = tuple((label, text(value)) for label, value in message.facts)
        return replace(
            message, title=text(message.title), facts=facts, body=text(message.body), code=text(message.code),
            footer=text(message.footer),
        )  # fmt: skip


def _channel(chat: Chat, post: OutboxPost, incident: Incident) -> str:
    """A post goes where its thread is; the head where the incident's rule says, else to the chat's own channel."""
    if post.kind != "notice" and post.thread_channel:
        return post.thread_channel
    return post.channel or incident.channel or chat.channel


def _outdated(post: OutboxPost, incident: Incident) -> str:
    """Why a mirror is not to be told a state that has passed, else "": it would end there what fires again here."""
    if post.kind == "resolved" and not incident.status.ended:
        return f"{incident.name} fires again: not told to be over"
    if post.kind == "acknowledged" and incident.acknowledged_at is None:
        return f"nobody has {incident.name} any more: not told to be taken"
    return ""


def _thread(post: OutboxPost) -> str:
    return "" if post.kind in ("head", "notice") else post.thread_ts


def _marker(post: OutboxPost) -> Marker:
    return Marker(f"INC-{post.incident}", post.kind, post.id)
