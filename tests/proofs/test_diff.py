"""100,000 stored alerts are decided by two rule sets in seconds, and the daemon takes in bodies as if nothing were."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import sys
import time
from pathlib import Path

import aiohttp
import pytest

from responder.store.sqlite import files
from tests.daemon import Daemon, alert, body, daemon

ALERTS = 100_000
WITHIN_S, PER_S, P99_MS = 20.0, 100, 100.0
NAMES = ("KubePodNotReady", "ApiDown", "HighErrorRate", "NodeDown", "PostgresqlDown", "Unheard", "RedisDown")
SHIPPED = Path(__file__).parents[2] / "rules"


def fill(path: Path, now: float) -> None:
    """Write a month of ended alerts into a new database, each with labels as kube-prometheus sends them."""
    files.prepare(path)
    with sqlite3.connect(path) as connection:
        columns = "id, identity, source, labels, annotations, firing, started_at, ended_at, received_at, generator_url"
        sql = f"INSERT INTO episode ({columns}) VALUES (?,?,?,?,?,0,?,?,?,'')"
        connection.executemany(sql, (row(n, now) for n in range(ALERTS)))
    connection.close()


def row(n: int, now: float) -> tuple[object, ...]:
    name = NAMES[n % len(NAMES)]
    labels = {"alertname": name, "cluster": "eu1", "namespace": f"shop-{n % 40}", "severity": "warning"}
    labels["pod"] = f"cart-{n:06d}"
    said = {
        "summary": f"{name} is on fire",
        "description": "It has been in a non-ready state for over 15 minutes. " * 3,
    }
    began = now - 86_400 * 29 + n * 20
    return n + 1, f"{n:032x}", "alertmanager", json.dumps(labels), json.dumps(said), began, began + 900, began + 900


async def post_steadily(one: Daemon, stop: asyncio.Event) -> list[float]:
    """Post bodies of new alerts, 100 a second; give what each took in milliseconds."""
    took: list[float] = []
    async with aiohttp.ClientSession() as http:

        async def post(n: int) -> None:
            raw = json.dumps(body(alert("KubePodNotReady", pod=f"fresh-{n}"), key=f"k{n % 50}")).encode()
            began = time.perf_counter()
            async with http.post(f"{one.url}/webhooks/alertmanager", data=raw) as answer:
                assert answer.status == 202
            took.append((time.perf_counter() - began) * 1000)

        began, sent, tasks = time.perf_counter(), 0, []
        while not stop.is_set():
            while sent < (time.perf_counter() - began) * PER_S:
                tasks.append(asyncio.create_task(post(sent)))
                sent += 1
            await asyncio.sleep(0.002)
        await asyncio.gather(*tasks)
    return took


def p99(took: list[float]) -> float:
    return sorted(took)[int(len(took) * 0.99)]


@pytest.mark.slow
async def test_a_month_of_alerts_is_compared_while_bodies_come_in(tmp_path: Path) -> None:
    new = tmp_path / "new"
    shutil.copytree(SHIPPED, new)
    mine = "rules: [{name: mine, match: ['alertname=HighErrorRate'], severity: P1}]"
    (new / "00-mine.yaml").write_text(mine, "utf-8")
    fill(tmp_path / "responder.db", time.time())  # the command asks for the last 30 days
    async with daemon(tmp_path, store=f"sqlite:{tmp_path / 'responder.db'}") as one:
        quiet_stop = asyncio.Event()
        quietly = asyncio.create_task(post_steadily(one, quiet_stop))
        await asyncio.sleep(3)
        quiet_stop.set()
        before = await quietly
        stop = asyncio.Event()
        posting = asyncio.create_task(post_steadily(one, stop))
        began = time.perf_counter()
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "responder", "rules", "diff", str(SHIPPED), str(new), "--since", "30d", "--json",
            "--config", str(one.config), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await child.communicate()
        took_s = time.perf_counter() - began
        stop.set()
        during = await posting
        ledger = await one.settled()
    assert child.returncode == 0, err.decode()
    told = json.loads(out)
    assert told["alerts"] >= ALERTS
    assert told["changed"] > 0
    assert took_s < WITHIN_S, took_s
    assert p99(during) < P99_MS, (p99(before), p99(during))
    assert ledger["unaccounted"] == 0
