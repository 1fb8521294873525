"""Prometheus as a tool: odd answers from a server of the test, and one question to a real binary where there is one."""

import asyncio
import json
import math
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from pydantic import SecretStr, ValidationError

from responder.errors import TransientError
from responder.integrations.prometheus import Settings, open_prometheus, plugin
from responder.ports import Surroundings, Tool
from responder.turns import ToolResult

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
BINARY = shutil.which("prometheus")
Json = dict[str, Any]


class StillClock:
    """A clock that stands, or one that tells the real time."""

    def __init__(self, at: datetime | None = NOW) -> None:
        """Stand at a time; None is now."""
        self._at = at

    def now(self) -> datetime:
        """The time."""
        return self._at or datetime.now(UTC)

    def monotonic(self) -> float:
        """Nothing passes."""
        return 0.0

    async def sleep(self, seconds: float) -> None:
        """At once."""


class NoIds:
    """Nothing here is random."""

    def token(self) -> str:
        """One word."""
        return "t"

    def fraction(self) -> float:
        """One number."""
        return 0.0


class Server:
    """Answers every path alike, and remembers what was asked."""

    def __init__(self, answer: web.Response | str | Json) -> None:
        """Keep the answer."""
        self.answer, self.asked = answer, list[tuple[str, str, Mapping[str, str], Mapping[str, str]]]()
        self.url = ""

    async def serve(self, request: web.Request) -> web.Response:
        """Say it."""
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.asked.append((request.method, request.path, form or dict(request.query), dict(request.headers)))
        if isinstance(self.answer, web.Response):
            return self.answer
        text = self.answer if isinstance(self.answer, str) else json.dumps(self.answer)
        return web.Response(text=text, content_type="application/json")


@asynccontextmanager
async def serving(answer: Any, **more: Any) -> AsyncIterator[tuple[Server, dict[str, Tool]]]:
    """A server with this answer, and the tools over it."""
    server = Server(answer)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.serve)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/prefix/"
    try:
        async with open_prometheus(Settings(url=server.url, **more), Surroundings(StillClock(), NoIds())) as tools:
            yield server, {tool.spec.name: tool for tool in tools}
    finally:
        await runner.cleanup()


async def ask(answer: Any, tool: str = "query", *, settings: Json | None = None, **args: Any) -> ToolResult:
    """Ask one tool of a server with this answer."""
    if tool.startswith("query"):
        args.setdefault("query", "up")
    async with serving(answer, **(settings or {})) as (_, tools):
        return await tools[f"prometheus.{tool}"].call(args)


def success(kind: str, result: Any, **more: Any) -> Json:
    """An answer of the query API."""
    return {"status": "success", "data": {"resultType": kind, "result": result}, **more}


def vector(*values: str) -> Json:
    """An instant answer with these values."""
    series = [{"metric": {"__name__": "up", "job": str(n)}, "value": [1795166042.781, v]} for n, v in enumerate(values)]
    return success("vector", series)


def matrix(*values: float) -> Json:
    """A range answer of one series, a point a minute."""
    points = [[1795165742 + 60 * n, str(value)] for n, value in enumerate(values)]
    return success("matrix", [{"metric": {"job": "a"}, "values": points}])


async def test_one_series_is_its_value() -> None:
    result = await ask(vector("0.25"))
    assert result == ToolResult("ok", 'up{job="0"} 0.25', 0.25)


async def test_two_series_have_no_one_value() -> None:
    result = await ask(vector("1", "2"))
    assert (result.outcome, result.value) == ("ok", None)
    assert result.text == 'up{job="0"} 1\nup{job="1"} 2'


async def test_no_series_is_no_data() -> None:
    assert (await ask(success("vector", []))).outcome == "no_data"
    assert (await ask(success("matrix", []), "query_range")).outcome == "no_data"


@pytest.mark.parametrize(("text", "shown"), [("NaN", "nan"), ("+Inf", "inf"), ("-Inf", "-inf"), ("1e+00", "1")])
async def test_numbers_that_are_none_are_shown_as_they_are(text: str, shown: str) -> None:
    result = await ask(vector(text))
    assert result.text.endswith(shown)
    assert result.value is not None
    assert math.isnan(result.value) is (text == "NaN")


