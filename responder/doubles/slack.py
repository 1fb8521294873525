"""Slack's Web API on loopback, as strict as the real one, scriptable where the real one fails.

As a process: `python -m responder.doubles.slack --port N` prints its base URL; `GET /_state` gives everything as JSON,
`POST /_script` takes `{"method": "chat.postMessage", "faults": [{"status": 429, "retry_after": 30}]}`, `POST /_reset`
forgets all calls, messages and faults.
"""

import argparse
import asyncio
import json
import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

from responder.doubles.serving import LoopbackServer, is_gone, reset, serve_until_stopped
from responder.doubles.slack_checks import SlackRefusal, live_markup
from responder.doubles.slack_methods import METHODS, unknown_method
from responder.doubles.slack_store import APP_ID, DEFAULT_CHANNELS, Edit, Message, Store, now_s

__all__ = ["REAL_LIMITS", "Call", "Edit", "Fault", "Limit", "SlackDouble", "live_markup"]

JSON_PARAMS = ("attachments", "blocks", "files", "metadata", "view")
BAD_JSON = {"blocks": "invalid_blocks_format", "metadata": "invalid_metadata_format"}
OK, TOO_MANY_REQUESTS = 200, 429
LINK_METHOD = "apps.connections.open"


@dataclass(frozen=True)
class Fault:
    """What goes wrong with the next calls of a method.

    Attributes:
        stored: the call takes effect, although its answer is lost or late.
        hang_s: the answer is held back so long; without `stored` the call takes effect only after it, if at all.
        channel: only calls to this channel fail; by id or name.
    """

    status: int = OK
    retry_after: float | None = None
    times: int = 1
    channel: str | None = None
    ok_false: str | None = None
    hang_s: float = 0.0
    reset: bool = False
    stored: bool = False
    html: bool = False


@dataclass(frozen=True)
class Limit:
    """How often a method may be called: `per_s` on the long run, `burst` at once; beyond it is 429.

    Attributes:
        per_channel: each channel has its own, else they share one.
        retry_after: what a refusal says, in seconds; None = until the next call would pass.
    """

    method: str
    per_s: float
    burst: int = 1
    per_channel: bool = False
    retry_after: float | None = None


# As Slack's documents have it: about one message a second and channel with short bursts, Tier 3 for edits.
REAL_LIMITS = (
    Limit("chat.postMessage", 1.0, burst=5, per_channel=True),
    Limit("chat.postMessage", 5.0, burst=30),
    Limit("chat.update", 50 / 60, burst=20),
)


