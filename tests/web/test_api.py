"""The API: who may, what is listed, and that doing a thing twice does it once."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from responder.config import Api, Token
from responder.errors import FileError, StoreError
from tests.given import RULES, after, entry
from tests.web.given import Reply, Web, web

TOKENS = Api(
    tokens=(
        Token(person="reader@x", token=SecretStr("r"), may=("read",)),
        Token(person="acker@x", token=SecretStr("a"), may=("read", "ack")),
        Token(person="anna@x", token=SecretStr("w"), may=("read", "ack", "resolve")),
        Token(person="root@x", token=SecretStr("z"), may=("reload",)),
        Token(person="nobody@x", token=SecretStr("n"), may=()),
    )
)


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[Web]:
    async with web(tmp_path, api=TOKENS) as given:
        await given.at.post(
            entry(cluster="a", severity="critical"), entry(cluster="b"), entry(cluster="c", severity="info")
        )
        yield given


@pytest.fixture
async def local(tmp_path: Path) -> AsyncIterator[Web]:
    async with web(tmp_path) as given:
        await given.at.post(entry())
        yield given


async def get(given: Web, path: str, token: str = "r") -> Any:
    reply = await given.ask("GET", path, headers={"Authorization": f"Bearer {token}"})
    assert reply.status == 200, reply.body
    return reply.json


async def act(given: Web, verb: str, token: str = "w", number: object = "INC-1", **fields: object) -> Reply:
    raw = json.dumps(fields).encode() if fields else b""
    return await given.ask("POST", f"/api/incidents/{number}/{verb}", raw, headers={"Authorization": f"Bearer {token}"})


# --- who may ---

NEEDED = {
    ("GET", "/api/incidents"): "read",
    ("GET", "/api/alerts/1"): "read",
    ("GET", "/api/incidents/INC-1"): "read",
    ("GET", "/api/alerts"): "read",
    ("GET", "/api/ledger"): "read",
    ("GET", "/api/senders"): "read",
    ("POST", "/api/incidents/INC-1/ack"): "ack",
    ("POST", "/api/incidents/INC-1/note"): "ack",
    ("POST", "/api/incidents/INC-1/raise"): "ack",
    ("POST", "/api/incidents/INC-1/resolve"): "resolve",
    ("POST", "/-/reload"): "reload",
}


@pytest.mark.parametrize(("method", "path"), NEEDED, ids=lambda each: str(each))
async def test_a_token_opens_what_it_may_and_nothing_else(at: Web, method: str, path: str) -> None:
    raw = b'{"text": "x", "severity": "P0"}' if method == "POST" else b""
    for token in ("n", "r", "a", "w", "z"):
        reply = await at.ask(method, path, raw, headers={"Authorization": f"Bearer {token}"})
        may = next(each.may for each in TOKENS.tokens if each.token.get_secret_value() == token)
        assert reply.status == (200 if NEEDED[method, path] in may else 403)
        assert reply.headers["content-type"].startswith("application/json")


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Bearer x", "Basic r", "Bearer \xff\xfe", "Bearer r r"], ids=ascii
)
async def test_without_a_known_token_everything_is_401(at: Web, header: str) -> None:
    for method, path in NEEDED:
        reply = await at.ask(method, path, headers={"Authorization": header} if header else {})
        assert reply.status == 401
        assert "bearer token" in reply.json["error"]


async def test_without_tokens_this_machine_may_read_and_acknowledge_but_not_resolve(local: Web) -> None:
    assert (await local.ask("GET", "/api/incidents")).status == 200
    reply = await local.ask("POST", "/api/incidents/1/ack")
    assert reply.json["acknowledged_by"] == "someone on this machine"
    refused = await local.ask("POST", "/api/incidents/1/resolve")
    assert refused.status == 403
    assert "api.tokens" in refused.json["error"]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8080", 200),
        ("127.0.0.1", 200),
        ("localhost:1", 200),
        ("[::1]:8080", 200),
        ("[::1]", 200),
        ("evil.example", 403),
        ("evil.example:8080", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost.evil.example:80", 403),
        ("127.0.0.1@evil.example", 403),
        ("", 403),
    ],
)
async def test_without_tokens_the_host_must_be_this_machine(local: Web, host: str, status: int) -> None:
    """A page of a stranger's, rebound to our address, carries its own name."""
    assert (await local.ask("GET", "/api/incidents", headers={"Host": host})).status == status


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}],
    ids=["another origin", "cross-site"],
)
async def test_without_tokens_another_sites_page_cannot_act(local: Web, headers: dict[str, str]) -> None:
    assert (await local.ask("POST", "/api/incidents/1/ack", headers=headers)).status == 403


