"""The whole way with PagerDuty: its webhook pages, what is behind it is fetched, what people do here is done there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from responder.doubles.pagerduty import Fault, PagerDutyDouble, Subscription
from responder.doubles.pagerduty_store import Incident
from responder.doubles.slack import SlackDouble
from tests.daemon import Daemon, alert, body, daemon, until

BOT, KEY = "bot@shop.example", "y_test"
OLD, NEW = "whsec-the-old-one", "whsec-the-new-one"
GROUP = '{}:{alertname="CheckoutErrorRateHigh"}'
FIRING = "Labels:\n - alertname = CheckoutErrorRateHigh\n - cluster = eu1\n - severity = critical\nAnnotations:\n"
TOKEN = "an-api-token-of-ana"


@asynccontextmanager
async def running(folder: Path, double: PagerDutyDouble, *secrets: str, **more: Any) -> AsyncIterator[Daemon]:
    """A daemon that listens to the double and tells it."""
    pagerduty = {"secrets": list(secrets), "api_token": KEY, "from": BOT, "base_url": double.base_url}
    person = {"person": "ana", "token": TOKEN, "may": ["read", "ack", "resolve"]}
    sections = {"receivers": {"alertmanager": {}, "pagerduty": pagerduty}, "api": {"tokens": [person]}, **more}
    async with daemon(folder, base_url="https://responder.shop.example", **sections) as one:
        yield one


async def api(one: Daemon, path: str, method: str = "GET", **said: str) -> Any:
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as http,
        http.request(method, f"{one.url}/api/{path}", json=said or None) as answer,
    ):
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def incident(one: Daemon, check: Callable[[Any], bool] = bool) -> Any:
    """Wait for INC-1 to be so."""

    async def there() -> Any:
        if not (await api(one, "incidents"))["incidents"]:
            return None
        found = await api(one, "incidents/INC-1")
        return found if check(found) else None

    return await until(there)


async def becomes(check: Callable[[], Any]) -> None:
    async def asked() -> Any:
        return check()

    await until(asked, every_s=0.05)


def subscribe(double: PagerDutyDouble, one: Daemon, *secrets: str) -> Subscription:
    return double.subscribe(f"{one.url}/webhooks/pagerduty", *secrets)


def trigger(double: PagerDutyDouble, **more: Any) -> Incident:
    return double.trigger("[FIRING:1] CheckoutErrorRateHigh", details={"firing": FIRING, "num_firing": "1"}, **more)


async def test_an_incident_of_pagerduty_goes_all_the_way_and_back(tmp_path: Path) -> None:
    async with PagerDutyDouble() as double, SlackDouble(auto_create_channels=True) as slack:
        chat = {"slack": {"bot_token": "xoxb-test", "channel": "#incidents", "base_url": slack.base_url}}
        async with running(tmp_path, double, OLD, chat=chat) as one:
            hooks = subscribe(double, one, OLD)
            double.ping(hooks)
            theirs = trigger(double)
            found = await incident(one, lambda it: it["episodes"][0]["labels"].get("cluster") == "eu1")
            assert (found["severity"], found["detected_by"], found["rule"]) == ("P1", "pagerduty", "error-rate")
            await becomes(lambda: len(double.notes()) == 1)
            assert "https://responder.shop.example/incidents/INC-1" in double.notes()[0]
            await becomes(lambda: len(slack.threads()) == 1)

            await api(one, "incidents/INC-1/ack", "POST")
            await becomes(lambda: theirs.status == "acknowledged")
            await api(one, "incidents/INC-1/note", "POST", text="rolled back")
            await becomes(lambda: "rolled back" in double.notes()[-1])
            double.do("note", theirs, content="still 2% errors")
            await incident(one, lambda it: "still 2% errors" in json.dumps(it["timeline"]))

            await api(one, "incidents/INC-1/resolve", "POST")
            await becomes(lambda: theirs.status == "resolved")
            assert "ana" in theirs.resolution
            await incident(one, lambda it: it["episodes"][0]["status"] == "resolved")
            writes = [call for call in double.calls if call.method != "GET"]
            assert all(call.headers["From"] == BOT and call.status == 200 for call in writes)
            assert {state for _, state in hooks.outcomes()} == {"done"}
            text = json.dumps(await api(one, "incidents/INC-1"))
            assert "[responder INC-1" not in text, "our own notes came back as news"
            assert len((await api(one, "incidents"))["incidents"]) == 1
            assert await one.metric("responder_unaccounted_alerts") == 0
            assert await one.metric('responder_posts_total{chat="pagerduty",outcome="failed"}') == 0


async def test_what_a_person_does_there_is_done_here_and_not_told_back(tmp_path: Path) -> None:
    async with PagerDutyDouble() as double, running(tmp_path, double, OLD) as one:
        subscribe(double, one, OLD)
        theirs = trigger(double)
        await incident(one)
        double.do("acknowledge", theirs)
        found = await incident(one, lambda it: it["acknowledged_at"])
        assert found["commander"] == "Ana Lima in pagerduty"
        double.do("resolve", theirs)
        await incident(one, lambda it: it["status"] == "resolved")
        await asyncio.sleep(0.5)
        assert not double.called("PUT"), "PagerDuty was told what it had said itself"
        assert theirs.reopened_at is None


async def test_both_sources_make_one_incident(tmp_path: Path) -> None:
    from_alertmanager = body(alert("CheckoutErrorRateHigh", severity="critical"), key=GROUP)
    over = body(alert("CheckoutErrorRateHigh", severity="critical", firing=False), key=GROUP)
    dedup_key = sha256(GROUP.encode()).hexdigest()  # as Alertmanager's PagerDuty notifier makes it
    async with PagerDutyDouble() as double, running(tmp_path, double, OLD) as one:
        subscribe(double, one, OLD)
        assert await one.post(from_alertmanager) == 202
        await incident(one)
        theirs = trigger(double, key=dedup_key)
        await incident(one, lambda it: len(it["episodes"]) == 2)
        await becomes(lambda: len(double.notes()) == 1)
        assert await one.post(over) == 202
        found = await incident(one, lambda it: [each["status"] for each in it["episodes"]].count("resolved") == 1)
        assert found["status"] not in ("monitoring", "resolved")
        double.do("resolve", theirs)
        await incident(one, lambda it: it["status"] == "resolved")
        assert len((await api(one, "incidents"))["incidents"]) == 1


@pytest.mark.parametrize(
    ("ours", "theirs"), [((OLD, NEW), (OLD,)), ((OLD, NEW), (NEW,)), ((OLD,), (OLD, NEW)), ((NEW,), (OLD, NEW))]
)
async def test_a_secret_is_changed_without_losing_a_webhook(
    tmp_path: Path, ours: tuple[str, ...], theirs: tuple[str, ...]
) -> None:
    async with PagerDutyDouble() as double, running(tmp_path, double, *ours) as one:
        hooks = subscribe(double, one, *theirs)
        trigger(double)
        await incident(one)
        assert hooks.outcomes()[0][1] == "done"


async def test_a_wrong_secret_is_said_aloud_at_the_first_webhook(tmp_path: Path) -> None:
    async with PagerDutyDouble() as double, running(tmp_path, double, NEW) as one:
        hooks = subscribe(double, one, OLD)
        trigger(double)
        found = await incident(one)
        assert (found["severity"], found["rule"]) == ("P1", "responder-webhook-refused")
        assert (hooks.enabled, hooks.deliveries[0].tries) == (True, [403])
        hooks.secrets = [NEW]
        double.ping(hooks)
        await incident(one, lambda it: it["episodes"][0]["status"] == "resolved")


async def test_what_cannot_be_told_now_is_told_later_and_once(tmp_path: Path) -> None:
    async with PagerDutyDouble() as double, running(tmp_path, double, OLD) as one:
        subscribe(double, one, OLD)
        theirs = trigger(double)
        await becomes(lambda: len(double.notes()) == 1)
        double.script("POST", ".*/notes", Fault(reset=True, stored=True, times=1), Fault(503, times=2))
        double.script("PUT", ".*", Fault(503, times=2), Fault(429, reset_s=1))
        await api(one, "incidents/INC-1/ack", "POST")
        await api(one, "incidents/INC-1/note", "POST", text="rolled back")
        await becomes(lambda: any("rolled back" in note for note in double.notes()))
        await becomes(lambda: theirs.status == "acknowledged")
        await api(one, "incidents/INC-1/resolve", "POST")
        await becomes(lambda: theirs.status == "resolved")
        marks = [note.split("]")[0] for note in double.notes()]
        assert len(marks) == len(set(marks))
        assert sum("rolled back" in note for note in double.notes()) == 1
        assert theirs.reopened_at is None
