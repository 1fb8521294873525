"""The PagerDuty double is as strict as the real one, and sends webhooks as it does."""

from __future__ import annotations

import asyncio
import hmac
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any

import pytest
from aiohttp import ClientSession, web

from responder.doubles.pagerduty import ACCEPT, Fault, PagerDutyDouble, Subscription
from responder.doubles.pagerduty_store import MAX_NOTES
from tests.daemon import until

HEADERS = {"Authorization": "Token token=y_test", "Accept": ACCEPT, "From": "bot@shop.example"}
ACK = {"incident": {"type": "incident_reference", "status": "acknowledged"}}
ONE = "/incidents/Q100000001"
SECRETS = ("one", "two")


@pytest.fixture
async def double() -> AsyncIterator[PagerDutyDouble]:
    async with PagerDutyDouble() as opened:
        opened.trigger("Disk full")
        yield opened


async def ask(
    double: PagerDutyDouble, method: str, path: str, body: Any = None, *, without: str = "", **headers: str
) -> tuple[int, Any]:
    """Make one request -> (status, JSON)."""
    named = {key: value for key, value in {**HEADERS, **headers}.items() if key != without}
    async with ClientSession(double.base_url) as http, http.request(method, path, json=body, headers=named) as answer:
        return answer.status, json.loads(await answer.text() or "{}")


# --- the REST API ---


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "code"),
    [
        ("GET", ONE, None, {"without": "Authorization"}, 401, 2006),
        ("GET", ONE, None, {"Authorization": "Bearer y_test"}, 401, 2006),
        ("GET", ONE, None, {"Accept": "application/json"}, 406, 2001),
        ("GET", "/incidents/Q9", None, {}, 404, 2100),
        ("GET", "/nothing", None, {}, 404, 2100),
        ("PUT", ONE, ACK, {"without": "From"}, 400, 2001),
        ("PUT", ONE, ACK, {"From": "nobody@shop.example"}, 400, 2001),
        ("PUT", ONE, {"incident": {"status": "acknowledged"}}, {}, 400, 2001),
        ("PUT", ONE, {"incident": {"type": "incident_reference", "status": "done"}}, {}, 400, 2001),
        ("PUT", ONE, [], {}, 400, 2001),
        ("POST", f"{ONE}/notes", {"note": {}}, {}, 400, 2001),
        ("POST", f"{ONE}/notes", {"note": {"content": " "}}, {}, 400, 2001),
        ("PUT", f"{ONE}/notes/PNOTE9", {"note": {"content": "x"}}, {}, 404, 2100),
        ("PUT", "/incidents", {"incidents": [{"id": "Q1"}] * 251}, {}, 413, 2001),
        ("POST", f"{ONE}/snooze", {"duration": 0}, {}, 400, 2001),
        ("POST", f"{ONE}/status_updates", {}, {}, 400, 2001),
    ],
    ids=str,
)
async def test_what_pagerduty_refuses_is_refused(
    double: PagerDutyDouble, method: str, path: str, body: Any, headers: dict[str, str], status: int, code: int
) -> None:
    found, answer = await ask(double, method, path, body, **headers)
    assert (found, answer["error"]["code"]) == (status, code)


async def test_a_write_needs_a_user_that_is_one(double: PagerDutyDouble) -> None:
    _, answer = await ask(double, "PUT", ONE, ACK, From="nobody@shop.example")
    assert answer["error"]["errors"] == ["Requester User Not Found"]


async def test_writing_acknowledged_on_a_resolved_incident_opens_it_again(double: PagerDutyDouble) -> None:
    incident = double.incident()
    double.do("resolve", incident)
    assert incident.status == "resolved"
    await ask(double, "PUT", ONE, ACK)
    assert (incident.status, incident.reopened_at is not None) == ("acknowledged", True)


async def test_a_merged_incident_takes_no_status(double: PagerDutyDouble) -> None:
    double.do("merge", double.incident(), into=double.trigger("Other").id)
    status, answer = await ask(double, "PUT", ONE, ACK)
    assert (status, answer["error"]["code"]) == (400, 1019)


async def test_an_incident_takes_2000_notes(double: PagerDutyDouble) -> None:
    double.incident().notes.extend({"id": str(n), "content": "x"} for n in range(MAX_NOTES))
    status, _ = await ask(double, "POST", f"{ONE}/notes", {"note": {"content": "one more"}})
    assert (status, len(double.notes())) == (400, MAX_NOTES)


async def test_a_note_is_written_changed_and_deleted(double: PagerDutyDouble) -> None:
    _, made = await ask(double, "POST", f"{ONE}/notes", {"note": {"content": "a"}})
    path = f"{ONE}/notes/{made['note']['id']}"
    assert (await ask(double, "PUT", path, {"note": {"content": "b"}}))[1]["note"]["content"] == "b"
    assert double.notes() == ["b"]
    assert (await ask(double, "DELETE", path))[0] == 204
    assert double.notes() == []


async def test_the_details_are_only_behind_the_alerts(double: PagerDutyDouble) -> None:
    double.forget()
    double.trigger("Disk full", details={"host": "db-1"}, key="k")
    [incident] = double.account.incidents.values()
    _, found = await ask(double, "GET", f"/incidents/{incident.id}/alerts")
    assert [(each["alert_key"], each["body"]["details"]) for each in found["alerts"]] == [("k", {"host": "db-1"})]
    assert "host" not in json.dumps(incident.webhook())


