"""A real Alertmanager and Prometheus, stopped and started while alerts fire and end, and so are we.

Two sentences are held all the while: no episode of an alert that still fires is ever closed, and every alert that was
missed is open within a minute of both being back.
"""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.daemon import Daemon, daemon, free_port, until

NEEDED = ("prometheus", "prometheus-alertmanager")
missing = [name for name in NEEDED if shutil.which(name) is None]
pytestmark = pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")
TOKEN = "an-alertmanager-token"
NAMES = ("DiskFull", "QueueStuck", "CacheCold", "MailSlow")
SETTLED_S = 10.0  # from a metric's change until Prometheus has scraped, judged and told it


@dataclass
class Child:
    """A program that the test stops and starts."""

    command: tuple[str, ...]
    log: Path
    ready: str
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self.log.open("ab") as out:
            self.process = await asyncio.create_subprocess_exec(*self.command, stdout=out, stderr=out)
        await until(self._up, within_s=30)

    async def _up(self) -> bool:
        assert self.process is not None
        assert self.process.returncode is None, self.log.read_text("utf-8")[-2000:]
        try:
            async with aiohttp.ClientSession() as http, http.get(self.ready) as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    async def stop(self, with_signal: signal.Signals = signal.SIGTERM) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(with_signal)
            await self.process.wait()


@dataclass
class World:
    """The neighbours, the metrics that make alerts fire, and what was seen of our episodes."""

    one: Daemon
    alertmanager: Child
    broken: dict[str, float] = field(default_factory=dict)  # name -> since when
    seen_firing: dict[str, float] = field(default_factory=dict)  # name -> the stretch of `broken` it was seen in
    closed_early: list[str] = field(default_factory=list)

    async def metrics(self, _request: web.Request) -> web.Response:
        """Answer Prometheus."""
        return web.Response(text="".join(f'broken{{what="{name}"}} {int(name in self.broken)}\n' for name in NAMES))

    def breaks(self, *names: str) -> None:
        self.broken |= {name: time.monotonic() for name in names if name not in self.broken}

    def mends(self, *names: str) -> None:
        for name in names:
            self.broken.pop(name, None)

    async def firing(self) -> set[str]:
        """The alerts whose episode is open here."""
        listed = (await self.one.get("/api/incidents?limit=200"))["incidents"]
        episodes = [each for incident in listed for each in incident["episodes"]]
        return {each["labels"]["alertname"] for each in episodes if each["status"] == "firing"}

    async def watch(self) -> None:
        """Note each alert that is closed here while it fires on."""
        while True:
            try:
                firing = await self.firing()
            except (aiohttp.ClientError, AssertionError):  # we are down
                firing = None
            for name, since in list(self.broken.items()) if firing is not None else ():
                if name in (firing or ()):
                    self.seen_firing[name] = since
                elif self.seen_firing.get(name) == since and time.monotonic() - since > SETTLED_S:
                    self.closed_early.append(name)
            await asyncio.sleep(0.3)

    async def until_firing(self, *names: str, within_s: float = 60.0) -> float:
        """Wait until exactly these are open here; gives the seconds that it took."""
        began = time.monotonic()

        async def as_wanted() -> bool:
            return await self.firing() == set(names)

        await until(as_wanted, within_s=within_s)
        return time.monotonic() - began


def write_neighbours(folder: Path, *, patient: int, ours: int, am: int, token: str) -> None:
    rules = [
        {"alert": name, "expr": f'broken{{what="{name}"}} > 0', "labels": {"severity": "warning"}} for name in NAMES
    ]
    (folder / "rules.yml").write_text(json.dumps({"groups": [{"name": "g", "interval": "1s", "rules": rules}]}))
    prometheus = {
        "global": {
            "scrape_interval": "1s", "evaluation_interval": "1s", "external_labels": {"cluster": "eu1", "replica": "a"},
        },
        "rule_files": [str(folder / "rules.yml")],
        "alerting": {
            "alert_relabel_configs": [{"action": "labeldrop", "regex": "replica"}],
            "alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{am}"]}]}],
        },
        "scrape_configs": [{"job_name": "p", "static_configs": [{"targets": [f"127.0.0.1:{patient}"]}]}],
    }  # fmt: skip
    (folder / "prometheus.yml").write_text(json.dumps(prometheus))
    hook = {
        "url": f"http://127.0.0.1:{ours}/webhooks/alertmanager", "send_resolved": True,
        "http_config": {"follow_redirects": False, "authorization": {"type": "Bearer", "credentials": token}},
    }  # fmt: skip
    route = {"receiver": "our.receiver", "group_by": ["alertname"], "group_wait": "1s", "group_interval": "2s"}
    receivers = [{"name": "our.receiver", "webhook_configs": [hook]}]
    (folder / "alertmanager.yml").write_text(json.dumps({"route": route, "receivers": receivers}))


