"""Coverage of a live Prometheus: page by page, with its token and no other's, and plain words where none answers."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from responder.cli import run

BINARY = shutil.which("prometheus")
NAMES = ("KubePodCrashLooping", "Zzz", "HighErrorRate")
RULES = """
groups:
  - name: one
    rules:
      - {alert: KubePodCrashLooping, expr: up == 0, labels: {severity: warning, team: "{{ $labels.team }}"}}
      - {record: "job:up", expr: sum(up)}
  - name: two
    rules:
      - {alert: Zzz, expr: up == 1}
      - {alert: HighErrorRate, expr: vector(1), labels: {severity: critical}}
"""


class Server:
    """A Prometheus of one rule a group and one group a page; it notes what it was asked."""

    def __init__(self) -> None:
        self.seen: list[tuple[dict[str, str], str]] = []
        self.answer: Any = None

    async def rules(self, request: web.Request) -> web.Response:
        self.seen.append((dict(request.query), request.headers.get("Authorization", "")))
        if self.answer is not None:
            return web.Response(**self.answer)
        at = int(request.query.get("group_next_token", "0"))
        rule = {"name": NAMES[at], "labels": {}, "annotations": {}, "type": "alerting"}
        data: dict[str, Any] = {"groups": [{"name": f"g{at}", "file": "f.yml", "rules": [rule, {"type": "recording"}]}]}
        if at + 1 < len(NAMES):
            data["groupNextToken"] = str(at + 1)
        return web.json_response({"status": "success", "data": data})


@asynccontextmanager
async def serving(port: int) -> AsyncIterator[Server]:
    server, app = Server(), web.Application()
    app.router.add_get("/api/v1/rules", server.rules)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield server
    finally:
        await runner.cleanup()


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in an empty folder."""
    monkeypatch.chdir(tmp_path)


async def covered(*arguments: str) -> int:
    return await asyncio.to_thread(run, ["rules", "coverage", *arguments, "--json"])


async def test_all_pages_are_read_in_order(unused_tcp_port: int, capsys: pytest.CaptureFixture[str]) -> None:
    async with serving(unused_tcp_port) as server:
        assert await covered(f"http://127.0.0.1:{unused_tcp_port}/", "--token", "secret") == 0
    told = json.loads(capsys.readouterr().out)
    assert [(each["alert"], each["group"], each["matched_by"]) for each in told["alerts"]] == [
        ("KubePodCrashLooping", "g0", "rule"), ("Zzz", "g1", "backstop"), ("HighErrorRate", "g2", "rule"),
    ]  # fmt: skip
    assert {token for _, token in server.seen} == {"Bearer secret"}
    assert server.seen[0][0]["type"] == "alert"


async def test_the_configured_headers_go_to_the_configured_server_only(unused_tcp_port: int) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}"
    async with serving(unused_tcp_port) as server:
        for configured, sent in ((url, "Bearer ours"), ("http://elsewhere:9090", "")):
            tools = {"prometheus": {"url": configured, "headers": {"Authorization": "Bearer ours"}}}
            Path("responder.yaml").write_text(f"tools: {json.dumps(tools)}\n", "utf-8")
            server.seen.clear()
            assert await covered(url) == 0
            assert {token for _, token in server.seen} == {sent}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"status": 401}, "give --token"),
        ({"status": 302, "headers": {"Location": "/login"}}, "redirects to /login"),
        ({"text": "<html>hello"}, "not an answer of Prometheus: <html>hello"),
        ({"text": '{"status": "success", "data": []}'}, "not an answer of Prometheus"),
    ],
    ids=["refused", "redirected", "a page", "another answer"],
)
async def test_what_does_not_answer_as_prometheus_is_told(
    answer: dict[str, Any], said: str, unused_tcp_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(unused_tcp_port) as server:
        server.answer = answer
        assert await covered(f"http://127.0.0.1:{unused_tcp_port}") == 1
    assert said in capsys.readouterr().err


def test_who_does_not_answer_is_told_in_plain_words(unused_tcp_port: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["rules", "coverage", f"http://127.0.0.1:{unused_tcp_port}"]) == 1
    assert "cannot be reached (Connect" in capsys.readouterr().err


@pytest.mark.skipif(BINARY is None, reason="no prometheus binary on this machine")
async def test_a_real_prometheus_is_covered(unused_tcp_port: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert BINARY is not None
    url = f"http://127.0.0.1:{unused_tcp_port}"
    Path("rules.yml").write_text(RULES, "utf-8")
    Path("prometheus.yml").write_text("rule_files: [rules.yml]\n", "utf-8")
    process = await asyncio.create_subprocess_exec(
        BINARY, "--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address={url[7:]}",
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with aiohttp.ClientSession() as http, asyncio.timeout(30):
            while not await _ready(http, url):
                await asyncio.sleep(0.05)
        assert await covered(url) == 0
    finally:
        process.terminate()
        await process.wait()
    told = json.loads(capsys.readouterr().out)
    assert [(each["alert"], each["severity"], each["rule"]) for each in told["alerts"]] == [
        ("KubePodCrashLooping", "P2", "crash-loop"), ("Zzz", "P2", "backstop"), ("HighErrorRate", "P1", "error-rate"),
    ]  # fmt: skip
    assert told["alerts"][0]["file"].endswith("rules.yml")


async def _ready(http: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with http.get(f"{url}/api/v1/rules") as answer:
            return len((await answer.json())["data"]["groups"]) == 2
    except (aiohttp.ClientError, KeyError, ValueError):
        return False
