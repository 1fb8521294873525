"""The whole way with the real neighbours: Prometheus fires, Alertmanager posts, the chain asks that Prometheus.

The Slack double holds one thread, the alert ends, the thread says resolved; and Prometheus has scraped us.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from responder.doubles.anthropic import AnthropicDouble, Turn
from responder.doubles.slack import SlackDouble
from tests.daemon import Daemon, daemon, free_port, until

NEEDED = ("prometheus", "prometheus-alertmanager")
missing = [name for name in NEEDED if shutil.which(name) is None]
pytestmark = pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")
TOKEN = "an-alertmanager-token"


class Patient:
    """A service whose health is a metric that the test sets."""

    def __init__(self) -> None:
        """Begin well."""
        self.broken = 0

    async def metrics(self, _request: web.Request) -> web.Response:
        """Answer a scrape."""
        return web.Response(text=f'checkout_errors{{service="checkout"}} {self.broken}\n')


@asynccontextmanager
async def patient() -> AsyncIterator[tuple[Patient, int]]:
    one, app, port = Patient(), web.Application(), free_port()
    app.router.add_get("/metrics", one.metrics)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield one, port
    await runner.cleanup()


@asynccontextmanager
async def process(*command: str, log: Path, ready: str) -> AsyncIterator[None]:
    """Run a neighbour until left; wait until its address answers."""
    with log.open("wb") as out:
        child = await asyncio.create_subprocess_exec(*command, stdout=out, stderr=out)

    async def up() -> bool:
        assert child.returncode is None, log.read_text("utf-8")[-2000:]
        try:
            async with aiohttp.ClientSession() as http, http.get(ready) as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    try:
        await until(up, within_s=30)
        yield
    finally:
        if child.returncode is None:
            child.terminate()
            await child.wait()


def write_neighbours(folder: Path, *, patient_port: int, ours: int, am_port: int) -> None:
    rule = {
        "alert": "CheckoutErrorRateHigh",
        "expr": "checkout_errors > 0",
        "labels": {"severity": "critical", "cluster": "eu1"},
        "annotations": {"summary": "Checkout fails", "description": "More than none of the orders fail."},
    }
    (folder / "rules.yml").write_text(json.dumps({"groups": [{"name": "checkout", "interval": "1s", "rules": [rule]}]}))
    prometheus = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(folder / "rules.yml")],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{am_port}"]}]}]},
        "scrape_configs": [
            {"job_name": "checkout", "static_configs": [{"targets": [f"127.0.0.1:{patient_port}"]}]},
            {"job_name": "responder", "static_configs": [{"targets": [f"127.0.0.1:{ours}"]}]},
        ],
    }
    (folder / "prometheus.yml").write_text(json.dumps(prometheus))
    hook = {
        "url": f"http://127.0.0.1:{ours}/webhooks/alertmanager", "send_resolved": True, "max_alerts": 0,
        "http_config": {"follow_redirects": False, "authorization": {"type": "Bearer", "credentials": TOKEN}},
    }  # fmt: skip
    route = {"receiver": "responder", "group_by": ["alertname"], "group_wait": "1s", "group_interval": "2s"}
    alertmanager = {
        "global": {"resolve_timeout": "10s"},
        "route": route,
        "receivers": [{"name": "responder", "webhook_configs": [hook]}],
    }
    (folder / "alertmanager.yml").write_text(json.dumps(alertmanager))


@asynccontextmanager
async def neighbours(folder: Path, *, ours: int, prom: int, am: int, patient_port: int) -> AsyncIterator[None]:
    write_neighbours(folder, patient_port=patient_port, ours=ours, am_port=am)
    async with AsyncExitStack() as opened:
        alertmanager = (
            "prometheus-alertmanager", f"--config.file={folder}/alertmanager.yml", f"--storage.path={folder}/am",
            f"--web.listen-address=127.0.0.1:{am}", "--cluster.listen-address=",
        )  # fmt: skip
        prometheus = (
            "prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb",
            f"--web.listen-address=127.0.0.1:{prom}",
        )  # fmt: skip
        ready = f"http://127.0.0.1:{am}/-/ready"
        await opened.enter_async_context(process(*alertmanager, log=folder / "am.log", ready=ready))
        ready = f"http://127.0.0.1:{prom}/-/ready"
        await opened.enter_async_context(process(*prometheus, log=folder / "prom.log", ready=ready))
        yield


def answers(request: dict[str, Any]) -> Turn:
    """Ask Prometheus once, then report what it said with the evidence's own name."""
    results = [block for message in request["messages"] if isinstance(message["content"], list)
               for block in message["content"] if block["type"] == "tool_result"]  # fmt: skip
    tools = {tool["name"] for tool in request.get("tools", [])}
    if not results and "prometheus_query" in tools:
        return Turn(tool_uses=[("prometheus_query", {"query": "checkout_errors"})])
    if "submit_report" not in tools:
        return Turn(text="# Post-mortem\n\nCheckout failed for a short time.")
    report = {
        "summary": "checkout_errors is above 0.", "affected": ["checkout"], "healthy": [], "not_checked": [],
        "hypotheses": [], "findings": [], "suggestions": [], "hand_off": "", "dont_know": False,
        "raise_severity": {"to": "none", "reason": ""},
    }  # fmt: skip
    return Turn(tool_uses=[("submit_report", report)])


