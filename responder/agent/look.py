"""The first look: the runbook's checks at once, side by side, without a model. Posted within seconds.

It never lowers a severity and never ends an incident. Without a model it is the whole brief, and says why.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from responder import incidents
from responder.agent import asking
from responder.agent.desk import Desk, Json, alerts_of, texts
from responder.agent.tools import together
from responder.incidents import cut
from responder.model import Done, Incident, Move, Status
from responder.runbooks import Check, Expect
from responder.turns import ToolResult

NAME = "first-look"
CHECK_S = 5.0  # of one check: people wait for the first look, and the agents behind it
HINTS = ("Diagnosis", "Mitigation")
EXACT = float(1 << 53)  # whole numbers below are exact
MAX_HINT_LINES, MAX_LINE, MAX_SHOWN = 6, 200, 160


async def first_look(desk: Desk) -> Json:
    """Run all checks and post what they say.

    Returns: {"summary", "body", "checks": [{"id", "tool", "verdict", "value", "expect", "text", "evidence"}], "labels"}
    """
    begun = await desk.step(f"{NAME}.begin", partial(_begin, desk), "phase")
    labels = texts(begun.get("labels"))
    checks = await together(
        [run_check(desk, f"{NAME}.check.{check.id}", check, labels) for check in desk.pinned.runbook.checks]
    )
    fresh = not desk.ctx.finished(f"{NAME}.report")
    found = await desk.step(f"{NAME}.report", partial(_report, desk, labels, checks))
    if fresh:
        took_s = desk.now().timestamp() - float(begun.get("at", desk.now().timestamp()))
        desk.parts.metrics.phases.labels(NAME, "done").observe(max(0.0, took_s))
    desk.first_look = found
    return found


async def _begin(desk: Desk) -> Done:
    incident, record = await desk.ctx.incident(), await desk.record()
    labels: dict[str, str] = {}
    for alert in alerts_of(record)[:1]:
        labels = texts(alert.get("labels"))
    if incident.systems:
        labels.setdefault("service", incident.systems[0])
    move: Move | None = None
    if incident.status is Status.DETECTING:
        move = Move()
        move.changed.append(incidents.investigating(move, incident, "the first look begins", desk.now()))
    return Done(value={"at": desk.now().timestamp(), "labels": labels}, incident={"phase": NAME}, move=move)


async def run_check(desk: Desk, step: str, check: Check, labels: Mapping[str, str]) -> Json:
    """Ask one check, as a step -> {"id", "tool", "verdict", "value", "expect", "text", "evidence"}."""
    return await desk.step(step, partial(_check, desk, check, labels), "check")


async def _check(desk: Desk, check: Check, labels: Mapping[str, str]) -> Done:
    value: Json = {"id": check.id, "tool": check.tool, "expect": check.expect.text, "value": None, "evidence": ""}
    tool = desk.parts.tools.get(check.tool)
    args, missing = check.arguments(labels)
    if tool is None:
        return Done(value={**value, "verdict": "unavailable", "text": f"tool {check.tool} is not set up"})
    if missing:
        return Done(
            value={**value, "verdict": "no_data", "text": f"the alert has no usable label {', '.join(missing)}"}
        )
    result, evidence = await desk.call(tool, args, within_s=CHECK_S)
    verdict = judge(check.expect, result)
    value |= {"verdict": verdict, "value": _number(result.value), "evidence": evidence.id}
    value["text"] = cut(result.text, MAX_SHOWN)
    return Done(value=value, evidence=[replace(evidence, verdict=verdict)])


def judge(expect: Expect, result: ToolResult) -> str:
    """Say what an answer means: ok | failing | measured (nothing is expected) | no_data | unavailable."""
    if result.outcome in ("unavailable", "refused"):
        return "unavailable"
    if not expect.judges:
        return "measured" if result.outcome == "ok" else result.outcome
    holds = expect.holds(result.value if result.outcome == "ok" else None)
    return "no_data" if holds is None else "ok" if holds else "failing"


def line_of(check: Mapping[str, Any]) -> str:
    """Say one check's answer: failing: 12.3, expected < 1 [E1]."""
    verdict, value = str(check.get("verdict", "")), check.get("value")
    judged = check.get("expect") not in ("any", "")
    said = value if value is not None else check.get("text", "")
    words = f"{verdict.replace('_', ' ')}: {said}" if judged or verdict not in ("ok", "measured") else str(said)
    wanted = f", expected {check['expect']}" if judged and value is not None else ""
    why = f" ({check['text']})" if value is None and verdict == "failing" and said != check.get("text") else ""
    return f"{words}{wanted}{why}" + (f" [{check['evidence']}]" if check.get("evidence") else "")


async def _report(desk: Desk, labels: Mapping[str, str], checks: Sequence[Json]) -> Done:
    incident = await desk.ctx.incident()
    phases = desk.pinned.chain.phases_for(incident.severity)
    asks = any(phase.lead and phase.kind == "agents" for phase in phases)
    why = await asking.no_analysis(desk.parts, incident) if asks else ""
    summary = _summary(desk, checks)
    body = "\n\n".join(part for part in (summary, *_hints(desk)) if part)
    footer = f"no analysis: {why}" if why else "agents look into it next" if asks else ""
    facts = [(str(check["id"]), line_of(check)) for check in checks]
    return Done(
        value={"summary": summary, "body": body, "checks": list(checks), "labels": dict(labels), "no_analysis": why},
        posts=desk.reply(incident, "First look", body, facts=facts, footer=footer),
        timeline=[("first-look", summary + (f" No analysis: {why}." if why else ""))],
        incident={"summary": desk.safe(_known(incident, summary, why)), "phase": NAME},
    )


def _known(incident: Incident, summary: str, why: str) -> str:
    """What the head says; a reopened incident keeps what an earlier run has found."""
    if incident.summary and incident.run_n > 1:
        return incident.summary
    return summary + (f" No analysis: {why}." if why else "")


def _summary(desk: Desk, checks: Sequence[Json]) -> str:
    if not checks:
        return f"Runbook {desk.pinned.runbook.name} has no checks."
    by: dict[str, list[str]] = {}
    for check in checks:
        by.setdefault(str(check["verdict"]), []).append(str(check["id"]))
    words = {
        "failing": "failing", "no_data": "without data", "unavailable": "not available", "measured": "measured",
        "ok": "ok",
    }  # fmt: skip
    parts = [f"{', '.join(by[verdict])} {said}" for verdict, said in words.items() if verdict in by]
    return "Checks: " + "; ".join(parts) + "."


def _hints(desk: Desk) -> list[str]:
    """Give the first lines of the runbook's own steps."""
    hints = []
    for heading in HINTS:
        lines = [line for line in desk.pinned.runbook.sections.get(heading, "").splitlines() if line.strip()]
        if lines:
            hints.append("\n".join([f"{heading} (runbook {desk.pinned.runbook.name}):", *_cut_lines(lines)]))
    return hints


def _cut_lines(lines: Sequence[str]) -> list[str]:
    shown = [line if len(line) <= MAX_LINE else f"{line[: MAX_LINE - 1]}…" for line in lines[:MAX_HINT_LINES]]
    return [*shown, "…"] if len(lines) > MAX_HINT_LINES else shown


def _number(value: float | None) -> float | str | None:
    """Give a number as JSON can keep it: infinities and NaN as words, others with six digits that count."""
    if value is None:
        return None
    if not math.isfinite(value):
        return f"{value:g}"
    return int(value) if value == int(value) and abs(value) < EXACT else float(f"{value:.6g}")
