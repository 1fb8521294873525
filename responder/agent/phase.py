"""One phase with a lead: whether it goes, its brief, its agents, its report."""

from __future__ import annotations

from functools import partial

import structlog

from responder import incidents
from responder.agent import asking, brief
from responder.agent.crew import Work, within_the_box
from responder.agent.desk import Desk, Json, texts
from responder.agent.telling import report_phase
from responder.model import Done, Incident, Move, Status
from responder.runbooks import Phase

MAX_SUPPORT = 3
log = structlog.stdlib.get_logger("agent.phase")
DEFAULT_TIMEBOX_S = 900.0


async def carry_phase(desk: Desk, phase: Phase) -> Json:
    """Take one phase with a lead from its beginning to its report.

    Returns: {"phase", "ended": done | timeout | failed | skipped, "text", "verified", "hand_off"}
    """
    begun = await desk.step(f"{phase.name}.begin", partial(_begin, desk, phase), "phase")
    if not begun.get("go"):
        return {"phase": phase.name, "ended": "skipped", "text": str(begun.get("why", "")), "verified": "0 of 0"}
    name, work = f"{phase.name}.report", Work()
    fresh = not desk.ctx.finished(name)
    if fresh:
        await within_the_box(desk, phase, begun, work)
    told = await desk.step(name, partial(report_phase, desk, phase, work))
    if fresh:
        took_s = max(0.0, desk.now().timestamp() - float(begun["at"]))
        desk.parts.metrics.phases.labels(phase.name, str(told.get("ended"))).observe(took_s)
        log.info("phase ended", phase=phase.name, ended=told.get("ended"), took_s=took_s, cost_usd=work.cost_usd)
    desk.told.append(told)
    return told


async def _begin(desk: Desk, phase: Phase) -> Done:
    """Decide whether the phase goes, and write down all that its messages are made of."""
    incident = await desk.ctx.incident()
    policy = desk.parts.rules().policy.of(incident.severity)
    why, aloud = await _stays_out(desk, phase, incident)
    if why:
        aloud = aloud and why != desk.first_look.get("no_analysis")  # that was said once
        posts = desk.reply(incident, f"Phase {phase.name}: not begun", f"No analysis: {why}.") if aloud else []
        return Done(value={"go": False, "why": why}, posts=posts)
    now, key, record = desk.now(), desk.parts.ids.token(), await desk.record()
    timebox_s = policy.timeboxes_s.get(phase.name) or phase.timebox_s or DEFAULT_TIMEBOX_S
    value = {"go": True, "at": now.timestamp(), "timebox_s": timebox_s, "key": key}
    value["brief"] = brief.phase_brief(desk, phase, incident, record, key)
    value["supporting"] = _supporting(desk, phase)
    move: Move | None = None
    if incident.status is Status.DETECTING:
        move = Move()
        move.changed.append(incidents.investigating(move, incident, f"phase {phase.name} begins", now))
    return Done(value=value, incident={"phase": phase.name}, move=move)


async def _stays_out(desk: Desk, phase: Phase, incident: Incident) -> tuple[str, bool]:
    """Say why the phase does not go, "" when it does; and whether people should hear it."""
    if phase.when and incident.severity not in phase.when:
        return f"not for {incident.severity}", False
    if incident.status.ended or incident.run_n != desk.ctx.run.n:
        return "the incident is over", False
    if desk.pinned.agent(phase.lead) is None:
        return f"there is no agent {phase.lead!r}", True
    return await asking.no_analysis(desk.parts, incident), True


def _supporting(desk: Desk, phase: Phase) -> list[str]:
    """Choose who supports: those for the symptoms seen, where the phase is parallel, then those it names."""
    chosen: list[str] = []
    if phase.mode == "parallel":
        seen = _symptoms(desk)
        chosen += [name for symptom, name in desk.pinned.runbook.by_symptom.items() if symptom.casefold() in seen]
    agents = [desk.pinned.agent(name) for name in (*chosen, *phase.supporting)]
    lead = desk.pinned.agent(phase.lead)
    names = dict.fromkeys(agent.name for agent in agents if agent and (lead is None or agent.name != lead.name))
    return list(names)[:MAX_SUPPORT]


def _symptoms(desk: Desk) -> str:
    """Gather the words in which a symptom may show: failing checks, labels, what earlier phases said."""
    look = desk.first_look
    failing = [
        f"{check['id']} {check['text']}" for check in look.get("checks", ()) if check.get("verdict") == "failing"
    ]
    labels = texts(look.get("labels")).values()
    return " ".join([*failing, *labels, *(str(told["text"]) for told in desk.told)]).casefold()
