"""The webhook door: judge the headers, read the body under its caps, make it durable (T1), answer 202. Nothing else.

What the senders do with an answer decides it: Alertmanager retries 5xx only, so overload and a failing store are 503
and never 429; the content of an authenticated body is never refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import orjson
import structlog
from aiohttp import web

from responder.errors import StoreError, TransientError
from responder.metrics import Metrics
from responder.model import identify
from responder.ports import Clock, Ids, Receiver, Store
from responder.web.guard import DEADLINE_S

MAX_IN_FLIGHT = 64 << 20  # bytes of bodies being read at once
PATH = "/webhooks/"
CHALLENGE = 'Bearer, Basic realm="responder"'  # some show a password only when they are asked for it
RETRY_AFTER = {"Retry-After": "5"}
WRONG = "are refused: secret or signature is wrong"
log = structlog.stdlib.get_logger("door")


class Door:
    """`POST /webhooks/<receiver>`."""

    def __init__(
        self, receivers: Mapping[str, Receiver], store: Store, clock: Clock, ids: Ids, metrics: Metrics,
        knocked: Callable[[str, str, str], None] = lambda _receiver, _method, _agent: None,
    ) -> None:  # fmt: skip
        """Keep what one request needs; `knocked` is told (receiver, method, agent) of requests by a wrong method."""
        self._knocked = knocked
        self._receivers, self._store = receivers, store
        self._clock, self._ids, self._metrics = clock, ids, metrics
        self._in_flight = 0
        self._oversized: set[tuple[str, str]] = set()
        self._alarmed: set[str] = set()  # receivers whose refused webhooks we have paged for
        self._proved: set[str] = set()  # receivers that have had a genuine one since we started
        self.closing = False

    async def routed(self, request: web.Request) -> web.Response:
        """Take a webhook that came by the application's routes: one that asked first whether it may."""
        return await self.post(request, request.match_info["receiver"])

    async def post(self, request: web.BaseRequest, name: str) -> web.Response:
        """Take one webhook; `name` is the receiver as the path has it."""
        receiver = self._receivers.get(name)
        if receiver is None:
            return _say(404, f"no receiver {name[:40]!r}; known: {', '.join(sorted(self._receivers))}")
        if request.method not in receiver.methods:
            allowed = ", ".join(receiver.methods)
            self._knocked(name, request.method, request.headers.get("User-Agent", ""))
            return self._answer(name, "method", _say(405, f"{allowed} only", {"Allow": allowed}))
        if receiver.unready:
            log.error("webhook not taken", receiver=name, sender=request.remote, reason=receiver.unready)
            await self._refused(request, name, receiver, f"are not taken: {receiver.unready}")
            return self._answer(name, "unready", _say(503, receiver.unready, RETRY_AFTER))
        if not receiver.authorize(request.headers):
            log.warning("webhook refused: wrong or missing token", receiver=name, sender=request.remote)
            await self._refused(request, name, receiver, WRONG)
            return self._answer(
                name, "unauthorized", _say(401, "wrong or missing token", {"WWW-Authenticate": CHALLENGE})
            )
        if self.closing:
            return self._answer(name, "closing", _say(503, "stopping", RETRY_AFTER))
        return await self._take(request, name, receiver)

    async def _take(self, request: web.BaseRequest, name: str, receiver: Receiver) -> web.Response:
        size = request.content_length
        if size is not None and size > receiver.max_bytes:
            return await self._too_large(request, name, receiver, size)
        whole = size is not None and "Content-Encoding" not in request.headers
        reserved = size if whole and size is not None else receiver.max_bytes
        if self._in_flight + reserved > MAX_IN_FLIGHT:
            return self._answer(name, "overload", _say(503, "too many bodies at once", RETRY_AFTER))
        self._in_flight += reserved
        try:
            if whole and request.content.is_eof():  # it came with its headers, as nearly all do: no clock to set
                body = request.content.read_nowait()
            else:
                async with asyncio.timeout(DEADLINE_S):
                    body = await _read(request, receiver.max_bytes)
        except web.HTTPRequestEntityTooLarge:
            return await self._too_large(request, name, receiver, receiver.max_bytes)
        except (TimeoutError, web.RequestPayloadError, ConnectionError) as error:
            return self._answer(name, *_not_read(error))
        finally:
            self._in_flight -= reserved
        return await self._verified(request, name, receiver, body)

    async def _verified(self, request: web.BaseRequest, name: str, receiver: Receiver, body: bytes) -> web.Response:
        try:
            genuine = await receiver.verify(request.headers, body)
        except TransientError as error:
            log.error("webhook not verified", receiver=name, sender=request.remote, error=str(error))
            return self._answer(name, "unready", _say(503, "cannot be verified now; try again", RETRY_AFTER))
        if not genuine:
            log.warning("webhook refused: the signature does not match", receiver=name, sender=request.remote)
            await self._refused(request, name, receiver, WRONG)
            return self._answer(name, "forbidden", _say(403, "signature does not match"))
        return await self._accept(request, name, receiver, body)

    async def _accept(self, request: web.BaseRequest, name: str, receiver: Receiver, body: bytes) -> web.Response:
        delivery = request.headers.get(receiver.id_header, "")[:200]
        webhook_id = ascii(delivery)[1:-1]  # stray bytes no database would hold
        request_id = self._ids.token()
        try:
            new = await self._store.accept(
                name, body, at=self._clock.now(), request_id=request_id, webhook_id=webhook_id
            )
        except StoreError as error:
            log.error("webhook not stored", receiver=name, error=str(error), request=request_id)
            return self._answer(name, "store", _say(503, "not stored; try again", RETRY_AFTER))
        self._metrics.webhook(name, "accepted" if new else "duplicate")
        if receiver.alarms and (name in self._alarmed or name not in self._proved):
            await self._good_again(name)
        return web.Response(status=202, body=b'{"status":"accepted"}\n', content_type="application/json")

    async def _too_large(self, request: web.BaseRequest, name: str, receiver: Receiver, size: int) -> web.Response:
        """Refuse the body, and page that this sender's alerts do not arrive; once a sender, until we restart."""
        who = (name, request.remote or "")
        if who not in self._oversized:
            labels = {"alertname": "OversizedBody", "receiver": name, "sender": who[1]}
            most = f"{receiver.max_bytes >> 20} MiB" if receiver.max_bytes >> 20 else f"{receiver.max_bytes >> 10} KiB"
            summary = f"{who[1]} sends bodies over {most} to {name}; its alerts do not arrive"
            if await self._say_of_ourselves(labels, {"summary": summary, "size_bytes": str(size)}):
                self._oversized.add(who)
        response = _say(413, f"larger than {receiver.max_bytes} bytes")
        response.force_close()
        return self._answer(name, "too_large", response)

    async def _refused(self, request: web.BaseRequest, name: str, receiver: Receiver, why: str) -> None:
        """Page at the first refusal of a sender that gives up after a few: PagerDuty is off for a day after three."""
        if not receiver.alarms or name in self._alarmed:
            return
        summary = f"{name}'s webhooks {why}; its alerts do not arrive"
        if await self._say_of_ourselves(
            _refusal(name), {"summary": summary, "description": f"The first came from {request.remote}."}
        ):
            self._alarmed.add(name)

    async def _good_again(self, name: str) -> None:
        """A genuine webhook has come: end the alert about the refused ones, also one from before we were restarted."""
        self._proved.add(name)
        if name not in self._alarmed and not await self._alarm_stands(name):
            return
        if await self._say_of_ourselves(_refusal(name), {}, resolved=True):
            self._alarmed.discard(name)

    async def _alarm_stands(self, name: str) -> bool:
        identity = identify("responder", _refusal(name))
        try:
            found = (await self._store.episodes([identity])).get(identity)
        except StoreError as error:
            log.error("whether webhooks were refused is not known", receiver=name, error=str(error))
            return False
        return found is not None and found.firing

    async def _say_of_ourselves(
        self, labels: Mapping[str, str], annotations: Mapping[str, str], *, resolved: bool = False
    ) -> bool:
        body = orjson.dumps({"alerts": [{"labels": labels, "annotations": annotations, "resolved": resolved}]})
        try:
            await self._store.accept(
                "responder", body, at=self._clock.now(), request_id=self._ids.token(), webhook_id=""
            )
        except StoreError as error:
            log.error("our own alert is not recorded", alert=labels["alertname"], error=str(error))
            return False
        return True

    def _answer(self, receiver: str, outcome: str, response: web.Response) -> web.Response:
        self._metrics.webhook(receiver, outcome)
        return response


def _refusal(receiver: str) -> dict[str, str]:
    return {"alertname": "WebhookRefused", "receiver": receiver}


def _not_read(error: Exception) -> tuple[str, web.Response]:
    """Answer for a body that came too slowly, is not packed as it says, or whose sender has gone."""
    if isinstance(error, TimeoutError):
        return "timeout", _say(408, f"the body did not arrive within {DEADLINE_S:.0f} s")
    return "broken", _say(400, "the body is broken or incomplete")


async def _read(request: web.BaseRequest, max_bytes: int) -> bytes:
    """Read a body whose size nobody has said, or that unpacks to more. Raises: HTTPRequestEntityTooLarge."""
    parts, size = [], 0
    async for part in request.content.iter_any():
        size += len(part)
        if size > max_bytes:
            raise web.HTTPRequestEntityTooLarge(max_bytes, size)
        parts.append(part)
    return b"".join(parts)


def _say(status: int, text: str, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(status=status, text=text + "\n", headers=headers)
