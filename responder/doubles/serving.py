"""The ground of every double: one aiohttp server on loopback, opened and closed as a context manager."""

import asyncio
import signal
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from aiohttp import web

MAX_BODY_BYTES = 64 * 1024 * 1024  # above every limit that a double itself enforces
SHUTDOWN_S = 0.2


class LoopbackServer:
    """A server on 127.0.0.1 for as long as the `async with` lasts."""

    def __init__(self, port: int) -> None:
        """Keep the port to listen on; 0 takes a free one."""
        self._port = port
        self._closing = asyncio.Event()
        self._runner: web.AppRunner | None = None

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """The paths that this server answers."""
        raise NotImplementedError

    @property
    def origin(self) -> str:
        """`http://127.0.0.1:PORT`, without a slash at its end."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def base_url(self) -> str:
        """What the SDK takes as its base URL."""
        return self.origin

    async def __aenter__(self) -> Self:
        """Listen."""
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.add_routes(self.routes())
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let every held answer go and close the port."""
        self._closing.set()
        await self.release()
        if self._runner is not None:
            await self._runner.cleanup()

    async def release(self) -> None:
        """What a server closes before its port."""

    async def linger(self, seconds: float) -> None:
        """Hold an answer back for so long; not past the end of the server."""
        try:
            async with asyncio.timeout(seconds):
                await self._closing.wait()
        except TimeoutError:
            return


def is_gone(request: web.Request) -> bool:
    """Whether the client has hung up."""
    return request.transport is None or request.transport.is_closing()


def reset(request: web.Request) -> web.Response:
    """Cut the connection with no answer; what is returned is never seen."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def serve_until_stopped(server: LoopbackServer) -> None:
    """Print the base URL on one line, then serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    async with server:
        sys.stdout.write(f"{server.base_url}\n")
        sys.stdout.flush()
        await stop.wait()
