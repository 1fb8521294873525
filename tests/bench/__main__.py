"""Runs each measurement and prints a table; `--json FILE` keeps it, `--rounds` and `--seconds` size the bursts."""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import selectors
import shutil
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import aiohttp
from aiohttp import web
from rich.console import Console
from rich.table import Table

from responder.app import SystemClock
from responder.doubles.slack import SlackDouble
from responder.engine import Ctx, carry
from responder.model import Done, Incident, Move, Severity, Status
from responder.store.sqlite import open_sqlite
from tests.bench.classify import classify
from tests.daemon import Daemon, daemon, free_port

CONNECTIONS = 32
ALERTS = 12


def storm_body() -> dict[str, Any]:
    """A 6 kB body of 12 alerts, as kube-prometheus sends them."""
    alerts = [
        {
            "status": "firing",
            "labels": {
                "alertname": "KubePodNotReady", "cluster": "eu1", "namespace": "shop", "pod": f"cart-{n:05d}",
                "job": "kube-state-metrics", "severity": "warning", "team": "payments",
            },
            "annotations": {
                "summary": "A pod is not ready.",
                "description": f"Pod shop/cart-{n:05d} has been in a non-ready state for longer than 15 minutes.",
            },
            "startsAt": "2026-11-20T09:13:30.123Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://prometheus:9090/graph?g0.expr=x&g0.tab=1",
            "fingerprint": f"{n:016x}",
        }
        for n in range(ALERTS)
    ]  # fmt: skip
    return {
        "version": "4", "groupKey": '{}:{alertname="KubePodNotReady"}', "truncatedAlerts": 0, "status": "firing",
        "receiver": "responder", "groupLabels": {"alertname": "KubePodNotReady"}, "commonLabels": {},
        "commonAnnotations": {}, "externalURL": "http://alertmanager:9093", "alerts": alerts,
    }  # fmt: skip


def hammer(url: str, body: bytes, seconds: float, results: Any) -> None:
    """Post one body over 32 connections for some seconds, in a process of its own; give all latencies.

    Bare sockets and one selector: on two cores a client that works hard would measure itself.
    """
    host, _, port = url.split("/")[2].partition(":")
    kind = f"Content-Type: application/json\r\nContent-Length: {len(body)}"
    request = f"POST /{url.split('/', 3)[3]} HTTP/1.1\r\nHost: {host}:{port}\r\n{kind}\r\n\r\n".encode() + body
    clock, took = time.perf_counter, []
    ready = selectors.DefaultSelector()
    began: dict[socket.socket, float] = {}
    until = clock() + seconds
    for _ in range(CONNECTIONS):
        each = socket.create_connection((host, int(port)))
        ready.register(each, selectors.EVENT_READ)
        began[each] = clock()
        each.sendall(request)
    while began:
        for key, _ in ready.select():
            each = cast("socket.socket", key.fileobj)
            answer = each.recv(65536)
            while not answered(answer):
                answer += each.recv(65536)
            now = clock()
            took.append(now - began[each])
            if now < until:
                began[each] = now
                each.sendall(request)
            else:
                ready.unregister(each)
                each.close()
                del began[each]
    results.put(took)


def answered(answer: bytes) -> bool:
    """Whether a whole answer is there. Raises: AssertionError: it is not a 2xx."""
    head, ended, rest = answer.partition(b"\r\n\r\n")
    if not ended:
        return False
    assert head[9:10] == b"2", head[:200]
    at = head.lower().find(b"content-length:")
    return len(rest) >= (int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0)


async def load(url: str, body: bytes, seconds: float) -> dict[str, float]:
    """Run `hammer` and sum it up: requests/s, p50 and p99 in milliseconds."""
    results: Any = multiprocessing.Queue()
    child = multiprocessing.Process(target=hammer, args=(url, body, seconds, results))
    child.start()
    took = sorted(await asyncio.to_thread(results.get))
    child.join()
    p50, p99 = took[len(took) // 2], took[int(len(took) * 0.99)]
    return {"per_s": len(took) / seconds, "p50_ms": p50 * 1000, "p99_ms": p99 * 1000, "max_ms": took[-1] * 1000}


def parse_only(port: int) -> None:
    """An aiohttp handler that only parses the body: what any Python receiver costs at least."""

    async def post(request: web.Request) -> web.Response:
        found = json.loads(await request.read())
        return web.json_response({"alerts": len(found["alerts"])}, status=202)

    app = web.Application()
    app.router.add_post("/webhooks/alertmanager", post)
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=None)


