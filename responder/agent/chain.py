"""The `chain` run of an incident: first look, agents phase by phase, verification, post-mortem. Read this first.

It begins after the page was written and sends nothing by itself: what it tells are posts of its steps. It can be killed
between any two lines; finished steps answer from the journal, so no turn of a model is paid twice.
"""

from __future__ import annotations

from responder.agent import postmortem
from responder.agent.desk import Desk, Json, sit_down
from responder.agent.look import first_look
from responder.agent.parts import Breaker, Budget, ChainParts
from responder.agent.phase import carry_phase
from responder.agent.verify import until_over
from responder.engine import Ctx, RunFn
from responder.runbooks import Phase

__all__ = ["Breaker", "Budget", "ChainParts", "chain"]


def chain(parts: ChainParts) -> RunFn:
    """Give the run function. Its result is {phase: how it ended}."""

    async def run(ctx: Ctx) -> object:
        if (await ctx.incident()).run_n != ctx.run.n:
            return {"ended": "taken over by a later run"}
        desk = await sit_down(parts, ctx)
        await first_look(desk)
        outcomes: Json = {"first-look": "done"}
        for phase in desk.pinned.chain.phases:
            if phase.kind == "first-look":
                continue  # always done, and first
            outcomes[phase.name] = await _carry(desk, phase)
            if outcomes[phase.name] == "taken over":
                break
        return outcomes

    return run


async def _carry(desk: Desk, phase: Phase) -> str:
    """Take one phase to its end -> how it ended."""
    if phase.kind == "verify":
        over = await until_over(desk, phase.name, desk.pinned.runbook.recovery)
        return "done" if over else "taken over"
    if phase.kind == "postmortem":
        if not await until_over(desk, phase.name):
            return "taken over"
        return str((await postmortem.draft(desk, phase)).get("by"))
    return str((await carry_phase(desk, phase)).get("ended"))
