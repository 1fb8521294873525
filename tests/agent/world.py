"""A small world for the chain: the real store and engine, a model and tools that say what the test says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from responder import incidents
from responder.agent.chain import Breaker, Budget, ChainParts, chain
from responder.engine import carry
from responder.metrics import Metrics
from responder.model import Alert, Incident, Move, NewEpisode, Run, Severity, Status, identify
from responder.ports import Model, Store, Tool
from responder.redact import Redactor
from responder.rules import Policy, RuleSet
from responder.rules.policy import DEFAULTS
from responder.runbooks import Agent, Chain, Check, Library, Phase, Recovery, Runbook, Skill
from responder.store.sqlite import open_sqlite
from responder.turns import ModelReply, ModelRequest, ToolResult, ToolSpec, Usage

START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
LABELS = {"alertname": "ErrorsHigh", "service": "checkout-api", "cluster": "eu1"}
SECRET = "hunter2-hunter2"
Json = dict[str, Any]
Answer = ModelReply | Exception | Callable[[ModelRequest], Any]


class Clock:
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        """Begin at noon."""
        self.at = START

    def now(self) -> datetime:
        """The time."""
        return self.at

    def monotonic(self) -> float:
        """Seconds since noon."""
        return (self.at - START).total_seconds()

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.at += timedelta(seconds=seconds)


class Ids:
    """Words that count."""

    def __init__(self) -> None:
        """Begin at 1."""
        self.count = 0

    def token(self) -> str:
        """The next word."""
        self.count += 1
        return f"word{self.count}"

    def fraction(self) -> float:
        """The middle."""
        return 0.5


class SayingTool:
    """A tool that says one thing, or does one thing."""

    def __init__(self, name: str, says: ToolResult | Exception | Callable[[Mapping[str, Any]], Any]) -> None:
        """Keep what it says."""
        schema = {
            "type": "object",
            "properties": {"query": {"type": "string"}},
            "required": ["query"],
            "additionalProperties": False,
        }
        self.spec = ToolSpec(name, "Ask.", schema, timeout_s=0.2)
        self.says = says
        self.calls: list[Mapping[str, Any]] = []

    async def call(self, args: Mapping[str, Any]) -> ToolResult:
        """Say it."""
        self.calls.append(args)
        found = self.says(args) if callable(self.says) else self.says
        if asyncio.iscoroutine(found):
            found = await found
        if isinstance(found, Exception):
            raise found
        assert isinstance(found, ToolResult)
        return found


class SayingModel:
    """A model that says its answers in order, then the last one for ever; a function is asked."""

    def __init__(self, *answers: Answer) -> None:
        """Keep the answers."""
        self.answers = list(answers)
        self.requests: list[ModelRequest] = []

    async def complete(self, request: ModelRequest) -> ModelReply:
        """Say the next."""
        self.requests.append(replace(request, messages=json.loads(json.dumps(request.messages))))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        found = answer(request) if callable(answer) else answer
        if asyncio.iscoroutine(found):
            found = await found
        if isinstance(found, Exception):
            raise found
        assert isinstance(found, ModelReply)
        return found

    def asked(self) -> list[str]:
        """Every request as a text, so that equal ones can be counted."""
        return [json.dumps([each.tier, each.system, each.messages], sort_keys=True) for each in self.requests]


def reply(*content: Json, stop: str = "", cost: float = 0.01) -> ModelReply:
    """One turn; its stop reason is what fits."""
    uses = any(block["type"] == "tool_use" for block in content)
    return ModelReply(list(content), stop or ("tool_use" if uses else "end_turn"), Usage(100, 10, 0, 0, cost), "fast-1")


def words(text: str) -> Json:
    """A block of text."""
    return {"type": "text", "text": text}


def use(name: str, args: Any, number: str = "t1") -> Json:
    """A tool use."""
    return {"type": "tool_use", "id": number, "name": name, "input": args}


def query(text: str = "up", number: str = "t1") -> Json:
    """A use of the one tool."""
    return use("prometheus_query", {"query": text}, number)


def report(number: str = "r1", **more: Any) -> Json:
    """A use of submit_report."""
    usual: Json = {
        "summary": "The checkout fails.", "affected": [], "healthy": [], "not_checked": [], "hypotheses": [],
        "findings": [], "suggestions": [], "hand_off": "", "dont_know": False,
        "raise_severity": {"to": "none", "reason": ""},
    }  # fmt: skip
    return use("submit_report", {**usual, **more}, number)


def finding(claim: str, *evidence: str, confidence: str = "high") -> Json:
    """A finding of a report."""
    return {"claim": claim, "evidence": list(evidence), "confidence": confidence}


TRIAGE = Phase(name="triage", lead="finder", model="fast")
CHECK = Check(id="error-rate", tool="prometheus.query", args={"query": 'errors{service="$service"}'}, expect="< 1")


def library(
    *phases: Phase, checks: Sequence[Check] = (CHECK,), recovery: Sequence[Recovery] = (), **more: Any
) -> Library:
    """A library of one runbook, one chain, and four agents."""
    body = "# R\n\n## Diagnosis\n\nLook at the pool.\n\n## Mitigation\n\nRoll back.\n"
    agents = [Agent(name=name, body=f"You are {name}.") for name in ("finder", "second", "writer", "dba")]
    agents[1] = agents[1].model_copy(update={"skills": ("pools",)})
    book = Runbook(name="r", chain="c", checks=tuple(checks), recovery=tuple(recovery), body=body, **more)
    return Library(
        runbooks={"r": book},
        chains={"c": Chain(name="c", phases=phases or (Phase(name="first-look"), TRIAGE))},
        agents={agent.name: agent for agent in agents},
        skills={"pools": Skill(name="pools", description="About pools.", body="Pools leak.")},
    )


def policy(**more: Any) -> Policy:
    """The usual policy, with changes to every severity."""
    return Policy({severity: replace(DEFAULTS[severity], **more) for severity in Severity})


@dataclass
class World:
    """One incident, and everything around it."""

    store: Any
    clock: Clock
    parts: ChainParts
    model: SayingModel | None
    number: int = 0
    spent_usd: float = 0.0
    kept: dict[str, Any] = field(default_factory=dict)

    async def run(self, store: Store | None = None, n: int | None = None) -> str:
        """Carry the due chain run as far as it goes; again when a write of an earlier life came in late."""
        for _ in range(3):
            ended = await carry(await self.due(n), chain(self.parts), store or self.store, self.clock)
            if ended != "fenced":
                break
        return ended

    async def due(self, n: int | None = None) -> Run:
        """The chain run that is due."""
        runs: list[Run] = await self.store.due_runs(self.clock.now(), 20)
        return next(run for run in runs if run.kind == "chain" and n in (None, run.n))

    async def incident(self) -> Incident:
        """The incident now."""
        found = await self.store.incident(self.number)
        assert isinstance(found, Incident)
        return found

    async def change(self, act: Callable[[Move, Incident, datetime], Incident]) -> None:
        """Change the incident as a worker would."""
        move = Move()
        move.changed.append(act(move, await self.incident(), self.clock.now()))
        await self.store.commit(move)

    async def calm(self) -> None:
        """All alerts end."""
        await self.change(lambda move, incident, now: incidents.calmed(move, incident, [alert()], now))

    async def fire(self) -> None:
        """An alert fires again."""
        await self.change(lambda move, incident, now: incidents.grew(move, incident, [alert()], now))

    async def reopen(self) -> None:
        """It fires again after it was over."""
        await self.change(lambda move, incident, now: incidents.reopened(move, incident, "again", "", now))

    async def resolve(self, person: str = "") -> None:
        """It is over."""
        await self.change(lambda move, incident, now: incidents.resolved(move, incident, person, "", now))

    async def record(self) -> Any:
        """All that is kept."""
        return await self.store.record(self.number)

    async def posts(self, kind: str = "reply") -> list[Json]:
        """The messages of one kind, in order."""
        return [each["message"] for each in (await self.record())["posts"] if each["kind"] == kind]

    async def post(self, title: str) -> Json:
        """The last reply whose title begins so."""
        return next(each for each in reversed(await self.posts()) if each["title"].startswith(title))

    async def steps(self) -> list[str]:
        """The names of the chain's finished steps."""
        return sorted((await self.store.load(await self._chain_run())).done)

    async def _chain_run(self) -> Run:
        row = next(each for each in (await self.record())["runs"] if each["kind"] == "chain")
        return Run(row["id"], self.number, "chain", row["n"], 0, None)


