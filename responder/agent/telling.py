"""Tells what a phase found: findings held against their evidence, a post, the head, and a raise if one is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from responder import incidents
from responder.agent import verifier
from responder.agent.crew import Work
from responder.agent.desk import Desk, alerts_of, texts
from responder.agent.loop import Said
from responder.agent.report import Claim, Report, as_text, of_text
from responder.agent.verifier import Verdict
from responder.incidents import cut
from responder.model import Done, Finding, Incident, Message, Move, Post, Severity
from responder.runbooks import Phase

MAX_SUMMARY, MAX_FINDINGS_SHOWN = 600, 10
Checked = list[tuple[Said, Claim, Verdict]]


async def report_phase(desk: Desk, phase: Phase, work: Work) -> Done:
    """Write what the phase found: findings held against their evidence, one post, the head, and a raise if asked."""
    incident, record = await desk.ctx.incident(), await desk.record()
    lead = work.lead or Said(phase.lead, work.ended, of_text(work.words or _last(work), ""))
    stored = {str(each["id"]): each for each in record.get("evidence", ())}
    names = [value for alert in alerts_of(record) for value in texts(alert.get("labels")).values()]
    checked = [(said, claim, _verified(claim, stored, names)) for said in work.said for claim in said.report.findings]
    findings = [
        Finding(desk.safe(claim.claim), claim.evidence, claim.confidence, said.agent, phase.name, str(verdict))
        for said, claim, verdict in checked
    ]
    of = (sum(verdict.found for *_, verdict in checked), sum(verdict.of for *_, verdict in checked))
    text = as_text(lead.report)
    value = {
        "phase": phase.name, "ended": work.ended, "why": work.why, "text": text, "summary": lead.report.summary,
        "verified": f"{of[0]} of {of[1]}", "hand_off": lead.report.hand_off, "cost_usd": work.cost_usd,
        "suggestions": list(lead.report.suggestions),
    }  # fmt: skip
    overall = verifier.verify(lead.report.summary, [_answer(each) for each in stored.values()], names)
    body = _body(phase, lead.report, checked, work.why)
    facts = [
        *_facts(checked, of),
        *_unproved(overall),
        ("Next", _next(desk, phase, incident)),
        ("Cost", f"${work.cost_usd:.3f}"),
    ]
    posts = desk.reply(incident, f"Phase {phase.name}: {_title(work)}", body, facts=facts, footer=_footer(phase, lead))
    if work.ended != "done" and phase.on_failure == "escalate":
        posts.insert(0, _escalation(desk, phase, incident, work))
    told: dict[str, object] = {"summary": cut(desk.safe(lead.report.summary), MAX_SUMMARY) + _share(overall)}
    told = told if lead.worked or work.words else {}
    line = f"{phase.name}: {_title(work)}. {cut(desk.safe(lead.report.summary), 400)}"
    move = _raise(desk, incident, work.said)
    return Done(value=value, findings=findings, posts=posts, timeline=[("phase", line)], incident=told, move=move)


def _last(work: Work) -> str:
    return work.said[-1].report.summary if work.said else ""


def _verified(claim: Claim, stored: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> Verdict:
    """Hold a claim against what it cites; what a tool refused or did not answer carries nothing."""
    cited = [stored[each] for each in claim.evidence if each in stored]
    return verifier.verify(claim.claim, [answer for each in cited if (answer := _answer(each))], names)


def _answer(evidence: Mapping[str, Any]) -> str:
    """Give what a tool answered; a refusal may repeat the question, and a model wrote that."""
    return "" if evidence.get("verdict") in ("refused", "unavailable") else str(evidence["text"])


def _unproved(overall: Verdict) -> list[tuple[str, str]]:
    """Name what the summary says and no evidence of the incident holds."""
    return [("Summary", f"not in any evidence: {', '.join(overall.missing[:4])}")] if overall.missing else []


def _share(overall: Verdict) -> str:
    return f" ({overall} verified)" if overall.of else ""


def _raise(desk: Desk, incident: Incident, said: Sequence[Said]) -> Move | None:
    """Raise the severity if an agent asks for a worse one: the one thing that a model's words can do."""
    wishes = [(each.report.raise_to, each) for each in said if each.report.raise_to is not None]
    if not wishes or incident.status.ended:
        return None
    to, asking_one = min(wishes, key=lambda wish: wish[0] or Severity.P3)
    if to is None or to >= incident.severity:
        return None
    policy, move = desk.parts.rules().policy.of(to), Move()
    reason = desk.safe(cut(asking_one.report.raise_reason, 200)) or "no reason given"
    why = f"{asking_one.agent} (an agent) asks for it: {reason}"
    move.changed.append(incidents.raised(move, incident, to, why, policy.mention, policy.channel, desk.now()))
    return move


def _facts(checked: Checked, of: tuple[int, int]) -> list[tuple[str, str]]:
    """Confidence, evidence, and how much of it code has checked."""
    if not checked:
        return []
    evidence = list(dict.fromkeys(each for _, claim, _ in checked for each in claim.evidence))
    sure = ", ".join(dict.fromkeys(claim.confidence for _, claim, _ in checked))
    listed = [("Confidence", sure), ("Evidence", ", ".join(evidence)), ("Checked", f"{of[0]} of {of[1]} verified")]
    return [(label, text) for label, text in listed if text]


def _next(desk: Desk, phase: Phase, incident: Incident) -> str:
    phases = [each.name for each in desk.pinned.chain.phases_for(incident.severity)]
    return next(iter(phases[phases.index(phase.name) + 1 :]), "nothing") if phase.name in phases else "nothing"


def _body(phase: Phase, found: Report, checked: Checked, why: str) -> str:
    parts = [found.summary]
    if why:
        parts.insert(0, f"{why[:1].upper()}{why[1:]}. What is known:")
    lines = [f"- {claim.claim} {_marks(claim, verdict)}" for _, claim, verdict in checked[:MAX_FINDINGS_SHOWN]]
    options = "Options, for a person to decide" if phase.gate != "none" else "Suggested"
    listed_parts = (
        ("Found", lines),
        ("Not checked", [f"- {each}" for each in found.not_checked[:5]]),
        (options, [f"- {each}" for each in found.suggestions]),
    )
    for title, listed in listed_parts:
        if listed:
            parts.append("\n".join([f"{title}:", *listed]))
    if found.dont_know:
        parts.append("The cause is not known.")
    return "\n\n".join(parts)


def _marks(claim: Claim, verdict: Verdict) -> str:
    ids = f"[{', '.join(claim.evidence)}]" if claim.evidence else "[no evidence]"
    if verdict.holds:
        return ids
    if not verdict.cited:
        return f"{ids} (not verified{': no answer under this id' * bool(claim.evidence)})"
    return f"{ids} (not verified: not in the evidence: {', '.join(verdict.missing[:4])})"


def _title(work: Work) -> str:
    why = cut(work.why, 80) or "no answer"
    return {"done": "done", "timeout": why}.get(work.ended, f"not finished ({why})")


def _footer(phase: Phase, lead: Said) -> str:
    gate = ("nothing is done by this",) if phase.gate != "none" else ()
    return " · ".join([lead.agent, *lead.report.notes, *gate])


def _escalation(desk: Desk, phase: Phase, incident: Incident, work: Work) -> Post:
    text = f"Escalated: phase {phase.name} did not finish ({desk.safe(work.why)}). A person should look at it."
    return Post(incident.id, "reply", incident.severity, Message(title="", body=text, severity=incident.severity))