@pytest.mark.parametrize(("reset_s", "headers", "code"), [(20, "20", 2020), (None, None, None)])
async def test_too_many_requests_name_no_retry_after(
    double: PagerDutyDouble, reset_s: int | None, headers: str | None, code: int | None
) -> None:
    double.script("GET", ".*", Fault(429, reset_s=reset_s))
    async with ClientSession(double.base_url, headers=HEADERS) as http, http.get(ONE) as answer:
        assert (answer.status, answer.headers.get("ratelimit-reset")) == (429, headers)
        assert "Retry-After" not in answer.headers
        assert (json.loads(await answer.text())["error"]["code"] if code else None) == code


# --- webhooks ---


class Ear:
    """Somebody who listens, and answers as told."""

    def __init__(self) -> None:
        self.heard: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []

    async def hear(self, request: web.Request) -> web.Response:
        self.heard.append((dict(request.headers), await request.read()))
        return web.Response(status=self.answers.pop(0) if self.answers else 202)

    @property
    def types(self) -> list[str]:
        return [json.loads(body)["event"]["event_type"] for _, body in self.heard]


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[Ear, str]]:
    ear, app = Ear(), web.Application()
    app.router.add_post("/hook", ear.hear)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield ear, f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    await runner.cleanup()


async def settled(subscription: Subscription, count: int) -> None:
    async def done() -> bool:
        states = [state for _, state in subscription.outcomes()]
        return len(states) >= count and "waiting" not in states

    await until(done, within_s=10, every_s=0.02)


async def test_each_change_is_one_signed_webhook_in_order(double: PagerDutyDouble) -> None:
    async with listening() as (ear, url):
        subscription = double.subscribe(url, *SECRETS)
        incident = double.incident()
        for what in ("acknowledge", "unacknowledge", "resolve", "reopen"):
            double.do(what, incident)
        await ask(double, "POST", f"{ONE}/notes", {"note": {"content": "x" * 5000}})
        double.ping(subscription)
        await settled(subscription, 6)
    assert sorted(ear.types) == sorted(
        [
            "incident.acknowledged", "incident.unacknowledged", "incident.resolved", "incident.reopened",
            "incident.annotated", "pagey.ping",
        ]
    )  # fmt: skip
    assert [kind for kind in ear.types if kind.startswith("incident.")][2:4] == [
        "incident.resolved",
        "incident.reopened",
    ]
    for headers, body in ear.heard:
        signed = [hmac.new(each.encode(), body, sha256).hexdigest() for each in SECRETS]
        assert headers["X-PagerDuty-Signature"] == ",".join(f"v1={each}" for each in signed)
    note = next(json.loads(body)["event"] for _, body in ear.heard if b"incident.annotated" in body)
    assert (note["agent"]["summary"], note["data"]["trimmed"]) == ("Responder Bot", True)


async def test_what_fails_is_sent_again_under_its_id_and_the_rest_waits_behind(double: PagerDutyDouble) -> None:
    async with listening() as (ear, url):
        subscription = double.subscribe(url, "s", retry_s=0.02)
        ear.answers = [503, 429]
        double.do("acknowledge", double.incident())
        double.do("resolve", double.incident())
        await settled(subscription, 2)
    assert ear.types == ["incident.acknowledged"] * 3 + ["incident.resolved"]
    assert len({headers["X-Webhook-Id"] for headers, _ in ear.heard}) == 2
    assert [each.tries for each in subscription.deliveries] == [[503, 429, 202], [202]]


async def test_three_refused_in_a_row_switch_it_off_until_somebody_switches_it_on(double: PagerDutyDouble) -> None:
    async with listening() as (ear, url):
        subscription = double.subscribe(url, "s")
        ear.answers = [403, 202, 403, 403, 403]
        for n in range(6):
            double.do("note", double.incident(), content=str(n))
        await settled(subscription, 6)
        assert subscription.outcomes() == [
            ("incident.annotated", state)
            for state in ("dropped", "done", "dropped", "dropped", "dropped", "thrown away")
        ]
        assert not subscription.enabled
        await ask(double, "POST", f"/webhook_subscriptions/{subscription.id}/enable")
        double.do("resolve", double.incident())
        await settled(subscription, 7)
    assert ear.types[-1] == "incident.resolved"


async def test_it_runs_as_a_process() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "responder.doubles.pagerduty", "--token", "t", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    url = (await process.stdout.readline()).decode().strip()
    async with ClientSession(url) as http:
        async with http.post("/_do", json={"do": "trigger", "title": "Disk full", "details": "x"}) as answer:
            its_id = (await answer.json())["id"]
        async with http.post("/_do", json={"do": "acknowledge", "incident": its_id}) as answer:
            assert answer.status == 200
        fault = {"method": "GET", "path": ".*", "faults": [{"status": 503}]}
        async with http.post("/_script", json=fault) as answer:
            assert answer.status == 200
        async with http.get(f"/incidents/{its_id}") as answer:
            assert answer.status == 503
        async with http.get("/_state") as answer:
            state = await answer.json()
        assert state["incidents"][its_id]["status"] == "acknowledged"
        async with http.post("/_reset") as answer:
            assert answer.status == 200
    process.terminate()
    assert await process.wait() == 0
