"""Prometheus (and what speaks its API) as tools that read: query, query_range, alerts, rules.

Source: https://prometheus.io/docs/prometheus/latest/querying/api/ (3.14).
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar
from pydantic import BaseModel, Field, SecretStr

from responder.errors import TransientError
from responder.integrations.prometheus import answers
from responder.ports import Clock, Plugin, Surroundings, Tool
from responder.turns import ToolResult, ToolSpec

MAX_POINTS = 300  # of one series; more than 11 000 are a 400
LEAST_STEP_S, MAX_MINUTES = 5, 10_080
OK, REFUSED, SERVER_ERROR = 200, (400, 422), 500
TOO_MANY_REQUESTS = 429

Json = dict[str, Any]


class Settings(BaseModel, frozen=True, extra="forbid"):
    """Where it is and what to send along (`Authorization`, `X-Scope-OrgID`). The environment's proxy is not used."""

    url: str
    headers: Mapping[str, SecretStr] = {}
    timeout_s: float = Field(default=15.0, gt=0)
    max_bytes: int = Field(default=5 << 20, gt=0)  # of one answer


@dataclass(slots=True)
class PrometheusTool:
    """One tool: what it is, and the function that does it."""

    spec: ToolSpec
    do: Callable[[Mapping[str, Any]], Awaitable[ToolResult]]

    async def call(self, args: Mapping[str, Any]) -> ToolResult:
        """Ask. Raises: TransientError: out of reach, too slow, or an answer that is none."""
        return await self.do(args)


class Refused(Exception):
    """Prometheus, or we, say no: the question is wrong. The message is for the one who asked."""


class Prometheus:
    """One server."""

    def __init__(self, settings: Settings, http: ClientSession, clock: Clock) -> None:
        """Speak over a session that has its headers and its deadline."""
        self._base, self._max_bytes = settings.url.rstrip("/") + "/api/v1/", settings.max_bytes
        self._timeout_s = settings.timeout_s
        self._http, self._clock = http, clock

    async def query(self, args: Mapping[str, Any]) -> ToolResult:
        """Ask for the values of an expression at one time."""
        form = {"query": str(args["query"]), "timeout": f"{self._timeout_s:g}s"}
        if args.get("time"):
            form["time"] = str(args["time"])
        return await self._asked("POST", "query", form, answers.instant)

    async def query_range(self, args: Mapping[str, Any]) -> ToolResult:
        """Ask how an expression went over the last minutes; each series comes back as its summary."""
        minutes = min(max(float(args.get("minutes") or 60), 1.0), MAX_MINUTES)
        step_s = max(LEAST_STEP_S, math.ceil(minutes * 60 / (MAX_POINTS - 1)))
        end = self._clock.now().timestamp()
        form = {
            "query": str(args["query"]),
            "start": f"{end - minutes * 60:.3f}",
            "end": f"{end:.3f}",
            "step": str(step_s),
            "timeout": f"{self._timeout_s:g}s",
        }
        return await self._asked("POST", "query_range", form, lambda data: answers.over_time(data, minutes, step_s))

    async def alerts(self, args: Mapping[str, Any]) -> ToolResult:
        """Ask which alerts fire or are pending, as Prometheus itself sees it."""
        return await self._asked("GET", "alerts", {}, lambda data: answers.alerts(data, str(args.get("filter") or "")))

    async def rules(self, args: Mapping[str, Any]) -> ToolResult:
        """Ask for alerting rules: their expressions, states and errors."""
        wanted = str(args.get("filter") or "")
        return await self._asked("GET", "rules", {"type": "alert"}, lambda data: answers.rules(data, wanted))

    async def _asked(
        self, method: str, path: str, form: Mapping[str, str], read: Callable[[Any], ToolResult]
    ) -> ToolResult:
        try:
            answer = await self._answer(method, path, form)
            result = read(answer.get("data"))
        except Refused as refusal:
            return ToolResult("refused", str(refusal))
        except (TypeError, ValueError, AttributeError, KeyError, IndexError) as error:
            raise TransientError(f"prometheus: {path}: the answer is not of its API") from error
        notes = [*answers.notes_of(answer.get("warnings"), "warning"), *answers.notes_of(answer.get("infos"), "info")]
        return ToolResult(result.outcome, "\n".join([result.text, *notes]), result.value)

    async def _answer(self, method: str, path: str, form: Mapping[str, str]) -> Json:
        """Give the JSON of an answer. Raises: Refused, TransientError."""
        data, params = (form, None) if method == "POST" else (None, form)
        url = self._base + path
        try:
            async with self._http.request(method, url, data=data, params=params, allow_redirects=False) as response:
                body = await self._read(response.content.iter_chunked(1 << 16), path)
                status, encoding = response.status, response.headers.get("Content-Encoding", "identity")
        except (ClientError, OSError, TimeoutError, ValueError) as error:
            raise TransientError(f"prometheus: {path}: cannot be reached ({type(error).__name__})") from error
        if status >= SERVER_ERROR or status == TOO_MANY_REQUESTS or encoding != "identity":
            raise TransientError(f"prometheus: {path}: HTTP {status}{answers.said_by(body)}")
        if status in REFUSED:
            raise Refused(f"Prometheus refuses the question{answers.said_by(body) or f' (HTTP {status})'}")
        found = answers.parsed(body)
        if status != OK or found.get("status") != "success":
            raise TransientError(f"prometheus: {path}: HTTP {status}{answers.said_by(body)}")
        return found

    async def _read(self, chunks: AsyncIterator[bytes], path: str) -> bytes:
        """Read at most `max_bytes`: nothing is unpacked, so these are the bytes that memory must hold."""
        body = bytearray()
        async for chunk in chunks:
            body += chunk
            if len(body) > self._max_bytes:
                limit = f"{self._max_bytes >> 20} MiB" if self._max_bytes >> 20 else f"{self._max_bytes} bytes"
                raise Refused(f"The answer to {path} is larger than {limit}; aggregate, or match fewer series.")
        return bytes(body)


