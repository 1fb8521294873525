"""The first look: checks side by side, verdicts, hints, and what is said when no model will look."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

import pytest

from responder.agent.look import judge
from responder.errors import TransientError
from responder.model import Severity, Status
from responder.runbooks import Check, Expect, Phase
from responder.runbooks.expect import parse_expect
from responder.turns import ToolResult
from tests.agent.world import CHECK, LABELS, SECRET, SayingModel, SayingTool, alert, library, reply, report, world


async def test_the_first_look_is_posted_with_each_check_its_value_and_the_runbooks_hints(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        assert await one.run() == "done"
        post = await one.post("First look")
        (evidence,) = (await one.record())["evidence"]
        incident = await one.incident()
    assert post["facts"] == [["error-rate", "failing: 12.5, expected < 1 [E1]"]]
    assert "Roll back." in post["body"]
    assert "Look at the pool." in post["body"]
    assert post["footer"] == "no analysis: no key"
    assert (evidence["id"], evidence["verdict"], evidence["text"]) == ("E1", "failing", "errors 12.5")
    assert incident.summary == "Checks: error-rate failing. No analysis: no key."
    assert incident.status is Status.INVESTIGATING


async def test_labels_enter_a_query_as_one_escaped_value(tmp_path: Path) -> None:
    tool = SayingTool("prometheus.query", ToolResult("ok", "0", 0.0))
    hostile = alert(service='x"} or vector(1) #')
    async with world(tmp_path, tools=[tool], alerts=[hostile]) as one:
        await one.run()
    assert tool.calls == [{"query": 'errors{service="x\\"} or vector(1) #"}'}]


async def test_a_chain_without_agents_says_nothing_of_a_model(tmp_path: Path) -> None:
    files = library(Phase(name="first-look"))
    async with world(tmp_path, files=files, severity=Severity.P3) as one:
        await one.run()
        assert (await one.post("First look"))["footer"] == ""


async def test_checks_that_cannot_be_asked_are_not_evidence_and_not_healthy(tmp_path: Path) -> None:
    checks = [
        Check(id="absent", tool="loki.query", expect="< 1"),
        Check(id="label", tool="prometheus.query", args={"query": 'up{pod="$pod"}'}, expect="< 1"),
    ]
    async with world(tmp_path, files=library(checks=checks)) as one:
        await one.run()
        facts = dict((await one.post("First look"))["facts"])
        assert (await one.record())["evidence"] == []
    assert facts == {
        "absent": "unavailable: tool loki.query is not set up",
        "label": "no data: the alert has no usable label pod",
    }


async def test_a_tool_that_breaks_or_hangs_takes_no_other_with_it(tmp_path: Path) -> None:
    async def hang() -> ToolResult:
        await asyncio.Event().wait()
        raise AssertionError

    says: dict[str, Any] = {
        "prometheus.query": ToolResult("ok", "errors 0", 0.0),
        "a.breaks": ValueError(f"password={SECRET}"),
        "b.hangs": lambda _: hang(),
        "c.away": TransientError("c: cannot be reached"),
        "d.lies": ToolResult("superb", "fine", 0.0),
    }
    checks = [CHECK] + [Check(id=name[0], tool=name, args={"query": "x"}, expect="< 1") for name in list(says)[1:]]
    tools = [SayingTool(name, said) for name, said in says.items()]
    async with world(tmp_path, tools=tools, files=library(checks=checks)) as one:
        await one.run()
        facts = dict((await one.post("First look"))["facts"])
        record = str(await one.record())
    assert facts["error-rate"].startswith("ok: 0")
    assert facts["a"].startswith("unavailable: a.breaks failed (ValueError)")
    assert facts["b"].startswith("unavailable: b.hangs gave no answer within 0.2 s")
    assert facts["c"].startswith("unavailable: c.away is not available: c: cannot be reached")
    assert facts["d"].startswith("ok")
    assert SECRET not in record


async def test_what_tools_say_is_stored_without_secrets_and_hidden_characters(tmp_path: Path) -> None:
    text = f"token={SECRET} \x1b[2J \u202e end " + "x" * 300_000
    async with world(tmp_path, tools=[SayingTool("prometheus.query", ToolResult("ok", text, 1.0))]) as one:
        await one.run()
        (evidence,) = (await one.record())["evidence"]
    assert SECRET not in evidence["text"]
    assert "\x1b" not in evidence["text"]
    assert "\u202e" not in evidence["text"]
    assert 200_000 <= len(evidence["text"]) <= 200_100


async def test_a_reopened_incident_numbers_its_evidence_on(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await one.run()
        await one.resolve()
        await one.reopen()
        assert await one.run(n=2) == "done"
        assert [each["id"] for each in (await one.record())["evidence"]] == ["E1", "E2"]
        assert len([post for post in await one.posts() if post["title"] == "First look"]) == 2


async def test_an_agent_looks_next_when_there_is_a_model(tmp_path: Path) -> None:
    async with world(tmp_path, SayingModel(reply(report()))) as one:
        await one.run()
        assert (await one.post("First look"))["footer"] == "agents look into it next"


@pytest.mark.parametrize(
    ("expect", "outcome", "value", "verdict"),
    [
        ("< 1", "ok", 0.5, "ok"),
        ("< 1", "ok", 1.5, "failing"),
        ("< 1", "ok", math.nan, "no_data"),
        ("< 1", "ok", math.inf, "failing"),
        ("< 1", "ok", None, "no_data"),
        ("< 1", "no_data", None, "no_data"),
        ("no data", "no_data", None, "ok"),
        ("no data", "ok", 3.0, "failing"),
        ("< 1", "unavailable", None, "unavailable"),
        ("no data", "unavailable", None, "unavailable"),
        ("< 1", "refused", None, "unavailable"),
        ("any", "ok", None, "measured"),
        ("any", "no_data", None, "no_data"),
    ],
)
def test_a_verdict_follows_from_the_answer_alone(expect: str, outcome: str, value: float | None, verdict: str) -> None:
    wanted = parse_expect(expect)
    assert isinstance(wanted, Expect)
    assert judge(wanted, ToolResult(outcome, "text", value)) == verdict


def test_the_labels_of_the_world_are_what_the_check_asks_for() -> None:
    assert CHECK.arguments(LABELS) == ({"query": 'errors{service="checkout-api"}'}, [])
