"""A mirror behind the outbox: told once, in order, looked for before a repeat."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from responder.errors import TransientError
from responder.model import Marker, Message, Move, Post
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


async def test_it_is_told_what_becomes_of_its_incident_in_order(store: SqliteStore) -> None:
    there = Elsewhere()
    said = [Post(1, kind, P2, Message(title="", body=kind), "PABC", "pagerduty") for kind in ("acknowledged", "note")]
    await store.commit(Move(posts=said))
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