async def up(url: str) -> None:
    """Wait until an address answers anything."""
    async with aiohttp.ClientSession() as http, asyncio.timeout(20):
        while True:
            try:
                async with http.get(url):
                    return
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)


async def beside_parse_only(seconds: float) -> dict[str, float]:
    """Measure the handler that only parses."""
    port = free_port()
    child = multiprocessing.Process(target=parse_only, args=(port,))
    child.start()
    try:
        await up(f"http://127.0.0.1:{port}/")
        return await load(f"http://127.0.0.1:{port}/webhooks/alertmanager", json.dumps(storm_body()).encode(), seconds)
    finally:
        child.terminate()
        child.join()


async def beside_alertmanager(seconds: float) -> dict[str, float] | None:
    """Measure Debian's Alertmanager taking the same alerts; None where it is not installed."""
    binary = shutil.which("prometheus-alertmanager")
    if binary is None:
        return None
    keep = ("labels", "annotations", "startsAt", "generatorURL")
    alerts = [{key: alert[key] for key in keep} for alert in storm_body()["alerts"]]
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "am.yml")
        config.write_text("route: {receiver: none}\nreceivers: [{name: none}]\n", "utf-8")
        child = await asyncio.create_subprocess_exec(
            binary, f"--config.file={config}", f"--storage.path={folder}/data", "--cluster.listen-address=",
            f"--web.listen-address=127.0.0.1:{port}", stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            await up(f"http://127.0.0.1:{port}/-/ready")
            return await load(f"http://127.0.0.1:{port}/api/v2/alerts", json.dumps(alerts).encode(), seconds)
        finally:
            child.terminate()
            await child.wait()


@asynccontextmanager
async def ours() -> AsyncIterator[tuple[Daemon, SlackDouble]]:
    """Run the real daemon with the Slack double."""
    with tempfile.TemporaryDirectory() as folder:
        async with SlackDouble(auto_create_channels=True) as slack:
            chat = {"slack": {"bot_token": "xoxb-test", "channel": "#incidents", "base_url": slack.base_url}}
            async with daemon(Path(folder), chat=chat) as one:
                yield one, slack


def p0() -> dict[str, Any]:
    """One alert that is a complete outage."""
    labels = {"alertname": "CompleteOutage", "severity": "P0", "service": "shop"}
    alert = {"status": "firing", "labels": labels, "annotations": {"summary": "Nothing works"}}
    times = {"startsAt": datetime.now(UTC).isoformat(), "endsAt": "0001-01-01T00:00:00Z"}
    return {"version": "4", "groupKey": "outage", "alerts": [alert | times], "truncatedAlerts": 0}


async def burst(seconds: float) -> dict[str, float]:
    """Measure a burst with the pipeline working, and how soon a P0 posted right behind it is in Slack."""
    async with ours() as (one, slack):
        found = await load(f"{one.url}/webhooks/alertmanager", json.dumps(storm_body()).encode(), seconds)
        began = time.perf_counter()
        assert await one.post(p0()) == 202
        async with asyncio.timeout(30):
            while not any("Nothing works" in json.dumps(head) for head, _ in slack.threads()):
                await asyncio.sleep(0.01)
        found["p0_in_slack_s"] = time.perf_counter() - began
        ledger = await one.settled(120)
        found["unaccounted"] = ledger["unaccounted"]
        found["rss_mb"] = rss_mb(one)
        return found


async def steady(seconds: float, per_s: int = 200) -> dict[str, float]:
    """Post 200 bodies/s for a minute; the inbox must never be two seconds behind."""
    body = json.dumps(storm_body()).encode()
    async with ours() as (one, _), aiohttp.ClientSession() as http:

        async def post() -> int:
            async with http.post(f"{one.url}/webhooks/alertmanager", data=body) as answer:
                await answer.read()
                return answer.status

        ages, tasks, began, sent = [], [], time.perf_counter(), 0
        while (passed := time.perf_counter() - began) < seconds:
            while sent < passed * per_s:
                tasks.append(asyncio.create_task(post()))
                sent += 1
            if sent % per_s < per_s // 50:
                ages.append(await one.metric("responder_inbox_age_seconds"))
            await asyncio.sleep(0.005)
        statuses = await asyncio.gather(*tasks)
        ledger = await one.settled(60)
        return {
            "bodies": float(len(statuses)),
            "refused": float(sum(status != 202 for status in statuses)),
            "entries_missing": float(ALERTS * len(statuses) - ledger["entries"]),
            "unaccounted": float(ledger["unaccounted"]),
            "inbox_age_max_s": max(ages, default=0.0),
        }


async def step_overhead(steps: int = 2000) -> dict[str, float]:
    """Measure what a journaled step costs over calling its function, one run after the other step."""
    clock = SystemClock()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "steps.db")
        async with open_sqlite(path, clock, chats=(), on_commit=lambda _: None, on_broken=lambda _: None) as store:
            now = clock.now()
            incident = Incident(0, 1, "g", Severity.P3, Status.DETECTING, "t", "r", "default", "", now)
            await store.commit(Move(opened=[incident], runs=[("g", "bench", 1)]))
            [run] = await store.due_runs(clock.now(), 1)

            async def body(ctx: Ctx) -> object:
                for n in range(steps):
                    await ctx.step(f"s{n}", nothing)
                return None

            began = time.perf_counter()
            await carry(run, body, store, clock)
            return {"step_us": (time.perf_counter() - began) / steps * 1e6}


