"""The HTTP server: the routes of the door, the API, health and metrics, behind the guard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from aiohttp import web
from prometheus_client import exposition
from prometheus_client.openmetrics import exposition as openmetrics

from responder.errors import ConfigError, StoreError
from responder.metrics import Metrics
from responder.ports import Clock, Store
from responder.web.api import IncidentApi
from responder.web.door import PATH, Door
from responder.web.guard import Guard, serve

READY_S = 4.0
log = structlog.stdlib.get_logger("web")


class Health:
    """`/healthz`: the process lives; `/readyz`: it can commit; `/metrics`: its figures."""

    def __init__(self, store: Store, metrics: Metrics, clock: Clock) -> None:
        """Keep the parts."""
        self._store, self._metrics, self._clock = store, metrics, clock

    async def healthz(self, _request: web.Request) -> web.Response:
        """Answer while the loop turns."""
        return web.Response(text="ok\n")

    async def readyz(self, _request: web.Request) -> web.Response:
        """Answer 200 only if a row has just reached the disk."""
        try:
            async with asyncio.timeout(READY_S):
                ready = await self._store.can_commit()
        except TimeoutError:
            ready = False
        return web.Response(status=200 if ready else 503, text="ok\n" if ready else "the store does not commit\n")

    async def metrics(self, request: web.Request) -> web.Response:
        """Read the store's figures and render all series."""
        try:
            self._metrics.figures = await self._store.figures()
        except StoreError as error:
            log.error("metrics without the store's figures", error=str(error))
        self._metrics.now = self._clock.now().timestamp()
        accept = request.headers.get("Accept", "")
        if "application/openmetrics-text" in accept:
            body: bytes = openmetrics.generate_latest(self._metrics.registry)  # type: ignore[no-untyped-call]  # not annotated
            kind = openmetrics.CONTENT_TYPE_LATEST
        else:
            body, kind = exposition.generate_latest(self._metrics.registry), exposition.CONTENT_TYPE_LATEST
        return web.Response(body=body, headers={"Content-Type": kind})


def _webhooks_first(runner: web.AppRunner, door: Door) -> None:
    """Let webhooks pass by the application's routing: it would cost a tenth of the time that one of them takes."""
    assert runner.server is not None
    others = runner.server.request_handler

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        path = request.raw_path
        if path.startswith(PATH) and "Expect" not in request.headers:
            return await door.post(request, path.removeprefix(PATH).partition("?")[0])
        return await others(request)

    runner.server.request_handler = handle


@asynccontextmanager
async def open_server(
    host: str, port: int, door: Door, api: IncidentApi, health: Health, *, max_body: int, guard: Guard | None = None
) -> AsyncIterator[int]:
    """Listen until left; gives the port that was taken (0 asks for a free one).

    Raises: ConfigError: the address is in use, or not ours.
    """
    app = web.Application(client_max_size=max_body)
    app.add_routes(
        [
            web.route("*", PATH + "{receiver}", door.routed),
            web.get("/healthz", health.healthz),
            web.get("/readyz", health.readyz),
            web.get("/metrics", health.metrics),
            *api.routes(),
        ]
    )
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=75, handler_cancellation=False)
    await runner.setup()
    _webhooks_first(runner, door)
    try:
        server = await serve(runner, guard or Guard(), host, port)
    except OSError as error:
        await runner.cleanup()
        raise ConfigError(f"listen: {host}:{port} cannot be had: {error.strerror}; choose another `listen`") from error
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await runner.cleanup()
