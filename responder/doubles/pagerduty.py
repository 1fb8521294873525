"""PagerDuty on loopback: the REST API as strict as the real one, and signed webhooks of every change to a subscriber.

As a process: `python -m responder.doubles.pagerduty --port N --subscriber URL --secret S` prints its base URL. `GET
/_state` gives everything as JSON; `POST /_do` takes `{"do": "trigger", "title": ..., "details": ...}`, and
`acknowledge`, `resolve`, `reopen`, `note`, `priority`, `merge` with `"incident": ID`; `POST /_script` takes
`{"method": "PUT", "path": "/incidents/.*", "faults": [{"status": 503}]}`; `POST /_reset` forgets all.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from responder.doubles.pagerduty_hooks import Delivery, Subscription, written
from responder.doubles.pagerduty_store import (
    MAX_MANY,
    MAX_SNOOZE_S,
    STATUSES,
    Account,
    Incident,
    Json,
    PagerDutyRefusal,
    invalid,
    not_found,
    reference,
)
from responder.doubles.serving import LoopbackServer, is_gone, reset, serve_until_stopped

__all__ = ["Call", "Fault", "PagerDutyDouble", "Subscription"]

ACCEPT = "application/vnd.pagerduty+json;version=2"
LIMIT = 960  # requests a minute and key
OK, TOO_MANY = 200, 429
PEOPLE = {"ana@shop.example": ("PUSRANA", "Ana Lima")}


@dataclass(frozen=True)
class Fault:
    """What goes wrong with the next calls.

    Attributes:
        code: PagerDuty's own, with `message` in an error body; 0 for a body that is none.
        reset_s: of a 429, in `ratelimit-reset`; None leaves the header out.
        stored: the call takes effect, although its answer is lost or late.
    """

    status: int = OK
    times: int = 1
    code: int = 0
    message: str = ""
    reset_s: int | None = None
    hang_s: float = 0.0
    reset: bool = False
    stored: bool = False
    body: str = ""


@dataclass
class Call:
    """One call as it arrived, and the status of its answer; 0 stands for none."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    status: int = 0


@dataclass
class _Script:
    method: str
    path: re.Pattern[str]
    faults: list[Fault] = field(default_factory=list)


