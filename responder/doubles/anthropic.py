"""Anthropic's Messages API on loopback: refuses what the real one refuses, says what the script says.

As a process: `python -m responder.doubles.anthropic --port N --turns FILE.json` prints its base URL; `GET /_state`
gives every request as JSON, `POST /_script` takes `{"turns": ..., "default": {...}}` and starts that script,
`POST /_reset` forgets the requests. FILE.json holds a list of turns, or `{words: list}`, or `{words: {"0": turn}}`.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from responder.doubles.anthropic_checks import (
    MAX_BODY_BYTES,
    check_count,
    check_create,
    check_thinking_kept,
    estimate_tokens,
    thinking_of,
)
from responder.doubles.anthropic_models import CATALOGUE, find_model
from responder.doubles.anthropic_tools import ApiRefusal, refuse
from responder.doubles.anthropic_turns import (
    DRY,
    ERROR_TYPES,
    OK,
    Json,
    Prompter,
    Script,
    Turn,
    Wire,
    error_body,
    events,
    script_from_json,
)
from responder.doubles.serving import LoopbackServer, is_gone, reset, serve_until_stopped

__all__ = ["AnthropicDouble", "Received", "Turn"]

VERSION = "2026-10-21"
MESSAGES = "/v1/messages"
SECRET_HEADERS = ("authorization", "x-api-key")


@dataclass
class Received:
    """One request as it arrived, and what came of it; status 0: no answer was begun."""

    method: str
    path: str
    body: Json
    headers: Mapping[str, str]
    at_monotonic_s: float
    at_wall_s: float
    status: int = 0
    answer: Json = field(default_factory=dict)

    @property
    def is_paid(self) -> bool:
        """Whether a turn of the model was served."""
        return self.path == MESSAGES and self.status == OK

    def canonical(self) -> str:
        """The body, written so that equal bodies are equal texts."""
        return json.dumps(self.body, sort_keys=True)


class AnthropicDouble(LoopbackServer):
    """The Messages API with a scripted model behind it."""

    def __init__(
        self,
        *,
        api_key: str = "sk-test",
        turns: Script = (),
        default: Turn = DRY,
        port: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare a model that says `turns`, and `default` when they run dry."""
        super().__init__(port)
        self._api_key, self._clock = api_key, clock
        self._prompter = Prompter(turns, default)
        self._wire = Wire()
        self._thinking: dict[str, list[Json]] = {}
        self.requests: list[Received] = []

    # What tests look at and do.

    @property
    def paid(self) -> list[Received]:
        """The requests that a turn of the model answered."""
        return [request for request in self.requests if request.is_paid]

    def repeated(self) -> list[Received]:
        """Paid requests whose body had been paid before: empty when no turn was paid twice."""
        seen: set[str] = set()
        again = []
        for request in self.paid:
            if request.canonical() in seen:
                again.append(request)
            seen.add(request.canonical())
        return again

    def script(self, turns: Script, default: Turn = DRY) -> None:
        """Start another script."""
        self._prompter = Prompter(turns, default)

    def state(self) -> Json:
        """Everything, ready for JSON."""
        requests = [asdict(request) | {"paid": request.is_paid} for request in self.requests]
        return {"requests": requests, "paid": len(self.paid), "repeated": len(self.repeated())}

    # The server.

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """The API and the test's own doors."""
        return [
            web.get("/_state", self._get_state),
            web.post("/_script", self._post_script),
            web.post("/_reset", self._post_reset),
            web.route("*", "/{path:.*}", self._serve),
        ]

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        received = Received(
            method=request.method,
            path=request.path,
            body={},
            headers={name: value for name, value in request.headers.items() if name.lower() not in SECRET_HEADERS},
            at_monotonic_s=self._clock(),
            at_wall_s=datetime.now(UTC).timestamp(),
        )
        self.requests.append(received)
        try:
            return await self._answer(request, received)
        except ApiRefusal as refusal:
            return self._send_error(received, refusal)

    async def _answer(self, request: web.Request, received: Received) -> web.StreamResponse:
        self._check_headers(request)
        if request.method == "POST":
            received.body = await _read_body(request)
        match request.method, request.path.strip("/").split("/"):
            case "POST", ["v1", "messages"]:
                return await self._create(request, received)
            case "POST", ["v1", "messages", "count_tokens"]:
                check_count(received.body, request.headers.get("anthropic-beta", ""))
                return self._send(received, {"input_tokens": estimate_tokens(received.body)})
            case "GET", ["v1", "models"]:
                return self._send(received, _model_page(request))
            case "GET", ["v1", "models", model_id]:
                return self._send(received, _model(model_id))
        raise ApiRefusal(404, "not_found_error", f"Not found: {request.path}")

    def _check_headers(self, request: web.Request) -> None:
        if request.headers.get("Authorization") != f"Bearer {self._api_key}":
            raise ApiRefusal(401, "authentication_error", "invalid bearer token")
        version = request.headers.get("anthropic-version")
        if version is None:
            raise refuse("anthropic-version: header is required")
        if version != VERSION:
            raise refuse(f"anthropic-version: this double speaks {VERSION} only, not {version}")

    async def _create(self, request: web.Request, received: Received) -> web.StreamResponse:
        body = received.body
        check_create(body, request.headers.get("anthropic-beta", ""))
        check_thinking_kept(body["messages"], self._thinking)
        turn = self._prompter.next_turn(body) if body["max_tokens"] else Turn(stop_reason="max_tokens")
        if turn.delay_s:
            await self.linger(turn.delay_s)
        if is_gone(request):
            return reset(request)
        if turn.html is not None:
            received.status = turn.status
            return web.Response(status=turn.status, text=turn.html, content_type="text/html", headers=turn.headers)
        if turn.status != OK:
            error = turn.error or ERROR_TYPES.get(turn.status, "api_error")
            refusal = ApiRefusal(turn.status, error, turn.message, turn.error_code)
            return self._send_error(received, refusal, turn.headers)
        return await self._speak(request, received, turn)

    async def _speak(self, request: web.Request, received: Received, turn: Turn) -> web.StreamResponse:
        message = turn.raw or self._wire.message(turn, received.body["model"])
        thinking = thinking_of(message.get("content"))
        for block in message.get("content") or ():
            if block.get("type") == "tool_use":
                self._thinking[str(block.get("id"))] = thinking
        if received.body.get("stream"):
            return await self._stream(request, received, message, turn)
        if turn.stream_cut == "reset":
            return reset(request)
        return self._send(received, message, turn.headers)

    async def _stream(self, request: web.Request, received: Received, message: Json, turn: Turn) -> web.StreamResponse:
        headers = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
        response = web.StreamResponse(headers={**headers, "request-id": self._wire.new_id("req"), **turn.headers})
        received.status, received.answer = OK, message
        await response.prepare(request)
        for event in _cut(list(events(message)), turn.stream_cut):
            await response.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
        if turn.stream_cut == "reset":
            return reset(request)
        await response.write_eof()
        return response

    def _send(self, received: Received, answer: Json, headers: Mapping[str, str] | None = None) -> web.Response:
        received.status, received.answer = OK, answer
        return web.json_response(answer, headers={"request-id": self._wire.new_id("req"), **(headers or {})})

    def _send_error(
        self, received: Received, refusal: ApiRefusal, headers: Mapping[str, str] | None = None
    ) -> web.Response:
        request_id = self._wire.new_id("req")
        received.status = refusal.status
        received.answer = error_body(refusal.error, refusal.message, request_id, refusal.error_code)
        sent = {"request-id": request_id, **(headers or {})}
        return web.json_response(received.answer, status=refusal.status, headers=sent)

    async def _get_state(self, request: web.Request) -> web.Response:
        return web.json_response(self.state())

    async def _post_script(self, request: web.Request) -> web.Response:
        wanted = await request.json()
        default = Turn.from_json(wanted["default"]) if "default" in wanted else DRY
        self.script(script_from_json(wanted.get("turns", [])), default)
        return web.json_response({"ok": True})

    async def _post_reset(self, request: web.Request) -> web.Response:
        self.requests.clear()
        return web.json_response({"ok": True})