async def test_a_scalar_and_a_string_are_read() -> None:
    assert (await ask(success("scalar", [1795166042.781, "3"]))).value == 3.0
    assert (await ask(success("string", [1795166042.781, "words"]))).text == "words"


async def test_a_native_histogram_is_its_average() -> None:
    histogram = {"count": "60", "sum": "33", "buckets": [[0, "0.5", "1", "26"]]}
    result = await ask(success("vector", [{"metric": {"job": "nh"}, "histogram": [1795165742, histogram]}]))
    assert result.value == pytest.approx(0.55)
    assert "count 60, sum 33" in result.text


async def test_a_recorded_range_with_infinities_and_histograms_is_read() -> None:
    series = [
        {"metric": {"job": "checkout"}, "values": [[1795165742, "0.01"], [1795165802, "+Inf"]]},
        {"metric": {"job": "nh"}, "histograms": [[1795165742, {"count": "60", "sum": "33.1", "buckets": []}]]},
    ]
    text = (await ask(success("matrix", series), "query_range")).text
    assert "1 not finite" in text
    assert "average of a histogram" in text


async def test_a_series_is_summed_up_with_the_time_of_its_step() -> None:
    result = await ask(matrix(*[1.0, 1.1] * 5, *[9.0, 9.1] * 5), "query_range", minutes=20)
    assert "first 1, last 9.1, min 1 at" in result.text
    assert "steps from about 1.05 to about 9.05 at 2026-11-20 09:19:02Z" in result.text
    assert result.value == 9.1


@pytest.mark.parametrize("values", [[5.0] * 20, [1.0, 9.0] * 10, [1.0, 2.0], [1e308, -1e308] * 5])
async def test_a_series_without_a_step_has_no_hint(values: list[float]) -> None:
    assert "steps from" not in (await ask(matrix(*values), "query_range")).text


async def test_many_series_are_counted_not_shown() -> None:
    text = (await ask(vector(*map(str, range(60))))).text
    assert "… 10 more series" in text
    assert len(text.splitlines()) == 51


async def test_warnings_and_infos_are_shown() -> None:
    result = await ask({**vector("1"), "warnings": ["slow"], "infos": ["not a counter"]})
    assert result.text.splitlines()[1:] == ["warning: slow", "info: not a counter"]


@pytest.mark.parametrize("status", [400, 422])
async def test_a_wrong_question_is_refused_in_the_servers_words(status: int) -> None:
    body = {"status": "error", "errorType": "bad_data", "error": "exceeded maximum resolution\x1b[2J"}
    result = await ask(web.json_response(body, status=status))
    assert result.outcome == "refused"
    assert "bad_data: exceeded maximum resolution" in result.text
    assert "\x1b" not in result.text


@pytest.mark.parametrize(
    "answer",
    [
        web.Response(status=503, text='{"status":"error","errorType":"timeout","error":"slow"}'),
        web.Response(status=500, text="oops"),
        web.Response(status=429),
        web.Response(status=401, text="no"),
        web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"}),
        web.Response(text="<html>", content_type="text/html"),
        web.Response(body=b"\x1f\x8b\x08", headers={"Content-Encoding": "gzip"}),
        "",
        "null",
        "[]",
        "[" * 100_000,
        {"status": "error", "error": "in 200"},
        {"status": "success"},
        {"status": "success", "data": []},
        success("vector", None),
        success("vector", [{"metric": None, "value": [0, "1"]}]),
        success("vector", [{"metric": {}, "value": "x"}]),
        success("scalar", []),
    ],
    ids=str,
)
async def test_an_answer_that_is_none_is_out_of_reach(answer: Any) -> None:
    with pytest.raises(TransientError):
        await ask(answer)


async def test_nobody_listening_is_out_of_reach() -> None:
    async with open_prometheus(Settings(url="http://127.0.0.1:1"), Surroundings(StillClock(), NoIds())) as tools:
        for tool in tools:
            with pytest.raises(TransientError):
                await tool.call({"query": "up"})


async def test_a_large_answer_is_refused_before_it_is_read() -> None:
    result = await ask(vector(*["1"] * 100), settings={"max_bytes": 1000})
    assert result.outcome == "refused"
    assert "larger than 1000 bytes" in result.text


