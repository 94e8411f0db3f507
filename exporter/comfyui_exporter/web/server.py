"""The HTTP server of the exporter."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from aiohttp import web

from comfyui_exporter.metrics.store import MetricStore
from comfyui_exporter.web.connection import PATIENCE, Connection, Patience
from comfyui_exporter.web.crowd import Crowd
from comfyui_exporter.web.headers import add_headers
from comfyui_exporter.web.live_page import LivePage
from comfyui_exporter.web.metrics import MetricsHandler
from comfyui_exporter.web.tls import Doors
from comfyui_exporter.web.web_config import WebConfig

_SHUTDOWN = 0.5
"""Seconds that requests under way get when the exporter ends."""

_BACKLOG = 128
"""Connections that may wait to be taken."""


def build_app(
    store: MetricStore,
    telemetry_path: str,
    ready: Callable[[], bool],
    config: WebConfig | None = None,
    page: LivePage | None = None,
) -> web.Application:
    """Put the routes together."""

    async def healthy(_: web.Request) -> web.Response:
        return web.Response(text="comfyui-exporter is healthy.\n")

    async def is_ready(_: web.Request) -> web.Response:
        if ready():
            return web.Response(text="comfyui-exporter is ready.\n")
        return web.Response(status=503, text="comfyui-exporter is not ready: not every server was tried yet.\n")

    app = web.Application()
    add_headers(app, config)
    app.router.add_get("/-/healthy", healthy)
    app.router.add_get("/-/ready", is_ready)
    app.router.add_get(telemetry_path, MetricsHandler(store).__call__)
    if telemetry_path != "/":
        (page or LivePage()).add_to(app)
    return app


class WebServer:
    """Serves one application on several addresses, with the TLS of a web config."""

    def __init__(
        self,
        app: web.Application,
        config: WebConfig | None = None,
        patience: Patience = PATIENCE,
        crowd: Crowd | None = None,
    ) -> None:
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN)
        self._config = config
        self._patience = patience
        self._crowd = Crowd() if crowd is None else crowd
        self._doors: list[Doors] = []

    async def listen(self, host: str, port: int) -> tuple[str, int]:
        """Listen on one address more ("" is every interface, port 0 a free one), and say which it became.

        Raises:
            OSError: it can't be had.

        """
        if self._runner.server is None:
            await self._runner.setup()
        server = cast("web.Server", self._runner.server)
        site = _Site(self._runner, self._factory(server), host or None, port)
        await site.start()
        return host, site.bound_port

    def _factory(self, server: web.Server) -> Callable[[], asyncio.Protocol]:
        loop = asyncio.get_running_loop()

        def connection() -> asyncio.Protocol:
            return Connection(server, loop, self._patience, self._crowd)

        if self._config is None or not self._config.is_asked_for:
            return connection
        doors = Doors(connection, self._config.of_connection, self._patience.handshake)
        self._doors.append(doors)
        return doors

    async def close(self) -> None:
        """Stop listening."""
        for doors in self._doors:
            doors.close()
        await self._runner.cleanup()


class _Site(web.BaseSite):
    """One address, with a protocol of ours for its connections."""

    def __init__(
        self, runner: web.AppRunner, factory: Callable[[], asyncio.Protocol], host: str | None, port: int
    ) -> None:
        super().__init__(runner)
        self._factory = factory
        self._host = host
        self._port = port
        self.bound_port = port
        """Which it became."""

    @property
    def name(self) -> str:
        """For the errors of aiohttp."""
        return f"{self._host}:{self._port}"

    async def start(self) -> None:
        """Listen."""
        await super().start()
        server = await asyncio.get_running_loop().create_server(self._factory, self._host, self._port, backlog=_BACKLOG)
        self._server = server
        if server.sockets:
            self.bound_port = int(server.sockets[0].getsockname()[1])