class PagerDutyDouble(LoopbackServer):
    """One account with its subscribers."""

    def __init__(
        self, *, token: str = "y_test", users: Mapping[str, str] | None = None, port: int = 0,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:  # fmt: skip
        """Prepare an account. Args: users: e-mail -> name of those who may be named in `From`."""
        super().__init__(port)
        named = {"bot@shop.example": "Responder Bot"} if users is None else users
        numbered = {email: (f"PUSR{at:04d}", name) for at, (email, name) in enumerate(named.items())}
        self._users = {
            email: reference("user", its_id, name) for email, (its_id, name) in {**PEOPLE, **numbered}.items()
        }
        self._token, self._now = token, now
        self.subscriptions: dict[str, Subscription] = {}
        self.forget()

    def forget(self) -> None:
        """Start again with no incidents, no calls and no faults; subscriptions stay."""
        self.calls: list[Call] = []
        self.account = Account(self._users, self._now, self._changed)
        self._scripts: list[_Script] = []

    # What tests look at.

    def called(self, method: str, path: str = ".*") -> list[Call]:
        """The calls that came so, in order; `path` is a regular expression over the whole path."""
        return [each for each in self.calls if each.method == method and re.fullmatch(path, each.path)]

    def incident(self, its_id: str = "") -> Incident:
        """One incident; without an id the only one."""
        if its_id:
            return self.account.incidents[its_id]
        [one] = self.account.incidents.values()
        return one

    def notes(self, its_id: str = "") -> list[str]:
        """What an incident's notes say, oldest first."""
        return [str(note["content"]) for note in self.incident(its_id).notes]

    def state(self) -> Json:
        """Everything, ready for JSON."""
        return {
            "calls": [asdict(call) for call in self.calls],
            "incidents": {
                each.id: {**each.rest(), "notes": each.notes, "alerts": each.alerts, "resolution": each.resolution}
                for each in self.account.incidents.values()
            },
            "subscriptions": [each.state() for each in self.subscriptions.values()],
        }

    # What tests do.

    def subscribe(self, url: str, *secrets: str, retry_s: float = 0.2) -> Subscription:
        """Send webhooks of every change to this address, signed with each of these secrets."""
        made = Subscription(f"PWSUB{len(self.subscriptions) + 1:02d}", url, list(secrets), retry_s=retry_s)
        self.subscriptions[made.id] = made
        return made

    def trigger(self, title: str, **more: Any) -> Incident:
        """Open an incident; `details` is `body.details` of its alert, `key` its `incident_key`."""
        return self.account.open(title, **more)

    def person(self, email: str = "ana@shop.example") -> Json:
        """The reference of a user, as an agent."""
        return self._users[email]

    def script(self, method: str, path: str, *faults: Fault) -> None:
        """Let the next calls of this method to such a path fail, in that order."""
        self._scripts.append(_Script(method, re.compile(path), list(faults)))

    def ping(self, subscription: Subscription) -> None:
        """Send the test webhook, as the button in PagerDuty does."""
        data = {"message": "Hello from your friend Pagey!", "type": "ping"}
        agent = {"id": "PUSRANA", "type": "user_reference"}
        subscription.send(self._delivery("pagey.ping", "pagey", agent, data, resource="ping"))

    def _changed(self, incident: Incident, event_type: str, agent: Json | None, data: Json) -> None:
        for subscription in self.subscriptions.values():
            subscription.send(self._delivery(event_type, "incident", agent, data, resource=incident.id))

    def _delivery(self, event_type: str, kind: str, agent: Json | None, data: Json, *, resource: str) -> Delivery:
        at = self._now().astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        event = {
            "id": self.account.new_id("01EVENT"), "event_type": event_type, "resource_type": kind, "occurred_at": at,
            "agent": agent, "client": {"name": "PagerDuty"} if agent else None, "data": data,
        }  # fmt: skip
        return Delivery(self.account.new_id("01HOOK"), event_type, resource, written(event))

    # The server.

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """The REST API and the test's own doors."""
        return [
            web.get("/_state", self._get_state),
            web.post("/_do", self._post_do),
            web.post("/_script", self._post_script),
            web.post("/_reset", self._post_reset),
            web.route("*", "/{path:.*}", self._call),
        ]

    async def release(self) -> None:
        """Stop sending webhooks."""
        for subscription in self.subscriptions.values():
            await subscription.close()

    async def _call(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        call = Call(request.method, request.path, dict(request.headers), _json(raw))
        self.calls.append(call)
        fault = self._next_fault(call)
        if fault is None:
            return self._send(call, *self._process(request, call))
        return await self._fail(request, call, fault)

    def _next_fault(self, call: Call) -> Fault | None:
        for script in self._scripts:
            if script.faults and script.method in ("*", call.method) and script.path.fullmatch(call.path):
                fault = script.faults[0]
                script.faults[:1] = [replace(fault, times=fault.times - 1)] if fault.times > 1 else []
                return fault
        return None

    async def _fail(self, request: web.Request, call: Call, fault: Fault) -> web.StreamResponse:
        answer = self._process(request, call) if fault.stored else None
        if fault.hang_s:
            await self.linger(fault.hang_s)
        if fault.reset or is_gone(request):
            return reset(request)
        if fault.status == OK:
            if fault.body:
                return web.Response(status=OK, text=fault.body)
            return self._send(call, *(answer or self._process(request, call)))
        call.status = fault.status
        if fault.status == TOO_MANY and not fault.body:
            return _rate_limited(fault.reset_s)
        if fault.code:
            refusal = PagerDutyRefusal(fault.status, fault.code, fault.message)
            return web.json_response(refusal.body(), status=fault.status)
        return web.Response(
            status=fault.status, text=fault.body or "<html>Bad Gateway</html>", content_type="text/html"
        )

    def _send(self, call: Call, status: int, body: Json) -> web.Response:
        call.status = status
        headers = {"ratelimit-limit": str(LIMIT), "ratelimit-remaining": str(LIMIT - 1), "ratelimit-reset": "60"}
        return web.Response(status=status, text=json.dumps(body), headers=headers, content_type="application/json")

    def _process(self, request: web.Request, call: Call) -> tuple[int, Json]:
        try:
            self._check(request, call)
            for method, path, handler in self._handlers():
                found = re.fullmatch(path, call.path)
                if found and method == call.method:
                    status, body = handler(call, *found.groups())
                    return status, json.loads(json.dumps(body))  # a copy: what is stored goes on changing
            raise not_found()
        except PagerDutyRefusal as refusal:
            return refusal.status, refusal.body()

    def _check(self, request: web.Request, call: Call) -> None:
        """Refuse what every call needs: a key, the version, JSON, and a user's e-mail on every write."""
        if request.headers.get("Authorization") != f"Token token={self._token}":
            raise PagerDutyRefusal(401, 2006, "Authentication failed")
        if request.headers.get("Accept") != ACCEPT:
            raise PagerDutyRefusal(406, 2001, "Not Acceptable", "Accept must name version 2")
        if call.method == "GET":
            return
        bare = call.method == "DELETE" or call.path.startswith("/webhook_subscriptions/")
        if not bare and (request.content_type != "application/json" or not isinstance(call.body, dict)):
            raise invalid("The request body is not a JSON object")
        self.account.requester(request.headers.get("From"))

    def _handlers(self) -> list[tuple[str, str, Callable[..., tuple[int, Json]]]]:
        one = r"/incidents/([A-Z0-9]+)"
        return [
            ("GET", one, self._get_incident),
            ("PUT", one, self._put_incident),
            ("PUT", "/incidents", self._put_incidents),
            ("GET", f"{one}/alerts", self._get_alerts),
            ("GET", f"{one}/notes", self._get_notes),
            ("POST", f"{one}/notes", self._post_note),
            ("PUT", f"{one}/notes/([A-Z0-9]+)", self._put_note),
            ("DELETE", f"{one}/notes/([A-Z0-9]+)", self._delete_note),
            ("POST", f"{one}/status_updates", self._post_status_update),
            ("POST", f"{one}/snooze", self._post_snooze),
            ("POST", r"/webhook_subscriptions/([A-Z0-9]+)/enable", self._enable),
            ("POST", r"/webhook_subscriptions/([A-Z0-9]+)/ping", self._ping),
        ]

    def _user(self, call: Call) -> Json:
        return self.account.requester(call.headers.get("From"))

    def _get_incident(self, call: Call, its_id: str) -> tuple[int, Json]:
        return OK, {"incident": self.account.incident(its_id).rest()}

    def _put_incident(self, call: Call, its_id: str) -> tuple[int, Json]:
        incident = self.account.incident(its_id)
        self._apply(incident, call.body.get("incident"), self._user(call))
        return OK, {"incident": incident.rest()}

    def _put_incidents(self, call: Call) -> tuple[int, Json]:
        listed = call.body.get("incidents")
        if not isinstance(listed, list) or not listed:
            raise invalid("Incidents cannot be empty.")
        if len(listed) > MAX_MANY:
            raise PagerDutyRefusal(413, 2001, "Request Entity Too Large", f"at most {MAX_MANY} incidents")
        found = [self.account.incident(str(each.get("id"))) for each in listed]
        for incident, wanted in zip(found, listed, strict=True):
            self._apply(incident, wanted, self._user(call))
        return OK, {"incidents": [each.rest() for each in found]}

    def _apply(self, incident: Incident, wanted: object, user: Json) -> None:
        """Write what an `incident_reference` asks for."""
        if not isinstance(wanted, dict) or wanted.get("type") not in ("incident_reference", "incident"):
            raise invalid("Type is required: incident_reference")
        status = wanted.get("status")
        if status is not None and status not in STATUSES:
            raise invalid(f"Status must be one of {', '.join(STATUSES)}")
        if status is not None:
            self.account.set_status(incident, status, user, str(wanted.get("resolution") or ""))

    def _get_alerts(self, call: Call, its_id: str) -> tuple[int, Json]:
        found = self.account.incident(its_id).alerts
        return OK, {"alerts": found, "limit": 100, "offset": 0, "total": None, "more": False}

    def _get_notes(self, call: Call, its_id: str) -> tuple[int, Json]:
        return OK, {"notes": self.account.incident(its_id).notes}

    def _post_note(self, call: Call, its_id: str) -> tuple[int, Json]:
        incident = self.account.incident(its_id)
        return OK, {"note": self.account.add_note(incident, _content(call.body), self._user(call))}

    def _put_note(self, call: Call, its_id: str, note_id: str) -> tuple[int, Json]:
        note = self.account.note(self.account.incident(its_id), note_id)
        content = _content(call.body)
        if not isinstance(content, str) or not content.strip():
            raise invalid("Content cannot be empty.")
        note["content"] = content
        return OK, {"note": note}

    def _delete_note(self, call: Call, its_id: str, note_id: str) -> tuple[int, Json]:
        incident = self.account.incident(its_id)
        incident.notes.remove(self.account.note(incident, note_id))
        return 204, {}

    def _post_status_update(self, call: Call, its_id: str) -> tuple[int, Json]:
        incident = self.account.incident(its_id)
        message = call.body.get("message")
        if not isinstance(message, str) or not message:
            raise invalid("Message cannot be empty.")
        data = {"incident": reference("incident", incident.id, incident.title), "id": self.account.new_id("PSTAT")}
        said = {**data, "message": message, "trimmed": False, "type": "incident_status_update"}
        self._changed(incident, "incident.status_update_published", self._user(call), said)
        return OK, {"status_update": {**data, "message": message}}

    def _post_snooze(self, call: Call, its_id: str) -> tuple[int, Json]:
        duration = call.body.get("duration")
        if not isinstance(duration, int) or not 1 <= duration <= MAX_SNOOZE_S:
            raise invalid(f"Duration must be between 1 and {MAX_SNOOZE_S}")
        return 201, {"incident": self.account.incident(its_id).rest()}

    def _enable(self, call: Call, its_id: str) -> tuple[int, Json]:
        subscription = self._subscription(its_id)
        subscription.enabled, subscription.dropped_in_a_row = True, 0
        return OK, {"webhook_subscription": {"id": its_id, "active": True}}

    def _ping(self, call: Call, its_id: str) -> tuple[int, Json]:
        self.ping(self._subscription(its_id))
        return 202, {}

    def _subscription(self, its_id: str) -> Subscription:
        if its_id not in self.subscriptions:
            raise not_found()
        return self.subscriptions[its_id]

    async def _get_state(self, request: web.Request) -> web.Response:
        return web.json_response(self.state())

    async def _post_do(self, request: web.Request) -> web.Response:
        wanted: Json = await request.json()
        what = wanted.pop("do")
        if what == "trigger":
            return web.json_response(self.trigger(**wanted).rest())
        incident = self.incident(wanted.pop("incident", ""))
        self.do(what, incident, **wanted)
        return web.json_response(incident.rest())

    def do(self, what: str, incident: Incident, **more: Any) -> None:
        """Do as a person: acknowledge, unacknowledge, resolve, reopen, note, priority, merge."""
        agent = self.person()
        statuses = {
            "acknowledge": "acknowledged",
            "resolve": "resolved",
            "reopen": "triggered",
            "unacknowledge": "triggered",
        }
        if what in statuses:
            self.account.set_status(incident, statuses[what], agent)
        elif what == "note":
            self.account.add_note(incident, more["content"], agent)
        elif what == "priority":
            self.account.change_priority(incident, more["priority"], agent)
        elif what == "merge":
            self.account.merge(incident, self.incident(more["into"]))
        else:
            raise ValueError(f"nothing is called {what!r}")

    async def _post_script(self, request: web.Request) -> web.Response:
        wanted = await request.json()
        self.script(wanted["method"], wanted["path"], *(Fault(**fault) for fault in wanted["faults"]))
        return web.json_response({"ok": True})

    async def _post_reset(self, request: web.Request) -> web.Response:
        self.forget()
        return web.json_response({"ok": True})


def _rate_limited(reset_s: int | None) -> web.Response:
    """A 429 without Retry-After; sometimes without any header, and without a body."""
    if reset_s is None:
        return web.Response(status=TOO_MANY)
    headers = {"ratelimit-limit": str(LIMIT), "ratelimit-remaining": "0", "ratelimit-reset": str(reset_s)}
    refusal = PagerDutyRefusal(TOO_MANY, 2020, "Rate Limit Exceeded")
    return web.json_response(refusal.body(), status=TOO_MANY, headers=headers)


def _content(body: Json) -> object:
    note = body.get("note")
    return note.get("content") if isinstance(note, dict) else None


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw) if raw else None
    except ValueError:
        return None


async def _serve(args: argparse.Namespace) -> None:
    users = {email: email.partition("@")[0] for email in args.user} or None
    double = PagerDutyDouble(token=args.token, users=users, port=args.port)
    if args.subscriber:
        double.subscribe(args.subscriber, *args.secret, retry_s=args.retry_s)
    await serve_until_stopped(double)


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(prog="python -m responder.doubles.pagerduty", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--token", default="y_test", help="the REST API key that is valid")
    parser.add_argument("--user", action="append", default=[], help="an e-mail that `From` may name")
    parser.add_argument("--subscriber", default="", help="where webhooks go: http://127.0.0.1:8080/webhooks/pagerduty")
    parser.add_argument(
        "--secret", action="append", default=[], help="what they are signed with; several in a rotation"
    )
    parser.add_argument("--retry-s", type=float, default=5.0, help="how long until a webhook is tried again")
    asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
