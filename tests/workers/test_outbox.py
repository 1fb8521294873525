"""Posts leave once, in order, and what may have arrived is looked for before it is sent again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest

from responder.errors import PermanentError, StoreError, TransientError
from responder.model import Message, Move, OutboxPost, Post
from responder.redact import Redactor
from responder.rules import RuleSet
from responder.rules.calendar import Calendar
from responder.rules.quiet import QuietHours
from responder.workers import outbox as outbox_module
from responder.workers.outbox import AT_ONCE, LOOKS_FOR_S, MAX_MEND_S, Outbox
from tests.given import NOW, P0, P1, P2, POLICY, RULES, House, StrictChat, after, entry, house


@dataclass
class Sending:
    """A house with a chat, and a sender turned by hand."""

    at: House
    chat: StrictChat
    outbox: Outbox

    async def due(self) -> list[OutboxPost]:
        return await self.at.store.due_posts(self.at.clock.now(), 100)

    async def all(self, limit: int = 50) -> None:
        """Send what is due, one after the other, until nothing is."""
        for _ in range(limit):
            found = await self.due()
            if not found:
                return
            await self.outbox.deliver(found[0])
        pytest.fail(f"still due after {limit}: {await self.due()}")

    async def queue(self, kind: str, text: str = "x", number: int = 1, channel: str = "") -> None:
        message = None if kind == "head" else Message(title="", body=text)
        await self.at.store.commit(Move(posts=[Post(number, kind, P2, message, channel)]))


def sender(at: House, chat: StrictChat) -> Sending:
    return Sending(at, chat, Outbox(at.store, {"fake": chat}, lambda: RULES, at.clock, at.metrics))


@pytest.fixture
async def out(tmp_path: Path) -> AsyncIterator[Sending]:
    async with house(tmp_path) as given:
        yield sender(given, StrictChat())


async def test_the_head_goes_first_and_replies_follow_under_it(out: Sending) -> None:
    await out.at.post(entry(severity="critical"))
    await out.at.people.acknowledge(1, "anna")
    await out.queue("page", "look here")
    await out.all()
    first, *rest = out.chat.said
    assert (first.channel, first.thread_ts, first.message.mention) == ("CAPI", "", "user:FIRST")
    assert [(said.thread_ts, said.broadcast) for said in rest] == [(first.ts, False), (first.ts, True)]
    assert await out.at.figure("posts", "fake/sent") == 3  # the head, drawn late, needs no edit


async def test_the_head_is_drawn_when_it_is_sent_and_edited_in_place_later(out: Sending) -> None:
    await out.at.post(entry())
    await out.at.people.acknowledge(1, "anna")
    await out.all()
    assert ("On it", "anna") in out.chat.said[0].message.facts
    await out.at.people.resolve(1, "anna")
    await out.all()
    assert out.chat.said[0].edits[-1].facts[1][1].startswith("resolved by anna")
    assert out.chat.said[0].edits[-1].mention == ""
    assert len([said for said in out.chat.said if not said.thread_ts]) == 1


async def test_an_incident_without_a_channel_goes_to_the_chats_own(out: Sending) -> None:
    await out.at.post(entry("Other"))
    await out.all()
    assert out.chat.said[0].channel == "CDEFAULT"


async def test_a_notice_is_a_message_of_its_own_in_its_channel(out: Sending) -> None:
    await out.at.post(entry("Wide", page="yes"))
    await out.all()
    assert [(said.channel, said.thread_ts) for said in out.chat.said] == [("CWIDE", ""), ("CPAGERS", "")]


async def test_no_secret_of_an_alert_reaches_a_chat(out: Sending) -> None:
    notes = {
        "summary": "token=hunter2hunter2 refused",
        "description": "signed with AKIAABCDEFGHIJKLMNOP and wanderlust",
    }
    await out.at.post(entry(annotations=notes, instance="AKIAABCDEFGHIJKLMNOQ"))
    await out.at.post(entry(annotations=notes, instance="AKIAABCDEFGHIJKLMNOR"))
    known = Redactor(["wanderlust"])
    out.outbox = Outbox(out.at.store, {"fake": out.chat}, lambda: RULES, out.at.clock, out.at.metrics, known)
    await out.all()
    told = repr(out.chat.said)
    assert len(out.chat.said) == 2
    assert not [word for word in ("hunter2", "AKIA", "wanderlust") if word in told]
    assert "refused" in told


async def test_a_head_in_quiet_hours_mentions_nobody_and_says_until_when(tmp_path: Path) -> None:
    early = QuietHours("early", Calendar(UTC, from_minute=8 * 60, to_minute=10 * 60), severities=(P1,))
    rules = RuleSet(RULES.rules, replace(POLICY, quiet_hours=(early,)))
    async with house(tmp_path, rules=rules) as at:
        chat = StrictChat()
        out = Sending(at, chat, Outbox(at.store, {"fake": chat}, lambda: rules, at.clock, at.metrics))
        await at.post(entry(severity="critical"))
        await out.all()
        [head] = chat.said
        assert head.message.mention == ""
        assert ("On it", "nobody yet; quiet hours until 2026-11-20 10:00 UTC") in head.message.facts


@pytest.mark.parametrize(
    ("hours", "mention"),
    [
        pytest.param((8 * 60, 9 * 60 + 5), "", id="quiet when it was opened: the watch mentions"),
        pytest.param((9 * 60 + 5, 10 * 60), "user:FIRST", id="quiet only when it arrives"),
    ],
)
async def test_a_late_head_mentions_whom_it_was_to_mention_when_it_was_opened(
    tmp_path: Path, hours: tuple[int, int], mention: str
) -> None:
    early = QuietHours("early", Calendar(UTC, from_minute=hours[0], to_minute=hours[1]), severities=(P1,))
    rules = RuleSet(RULES.rules, replace(POLICY, quiet_hours=(early,)))
    async with house(tmp_path, rules=rules) as at:
        chat = StrictChat()
        await at.post(entry(severity="critical"))
        at.clock.turn(minutes=10)  # the chat was down
        await Sending(at, chat, Outbox(at.store, {"fake": chat}, lambda: rules, at.clock, at.metrics)).all()
        assert [each.message.mention for each in chat.said] == [mention]


# --- slowed down ---


async def test_retry_after_holds_the_whole_channel_while_others_go_on(out: Sending) -> None:
    await out.at.post(entry(cluster="a"), entry(cluster="b"), entry("Wide"))
    out.chat.faults = [TransientError("slow down", retry_after_s=30)]
    await out.all()
    assert [said.channel for said in out.chat.said] == ["CWIDE"]
    out.at.clock.turn(29)
    await out.all()
    assert len(out.chat.said) == 1
    out.at.clock.turn(1)
    await out.all()
    assert [said.channel for said in out.chat.said] == ["CWIDE", "CAPI", "CAPI"]
    assert out.chat.looked == 0  # it was refused: it has surely not arrived


async def test_retry_after_of_a_reply_holds_the_channel_too(out: Sending) -> None:
    await out.at.post(entry(cluster="a"))
    await out.all()
    await out.queue("reply", "one")
    await out.at.post(entry(cluster="b"), entry("Wide"))
    out.chat.faults = [TransientError("slow down", retry_after_s=30)]
    await out.all()
    assert [said.channel for said in out.chat.said] == ["CAPI", "CWIDE"]
    out.at.clock.turn(30)
    await out.all()
    assert len(out.chat.said) == 4


async def test_an_edit_that_is_slowed_down_is_sent_later_with_the_newest_state(out: Sending) -> None:
    await out.at.post(entry())
    await out.all()
    await out.queue("head")
    out.chat.faults = [TransientError("slow down", retry_after_s=5)]
    await out.all()
    await out.at.people.acknowledge(1, "anna")
    out.at.clock.turn(5)
    await out.all()
    assert ("On it", "anna") in out.chat.said[0].edits[-1].facts


async def test_a_slowed_down_first_head_with_a_newer_one_queued_is_held(out: Sending) -> None:
    await out.at.post(entry())
    head = (await out.due())[0]

    class Meanwhile(StrictChat):
        async def post(self, message: Message, **more: Any) -> tuple[str, str]:
            await out.queue("head")
            raise TransientError("slow down", retry_after_s=10)

    await sender(out.at, Meanwhile()).outbox.deliver(head)
    assert await out.due() == []
    out.at.clock.turn(10)
    await out.all()
    assert len(out.chat.said) == 1


# --- unknown outcomes ---


async def test_a_message_that_arrived_although_it_failed_is_found_and_not_sent_again(out: Sending) -> None:
    await out.at.post(entry())
    out.chat.lost = [TransientError("timeout")]
    await out.all()
    assert await out.due() == []
    out.at.clock.turn(60)
    await out.all()
    assert (len(out.chat.said), out.chat.looked) == (1, 1)
    await out.queue("reply", "under it")
    await out.all()
    assert out.chat.said[1].thread_ts == out.chat.said[0].ts


async def test_a_message_that_did_not_arrive_is_looked_for_and_sent_once(out: Sending) -> None:
    await out.at.post(entry())
    out.chat.faults = [TransientError("timeout")]
    await out.all()
    out.at.clock.turn(60)
    await out.all()
    assert (len(out.chat.said), out.chat.looked) == (1, 1)
    assert "possibly repeated" not in out.chat.said[0].message.footer


async def test_waits_grow_with_each_try(out: Sending) -> None:
    await out.at.post(entry())
    waits = []
    for _ in range(9):
        out.chat.faults = [TransientError("timeout")]
        await out.outbox.deliver((await out.due())[0])
        waited = 0.0
        while not await out.due():
            out.at.clock.turn(0.5)
            waited += 0.5
        waits.append(waited)
    assert waits == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]


@pytest.mark.parametrize(
    "fault", [TransientError("down"), PermanentError("missing scope")], ids=["transient", "permanent"]
)
async def test_when_nobody_can_look_the_worst_goes_out_again_and_says_so(out: Sending, fault: Exception) -> None:
    await out.at.post(entry(cluster="a", severity="critical"), entry(cluster="b", severity="info"))
    out.chat.faults = [TransientError("timeout"), TransientError("timeout")]
    out.chat.looks = [fault] * 1000
    passed = 0.0
    await out.all()
    while not out.chat.said and passed < 120:
        out.at.clock.turn(1)
        passed += 1
        await out.all()
    assert LOOKS_FOR_S <= passed < LOOKS_FOR_S + 10
    assert [(said.marker.incident, "possibly repeated" in said.message.footer) for said in out.chat.said] == [
        ("INC-1", True)
    ]
    out.at.clock.turn(minutes=10)
    await out.all()
    assert len(out.chat.said) == 1  # the minor one still waits
    out.chat.looks = []
    out.at.clock.turn(10)
    await out.all()
    assert [said.marker.incident for said in out.chat.said] == ["INC-1", "INC-2"]


@pytest.mark.parametrize("arrived", [True, False], ids=["it had arrived", "it had not"])
async def test_dying_between_sending_and_sent_makes_one_message(tmp_path: Path, arrived: bool) -> None:
    chat = StrictChat()
    async with house(tmp_path) as given:
        await given.post(entry())
        (chat.lost if arrived else chat.faults).append(asyncio.CancelledError())  # type: ignore[arg-type]
        first = sender(given, chat)
        with pytest.raises(asyncio.CancelledError):
            await first.outbox.deliver((await first.due())[0])
        clock = given.clock
    async with house(tmp_path, clock=clock) as later:
        await sender(later, chat).all()
        assert (len(chat.said), chat.looked) == (1, 1)


async def test_a_store_that_fails_after_the_message_arrived_makes_one_message(out: Sending) -> None:
    await out.at.post(entry())
    store = out.at.store
    fails = [True]

    class Torn:
        def __getattr__(self, name: str) -> object:
            return getattr(store, name)

        async def sent(self, post: OutboxPost, **more: object) -> None:
            if fails.pop() if fails else False:
                raise StoreError("disk full")
            await store.sent(post, **more)  # type: ignore[arg-type]

    torn = Outbox(Torn(), {"fake": out.chat}, lambda: RULES, out.at.clock, out.at.metrics)  # type: ignore[arg-type]
    with pytest.raises(StoreError):
        await torn.deliver((await out.due())[0])
    await torn.deliver((await out.due())[0])
    assert (len(out.chat.said), out.chat.looked) == (1, 1)


async def test_an_edit_of_unknown_outcome_is_simply_made_again(out: Sending) -> None:
    await out.at.post(entry())
    await out.all()
    await out.queue("head")
    out.chat.faults = [TransientError("timeout")]
    await out.all()
    out.at.clock.turn(60)
    await out.all()
    assert (len(out.chat.said[0].edits), out.chat.looked) == (1, 0)


async def test_a_chat_with_a_fault_of_its_own_does_not_page_twice(out: Sending) -> None:
    await out.at.post(entry())
    out.chat.lost = [RuntimeError("a bug of ours")]
    stop = asyncio.Event()
    task = asyncio.create_task(out.outbox.run(stop))
    while not out.at.sql("SELECT 1 FROM post WHERE error <> ''"):
        await asyncio.sleep(0.005)
    stop.set()
    await asyncio.wait_for(task, 5)
    out.at.clock.turn(minutes=5)
    await out.all()
    assert len(out.chat.said) == 1


# --- refused ---


@pytest.mark.parametrize("code", ["channel_not_found", "not_in_channel", "is_archived"])
async def test_a_refused_head_goes_to_the_default_channel_once_and_its_replies_follow(out: Sending, code: str) -> None:
    out.chat.refused["#api"] = PermanentError("no", code=code)
    await out.at.post(entry())
    await out.queue("reply", "one")
    await out.all()
    assert [(said.channel, bool(said.thread_ts)) for said in out.chat.said] == [("CDEFAULT", False), ("CDEFAULT", True)]
    record = await out.at.store.record(1)
    assert any("#default" in line["text"] for line in record["timeline"] if line["kind"] == "post")


async def test_a_head_refused_while_an_edit_of_it_is_queued_still_reaches_people(out: Sending) -> None:
    out.chat.refused["#api"] = PermanentError("no", code="channel_not_found")
    await out.at.post(entry())
    head = (await out.due())[0]
    await out.at.store.sending(head, NOW)
    await out.queue("head")  # a reply was made meanwhile
    await out.all()
    assert [said.channel for said in out.chat.said] == ["CDEFAULT"]


@pytest.mark.parametrize("code", ["channel_not_found", "token_revoked", "missing_scope"])
async def test_what_a_person_can_mend_is_tried_until_it_is_mended(out: Sending, code: str) -> None:
    out.chat.refused = {name: PermanentError("no", code=code) for name in ("#api", "#default")}
    await out.at.post(entry())
    await out.queue("reply", "one")
    for _ in range(100):
        await out.all()
        out.at.clock.turn(minutes=5)
    assert out.chat.said == []
    out.chat.refused = {}
    out.at.clock.turn(MAX_MEND_S)
    await out.all()
    assert [bool(said.thread_ts) for said in out.chat.said] == [False, True]


async def test_a_head_that_is_refused_for_itself_is_given_up(out: Sending) -> None:
    out.chat.refused["#api"] = PermanentError("no", code="msg_too_long")
    await out.at.post(entry())
    await out.all()
    assert out.chat.said == []
    assert await out.at.figure("posts", "fake/failed") == 1
    assert out.at.sql("SELECT state FROM post") == [("failed",)]


async def test_a_reply_that_is_refused_does_not_block_the_next(out: Sending) -> None:
    await out.at.post(entry())
    await out.all()
    await out.queue("reply", "too long")
    await out.queue("reply", "fine")
    out.chat.faults = [PermanentError("msg_too_long", code="msg_too_long")]
    await out.all()
    assert [said.message.body for said in out.chat.said[1:]] == ["fine"]


async def test_a_chat_that_is_gone_from_the_settings_blocks_no_other(tmp_path: Path) -> None:
    async with house(tmp_path, chats=("gone", "fake")) as given:
        out = sender(given, StrictChat())
        await given.post(entry())
        await out.all()
        assert len(out.chat.said) == 1
        assert await given.figure("posts", "gone/failed") == 1


# --- the sender itself ---


async def test_a_stuck_thread_keeps_no_other_waiting(out: Sending) -> None:
    release = asyncio.Event()

    class Stuck(StrictChat):
        async def post(self, message: Message, **more: Any) -> tuple[str, str]:
            if message.severity is P1:
                await release.wait()
            return await super().post(message, **more)

    chat = Stuck()
    await out.at.post(entry(cluster="a", severity="critical"), *[entry(cluster=f"{n}") for n in range(5)])
    stop = asyncio.Event()
    task = asyncio.create_task(sender(out.at, chat).outbox.run(stop))
    while len(chat.said) < 5:
        await asyncio.sleep(0.005)
    release.set()
    stop.set()
    await asyncio.wait_for(task, 5)
    assert len(chat.said) == 6  # what is under way when it stops is finished


class Hanging(StrictChat):
    """A chat that answers nothing until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[Message] = []
        self.release = asyncio.Event()

    async def post(self, message: Message, **more: Any) -> tuple[str, str]:
        self.begun.append(message)
        await self.release.wait()
        return await super().post(message, **more)


