"""A server on a free port over a real store, and a client that says exactly the bytes it is told to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from pydantic import SecretStr

from responder.config import Api
from responder.handbook import Handbook
from responder.integrations.alertmanager import Alertmanager, Settings
from responder.ports import Receiver
from responder.runbooks import Library
from responder.web.api import IncidentApi
from responder.web.door import Door
from responder.web.guard import Guard
from responder.web.server import Health, open_server
from responder.workers.reload import Outcome
from tests.given import RULES, FakeIds, House, house


@dataclass
class Reply:
    """What came back: the status, the headers in small letters, the body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class NoFiles:
    """Stands in for files: a reload comes to what the test says; keeps who asked."""

    outcome: Outcome = field(default_factory=lambda: Outcome(Handbook(RULES, Library()), changed=True))
    asked: list[str] = field(default_factory=list)

    async def reload(self, why: str) -> Outcome:
        self.asked.append(why)
        return self.outcome


@dataclass
class Web:
    """A house with its front door."""

    at: House
    port: int
    door: Door
    guard: Guard
    api: IncidentApi
    reloads: NoFiles
    opened: list[asyncio.StreamWriter] = field(default_factory=list)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection; whatever the test does with it, it is closed at its end."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.opened.append(writer)
        return reader, writer

    async def raw(self, *parts: bytes, pause_s: float = 0.0, within_s: float = 5.0) -> Reply | None:
        """Say these bytes and read one answer; None when the connection is cut without one."""
        reader, writer = await self.connect()
        try:
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(pause_s)
            return await asyncio.wait_for(read_reply(reader), within_s)
        except ConnectionError:
            return None
        finally:
            await hang_up(writer)

    async def ask(
        self,
        method: str,
        path: str,
        raw: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        length: int | None = None,
    ) -> Reply:
        """Make one request and demand an answer."""
        lines = {"Host": f"127.0.0.1:{self.port}", "Content-Length": str(len(raw) if length is None else length)}
        lines |= headers or {}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        reply = await self.raw(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + raw)
        assert reply is not None, "cut without an answer"
        return reply

    async def post(self, raw: bytes, **more: Any) -> Reply:
        return await self.ask("POST", "/webhooks/alertmanager", raw, **more)

    def counted(self, outcome: str, receiver: str = "alertmanager") -> float:
        """Give how many requests ended so."""
        found = self.at.metrics.registry.get_sample_value(
            "responder_webhooks_total", {"receiver": receiver, "outcome": outcome}
        )
        assert found is not None
        return found


async def read_reply(reader: asyncio.StreamReader) -> Reply | None:
    """Read one answer."""
    head = b""
    while b"\r\n\r\n" not in head:
        line = await reader.readline()
        if not line:
            return None
        head += line
    first, *rest = head.decode("latin-1").strip().split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
    size = int(headers.get("content-length", "0"))
    return Reply(int(first.split()[1]), headers, await reader.readexactly(size) if size else b"")


async def hang_up(writer: asyncio.StreamWriter) -> None:
    """Close a connection, whoever closed it first."""
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


@dataclass
class Lag:
    """How long this machine kept us waiting beyond what we asked for."""

    seconds: float = 0.0

    async def measure(self) -> None:
        """Add it up until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            await asyncio.sleep(0.01)
            self.seconds += max(0.0, loop.time() - began - 0.01)


@asynccontextmanager
async def lag() -> AsyncIterator[Lag]:
    """Measure what is not our fault: a bound of time holds after it has been taken off."""
    found = Lag()
    measuring = asyncio.ensure_future(found.measure())
    try:
        yield found
    finally:
        measuring.cancel()


async def cut_within(reader: asyncio.StreamReader, seconds: float) -> float:
    """Give how long it took until the connection was cut, without what the machine was busy with meanwhile."""
    async with lag() as late:
        began = asyncio.get_running_loop().time()
        with suppress(ConnectionError):
            await asyncio.wait_for(reader.read(), seconds)
        return asyncio.get_running_loop().time() - began - late.seconds


@asynccontextmanager
async def web(
    folder: Path, *, token: str = "", api: Api | None = None, guard: Guard | None = None, max_bytes: int | None = None,
    more: Mapping[str, Receiver] | None = None,
) -> AsyncIterator[Web]:  # fmt: skip
    """Open a house with its server; `max_bytes` caps a body of the receiver, `more` are receivers beside it."""
    receiver = Alertmanager(Settings(token=SecretStr(token) if token else None))
    if max_bytes is not None:
        receiver.max_bytes = max_bytes
    guard = guard or Guard()
    async with house(folder, more={"alertmanager": receiver, **(more or {})}) as at:
        door = Door(at.receivers, at.store, at.clock, FakeIds(), at.metrics)
        reloads = NoFiles()
        served = IncidentApi(at.store, at.people, api or Api(), at.metrics, reloads)
        health = Health(at.store, at.metrics, at.clock)
        server = open_server("127.0.0.1", 0, door, served, health, max_body=64 << 20, guard=guard)
        async with server as port:
            given = Web(at, port, door, guard, served, reloads)
            try:
                yield given
            finally:  # a test that fails must not leave open what the next one is blamed for
                for writer in given.opened:
                    await hang_up(writer)


@asynccontextmanager
async def client(given: Web, token: str = "") -> AsyncIterator[aiohttp.ClientSession]:
    """Open an HTTP client to it."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{given.port}", headers=headers) as session:
        yield session
