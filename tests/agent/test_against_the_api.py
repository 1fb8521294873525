"""The chain through the real SDK against the strict double: all its conversations must be such as the API takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from responder.doubles.anthropic import AnthropicDouble, Turn
from responder.llm import Settings, open_model
from responder.runbooks import Phase
from tests.agent.world import SECRET, TRIAGE, library, report, world

REPORT = ("submit_report", report()["input"])
QUERY = ("prometheus_query", {"query": "up"})
SAID = Turn(tool_uses=[REPORT])
LOOK = Phase(name="first-look")


async def through(folder: Path, turns: Sequence[Turn], *phases: Phase, fast: str = "") -> tuple[AnthropicDouble, Any]:
    """Run a chain to its end against a script -> (the double, the last phase's post)."""
    files = library(LOOK, *(phases or (TRIAGE,)))
    async with AnthropicDouble(turns=turns) as double:
        settings = Settings(api_key=SecretStr("sk-test"), base_url=double.base_url)
        if fast:
            settings = settings.model_copy(update={"models": settings.models.model_copy(update={"fast": fast})})
        async with world(folder, files=files) as one, open_model(settings, one.clock) as model:
            one.parts = replace(one.parts, model=model, tiers=settings.tiers(), prices=settings.dearest_usd())
            assert await one.run() == "done"
            post = await one.post("Phase")
            assert SECRET not in str(double.state())
            return double, post


@pytest.mark.parametrize(
    "turns",
    [
        [Turn(text="I look.", thinking="hm", tool_uses=[QUERY, QUERY]), SAID],
        [Turn(tool_uses=[QUERY, ("nothing", {}), ("prometheus_query", {"q": 1})]), SAID],
        [Turn(tool_uses=[("submit_report", {"summary": ""})]), SAID],
        [Turn(text="It is the pool."), SAID],
        [Turn(text="cut", tool_uses=[QUERY], stop_reason="max_tokens"), SAID],
        [Turn(tool_uses=[QUERY], stop_reason="max_tokens"), SAID],
        [Turn(thinking="only", stop_reason="max_tokens"), SAID],
        [Turn(tool_uses=[QUERY], stop_reason="end_turn"), SAID],
        [Turn(refusal="cyber"), SAID],
        [Turn(html="<html>"), SAID],
        [Turn(status=529), Turn(status=500), SAID],
        [Turn(status=429, headers={"retry-after": "7"}), SAID],
        [Turn(raw={"content": [], "stop_reason": None}), SAID],
        [Turn(stop_reason="hologram", text="x"), SAID],
        [Turn(tool_uses=[("prometheus_query", {"query": f"n{n}"}) for n in range(12)]), SAID],
    ],
    ids=lambda turns: repr(turns[0])[5:60],
)
async def test_every_conversation_is_one_that_the_api_takes(tmp_path: Path, turns: Sequence[Turn]) -> None:
    double, post = await through(tmp_path, turns)
    assert post["title"] == "Phase triage: done"
    refused = [request.answer for request in double.requests if request.status == 400]
    assert refused == []


async def test_a_model_that_is_gone_is_replaced(tmp_path: Path) -> None:
    double, post = await through(tmp_path, [SAID], fast="claude-haiku-9")
    assert post["title"] == "Phase triage: done"
    assert [request.body["model"] for request in double.requests] == ["claude-haiku-9", "claude-haiku-4-5"]


@pytest.mark.parametrize("status", [400, 401, 402, 403, 413])
async def test_what_is_refused_for_good_is_asked_once_of_each_model(tmp_path: Path, status: int) -> None:
    double, post = await through(tmp_path, [Turn(status=status)] * 9)
    assert "model unavailable" in post["title"]
    assert len(double.requests) == 2


async def test_two_agents_side_by_side_and_a_lead(tmp_path: Path) -> None:
    phase = TRIAGE.model_copy(update={"mode": "parallel", "supporting": ("second", "dba")})
    double, post = await through(tmp_path, [Turn(tool_uses=[QUERY]), Turn(tool_uses=[QUERY]), SAID, SAID, SAID], phase)
    assert post["title"] == "Phase triage: done"
    assert len(double.paid) == 5
    assert double.repeated() == []


async def test_the_prompt_before_the_last_message_stays_the_same_so_that_the_cache_holds(tmp_path: Path) -> None:
    double, _ = await through(tmp_path, [Turn(tool_uses=[QUERY]), Turn(tool_uses=[QUERY]), SAID])
    bodies = [request.body for request in double.paid]
    assert len({str(body["tools"]) + str(body["system"]) for body in bodies}) == 1
    first, later = bodies[1]["messages"], bodies[2]["messages"]
    assert first[1] == later[1]
    unmarked = [{key: value for key, value in block.items() if key != "cache_control"} for block in first[2]["content"]]
    assert unmarked == later[2]["content"]
