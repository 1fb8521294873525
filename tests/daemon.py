"""Starts the real daemon as a process of its own, so that a test can kill it."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

UP_WITHIN_S = 60.0  # it takes one; a machine that does much else takes its time
HOLD = "2s"


def free_port() -> int:
    """Find a port that is free right now, below those that the kernel gives to outgoing connections."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def write_config(folder: Path, *, port: int, **sections: Any) -> Path:
    """Write responder.yaml and a policy whose hold is two seconds; JSON is YAML enough."""
    rules = folder / "rules"
    rules.mkdir(exist_ok=True)
    shipped = Path(__file__).parent.parent / "rules"
    for path in shipped.glob("*.yaml"):
        (rules / path.name).write_text(path.read_text("utf-8").replace("hold: 5m", f"hold: {HOLD}"), "utf-8")
    config = folder / "responder.yaml"
    listed = {"listen": f"127.0.0.1:{port}", "rules": ["rules"], "drain_s": 5} | sections
    config.write_text("\n".join(f"{key}: {json.dumps(value)}" for key, value in listed.items()) + "\n", "utf-8")
    return config


@dataclass
class Daemon:
    """One `responder run`; `start` may be called again after it was killed."""

    config: Path
    port: int
    wrap: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """All that it has logged."""
        return (self.config.parent / "log").read_text("utf-8", "replace")

    async def start(self) -> None:
        """Start it and wait until it can commit."""
        with (self.config.parent / "log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self.wrap, sys.executable, "-m", "responder", "run", "--config", str(self.config),
                stdout=log, stderr=log, env={**os.environ, **self.environment}, cwd=self.config.parent,
            )  # fmt: skip
        async with aiohttp.ClientSession() as http, asyncio.timeout(UP_WITHIN_S):
            while True:
                ended = self.process.returncode
                assert ended is None, f"the daemon ended with {ended}: {self.log[-3000:]}"
                try:
                    async with http.get(f"{self.url}/readyz") as answer:
                        if answer.status == 200:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.05)

    async def kill(self, with_signal: signal.Signals = signal.SIGKILL) -> int:
        """End it and give its exit code."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(with_signal)
        async with asyncio.timeout(30):
            return await self.process.wait()

    async def get(self, path: str) -> Any:
        """Read JSON from its API."""
        async with aiohttp.ClientSession() as http, http.get(f"{self.url}{path}") as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def post(self, body: bytes | object, *, path: str = "/webhooks/alertmanager", **headers: str) -> int:
        """Post a webhook and give the status."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with aiohttp.ClientSession() as http, http.post(f"{self.url}{path}", data=raw, headers=named) as answer:
            await answer.read()
            return answer.status

    async def metric(self, line: str) -> float:
        """Read one series of /metrics by the start of its line."""
        async with aiohttp.ClientSession() as http, http.get(f"{self.url}/metrics") as answer:
            text = await answer.text()
        found = [each for each in text.splitlines() if each.startswith(line)]
        assert found, f"no series {line}"
        return float(found[0].rsplit(" ", 1)[1])

    async def settled(self, within_s: float = 60.0) -> dict[str, Any]:
        """Wait until no body waits any more and give the ledger."""
        async with asyncio.timeout(within_s):
            while True:
                ledger: dict[str, Any] = await self.get("/api/ledger")
                if ledger["bodies"]["waiting"] == 0:
                    return ledger
                await asyncio.sleep(0.05)


@asynccontextmanager
async def daemon(folder: Path, *, wrap: Sequence[str] = (), **sections: Any) -> AsyncIterator[Daemon]:
    """Run a daemon over a folder; stops it politely at exit."""
    port = free_port()
    one = Daemon(write_config(folder, port=port, **sections), port, wrap)
    await one.start()
    try:
        yield one
    finally:
        if one.process is not None and one.process.returncode is None:
            await one.kill(signal.SIGTERM)


async def until(check: Any, *, within_s: float = 40.0, every_s: float = 0.1) -> Any:
    """Ask again until the answer is true."""
    async with asyncio.timeout(within_s):
        while True:
            found = await check()
            if found:
                return found
            await asyncio.sleep(every_s)


def alert(name: str, *, firing: bool = True, started: str = "2026-11-20T09:00:00Z", **labels: str) -> dict[str, Any]:
    """Make one element of a body."""
    ended = "0001-01-01T00:00:00Z" if firing else "2026-11-20T09:30:00Z"
    return {
        "status": "firing" if firing else "resolved",
        "labels": {"alertname": name, **labels},
        "annotations": {"summary": f"{name} is on fire"},
        "startsAt": started,
        "endsAt": ended,
        "generatorURL": "",
        "fingerprint": "",
    }


def body(*alerts: dict[str, Any], key: str = "{}:{}", truncated: int = 0, status: str = "firing") -> dict[str, Any]:
    """Make one version 4 body."""
    return {
        "version": "4", "groupKey": key, "truncatedAlerts": truncated, "status": status, "receiver": "responder",
        "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "http://am:9093",
        "alerts": list(alerts),
    }  # fmt: skip