async def test_the_question_is_a_form_with_a_step_of_at_most_300_points() -> None:
    async with serving(matrix(1.0), headers={"X-Scope-OrgID": SecretStr("t1")}) as (server, tools):
        await tools["prometheus.query_range"].call({"query": "up", "minutes": 600})
    method, path, form, headers = server.asked[0]
    assert (method, path) == ("POST", "/prefix/api/v1/query_range")
    points = (float(form["end"]) - float(form["start"])) / float(form["step"]) + 1
    assert 250 < points <= 300
    assert (headers["X-Scope-OrgID"], headers["Accept-Encoding"]) == ("t1", "identity")


@pytest.mark.parametrize("minutes", [0, -5, 1e9, 0.001])
async def test_odd_spans_are_brought_into_reason(minutes: float) -> None:
    async with serving(matrix(1.0)) as (server, tools):
        await tools["prometheus.query_range"].call({"query": "up", "minutes": minutes})
    form = server.asked[0][2]
    assert 60 <= float(form["end"]) - float(form["start"]) <= 10_080 * 60


async def test_alerts_are_listed_firing_first_and_counted() -> None:
    listed = [
        {"labels": {"alertname": "B", "x": 'a"\n'}, "annotations": {}, "state": "pending", "value": "1e+00"},
        {
            "labels": {"alertname": "A"},
            "annotations": {"summary": "s"},
            "state": "firing",
            "value": "2",
            "activeAt": "t",
        },
    ]
    result = await ask({"status": "success", "data": {"alerts": listed}}, "alerts")
    assert result.value == 2.0
    assert result.text.splitlines() == [
        "firing A{} value 2 since t: s",
        'pending B{x="a\\"\\n"} value 1 since ',
    ]


async def test_rules_are_found_by_a_part_of_their_text() -> None:
    rules = [
        {"type": "alerting", "name": "ErrorRateHigh", "state": "firing", "query": "job:err > 0.05", "duration": 600,
         "health": "err", "lastError": "twins", "alerts": [{}]},
        {"type": "alerting", "name": "DiskFull", "state": "inactive", "query": "disk > 1"},
        {"type": "recording", "name": "job:err", "query": "x", "health": "ok"},
    ]  # fmt: skip
    answer = {"status": "success", "data": {"groups": [{"name": "checkout", "rules": rules}]}}
    result = await ask(answer, "rules", filter="ERROR")
    told = "firing ErrorRateHigh (group checkout, 1 active, for 600 s, health err): job:err > 0.05; last error: twins"
    assert result.text == told
    assert (await ask(answer, "rules", filter="nothing")).outcome == "no_data"


def test_a_misspelt_setting_stops_the_start() -> None:
    with pytest.raises(ValidationError):
        plugin.settings.model_validate({"uri": "http://x"})


@pytest.mark.skipif(BINARY is None, reason="no prometheus binary on this machine")
async def test_a_real_prometheus_is_understood(tmp_path: Path, unused_tcp_port: int) -> None:
    assert BINARY is not None
    config = tmp_path / "prometheus.yml"
    config.write_text("global: {scrape_interval: 1s}\n")
    url = f"http://127.0.0.1:{unused_tcp_port}"
    arguments = [f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'data'}"]
    arguments.append(f"--web.listen-address=127.0.0.1:{unused_tcp_port}")
    process = await asyncio.create_subprocess_exec(BINARY, *arguments, stderr=asyncio.subprocess.DEVNULL)
    try:
        await _until_ready(f"{url}/-/ready")
        around = Surroundings(StillClock(None), NoIds())
        async with open_prometheus(Settings(url=url), around) as tools:
            named = {tool.spec.name.partition(".")[2]: tool for tool in tools}
            assert (await named["query"].call({"query": "vector(42)"})).value == 42.0
            assert (await named["query"].call({"query": "sum("})).outcome == "refused"
            assert (await named["query"].call({"query": "nothing_here"})).outcome == "no_data"
            spans = await named["query_range"].call({"query": "vector(1)", "minutes": 600})
            assert (spans.outcome, spans.value) == ("ok", 1.0)
            assert (await named["alerts"].call({})).outcome == "no_data"
            assert (await named["rules"].call({})).outcome == "no_data"
    finally:
        process.terminate()
        await process.wait()


async def _until_ready(url: str) -> None:
    async with asyncio.timeout(30), ClientSession() as http:
        while True:
            try:
                async with http.get(url) as response:
                    if response.status == 200:
                        return
            except OSError:
                pass
            await asyncio.sleep(0.05)
