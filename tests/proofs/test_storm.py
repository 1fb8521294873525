"""A storm of minor alerts delays no P0, loses nothing and keeps each thread's order, while Slack says slow down."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from responder.doubles.slack import REAL_LIMITS, Fault, Limit, SlackDouble
from tests.daemon import Daemon, alert, body, daemon, until

STORM, PAGES = "#storm", "#pages"
RULES = """
rules:
  - name: probe
    match: ['alertname="Probe"']
    severity: P0
    group_by: [n]
    channel: "%s"
  - name: storm
    match: ['alertname="Storm"']
    severity: {from_label: severity, map: {info: P3}, else: P2}
    group_by: [group]
    channel: "#storm"
"""


@dataclass(frozen=True)
class Plan:
    """How much comes in how long; `dark_s` is what Slack's 429 asks for, `lasting` so many times."""

    alerts: int
    seconds: float
    groups: int
    probes: int
    dark_s: float
    lasting: int
    drained_s: float
    budget: Mapping[str, float] = field(default_factory=dict)
    limits: Sequence[Limit] = ()

    @property
    def well(self) -> range:
        """The groups that are well at the end."""
        return range(0, self.groups, 4)


QUICK_LIMITS = [
    Limit("chat.postMessage", 16, burst=20, per_channel=True), Limit("chat.update", 20, burst=20),
]  # fmt: skip
QUICK_BUDGET = {"channel_per_s": 14, "chat_per_s": 40, "chat_burst": 40, "edits_per_s": 15}
QUICK = Plan(1_000, 5.0, 50, 5, 3.0, 2, 40.0, QUICK_BUDGET, QUICK_LIMITS)
WHOLE = Plan(10_000, 60.0, 200, 20, 30.0, 2, 900.0, {}, REAL_LIMITS)


@dataclass
class Measured:
    """What was seen from outside."""

    accepted_s: dict[str, float] = field(default_factory=dict)  # probe -> when its 202 came
    drained_s: float = 0.0
    age_s: float = 0.0  # the oldest message, at its worst
    refused: int = 0  # webhooks not answered 202


