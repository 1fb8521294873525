"""Waits until the incident is over, and proves it: the runbook's recovery checks, without a model.

Each time the run is loaded it looks at the incident first and waits for a signal then, so no wake-up is lost: what
changed before the look was seen by it, what changes after it sends a signal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

from responder import incidents
from responder.agent.desk import Desk, Json, texts
from responder.agent.look import line_of, run_check
from responder.agent.tools import together
from responder.incidents import duration
from responder.model import Done, Move, Status
from responder.runbooks import Check, Recovery

TOPICS = frozenset(("episodes", "resolved"))
LEAST_RECHECK_S = 5.0
LOOKS_AT = (0.5, 0.95)  # of the hold


@dataclass(slots=True)
class _Watchful:
    """What the replayed looks add up to: for which stretch of monitoring the checks held, and since when they fail."""

    proved: float | None = None  # the `monitoring_at` for which the checks have held so far
    again_at: float | None = None  # when they are asked again within its hold
    failing_since: float | None = None
    gave_up: bool = False
    counted: int = field(default=0)


async def until_over(desk: Desk, phase: str, recovery: Sequence[Recovery] = ()) -> bool:
    """Wait until the incident has ended; False when a later run has taken it over meanwhile."""
    state = _Watchful()
    checks = [(each, check) for each in recovery if (check := desk.pinned.runbook.check(each.check))]
    await desk.step(f"{phase}.begin", partial(_begin, phase), "phase")
    while True:
        n = state.counted
        state.counted += 1
        look = await desk.step(f"{phase}.look.{n}", partial(_look, desk))
        if not look.get("current"):
            return False
        if look.get("over"):
            return True
        again_at = await _prove(desk, phase, n, look, checks, state) if checks else None
        await desk.ctx.wait(f"{phase}.wait.{n}", TOPICS, again_at)


async def _begin(phase: str) -> Done:
    return Done(value={}, incident={"phase": phase})


async def _look(desk: Desk) -> Done:
    incident = await desk.ctx.incident()
    monitoring = incident.monitoring_at if incident.status is Status.MONITORING else None
    value = {
        "at": desk.now().timestamp(),
        "current": incident.run_n == desk.ctx.run.n,
        "over": incident.status.ended,
        "firing": incident.firing,
        "monitoring_at": monitoring.timestamp() if monitoring else None,
    }
    return Done(value=value)


async def _prove(
    desk: Desk, phase: str, n: int, look: Json, checks: list[tuple[Recovery, Check]], state: _Watchful
) -> datetime | None:
    """Run the recovery checks where they are due -> when to run them again, None to wait for news alone."""
    monitoring_at, at = look.get("monitoring_at"), float(look.get("at", 0.0))
    held = monitoring_at is not None and monitoring_at == state.proved
    if held and state.again_at is not None:
        if at < state.again_at:
            return datetime.fromtimestamp(state.again_at, UTC)
    elif monitoring_at is not None and not held:
        state.failing_since, state.gave_up = None, False  # it has calmed, or calmed anew
    elif monitoring_at is not None or state.failing_since is None or state.gave_up or look.get("firing"):
        return None
    labels = texts(desk.first_look.get("labels"))
    found = await together([run_check(desk, f"{phase}.check.{check.id}.{n}", check, labels) for _, check in checks])
    failing = any(each.get("verdict") == "failing" for each in found)
    since = state.failing_since if state.failing_since is not None else at
    over = failing and at - since >= max(each.within_s for each, _ in checks)
    first = state.failing_since is None
    conclude = partial(_conclude, desk, found, first=first, over=over, quiet=held)
    told = await desk.step(f"{phase}.verdict.{n}", conclude)
    if not failing:
        state.proved, state.failing_since = told.get("monitoring_at"), None
        state.again_at = _within_the_hold(state.proved, at, float(told.get("hold_s", 0.0)))
        return None if state.again_at is None else datetime.fromtimestamp(state.again_at, UTC)
    state.failing_since, state.gave_up = since, over
    if over:
        return None
    hold_s = float(told.get("hold_s", 0.0))
    every_s = max(LEAST_RECHECK_S, *(hold_s if each.for_s is None else each.for_s for each, _ in checks))
    return datetime.fromtimestamp(at, UTC) + timedelta(seconds=every_s)


def _within_the_hold(monitoring_at: float | None, at: float, hold_s: float) -> float | None:
    """Say when to ask again: halfway through the hold and shortly before its end; what held once may not hold."""
    if monitoring_at is None:
        return None
    due = (monitoring_at + share * hold_s for share in LOOKS_AT)
    return next((when for when in due if when - at >= LEAST_RECHECK_S), None)


async def _conclude(desk: Desk, found: Sequence[Json], *, first: bool, over: bool, quiet: bool) -> Done:
    """Act on one round of checks: back to investigating when they fail, watched again when they hold at last."""
    incident, now = await desk.ctx.incident(), desk.now()
    failing = any(each.get("verdict") == "failing" for each in found)
    said = "; ".join(f"{each['id']} {line_of(each)}" for each in found)
    value: Json = {"hold_s": desk.parts.hold_s(incident), "failing": failing, "monitoring_at": None}
    if incident.status.ended:
        return Done(value=value)
    move, changed = Move(), incident
    if failing and incident.status is Status.MONITORING:
        changed = incidents.investigating(move, incident, "the recovery checks fail", now)
    elif not failing and incident.status is not Status.MONITORING and incident.firing == 0:
        changed = incidents.watching(move, incident, "the recovery checks hold", now)
        move.signals.append((incident.id, "episodes", {"firing": 0}))  # for `watch`: the hold begins anew
    if changed is not incident:
        move.changed.append(changed)
    value["monitoring_at"] = changed.monitoring_at.timestamp() if changed.monitoring_at else None
    posts = []
    if not failing and not quiet:
        posts = desk.reply(incident, "", f"Recovery checks: {said}.")
    elif failing and over:
        posts = desk.reply(incident, "", f"Recovery checks still fail: {said}. A person must decide.")
    elif failing and first:
        again = duration(float(value["hold_s"]))
        posts = desk.reply(incident, "", f"Alerts ended, but recovery checks fail: {said}. Looked at again in {again}.")
    word = "fail" if failing else "hold"
    return Done(value=value, posts=posts, timeline=[("recovery", f"checks {word}: {said}")], move=move)
