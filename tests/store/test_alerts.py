"""Stored alerts are read by number, a page at a time, and never all at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.given import House, after, entry, house

EVER = datetime(2000, 1, 1, tzinfo=UTC)


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as given:
        yield given


async def page(at: House, number: int = 0, limit: int = 10, since: datetime = EVER) -> tuple[list[Any], int | None]:
    text, following = await at.store.alerts(after=number, limit=limit, since=since)
    return orjson.loads(text), following


async def test_no_alert_is_an_empty_page(at: House) -> None:
    assert await page(at) == ([], None)


@pytest.mark.parametrize(("limit", "wanted"), [(1, [[1], [2], [3]]), (2, [[1, 2], [3]]), (3, [[1, 2, 3]])])
async def test_pages_hold_each_alert_once_and_the_last_says_so(at: House, limit: int, wanted: list[list[int]]) -> None:
    await at.post(*(entry(cluster=name) for name in "abc"))
    pages: list[list[int]] = []
    number: int | None = 0
    while number is not None:
        found, number = await page(at, number, limit)
        pages.append([each["id"] for each in found])
    assert pages == wanted


async def test_an_alert_comes_as_it_was_sent_with_what_was_decided(at: House) -> None:
    await at.post(entry(cluster='\u2028"quoted" \\ <b>'))
    [[found], _] = await page(at)
    assert found["labels"]["cluster"] == '\u2028"quoted" \\ <b>'
    assert (found["incident"], found["status"], found["ended_at"]) == ("INC-1", "firing", None)
    home = await at.incident()
    assert (found["rule"], found["severity"]) == (home.rule, str(home.severity))
    assert datetime.fromisoformat(found["received_at"]) == at.clock.now().replace(microsecond=0)


async def test_since_asks_for_news_not_for_a_start(at: House) -> None:
    await at.post(entry(cluster="old"))
    at.clock.at = after(hours=3)
    await at.post(entry(cluster="new"))
    found, following = await page(at, since=after(hours=2))
    assert ([each["labels"]["cluster"] for each in found], following) == (["new"], None)
