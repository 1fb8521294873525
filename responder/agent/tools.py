"""Calls tools for checks and agents: a deadline each, output capped and without secrets, errors in safe words only."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import structlog

from responder.agent import report
from responder.agent.parts import ChainParts
from responder.errors import PermanentError, TransientError
from responder.ports import Tool
from responder.redact import visible
from responder.retry import retrying
from responder.runbooks import Agent, Skill
from responder.turns import ToolResult

MAX_STORED_CHARS = 200_000
MAX_SHOWN_CHARS = 8_000
MAX_TIMEOUT_S = 60.0
OUTCOMES = ("ok", "no_data", "unavailable", "refused")
READ_EVIDENCE, READ_SKILL = "read_evidence", "read_skill"
T = TypeVar("T")
log = structlog.stdlib.get_logger("agent.tools")


async def call(
    parts: ChainParts, tool: Tool, args: Mapping[str, Any], *, within_s: float = MAX_TIMEOUT_S
) -> ToolResult:
    """Call a tool; never raises but for cancellation. The text is redacted, visible, and at most 200 000 characters.

    A tool that is out of reach is tried twice within its deadline. Of an unforeseen error only the class is told: its
    text may hold addresses and keys.
    """
    name, limit_s = tool.spec.name, min(tool.spec.timeout_s, within_s, MAX_TIMEOUT_S)
    try:
        async with asyncio.timeout(limit_s):
            found = await retrying(
                partial(tool.call, args), attempts=2, first_wait_s=0.5, max_wait_s=2.0, clock=parts.clock, ids=parts.ids
            )
        result = ToolResult(found.outcome if found.outcome in OUTCOMES else "ok", str(found.text), found.value)
    except TimeoutError:
        result = ToolResult("unavailable", f"{name} gave no answer within {limit_s:g} s")
    except (TransientError, PermanentError) as error:
        result = ToolResult("unavailable", f"{name} is not available: {error}")
    except Exception as error:  # the fourth boundary: a tool's fault ends neither the run nor the other tools
        log.exception("tool failed", tool=name)
        result = ToolResult("unavailable", f"{name} failed ({type(error).__name__})")
    parts.metrics.tool_calls.labels(name, result.outcome).inc()
    return ToolResult(result.outcome, safe(parts, result.text, MAX_STORED_CHARS), result.value)


def safe(parts: ChainParts, text: str, limit: int) -> str:
    """Give a text without secrets and hidden characters, at most `limit` long."""
    shown = visible(parts.redactor.text(text))
    return shown if len(shown) <= limit else f"{shown[:limit]}… {len(shown) - limit} more characters were not kept"


def shown(text: str, evidence: str, offset: int = 0) -> str:
    """Give what a model sees of a stored result, and how it reads on."""
    part = text[offset : offset + MAX_SHOWN_CHARS]
    rest = len(text) - offset - len(part)
    if rest <= 0:
        return part or "(nothing more)"
    return f'{part}\n… {rest} more characters: {READ_EVIDENCE}(id="{evidence}", offset={offset + len(part)})'


async def together(work: Sequence[Awaitable[T]]) -> list[T]:
    """Do things side by side -> results in order. When one fails the others are cancelled and its error is raised."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def complaints(schema: Mapping[str, Any], value: object, place: str = "") -> Iterator[str]:
    """Yield what does not fit a JSON schema (type, required, additionalProperties, enum, items), naming the field."""
    kind, named = schema.get("type"), place or "the arguments"
    if isinstance(kind, str) and not _is(kind, value):
        yield f"{named} must be of type {kind}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{named} must be one of {', '.join(map(str, schema['enum']))}"
    if isinstance(value, Mapping):
        yield from _complain_object(schema, value, place)
    if isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        for index, each in enumerate(value):
            yield from complaints(schema["items"], each, f"{named}[{index}]")


def _complain_object(schema: Mapping[str, Any], value: Mapping[str, Any], place: str) -> Iterator[str]:
    dot, properties = f"{place}." if place else "", schema.get("properties") or {}
    for key in schema.get("required") or ():
        if key not in value:
            yield f"{dot}{key} is missing"
    for key, each in value.items():
        if key in properties:
            yield from complaints(properties[key], each, f"{dot}{key}")
        elif schema.get("additionalProperties") is False:
            known = ", ".join(properties) or "none"
            yield f"{dot}{visible(str(key))[:60]} is not known; there are: {known}"


def _is(kind: str, value: object) -> bool:
    if kind in ("integer", "number") and isinstance(value, bool):
        return False
    kinds: Mapping[str, type | tuple[type, ...]] = {
        "object": Mapping, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool,
        "null": type(None),
    }  # fmt: skip
    return kind not in kinds or isinstance(value, kinds[kind])


@dataclass(frozen=True, slots=True)
class Toolbox:
    """What one agent may call, under the names of the wire: dots are not allowed there."""

    tools: Mapping[str, Tool]  # wire name -> tool
    skills: Mapping[str, Skill]
    specs: list[dict[str, object]]

    def schema(self, name: str) -> Mapping[str, Any] | None:
        """Give the schema of a tool's arguments, None when there is no such tool."""
        found = next((spec for spec in self.specs if spec["name"] == name), None)
        schema = found["input_schema"] if found else None
        return schema if isinstance(schema, Mapping) else None


def toolbox(available: Mapping[str, Tool], agent: Agent, skills: Collection[Skill]) -> Toolbox:
    """Choose an agent's tools; their order is fixed, so that the prompt's cache holds."""
    own = {skill.name: skill for skill in skills if skill.name in agent.skills}
    tools = {wire_name(name): available[name] for name in sorted(agent.may_use(available))}
    specs: list[dict[str, object]] = [
        {"name": wire, "description": tool.spec.description, "input_schema": dict(tool.spec.schema)}
        for wire, tool in tools.items()
    ]
    specs.append(
        _spec(READ_EVIDENCE, "Read on in a stored tool result.", {"id": _STRING, "offset": {"type": "integer"}}, ["id"])
    )
    if own:
        listed = "; ".join(f"{skill.name}: {skill.description[:200]}" for skill in own.values())
        specs.append(_spec(READ_SKILL, f"Read one of your documents. {listed}", {"name": _STRING}, ["name"]))
    return Toolbox(tools, own, [*specs, report.TOOL])


def wire_name(name: str) -> str:
    """Write `prometheus.query` as `prometheus_query`."""
    return name.replace(".", "_")[:64]


_STRING = {"type": "string"}


def _spec(name: str, description: str, properties: dict[str, Any], required: list[str]) -> dict[str, object]:
    schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return {"name": name, "description": description, "input_schema": schema}
