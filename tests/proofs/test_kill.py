"""`kill -9` at random while bodies arrive and chains run: nothing is missing, nothing is said or paid twice."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from responder.doubles.anthropic import AnthropicDouble, Turn
from responder.doubles.slack import SlackDouble
from tests.daemon import Daemon, alert, body, daemon, until

SENDERS = 32
LOOKS = 8  # turns before the report
UNDER_WAY_S = 0.5  # a turn takes 0.1 s at the double, and its journal row a commit under load
# More posts for the kills to hit, and none to wait for.
BRISK = {"channel_per_s": 20, "chat_per_s": 60, "edits_per_s": 20}
REPORT = {
    "summary": "Nothing stands out.", "affected": [], "healthy": [], "not_checked": [], "hypotheses": [],
    "findings": [],
    "suggestions": [], "hand_off": "", "dont_know": True, "raise_severity": {"to": "none", "reason": ""},
}  # fmt: skip


async def send(one: Daemon, sender: int, acked: set[str], stop: asyncio.Event) -> None:
    """Post bodies one after the other, each with an alert of its own; remember what was acknowledged."""
    n = 0
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as http:
        while not stop.is_set():
            name, n = f"{sender}-{n}", n + 1
            sent = body(
                alert(f"Load{sender % 6}", instance=name, severity="page" if sender % 2 else "warning"), key=name
            )
            try:
                async with http.post(f"{one.url}/webhooks/alertmanager", json=sent) as answer:
                    if answer.status == 202:
                        acked.add(name)
            except (aiohttp.ClientError, TimeoutError):
                await asyncio.sleep(0.05)
            await asyncio.sleep(random.uniform(0.02, 0.1))


def instances(database: Path) -> Counter[str]:
    """Count the episodes of each instance that stand in an incident."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    rows = connection.execute("SELECT json_extract(labels, '$.instance') FROM episode WHERE incident IS NOT NULL")
    found = Counter(row[0] for row in rows)
    connection.close()
    return found


def finished_turns(database: Path) -> int:
    """Count the model turns that the journal holds."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    row = connection.execute("SELECT count(*) FROM journal WHERE name LIKE '%.turn.%' AND phase = 'done'").fetchone()
    connection.close()
    return int(row[0])


def said(slack: SlackDouble) -> Counter[int]:
    """Count the messages of each post, by the number in our own metadata."""
    messages = [message for head, replies in slack.threads() for message in (head, *replies)]
    return Counter(message["metadata"]["event_payload"]["post"] for message in messages)


async def storm(folder: Path, kills: int) -> dict[str, Any]:
    """Run the storm and give what came of it."""
    seed = random.randrange(1 << 30)
    random.seed(seed)
    async with SlackDouble(auto_create_channels=True) as slack, AnthropicDouble(turns=answer) as model:
        chat = {
            "slack": {
                "bot_token": "xoxb-test", "channel": "#incidents", "base_url": slack.base_url, "budget": BRISK,
            }
        }  # fmt: skip
        llm = {"api_key": "sk-test", "base_url": model.base_url}
        async with daemon(folder, chat=chat, llm=llm) as one:
            acked: set[str] = set()
            stop = asyncio.Event()
            senders = [asyncio.create_task(send(one, each, acked, stop)) for each in range(SENDERS)]
            killed_at: list[float] = []
            for _ in range(kills):
                await asyncio.sleep(random.uniform(0.3, 1.5))
                killed_at.append(time.monotonic())
                await one.kill()
                await one.start()
            stop.set()
            await asyncio.gather(*senders)
            ledger = await one.settled()

            async def quiet() -> bool:
                return await one.metric("responder_outbox_age_seconds") == 0.0

            await until(quiet, within_s=60)
            database = folder / "responder.db"
            return {
                "seed": seed, "acked": acked, "held": instances(database), "ledger": ledger, "said": said(slack),
                "finished": finished_turns(database), "needless": needless(model, killed_at),
            }  # fmt: skip


def answer(request: dict[str, Any]) -> Turn:
    """Look a few times before reporting, so that kills come between turns that are finished."""
    done = sum(1 for message in request["messages"] if message["role"] == "assistant")
    tools = {tool["name"] for tool in request.get("tools", [])}
    if done < LOOKS and "read_evidence" in tools:
        return Turn(tool_uses=[("read_evidence", {"id": "E1", "offset": done})], delay_s=0.1)
    if "submit_report" not in tools:
        return Turn(text="Nothing stands out.", delay_s=0.1)
    return Turn(tool_uses=[("submit_report", REPORT)], delay_s=0.1)


def needless(model: AnthropicDouble, killed_at: list[float]) -> list[float]:
    """Find turns paid again although no kill came upon the first one: seconds from each to the kill that was next.

    A turn that was answered and journaled before a kill must never be asked again; one under way may.
    """
    before: dict[str, float] = {}
    found = []
    for paid in model.paid:
        first = before.get(paid.canonical())
        if first is not None:
            gap = min((kill - first for kill in killed_at if kill >= first), default=float("inf"))
            if gap > UNDER_WAY_S:
                found.append(gap)
        before[paid.canonical()] = paid.at_monotonic_s
    return found


def check(found: dict[str, Any], kills: int) -> None:
    """What must hold after any storm."""
    assert len(found["acked"]) > 50 * kills / 5
    assert not found["acked"] - set(found["held"]), f"lost; seed {found['seed']}"
    assert max(found["held"].values()) == 1
    assert found["ledger"]["unaccounted"] == 0
    assert max(found["said"].values()) == 1, f"said twice; seed {found['seed']}"
    assert found["finished"] > 0
    assert not found["needless"], f"paid twice; seed {found['seed']}"


@pytest.mark.timeout(300)
async def test_five_kills_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    check(await storm(tmp_path, 5), 5)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_twenty_kills_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    check(await storm(tmp_path, 20), 20)