async def scraped(prom: int) -> bool:
    query = {"query": "responder_incidents_total"}
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"http://127.0.0.1:{prom}/api/v1/query", params=query) as answer,
    ):
        return bool((await answer.json())["data"]["result"])


async def with_status(one: Daemon, status: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await one.get(f"/api/incidents?status={status}"))["incidents"]
    return found


async def test_an_alert_goes_all_the_way_and_back(tmp_path: Path) -> None:
    prom, am = free_port(), free_port()
    async with AsyncExitStack() as opened:
        sick, patient_port = await opened.enter_async_context(patient())
        slack = await opened.enter_async_context(SlackDouble(auto_create_channels=True))
        model = await opened.enter_async_context(AnthropicDouble(turns=answers))
        one = await opened.enter_async_context(
            daemon(
                tmp_path,
                receivers={"alertmanager": {"token": TOKEN}},
                chat={"slack": {"bot_token": "xoxb-test", "channel": "#incidents", "base_url": slack.base_url}},
                llm={"api_key": "sk-test", "base_url": model.base_url},
                tools={"prometheus": {"url": f"http://127.0.0.1:{prom}"}},
            )
        )
        await opened.enter_async_context(
            neighbours(tmp_path, ours=one.port, prom=prom, am=am, patient_port=patient_port)
        )
        await asyncio.sleep(3)  # Prometheus needs two scrapes before it knows the series
        sick.broken = 1
        [incident] = await until(lambda: with_status(one, "investigating"), within_s=30)
        assert incident["severity"] == "P1"

        async def reported() -> bool:
            return len(model.paid) >= 4 and "checkout_errors" in json.dumps(
                (await one.get("/api/incidents/INC-1"))["evidence"]
            )

        await until(reported, within_s=30)
        sick.broken = 0
        [over] = await until(lambda: with_status(one, "resolved"), within_s=40)
        assert over["id"] == incident["id"] == "INC-1"

        async def drafted() -> Any:
            return (await one.get("/api/incidents/INC-1"))["postmortem"]

        assert "checkout" in (await until(drafted, within_s=40)).lower()
        [(head, replies)] = slack.threads()
        assert "resolved" in json.dumps(head).lower()
        assert any("Resolved" in json.dumps(reply) for reply in replies)
        assert await until(lambda: scraped(prom))
        assert await one.metric("responder_unaccounted_alerts") == 0
        assert (await one.get("/api/incidents"))["next"] is None