# --- reading ---


async def test_a_listing_is_newest_first_and_pages_to_its_end(at: Web) -> None:
    first = await get(at, "/api/incidents?limit=2")
    assert [each["id"] for each in first["incidents"]] == ["INC-3", "INC-2"]
    second = await get(at, f"/api/incidents?limit=2&cursor={first['next']}")
    assert [each["id"] for each in second["incidents"]] == ["INC-1"]
    assert second["next"] is None


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("severity=P1", ["INC-1"]),
        ("severity=P1,P3", ["INC-3", "INC-1"]),
        ("severity=P1&severity=P2", ["INC-2", "INC-1"]),
        ("status=open", ["INC-3", "INC-2"]),
        ("status=resolved", ["INC-1"]),
        ("status=resolved,detecting&severity=P2,P1", ["INC-2", "INC-1"]),
        ("status=", ["INC-3", "INC-2", "INC-1"]),
        ("limit=0", ["INC-3"]),
        ("limit=999999", ["INC-3", "INC-2", "INC-1"]),
        ("cursor=0", []),
    ],
)
async def test_a_listing_is_filtered(at: Web, query: str, found: list[str]) -> None:
    await at.at.people.resolve(1, "anna")
    listed = await get(at, f"/api/incidents?{query}")
    assert [each["id"] for each in listed["incidents"]] == found


@pytest.mark.parametrize(
    "query",
    [
        "limit=x",
        "limit=-1",
        "limit=1.5",
        "limit=%C2%B2",
        "limit=" + "9" * 5000,
        "cursor=x",
        "cursor=%C2%B2",
        "cursor=" + "9" * 5000,
        "severity=P9",
        "severity=p1",
        "status=closed",
        "status=%27%20OR%201%3D1",
    ],
    ids=lambda query: query[:20],
)
async def test_a_wrong_question_is_400_and_says_what_is_wrong(at: Web, query: str) -> None:
    reply = await at.ask("GET", f"/api/incidents?{query}", headers={"Authorization": "Bearer r"})
    assert reply.status == 400
    assert reply.json["error"]


async def test_one_incident_holds_all_its_episodes_and_its_timeline(at: Web) -> None:
    found = await get(at, "/api/incidents/INC-1")
    assert (found["id"], found["severity"], found["status"]) == ("INC-1", "P1", "detecting")
    assert found["episodes"][0]["labels"]["cluster"] == "a"
    assert found["episodes"][0]["started_at"] == "2026-11-20T09:00:00.000Z"
    assert found["timeline"][0]["kind"] == "opened"
    assert {"decision", "findings", "evidence", "approvals", "follow_ups", "permalink", "cost_usd"} <= set(found)
    assert (await get(at, "/api/incidents/1"))["id"] == (await get(at, "/api/incidents/inc-1"))["id"] == "INC-1"


@pytest.mark.parametrize(
    ("number", "status"),
    [
        ("INC-99", 404),
        ("99", 404),
        ("INC-", 400),
        ("x", 400),
        ("INC--1", 400),
        ("%C2%B2", 400),
        ("9" * 400, 400),
        ("1e3", 400),
    ],
    ids=lambda each: str(each)[:12],
)
async def test_an_incident_that_is_not_there(at: Web, number: str, status: int) -> None:
    reply = await at.ask("GET", f"/api/incidents/{number}", headers={"Authorization": "Bearer r"})
    assert reply.status == status
    assert reply.json["error"]
    assert (await act(at, "ack", number=number)).status == status


