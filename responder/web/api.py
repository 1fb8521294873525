"""The JSON API: incidents, and what a person may do to them. Bearer tokens; without any it serves this machine only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from hmac import compare_digest
from typing import Any, Protocol

import orjson
from aiohttp import web

from responder.config import Api, Token
from responder.errors import StoreError
from responder.metrics import unaccounted
from responder.model import Severity, Status
from responder.ports import Store
from responder.record import brief_json, full_json, ledger_json, listed_json, number
from responder.workers.people import People
from responder.workers.reload import Outcome

MAX_PAGE = 200
MAX_ALERTS = 1000  # a page of stored alerts: about a megabyte
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
LOCAL_HOSTS = ("127.0.0.1", "localhost", "[::1]")
LOCAL_PERSON = "someone on this machine"
LOCAL_MAY = ("read", "ack")
MAX_MISTAKES = 200  # named in one answer
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Reloads(Protocol):
    """Takes the files on disk into force."""

    async def reload(self, why: str) -> Outcome: ...


class IncidentApi:
    """`/api/...` and `/-/reload`. A refusal is JSON `{"error": text}` that says what to do."""

    def __init__(
        self, store: Store, people: People, api: Api, metrics: Any, reloads: Reloads,
        senders: Callable[[], dict[str, Any]] = dict,
    ) -> None:  # fmt: skip
        """Keep the parts; `senders` gives what is known of who sends alerts."""
        self._senders = senders
        self._store, self._people, self._api, self._metrics = store, people, api, metrics
        self._reloads = reloads

    def routes(self) -> list[web.RouteDef]:
        """Give the routes."""
        return [
            web.get("/api/incidents", _answering(self.listing)),
            web.get("/api/incidents/{id}", _answering(self.one)),
            web.post("/api/incidents/{id}/{verb:ack|resolve|raise|note}", _answering(self.act)),
            web.get("/api/alerts", _answering(self.alerts)),
            web.get("/api/alerts/{id}", _answering(self.alert)),
            web.get("/api/ledger", _answering(self.ledger)),
            web.post("/-/reload", self.reload),
            web.get("/api/senders", _answering(self.senders)),
        ]

    async def listing(self, request: web.Request) -> web.Response:
        """`{incidents: [...], next: cursor|null}`, newest first; `status` and `severity` may repeat or hold commas."""
        self._person(request, "read")
        before, limit = request.query.get("cursor"), request.query.get("limit", "50")
        if not _whole(limit) or (before is not None and not _whole(before)):
            raise _refuse(400, "cursor and limit are whole numbers")
        statuses, severities = _words(request, "status", Status), _words(request, "severity", Severity)
        size = min(int(limit), MAX_PAGE) or 1
        found = await self._store.incidents(
            before=int(before) if before is not None else None, statuses=statuses, severities=severities, limit=size + 1
        )
        more = str(found[size - 1].id) if len(found) > size else None
        episodes = await self._store.some_episodes([each.id for each in found[:size]])
        return _json({"incidents": [listed_json(each, episodes[each.id]) for each in found[:size]], "next": more})

    async def one(self, request: web.Request) -> web.Response:
        """One incident with everything that is kept of it."""
        self._person(request, "read")
        wanted = _number(request)
        incident = await self._store.incident(wanted)
        if incident is None:
            raise _refuse(404, f"no incident INC-{wanted}")
        return _json(full_json(incident, await self._store.record(wanted)))

    async def act(self, request: web.Request) -> web.Response:
        """Acknowledge, resolve, raise or note."""
        verb, wanted = request.match_info["verb"], _number(request)
        person = self._person(request, "resolve" if verb == "resolve" else "ack")
        body = await _body(request)
        people = self._people
        acts: dict[str, Callable[[], Awaitable[Any]]] = {
            "ack": lambda: people.acknowledge(wanted, person),
            "resolve": lambda: people.resolve(wanted, person, str(body.get("why", ""))[:500]),
            "raise": lambda: people.raise_to(wanted, person, _severity(body)),
            "note": lambda: people.note(wanted, person, _text(body)),
        }
        incident = await acts[verb]()
        if verb == "raise" and incident is not None and incident.severity != _severity(body):
            raise _refuse(
                409, f"{incident.name} is {incident.severity} and {incident.status}: {_severity(body)} is no raise"
            )
        if incident is None:
            raise _refuse(404, f"no incident INC-{wanted}")
        return _json(brief_json(incident))

    async def alerts(self, request: web.Request) -> web.Response:
        """All stored alerts, oldest first, by key: `{alerts: [...], next: id|null}`; `cursor=next` asks for more.

        Each is {id, source, labels, annotations, status: firing|resolved, started_at, ended_at, received_at,
        incident: "INC-n"|null, rule, severity, muted: {kind, why}|null}. `limit` is at most 1000; `since` (RFC 3339)
        leaves out those whose last news is older. `newest=1` gives the newest first and no next; `muted=1` of them
        only those that fire and are muted.
        """
        self._person(request, "read")
        query = request.query
        after, limit = query.get("after") or query.get("cursor") or "0", query.get("limit", str(MAX_ALERTS))
        if not _whole(limit) or not _whole(after):
            raise _refuse(400, "cursor and limit are whole numbers")
        if request.query.get("newest") == "1" or request.query.get("muted") == "1":
            muted = request.query.get("muted") == "1"
            found = await self._store.newest_alerts(min(int(limit), MAX_ALERTS) or 1, muted=muted)
            return web.Response(text=f'{{"alerts":{found},"next":null}}\n', content_type="application/json")
        listed, further = await self._store.alerts(
            after=int(after), limit=min(int(limit), MAX_ALERTS) or 1, since=_since(request)
        )
        following = "null" if further is None else str(further)
        return web.Response(text=f'{{"alerts":{listed},"next":{following}}}\n', content_type="application/json")

    async def alert(self, request: web.Request) -> web.Response:
        """One stored alert as `alerts` gives it, with `decision`: what it was judged by when it came, or null."""
        self._person(request, "read")
        number = request.match_info["id"]
        found = await self._store.alert(int(number)) if _whole(number) else None
        if found is None:
            raise _refuse(404, f"no alert {number[:20]!r}")
        return web.Response(text=found + "\n", content_type="application/json")

    async def ledger(self, request: web.Request) -> web.Response:
        """What came in, and where it is: both sides of the sum, from one snapshot."""
        self._person(request, "read")
        figures = await self._store.figures()
        return _json(ledger_json(figures, unaccounted(figures)))

    async def reload(self, request: web.Request) -> web.Response:
        """Take the files on disk into force -> `{revision, rules, runbooks, changed, warnings}`.

        422 when they are wrong and the old ones stay: `{error, errors: [{file, line, reason}], more}`.
        """
        person = self._person(request, "reload")
        outcome = await self._reloads.reload(f"{person} asked")
        if outcome.errors:
            return _not_reloaded(outcome)
        book = outcome.handbook
        found = {"revision": book.rules.revision, "rules": len(book.rules.rules)}
        found |= {"runbooks": len(book.library.runbooks), "changed": outcome.changed, "warnings": book.warnings}
        return _json(found)

    async def senders(self, request: web.Request) -> web.Response:
        """Who sends alerts, what is wrong there with the lines that mend it, and what was missed."""
        self._person(request, "read")
        return _json(self._senders())

    def _person(self, request: web.Request, needs: str) -> str:
        """Say who asks. Raises: 401, 403 as JSON."""
        if not self._api.tokens:
            host = (request.headers.get("Host") or "").rpartition(":")
            name = (
                host[0]
                if host[0] and not (request.headers.get("Host") or "").endswith("]")
                else request.headers.get("Host", "")
            )
            if name not in LOCAL_HOSTS or (request.remote or "") not in ("127.0.0.1", "::1"):
                raise _refuse(403, "without api.tokens the API serves this machine only")
            if _from_elsewhere(request):
                raise _refuse(403, "without api.tokens no other site's page may ask")
            if needs not in LOCAL_MAY:
                raise _refuse(403, f"{needs} needs a person's token: set api.tokens in responder.yaml")
            return LOCAL_PERSON
        token = self._token(request.headers.get("Authorization", ""))
        if token is None:
            raise _refuse(401, "a bearer token of api.tokens is needed")
        if needs not in token.may:
            raise _refuse(403, f"{token.person} may {', '.join(token.may)}, not {needs}")
        return token.person

    def _token(self, header: str) -> Token | None:
        sent = header.removeprefix("Bearer ").strip().encode("utf-8", "surrogateescape")
        matches = [each for each in self._api.tokens if compare_digest(each.token.get_secret_value().encode(), sent)]
        return matches[0] if matches else None


def _whole(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 15  # noqa: PLR2004 - fits SQLite's integers


def _answering(handler: Handler) -> Handler:
    """Say 503 where the store cannot be asked."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except StoreError as error:
            raise _refuse(503, str(error)) from error

    return handle