def _schema(required: Sequence[str] = (), **properties: Json) -> Json:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


_QUERY = {"type": "string", "description": "PromQL"}
_FILTER = {"type": "string", "description": "only what contains this text, in any case"}


def tools_of(server: Prometheus, timeout_s: float) -> list[Tool]:
    """Give the four tools over one server."""

    def spec(name: str, description: str, schema: Json) -> ToolSpec:
        return ToolSpec(f"prometheus.{name}", description, schema, timeout_s + 1)

    at = {"type": "string", "description": "RFC 3339 or Unix seconds; now when left out"}
    minutes = {"type": "number", "description": f"how far back, at most {MAX_MINUTES}; 60 when left out"}
    return [
        PrometheusTool(
            spec("query", "Values of a PromQL expression now or at a time.", _schema(["query"], query=_QUERY, time=at)),
            server.query,
        ),
        PrometheusTool(
            spec(
                "query_range",
                "How a PromQL expression went over the last minutes: for each series first, last, min, max, average,"
                " and when it stepped.",
                _schema(["query"], query=_QUERY, minutes=minutes),
            ),
            server.query_range,
        ),
        PrometheusTool(
            spec("alerts", "Alerts that fire or are pending in Prometheus.", _schema(filter=_FILTER)), server.alerts
        ),
        PrometheusTool(
            spec("rules", "Alerting rules: expression, state, health.", _schema(filter=_FILTER)), server.rules
        ),
    ]


@asynccontextmanager
async def open_prometheus(settings: Settings, around: Surroundings) -> AsyncIterator[Sequence[Tool]]:
    """Open one HTTP session for all tools; close it at exit."""
    headers = {"Accept-Encoding": "identity", "Accept": "application/json"}  # unpacked bytes could not be capped
    headers |= {name: value.get_secret_value() for name, value in settings.headers.items()}
    timeout = ClientTimeout(total=settings.timeout_s, connect=min(5.0, settings.timeout_s))
    async with ClientSession(
        timeout=timeout, headers=headers, trust_env=False, cookie_jar=DummyCookieJar(), auto_decompress=False
    ) as http:
        yield tools_of(Prometheus(settings, http, around.clock), settings.timeout_s)


plugin = Plugin(Settings, tools=open_prometheus)
