"""/healthz, /readyz and /metrics, as their readers see them."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families as text_families

from responder.web import server
from tests.given import body, entry
from tests.web.given import Web, web

OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[Web]:
    async with web(tmp_path) as given:
        yield given


async def scrape(given: Web) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text = (await given.ask("GET", "/metrics")).body.decode()
    samples = [each for family in text_families(text) for each in family.samples]
    found = {(each.name, frozenset(each.labels.items())): each.value for each in samples}
    assert len(found) == len(samples), "a series stands twice"
    return found


async def test_it_lives(at: Web) -> None:
    assert (await at.ask("GET", "/healthz")).status == 200


async def test_it_is_ready_when_a_row_reaches_the_disk(at: Web) -> None:
    assert (await at.ask("GET", "/readyz")).status == 200
    assert at.at.sql("SELECT count(*) FROM canary") == [(1,)]


async def test_it_is_not_ready_when_the_disk_is_full(at: Web) -> None:
    await at.at.store._writer.submit(
        lambda connection: connection.execute(
            "CREATE TRIGGER planted BEFORE INSERT ON canary BEGIN SELECT RAISE(ABORT, 'planted'); END"
        )
    )
    reply = await at.ask("GET", "/readyz")
    assert (reply.status, b"does not commit" in reply.body) == (503, True)
    assert (await at.ask("GET", "/healthz")).status == 200


async def test_it_is_not_ready_when_the_writer_hangs(at: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    hold = threading.Event()
    held = at.at.store._writer.submit(lambda _: hold.wait(5))
    with monkeypatch.context() as impatient:
        impatient.setattr(server, "READY_S", 0.1)
        assert (await at.ask("GET", "/readyz")).status == 503
    hold.set()
    await held
    assert (await at.ask("GET", "/readyz")).status == 200


async def test_both_formats_parse_and_say_what_they_are(at: Web) -> None:
    await at.at.post(entry())
    plain, open_ = await at.ask("GET", "/metrics"), await at.ask("GET", "/metrics", headers=OPENMETRICS)
    assert plain.headers["content-type"].startswith("text/plain; version=")
    assert open_.headers["content-type"].startswith("application/openmetrics-text; version=")
    names = {family.name for family in openmetrics_families(open_.body.decode())}  # type: ignore[no-untyped-call]
    assert {"responder_unaccounted_alerts", "responder_webhooks", "responder_incidents_open"} <= names
    assert {family.name for family in text_families(plain.body.decode())} >= {"responder_unaccounted_alerts"}


async def test_every_series_is_there_from_the_start_at_zero(at: Web) -> None:
    before = await scrape(at)
    living = {"responder_build_info": 1.0}
    for (name, _), value in before.items():
        if not name.startswith("responder_store_commit_seconds"):
            assert value == living.get(name, 0.0), name
    raw = body(entry(), entry("Wide", page="yes"), entry("Other"), 7)
    assert (await at.post(raw)).status == 202
    await at.at.settle()
    await at.at.people.acknowledge(1, "anna")
    await at.at.people.resolve(1, "anna")
    assert set(await scrape(at)) == set(before)


async def test_the_figures_are_those_of_the_store(at: Web) -> None:
    assert (await at.post(body(entry(severity="critical"), entry("Other")))).status == 202
    await at.at.settle()
    assert (await at.post(b"waits")).status == 202
    at.at.clock.turn(30)
    found = await scrape(at)

    def value(name: str, **labels: str) -> float:
        return found[name, frozenset(labels.items())]

    assert value("responder_webhooks_total", receiver="alertmanager", outcome="accepted") == 2
    assert value("responder_alerts_total", receiver="alertmanager", status="firing") == 2
    assert value("responder_rule_hits_total", rule="api") == value("responder_rule_hits_total", rule="backstop") == 1
    assert value("responder_incidents_open", severity="P1") == value("responder_incidents_total", severity="P1") == 1
    assert value("responder_inbox_age_seconds") == value("responder_outbox_age_seconds") == 30
    assert value("responder_unaccounted_alerts") == 0


async def test_five_thousand_names_add_no_series(at: Web) -> None:
    before = await scrape(at)
    for begin in range(0, 5000, 1000):
        elements = [entry(f"Name{n}", severity=f"s{n}", other=f'v{n}"}} 1\n') for n in range(begin, begin + 1000)]
        await at.at.accept(body(*elements))
    await at.at.settle()
    after = await scrape(at)
    assert set(after) == set(before)
    assert len(after) < 1000
    assert after["responder_unaccounted_alerts", frozenset()] == 0
    assert after["responder_rule_hits_total", frozenset({("rule", "label")})] == 5000