def alert(**more: str) -> Alert:
    """A firing alert."""
    labels = {**LABELS, **more}
    notes = {"summary": "Errors are high"}
    return Alert("am", identify("am", labels), labels, notes, firing=True, received_at=START)


def fresh(severity: Severity) -> Incident:
    """An incident that nobody has looked at."""
    return Incident(
        id=0, version=1, group_key="g", severity=severity, status=Status.DETECTING, title="Errors are high",
        rule="rule", runbook="r", channel="#inc", opened_at=START, systems=("checkout-api",), firing=1, episodes=1,
        detected_by="am",
    )  # fmt: skip


@asynccontextmanager
async def world(
    folder: Path, model: SayingModel | None = None, *, tools: Sequence[Tool] = (), files: Library | None = None,
    severity: Severity = Severity.P2, budget: Budget | None = None, rules: Policy | None = None,
    alerts: Sequence[Alert] = (),
) -> AsyncIterator[World]:  # fmt: skip
    """Open a store with one new incident in it, and the parts of a chain."""
    clock, kept = Clock(), files or library()
    metrics = Metrics(
        receivers=[], chats=["console"], tools=["prometheus.query"], models=["fast-1"], rules=[], version="0"
    )
    opened = open_sqlite(folder / "r.db", clock, chats=["console"], on_commit=lambda _: None, on_broken=lambda _: None)
    usual = SayingTool("prometheus.query", ToolResult("ok", "errors 12.5", 12.5))
    async with opened as store:
        told = World(store, clock, None, model)  # type: ignore[arg-type] # set below: the parts ask the world
        told.parts = ChainParts(
            model=_as_model(model), no_model="no key", tools={each.spec.name: each for each in (tools or (usual,))},
            library=lambda: kept, rules=lambda: RuleSet((), rules or policy()), record=store.record,
            spent_today=_spent(told), budget=budget or Budget(), breaker=Breaker(), clock=clock, ids=Ids(),
            metrics=metrics, redactor=Redactor([SECRET]), hold_s=lambda _: 300.0, tiers={"fast": "fast-1"},
        )  # fmt: skip
        move, incident = Move(), fresh(severity)
        move.opened.append(incident)
        incidents.opened(move, incident, START)
        move.episodes += [NewEpisode(each, "g", START, None, 1) for each in (alerts or (alert(),))]
        (told.number,) = await store.commit(move)
        yield told


def _as_model(model: SayingModel | None) -> Model | None:
    return model


def _spent(told: World) -> Callable[[], Any]:
    async def spent() -> float:
        figures = await told.store.figures()
        return float(figures.get(("spent_usd", f"{told.clock.now():%Y-%m-%d}"), 0.0)) + told.spent_usd

    return spent


def override(severity: Severity, **more: Any) -> Policy:
    """The usual policy with one severity changed."""
    return Policy({**DEFAULTS, severity: replace(DEFAULTS[severity], **more)})
