"""The guard: nobody holds a connection for long, and the oldest idle one makes room. Real sockets, short deadlines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from responder.web import guard as guard_module
from responder.web.guard import Guard
from tests.web.given import Web, cut_within, hang_up, lag, read_reply, web

DEADLINE_S = 0.3
SOON_S = 2 * DEADLINE_S  # it looks five times a deadline
POST = b"POST /webhooks/alertmanager HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[Web]:
    async with web(tmp_path, guard=Guard(deadline_s=DEADLINE_S, max_connections=8)) as given:
        yield given


@pytest.fixture
async def patient(tmp_path: Path) -> AsyncIterator[Web]:
    """Nobody is cut off for being idle: only the cap counts."""
    async with web(tmp_path, guard=Guard(deadline_s=60, max_connections=8)) as given:
        yield given


async def drip(writer: asyncio.StreamWriter, head: bytes, line: bytes) -> None:
    writer.write(head)
    try:
        while not writer.is_closing():
            writer.write(line)
            await writer.drain()
            await asyncio.sleep(0.02)
    except ConnectionError:
        pass


@pytest.mark.parametrize(
    ("head", "line"),
    [
        pytest.param(b"", b"", id="nothing at all"),
        pytest.param(b"POST /webhooks/alert", b"", id="half a line"),
        pytest.param(b"POST /webhooks/alertmanager HTTP/1.1\r\n", b"X-A: b\r\n", id="slow headers"),
        pytest.param(POST + b"\r\n", b"x", id="slow body"),
        pytest.param(POST + b"\r\n", b"", id="no body"),
        pytest.param(
            b"POST /webhooks/alertmanager HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n",
            id="slow chunks",
        ),
    ],
)  # fmt: skip
async def test_who_is_slow_is_cut_off_in_time(at: Web, head: bytes, line: bytes) -> None:
    reader, writer = await at.connect()
    dripping = asyncio.ensure_future(drip(writer, head, line)) if line else None
    if dripping is None and head:
        writer.write(head)
    began = asyncio.get_running_loop().time()
    assert await cut_within(reader, 5) <= SOON_S
    assert asyncio.get_running_loop().time() - began > DEADLINE_S / 2
    await hang_up(writer)
    if dripping is not None:
        await dripping
    assert at.at.sql("SELECT count(*) FROM inbox") == [(0,)]


async def test_headers_and_body_share_one_deadline(at: Web) -> None:
    """Slow headers, then a slow body: no second helping of time."""
    reader, writer = await at.connect()
    writer.write(b"POST /webhooks/alertmanager HTTP/1.1\r\n")
    await asyncio.sleep(DEADLINE_S * 0.7)
    writer.write(b"Host: x\r\nContent-Length: 1000\r\n\r\n")
    assert await cut_within(reader, 5) < DEADLINE_S * 0.8
    await hang_up(writer)


async def test_a_kept_alive_connection_may_rest(at: Web) -> None:
    reader, writer = await at.connect()
    for _ in range(2):
        writer.write(POST.replace(b"1000", b"2") + b"\r\n{}")
        reply = await asyncio.wait_for(read_reply(reader), 5)
        assert reply is not None
        assert reply.status == 202
        await asyncio.sleep(2 * DEADLINE_S)
    await hang_up(writer)


async def test_a_connection_that_rests_too_long_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard_module, "IDLE_S", 0.3)
    async with web(tmp_path, guard=Guard(deadline_s=0.2)) as at:
        reader, writer = await at.connect()
        writer.write(POST.replace(b"1000", b"2") + b"\r\n{}")
        assert await asyncio.wait_for(read_reply(reader), 5)
        assert await cut_within(reader, 5) < 0.8
        await hang_up(writer)


async def test_a_slow_second_request_is_cut_off_too(at: Web) -> None:
    reader, writer = await at.connect()
    writer.write(POST.replace(b"1000", b"2") + b"\r\n{}")
    assert await asyncio.wait_for(read_reply(reader), 5)
    await asyncio.sleep(DEADLINE_S)
    writer.write(POST)
    assert await cut_within(reader, 5) <= SOON_S
    await hang_up(writer)


async def test_a_handler_that_takes_its_time_is_not_cut_off(at: Web) -> None:
    """The deadline is the client's: what we owe is ours."""
    gate = asyncio.Event()
    accept = at.at.store.accept

    async def slow(*arguments: object, **named: object) -> bool:
        await gate.wait()
        return await accept(*arguments, **named)  # type: ignore[arg-type]

    at.at.store.accept = slow  # type: ignore[method-assign]
    task = asyncio.ensure_future(at.post(b"{}"))
    await asyncio.sleep(2.5 * DEADLINE_S)
    gate.set()
    assert (await task).status == 202


async def test_over_the_cap_the_oldest_idle_connection_goes_and_the_new_one_is_served(patient: Web) -> None:
    at, idle = patient, [await patient.connect() for _ in range(8)]
    async with asyncio.timeout(5):
        while len(at.guard.connections) < len(idle):
            await asyncio.sleep(0.005)
    assert (await at.post(b"{}")).status == 202
    assert at.guard.dropped == 1
    assert await cut_within(idle[0][0], 5) < 0.1
    reader, writer = idle[7]
    writer.write(POST.replace(b"1000", b"2") + b"\r\n{}")
    assert await asyncio.wait_for(read_reply(reader), 5)
    for _, each in idle:
        await hang_up(each)


async def test_good_requests_are_served_while_many_sit_idle(patient: Web) -> None:
    at, idle = patient, []
    for _ in range(60):
        idle.append(await at.connect())
        if len(idle) % 10 == 0:
            async with lag() as late:
                began = asyncio.get_running_loop().time()
                assert (await at.post(b"{}")).status == 202
                assert asyncio.get_running_loop().time() - began - late.seconds < 0.5
    assert len(at.guard.connections) <= 8
    for _, each in idle:
        await hang_up(each)


async def test_connections_that_end_are_forgotten(at: Web) -> None:
    for _ in range(20):
        assert (await at.post(b"{}")).status == 202
    async with asyncio.timeout(5):
        while at.guard.connections:
            await asyncio.sleep(0.005)
    assert at.guard.dropped == 0
