"""Asks a model for one turn: within the budget, with retries, another model when one fails, and a rest when all do."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from responder.agent.parts import ChainParts
from responder.errors import PermanentError, ResponderError, TransientError
from responder.model import Incident, Severity
from responder.retry import retrying
from responder.turns import ModelReply, ModelRequest

ATTEMPTS, FIRST_WAIT_S, MAX_WAIT_S = 3, 1.0, 20.0
ROUNDS = 3
CHARS_A_TOKEN = 3.5
CACHE_WRITE = 1.25
USUAL_PRICE = (2.0, 10.0)  # USD per million tokens, where none is known
STOPS = (
    "end_turn",
    "stop_sequence",
    "tool_use",
    "max_tokens",
    "pause_turn",
    "refusal",
    "model_context_window_exceeded",
)


class OverBudget(ResponderError):
    """The next call could cost more than is left; the message says which budget."""

    reason = "budget"


class ModelDown(ResponderError):
    """No model answers; the message says why the last try failed."""

    reason = "model"


@dataclass(frozen=True, slots=True)
class Paid:
    """A reply, what it cost with the answers that were thrown away, and which tier gave it."""

    reply: ModelReply
    cost_usd: float
    tier: str


async def over_budget(parts: ChainParts, incident: Incident, estimate_usd: float) -> str:
    """Say which budget the next call would break, "" when none."""
    own = parts.rules().policy.of(incident.severity).budget_usd
    limit = parts.budget.incident_usd if own is None else own
    if incident.cost_usd + parts.purse.held_usd(incident.id) + estimate_usd > limit:
        return f"over budget: ${incident.cost_usd:.2f} of this incident's ${limit:.2f} are spent"
    day = parts.budget.day_usd + (parts.budget.p0_reserve_usd if incident.severity is Severity.P0 else 0.0)
    spent = await parts.spent_today()
    if spent + parts.purse.held_usd() + estimate_usd > day:
        return f"over budget: ${spent:.2f} of today's ${day:.2f} are spent"
    return ""


async def no_analysis(parts: ChainParts, incident: Incident) -> str:
    """Say why no model will look into an incident now, "" when one will."""
    if parts.model is None:
        return parts.no_model or "no model is configured"
    return await over_budget(parts, incident, 0.0)


async def ask(parts: ChainParts, incident: Incident, request: ModelRequest) -> Paid:
    """Ask for one turn: the tier, then the fallback tier, and both again after a rest, twice at most.

    Some seconds of trouble must not cost an incident its analysis; the phase's time-box ends the patience of this.

    Raises: OverBudget, ModelDown.
    """
    if parts.model is None:
        raise ModelDown(parts.no_model or "no model is configured")
    paid_usd = 0.0
    for again in range(ROUNDS):
        found, failure, thrown_away_usd = await _round(parts, incident, request)
        paid_usd += thrown_away_usd
        if found is not None:
            return replace(found, cost_usd=found.cost_usd + paid_usd)
        if isinstance(failure, PermanentError) or again == ROUNDS - 1:
            break
        await parts.clock.sleep(parts.breaker.REST_S)
    raise ModelDown(parts.redactor.text(str(failure))) from failure


async def _round(
    parts: ChainParts, incident: Incident, request: ModelRequest
) -> tuple[Paid | None, ResponderError | None, float]:
    """Ask each tier once -> (what was paid for, else why not, USD for answers that were thrown away)."""
    tiers = dict.fromkeys((request.tier, "fallback"))
    failure: ResponderError | None = None
    thrown_away_usd = 0.0
    for tier in tiers:
        estimate = _estimate_usd(parts, replace(request, tier=tier))
        if why := await over_budget(parts, incident, estimate):
            _count(parts, tier, "budget")
            raise OverBudget(why)
        attempt = _Attempt(parts, replace(request, tier=tier))
        try:
            with parts.purse.holding(incident.id, estimate):
                reply = await retrying(
                    attempt.once, attempts=ATTEMPTS, first_wait_s=FIRST_WAIT_S, max_wait_s=MAX_WAIT_S,
                    clock=parts.clock, ids=parts.ids,
                )  # fmt: skip
        except (TransientError, PermanentError) as error:
            failure = error
            thrown_away_usd += attempt.cost_usd
        else:
            return Paid(reply, attempt.cost_usd, tier), None, thrown_away_usd
    return None, failure, thrown_away_usd


class _Attempt:
    """The tries of one tier; what each answer cost is summed up, also of one that is thrown away."""

    def __init__(self, parts: ChainParts, request: ModelRequest) -> None:
        self._parts, self._request = parts, request
        self._odd = 0
        self.cost_usd = 0.0

    async def once(self) -> ModelReply:
        """Make one call. Raises: TransientError, PermanentError."""
        parts, tier = self._parts, self._request.tier
        assert parts.model is not None
        if not parts.breaker.enters(parts.clock.monotonic()):
            raise TransientError("the model does not answer; asking rests", retry_after_s=parts.breaker.REST_S)
        try:
            reply = await parts.model.complete(self._request)
        except (TransientError, PermanentError) as error:
            if isinstance(error, TransientError):  # a refusal is an answer: one incident's question rests no other's
                parts.breaker.failed(parts.clock.monotonic())
            _count(parts, tier, error.reason)
            raise
        parts.breaker.succeeded()
        _count(parts, tier, "ok", reply)
        self.cost_usd += reply.usage.cost_usd
        if reply.stop_reason not in STOPS and not self._odd:
            self._odd += 1
            raise TransientError(
                f"the model stopped without a known reason ({reply.stop_reason!r:.40})", retry_after_s=0
            )
        return reply


def _estimate_usd(parts: ChainParts, request: ModelRequest) -> float:
    """Guess what a call costs at most: the whole prompt uncached, the whole answer used."""
    sent = len(request.system) + len(json.dumps([request.messages, request.tools], ensure_ascii=False, default=str))
    per_input, per_output = parts.prices.get(request.tier, USUAL_PRICE)
    return (sent / CHARS_A_TOKEN * per_input * CACHE_WRITE + request.max_tokens * per_output) / 1e6


def _count(parts: ChainParts, tier: str, outcome: str, reply: ModelReply | None = None) -> None:
    metrics, name = parts.metrics, reply.model if reply else parts.tiers.get(tier, tier)
    metrics.llm_requests.labels(name, outcome).inc()
    if reply is None:
        return
    usage = reply.usage
    kinds = {
        "input": usage.input,
        "output": usage.output,
        "cache_read": usage.cache_read,
        "cache_write": usage.cache_write,
    }
    for kind, tokens in kinds.items():
        metrics.llm_tokens.labels(name, kind).inc(tokens)
    metrics.llm_cost.labels(name).inc(usage.cost_usd)
