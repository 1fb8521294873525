"""What PagerDuty is told, and asked: through a double as strict as the real one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Any

import pytest

from responder.doubles.pagerduty import Fault, PagerDutyDouble
from responder.errors import PermanentError, TransientError
from responder.integrations.pagerduty import notes, plugin, rest
from responder.integrations.pagerduty.receiver import PagerDutyReceiver
from responder.model import Marker, Message, Severity
from responder.ports import Mirror, Surroundings
from responder.workers.delivery import MENDED
from tests.given import FakeClock, FakeIds

SINCE = datetime(2026, 11, 20, tzinfo=UTC)
BOT = "bot@shop.example"
CUT = Fault(reset=True, stored=True, times=2)  # aiohttp itself asks again once where a method may be repeated
SAID = Message("", body="Acknowledged by ana.")


class Inbox:
    """What was put into our own inbox."""

    def __init__(self) -> None:
        self.bodies: list[tuple[str, bytes]] = []

    async def submit(self, receiver: str, body: bytes) -> None:
        self.bodies.append((receiver, body))


@pytest.fixture
async def double() -> AsyncIterator[PagerDutyDouble]:
    async with PagerDutyDouble() as opened:
        yield opened


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


def opened(
    url: str, clock: FakeClock, inbox: Inbox, *, base_url: str = "https://responder.shop.example", **more: Any
) -> AbstractAsyncContextManager[Mirror | None]:
    assert plugin.mirror is not None
    values = {"api_token": "y_test", "from": BOT, "base_url": url, **more}
    around = Surroundings(clock, FakeIds(), base_url, inbox.submit)
    return plugin.mirror(plugin.settings.model_validate(values), around)


@pytest.fixture
async def mirror(double: PagerDutyDouble, clock: FakeClock, inbox: Inbox) -> AsyncIterator[Mirror]:
    async with opened(double.base_url, clock, inbox) as found:
        assert found is not None
        yield found


def mark(kind: str, post: int = 1) -> Marker:
    return Marker("INC-7", kind, post)


async def tell(mirror: Mirror, kind: str, ref: str, message: Message = SAID, post: int = 1) -> str:
    return await mirror.tell(kind, ref, message, marker=mark(kind, post))


async def told(mirror: Mirror, kind: str, ref: str, post: int = 1) -> str | None:
    return await mirror.told(kind, ref, marker=mark(kind, post), since=SINCE)


async def test_without_a_key_there_is_no_mirror(double: PagerDutyDouble, clock: FakeClock, inbox: Inbox) -> None:
    assert plugin.mirror is not None
    around = Surroundings(clock, FakeIds(), "", inbox.submit)
    async with plugin.mirror(plugin.settings.model_validate({"secret": "s"}), around) as found:
        assert found is None


# --- linked ---


async def test_a_link_fetches_what_is_known_and_leaves_our_address(
    mirror: Mirror, double: PagerDutyDouble, inbox: Inbox
) -> None:
    incident = double.trigger("Disk full", details={"firing": "Labels:\n - alertname = DiskFull\n - instance = a\n"})
    await tell(mirror, "linked", incident.id, Message("Disk full", severity=Severity.P1))
    [(receiver, body)] = inbox.bodies
    [alert] = PagerDutyReceiver(["s"]).decode(body, SINCE).alerts
    assert (receiver, alert.ref, alert.labels["alertname"], alert.labels["instance"]) == (
        "pagerduty", incident.id, "DiskFull", "a",
    )  # fmt: skip
    assert double.notes() == [
        "[responder INC-7 #1] responder: INC-7: P1 https://responder.shop.example/incidents/INC-7"
    ]
    assert all(call.headers["From"] == BOT for call in double.calls)


async def test_without_an_address_a_link_names_the_incident(
    double: PagerDutyDouble, clock: FakeClock, inbox: Inbox
) -> None:
    incident = double.trigger("Disk full")
    async with opened(double.base_url, clock, inbox, base_url="") as mirror:
        assert mirror is not None
        await tell(mirror, "linked", incident.id, Message("Disk full"))
    assert double.notes() == ["[responder INC-7 #1] responder: INC-7: Disk full"]


@pytest.mark.parametrize(
    "fault", [Fault(404), Fault(200, body="[" + "1," * (5 << 20) + "1]")], ids=["none", "too large"]
)
async def test_details_that_nobody_can_read_do_not_keep_the_link_back(
    mirror: Mirror, double: PagerDutyDouble, inbox: Inbox, fault: Fault
) -> None:
    incident = double.trigger("Disk full")
    double.script("GET", ".*/alerts", fault)
    await tell(mirror, "linked", incident.id)
    assert len(inbox.bodies) == len(double.notes()) == 1


# --- acknowledged, resolved ---


@pytest.mark.parametrize(
    ("before", "kind", "after", "writes"),
    [
        ("triggered", "acknowledged", "acknowledged", 1),
        ("acknowledged", "acknowledged", "acknowledged", 0),
        ("resolved", "acknowledged", "resolved", 0),
        ("triggered", "resolved", "resolved", 1),
        ("acknowledged", "resolved", "resolved", 1),
        ("resolved", "resolved", "resolved", 0),
    ],
)
async def test_a_status_is_written_where_it_is_not_yet_and_nothing_is_opened_again(
    mirror: Mirror, double: PagerDutyDouble, before: str, kind: str, after: str, writes: int
) -> None:
    incident = double.trigger("Disk full")
    double.account.set_status(incident, before, None)
    await tell(mirror, kind, incident.id)
    assert (incident.status, incident.reopened_at) == (after, None)
    puts = double.called("PUT")
    assert len(puts) == writes
    assert all((put.headers["From"], put.body["incident"]["type"]) == (BOT, "incident_reference") for put in puts)


async def test_who_took_it_and_why_it_ended_stand_there(mirror: Mirror, double: PagerDutyDouble) -> None:
    incident = double.trigger("Disk full")
    await tell(mirror, "acknowledged", incident.id)
    await tell(mirror, "resolved", incident.id, Message("", body="Resolved by ana after 3 min."), 2)
    assert double.notes() == ["[responder INC-7 #1] Acknowledged by ana."]
    assert incident.resolution == "Resolved by ana after 3 min."


@pytest.mark.parametrize("code", [1001, 1002, 1019])
async def test_what_is_so_already_is_no_error(mirror: Mirror, double: PagerDutyDouble, code: int) -> None:
    incident = double.trigger("Disk full")
    double.script("PUT", ".*", Fault(400, code=code, message="so already"))
    assert await tell(mirror, "resolved", incident.id) == "resolved"


async def test_a_merged_incident_is_over_there(mirror: Mirror, double: PagerDutyDouble) -> None:
    one, other = double.trigger("Disk full"), double.trigger("Node down")
    double.account.merge(one, other)
    await tell(mirror, "acknowledged", one.id)
    await tell(mirror, "resolved", one.id)
    assert (one.status, other.status) == ("resolved", "triggered")


async def test_a_note_that_fails_does_not_undo_an_acknowledgement(mirror: Mirror, double: PagerDutyDouble) -> None:
    incident = double.trigger("Disk full")
    double.script("POST", ".*/notes", Fault(500))
    await tell(mirror, "acknowledged", incident.id)
    assert (incident.status, double.notes()) == ("acknowledged", [])


# --- notes ---


async def test_after_many_notes_the_last_one_grows(mirror: Mirror, double: PagerDutyDouble) -> None:
    incident = double.trigger("Disk full")
    double.account.add_note(incident, "a person's", double.person())
    for post in range(1, 401):
        await tell(mirror, "note", incident.id, Message("", body=f"line {post} " + "x" * 40), post)
    assert len(double.notes()) == notes.SINGLE_NOTES + 1
    last = double.notes()[-1]
    assert len(last) <= notes.MAX_NOTE_CHARS
    assert "#400 line 400" in last
    assert "line 22 " not in last
    assert await told(mirror, "note", incident.id, 400) is not None
    assert await told(mirror, "note", incident.id, 401) is None


async def test_a_long_text_is_cut_and_keeps_its_mark(mirror: Mirror, double: PagerDutyDouble) -> None:
    incident = double.trigger("Disk full")
    await tell(mirror, "note", incident.id, Message("T", facts=(("a", "b"),), body="x" * 9000))
    [note] = double.notes()
    assert len(note) <= notes.MAX_ENTRY_CHARS + 50
    assert note.startswith("[responder INC-7 #1] T\nx")
    assert notes.is_ours(note[:100])


# --- looking before a repeat ---


@pytest.mark.parametrize("kind", ["linked", "note", "acknowledged", "resolved"])
async def test_what_arrived_is_found_although_its_answer_was_lost(
    mirror: Mirror, double: PagerDutyDouble, kind: str
) -> None:
    incident = double.trigger("Disk full")
    assert await told(mirror, kind, incident.id) is None
    double.script("PUT" if kind in ("acknowledged", "resolved") else "POST", ".*", CUT)
    with pytest.raises(TransientError):
        await tell(mirror, kind, incident.id)
    assert await told(mirror, kind, incident.id) is not None
    assert await told(mirror, "note", incident.id, 99) is None


async def test_a_note_of_somebody_else_is_not_taken_for_ours(mirror: Mirror, double: PagerDutyDouble) -> None:
    incident = double.trigger("Disk full")
    for text in ("#1 Acknowledged by ana.", "[responder INC-8 #1] x", "see [responder INC-7 #1] x"):
        double.account.add_note(incident, text, double.person())
    await tell(mirror, "note", incident.id, Message("", body="a\n#5 b"), 4)
    assert await told(mirror, "note", incident.id, 1) is None
    assert await told(mirror, "note", incident.id, 5) is None


# --- errors ---

WRONG_FROM = Fault(400, code=1008, message="Requester User Not Found")


@pytest.mark.parametrize(
    ("fault", "mended", "says"),
    [
        (Fault(401, code=2006, message="Authentication failed"), True, "receivers.pagerduty.api_token"),
        (Fault(401), True, "receivers.pagerduty.api_token"),
        (Fault(403, code=2010, message="Access Denied"), True, "may not do this"),
        (WRONG_FROM, True, "receivers.pagerduty.from"),
        (Fault(404, code=2100, message="Not Found"), False, "404"),
        (Fault(400, code=2001, message="Invalid Input Provided"), False, "2001 Invalid Input Provided"),
    ],
    ids=["key", "key, no body", "permission", "from", "gone", "invalid"],
)
async def test_a_refusal_says_what_to_mend(
    mirror: Mirror, double: PagerDutyDouble, fault: Fault, mended: bool, says: str
) -> None:
    incident = double.trigger("Disk full")
    double.script("*", ".*", fault)
    with pytest.raises(PermanentError, match=says) as caught:
        await tell(mirror, "note", incident.id)
    assert (caught.value.code in MENDED) is mended
    assert "y_test" not in str(caught.value)


async def test_a_user_that_nobody_is_is_named_with_the_setting(
    double: PagerDutyDouble, clock: FakeClock, inbox: Inbox
) -> None:
    incident = double.trigger("Disk full")
    async with opened(double.base_url, clock, inbox, **{"from": "nobody@shop.example"}) as mirror:
        assert mirror is not None
        with pytest.raises(PermanentError, match=r"receivers\.pagerduty\.from must be the e-mail") as caught:
            await tell(mirror, "acknowledged", incident.id)
    assert caught.value.code in MENDED


@pytest.mark.parametrize(
    "fault",
    [Fault(500), Fault(503), Fault(502, body="<html>"), Fault(reset=True, times=2), Fault(200, body="<html>"),
     Fault(200, body="[]"), Fault(302), Fault(408), Fault(409), Fault(400, code=1005, message="Data changed"),
     Fault(200, body='{"incident": 1, "notes": {}}')],
    ids=str,
)  # fmt: skip
async def test_what_may_pass_is_tried_later(mirror: Mirror, double: PagerDutyDouble, fault: Fault) -> None:
    incident = double.trigger("Disk full")
    double.script("GET", f"/incidents/{incident.id}", fault)
    with pytest.raises(TransientError) as caught:
        await tell(mirror, "acknowledged", incident.id)
    assert caught.value.retry_after_s is None


async def test_an_answer_that_does_not_come_is_not_waited_for(
    double: PagerDutyDouble, clock: FakeClock, inbox: Inbox
) -> None:
    incident = double.trigger("Disk full")
    double.script("GET", ".*", Fault(hang_s=30))
    async with opened(double.base_url, clock, inbox, timeout_s=0.1) as mirror:
        assert mirror is not None
        with pytest.raises(TransientError, match=r"within 0\.1 s"):
            await tell(mirror, "acknowledged", incident.id)


async def test_nobody_there_is_tried_later(clock: FakeClock, inbox: Inbox) -> None:
    async with opened("http://127.0.0.1:9", clock, inbox) as mirror:
        assert mirror is not None
        with pytest.raises(TransientError, match="cannot be reached"):
            await tell(mirror, "note", "Q1")


@pytest.mark.parametrize(("reset_s", "wait_s"), [(7, 7.0), (None, rest.RATE_RESET_S), (99_999, rest.MAX_RESET_S)])
async def test_a_limit_is_waited_for_as_long_as_it_says_and_nothing_is_asked_meanwhile(
    mirror: Mirror, double: PagerDutyDouble, clock: FakeClock, reset_s: int | None, wait_s: float
) -> None:
    incident = double.trigger("Disk full")
    double.script("GET", ".*", Fault(429, reset_s=reset_s))
    with pytest.raises(TransientError) as caught:
        await tell(mirror, "note", incident.id)
    assert caught.value.retry_after_s == wait_s
    clock.turn(wait_s - 1)
    with pytest.raises(TransientError) as caught:
        await tell(mirror, "note", incident.id)
    assert caught.value.retry_after_s == pytest.approx(1.0)
    assert len(double.calls) == 1
    clock.turn(1)
    await tell(mirror, "note", incident.id)
    assert len(double.notes()) == 1


async def test_an_id_from_outside_stays_one_part_of_the_path(mirror: Mirror, double: PagerDutyDouble) -> None:
    with pytest.raises(PermanentError):
        await tell(mirror, "note", "../users?x=1#y")
    assert all(call.path.count("/") == 3 or "users" not in call.path.split("/")[-1] for call in double.calls)
    assert json.dumps([call.path for call in double.calls]).count("/users") <= 1
