"""One agent at work: turns of a model, tools side by side, until it reports. A finished turn is never paid twice."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from responder.agent import asking, report, tools
from responder.agent.brief import fence
from responder.agent.desk import Desk, Json
from responder.agent.report import Report
from responder.agent.tools import Toolbox, together
from responder.model import Done
from responder.runbooks import Agent
from responder.turns import ModelRequest

MAX_CALLS = 8  # of tools, in one turn
MAX_PAUSES = 2
MAX_TOKENS = {"fast": 4096, "deep": 8192, "fallback": 4096}
TURN_S = 120.0
_USE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
REPORT_NOW = "Call submit_report now, with what you have."
SHORTER = "Your answer was cut off, and nothing of it was run. Say less at once; call fewer tools, or report."
LAST = "This is your last turn but one. Your next must be the call of submit_report."


class TimeBoxOver(Exception):
    """The phase's time is over."""


@dataclass(frozen=True, slots=True)
class Seat:
    """One agent in one phase. `scope` begins the names of its steps; `key` fences data."""

    scope: str
    agent: Agent
    tier: str
    turns: int
    system: str
    brief: str
    key: str
    box: Toolbox


@dataclass(frozen=True, slots=True)
class Said:
    """How an agent ended: reported | text | turns | cut | context | refused."""

    agent: str
    ended: str
    report: Report

    @property
    def worked(self) -> bool:
        """Whether it gave an answer of its own."""
        return self.ended in ("reported", "text")


