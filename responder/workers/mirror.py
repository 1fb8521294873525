"""A mirror as the outbox sees it: a chat whose channels are the incidents' names there, and which has no threads."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from responder.model import Marker, Message
from responder.ports import Budget, Mirror


@dataclass(slots=True)
class MirrorChat:
    """`ports.Chat` over a mirror, so that what is told there is durable, looked for before a repeat, and in order."""

    name: str
    mirror: Mirror
    channel: str = ""
    budget: Budget | None = None  # it says itself when it has had enough

    async def post(
        self, message: Message, *, channel: str, thread_ts: str, broadcast: bool, marker: Marker
    ) -> tuple[str, str]:
        """Tell it there; the marker says what kind it is."""
        return channel, await self.mirror.tell(marker.kind, channel, message, marker=marker)

    async def edit(self, message: Message, *, channel: str, ts: str, marker: Marker) -> None:
        """Never asked for: a mirror has no head."""

    async def find(self, marker: Marker, *, channel: str, thread_ts: str, since: datetime) -> tuple[str, str] | None:
        """Look for an earlier try."""
        found = await self.mirror.told(marker.kind, channel, marker=marker, since=since)
        return None if found is None else (channel, found)

    async def permalink(self, *, channel: str, ts: str) -> str:
        """None: the sender's own pages are linked from its alerts."""
        return ""