@asynccontextmanager
async def world(folder: Path, *, token: str = TOKEN, gone_after_s: float, resend_s: int = 2) -> AsyncIterator[World]:
    prom, am = free_port(), free_port()
    truth = {
        "token": TOKEN, "url": f"http://127.0.0.1:{am}", "prometheus": f"http://127.0.0.1:{prom}",
        "receiver": "our.receiver", "check_every_s": 1, "missed_after_s": 4, "gone_after_s": gone_after_s,
    }  # fmt: skip
    async with AsyncExitStack() as opened:
        one = await opened.enter_async_context(daemon(folder, receivers={"alertmanager": truth}))
        alertmanager = Child(
            ("prometheus-alertmanager", f"--config.file={folder}/alertmanager.yml", f"--storage.path={folder}/am",
             f"--web.listen-address=127.0.0.1:{am}", "--cluster.listen-address="),
            folder / "am.log", f"http://127.0.0.1:{am}/-/ready",
        )  # fmt: skip
        prometheus = Child(
            ("prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb",
             f"--web.listen-address=127.0.0.1:{prom}", f"--rules.alert.resend-delay={resend_s}s"),
            folder / "prom.log", f"http://127.0.0.1:{prom}/-/ready",
        )  # fmt: skip
        made, app = World(one, alertmanager), web.Application()
        app.router.add_get("/metrics", made.metrics)
        runner = web.AppRunner(app)
        await runner.setup()
        opened.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        write_neighbours(folder, patient=runner.addresses[0][1], ours=one.port, am=am, token=token)
        for child in (alertmanager, prometheus):
            await child.start()
            opened.push_async_callback(child.stop)
        watching = asyncio.create_task(made.watch())
        yield made
        watching.cancel()


async def notes(one: Daemon) -> list[str]:
    found: list[Any] = (await one.get("/api/incidents?limit=200"))["incidents"]
    whole = [await one.get(f"/api/incidents/{each['id']}") for each in found]
    return [line["text"] for each in whole for line in each["timeline"] if line["kind"] == "note"]


async def test_with_every_webhook_refused_all_is_opened_and_ended_by_asking(tmp_path: Path) -> None:
    """Our token is wrong at Alertmanager: nothing of this comes by webhook."""
    async with world(tmp_path, token="wrong", gone_after_s=8) as at:
        at.breaks("DiskFull")
        await at.until_firing("DiskFull")
        await at.alertmanager.stop(signal.SIGKILL)
        at.breaks("QueueStuck")
        await asyncio.sleep(10)  # longer than an alert may be gone
        await at.alertmanager.start()
        await at.until_firing("DiskFull", "QueueStuck")
        at.mends("DiskFull")
        await at.until_firing("QueueStuck")
        await at.one.kill()
        at.breaks("CacheCold")
        await asyncio.sleep(7)
        at.mends("CacheCold")
        at.breaks("MailSlow")
        await asyncio.sleep(7)
        await at.one.start()
        await at.until_firing("QueueStuck", "MailSlow")

        async def told() -> Any:
            return (await at.one.get("/api/senders"))["missed"]

        [missed] = await until(told)
        assert [each["labels"]["alertname"] for each in missed["alerts"]] == ["CacheCold"]
        assert not at.closed_early
        assert any("has ended: not there since" in line for line in await notes(at.one))
        assert await at.one.metric("responder_unaccounted_alerts") == 0
        assert await at.one.metric('responder_webhooks_total{outcome="accepted",receiver="alertmanager"}') == 0


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_whoever_stops_and_starts_nothing_that_fires_is_closed_and_all_that_fires_is_open(tmp_path: Path) -> None:
    chance = random.Random(7)
    # An Alertmanager that restarts hears of what fires later than an alert may be gone: only Prometheus knows better.
    async with world(tmp_path, gone_after_s=10, resend_s=25) as at:
        for _ in range(10):
            down = chance.choice([at.alertmanager, at.one, None])
            if isinstance(down, Child):
                await down.stop(chance.choice([signal.SIGKILL, signal.SIGTERM]))
            elif down is not None:
                await down.kill(chance.choice([signal.SIGKILL, signal.SIGTERM]))
            for name in chance.sample(NAMES, 2):
                at.mends(name) if name in at.broken else at.breaks(name)
                await asyncio.sleep(chance.uniform(0, 10))
            if down is not None:
                await down.start()
            took_s = await at.until_firing(*at.broken, within_s=90)
            assert not at.closed_early
            assert took_s < 60 or not at.broken
        at.mends(*NAMES)
        await at.until_firing(within_s=90)
        assert await at.one.metric("responder_unaccounted_alerts") == 0