def _cut(whole: list[Json], cut: str | None) -> list[Json]:
    """The events that are sent: all, or those before the stream breaks in its last third."""
    if cut is None:
        return whole
    begun = whole[:-2]
    if cut == "error_event":
        return [*begun, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}]
    return begun


async def _read_body(request: web.Request) -> Json:
    raw = await request.read()
    if len(raw) > MAX_BODY_BYTES:
        raise ApiRefusal(413, "invalid_request_error", "Request exceeds the maximum size")
    try:
        body = json.loads(raw)
    except ValueError:
        raise refuse("The request body is not valid JSON") from None
    if not isinstance(body, dict):
        raise refuse("The request body must be an object")
    return body


def _model(model_id: str) -> Json:
    found = find_model(model_id)
    if found is None:
        raise ApiRefusal(404, "not_found_error", f"model: {model_id}")
    return found


def _model_page(request: web.Request) -> Json:
    ids = list(CATALOGUE)
    start = ids.index(request.query["after_id"]) + 1 if request.query.get("after_id") in ids else 0
    limit = int(request.query.get("limit", "20"))
    page = [CATALOGUE[each] for each in ids[start : start + limit]]
    ends = {"first_id": page[0]["id"] if page else None, "last_id": page[-1]["id"] if page else None}
    return {"data": page, "has_more": len(ids) > start + limit, **ends}


async def _serve_turns(args: argparse.Namespace) -> None:
    turns: Any = json.loads(args.turns.read_text()) if args.turns is not None else []
    await serve_until_stopped(AnthropicDouble(api_key=args.api_key, turns=script_from_json(turns), port=args.port))


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--api-key", default="sk-test")
    parser.add_argument("--turns", type=Path, help="the script, as JSON")
    asyncio.run(_serve_turns(parser.parse_args()))


if __name__ == "__main__":
    main()