async def nothing() -> Done:
    """A step that does nothing."""
    return Done(value=1)


async def start_time() -> dict[str, float]:
    """Measure from exec until /readyz, five times, and the memory of an idle daemon."""
    took, rss = [], 0.0
    for _ in range(5):
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            async with daemon(Path(folder)) as one:
                took.append(time.perf_counter() - began)
                rss = rss_mb(one)
    return {"start_s": statistics.median(took), "rss_idle_mb": rss}


def rss_mb(one: Daemon) -> float:
    """Resident memory of the daemon."""
    assert one.process is not None
    for line in Path(f"/proc/{one.process.pid}/status").read_text("ascii").splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


async def side_by_side(seconds: float, rounds: int) -> dict[str, Any]:
    """Load the three in turn, several times over, and give medians: what else the machine does falls on all of them."""
    seen: dict[str, list[dict[str, float]]] = {"parse_only": [], "responder": [], "alertmanager": []}
    for number in range(rounds):
        sys.stderr.write(f"burst {number + 1} of {rounds} ...\n")
        seen["parse_only"].append(await beside_parse_only(seconds))
        seen["responder"].append(await burst(seconds))
        if other := await beside_alertmanager(seconds):
            seen["alertmanager"].append(other)

    def ratio(figure: str, other: str) -> float:
        pairs = zip(seen["responder"], seen[other], strict=True)
        return statistics.median(mine[figure] / theirs[figure] for mine, theirs in pairs)

    found: dict[str, Any] = {
        name: {key: statistics.median(each[key] for each in figures) for key in figures[0]}
        for name, figures in seen.items()
        if figures
    }
    found["ratio_to_parse_only"] = ratio("per_s", "parse_only")
    if seen["alertmanager"]:
        found["ratio_to_alertmanager"] = ratio("per_s", "alertmanager")
        found["p99_to_alertmanager"] = ratio("p99_ms", "alertmanager")
    return found


def jobs(parsed: argparse.Namespace) -> dict[str, Callable[[], Awaitable[Any]]]:
    """Name what can be measured, in the order in which it is."""
    return {
        "burst": lambda: side_by_side(parsed.seconds, parsed.rounds),
        "steady": lambda: steady(parsed.minute),
        "step": step_overhead,
        "start": start_time,
        "classify": lambda: asyncio.to_thread(classify),
    }


async def measure(wanted: Mapping[str, Callable[[], Awaitable[Any]]]) -> dict[str, Any]:
    """Run what is wanted in one go, so that the ratios are of one machine in one state."""
    found: dict[str, Any] = {}
    for name, job in wanted.items():
        sys.stderr.write(f"{name} ...\n")
        figures = await job()
        found |= figures if name == "burst" else {name: figures}
    return found


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", help="burst, steady, step, start, classify (default: all)")
    parser.add_argument("--seconds", type=float, default=6.0, help="how long each burst lasts")
    parser.add_argument("--rounds", type=int, default=3, help="how often the three are measured in turn")
    parser.add_argument("--minute", type=float, default=60.0)
    parser.add_argument("--json", type=Path)
    parsed = parser.parse_args()
    known = jobs(parsed)
    if unknown := set(parsed.what) - set(known):
        parser.error(f"nothing is called {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    found = asyncio.run(measure({name: job for name, job in known.items() if not parsed.what or name in parsed.what}))
    table = Table("what", "figure", "value")
    for name, values in found.items():
        for key, value in (values if isinstance(values, dict) else {"": values}).items():
            table.add_row(name, key, f"{value:,.3f}" if isinstance(value, float) else str(value))
    Console().print(table)
    if parsed.json:
        parsed.json.write_text(json.dumps(found, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
