"""A running daemon keeps its rules through every hostile file, and answers every webhook meanwhile."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.daemon import Daemon, alert, body, daemon, until
from tests.rules.hostile import CASES, Case

TOKEN = {"person": "anna@example.com", "token": "t", "may": ["read", "reload"]}
REFUSED = [case for case in CASES if not case.rules and (case.line or case.says) and "locked" not in case.name]
RATE = 50  # webhooks a second


@asynccontextmanager
async def under_load(one: Daemon) -> AsyncIterator[Counter[int]]:
    """Post webhooks all the time -> how often each status came; 0 is a connection that was cut."""
    statuses: Counter[int] = Counter()

    async def post() -> None:
        async with aiohttp.ClientSession() as http:
            for n in count():
                group = body(alert("ApiDown", service=f"s{n % 9}"), key=f"{n}")
                try:
                    async with http.post(f"{one.url}/webhooks/alertmanager", json=group) as answer:
                        statuses[answer.status] += 1
                except aiohttp.ClientError:
                    statuses[0] += 1
                await asyncio.sleep(1 / RATE)

    posting = asyncio.create_task(post())
    try:
        yield statuses
    finally:
        posting.cancel()
        with suppress(asyncio.CancelledError):
            await posting


async def reload(one: Daemon) -> tuple[int, dict[str, Any]]:
    headers = {"Authorization": "Bearer t"}
    async with aiohttp.ClientSession(headers=headers) as http, http.post(f"{one.url}/-/reload") as answer:
        return answer.status, await answer.json()


async def incidents(one: Daemon) -> list[dict[str, Any]]:
    headers = {"Authorization": "Bearer t"}
    async with aiohttp.ClientSession(headers=headers) as http, http.get(f"{one.url}/api/incidents") as answer:
        found: list[dict[str, Any]] = (await answer.json())["incidents"]
        return found


async def refusals(one: Daemon, folder: Path, case: Case) -> list[str]:
    """Put a hostile folder beside the good rules, ask for a reload, and take it away again -> what was wrong."""
    shutil.rmtree(folder.parent, ignore_errors=True)
    case.write(folder.parent)
    status, said = await reload(one)
    assert status == 422, (case.name, said)
    assert await one.metric("responder_config_ok") == 0
    return [f"{each['line']}: {each['reason']}" for each in said["errors"]]


async def test_through_all_hostile_files_the_old_rules_stay_and_every_webhook_is_accepted(tmp_path: Path) -> None:
    folder = tmp_path / "hostile" / "rules"
    folder.mkdir(parents=True)
    (folder / "a.yaml").write_text("rules: []\n")
    async with daemon(tmp_path, rules=["rules", str(folder)], api={"tokens": [TOKEN]}, watch_s=0) as one:
        status, good = await reload(one)
        assert (status, good["changed"]) == (200, False)
        async with under_load(one) as statuses:
            for case in REFUSED:
                named = await refusals(one, folder, case)
                assert any(each.startswith(f"{case.line}: ") and case.says in each for each in named), case.name

            async def told() -> list[dict[str, Any]]:
                return [each for each in await incidents(one) if each["rule"] == "responder-config"]

            [ours] = await until(told)
            assert ours["severity"] == "P2"
            shutil.rmtree(folder.parent)
            folder.mkdir(parents=True)
            (folder / "a.yaml").write_text("rules: []\n")
            status, again = await reload(one)
            assert (status, again["revision"]) == (200, good["revision"])
        assert await one.metric("responder_config_ok") == 1
        assert await one.metric('responder_config_reloads_total{outcome="refused"}') == len(REFUSED)
        assert set(statuses) == {202}
        assert statuses[202] > len(REFUSED)

        async def over() -> bool:
            return any(each["id"] == ours["id"] and each["status"] == "resolved" for each in await incidents(one))

        assert await until(over)
        rules = {each["rule"] for each in await incidents(one)}
        assert "api-down" in rules
        assert "page-everything" not in rules
        assert await one.metric("responder_unaccounted_alerts") == 0


@pytest.mark.parametrize("how", ["hangup", "change"])
async def test_files_are_taken_on_sighup_and_when_they_change(tmp_path: Path, how: str) -> None:
    async with daemon(tmp_path, watch_s=0 if how == "hangup" else 0.1) as one:
        assert one.process is not None
        (tmp_path / "rules" / "00-mine.yaml").write_text("rules:\n  - {name: mine, match: 'a=b', severity: P0}\n")
        if how == "hangup":
            one.process.send_signal(signal.SIGHUP)

        async def taken() -> bool:
            return await one.metric('responder_config_reloads_total{outcome="ok"}') == 1

        assert await until(taken)
        assert await one.metric('responder_rule_hits_total{rule="mine"}') == 0
        assert await one.post(body(alert("Any", a="b"))) == 202
        await one.settled()
        [incident] = (await one.get("/api/incidents"))["incidents"]
        assert (incident["rule"], incident["severity"]) == ("mine", "P0")


async def test_bad_files_at_the_start_page_everything_until_they_are_mended(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    bad = tmp_path / "rules" / "99-bad.yaml"
    bad.write_text("rules: [\n")
    async with daemon(tmp_path, watch_s=0.1) as one:
        assert await one.metric("responder_config_ok") == 0
        assert await one.post(body(alert("Any", severity="info"))) == 202

        async def both() -> bool:
            return len((await one.get("/api/incidents"))["incidents"]) == 2

        assert await until(both)
        found = (await one.get("/api/incidents"))["incidents"]
        assert {each["severity"] for each in found} == {"P1"}
        assert any("cannot be used; every alert pages as P1" in each["title"] for each in found)
        bad.unlink()

        async def healed() -> bool:
            return await one.metric("responder_config_ok") == 1

        assert await until(healed)
