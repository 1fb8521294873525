"""The agents of one phase at work, within its time-box: supporters first, then the lead, perhaps in rounds."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from responder.agent import brief, tools
from responder.agent.asking import ModelDown, OverBudget
from responder.agent.desk import Desk
from responder.agent.loop import Said, Seat, Talk, TimeBoxOver
from responder.agent.report import as_text
from responder.incidents import duration
from responder.runbooks import Agent, Phase

TURNS = 12  # of all agents of a phase together
SUPPORT_TURNS, LEAST_TURNS = 6, 2  # of all supporters together; of one round
REPLAY_S = 5.0  # for a run loaded after its deadline: what is finished is read, nothing new is begun


@dataclass(slots=True)
class Work:
    """What a phase has so far; it outlives an interruption. `why` says what ended it, "" when it came to its end."""

    said: list[Said] = field(default_factory=list)
    talks: list[Talk] = field(default_factory=list)
    lead: Said | None = None
    ended: str = "done"  # done | timeout | failed
    why: str = ""
    hopeless: bool = False  # the budget is spent: another agent would fare no better

    @property
    def cost_usd(self) -> float:
        """What all its turns cost."""
        return sum(talk.cost_usd for talk in self.talks)

    @property
    def words(self) -> str:
        """The last words of who was interrupted."""
        return next((talk.words for talk in reversed(self.talks) if talk.words), "")


async def within_the_box(desk: Desk, phase: Phase, begun: Mapping[str, Any], work: Work) -> None:
    """Let the agents work until they are done or the time is over; `work` says which."""
    deadline_s = float(begun["at"]) + float(begun["timebox_s"])
    left_s = min(deadline_s - desk.now().timestamp(), float(begun["timebox_s"]))  # a clock set back buys no time
    left_s = left_s if left_s > 0 else REPLAY_S
    over = f"time-box of {duration(float(begun['timebox_s']))} over"
    try:
        async with asyncio.timeout(left_s) as box:
            await _Crew(desk, phase, begun, work, deadline_s).work_together()
    except TimeoutError:
        if not box.expired():
            raise
        work.ended, work.why = "timeout", over
    except TimeBoxOver:
        work.ended, work.why = "timeout", over


@dataclass(slots=True)
class _Crew:
    """The agents of one phase at work."""

    desk: Desk
    phase: Phase
    begun: Mapping[str, Any]
    work: Work
    deadline_s: float
    left: int = TURNS  # for whoever leads: leads work one after the other, so a replay counts the same

    async def work_together(self) -> None:
        """Let supporters work first, side by side or one after the other, then the lead; in rounds if so asked."""
        names = [str(name) for name in self.begun.get("supporting", ())]
        support = [agent for name in names if (agent := self.desk.pinned.agent(name))]
        share = max(2, SUPPORT_TURNS // len(support)) if support else 0
        self.left = TURNS - share * len(support)
        if self.phase.mode == "parallel":
            await tools.together([self._one(agent, share, "") for agent in support])
        else:
            for agent in support:
                await self._one(agent, share, "")
        rounds = self.phase.max_rounds if self.phase.mode == "iterative" else 1
        for number in range(1, rounds + 1):
            turns = min(self.left, max(LEAST_TURNS, self.left // (rounds - number + 1)))
            said = await self._lead(turns, number, rounds) if turns else None
            if said is None or not said.worked or said.report.hand_off.strip().lower().startswith("done"):
                return

    async def _lead(self, turns: int, number: int, rounds: int) -> Said | None:
        """Let the lead work; when it fails, once more or another, on what it has left of its turns."""
        lead, label, extra = self.desk.pinned.agent(self.phase.lead), "", ""
        assert lead is not None, "a phase does not begin without its lead"
        if rounds > 1:
            until, label = self.phase.until or "nothing more can be learned", f".round{number}"
            extra = f"Round {number} of at most {rounds}. The phase is over when: {until}. Then begin hand_off by: done"
        second, suffix = self._second(lead)
        kept = turns // 3 if second else 0  # for the second
        before = self.left
        said = await self._one(lead, turns - kept, label, lead=True, extra=extra)
        if (said is not None and said.worked) or self.work.hopeless or second is None:
            return said
        turns -= before - self.left
        return await self._one(second, turns, f"{label}.{suffix}", lead=True, extra=extra) if turns > 0 else said

    def _second(self, lead: Agent) -> tuple[Agent | None, str]:
        """Say who works when the lead fails -> (agent, what its steps are called); None when nobody does."""
        if self.phase.on_failure == "retry":
            return lead, "again"
        if self.phase.on_failure != "next_agent":
            return None, ""
        known = (self.desk.pinned.agent(name) for name in self.phase.supporting)
        return next((agent for agent in known if agent), None), "lead"

    async def _one(self, agent: Agent, turns: int, label: str, *, lead: bool = False, extra: str = "") -> Said | None:
        """Let one agent work; None when no model answered. What it said is kept at once."""
        key, desk = str(self.begun["key"]), self.desk
        others = [{"agent": said.agent, "text": as_text(said.report)} for said in self.work.said] if lead else []
        seat = Seat(
            scope=f"{self.phase.name}.{agent.name}{label}",
            agent=agent,
            tier=agent.model or self.phase.model,
            turns=turns,
            system=brief.system_prompt(agent),
            brief=brief.agent_brief(str(self.begun["brief"]), key, others, extra),
            key=key,
            box=tools.toolbox(desk.parts.tools, agent, desk.pinned.skills),
        )
        talk = Talk(desk, seat, self.deadline_s)
        self.work.talks.append(talk)
        try:
            said = await talk.work()
        except (OverBudget, ModelDown) as error:
            self.left -= talk.taken if lead else 0
            self.work.hopeless = isinstance(error, OverBudget)
            self.work.why = str(error) if self.work.hopeless else f"model unavailable: {error}"
            self.work.ended = "failed"
            return None
        self.work.said.append(said)
        if lead:
            self.left -= talk.taken
            self.work.lead = said
            self.work.ended, self.work.why = ("done", "") if said.worked else ("failed", "; ".join(said.report.notes))
        return said
