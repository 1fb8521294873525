"""What aiohttp does not do by itself: a deadline for a whole request, a cap on connections that drops the oldest idle.

Uses private names of aiohttp (`_current_request`, `_request_count`, `Server._kwargs`): aiohttp is pinned, and
`test_guard.py` is the alarm.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

DEADLINE_S = 10.0  # headers and body together
IDLE_S = 75.0  # a kept-alive connection that asks nothing
MAX_CONNECTIONS = 1000


class Guard:
    """The limits and the live connections of one server, oldest first."""

    def __init__(self, *, deadline_s: float = DEADLINE_S, max_connections: int = MAX_CONNECTIONS) -> None:
        """Set the limits."""
        self.deadline_s, self.max_connections = deadline_s, max_connections
        self.connections: dict[GuardedHandler, None] = {}
        self.dropped = 0

    def entered(self, handler: GuardedHandler) -> None:
        """Let a connection in; when there are too many, the one that has owed us a request for the longest goes."""
        self.connections[handler] = None
        if len(self.connections) <= self.max_connections:
            return
        idle = next((each for each in self.connections if each.owing and each is not handler), handler)
        self.dropped += 1
        idle.drop()


class GuardedHandler(RequestHandler):
    """One connection under the guard."""

    __slots__ = ("_began", "_check", "_guard", "_partial", "_rested")

    def __init__(self, guard: Guard, server: web.Server, **kwargs: Any) -> None:
        """Remember the guard that counts us."""
        super().__init__(server, **kwargs)
        self._guard = guard
        self._check: asyncio.TimerHandle | None = None
        self._partial = False  # bytes have come that do not make a request yet
        self._began = 0.0  # when the request that is owed began: at its first byte, the first one when we were called
        self._rested: float | None = None  # since when nothing is owed

    @property
    def owing(self) -> bool:
        """Whether the client still owes us headers or a body."""
        return self._current_request is None or self._body_due()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection and start its clock."""
        super().connection_made(transport)
        self._began = self._loop.time()
        self._check = self._loop.call_later(self._guard.deadline_s / 5, self._look)
        self._guard.entered(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stop the clock."""
        self._guard.connections.pop(self, None)
        if self._check is not None:
            self._check.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Note whether what came begins, goes on with or completes a request."""
        before, fresh = self._request_count, not self._partial and not self._body_due()
        super().data_received(data)
        if fresh and data and before:
            self._began = self._loop.time()
        if self._request_count > before:
            self._partial = False
        elif fresh and data:
            self._partial = True

    def _body_due(self) -> bool:
        """Whether a request has begun whose body is not all there."""
        request = self._current_request
        return bool(self._messages) or (request is not None and not request.content.is_eof())

    def drop(self) -> None:
        """Cut the connection."""
        if self.transport is not None:
            self.transport.abort()

    def _look(self) -> None:
        """Cut a connection that owes us a request for too long, or has rested for too long."""
        now = self._loop.time()
        resting = self._request_count and self._current_request is None and not self._partial and not self._body_due()
        if not resting:
            self._rested = None
            late = self.owing and now - self._began >= self._guard.deadline_s
        else:
            self._rested = self._rested or now
            late = now - self._rested >= IDLE_S
        if late:
            self.drop()
            return
        self._check = self._loop.call_later(self._guard.deadline_s / 5, self._look)


class GuardedServer:
    """Makes guarded connections for aiohttp's own server."""

    def __init__(self, server: web.Server, guard: Guard) -> None:
        """Wrap a server that a runner has set up."""
        self._server, self._guard = server, guard

    def __call__(self) -> GuardedHandler:
        """Make the handler of one new connection."""
        return GuardedHandler(self._guard, self._server, loop=self._server._loop, **self._server._kwargs)


async def serve(runner: web.AppRunner, guard: Guard, host: str, port: int) -> asyncio.Server:
    """Listen with a backlog that outlives a storm of new connections.

    Raises: OSError: the address is taken or not ours.
    """
    assert runner.server is not None
    make: Callable[[], GuardedHandler] = GuardedServer(runner.server, guard)
    return await asyncio.get_running_loop().create_server(make, host, port, backlog=2048)
