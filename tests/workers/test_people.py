"""What a person does, from wherever it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from responder.errors import Conflict
from responder.model import Incident, Status
from responder.workers.people import TRIES, People
from tests.given import P0, P3, RULES, House, entry, house


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as given:
        await given.post(entry())
        yield given


async def test_nobody_acts_on_what_is_not_there(at: House) -> None:
    people = at.people
    assert await people.acknowledge(99, "anna") is None
    assert await people.resolve(99, "anna") is None
    assert await people.raise_to(99, "anna", P0) is None
    assert await people.note(99, "anna", "x") is None


async def test_of_many_who_acknowledge_at_once_one_has_it(at: House) -> None:
    found = await asyncio.gather(*(at.people.acknowledge(1, f"p{n}") for n in range(8)))
    assert len({each.acknowledged_by for each in found if each}) == 1
    record = await at.store.record(1)
    assert [line["kind"] for line in record["timeline"]].count("acknowledged") == 1


async def test_acting_beside_a_storm_of_alerts_loses_neither(at: House) -> None:
    for n in range(30):
        await at.accept(f'{{"alerts": [{{"labels": {{"alertname": "Api", "cluster": "eu", "n": "{n}"}}}}]}}'.encode())
    await asyncio.gather(at.settle(), at.people.acknowledge(1, "anna"), at.people.raise_to(1, "bert", P0))
    found = await at.incident()
    assert (found.firing, found.severity) == (31, P0)
    assert await at.unaccounted() == 0


async def test_resolving_ends_our_own_alerts_and_their_count(at: House) -> None:
    await at.accept(b"garbage")
    await at.settle()
    own = await at.people.resolve(2, "anna")
    assert own is not None
    assert (own.status, own.firing) == (Status.RESOLVED, 0)
    theirs = await at.people.resolve(1, "anna")
    assert theirs is not None
    assert theirs.firing == 1  # Alertmanager says when it ends, not we


async def test_resolving_twice_changes_nothing(at: House) -> None:
    first = await at.people.resolve(1, "anna", "why")
    at.clock.turn(60)
    assert await at.people.resolve(1, "bert", "other") == first


async def test_nobody_lowers(at: House) -> None:
    found = await at.people.raise_to(1, "anna", P3)
    assert found is not None
    assert found.severity == "P2"
    assert not await at.posts(1, "page")


async def test_a_long_note_is_cut(at: House) -> None:
    await at.people.note(1, "anna", "x" * 10_000)
    record = await at.store.record(1)
    assert len(record["timeline"][-1]["text"]) <= 2000


async def test_an_incident_that_changes_for_ever_is_an_error(at: House) -> None:
    class Restless:
        def __getattr__(self, name: str) -> object:
            return getattr(at.store, name)

        async def commit(self, move: object) -> list[int]:
            tries.append(1)
            raise Conflict("planted")

    tries: list[int] = []
    people = People(Restless(), lambda: RULES, at.clock, at.metrics)  # type: ignore[arg-type]
    with pytest.raises(Conflict, match="try again"):
        await people.acknowledge(1, "anna")
    assert len(tries) == TRIES


async def test_what_a_person_did_counts_once_in_the_metrics_whatever_it_took(at: House) -> None:
    class Late:
        """A store where the first write meets a conflict."""

        def __init__(self) -> None:
            self.first = True

        def __getattr__(self, name: str) -> object:
            return getattr(at.store, name)

        async def commit(self, move: object) -> list[int]:
            if self.first:
                self.first = False
                raise Conflict("planted")
            return await at.store.commit(move)  # type: ignore[arg-type]

    for act in ("acknowledge", "resolve"):
        people = People(Late(), lambda: RULES, at.clock, at.metrics)  # type: ignore[arg-type]
        assert isinstance(await getattr(people, act)(1, "anna"), Incident)
    for name in ("ack", "resolve"):
        assert at.metrics.registry.get_sample_value(f"responder_{name}_seconds_count", {"severity": "P2"}) == 1
