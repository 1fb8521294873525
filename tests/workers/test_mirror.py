"""A mirror behind the outbox: told once, in order, looked for before a repeat."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from responder import incidents
from responder.errors import TransientError
from responder.model import Incident, Marker, Message, Move, Post
from responder.store.sqlite import SqliteStore
from responder.workers.mirror import MirrorChat
from responder.workers.outbox import Outbox
from tests.given import P2, RULES, FakeClock, after, alert, moved, new_metrics, opened


class Elsewhere:
    """Remembers what it was told; `broken` loses the answer of the next call."""

    name = "pagerduty"

    def __init__(self) -> None:
        self.heard: list[tuple[str, str, str]] = []
        self.broken = False

    async def tell(self, kind: str, ref: str, message: Message, *, marker: Marker) -> str:
        self.heard.append((kind, ref, message.body))
        if self.broken:
            self.broken = False
            raise TransientError("the answer was lost")
        return str(len(self.heard))

    async def told(self, kind: str, ref: str, *, marker: Marker, since: datetime) -> str | None:
        return next((str(n) for n, each in enumerate(self.heard, 1) if each[:2] == (kind, ref)), None)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    async with opened(tmp_path / "a.db", FakeClock(), chats=(), mirrors=("pagerduty",)) as given:
        await given.commit(moved(replace(alert(), source="pagerduty", ref="PABC")))
        yield given


async def send(store: SqliteStore, there: Elsewhere, *, minutes: int = 1) -> None:
    clock = FakeClock()
    clock.turn(minutes=minutes)
    outbox = Outbox(store, {"pagerduty": MirrorChat("pagerduty", there)}, lambda: RULES, clock, new_metrics())
    while due := await store.due_posts(clock.now(), 1):
        await outbox.deliver(due[0])


async def happens(store: SqliteStore, act: Callable[[Move, Incident], Incident]) -> None:
    """Let something become of the incident."""
    incident, move = await store.incident(1), Move()
    assert incident is not None
    move.changed.append(act(move, incident))
    await store.commit(move)


async def test_it_is_told_what_becomes_of_its_incident_in_order(store: SqliteStore) -> None:
    there = Elsewhere()
    await happens(store, lambda move, incident: incidents.acknowledged(move, incident, "ada", after(1)))
    await store.commit(Move(posts=[Post(1, "note", P2, Message(title="", body="n"), "PABC", "pagerduty")]))
    await send(store, there)
    assert [(kind, ref) for kind, ref, _ in there.heard] == [
        ("linked", "PABC"),
        ("acknowledged", "PABC"),
        ("note", "PABC"),
    ]


async def test_what_arrived_although_its_answer_was_lost_is_not_told_again(store: SqliteStore) -> None:
    there = Elsewhere()
    there.broken = True
    await send(store, there)
    await send(store, there, minutes=2)
    assert len(there.heard) == 1
    assert await store.due_posts(after(hours=1), 1) == []


async def test_what_fires_again_before_it_was_told_to_be_over_is_not_ended_there(store: SqliteStore) -> None:
    there = Elsewhere()
    await happens(store, lambda move, incident: incidents.acknowledged(move, incident, "ada", after(1)))
    await happens(store, lambda move, incident: incidents.resolved(move, incident, "ada", "", after(2)))
    await happens(store, lambda move, incident: incidents.reopened(move, incident, "again", "", after(3)))
    await send(store, there)
    assert [kind for kind, _, _ in there.heard] == ["linked"]
    await happens(store, lambda move, incident: incidents.acknowledged(move, incident, "bob", after(4)))
    await happens(store, lambda move, incident: incidents.resolved(move, incident, "bob", "", after(5)))
    await send(store, there)
    assert [kind for kind, _, _ in there.heard] == ["linked", "acknowledged", "resolved"]
    assert await store.due_posts(after(hours=1), 1) == []
