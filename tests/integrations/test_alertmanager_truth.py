"""What is asked of Alertmanager and Prometheus, over real HTTP against servers that answer as these do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from responder.errors import PermanentError, TransientError
from responder.integrations.alertmanager import Alertmanager, Settings, open_truth
from responder.integrations.alertmanager.makers import FIRES, NOBODY, SICK, SILENT, same
from responder.integrations.alertmanager.truth import STRANGER
from responder.model import Episode, identify
from responder.ports import Surroundings, Truth
from tests.given import FakeClock, FakeIds, body, entry

LABELS = {"alertname": "Api", "cluster": "eu", "instance": "a"}
GENERATOR = "http://prom-0:9090/graph?g0.expr=up"


def now() -> datetime:
    return datetime.now(UTC)


def active(*, labels: dict[str, str] | None = None, updated_s: float = 10.0, **status: Any) -> dict[str, Any]:
    """One element as /api/v2/alerts gives it: its end lies in the future."""
    return {
        "annotations": {"summary": "s"}, "labels": LABELS if labels is None else labels, "generatorURL": GENERATOR,
        "startsAt": "2026-11-20T09:13:30.123Z", "endsAt": (now() + timedelta(minutes=4)).isoformat(),
        "updatedAt": (now() - timedelta(seconds=updated_s)).isoformat(), "fingerprint": "9c1f0e0b5f3a7d21",
        "receivers": [{"name": "responder"}],
        "status": {"state": "active", "silencedBy": [], "inhibitedBy": [], **status},
    }  # fmt: skip


def rule(*alerts: dict[str, str], name: str = "Api", health: str = "ok", state: str = "firing") -> dict[str, Any]:
    listed = [{"labels": {"alertname": name, **each}, "state": state, "value": "1e+00"} for each in alerts]
    return {"type": "alerting", "name": name, "health": health, "query": "up", "alerts": listed}


@dataclass
class Fake:
    """Alertmanager and Prometheus at one address."""

    alerts: Any = field(default_factory=list)
    up_s: float = 3600.0
    rules: list[dict[str, Any]] = field(default_factory=list)
    series: list[dict[str, Any]] = field(default_factory=list)
    status: int = 200
    asked: list[web.Request] = field(default_factory=list)
    forms: list[dict[str, str]] = field(default_factory=list)
    url: str = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request)
        self.forms.append({key: str(value) for key, value in (await request.post()).items()})
        if self.status != 200:
            return web.Response(status=self.status, text="no", headers={"Location": self.url})
        answers: dict[str, Any] = {
            "/api/v2/alerts": self.alerts,
            "/api/v2/status": {"uptime": (now() - timedelta(seconds=self.up_s)).isoformat(), "cluster": {}},
            "/api/v1/rules": {"status": "success", "data": {"groups": [{"name": "g", "rules": self.rules}]}},
            "/api/v1/query": {"status": "success", "data": {"resultType": "vector", "result": self.series}},
            "/api/v1/query_range": {"status": "success", "data": {"resultType": "matrix", "result": self.series}},
        }
        return web.json_response(answers[request.path])


@asynccontextmanager
async def served() -> AsyncIterator[Fake]:
    fake, app = Fake(), web.Application()
    app.router.add_route("*", "/{path:.*}", fake.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield fake
    await runner.cleanup()


@dataclass
class Asking:
    """Two peers and a Prometheus, and the truth over them."""

    one: Fake
    two: Fake
    prometheus: Fake
    open: Callable[..., Any]


@pytest.fixture
async def asking() -> AsyncIterator[Asking]:
    async with AsyncExitStack() as opened:
        one, two, prom = [await opened.enter_async_context(served()) for _ in range(3)]

        async def truth(**settings: Any) -> Truth:
            wanted = Settings(**{"url": one.url, "prometheus": prom.url} | settings)
            found = await opened.enter_async_context(open_truth(wanted, Surroundings(FakeClock(now()), FakeIds())))
            assert found is not None
            return found

        yield Asking(one, two, prom, truth)


def episode(*, generator: str = GENERATOR, **labels: str) -> Episode:
    named = LABELS | labels
    identity = identify("alertmanager", named)
    return Episode(1, identity, "alertmanager", named, {}, True, now(), None, now(), 1, generator)


# --- what fires there ---


async def test_an_alert_read_is_the_alert_that_its_webhook_would_have_been(asking: Asking) -> None:
    asking.one.alerts = [active(labels={"alertname": "Api", "cluster": "eu"})]
    standing = await (await asking.open()).standing()
    [sent] = Alertmanager(Settings()).decode(body(entry()), now()).alerts
    [read] = standing.alerts
    assert (read.identity, read.firing, read.ended_at) == (sent.identity, True, None)
    assert (standing.whole, standing.fresh) == (True, {read.identity})
    assert standing.up_s == pytest.approx(3600, abs=5)


async def test_only_what_is_for_our_receiver_is_asked_for_by_its_exact_name(asking: Asking) -> None:
    await (await asking.open(receiver="team.a")).standing()
    assert asking.one.asked[0].query["receiver"] == r"team\.a"
    assert asking.one.asked[0].query["silenced"] == "true"


@pytest.mark.parametrize(
    ("status", "why"),
    [
        pytest.param({"state": "suppressed", "silencedBy": ["b3"]}, "silenced in Alertmanager (b3)", id="silenced"),
        pytest.param({"state": "suppressed", "inhibitedBy": ["x"]}, "inhibited", id="inhibited"),
        pytest.param({"state": "suppressed", "mutedBy": ["nights"]}, "muted in Alertmanager (nights)", id="muted"),
        pytest.param({"state": "unprocessed"}, "not yet processed", id="not yet judged"),
    ],
)
async def test_what_is_held_back_is_not_standing_and_not_gone(asking: Asking, status: dict[str, Any], why: str) -> None:
    asking.one.alerts = [active(**status)]
    standing = await (await asking.open()).standing()
    assert not standing.alerts
    assert why in standing.muted[identify("alertmanager", LABELS)]


async def test_an_element_that_cannot_be_read_is_passed_over(asking: Asking) -> None:
    asking.one.alerts = [{"labels": ["no"]}, None, active(updated_s=600)]
    standing = await (await asking.open()).standing()
    assert len(standing.alerts) == 1
    assert not standing.fresh


async def test_what_fires_at_one_peer_fires_and_the_youngest_says_the_age(asking: Asking) -> None:
    asking.one.alerts, asking.two.alerts, asking.two.up_s = [active()], [active(state="x", silencedBy=["s"])], 60
    standing = await (await asking.open(urls=[asking.two.url])).standing()
    assert len(standing.alerts) == 1
    assert not standing.muted
    assert standing.whole
    assert standing.up_s == pytest.approx(60, abs=5)


async def test_with_one_peer_silent_it_is_not_whole_and_with_all_it_cannot_be_asked(asking: Asking) -> None:
    truth = await asking.open(urls=[asking.two.url])
    asking.two.status = 503
    assert (await truth.standing()).whole is False
    asking.one.status = 503
    with pytest.raises(TransientError, match="HTTP 503"):
        await truth.standing()


@pytest.mark.parametrize("status", [301, 401, 404])
async def test_a_refusal_needs_a_person_and_no_redirect_is_followed(asking: Asking, status: int) -> None:
    asking.one.status = status
    with pytest.raises(PermanentError, match=f"HTTP {status}"):
        await (await asking.open()).standing()
    assert len(asking.one.asked) == 1


async def test_an_answer_over_the_cap_is_refused_and_names_the_key(asking: Asking) -> None:
    asking.one.alerts = [active()] * 100
    with pytest.raises(PermanentError, match=r"receivers\.alertmanager\.max_bytes"):
        await (await asking.open(max_bytes=10_000)).standing()


async def test_an_answer_that_is_none_is_no_empty_list(asking: Asking) -> None:
    asking.one.alerts = {"status": "success"}
    with pytest.raises(TransientError, match="not of its API"):
        await (await asking.open()).standing()


async def test_neither_side_gets_the_others_headers(asking: Asking) -> None:
    secrets = {"headers": {"Authorization": SecretStr("a")}, "prometheus_headers": {"Authorization": SecretStr("p")}}
    truth = await asking.open(**secrets)
    asking.one.alerts = [active()]
    await truth.standing()
    await truth.doubts([episode()])
    assert {each.headers["Authorization"] for each in asking.one.asked} == {"a"}
    assert {each.headers["Authorization"] for each in asking.prometheus.asked} == {"p"}


async def test_without_an_address_there_is_nothing_to_ask() -> None:
    async with open_truth(Settings(), Surroundings(FakeClock(), FakeIds())) as found:
        assert found is None


def test_an_address_must_be_one() -> None:
    with pytest.raises(ValueError, match="is no address"):
        Settings(url="alertmanager:9093")


# --- where it is made ---

DOUBTS = [
    ("it fires there", [rule({"instance": "a"})], FIRES),
    ("it fires there without the labels that are added on the way", [rule({})], FIRES),
    ("it fires there with one that is dropped on the way", [rule({"replica": "0"})], FIRES),
    ("it is pending: before a restart it may have fired", [rule({"instance": "a"}, state="pending")], FIRES),
    ("another instance fires", [rule({"instance": "b"})], ""),
    ("nothing fires", [rule()], ""),
    ("its rule fails", [rule(health="err")], SICK),
    ("its rule was not evaluated since the start", [rule(health="unknown")], SICK),
    ("one of two rules fails", [rule(), rule(health="err")], SICK),
    ("there is no such rule", [rule(name="Other")], "no Prometheus that is asked has a rule of this name"),
]


@pytest.mark.parametrize(("rules", "doubt"), [pytest.param(*case, id=name) for name, *case in DOUBTS])
async def test_it_is_over_only_when_its_rule_is_well_and_does_not_fire(
    asking: Asking, rules: list[dict[str, Any]], doubt: str
) -> None:
    truth = await asking.open()
    asking.one.alerts = [active()]
    await truth.standing()
    asking.prometheus.rules = rules
    gone = episode()
    assert await truth.doubts([gone]) == ({gone.identity: doubt} if doubt else {})
    assert asking.prometheus.asked[0].query["rule_name[]"] == "Api"


async def test_with_no_prometheus_or_a_silent_one_nothing_is_ever_over(asking: Asking) -> None:
    gone = episode()
    asking.one.alerts = [active()]
    without, silent = await asking.open(prometheus=()), await asking.open()
    await without.standing()
    await silent.standing()
    assert await without.doubts([gone]) == {gone.identity: NOBODY}
    asking.prometheus.status = 503
    assert await silent.doubts([gone]) == {gone.identity: SILENT}


async def test_one_silent_prometheus_of_two_leaves_a_doubt(asking: Asking) -> None:
    truth = await asking.open(prometheus=[asking.prometheus.url, asking.two.url])
    asking.one.alerts = [active()]
    await truth.standing()
    asking.prometheus.rules, asking.two.status = [rule()], 503
    assert list((await truth.doubts([episode()])).values()) == [SILENT]


async def test_what_another_alertmanager_may_have_sent_is_never_over(asking: Asking) -> None:
    truth = await asking.open()
    asking.prometheus.rules, asking.one.alerts = [rule()], [active(labels={"alertname": "Watchdog"})]
    await truth.standing()
    foreign, own = episode(generator="http://prom-us:9090/graph?g0.expr=up", cluster="us"), episode()
    assert await truth.doubts([foreign, own]) == {foreign.identity: STRANGER}


@pytest.mark.parametrize("recorded", [pytest.param(True, id="recorded"), pytest.param(False, id="not recorded")])
async def test_with_an_empty_alertmanager_prometheus_must_have_a_record_of_it(asking: Asking, recorded: bool) -> None:
    truth = await asking.open()
    await truth.standing()
    asking.prometheus.rules = [rule()]
    metric = {"__name__": "ALERTS", "alertstate": "firing", "alertname": "Api", "instance": "a"}
    asking.prometheus.series = [{"metric": metric, "value": [0, "1"]}] if recorded else []
    assert list((await truth.doubts([episode()])).values()) == ([] if recorded else [STRANGER])


async def test_a_name_enters_a_query_as_one_escaped_value(asking: Asking) -> None:
    truth = await asking.open()
    await truth.standing()
    await truth.doubts([episode(alertname='x"} or vector(1) #')])
    assert asking.prometheus.forms[0]["query"] == r'ALERTS{alertstate="firing",alertname="x\"} or vector(1) #"}'


async def test_what_began_and_ended_between_two_times_is_found(asking: Asking) -> None:
    end = now()
    since = end - timedelta(minutes=10)

    def at(*minutes: float) -> list[list[Any]]:
        return [[(since + timedelta(minutes=each)).timestamp(), "1"] for each in minutes]

    asking.prometheus.series = [
        {"metric": {"alertname": "Short", "alertstate": "firing"}, "values": at(2, 3)},
        {"metric": {"alertname": "Before"}, "values": at(0, 1)},
        {"metric": {"alertname": "Still"}, "values": at(5, 10)},
    ]
    found = await (await asking.open()).passed(since, end)
    assert found is not None
    assert [past.labels for past in found] == [{"alertname": "Short"}]
    asking.prometheus.status = 503
    assert await (await asking.open()).passed(since, end) is None


@pytest.mark.parametrize(
    ("made", "alike"),
    [
        pytest.param({"alertname": "Api", "instance": "a"}, True, id="a subset"),
        pytest.param({"alertname": "Api", "replica": "0"}, True, id="a label more"),
        pytest.param({"alertname": "Api", "instance": "b"}, False, id="another value"),
        pytest.param({"alertname": "Other", "instance": "a"}, False, id="another name"),
        pytest.param({"instance": "a"}, False, id="no name"),
    ],
)
def test_two_label_sets_may_be_one_alert(made: dict[str, str], alike: bool) -> None:
    assert same(made, LABELS) is alike