@dataclass(frozen=True)
class Answer:
    """What was answered; status 0 stands for no answer at all."""

    status: int
    body: dict[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Call:
    """One call as it arrived, and what came of it."""

    method: str
    params: dict[str, Any]
    http_method: str
    at_monotonic_s: float
    at_wall_s: float
    answer: Answer | None = None

    @property
    def ok(self) -> bool:
        """Whether the caller got `ok: true`."""
        return self.answer is not None and self.answer.body.get("ok") is True


class SlackDouble(LoopbackServer):
    """One Slack workspace behind a real server."""

    def __init__(
        self,
        *,
        token: str = "xoxb-test",
        app_token: str = "xapp-test",
        port: int = 0,
        channels: Mapping[str, str] | None = None,
        auto_create_channels: bool = False,
        per_channel_per_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = now_s,
    ) -> None:
        """Prepare a workspace.

        Args: channels: id -> name; per_channel_per_s: posts that a channel takes in a second before it answers 429.
        """
        super().__init__(port)
        self._tokens = {"bot": token, "app": app_token}
        self._opening = dict(DEFAULT_CHANNELS if channels is None else channels)
        self._auto_create = auto_create_channels
        self._per_channel_per_s = per_channel_per_s
        self._limits: tuple[Limit, ...] = ()
        self._clock, self._wall = clock, wall
        self._sockets: set[web.WebSocketResponse] = set()
        self.forget()

    def forget(self) -> None:
        """Start again with empty channels, no calls and no faults."""
        self.calls: list[Call] = []
        self.frames: list[Any] = []
        self.store = Store(auto_create_channels=self._auto_create, wall=self._wall)
        self.store.add_channels(self._opening)
        self._faults: dict[str, list[Fault]] = {}
        self._posts: dict[str, deque[float]] = {}
        self._tokens_left: dict[tuple[Limit, str], tuple[float, float]] = {}  # (tokens, when)

    # What tests look at.

    @property
    def base_url(self) -> str:
        """What `AsyncWebClient` takes as `base_url`."""
        return f"{self.origin}/api/"

    @property
    def edits(self) -> list[Edit]:
        """Every update and deletion, in order."""
        return self.store.edits

    def messages(self, channel: str) -> list[Message]:
        """A channel's messages with metadata, oldest first, replies included; the channel by id or name."""
        return list(self.store.messages(self.store.channel_by_any_name(channel).id).values())

    def threads(self) -> list[tuple[Message, list[Message]]]:
        """Every head of every channel with its replies, oldest first."""
        found = []
        for channel_id, messages in self.store.by_channel.items():
            heads = [each for each in messages.values() if each.get("thread_ts", each["ts"]) == each["ts"]]
            found += [(head, self.store.replies(channel_id, head["ts"])) for head in heads]
        return found

    def called(self, method: str) -> list[Call]:
        """The calls of one method, in order."""
        return [call for call in self.calls if call.method == method]

    def state(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        threads = [{"head": head, "replies": replies} for head, replies in self.threads()]
        return {
            "calls": [asdict(call) for call in self.calls],
            "channels": [channel.body() for channel in self.store.channels.values()],
            "messages": {each: list(messages.values()) for each, messages in self.store.by_channel.items()},
            "threads": threads,
            "edits": [asdict(edit) for edit in self.edits],
            "ephemerals": self.store.ephemerals,
            "files": [{"id": each.id, "name": each.name, "shared": each.shared} for each in self.store.files.values()],
            "views": self.store.views,
            "frames": self.frames,
        }

    # What tests do.

    def script(self, method: str, *faults: Fault) -> None:
        """Let the next calls of a method fail, in that order; `*` stands for every method."""
        self._faults.setdefault(method, []).extend(faults)

    def limit(self, *limits: Limit) -> None:
        """Answer 429 to what goes beyond these limits from now on, as `REAL_LIMITS`."""
        self._limits = limits

    def say(self, channel: str, text: str, *, user: str = "U0ANA00001", thread_ts: str | None = None) -> str:
        """Post as a person; returns the `ts`."""
        message: Message = {"type": "message", "user": user, "text": text}
        if thread_ts is not None:
            message["thread_ts"] = thread_ts
        return str(self.store.add(self.store.channel_by_any_name(channel).id, message)["ts"])

    def trigger(self) -> str:
        """A fresh `trigger_id` for `views.open`."""
        trigger_id = f"{len(self.store.triggers) + 1}.456.abcdef"
        self.store.triggers[trigger_id] = False
        return trigger_id

    # The server.

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """The Web API, the upload host, the Socket Mode host and the test's own doors."""
        return [
            web.route("*", "/api/{method}", self._call),
            web.post("/upload/v1/{file_id}", self._upload),
            web.get("/link", self._link),
            web.get("/_state", self._get_state),
            web.post("/_script", self._post_script),
            web.post("/_reset", self._post_reset),
        ]

    async def release(self) -> None:
        """Close the Socket Mode connections."""
        for socket in list(self._sockets):
            await socket.close()

    async def _call(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"]
        params, unreadable = await _read_params(request)
        call = Call(method, params, request.method, self._clock(), self._wall())
        self.calls.append(call)
        fault = self._next_fault(call)
        if unreadable is not None:
            return _send(call, Answer(OK, unreadable.body()))
        if fault is None:
            return _send(call, self._process(request, call))
        return await self._fail(request, call, fault)

    def _next_fault(self, call: Call) -> Fault | None:
        for name in (call.method, "*"):
            faults = self._faults.get(name, [])
            for index, fault in enumerate(faults):
                if fault.channel is None or self._is_channel(fault.channel, call.params.get("channel")):
                    faults[index : index + 1] = [replace(fault, times=fault.times - 1)] if fault.times > 1 else []
                    return fault
        return None

    def _is_channel(self, wanted: str, sent: object) -> bool:
        names = [[each.id, each.name, f"#{each.name}"] for each in self.store.channels.values()]
        return sent == wanted or any(sent in each and wanted in each for each in names)

    async def _fail(self, request: web.Request, call: Call, fault: Fault) -> web.StreamResponse:
        answer = self._process(request, call) if fault.stored else None
        if fault.hang_s:
            await self.linger(fault.hang_s)
        if fault.reset or is_gone(request):
            call.answer = Answer(0)
            return reset(request)
        if fault.html:
            call.answer = Answer(fault.status)
            return web.Response(status=fault.status, text="<html>Bad Gateway</html>", content_type="text/html")
        if fault.ok_false is not None:
            return _send(call, Answer(OK, SlackRefusal(fault.ok_false).body()))
        if fault.status == TOO_MANY_REQUESTS:
            return _send(call, _rate_limited(fault.retry_after))
        if fault.status != OK:
            call.answer = Answer(fault.status)
            return web.Response(status=fault.status, text="server error")
        return _send(call, answer or self._process(request, call))

    def _process(self, request: web.Request, call: Call) -> Answer:
        try:
            method = METHODS.get(call.method, unknown_method)
            self._check_token(request, call)
            wait_s = self._wait_s(call)
            if wait_s:
                return _rate_limited(wait_s)
            limit = self._over(call)
            if limit is not None:
                return _rate_limited(limit.retry_after or 1 / limit.per_s)
            body: dict[str, Any] = {"ok": True, **method(self.store, call.params)}
        except SlackRefusal as refusal:
            return Answer(OK, refusal.body())
        if "upload_url" in body:
            body["upload_url"] = self.origin + body["upload_url"]
        if call.method == LINK_METHOD:
            body["url"] = self.origin.replace("http", "ws", 1) + body["url"]
        # A copy as it was sent: what is stored goes on changing.
        return Answer(OK, json.loads(json.dumps(body)))

    def _check_token(self, request: web.Request, call: Call) -> None:
        kind, _, given = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "bearer":
            given = str(call.params.get("token") or "")
        if not given:
            raise SlackRefusal("not_authed")
        wanted = "app" if call.method == LINK_METHOD else "bot"
        if given != self._tokens[wanted]:
            raise SlackRefusal("not_allowed_token_type" if given in self._tokens.values() else "invalid_auth")

    def _wait_s(self, call: Call) -> float:
        if self._per_channel_per_s is None or call.method != "chat.postMessage":
            return 0.0
        most, span_s = max(1, int(self._per_channel_per_s)), max(1.0, 1 / self._per_channel_per_s)
        channel = self.store.channel_by_any_name(call.params.get("channel"))
        posts = self._posts.setdefault(channel.id, deque())
        while posts and posts[0] <= call.at_monotonic_s - span_s:
            posts.popleft()
        if len(posts) >= most:
            return posts[0] + span_s - call.at_monotonic_s
        posts.append(call.at_monotonic_s)
        return 0.0

    def _over(self, call: Call) -> Limit | None:
        """Give the limit that a call exceeds; one that is let pass is counted."""
        found: dict[tuple[Limit, str], float] = {}
        for limit in self._limits:
            if limit.method == call.method:
                wanted = call.params.get("channel")
                key = (limit, self.store.channel_by_any_name(wanted).id if limit.per_channel else "")
                left, when = self._tokens_left.get(key, (float(limit.burst), call.at_monotonic_s))
                found[key] = min(limit.burst, left + (call.at_monotonic_s - when) * limit.per_s)
        over = next((limit for (limit, _), left in found.items() if left < 1), None)
        for key, left in found.items():
            self._tokens_left[key] = (left if over else left - 1, call.at_monotonic_s)
        return over

    async def _upload(self, request: web.Request) -> web.Response:
        upload = self.store.files.get(request.match_info["file_id"])
        content = await request.read()
        if upload is None or len(content) != upload.size_bytes:
            return web.Response(status=400, text="bad upload")
        upload.content = content
        return web.Response(text=f"OK - {len(content)}")

    async def _link(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self._sockets.add(socket)
        hello = {"type": "hello", "num_connections": len(self._sockets), "connection_info": {"app_id": APP_ID}}
        await socket.send_json({**hello, "debug_info": {"host": "applink-1"}})
        async for message in socket:
            if message.type == WSMsgType.TEXT:
                self.frames.append(json.loads(message.data))
        self._sockets.discard(socket)
        return socket

    async def _get_state(self, request: web.Request) -> web.Response:
        return web.json_response(self.state())

    async def _post_script(self, request: web.Request) -> web.Response:
        wanted = await request.json()
        for each in wanted if isinstance(wanted, list) else [wanted]:
            self.script(each["method"], *(Fault(**fault) for fault in each["faults"]))
        return web.json_response({"ok": True})

    async def _post_reset(self, request: web.Request) -> web.Response:
        self.forget()
        return web.json_response({"ok": True})


def _rate_limited(retry_after_s: float | None) -> Answer:
    headers = {} if retry_after_s is None else {"Retry-After": str(math.ceil(retry_after_s))}
    return Answer(TOO_MANY_REQUESTS, {"ok": False, "error": "ratelimited"}, headers)


def _send(call: Call, answer: Answer) -> web.Response:
    call.answer = answer
    return web.json_response(answer.body, status=answer.status, headers=answer.headers)


async def _read_params(request: web.Request) -> tuple[dict[str, Any], SlackRefusal | None]:
    """The parameters of the query and of the body, and why the body could not be read."""
    params: dict[str, Any] = dict(request.query)
    try:
        if request.content_type == "application/json":
            params.update(_json_object(await request.text()))
        else:
            params.update(await request.post())
        for name in JSON_PARAMS:
            if isinstance(params.get(name), str):
                params[name] = _decoded(name, params[name])
    except SlackRefusal as refusal:
        return params, refusal
    return params, None


def _json_object(text: str) -> dict[str, Any]:
    try:
        body = json.loads(text or "{}")
    except ValueError:
        raise SlackRefusal("invalid_json") from None
    if not isinstance(body, dict):
        raise SlackRefusal("json_not_object")
    return body


def _decoded(name: str, text: str) -> Any:
    try:
        return json.loads(text) if text else None
    except ValueError:
        raise SlackRefusal(BAD_JSON.get(name, "invalid_arguments")) from None


async def _serve(args: argparse.Namespace) -> None:
    double = SlackDouble(
        token=args.token,
        port=args.port,
        auto_create_channels=not args.only_known_channels,
        per_channel_per_s=args.per_channel_per_s,
    )
    await serve_until_stopped(double)
    if args.dump is not None:
        args.dump.write_text(json.dumps(double.state(), indent=1))


def main() -> None:
    """Serve until SIGTERM; `--dump` writes the state at the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--token", default="xoxb-test")
    parser.add_argument("--dump", type=Path, help="where to write the state at exit, as JSON")
    parser.add_argument("--only-known-channels", action="store_true", help="do not open an unknown #name on first use")
    parser.add_argument("--per-channel-per-s", type=float, default=None)
    asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
