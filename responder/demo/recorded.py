"""What the recording puts in place of the world: tools that answer from it, a model's turns, a chat of JSON lines."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any, TextIO

import orjson

from responder.doubles.anthropic import Turn
from responder.model import Marker, Message
from responder.turns import ToolResult, ToolSpec

THINKS_S = 1.6  # a turn, at speed 1


class RecordedTool:
    """One tool that answers from the recording, as it was at that moment of the outage."""

    def __init__(self, spec: ToolSpec, answers: list[dict[str, Any]], began: float, speed: float) -> None:
        """Keep the answers; `began` is the loop's time of the first alert."""
        self.spec = spec
        self._answers, self._began, self._speed = answers, began, speed

    async def call(self, args: Mapping[str, Any]) -> ToolResult:
        """Give the first answer whose words stand in the query and whose time it is."""
        passed = (asyncio.get_running_loop().time() - self._began) * self._speed
        asked = orjson.dumps(args).decode()
        for answer in self._answers:
            if answer["when"] in asked and answer.get("from_s", 0) <= passed < answer.get("until_s", 1e9):
                return ToolResult("ok", f"{answer['text']}  (recorded)", answer.get("value"))
        return ToolResult("no_data", "no data  (recorded)")


def turn(recording: dict[str, Any], request: dict[str, Any], speed: float, agents: Mapping[str, str]) -> Turn:
    """Give the next recorded turn of the agent that asks; its findings cite the evidence by the ids it was given.

    Args: agents: name -> system prompt, to tell who asks.
    """
    system = "".join(block["text"] for block in request.get("system", ()))
    who = next((name for name, body in agents.items() if body and body in system), "")
    turns = recording["turns"].get(who, [])
    done = sum(1 for message in request["messages"] if message["role"] == "assistant")
    delay_s = THINKS_S / speed
    if done >= len(turns):
        return Turn(text="(recorded) nothing to add", delay_s=delay_s)
    found = turns[done]
    usage = {"input_tokens": 2100 + 900 * done, "output_tokens": 320}
    if "tools" in found:
        return Turn(tool_uses=[(name, args) for name, args in found["tools"]], usage=usage, delay_s=delay_s)
    if "text" in found:
        return Turn(text=found["text"], usage=usage, delay_s=delay_s)
    return Turn(tool_uses=[("submit_report", _report(found["report"], request))], usage=usage, delay_s=delay_s)


def _report(kept: dict[str, Any], request: dict[str, Any]) -> dict[str, Any]:
    ids = _evidence(request)

    def named(words: list[str]) -> list[str]:
        return [ids[word] for word in ids if any(each in word for each in words)]

    findings = [
        {"claim": each["claim"], "evidence": named([each["of"]]), "confidence": each["confidence"]}
        for each in kept["findings"]
    ]
    hypotheses = [
        {
            "claim": each["claim"],
            "supported_by": named(each.get("supports", [])),
            "refuted_by": named(each.get("refutes", [])),
            "verdict": each["verdict"],
        }
        for each in kept.get("hypotheses", [])
    ]
    whole = {key: kept[key] for key in ("summary", "affected", "healthy", "not_checked", "suggestions", "hand_off")}
    raised = {"to": "none", "reason": ""}
    return whole | {"findings": findings, "hypotheses": hypotheses, "dont_know": False, "raise_severity": raised}


def _evidence(request: dict[str, Any]) -> dict[str, str]:
    """Join what was asked with the evidence id that the answer carries: {query: "E4"}."""
    asked: dict[str, str] = {}
    found: dict[str, str] = {}
    for message in request["messages"]:
        for block in message["content"] if isinstance(message["content"], list) else []:
            if block["type"] == "tool_use":
                asked[block["id"]] = orjson.dumps(block["input"]).decode()
            elif block["type"] == "tool_result":
                named = re.search(r"\bE\d+\b", orjson.dumps(block["content"]).decode())
                if named:
                    found[asked.get(block["tool_use_id"], "")] = named.group()
    return found


class JsonChat:
    """A chat that writes each message as one JSON line."""

    name = "json"
    channel = "#incidents"
    budget = None

    def __init__(self, stream: TextIO) -> None:
        """Write to a stream."""
        self._stream, self._count = stream, 0

    async def post(
        self, message: Message, *, channel: str, thread_ts: str, broadcast: bool, marker: Marker
    ) -> tuple[str, str]:
        """Write a new message."""
        self._count += 1
        self._write("post", message, marker, str(self._count))
        return channel, str(self._count)

    async def edit(self, message: Message, *, channel: str, ts: str, marker: Marker) -> None:
        """Write an edit."""
        self._write("edit", message, marker, ts)

    async def find(self, marker: Marker, *, channel: str, thread_ts: str, since: datetime) -> tuple[str, str] | None:
        """Nothing of an earlier life is here."""
        return None

    async def permalink(self, *, channel: str, ts: str) -> str:
        """A stream has no addresses."""
        return ""

    def _write(self, event: str, message: Message, marker: Marker, ts: str) -> None:
        line = {"event": event, "ts": ts, "kind": marker.kind, "incident": marker.incident, **asdict(message)}
        self._stream.write(orjson.dumps(line).decode() + "\n")
        self._stream.flush()
