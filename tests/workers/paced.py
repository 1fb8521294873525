"""A chat with a budget, and a sender that is turned with the clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from responder.errors import TransientError
from responder.model import Message, Move, Post
from responder.ports import Budget
from responder.workers.outbox import Outbox
from tests.given import P2, RULES, FakeClock, House, StrictChat

BUDGET = Budget(channel_per_s=1, channel_burst=1, chat_per_s=10, chat_burst=10, edits_per_s=1, edits_burst=1)


class Paced(StrictChat):
    """A strict chat with a budget. `slow` are the channels that answer 429, and how long they ask for."""

    budget = BUDGET

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self.slow_edits_s: float | None = None
        self.clock, self.slow, self.tries = clock, dict[str, float](), list[tuple[float, str, str]]()

    async def post(self, message: Message, *, channel: str, **more: Any) -> tuple[str, str]:
        self.tries.append((self.clock.passed, channel, more["marker"].kind))
        for slow, for_s in self.slow.items():
            if channel in (slow, self.id_of(slow)):
                raise TransientError("slow down", retry_after_s=for_s)
        return await super().post(message, channel=channel, **more)

    async def edit(self, message: Message, **more: Any) -> None:
        if self.slow_edits_s is not None:
            raise TransientError("slow down", retry_after_s=self.slow_edits_s)
        await super().edit(message, **more)


@dataclass
class Sending:
    """A house whose posts are sent as time is turned."""

    at: House
    chat: Paced
    outbox: Outbox

    async def turn(self, seconds: float = 0.0, *, step: float = 1.0) -> None:
        """Let time pass and send what may go."""
        await self.now()
        while seconds > 0:
            self.at.clock.turn(min(step, seconds))
            seconds -= step
            await self.now()

    async def now(self) -> None:
        while await self.outbox.once():
            await self.outbox.settle()
        await self.outbox.settle()

    async def queue(self, kind: str, text: str = "x", number: int = 1) -> None:
        message = None if kind == "head" else Message(title="", body=text)
        await self.at.store.commit(Move(posts=[Post(number, kind, P2, message)]))

    def bodies(self, number: int = 1) -> list[str]:
        """What stands under a head."""
        return [
            said.message.body for said in self.chat.said if said.thread_ts and said.marker.incident == f"INC-{number}"
        ]

    def states(self, number: int = 1) -> list[tuple[str, str]]:
        return [tuple(row) for row in self.at.sql("SELECT kind, state FROM post WHERE incident = ?", number)]


def sender(at: House, chat: Paced) -> Sending:
    return Sending(at, chat, Outbox(at.store, {"fake": chat}, lambda: RULES, at.clock, at.metrics))