def _number(request: web.Request) -> int:
    try:
        return number(request.match_info["id"])
    except ValueError as error:
        raise _refuse(400, str(error)) from error


def _since(request: web.Request) -> datetime:
    """Read the time from which alerts are wanted."""
    given = request.query.get("since")
    if not given:
        return BEGINNING
    try:
        at = datetime.fromisoformat(given)
        return max(BEGINNING, at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC))
    except (ValueError, OverflowError) as error:
        raise _refuse(400, f"since {given[:40]!r} is not a time such as 2026-11-20T09:00:00Z") from error


def _words(request: web.Request, name: str, allowed: type[Status] | type[Severity]) -> list[str]:
    words = [word for value in request.query.getall(name, []) for word in value.split(",") if word]
    if name == "status" and "open" in words:
        words = [word for word in words if word != "open"] + [str(status) for status in Status if not status.ended]
    for word in words:
        if word not in list(allowed):
            raise _refuse(400, f"{name} {word[:40]!r} is not one of {', '.join(allowed)}")
    return words


async def _body(request: web.Request) -> dict[str, Any]:
    raw = await request.read()
    if not raw.strip():
        return {}
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise _refuse(400, f"the body is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise _refuse(400, "the body must be a JSON object")
    return found


def _from_elsewhere(request: web.Request) -> bool:
    """Whether a browser says that another site's page asks: it can reach this machine, its author may not."""
    origin = request.headers.get("Origin")
    if origin is not None and origin.partition("://")[2] != request.headers.get("Host"):
        return True
    return request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin")


def _severity(body: dict[str, Any]) -> Severity:
    wanted = body.get("severity")
    if wanted not in list(Severity):
        raise _refuse(400, f"severity {wanted!r} is not one of {', '.join(Severity)}")
    return Severity(str(wanted))


def _text(body: dict[str, Any]) -> str:
    text = body.get("text")
    if not isinstance(text, str) or not text.strip():
        raise _refuse(400, 'a note needs {"text": "..."}')
    return text


def _not_reloaded(outcome: Outcome) -> web.Response:
    errors = outcome.errors
    named = [{"file": each.path, "line": each.line, "reason": each.message} for each in errors[:MAX_MISTAKES]]
    said = f"not reloaded, {len(errors)} to mend; what was in force stays so"
    return _json({"error": said, "errors": named, "more": max(0, len(errors) - MAX_MISTAKES)}, status=422)


def _json(value: object, *, status: int = 200) -> web.Response:
    body = orjson.dumps(value, default=str) + b"\n"
    return web.Response(body=body, status=status, content_type="application/json")


def _refuse(status: int, text: str) -> web.HTTPException:
    kinds: dict[int, type[web.HTTPException]] = {
        400: web.HTTPBadRequest, 401: web.HTTPUnauthorized, 403: web.HTTPForbidden, 404: web.HTTPNotFound,
        409: web.HTTPConflict,
        503: web.HTTPServiceUnavailable,
    }  # fmt: skip
    said = orjson.dumps({"error": text.encode("utf-8", "replace").decode()}).decode()
    return kinds[status](text=f"{said}\n", content_type="application/json")
