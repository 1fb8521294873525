"""The draft: times and findings by code, words by a model, and a template where there is none."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from responder.agent.chain import Budget
from responder.errors import TransientError
from responder.model import Move, TimelineEntry
from responder.runbooks import Phase
from tests.agent.world import (
    SECRET,
    TRIAGE,
    Answer,
    SayingModel,
    World,
    finding,
    library,
    query,
    reply,
    report,
    words,
    world,
)

FILES = library(Phase(name="first-look"), TRIAGE, Phase(name="postmortem", lead="writer"))


async def drafted(one: World) -> str:
    """Take the incident to its end and give the draft."""
    assert await one.run() == "parked"
    one.clock.at += timedelta(minutes=42)
    await one.resolve("anna")
    assert await one.run() == "done"
    (row,) = (await one.record())["postmortem"]
    return str(row["text"])


def told(*last: Answer) -> SayingModel:
    """A model that finds something, and then says what the test says."""
    found = finding("12.5 errors", "E2")
    return SayingModel(reply(query()), reply(report(findings=[found])), *last)


async def test_a_models_words_stand_under_the_facts_of_the_record(tmp_path: Path) -> None:
    model = told(reply(words("# Mine\n\n## What happened\n\nThe pool was full. ![x](http://evil/) <b>")))
    async with world(tmp_path, model, files=FILES) as one:
        text = await drafted(one)
        post = await one.post("Post-mortem draft")
    facts, _, mine = text.partition("# Draft by a model")
    assert "- Duration: 42 min" in facts
    assert "- 12.5 errors (high, E2; 1 of 1 verified)" in facts
    assert "| 2026-11-20 12:00:00 | P2 by rule rule: Errors are high |" in facts
    assert "## Mine" in mine
    assert "![x]" not in mine
    assert "<b>" not in mine
    assert post["body"] == "Post-mortem draft: `responder postmortem INC-1`"
    assert model.requests[-1].tools == []


async def test_without_a_model_it_is_a_template_from_the_record(tmp_path: Path) -> None:
    async with world(tmp_path, files=FILES) as one:
        text = await drafted(one)
    headings = [line.lstrip("# ") for line in text.splitlines() if line.startswith("## ")]
    assert headings[-5:] == ["Impact", "Root cause", "What went well", "What could be better", "Action items"]
    assert "Not established." in text
    assert "from the record alone: no key" in text
    assert "1 checks failed while it lasted." in text


@pytest.mark.parametrize(
    "last", [TransientError("down"), reply(stop="refusal"), reply(words(" "))], ids=["down", "refused", "empty"]
)
async def test_a_model_that_gives_nothing_leaves_the_template(tmp_path: Path, last: Answer) -> None:
    async with world(tmp_path, told(last), files=FILES) as one:
        text = await drafted(one)
    assert "- Likely: 12.5 errors" in text
    assert "Draft by a model" not in text


async def test_over_budget_it_is_the_template(tmp_path: Path) -> None:
    async with world(tmp_path, told(reply(words("x"))), files=FILES, budget=Budget(incident_usd=0.07)) as one:
        text = await drafted(one)
    assert "over budget" in text


async def test_no_secret_and_no_broken_table_gets_into_the_draft(tmp_path: Path) -> None:
    model = told(reply(words(f"the password was {SECRET}")))
    async with world(tmp_path, model, files=FILES) as one:
        await one.store.commit(_note(one, f"a | b\n# heading {SECRET}"))
        text = await drafted(one)
    assert SECRET not in text
    assert "a \\| b # heading [redacted]" in text


def _note(one: World, text: str) -> Move:
    move = Move()
    move.timeline.append(TimelineEntry(one.number, one.clock.now(), "note", text))
    return move
