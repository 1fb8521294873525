"""What one loaded run works at: its context, its pinned text, its incident's evidence, and what was said so far."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from pydantic import ValidationError

from responder.agent import tools
from responder.agent.parts import ChainParts, Record
from responder.engine import Ctx
from responder.incidents import cut
from responder.model import Done, Evidence, Incident, Message, Post
from responder.ports import Tool
from responder.runbooks import Pinned
from responder.turns import ToolResult

MAX_BODY_CHARS = 2800  # of one post
Json = dict[str, Any]


@dataclass(slots=True)
class Desk:
    """One run of one incident. `told` are the reports of finished phases, oldest first; `first_look` is its value."""

    parts: ChainParts
    ctx: Ctx
    pinned: Pinned
    first_look: Json = field(default_factory=dict)
    told: list[Json] = field(default_factory=list)
    numbered: bool = False  # whether this load knows how far the evidence is numbered

    @property
    def number(self) -> int:
        """The incident's number."""
        return self.ctx.run.incident

    def now(self) -> datetime:
        """The time."""
        return self.parts.clock.now()

    async def step(self, name: str, fn: Callable[[], Awaitable[Done]], kind: str = "other") -> Json:
        """Do a step whose value is a mapping, and measure it when it is really done."""
        fresh, began = not self.ctx.finished(name), self.parts.clock.monotonic()
        value = await self.ctx.step(name, fn)
        if fresh:
            self.parts.metrics.steps.labels(kind).observe(max(0.0, self.parts.clock.monotonic() - began))
        return cast(Json, value) if isinstance(value, dict) else {}

    async def record(self) -> Record:
        """Read all that is kept of the incident."""
        return await self.parts.record(self.number)

    async def call(
        self, tool: Tool, args: Mapping[str, Any], *, within_s: float = tools.MAX_TIMEOUT_S
    ) -> tuple[ToolResult, Evidence]:
        """Call a tool -> (its result, the evidence to be stored with the step that called it)."""
        result = await tools.call(self.parts, tool, args, within_s=within_s)
        if not self.numbered:
            self.parts.numbers.learn(self.number, await self.record())
            self.numbered = True
        name = self.parts.numbers.take(self.number)
        kept = self.parts.redactor.data(dict(args))
        verdict = "" if result.outcome == "ok" else result.outcome
        return result, Evidence(name, tool.spec.name, kept, result.text, verdict, self.now())

    def reply(self, incident: Incident, title: str, body: str, **more: Any) -> list[Post]:
        """Make a post in the thread, and an edit of the head; all of it without secrets and hidden characters."""
        facts = tuple((label, cut(self.safe(text), 300)) for label, text in more.get("facts", ()))
        footer = cut(self.safe(str(more.get("footer", ""))), 300)
        message = Message(title=title, facts=facts, body=self.safe(body), footer=footer, severity=incident.severity)
        return [Post(incident.id, "reply", incident.severity, message), Post(incident.id, "head", incident.severity)]

    def safe(self, text: str) -> str:
        """Give a text that may be posted."""
        shown = tools.safe(self.parts, text, 1_000_000)
        return shown if len(shown) <= MAX_BODY_CHARS else f"{shown[: MAX_BODY_CHARS - 1]}…"


async def sit_down(parts: ChainParts, ctx: Ctx) -> Desk:
    """Pin the text that the run works from, at its first load."""
    if ctx.text is None:
        await ctx.pin(await _text(parts, ctx))
    try:
        return Desk(parts, ctx, Pinned.from_json(ctx.text or {}))
    except ValidationError:  # pinned by a version that wrote it otherwise
        return Desk(parts, ctx, Pinned.from_json(await _text(parts, ctx)))


async def _text(parts: ChainParts, ctx: Ctx) -> Json:
    """Give the incident's runbook, and the runbook's own chain, else the severity's."""
    incident, library = await ctx.incident(), parts.library()
    policy = parts.rules().policy.of(incident.severity)
    runbook = incident.runbook or policy.runbook
    return library.pinned(runbook, library.runbook(runbook).chain or policy.chain)


def alerts_of(record: Record) -> Sequence[Mapping[str, Any]]:
    """Give an incident's episodes, those that still fire first, else oldest first."""
    return sorted(record.get("episodes", ()), key=lambda each: not each.get("firing"))


def texts(value: object) -> dict[str, str]:
    """Give labels or annotations as texts."""
    return {str(key): str(each) for key, each in value.items()} if isinstance(value, Mapping) else {}