@asynccontextmanager
async def running(at: House, **chats: StrictChat) -> AsyncIterator[asyncio.Task[None]]:
    """Run a sender over these chats until left."""
    stop = asyncio.Event()
    task = asyncio.create_task(Outbox(at.store, chats, lambda: RULES, at.clock, at.metrics).run(stop))
    yield task
    stop.set()
    await asyncio.wait_for(task, 5)


@pytest.fixture
def rung(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is found by looking now and then: what follows must be rung for."""
    monkeypatch.setattr(outbox_module, "IDLE_S", 60.0)


async def soon(check: Callable[[], bool]) -> None:
    """Wait until it is so; the sender's own looks are too rare to bring it about: see `rung`."""
    async with asyncio.timeout(5):
        while not check():
            await asyncio.sleep(0.005)


async def test_a_chat_that_hangs_keeps_no_other_waiting(tmp_path: Path) -> None:
    hanging, well = Hanging(), StrictChat()
    async with house(tmp_path, chats=("hanging", "well")) as given:
        await given.post(*[entry(cluster=f"{n}") for n in range(3 * AT_ONCE)])
        async with running(given, hanging=hanging, well=well):
            async with asyncio.timeout(5):
                while len(well.said) < 3 * AT_ONCE:
                    await asyncio.sleep(0.005)
            hanging.release.set()


@pytest.mark.usefixtures("rung")
async def test_minor_posts_that_hang_leave_room_for_the_worst(out: Sending) -> None:
    hanging = Hanging()
    await out.at.post(*[entry(cluster=f"{n}") for n in range(2 * AT_ONCE)])
    async with running(out.at, fake=hanging):
        await soon(lambda: len(hanging.begun) > 1)
        await out.at.post(entry(cluster="worst", severity="outage"))
        await soon(lambda: hanging.begun[-1].severity is P0)
        assert len(hanging.begun) < AT_ONCE
        hanging.release.set()


@pytest.mark.usefixtures("rung")
async def test_a_threads_next_post_follows_at_once_however_late_its_link_comes(out: Sending) -> None:
    class SlowLink(StrictChat):
        async def permalink(self, *, channel: str, ts: str) -> str:
            await asyncio.sleep(0.1)
            return ""

    chat = SlowLink()
    await out.at.post(entry())
    await out.queue("reply", "one")
    async with running(out.at, fake=chat):
        await soon(lambda: len(chat.said) == 2)


@pytest.mark.usefixtures("rung")
async def test_a_post_that_ends_while_the_next_are_read_is_left_alone(out: Sending) -> None:
    hanging = Hanging()
    hanging.looks = [TransientError("cannot look")] * 10
    store = out.at.store

    class SlowToAnswer:
        reads = 0

        def __getattr__(self, name: str) -> object:
            return getattr(store, name)

        async def due_posts(self, *arguments: Any) -> list[OutboxPost]:
            self.reads += 1
            if self.reads != 2:
                return await store.due_posts(*arguments)
            while not hanging.begun:
                await asyncio.sleep(0.005)
            found = await store.due_posts(*arguments)
            hanging.release.set()
            while not out.at.sql("SELECT 1 FROM post WHERE state = 'sent'"):
                await asyncio.sleep(0.005)
            await asyncio.sleep(0.02)
            return found

    await out.at.post(entry())
    slow, stop = SlowToAnswer(), asyncio.Event()
    sending = Outbox(slow, {"fake": hanging}, lambda: RULES, out.at.clock, out.at.metrics)  # type: ignore[arg-type]
    task = asyncio.create_task(sending.run(stop))
    await soon(lambda: slow.reads > 2)
    stop.set()
    await asyncio.wait_for(task, 5)
    assert (hanging.looked, out.at.sql("SELECT state FROM post")) == (0, [("sent",)])


@pytest.mark.usefixtures("rung")
async def test_a_fault_of_ours_does_not_end_the_sender(out: Sending) -> None:
    store, faults = out.at.store, [RuntimeError("a fault")]

    class Odd:
        def __getattr__(self, name: str) -> object:
            return getattr(store, name)

        async def due_posts(self, *arguments: Any) -> list[OutboxPost]:
            if faults:
                raise faults.pop()
            return await store.due_posts(*arguments)

    stop = asyncio.Event()
    sending = Outbox(Odd(), {"fake": out.chat}, lambda: RULES, out.at.clock, out.at.metrics)  # type: ignore[arg-type]
    task = asyncio.create_task(sending.run(stop))
    while faults:
        await asyncio.sleep(0.005)
    await out.at.post(entry())
    await soon(lambda: len(out.chat.said) == 1)
    stop.set()
    await asyncio.wait_for(task, 5)


async def test_what_has_left_is_not_called_back(out: Sending) -> None:
    await out.at.post(entry())
    [head] = await out.due()
    await out.all()
    await out.at.store.held(head, until=NOW, error="late", whole_channel=False, state="sending")
    assert out.at.sql("SELECT state FROM post") == [("sent",)]


@pytest.mark.usefixtures("rung")
async def test_a_sender_that_is_cut_short_leaves_nothing_at_work(out: Sending) -> None:
    hanging = Hanging()
    await out.at.post(entry())
    task = asyncio.create_task(sender(out.at, hanging).outbox.run(asyncio.Event()))
    await soon(lambda: len(hanging.begun) == 1)
    task.cancel()
    await asyncio.wait([task])
    await asyncio.sleep(0)
    assert not [each for each in asyncio.all_tasks() if each.get_name().startswith("post ")]


async def test_a_storm_goes_out_worst_first_and_each_once(out: Sending) -> None:
    severities = ["info", "warning", "critical", "outage"] * 10
    await out.at.post(*[entry(cluster=f"{n}", severity=each) for n, each in enumerate(severities)])
    await out.all(limit=200)
    assert [said.message.severity for said in out.chat.said] == sorted(said.message.severity for said in out.chat.said)  # type: ignore[type-var]
    assert len(out.chat.said) == 40
    assert out.chat.said[0].message.severity is P0
    assert await out.at.figure("posts_waiting") == 0
    assert after() == NOW


async def test_many_who_joined_while_the_channel_rests_are_told_in_one_message(out: Sending) -> None:
    await out.at.post(entry(severity="critical", instance="0"))
    await out.all()
    for n in range(1, 31):
        await out.at.post(entry(severity="critical", instance=str(n)))
    await out.queue("reply", "a line behind them")
    await out.all()
    bodies = [said.message.body for said in out.chat.said[1:]]
    joined = [body for body in bodies if "joined" in body]
    assert len(joined) == 1
    assert joined[0].endswith("… and 22 more updates of this kind")
    assert bodies[-1] == "a line behind them"
    assert await out.at.figure("posts_waiting", "") == 0