@dataclass(slots=True)
class Talk:
    """The conversation of one seat. `cost_usd` and `words` grow as turns come in, also for who is interrupted."""

    desk: Desk
    seat: Seat
    deadline_s: float  # Unix seconds
    messages: list[Json] = field(default_factory=list)
    used: Counter[str] = field(default_factory=Counter)
    ids: set[str] = field(default_factory=set)
    cost_usd: float = 0.0
    words: str = ""
    taken: int = 0  # turns

    async def work(self) -> Said:
        """Let the agent work to its end.

        Raises: TimeBoxOver, OverBudget, ModelDown.
        """
        tier = self.seat.tier
        self.messages = [{"role": "user", "content": self.seat.brief}]
        for number in range(1, self.seat.turns + 1):
            turn = await self._turn(number, tier)
            stop, content = str(turn.get("stop", "")), list(turn.get("content", ()))
            self.words = _text(content) or self.words
            if stop == "refusal":
                if tier == "fallback" or self.used["refusal"]:
                    return self._ended("refused", "The model refused to answer.")
                self.used["refusal"] += 1
                tier = "fallback"
                continue
            said = await self._react(stop, content, last=number >= self.seat.turns - 1)
            if said is not None:
                return said
        return self._ended("turns", f"It did not report within {self.seat.turns} turns.")

    async def _turn(self, number: int, tier: str) -> Json:
        name = f"{self.seat.scope}.turn.{number}"
        if not self.desk.ctx.finished(name) and self.desk.now().timestamp() >= self.deadline_s:
            raise TimeBoxOver
        turn = await self.desk.step(name, partial(self._ask, tier, number), "turn")
        self.taken += 1
        self.cost_usd += float(turn.get("cost_usd", 0.0))
        self.ids |= {str(block.get("id")) for block in turn.get("content", ()) if block.get("type") == "tool_use"}
        return turn

    async def _ask(self, tier: str, number: int) -> Done:
        """Pay for one turn; what it cost is written with it."""
        desk, left_s = self.desk, self.deadline_s - self.desk.now().timestamp()
        request = ModelRequest(
            tier, self.seat.system, list(self.messages), self.seat.box.specs,
            max_tokens=MAX_TOKENS.get(tier, 4096), timeout_s=max(1.0, min(TURN_S, left_s)),
        )  # fmt: skip
        paid = await asking.ask(desk.parts, await desk.ctx.incident(), request)
        content = [self._named(block, number, at) for at, block in enumerate(paid.reply.content)]
        value = {
            "content": content,
            "stop": paid.reply.stop_reason,
            "cost_usd": paid.cost_usd,
            "model": paid.reply.model,
        }
        return Done(value=value, cost_usd=paid.cost_usd, counts=spent(desk, paid.cost_usd))

    def _named(self, block: Mapping[str, Any], number: int, at: int) -> Json:
        """Give each tool use an id that none had before: a step is named by it."""
        plain = dict(block)
        if plain.get("type") == "tool_use":
            found = str(plain.get("id", ""))
            if not _USE_ID.fullmatch(found) or found in self.ids:
                plain["id"] = found = f"toolu_turn{number}_{at}"
            self.ids.add(found)
        return plain

    async def _react(self, stop: str, content: list[Json], *, last: bool) -> Said | None:
        """Answer one turn; None when the conversation goes on."""
        calls = [block for block in content if block.get("type") == "tool_use"]
        if stop == "tool_use" and calls:
            return await self._called(content, calls, last=last)
        if stop == "pause_turn" and content and self.used["pause"] < MAX_PAUSES:
            self.used["pause"] += 1
            self.messages.append({"role": "assistant", "content": content})
            return None
        if stop == "model_context_window_exceeded":
            return self._ended("context", "The conversation outgrew the model's window.")
        if stop == "max_tokens":
            return self._asked_again("cut", content, SHORTER, "Its answers were cut off.")
        return self._asked_again("text", content, REPORT_NOW, "It answered in words, not by a report.")

    def _asked_again(self, why: str, content: list[Json], question: str, note: str) -> Said | None:
        """Ask once more; the second time take the words as they are. Cut or stray tool calls are never run."""
        if self.used[why]:
            return self._ended(why, note)
        self.used[why] += 1
        kept = [block for block in content if block.get("type") not in ("tool_use", "server_tool_use")]
        if any(block.get("type") == "text" for block in kept):
            self.messages.append({"role": "assistant", "content": kept})
        self.messages.append({"role": "user", "content": question})
        return None

    async def _called(self, content: list[Json], calls: Sequence[Json], *, last: bool) -> Said | None:
        """Take the report, or run the tools and give all results in one message."""
        for call in calls:
            found = report.parse(call.get("input")) if call.get("name") == report.NAME else None
            if found is not None:
                return Said(self.seat.agent.name, "reported", found)
        results = await together([self._use(call, at) for at, call in enumerate(calls)])
        nudge = [{"type": "text", "text": LAST}] if last else []
        self.messages.append({"role": "assistant", "content": content})
        self.messages.append({"role": "user", "content": [*results, *nudge]})
        return None

    async def _use(self, call: Json, at: int) -> Json:
        """Run one tool use -> its tool_result block. What cannot be run is said so, with the field."""
        name, args = str(call.get("name", "")), call.get("input")
        schema = self.seat.box.schema(name)
        if at >= MAX_CALLS:
            return _result(call, f"not run: at most {MAX_CALLS} calls in one turn", is_error=True)
        if schema is None:
            known = ", ".join(str(spec["name"]) for spec in self.seat.box.specs)
            return _result(call, f"there is no such tool; there are: {known}", is_error=True)
        wrong = list(tools.complaints(schema, args)) if name != report.NAME else ["a report needs a summary, as text"]
        if wrong or not isinstance(args, dict):
            return _result(call, "not run: " + "; ".join(wrong[:5]), is_error=True)
        value = await self.desk.step(f"{self.seat.scope}.tool.{call['id']}", partial(self._run, name, args), "tool")
        text = fence(self.seat.key, f"{name} {value.get('id', '')}".strip(), str(value.get("shown", "")))
        head = f"evidence {value['id']}, {value.get('outcome')}\n" if value.get("id") else ""
        return _result(call, head + text, is_error=value.get("outcome") in ("unavailable", "refused"))

    async def _run(self, name: str, args: Json) -> Done:
        if name == tools.READ_SKILL:
            skill = self.seat.box.skills.get(str(args["name"]))
            return Done(value={"outcome": "ok", "shown": skill.body[: tools.MAX_SHOWN_CHARS]} if skill else _NOTHING)
        if name == tools.READ_EVIDENCE:
            return Done(value=await self._read_on(str(args["id"]), int(args.get("offset", 0))))
        result, evidence = await self.desk.call(self.seat.box.tools[name], args)
        seen = tools.shown(result.text, evidence.id)
        return Done(value={"id": evidence.id, "outcome": result.outcome, "shown": seen}, evidence=[evidence])

    async def _read_on(self, wanted: str, offset: int) -> Json:
        stored = (await self.desk.record()).get("evidence", ())
        found = next((each for each in stored if each.get("id") == wanted), None)
        if found is None:
            return _NOTHING
        return {"outcome": "ok", "shown": tools.shown(str(found["text"]), wanted, max(0, offset))}

    def _ended(self, why: str, note: str) -> Said:
        return Said(self.seat.agent.name, why, report.of_text(self.words, note))


_NOTHING: Json = {"outcome": "no_data", "shown": "there is nothing of this name"}


def spent(desk: Desk, cost_usd: float) -> Counter[tuple[str, str]]:
    """Count money towards the day's budget, in USD."""
    counts: Counter[tuple[str, str]] = Counter()
    if cost_usd:
        counts["spent_usd", f"{desk.now():%Y-%m-%d}"] = cost_usd  # type: ignore[assignment] # a counter's n is REAL
    return counts


def _result(call: Json, text: str, *, is_error: bool) -> Json:
    return {"type": "tool_result", "tool_use_id": call["id"], "content": text or "(empty)", "is_error": is_error}


def _text(content: Sequence[Json]) -> str:
    return "\n".join(str(block.get("text", "")) for block in content if block.get("type") == "text").strip()