async def blow(one: Daemon, plan: Plan, seen: Measured) -> None:
    """Send the storm at an even pace, ten alerts a body, the groups in turn; at its end a quarter of them is well."""
    bodies, step = plan.alerts // 10, plan.seconds / (plan.alerts // 10)
    began = time.monotonic()
    async with aiohttp.ClientSession() as http:
        for n in range(bodies):
            await asyncio.sleep(max(0.0, began + n * step - time.monotonic()))
            group = n % plan.groups
            await send(http, one, seen, group, range(n // plan.groups * 10, n // plan.groups * 10 + 10), firing=True)
        for group in plan.well:
            await send(http, one, seen, group, range(bodies // plan.groups * 10), firing=False)


async def send(
    http: aiohttp.ClientSession, one: Daemon, seen: Measured, group: int, instances: range, *, firing: bool
) -> None:
    severity = "info" if group % 2 else "warning"
    alerts = [alert("Storm", firing=firing, group=f"g{group}", instance=f"i{n}", severity=severity) for n in instances]
    sent = json.dumps(body(*alerts, key=f"g{group}"))
    async with http.post(f"{one.url}/webhooks/alertmanager", data=sent) as answer:
        seen.refused += answer.status != 202


async def probe(one: Daemon, plan: Plan, seen: Measured) -> None:
    """Send the P0s, spread over the storm."""
    async with aiohttp.ClientSession() as http:
        for n in range(plan.probes):
            await asyncio.sleep(plan.seconds / (plan.probes + 1))
            sent = json.dumps(body(alert("Probe", n=f"p{n}"), key=f"p{n}"))
            async with http.post(f"{one.url}/webhooks/alertmanager", data=sent) as answer:
                assert answer.status == 202
            seen.accepted_s[f"p{n}"] = time.monotonic()


async def storm(folder: Path, plan: Plan, *, pages: str) -> tuple[SlackDouble, Measured, Path]:
    """Run the storm until all is told, and give what Slack has seen."""
    own = folder / "own"
    own.mkdir()
    (own / "storm.yaml").write_text(RULES % pages, "utf-8")
    (own / "policy.yaml").write_text("hold: 2s\n", "utf-8")
    seen = Measured()
    async with SlackDouble(auto_create_channels=True) as slack:
        slack.limit(*plan.limits)
        if pages != STORM:
            dark = Fault(status=429, retry_after=plan.dark_s, channel=STORM, times=plan.lasting)
            slack.script("chat.postMessage", dark)
            slack.store.add_channels({"C0STORM0001": "storm"})
        chat = {
            "bot_token": "xoxb-test",
            "channel": "#incidents",
            "base_url": slack.base_url,
            "budget": dict(plan.budget),
        }
        async with daemon(folder, rules=[str(own)], chat={"slack": chat}) as one:
            began = time.monotonic()
            await asyncio.gather(blow(one, plan, seen), probe(one, plan, seen))

            async def quiet() -> bool:
                age_s = await one.metric("responder_outbox_age_seconds")
                seen.age_s = max(seen.age_s, age_s)
                return age_s == 0 and await over(one) == len(plan.well)

            await until(quiet, within_s=plan.drained_s, every_s=0.5)
            await asyncio.sleep(1)
            await until(quiet, within_s=60)
            seen.drained_s = time.monotonic() - began
            assert await one.metric("responder_unaccounted_alerts") == 0
    return slack, seen, folder / "responder.db"


async def over(one: Daemon) -> int:
    with closing(sqlite3.connect(f"file:{one.config.parent / 'responder.db'}?mode=ro", uri=True)) as connection:
        return int(connection.execute("SELECT count(*) FROM incident WHERE status = 'resolved'").fetchone()[0])


def messages(slack: SlackDouble) -> list[dict[str, Any]]:
    return [message for head, replies in slack.threads() for message in (head, *replies)]


def marker(message: dict[str, Any]) -> dict[str, Any]:
    payload: dict[str, Any] = message["metadata"]["event_payload"]
    return payload


def page_latencies(slack: SlackDouble, seen: Measured, database: Path) -> list[float]:
    """How long after its 202 each P0's head was at Slack."""
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute(
            "SELECT 'INC-' || incident, json_extract(labels, '$.n') FROM episode WHERE labels LIKE '%Probe%'"
        ).fetchall()
    names, found = dict(rows), {}
    for call in slack.called("chat.postMessage"):
        told = call.params["metadata"]["event_payload"]
        if call.ok and told["kind"] == "head" and told["incident"] in names:
            n = names[told["incident"]]
            assert n not in found, f"{n} was paged twice"
            found[n] = call.at_monotonic_s - seen.accepted_s[n]
    assert set(found) == set(seen.accepted_s), "a P0 was lost"
    return sorted(found.values())


def check_nothing_lost(slack: SlackDouble, plan: Plan, database: Path) -> None:
    """Each incident has its thread, or was told to be over in a digest; each line is told, or counted."""
    digests = [json.dumps(message) for message in messages(slack) if marker(message)["kind"] == "digest"]
    heads = [marker(head)["incident"] for head, _ in slack.threads() if marker(head)["kind"] == "head"]
    assert len(heads) == len(set(heads))
    with closing(sqlite3.connect(database)) as connection:
        states = dict(connection.execute("SELECT state, count(*) FROM post GROUP BY state"))
        assert set(states) <= {"sent", "folded"}, states
        named = connection.execute("SELECT json_extract(labels, '$.alertname'), count(*) FROM episode GROUP BY 1")
        assert dict(named) == {"Storm": plan.alerts, "Probe": plan.probes}
        incidents = dict(connection.execute("SELECT 'INC-' || id, status FROM incident"))
        shown = {ts for (ts,) in connection.execute("SELECT ts FROM post WHERE state = 'sent'")}
        assert shown <= {message["ts"] for message in messages(slack)}
    assert len(incidents) == plan.groups + plan.probes
    for name in set(incidents) - set(heads):
        assert incidents[name] == "resolved"
        assert any(re.search(rf"Over already[^\n]*\b{name}\b", text) for text in digests), f"{name} was told nowhere"


def check_order(slack: SlackDouble) -> None:
    """In a thread the lines stand as they were written."""
    for _, replies in slack.threads():
        numbers = [marker(reply)["post"] for reply in replies]
        assert numbers == sorted(set(numbers))


def digest_gaps_s(slack: SlackDouble) -> list[float]:
    """The times between two digests of a channel, tries included."""
    calls = slack.called("chat.postMessage")
    at = [call.at_monotonic_s for call in calls if call.params["metadata"]["event_payload"]["kind"] == "digest"]
    return [later - earlier for earlier, later in pairwise(at)]


def report(name: str, slack: SlackDouble, seen: Measured, took: list[float]) -> str:
    kinds: dict[str, int] = {}
    for message in messages(slack):
        kinds[marker(message)["kind"]] = kinds.get(marker(message)["kind"], 0) + 1
    limited = sum(1 for call in slack.calls if call.answer is not None and call.answer.status == 429)
    return (
        f"{name}: P0 p50 {statistics.median(took):.2f} s, max {took[-1]:.2f} s; all told after {seen.drained_s:.0f} s,"
        f" oldest {seen.age_s:.0f} s; messages {kinds}, edits {len(slack.called('chat.update'))}, 429s {limited}"
    )


@pytest.mark.parametrize("pages", [PAGES, STORM], ids=["pages elsewhere", "pages in the storm's channel"])
@pytest.mark.parametrize(
    "plan",
    [
        pytest.param(QUICK, id="quick"),
        pytest.param(WHOLE, id="whole", marks=[pytest.mark.slow, pytest.mark.timeout(1200)]),
    ],
)
async def test_a_storm_delays_no_p0_and_loses_nothing(tmp_path: Path, plan: Plan, pages: str) -> None:
    slack, seen, database = await storm(tmp_path, plan, pages=pages)
    took = page_latencies(slack, seen, database)
    said = report(pages, slack, seen, took)
    (tmp_path / "measured").write_text(said + "\n", "utf-8")
    assert seen.refused == 0
    assert took[int(len(took) * 0.95) - 1] < 5.0, said
    assert took[-1] < 10.0, said
    check_nothing_lost(slack, plan, database)
    check_order(slack)
    assert all(gap >= 9.9 for gap in digest_gaps_s(slack)), said
    if plan is WHOLE:
        assert digest_gaps_s(slack), "a storm of this size needs more than one digest"