async def test_the_ledger_adds_up(at: Web) -> None:
    at.at.clock.turn(60)
    await at.at.post(entry(cluster="a", severity="critical", firing=False, ended=after(50)), 7)
    found = await get(at, "/api/ledger")
    assert found["unaccounted"] == 0
    sums = found["in_open_episodes"] + found["in_ended_episodes"] + found["suppressed"] + found["quarantined"]
    assert found["entries"] == sums == 6
    assert found["bodies"]["waiting"] == 0


# --- acting ---


async def test_acknowledging_twice_is_one_acknowledgement(at: Web) -> None:
    first, second = await act(at, "ack"), await act(at, "ack", token="a")
    assert first.json["acknowledged_by"] == second.json["acknowledged_by"] == "anna@x"
    record = await at.at.store.record(1)
    assert [line["kind"] for line in record["timeline"]].count("acknowledged") == 1
    assert at.at.metrics.registry.get_sample_value("responder_ack_seconds_count", {"severity": "P1"}) == 1


async def test_resolving_twice_is_one_resolution_with_its_reason(at: Web) -> None:
    first = await act(at, "resolve", why="false alarm")
    second = await act(at, "resolve", why="again")
    assert (first.json["status"], first.json["resolved_by"]) == ("resolved", "anna@x")
    assert second.json["resolved_at"] == first.json["resolved_at"]
    record = await at.at.store.record(1)
    assert [line["text"] for line in record["timeline"] if line["kind"] == "resolved"] == ["by anna@x false alarm"]


async def test_raising_twice_is_one_page_and_lowering_is_none(at: Web) -> None:
    for severity in ("P0", "P0"):
        assert (await act(at, "raise", severity=severity)).json["severity"] == "P0"
    assert (await act(at, "raise", severity="P3")).status == 409
    assert len(await at.at.posts(1, "page")) == 1


async def test_a_note_is_in_the_record_and_in_the_thread(at: Web) -> None:
    assert (await act(at, "note", text="looking at the database")).status == 200
    record = await at.at.store.record(1)
    assert record["timeline"][-1]["text"] == "anna@x: looking at the database"
    assert (await at.at.posts(1, "reply"))[0]["message"]["body"] == "anna@x: looking at the database"


@pytest.mark.parametrize(
    ("verb", "raw"),
    [
        ("raise", b"{}"),
        ("raise", b'{"severity": "P9"}'),
        ("raise", b'{"severity": ["P0"]}'),
        ("raise", b""),
        ("note", b"{}"),
        ("note", b'{"text": " "}'),
        ("note", b'{"text": 5}'),
        ("note", b"text=x"),
        ("note", b"[]"),
        ("ack", b"{"),
        ("ack", b'"x"'),
    ],
    ids=lambda each: str(each),
)
async def test_a_wrong_body_is_400_and_changes_nothing(at: Web, verb: str, raw: bytes) -> None:
    reply = await at.ask("POST", f"/api/incidents/1/{verb}", raw, headers={"Authorization": "Bearer w"})
    assert reply.status == 400
    assert reply.json["error"]
    assert (await at.at.incident()).version == 1


async def test_there_is_no_other_verb_and_no_other_method(at: Web) -> None:
    assert (await act(at, "approve")).status == 404
    assert (await at.ask("DELETE", "/api/incidents/INC-1", headers={"Authorization": "Bearer w"})).status == 405


@pytest.mark.parametrize("path", ["/api/incidents", "/api/incidents/1", "/api/ledger"])
async def test_a_store_that_cannot_read_is_503(at: Web, path: str) -> None:
    class Broken:
        def __getattr__(self, name: str) -> Any:
            async def fails(*arguments: object, **named: object) -> None:
                raise StoreError("disk I/O error")

            return fails

    at.api._store = Broken()
    assert (await at.ask("GET", path, headers={"Authorization": "Bearer r"})).status == 503


async def test_a_store_that_cannot_commit_is_503(at: Web) -> None:
    await at.at.store._writer.submit(
        lambda connection: connection.execute(
            "CREATE TRIGGER planted BEFORE UPDATE ON incident BEGIN SELECT RAISE(ABORT, 'planted'); END"
        )
    )
    assert (await act(at, "ack")).status == 503


# --- stored alerts ---


async def test_stored_alerts_come_page_by_page_and_each_once(at: Web) -> None:
    seen, after_ = [], 0
    while after_ is not None:
        page = await get(at, f"/api/alerts?cursor={after_}&limit=2")
        seen += page["alerts"]
        after_ = page["next"]
    assert [each["labels"]["cluster"] for each in seen] == ["a", "b", "c"]
    assert [each["id"] for each in seen] == [1, 2, 3]
    assert seen[0]["incident"] == "INC-1"
    assert (seen[0]["status"], seen[0]["ended_at"], seen[0]["source"]) == ("firing", None, "alertmanager")


async def test_stored_alerts_without_news_since_a_time_are_left_out(at: Web) -> None:
    [first, *_] = (await get(at, "/api/alerts"))["alerts"]
    assert len((await get(at, f"/api/alerts?since={first['received_at']}"))["alerts"]) == 3
    assert await get(at, "/api/alerts?since=2999-01-01T00:00:00Z") == {"alerts": [], "next": None}


@pytest.mark.parametrize("query", ["after=x", "limit=-1", "since=yesterday", "after=9999999999999999"])
async def test_a_page_of_alerts_that_cannot_be_is_refused(at: Web, query: str) -> None:
    reply = await at.ask("GET", f"/api/alerts?{query}", headers={"Authorization": "Bearer r"})
    assert reply.status == 400


async def test_the_newest_alerts_come_first(at: Web) -> None:
    page = await get(at, "/api/alerts?newest=1&limit=2")
    assert ([each["id"] for each in page["alerts"]], page["next"]) == ([3, 2], None)
    assert (await get(at, "/api/alerts?muted=1"))["alerts"] == []


async def test_one_alert_has_the_decision_that_it_was_given(at: Web) -> None:
    found = await get(at, "/api/alerts/1")
    assert (found["rule"], found["severity"], found["incident"], found["muted"]) == ("api", "P1", "INC-1", None)
    assert found["decision"]["tried"][-1] == ["api", None]
    assert found["decision"]["revision"] == RULES.revision


@pytest.mark.parametrize("number", ["99", "x", "-1", "9" * 30])
async def test_no_such_alert_is_404(at: Web, number: str) -> None:
    reply = await at.ask("GET", f"/api/alerts/{number}", headers={"Authorization": "Bearer r"})
    assert reply.status == 404


# --- reload ---


async def reloaded(given: Web) -> Reply:
    return await given.ask("POST", "/-/reload", headers={"Authorization": "Bearer z"})


async def test_a_reload_says_what_is_in_force(at: Web) -> None:
    reply = await reloaded(at)
    assert reply.status == 200
    assert reply.json == {"revision": RULES.revision, "rules": 6, "runbooks": 0, "changed": True, "warnings": []}
    assert at.reloads.asked == ["root@x asked"]


async def test_a_reload_that_is_refused_names_every_mistake(at: Web) -> None:
    errors = [FileError("rules/a.yaml", line, "no such severity") for line in range(1, 1001)]
    at.reloads.outcome = replace(at.reloads.outcome, changed=False, errors=errors)
    reply = await reloaded(at)
    assert reply.status == 422
    assert "1000 to mend" in reply.json["error"]
    assert reply.json["errors"][1] == {"file": "rules/a.yaml", "line": 2, "reason": "no such severity"}
    assert len(reply.json["errors"]) + reply.json["more"] == 1000


async def test_without_tokens_nobody_may_reload(local: Web) -> None:
    refused = await local.ask("POST", "/-/reload")
    assert (refused.status, local.reloads.asked) == (403, [])
    assert "api.tokens" in refused.json["error"]
    assert (await local.ask("GET", "/-/reload")).status == 405
